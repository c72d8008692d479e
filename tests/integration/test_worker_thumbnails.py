"""Thumbnails by real workers: made once, told once, and never in the place of a later one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from emulator import REGION
from waiting import eventually
from worker_stage import MEDIA, RAW, TABLE, Stage, make_clip, moving_picture
from worker_wire import wire_to

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import (
    REPLICATE_TAG,
    REPLICATE_VALUE,
    picture_key,
    thumbnail_key,
    thumbnail_of_key,
)
from media_platform.contract.run import thumbnail_part
from media_platform.contract.thumbnails import Thumbnail, ThumbnailStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import VideoStatus

SECONDS = 5
LEASE = 5


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    return shared_stage.with_own_queues()


@pytest.fixture(scope="module")
def film(shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> TranscodeJob:
    """The job of a video that is READY."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    clip = make_clip(path, *moving_picture(SECONDS)).read_bytes()
    stage = shared_stage.with_own_queues()
    with stage.worker():
        job = stage.upload(clip)
        stage.send(job)
        assert stage.finished(job).status is VideoStatus.READY
    return job


def asked(job: TranscodeJob, **values: Any) -> tuple[TranscodeJob, Thumbnail]:
    """Return a request for a thumbnail, and its job."""
    request = Thumbnail(
        video_id=job.video_id,
        thumbnail_id=new_id(),
        status=ThumbnailStatus.PENDING,
        requested_by="ada",
        requested_at=timestamp(),
        **values,
    )
    part = thumbnail_part(request.thumbnail_id)
    return replace(job, part=part, queued_at=request.requested_at), request


def ask(stage: Stage, job: TranscodeJob, **values: Any) -> Thumbnail:
    """Ask for a thumbnail as the API does."""
    its_job, request = asked(job, **values)
    stage.put(request)
    stage.send(its_job)
    return request


def stored(stage: Stage, job: TranscodeJob) -> Thumbnail:
    item = stage.emulator.client("dynamodb").get_item(
        TableName=TABLE, Key=table.thumbnail_key(job.video_id).to_wire(), ConsistentRead=True
    )["Item"]
    return Thumbnail.from_item(item)


def key_of(request: Thumbnail) -> str:
    return thumbnail_key(REGION, "acme", request.video_id, request.thumbnail_id)


def exists(stage: Stage, key: str) -> bool:
    found = stage.emulator.client("s3").list_objects_v2(Bucket=MEDIA, Prefix=key)
    return found["KeyCount"] == 1


def settled(stage: Stage) -> None:
    eventually(lambda: not stage.left(), "the message is deleted")


def test_frame_becomes_the_thumbnail(stage: Stage, film: TranscodeJob) -> None:
    before = stage.video(film)
    with stage.worker() as worker:
        request = ask(stage, film, at_seconds=2.5)
        settled(stage)
        stage.send(asked(film)[0])  # of a request that was never written
        stage.send(replace(film, part=thumbnail_part(request.thumbnail_id)))
        eventually(
            lambda: sum(line.get("message") == "nothing to do" for line in worker.log()) >= 1,
            "the repeated message is dropped",
        )
    video, key = stage.video(film), key_of(request)
    assert (video.thumbnail, video.version) == (key, before.version + 1)
    assert stored(stage, film).status is ThumbnailStatus.READY
    event = max(stage.events(film), key=lambda event: event.sequence)
    assert event.event_type is EventType.VIDEO_UPDATED
    assert event.data == {"updated_by": "ada", "changed": {"thumbnail": key}}
    s3 = stage.emulator.client("s3")
    head = s3.head_object(Bucket=MEDIA, Key=key)
    assert (head["ContentType"], "immutable" in head["CacheControl"]) == ("image/jpeg", True)
    tags = s3.get_object_tagging(Bucket=MEDIA, Key=key)["TagSet"]
    assert tags == [{"Key": REPLICATE_TAG, "Value": REPLICATE_VALUE}]


def put_picture(stage: Stage, job: TranscodeJob, body: bytes) -> str:
    upload_id = new_id()
    key = picture_key(job.tenant, job.video_id, upload_id)
    stage.emulator.client("s3").put_object(Bucket=RAW, Key=key, Body=body)
    return upload_id


