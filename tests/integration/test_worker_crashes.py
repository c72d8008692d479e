"""Workers that die, are asked to go, wake up late or meet faults: nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import REGION, running_emulator
from waiting import eventually
from worker_stage import MEDIA, Stage, WorkerProcess, decode, make_clip, make_stage, moving_picture

from media_platform.contract.events import EventType
from media_platform.contract.jobs import DEAD_LETTER_REASON, TranscodeJob
from media_platform.contract.run import RunStatus
from media_platform.contract.video import VideoStatus, change

SECONDS = 40
FRAMES = SECONDS * 25
SHORT_LEASE = 6
"""Seconds; a run that nobody renews is free after them."""

MISSING_MEDIA = "media-that-is-missing"


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("emulator")
    with running_emulator(folder) as emulator:
        yield make_stage(
            emulator, tmp_path_factory.mktemp("worker"), media_buckets=[MEDIA, MISSING_MEDIA]
        )
        assert emulator.denied() == []


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    return shared_stage.with_own_queue()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clip that takes long enough to be interrupted in the middle."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, *moving_picture(SECONDS, "640x360")).read_bytes()


def start(stage: Stage, clip: bytes) -> TranscodeJob:
    job = stage.upload(clip)
    stage.send(job)
    return job


def assert_complete(stage: Stage, job: TranscodeJob, *, attempt: int, failures: int = 0) -> None:
    """Hold the end of a job against the clip: every frame once, one event, one attempt's files."""
    video, run = stage.finished(job), stage.run(job)
    assert run is not None
    assert (video.status, run.status) == (VideoStatus.READY, RunStatus.COMPLETE)
    assert (run.attempt, run.failures) == (attempt, failures)
    assert [rendition.frames for rendition in run.renditions] == [FRAMES]
    assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_READY]
    folder = stage.download(job)
    assert decode(folder / "v360/playlist.m3u8") == FRAMES
    for track in ("v360", "audio"):
        text = (folder / track / "playlist.m3u8").read_text()
        assert text.endswith("#EXT-X-ENDLIST\n")
        names = [line for line in text.splitlines() if line.endswith(".m4s")]
        assert names == [f"{attempt}/{number:06d}.m4s" for number in range(SECONDS // 4)]


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def playable_with_children(worker: WorkerProcess) -> set[int]:
    """Wait until a job can be played and is still encoded; return the ids of the encoders."""
    worker.wait_for("playable")
    children = worker.children()
    assert children, "the encoder has ended before the test could interrupt it"
    return children


def test_killed_worker_is_followed_by_another(stage: Stage, clip: bytes) -> None:
    job = start(stage, clip)
    with stage.worker(visibility_timeout_seconds=SHORT_LEASE) as first:
        children = playable_with_children(first)
        first.kill()
        eventually(lambda: all(gone(pid) for pid in children), "the encoders die with the worker")
    before = stage.entries(job, "v360")
    assert before
    with stage.worker(visibility_timeout_seconds=SHORT_LEASE) as second:
        second.wait_for("job started")
        seen = [len(before)]

        def complete() -> bool:
            seen.append(len(stage.entries(job, "v360")))
            return stage.video(job).status is VideoStatus.READY

        eventually(complete, "the video is ready")
        assert seen == sorted(seen)
        assert_complete(stage, job, attempt=2)


def test_worker_that_is_asked_to_go_gives_its_job_back(stage: Stage, clip: bytes) -> None:
    job = start(stage, clip)
    with stage.worker() as first:
        children = playable_with_children(first)
        first.terminate()
        assert first.process.wait(5) == 0
        assert all(gone(pid) for pid in children)
        run = stage.run(job)
        assert run is not None
        assert (run.lease_until, run.failures, run.attempt) == (0, 0, 1)
    with stage.worker() as second:
        second.wait_for("job started")
        assert_complete(stage, job, attempt=2)


def test_idle_worker_goes_at_once(stage: Stage) -> None:
    with stage.worker() as worker:
        worker.wait_for("worker started")
        worker.terminate()
        assert worker.process.wait(5) == 0


def test_worker_that_wakes_up_late_changes_nothing(stage: Stage, clip: bytes) -> None:
    job = start(stage, clip)
    with stage.worker(visibility_timeout_seconds=SHORT_LEASE) as first:
        playable_with_children(first)
        first.process.send_signal(signal.SIGSTOP)
        with stage.worker(visibility_timeout_seconds=SHORT_LEASE) as second:
            second.wait_for("video ready")
        before = (stage.video(job), stage.run(job), set(stage.objects(job)))
        first.process.send_signal(signal.SIGCONT)
        first.wait_for("gave up")
        assert (stage.video(job), stage.run(job)) == before[:2]
        late = set(stage.objects(job)) - before[2]
        assert all("/1/" in name for name in late), late
        assert_complete(stage, job, attempt=2)


def test_deleted_video_is_no_longer_worked_on(stage: Stage, clip: bytes) -> None:
    job = start(stage, clip)
    with stage.worker(visibility_timeout_seconds=3) as worker:
        playable_with_children(worker)
        deleted = change(
            stage.environment.table_name,
            stage.video(job),
            region=REGION,
            status=VideoStatus.DELETED,
        )
        stage.emulator.client("dynamodb").transact_write_items(TransactItems=deleted.writes)
        worker.wait_for("the video was deleted")
        eventually(lambda: not stage.left(), "the message is deleted")
    run = stage.run(job)
    assert run is not None
    assert run.status is RunStatus.CANCELLED
    assert stage.video(job).status is VideoStatus.DELETED
    assert stage.events(job) == []


def test_passing_fault_is_tried_again(stage: Stage, clip: bytes) -> None:
    job = start(stage, clip)
    with stage.worker(media_bucket=MISSING_MEDIA) as worker:
        worker.wait_for("failed, will be tried again")
        run = stage.run(job)
        assert run is not None
        assert (run.failures, run.lease_until) == (1, 0)
        worker.terminate()
        worker.process.wait(5)
    with stage.worker() as worker:
        assert_complete(stage, job, attempt=2, failures=1)


def test_lasting_fault_ends_among_the_dead_letters(stage: Stage, clip: bytes) -> None:
    job = start(stage, clip)
    with stage.worker(media_bucket=MISSING_MEDIA, max_failures=1):
        video = stage.finished(job)
    assert video.failure is not None
    assert (video.status, video.failure.code) == (VideoStatus.FAILED, "processing_failed")
    assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_FAILED]
    (letter,) = stage.emulator.messages(stage.environment.dead_letter_queue_url)
    assert TranscodeJob.from_json(letter["Body"]) == job
    reason = letter["MessageAttributes"][DEAD_LETTER_REASON]["StringValue"]
    assert "NoSuchBucket" in reason


def test_missing_variables_are_all_named(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start({"TABLE_NAME": "videos", "IDLE_SECONDS": "soon"}, tmp_path / "log")
    assert worker.process.wait(20) == os.EX_CONFIG
    text = worker.log_file.read_text()
    assert "QUEUE_URL is missing" in text
    assert "IDLE_SECONDS is 'soon', not int" in text
    assert "TABLE_NAME" not in text
