"""What the relay picks from the stream, and from where it asks for another attempt."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract import table
from media_platform.contract.environment import OutboxRelayEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import to_item
from media_platform.contract.takeover import Takeover
from media_platform.contract.video import Video
from outbox_relay.aws import Outbox, Topic
from outbox_relay.relay import Relay
from outbox_relay.stream import (
    BATCH_BYTES,
    OutboxRecord,
    UnreadableRecordError,
    in_batches,
    is_new_event,
    read,
    taken_video,
)
from tests.sample_videos import sample_video

HOME = "eu-central-1"
ENVIRONMENT = OutboxRelayEnvironment(
    home_region=HOME, table_name="table", topic_arn="topic", retention_days=7
)


def an_event(*, region: str = HOME, data: dict[str, Any] | None = None) -> DomainEvent:
    return DomainEvent(
        event_id=new_id(),
        event_type=EventType.VIDEO_CREATED,
        video_id=new_id(),
        tenant="acme",
        region=region,
        sequence=1,
        occurred_at="2026-01-01T00:00:00.000Z",
        data=data or {},
    )


def record(
    number: int,
    event: DomainEvent | None = None,
    *,
    name: str = "INSERT",
    image: dict[str, Any] | None = None,
) -> dict[str, Any]:
    item = {**(event or an_event()).to_outbox_item(), **(image or {})}
    keys = {table.PARTITION_KEY: item["pk"], table.SORT_KEY: item["sk"]}
    change: dict[str, Any] = {"Keys": keys, "SequenceNumber": str(number)}
    if name != "REMOVE":
        change["NewImage"] = item
    return {"eventName": name, "eventSource": "aws:dynamodb", "dynamodb": change}


def poison(number: int) -> dict[str, Any]:
    return record(number, image={OUTBOX_BODY: {"S": '{"event_type": "NoSuchThing"}'}})


@dataclass
class RecordedTopic:
    """Takes events, except those that it was told to refuse."""

    refused: set[str] = field(default_factory=set)
    error: Exception | None = None
    calls: list[list[str]] = field(default_factory=list)

    def publish(self, records: Sequence[OutboxRecord]) -> dict[int, str]:
        if self.error:
            raise self.error
        self.calls.append([r.sequence_number for r in records])
        return {
            i: "InternalError: " for i, r in enumerate(records) if r.sequence_number in self.refused
        }


@dataclass
class RecordedOutbox:
    """Remembers marks, and fails at the given mark."""

    fail_at: int | None = None
    marked: list[table.Key] = field(default_factory=list)
    standing: list[Takeover] = field(default_factory=list)

    def takeovers(self) -> list[Takeover]:
        return self.standing

    def mark_published(self, key: table.Key, *, expires_at: int) -> None:
        assert expires_at > 0
        if self.fail_at == len(self.marked):
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")
        self.marked.append(key)


def relay(topic: RecordedTopic, outbox: RecordedOutbox) -> Relay:
    return Relay(ENVIRONMENT, cast("Topic", topic), cast("Outbox", outbox))


@pytest.mark.parametrize(("lost", "published"), [(HOME, 0), ("us-east-1", 1)])
def test_a_region_that_was_taken_over_publishes_nothing(lost: str, published: int) -> None:
    topic = RecordedTopic()
    standing = [Takeover(lost=lost, by="us-west-2", begun_at="2026-01-01T00:00:00.000Z")]
    assert relay(topic, RecordedOutbox(standing=standing)).publish([record(1)]) is None
    assert len(topic.calls) == published


def test_a_video_whose_epoch_fell_is_picked() -> None:
    before = sample_video(epoch=1)
    after = replace(before, epoch=0, version=9)
    assert taken_video(changed(before, after)) == (before, after)
    assert taken_video(changed(before, replace(before, version=9))) is None
    assert taken_video(record(1)) is None


def changed(before: Video, after: Video) -> dict[str, Any]:
    item = before.to_item()
    keys = {table.PARTITION_KEY: item["pk"], table.SORT_KEY: item["sk"]}
    images = {"OldImage": item, "NewImage": after.to_item()}
    return {
        "eventName": "MODIFY",
        "dynamodb": {"Keys": keys, "SequenceNumber": "1", **images},
    }


def test_new_events_of_this_region_are_picked() -> None:
    assert is_new_event(record(1), region=HOME)


@pytest.mark.parametrize(
    "passed_by",
    [
        pytest.param(record(1, name="MODIFY"), id="marked as published"),
        pytest.param(record(1, name="REMOVE"), id="expired"),
        pytest.param(record(1, an_event(region="us-east-1")), id="replicated from elsewhere"),
        pytest.param(record(1, image={"sk": {"S": "META"}}), id="a video"),
        pytest.param(record(1, image={"sk": {"S": "EVENTUAL"}}), id="something else"),
    ],
)
def test_everything_else_passes_by(passed_by: dict[str, Any]) -> None:
    assert not is_new_event(passed_by, region=HOME)


def test_an_event_is_read_as_it_was_written() -> None:
    event = an_event(data={"title": "Zoë's film", "nested": {"a": [1, 2.5, None]}})
    found = read(record(7, event))
    assert found.event == event
    assert found.sequence_number == "7"
    assert found.key == table.event_key(event.video_id, event.event_id)


@pytest.mark.parametrize(
    "image",
    [
        {OUTBOX_BODY: {"S": "not json"}},
        {OUTBOX_BODY: {"S": "{}"}},
        {OUTBOX_BODY: {"S": "[]"}},
        {OUTBOX_BODY: {"S": "[" * 50_000}},
        {OUTBOX_BODY: {"NULL": True}},
        {OUTBOX_BODY: {"S": an_event(region="us-east-1").to_json()}},
    ],
)
def test_what_holds_no_event_is_reported_with_its_place(image: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecordError, match="record 7 "):
        read(record(7, image=image))


def test_an_item_without_a_region_is_not_passed_by_in_silence() -> None:
    nameless = record(7)
    del nameless["dynamodb"]["NewImage"]["region"]
    assert is_new_event(nameless, region=HOME)
    with pytest.raises(UnreadableRecordError, match="region"):
        read(nameless)


def test_an_event_that_sns_never_takes_is_reported() -> None:
    with pytest.raises(UnreadableRecordError, match="SNS takes at most 262144"):
        read(record(7, an_event(data={"x": "x" * BATCH_BYTES})))


@given(sizes=st.lists(st.sampled_from([0, 10_000, 100_000, 200_000]), max_size=25))
def test_batches_keep_the_order_and_the_limits(sizes: list[int]) -> None:
    records = [read(record(i, an_event(data={"x": "x" * n}))) for i, n in enumerate(sizes)]
    batches = list(in_batches(records))
    assert [r for batch in batches for r in batch] == records
    for batch in batches:
        assert 1 <= len(batch) <= 10
        assert sum(r.message_bytes for r in batch) <= BATCH_BYTES
    for one, following in itertools.pairwise(batches):
        full = sum(r.message_bytes for r in one) + following[0].message_bytes > BATCH_BYTES
        assert len(one) == 10 or full


def test_all_is_published_and_marked() -> None:
    topic, outbox = RecordedTopic(), RecordedOutbox()
    records = [record(i) for i in range(23)]
    assert relay(topic, outbox).publish(records) is None
    assert [len(call) for call in topic.calls] == [10, 10, 3]
    assert len(outbox.marked) == 23


def test_nothing_is_called_for_what_passes_by() -> None:
    topic = RecordedTopic(error=AssertionError("published"))
    assert relay(topic, RecordedOutbox()).publish([record(1, name="MODIFY")]) is None


def test_work_ends_at_the_first_event_that_was_refused() -> None:
    topic, outbox = RecordedTopic(refused={"12", "14"}), RecordedOutbox()
    assert relay(topic, outbox).publish([record(i) for i in range(40)]) == "12"
    assert len(topic.calls) == 2, "later batches wait for the next attempt"
    assert len(outbox.marked) == 12, "everything before it is done"


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "NotFound"}}, "PublishBatch"),
        ConnectTimeoutError(endpoint_url="http://127.0.0.1"),
    ],
)
def test_a_topic_out_of_reach_is_tried_again_from_the_first_event(error: Exception) -> None:
    outbox = RecordedOutbox()
    records = [record(1, name="MODIFY"), record(2), record(3)]
    assert relay(RecordedTopic(error=error), outbox).publish(records) == "2"
    assert outbox.marked == []


def test_an_event_that_could_not_be_marked_is_published_again() -> None:
    topic, outbox = RecordedTopic(), RecordedOutbox(fail_at=2)
    assert relay(topic, outbox).publish([record(i) for i in range(5)]) == "2"


def test_poison_is_reported_after_all_before_it_is_published() -> None:
    topic, outbox = RecordedTopic(), RecordedOutbox()
    assert relay(topic, outbox).publish([record(1), record(2), poison(3), record(4)]) == "3"
    assert topic.calls == [["1", "2"]]


def test_a_failure_before_poison_is_the_one_that_is_reported() -> None:
    topic = RecordedTopic(refused={"1"})
    assert relay(topic, RecordedOutbox()).publish([record(1), poison(2)]) == "1"


def test_poison_of_another_region_passes_by() -> None:
    foreign = poison(1)
    foreign["dynamodb"]["NewImage"]["region"] = {"S": "us-east-1"}
    assert relay(RecordedTopic(), RecordedOutbox()).publish([foreign]) is None


def test_the_message_is_the_event_and_nothing_of_its_item() -> None:
    event = an_event()
    message = json.loads(read(record(1, event)).event.to_json())
    assert DomainEvent.from_json(json.dumps(message)) == event
    assert not set(message) & set(to_item({"pk": "", "sk": "", "unpublished_key": ""}))