def test_uploaded_picture_becomes_the_thumbnail(
    stage: Stage, film: TranscodeJob, tmp_path: Path
) -> None:
    picture = make_clip(tmp_path / "a.png", "-f", "lavfi", "-i", "color=red", "-frames:v", "1")
    before = stage.video(film).thumbnail
    if before is None:
        before = thumbnail_key(REGION, film.tenant, film.video_id, new_id())
        stage.edit(film, thumbnail=before)
    with stage.worker():
        request = ask(stage, film, upload_id=put_picture(stage, film, picture.read_bytes()))
        settled(stage)
    assert stage.video(film).thumbnail == key_of(request)
    note = stage.purge(replace(film, run_id=thumbnail_of_key(before)))
    assert note is not None
    assert timestamp() < note.due_at
    body = stage.emulator.client("s3").get_object(Bucket=MEDIA, Key=key_of(request))["Body"].read()
    assert body.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"#EXTM3U\nhttp://example.com/", "not_a_picture"),
        (b"\x89PNG\r\n\x1a\nand nothing of a picture", "damaged_picture"),
        (b"", "empty"),
        (None, "source_missing"),
    ],
)
def test_what_is_no_picture_is_told_and_changes_nothing(
    stage: Stage, film: TranscodeJob, body: bytes | None, code: str
) -> None:
    before = stage.video(film)
    upload_id = new_id() if body is None else put_picture(stage, film, body)
    with stage.worker():
        request = ask(stage, film, upload_id=upload_id)
        settled(stage)
    found = stored(stage, film)
    assert (found.status, found.failure and found.failure.code) == (ThumbnailStatus.FAILED, code)
    assert stage.video(film) == before
    assert not exists(stage, key_of(request))
    assert stage.letters() == []


def test_second_beyond_the_end_is_told(stage: Stage, film: TranscodeJob) -> None:
    with stage.worker():
        ask(stage, film, at_seconds=SECONDS + 60)
        settled(stage)
    failure = stored(stage, film).failure
    assert failure is not None
    assert failure.code == "no_such_frame"


def test_later_request_wins_over_one_that_is_finished_late(
    stage: Stage, film: TranscodeJob
) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire) as slow,
    ):
        first, request = asked(film, at_seconds=1)
        trap = wire.before(lambda call: call.puts(".jpg"))
        stage.put(request)
        stage.send(first)
        trap.wait()
        _, later = asked(film, at_seconds=3)
        stage.put(later)
        before = stage.video(film)
        trap.let_go()
        slow.wait_for("the run has ended")
        settled(stage)
    assert stage.video(film) == before
    assert stored(stage, film) == later


def test_worker_that_dies_leaves_it_to_another(stage: Stage, film: TranscodeJob) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.behind(lambda call: call.puts(".jpg"))
        request = ask(stage, film, at_seconds=4)
        trap.wait()
        worker.kill()
    with stage.worker():
        settled(stage)
    assert stage.video(film).thumbnail == key_of(request)
    assert stored(stage, film).status is ThumbnailStatus.READY


def test_thumbnail_that_cannot_be_made_is_given_up(stage: Stage, film: TranscodeJob) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_failures=1) as worker,
    ):
        wire.refuse = lambda call: call.puts(".jpg")
        before = stage.video(film)
        ask(stage, film, at_seconds=1)
        worker.wait_for("given up")
        settled(stage)
    found = stored(stage, film)
    assert found.failure is not None
    assert (found.status, found.failure.code) == (ThumbnailStatus.FAILED, "processing_failed")
    assert stage.video(film) == before
    ((letter, _),) = stage.letters()
    assert isinstance(letter, TranscodeJob)
    assert letter.part == thumbnail_part(found.thumbnail_id)


@pytest.mark.parametrize(
    "changes", [{"tenant": "another"}, {"key": "raw/another"}, {"version_id": "another"}], ids=str
)
def test_job_that_names_another_source_gets_nothing(
    stage: Stage, film: TranscodeJob, changes: dict[str, str], tmp_path: Path
) -> None:
    picture = make_clip(tmp_path / "a.png", "-f", "lavfi", "-i", "color=red", "-frames:v", "1")
    named = replace(film, **changes)
    job, request = asked(film, upload_id=put_picture(stage, named, picture.read_bytes()))
    stage.put(request)
    before = stage.video(film)
    with stage.worker() as worker:
        stage.send(replace(job, **changes))
        settled(stage)
        worker.wait_for("the run has ended")
    assert stage.video(film) == before
    assert not exists(stage, thumbnail_key(REGION, "another", film.video_id, request.thumbnail_id))
    assert not exists(stage, key_of(request))
