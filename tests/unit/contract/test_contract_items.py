"""What goes into the table comes out of it as it was, and newer data does not break older code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract import table
from media_platform.contract.delivery import DeliveryDocument, SigningKeyPair
from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import from_item, from_wire, to_item, to_wire
from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.purge import Purge
from media_platform.contract.run import (
    END,
    SOUND,
    Part,
    Rendition,
    Run,
    RunStatus,
    Span,
    download_part,
    video_part,
)
from media_platform.contract.spend import KEPT, Spend
from media_platform.contract.video import Failure, Video, VideoStatus, Visibility
from tests.sample_videos import sample_video

# Whole fractions come back as integers, which are equal up to the precision of a float.
numbers = st.integers(-(10**37), 10**37) | st.floats(-(2.0**53), 2.0**53).filter(
    lambda number: number == 0 or abs(number) > 1e-100
)
scalars = st.none() | st.booleans() | st.text() | numbers
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert from_wire(to_wire(value)) == value


@given(values)
def test_the_wire_format_is_the_one_of_the_sdk(value: Any) -> None:
    def comparable(found: Any) -> Any:
        match found:
            case Decimal():
                return float(found)
            case bool():
                return found
            case int():
                return float(found)
            case Mapping():
                return {name: comparable(member) for name, member in found.items()}
            case list():
                return [comparable(member) for member in found]
        return found

    assert comparable(TypeDeserializer().deserialize(cast("Any", to_wire(value)))) == comparable(
        value
    )


def test_enumerations_are_stored_as_their_text() -> None:
    assert to_wire(VideoStatus.READY) == {"S": "READY"}
    assert type(to_wire(VideoStatus.READY)["S"]) is str


def test_truth_is_no_number() -> None:
    assert to_wire(True) == {"BOOL": True}


def test_attributes_without_a_value_are_left_out() -> None:
    assert to_item({"a": None, "b": 0, "c": "", "d": False}) == {
        "b": {"N": "0"},
        "c": {"S": ""},
        "d": {"BOOL": False},
    }


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_what_the_table_does_not_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be stored in the table"):
        to_wire(value)


texts = st.text(max_size=20)
counts = st.integers(0, 10**9)
maybe = st.none() | texts
videos = st.builds(
    Video,
    video_id=st.builds(new_id),
    tenant=st.sampled_from(["acme", "umbrella"]),
    owner=st.sampled_from(["ada", "bob"]),
    home_region=st.just("eu-central-1"),
    title=texts,
    file_name=texts,
    content_type=st.just("video/mp4"),
    size_bytes=counts,
    raw_key=texts,
    created_at=texts,
    updated_at=texts,
    status=st.sampled_from(VideoStatus),
    visibility=st.sampled_from(Visibility),
    version=counts,
    epoch=counts,
    raw_version_id=maybe,
    current_run=maybe,
    duration_seconds=st.none() | st.floats(0.001, 1e6),
    width=st.none() | counts,
    height=st.none() | counts,
    failure=st.none() | st.builds(Failure, code=texts, message=texts),
    uploaded_at=maybe,
    ready_at=maybe,
    deleted_at=maybe,
)
renditions = st.builds(
    Rendition, height=counts, width=counts, frames=counts, bandwidth=counts, codecs=texts
)
runs = st.builds(
    Run,
    video_id=st.builds(new_id),
    run_id=st.builds(new_id),
    status=st.sampled_from(RunStatus),
    started_at=texts,
    plan=maybe,
    chunks=st.none() | counts,
    codecs=st.none() | st.dictionaries(texts, texts, max_size=2),
    inits=st.none() | st.dictionaries(texts, texts, max_size=2),
    joined=counts,
    published_at=counts,
    progress=st.integers(0, 100),
    duration_seconds=st.none() | st.floats(0.001, 1e6),
    frame_rate=st.none() | st.just("30000/1001"),
    has_audio=st.none() | st.booleans(),
    renditions=st.lists(renditions, max_size=4).map(tuple),
    playable_at=maybe,
    finished_at=maybe,
    cpu_seconds=st.none() | st.floats(0.001, 1e6),
    downloads=st.lists(counts, max_size=2).map(tuple),
    quality=st.none() | st.dictionaries(texts, st.floats(1, 100), max_size=2),
)
key_frames = st.lists(st.tuples(counts, counts), max_size=2).map(tuple)
parts = st.builds(
    Part,
    video_id=st.builds(new_id),
    run_id=st.builds(new_id),
    name=st.sampled_from([video_part(0), video_part(99_999), SOUND, END, download_part(720)]),
    attempt=counts,
    lease_until=counts,
    failures=counts,
    done=st.booleans(),
    spans=st.lists(st.builds(Span, attempt=counts, segments=st.integers(0, 50)), max_size=3).map(
        tuple
    ),
    samples=counts,
    key_frames=st.lists(st.lists(key_frames, max_size=2).map(tuple), max_size=2).map(tuple),
    gains=st.none() | st.lists(st.floats(-20, 20), max_size=2).map(tuple),
    texts=st.lists(texts, max_size=2).map(tuple),
    cpu_seconds=st.floats(0.001, 1e6),
    bytes_in=counts,
    bytes_out=counts,
)
purges = st.builds(
    Purge,
    video_id=st.builds(new_id),
    run_id=st.none() | st.builds(new_id),
    tenant=texts,
    region=texts,
    due_at=st.just("2026-01-01T00:00:00.000Z"),
)
spends = st.builds(
    Spend,
    tenant=texts,
    video_id=st.builds(new_id),
    run_id=st.builds(new_id),
    region=texts,
    day=st.dates(date(2020, 1, 1)).map(date.isoformat).filter(lambda day: day < "9990"),
    status=st.sampled_from(RunStatus),
    cpu_seconds=st.floats(0.001, 1e6),
    bytes_in=counts,
    bytes_out=counts,
    video_seconds=st.none() | st.floats(0.001, 1e6),
)
json_data = st.dictionaries(texts, st.none() | st.booleans() | texts | counts, max_size=4)
events = st.builds(
    DomainEvent,
    event_id=st.builds(new_id),
    event_type=st.sampled_from(EventType),
    video_id=st.builds(new_id),
    tenant=texts,
    region=texts,
    sequence=counts,
    occurred_at=texts,
    data=json_data,
)


@given(videos)
def test_a_video_comes_back_as_it_was(video: Video) -> None:
    assert Video.from_item(video.to_item()) == video


@given(runs)
def test_a_run_comes_back_as_it_was(run: Run) -> None:
    assert Run.from_item(run.to_item()) == run


@given(parts)
def test_a_part_comes_back_as_it_was(part: Part) -> None:
    again = Part.from_item(part.to_item())
    assert again == part
    assert len(again.attempts) == again.segments


@given(spends)
def test_what_a_run_took_comes_back_as_it_was(spend: Spend) -> None:
    item = spend.to_item()
    assert Spend.from_item(item) == spend
    day = datetime.fromisoformat(spend.day).replace(tzinfo=UTC)
    assert from_item(item)[table.TTL_ATTRIBUTE] == (day + KEPT).timestamp()


@given(purges)
def test_a_purge_comes_back_as_it_was(purge: Purge) -> None:
    item = purge.to_item()
    assert Purge.from_item(item) == purge
    assert from_item(item)[table.DUE.sort_key] == purge.due_at


@given(events)
def test_an_event_comes_back_as_it_was(event: DomainEvent) -> None:
    assert DomainEvent.from_json(event.to_json()) == event


def test_attributes_of_newer_code_are_ignored_at_every_depth() -> None:
    video = sample_video(failure=Failure(code="not_a_video", message="No."))
    item = video.to_item()
    item["from_the_future"] = {"S": "x"}
    item["failure"]["M"]["from_the_future"] = {"S": "x"}
    assert Video.from_item(item) == video

    rung = Rendition(height=720, width=1280, frames=1, bandwidth=1, codecs="avc1")
    run = Run(
        video_id=new_id(),
        run_id=new_id(),
        status=RunStatus.RUNNING,
        started_at="x",
        renditions=(rung,),
    )
    item = run.to_item()
    item["from_the_future"] = {"S": "x"}
    item["renditions"]["L"][0]["M"]["from_the_future"] = {"S": "x"}
    assert Run.from_item(item) == run

    part = Part(
        video_id=run.video_id, run_id=run.run_id, name=SOUND, spans=(Span(attempt=1, segments=2),)
    )
    item = part.to_item()
    item["from_the_future"] = {"S": "x"}
    item["spans"]["L"][0]["M"]["from_the_future"] = {"S": "x"}
    assert Part.from_item(item) == part


TRANSCODE_JOB = TranscodeJob(
    video_id="v",
    run_id="r",
    tenant="t",
    bucket="b",
    key="k",
    version_id="1",
    size_bytes=1,
    queued_at="2026-01-01T00:00:00.000Z",
)
DOCUMENT = DeliveryDocument(
    base_url="https://x", key_pair_id="K", signing_secret="s", other_secrets={"L": "t"}
)
PAIR = SigningKeyPair(private_key="private half", public_key="public half")


@pytest.mark.parametrize("message", [TRANSCODE_JOB, DOCUMENT, PAIR])
def test_messages_come_back_as_they_were_and_may_grow(
    message: TranscodeJob | DeliveryDocument | SigningKeyPair,
) -> None:
    assert type(message).from_json(message.to_json()) == message
    grown = json.dumps({**asdict(message), "from_the_future": 1})
    assert type(message).from_json(grown) == message


def test_a_document_of_an_older_deployment_names_one_key() -> None:
    content = asdict(DOCUMENT)
    del content["other_secrets"]
    assert DeliveryDocument.from_json(json.dumps(content)).other_secrets == {}


def test_a_job_of_older_code_starts_a_run() -> None:
    content = asdict(TRANSCODE_JOB)
    del content["part"]
    assert TranscodeJob.from_json(json.dumps(content)).part == START
    other = TRANSCODE_JOB.for_part(SOUND)
    assert (other.part, other.run_id) == (SOUND, TRANSCODE_JOB.run_id)


@pytest.mark.parametrize("kind", [TranscodeJob, DeliveryDocument, SigningKeyPair, DomainEvent])
@pytest.mark.parametrize("text", ["", "no json", "null", "[]", "{}", "1", '"text"'])
def test_anything_else_is_a_value_error(
    kind: type[TranscodeJob | DeliveryDocument | SigningKeyPair | DomainEvent], text: str
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
        kind.from_json(text)


def test_a_broken_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValueError, match="does not hold a key pair") as raised:
        SigningKeyPair.from_json('{"private_key": "s3cr3t"}')
    assert "s3cr3t" not in repr(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_private_key_is_not_shown_by_accident() -> None:
    assert "private half" not in f"{PAIR!r} {PAIR}"


def test_an_event_of_an_unknown_type_is_refused() -> None:
    event = DomainEvent(
        event_id=new_id(),
        event_type=EventType.VIDEO_READY,
        video_id=new_id(),
        tenant="acme",
        region="eu-central-1",
        sequence=1,
        occurred_at="x",
    )
    with pytest.raises(ValueError, match="VideoVanished"):
        DomainEvent.from_json(event.to_json().replace("VideoReady", "VideoVanished"))


def test_an_outbox_item_stands_in_the_index_of_unpublished_events_only() -> None:
    event = DomainEvent(
        event_id=new_id(),
        event_type=EventType.VIDEO_READY,
        video_id=new_id(),
        tenant="acme",
        region="eu-central-1",
        sequence=1,
        occurred_at="x",
    )
    item = from_item(event.to_outbox_item())
    assert (item["pk"], item["sk"]) == (f"VIDEO#{event.video_id}", f"EVENT#{event.event_id}")
    standing = [i for i in table.INDEXES if {i.partition_key, i.sort_key} <= set(item)]
    assert standing == [table.UNPUBLISHED]
    assert item[table.UNPUBLISHED.partition_key].startswith("UNPUBLISHED#eu-central-1#")
    # Replicas in other regions tell by it whose event it is.
    assert item["region"] == replace(event).region
