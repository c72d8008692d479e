"""Jobs through real worker processes: what is published, and what the table says in the end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from emulator import running_emulator
from waiting import eventually
from worker_stage import Stage, WorkerProcess, decode, make_clip, make_stage, moving_picture

from media_platform.contract.events import EventType
from media_platform.contract.run import RunStatus
from media_platform.contract.video import Video, VideoStatus


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("emulator")
    with running_emulator(folder) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))
        assert emulator.denied() == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", *moving_picture(9)).read_bytes()


@pytest.fixture(scope="module")
def worker(stage: Stage) -> Iterator[WorkerProcess]:
    with stage.worker() as process:
        yield process


def test_video_becomes_ready_and_plays(worker: WorkerProcess, stage: Stage, clip: bytes) -> None:
    job = stage.upload(clip)
    stage.send(job)
    video = stage.finished(job)
    run = stage.run(job)
    assert run is not None
    assert video.status is VideoStatus.READY
    assert (video.duration_seconds, video.width, video.height) == (9.0, 320, 180)
    assert (run.status, run.progress) == (RunStatus.COMPLETE, 100)
    assert run.playable_at is not None
    assert [(r.height, r.width, r.frames) for r in run.renditions] == [(180, 320, 225)]
    (event,) = stage.events(job)
    assert event.event_type is EventType.VIDEO_READY
    assert event.sequence == video.version
    assert event.data["duration_seconds"] == 9.0
    assert event.data["renditions"][0]["frames"] == 225

    folder = stage.download(job)
    assert decode(folder / "v180/playlist.m3u8") == 225
    assert decode(folder / "audio/playlist.m3u8") > 0
    assert (folder / "poster.jpg").read_bytes().startswith(b"\xff\xd8")
    playlist = (folder / "v180/playlist.m3u8").read_text()
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in playlist
    assert playlist.endswith("#EXT-X-ENDLIST\n")
    master = (folder / "master.m3u8").read_text()
    assert re.search(r'RESOLUTION=320x180.*CODECS="avc1\.64001e,mp4a\.40\.2"', master)


def test_objects_carry_types_and_lifetimes(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.send(job)
    stage.finished(job)
    headers = {
        name: (head["ContentType"], head["CacheControl"].split(", ")[-1])
        for name, head in stage.objects(job).items()
    }
    assert headers == {
        "master.m3u8": ("application/vnd.apple.mpegurl", "max-age=3600"),
        "poster.jpg": ("image/jpeg", "max-age=3600"),
        "v180/playlist.m3u8": ("application/vnd.apple.mpegurl", "max-age=3600"),
        "v180/1/init.mp4": ("video/mp4", "immutable"),
        **{f"v180/1/00000{n}.m4s": ("video/iso.segment", "immutable") for n in range(3)},
        "audio/playlist.m3u8": ("application/vnd.apple.mpegurl", "max-age=3600"),
        "audio/1/init.mp4": ("audio/mp4", "immutable"),
        **{f"audio/1/00000{n}.m4s": ("video/iso.segment", "immutable") for n in range(3)},
    }


def test_bad_upload_fails_at_once_with_a_reason(worker: WorkerProcess, stage: Stage) -> None:
    job = stage.upload(b"just some words\n" * 100)
    stage.send(job)
    video = stage.finished(job)
    run = stage.run(job)
    assert run is not None
    assert video.status is VideoStatus.FAILED
    assert video.failure is not None
    assert video.failure.code == "not_a_video"
    assert (run.status, run.failures, run.attempt) == (RunStatus.FAILED, 0, 1)
    (event,) = stage.events(job)
    assert event.event_type is EventType.VIDEO_FAILED
    assert event.data["code"] == "not_a_video"
    assert stage.objects(job) == {}


def test_empty_upload_fails(worker: WorkerProcess, stage: Stage) -> None:
    job = stage.upload(b"")
    stage.send(job)
    failure = stage.finished(job).failure
    assert failure is not None
    assert failure.code == "empty"


def test_upload_that_is_gone_fails(worker: WorkerProcess, stage: Stage, clip: bytes) -> None:
    job = stage.upload(clip)
    stage.emulator.client("s3").delete_object(
        Bucket=job.bucket, Key=job.key, VersionId=job.version_id
    )
    stage.send(job)
    failure = stage.finished(job).failure
    assert failure is not None
    assert failure.code == "source_missing"


def test_newer_version_of_the_object_is_not_what_counts(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.emulator.client("s3").put_object(Bucket=job.bucket, Key=job.key, Body=b"not this")
    stage.send(job)
    assert stage.finished(job).status is VideoStatus.READY


def test_repeated_message_is_done_once(worker: WorkerProcess, stage: Stage, clip: bytes) -> None:
    job = stage.upload(clip)
    for _ in range(3):
        stage.send(job)
    stage.finished(job)
    assert len(stage.events(job)) == 1
    run = stage.run(job)
    assert run is not None
    assert run.attempt == 1
    assert worker.said("nothing to do")


def test_message_of_a_deleted_video_goes_away(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.emulator.client("dynamodb").put_item(
        TableName=stage.environment.table_name,
        Item=Video(**{**stage.video(job).__dict__, "status": VideoStatus.DELETED}).to_item(),
    )
    stage.send(job)
    eventually(lambda: not stage.left(), "the message is deleted")
    assert stage.run(job) is None


def test_what_is_no_job_goes_to_the_dead_letters(worker: WorkerProcess, stage: Stage) -> None:
    stage.emulator.client("sqs").send_message(QueueUrl=stage.queue_url, MessageBody='{"a": 1}')
    eventually(lambda: not stage.left(), "the message is moved")
    (letter,) = stage.emulator.messages(stage.environment.dead_letter_queue_url)
    assert letter["Body"] == '{"a": 1}'
    assert "not a transcode job" in letter["MessageAttributes"]["Reason"]["StringValue"]


def test_a_duplicate_waits_while_another_worker_holds_the_run(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    held = stage.hold(job, lease_seconds=15)
    stage.send(job)
    eventually(
        lambda: any(
            line.get("event") == "another worker holds the run" and line["run_id"] == job.run_id
            for line in worker.log()
        ),
        "the worker sees the lease",
    )
    run = stage.run(job)
    assert run is not None
    assert (run.attempt, run.lease_until) == (held.attempt, held.lease_until)
    assert stage.left() == 1
    # The lease passes without a renewal, as after a crash, and the message comes back for it.
    assert stage.finished(job).status is VideoStatus.READY
    run = stage.run(job)
    assert run is not None
    assert (run.attempt, run.failures) == (2, 0)
