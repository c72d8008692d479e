"""Holding a run, against the emulator's table: one holder, and no write of anybody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from emulator import REGION, running_emulator
from worker_stage import TABLE, Stage, make_stage

from media_platform.contract.events import EventType
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import Rendition, Run, RunStatus
from media_platform.contract.video import Failure, Video, VideoStatus, change
from media_worker.faults import StoppedError
from media_worker.runs import Busy, HeldRun, RunLedger, Settled

RENDITION = Rendition(height=360, width=640, frames=250, bandwidth=1, codecs="avc1.64001e")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))


@pytest.fixture
def job(stage: Stage) -> TranscodeJob:
    return stage.upload(b"film")


def ledger(stage: Stage, lease_seconds: int = 60) -> RunLedger:
    return RunLedger(stage.emulator.client("dynamodb"), TABLE, REGION, lease_seconds)


def hold(stage: Stage, job: TranscodeJob, lease_seconds: int = 60) -> HeldRun:
    held = ledger(stage, lease_seconds).claim(job)
    assert isinstance(held, HeldRun)
    return held


def stored_run(stage: Stage, job: TranscodeJob) -> Run:
    run = stage.run(job)
    assert run is not None
    return run


def edit(stage: Stage, job: TranscodeJob, **changes: object) -> Video:
    """Change a video as the API would."""
    made = change(TABLE, stage.video(job), region=REGION, **changes)
    stage.emulator.client("dynamodb").transact_write_items(TransactItems=made.writes)
    return made.video


def complete(held: HeldRun) -> Video:
    return held.complete(duration_seconds=10.0, size=(640, 360), renditions=[RENDITION])


def test_claim_starts_the_run_and_the_video(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    assert held.attempt == 1
    assert stage.video(job).status is VideoStatus.PROCESSING
    run = stored_run(stage, job)
    assert (run.status, run.attempt) == (RunStatus.RUNNING, 1)


def test_second_worker_waits_for_the_lease(stage: Stage, job: TranscodeJob) -> None:
    hold(stage, job)
    claim = ledger(stage).claim(job)
    assert isinstance(claim, Busy)
    assert 0 < claim.seconds <= 60


def test_take_over_fences_the_first_worker(stage: Stage, job: TranscodeJob) -> None:
    first = hold(stage, job, lease_seconds=0)
    second = hold(stage, job)
    assert second.attempt == 2
    before = stored_run(stage, job)
    writes: list[Callable[[], object]] = [
        first.renew,
        first.release,
        first.count_failure,
        first.cancel,
        lambda: first.note(progress=50),
        lambda: complete(first),
        lambda: first.fail(Failure(code="c", message="m")),
    ]
    for write in writes:
        with pytest.raises(StoppedError, match="fence lost"):
            write()
    assert stored_run(stage, job) == before
    assert stage.video(job).status is VideoStatus.PROCESSING
    assert stage.events(job) == []
    complete(second)
    assert stage.video(job).status is VideoStatus.READY


def test_completed_run_is_settled(stage: Stage, job: TranscodeJob) -> None:
    complete(hold(stage, job))
    assert isinstance(ledger(stage).claim(job), Settled)
    (event,) = stage.events(job)
    assert (event.event_type, event.sequence) == (EventType.VIDEO_READY, stage.video(job).version)


def test_failed_run_is_settled_and_can_be_redriven(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    held.fail(Failure(code="c", message="m"))
    assert stage.video(job).failure == Failure(code="c", message="m")
    assert isinstance(ledger(stage).claim(job), Settled)
    # A redrive opens the run again.
    reopened = Run(**{**stored_run(stage, job).__dict__, "status": RunStatus.RUNNING})
    stage.emulator.client("dynamodb").put_item(TableName=TABLE, Item=reopened.to_item())
    again = hold(stage, job)
    assert again.attempt == 2
    video = stage.video(job)
    assert (video.status, video.failure) == (VideoStatus.PROCESSING, None)


@pytest.mark.parametrize(
    "changes", [{"current_run": "another"}, {"raw_version_id": "another"}], ids=str
)
def test_job_that_nobody_waits_for_is_settled(
    stage: Stage, job: TranscodeJob, changes: dict[str, str]
) -> None:
    edit(stage, job, **changes)
    assert isinstance(ledger(stage).claim(job), Settled)
    assert stage.run(job) is None


class Interfering(RunLedger):
    """Lets somebody else change the video between our reading and our writing."""

    meanwhile: Callable[[], object] | None = None

    def video(self, video_id: str) -> Video | None:
        video = super().video(video_id)
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return video


def interfering(stage: Stage, job: TranscodeJob) -> tuple[Interfering, HeldRun]:
    found = Interfering(stage.emulator.client("dynamodb"), TABLE, REGION, 60)
    held = found.claim(job)
    assert isinstance(held, HeldRun)
    return found, held


def test_new_title_in_the_last_moment_is_kept(stage: Stage, job: TranscodeJob) -> None:
    found, held = interfering(stage, job)
    found.meanwhile = lambda: edit(stage, job, title="New")
    complete(held)
    video = stage.video(job)
    assert (video.title, video.status) == ("New", VideoStatus.READY)
    assert len(stage.events(job)) == 1
    assert stored_run(stage, job).status is RunStatus.COMPLETE


def test_deletion_in_the_last_moment_wins(stage: Stage, job: TranscodeJob) -> None:
    found, held = interfering(stage, job)
    found.meanwhile = lambda: edit(stage, job, status=VideoStatus.DELETED)
    with pytest.raises(StoppedError, match="deleted"):
        complete(held)
    assert stage.video(job).status is VideoStatus.DELETED
    assert stage.events(job) == []
    assert stored_run(stage, job).status is RunStatus.RUNNING


def test_heartbeat_notices_a_deletion(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    held.renew()
    edit(stage, job, status=VideoStatus.DELETED)
    with pytest.raises(StoppedError, match="deleted"):
        held.renew()


def test_failures_are_counted_and_the_run_is_let_go(stage: Stage, job: TranscodeJob) -> None:
    assert hold(stage, job).count_failure() == 1
    again = hold(stage, job)
    assert (again.attempt, again.run.failures) == (2, 1)
    assert again.count_failure() == 2
