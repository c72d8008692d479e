"""Runs and their parts, against the emulator's table: one holder, and no write of anybody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from emulator import REGION, running_emulator
from worker_outcome import stored_run
from worker_stage import TABLE, Stage, make_stage

from media_platform.contract import table
from media_platform.contract.budget import lifted_item, own_limit_item
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import (
    END,
    SOUND,
    Part,
    Rendition,
    Run,
    RunStatus,
    Span,
    video_part,
)
from media_platform.contract.spend import Spend
from media_platform.contract.times import timestamp
from media_platform.contract.video import Failure, Video, VideoStatus
from media_worker.budgets import TenantBudgets
from media_worker.claims import Busy, Done, HeldBack, Settled
from media_worker.faults import StoppedError, TransientError
from media_worker.held import HeldPart
from media_worker.runs import RunLedger

RENDITION = Rendition(height=360, width=640, frames=250, bandwidth=1, codecs="avc1.64001e")
FAILURE = Failure(code="c", message="m")
FIRST = video_part(0)
KEY_FRAMES = (((0, 10), (50, 10)),)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))


@pytest.fixture
def job(stage: Stage) -> TranscodeJob:
    return stage.upload(b"film")


def ledger(stage: Stage, lease_seconds: int = 60) -> RunLedger:
    return RunLedger(stage.emulator.client("dynamodb"), TABLE, REGION, lease_seconds)


def opened(stage: Stage, job: TranscodeJob) -> RunLedger:
    found = ledger(stage)
    assert isinstance(found.open(job, forgive=False), Run)
    return found


def hold(
    stage: Stage,
    job: TranscodeJob,
    name: str = FIRST,
    *,
    lease_seconds: int = 60,
    forgive: str | None = None,
) -> HeldPart:
    held = ledger(stage, lease_seconds).claim(job, name, forgive=forgive)
    assert isinstance(held, HeldPart)
    return held


def stored_part(stage: Stage, job: TranscodeJob, name: str = FIRST) -> Part:
    return stage.parts(job)[name]


def put_chunk(stage: Stage, job: TranscodeJob, number: int, *, done: bool = True) -> Part:
    part = Part(
        video_id=job.video_id,
        run_id=job.run_id,
        name=video_part(number),
        done=done,
        spans=(Span(attempt=1, segments=2),),
    )
    stage.put(part)
    return part


def complete(held: HeldPart) -> Video:
    return held.complete(
        duration_seconds=10.0, size=(640, 360), renditions=[RENDITION], old_run_seconds=3600
    )


# -- runs ------------------------------------------------------------------------------------------


def test_opening_starts_the_run_and_the_video(stage: Stage, job: TranscodeJob) -> None:
    found = ledger(stage).open(job, forgive=False)
    assert isinstance(found, Run)
    assert stored_run(stage, job) == found
    assert found.status is RunStatus.RUNNING
    assert stage.video(job).status is VideoStatus.PROCESSING
    version = stage.video(job).version
    assert ledger(stage).open(job, forgive=False) == found
    assert stage.video(job).version == version


def test_many_workers_open_one_run(stage: Stage, job: TranscodeJob) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: ledger(stage).open(job, forgive=False), range(6)))
    assert {one for one in found if isinstance(one, Run)} == {stored_run(stage, job)}
    assert all(isinstance(one, Run) for one in found)


@pytest.mark.parametrize(
    "changes", [{"current_run": "another"}, {"raw_version_id": "another"}], ids=str
)
def test_job_that_nobody_waits_for_is_settled(
    stage: Stage, job: TranscodeJob, changes: dict[str, str]
) -> None:
    stage.edit(job, **changes)
    assert isinstance(ledger(stage).open(job, forgive=True), Settled)
    assert stage.run(job) is None


def test_deleted_video_is_settled(stage: Stage, job: TranscodeJob) -> None:
    stage.edit(job, status=VideoStatus.DELETED)
    assert isinstance(ledger(stage).open(job, forgive=True), Settled)
    assert stage.run(job) is None


def test_plan_is_written_once(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    found.plan(job, plan="first", chunks=3)
    found.plan(job, plan="second", chunks=4)
    run = stored_run(stage, job)
    assert (run.plan, run.chunks) == ("first", 3)


# -- holding a part --------------------------------------------------------------------------------


def test_second_worker_waits_for_the_lease(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    assert held.attempt == 1
    claim = ledger(stage).claim(job, FIRST)
    assert isinstance(claim, Busy)
    assert 0 < claim.seconds <= 60
    assert stored_part(stage, job) == held.part


def test_one_of_many_gets_a_part(stage: Stage, job: TranscodeJob) -> None:
    for attempt in (1, 2):
        with ThreadPoolExecutor(6) as pool:
            claims = list(pool.map(lambda _: ledger(stage).claim(job, FIRST), range(6)))
        (held,) = [claim for claim in claims if isinstance(claim, HeldPart)]
        assert sum(isinstance(claim, Busy) for claim in claims) == 5
        assert held.attempt == attempt
        held.release()


def test_parts_are_held_apart(stage: Stage, job: TranscodeJob) -> None:
    names = [FIRST, video_part(1), SOUND, END]
    for name in names:
        assert hold(stage, job, name).attempt == 1
    assert set(stage.parts(job)) == set(names)


def test_take_over_fences_the_first_worker(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    first = found.claim(job, FIRST)
    assert isinstance(first, HeldPart)
    found.lease_seconds += 1  # so that a renewal writes
    stage.put(replace(first.part, lease_until=1))  # time passes
    second = hold(stage, job)
    assert second.attempt == 2
    before = (stored_run(stage, job), stage.parts(job), stage.video(job))
    writes: list[Callable[[], object]] = [
        first.renew,
        first.count_failure,
        lambda: first.record(segments=1, samples=100),
        lambda: first.record(segments=0, samples=0, done=True),
        lambda: first.note(gains=(1.0,)),
        lambda: complete(first),
        lambda: first.fail(FAILURE),
    ]
    for write in writes:
        with pytest.raises(StoppedError, match="fence lost"):
            write()
    assert (stored_run(stage, job), stage.parts(job), stage.video(job)) == before
    assert stage.events(job) == []
    complete(second)
    assert stage.video(job).status is VideoStatus.READY


def test_release_of_a_part_that_was_lost_frees_nothing(stage: Stage, job: TranscodeJob) -> None:
    first = hold(stage, job)
    stage.put(replace(first.part, lease_until=0))
    second = hold(stage, job)
    with pytest.raises(StoppedError, match="fence lost"):
        first.release()
    assert stored_part(stage, job) == second.part


def test_part_that_is_done_is_not_taken(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    held.record(segments=1, samples=100, key_frames=[KEY_FRAMES], done=True, lease_until=0)
    assert ledger(stage).claim(job, FIRST) == Done(held.part)
    with pytest.raises(StoppedError, match="fence lost"):
        HeldPart(ledger(stage), job, replace(held.part, done=False)).note(samples=5)


# -- records ---------------------------------------------------------------------------------------


def test_records_add_up(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    held.record(segments=1, samples=100, key_frames=[KEY_FRAMES])
    held.record(segments=2, samples=150, key_frames=[KEY_FRAMES] * 2)
    part = stored_part(stage, job)
    assert part == held.part
    assert part.spans == (Span(attempt=1, segments=3),)
    assert (part.samples, part.segments, part.attempts) == (250, 3, (1, 1, 1))
    assert part.key_frames == (KEY_FRAMES,) * 3


def test_who_takes_over_goes_on_behind_the_records(stage: Stage, job: TranscodeJob) -> None:
    first = hold(stage, job)
    first.record(segments=2, samples=200)
    first.release()
    hold(stage, job).release()  # came to nothing
    third = hold(stage, job)
    assert (third.part.segments, third.part.samples) == (2, 200)
    third.record(segments=1, samples=50, done=True, lease_until=0)
    part = stored_part(stage, job)
    assert part.spans == (Span(attempt=1, segments=2), Span(attempt=3, segments=1))
    assert part.attempts == (1, 1, 3)
    assert part.done


def test_what_was_spent_is_told_with_the_next_write(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job)
    held.spend(cpu_seconds=1.5, bytes_in=10)
    held.spend(cpu_seconds=0.5, bytes_out=7)
    assert held.cpu_seconds == 2.0
    held.renew()
    held.record(segments=1, samples=100)
    part = stored_part(stage, job)
    assert (part.cpu_seconds, part.bytes_in, part.bytes_out) == (2.0, 10, 7)
    held.release()
    again = hold(stage, job)
    again.spend(cpu_seconds=1.0)
    again.release()
    assert stored_part(stage, job).cpu_seconds == 3.0


def stored_spend(stage: Stage, job: TranscodeJob) -> Spend | None:
    day = str(stored_run(stage, job).started_at)[:10]
    key = table.spend_key(job.tenant, day, job.video_id, job.run_id)
    item = ledger(stage).item(key)
    return None if item is None else Spend.from_item(item)


def test_what_a_run_took_is_kept_over_all_attempts(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    assert stored_spend(stage, job) is None
    found.expect(job, stored_run(stage, job), megapixels=1000)
    expected = stored_spend(stage, job)
    assert expected is not None
    assert (expected.status, expected.cpu_seconds) == (RunStatus.RUNNING, 29.0)

    interrupted = hold(stage, job)
    interrupted.spend(cpu_seconds=2.0, bytes_in=30, bytes_out=4)
    interrupted.release()
    again = hold(stage, job)
    again.spend(cpu_seconds=1.0, bytes_in=10)
    again.record(segments=1, samples=250, done=True, lease_until=0)
    end = hold(stage, job, END)
    end.spend(cpu_seconds=0.5)
    complete(end)
    spend = stored_spend(stage, job)
    assert spend is not None
    assert (spend.cpu_seconds, spend.bytes_in, spend.bytes_out) == (3.5, 40, 4)
    assert (spend.status, spend.region) == (RunStatus.COMPLETE, REGION)
    # Another worker that planned the same comes too late to change what is known.
    found.expect(job, stored_run(stage, job), megapixels=1000)
    assert stored_spend(stage, job) == spend


def test_what_a_failed_run_took_is_not_counted_twice(stage: Stage, job: TranscodeJob) -> None:
    opened(stage, job)
    held = hold(stage, job)
    held.spend(cpu_seconds=2.0)
    held.fail(FAILURE)
    failed = stored_spend(stage, job)
    assert failed is not None
    assert (failed.status, failed.cpu_seconds) == (RunStatus.FAILED, 2.0)
    assert isinstance(ledger(stage).open(job, forgive=True), Run)
    again = hold(stage, job)
    again.spend(cpu_seconds=3.0)
    again.record(segments=1, samples=250, done=True, lease_until=0)
    complete(hold(stage, job, END))
    spend = stored_spend(stage, job)
    assert spend is not None
    assert (spend.status, spend.cpu_seconds) == (RunStatus.COMPLETE, 5.0)


def test_what_a_cancelled_run_took_is_known(stage: Stage, job: TranscodeJob) -> None:
    opened(stage, job)
    held = hold(stage, job)
    held.spend(cpu_seconds=2.0, bytes_out=9)
    held.release()
    stage.edit(job, status=VideoStatus.DELETED)
    ledger(stage).cancel(job)
    spend = stored_spend(stage, job)
    assert spend is not None
    assert (spend.status, spend.cpu_seconds, spend.bytes_out) == (RunStatus.CANCELLED, 2.0, 9)


# -- the budget of a day ---------------------------------------------------------------------------


def budgets(stage: Stage, limit: int) -> TenantBudgets:
    return TenantBudgets(stage.emulator.client("dynamodb"), TABLE, limit_cpu_seconds=limit)


def begins(stage: Stage, job: TranscodeJob, limit: int = 100) -> object:
    return ledger(stage).open(job, forgive=False, budgets=budgets(stage, limit))


def test_who_spent_the_budget_of_the_day_waits_until_it_is_lifted(stage: Stage) -> None:
    tenant = f"spender-{new_id()[-12:]}"
    first, second, third = (stage.upload(b"film", tenant=tenant) for _ in range(3))
    assert isinstance(begins(stage, first), Run)
    ledger(stage).expect(first, stored_run(stage, first), megapixels=99 / 0.029)
    # What is expected of those that go on counts; as long as something is left, another begins.
    assert isinstance(begins(stage, second), Run)
    ledger(stage).expect(second, stored_run(stage, second), megapixels=1 / 0.029)
    assert begins(stage, third) == HeldBack(first=True)
    assert begins(stage, third) == HeldBack(first=False)
    video = stage.video(third)
    assert (video.status, video.held_back) == (VideoStatus.UPLOADED, "daily_budget")
    assert stage.run(third) is None
    # What has begun goes on, another tenant is not meant, and neither is a stage without a budget.
    assert isinstance(begins(stage, first), Run)
    assert isinstance(begins(stage, stage.upload(b"film")), Run)

    stage.emulator.client("dynamodb").put_item(
        TableName=TABLE, Item=lifted_item(tenant, at=timestamp())
    )
    assert isinstance(begins(stage, third), Run)
    video = stage.video(third)
    assert (video.status, video.held_back) == (VideoStatus.PROCESSING, None)


def test_a_tenant_may_have_a_budget_of_its_own(stage: Stage) -> None:
    tenant = f"spender-{new_id()[-12:]}"
    first, second, third = (stage.upload(b"film", tenant=tenant) for _ in range(3))
    assert isinstance(begins(stage, first), Run)
    ledger(stage).expect(first, stored_run(stage, first), megapixels=150 / 0.029)
    assert isinstance(begins(stage, second), HeldBack)
    give_budget(stage, tenant, 200)
    assert isinstance(begins(stage, second), Run)
    give_budget(stage, tenant, 50)
    assert isinstance(begins(stage, third, limit=1000), HeldBack)
    # Without a budget of the stage none holds, and nobody is asked.
    assert isinstance(begins(stage, third, limit=0), Run)


def give_budget(stage: Stage, tenant: str, cpu_seconds: int) -> None:
    stage.emulator.client("dynamodb").put_item(
        TableName=TABLE, Item=own_limit_item(tenant, cpu_seconds, at=timestamp())
    )


def test_another_day_has_a_budget_of_its_own(stage: Stage) -> None:
    tenant = f"spender-{new_id()[-12:]}"
    job = stage.upload(b"film", tenant=tenant)
    spend = Spend(
        tenant=tenant,
        video_id=new_id(),
        run_id=new_id(),
        region=REGION,
        day="2026-11-25",
        status=RunStatus.COMPLETE,
        cpu_seconds=1e6,
    )
    stage.emulator.client("dynamodb").put_item(TableName=TABLE, Item=spend.to_item())
    assert isinstance(begins(stage, job), Run)


def test_a_budget_that_shrinks_in_the_end_lets_more_begin(stage: Stage) -> None:
    tenant = f"spender-{new_id()[-12:]}"
    first, second = (stage.upload(b"film", tenant=tenant) for _ in range(2))
    assert isinstance(begins(stage, first), Run)
    ledger(stage).expect(first, stored_run(stage, first), megapixels=1e6)
    assert isinstance(begins(stage, second), HeldBack)
    held = hold(stage, first)
    held.spend(cpu_seconds=99)
    held.record(segments=1, samples=250, done=True, lease_until=0)
    complete(hold(stage, first, END))
    assert isinstance(begins(stage, second), Run)


def test_a_ready_video_that_is_held_back_keeps_what_viewers_have(stage: Stage) -> None:
    tenant = f"spender-{new_id()[-12:]}"
    job = stage.upload(b"film", tenant=tenant)
    assert isinstance(begins(stage, job), Run)
    ledger(stage).expect(job, stored_run(stage, job), megapixels=1e6)
    complete(hold(stage, job, END))
    again = stage.transcode_again(job)
    item = Spend.expected(
        stored_run(stage, job), tenant=tenant, region=REGION, megapixels=1e6
    ).to_item()
    stage.emulator.client("dynamodb").put_item(TableName=TABLE, Item=item)
    assert isinstance(begins(stage, again), HeldBack)
    video = stage.video(job)
    assert (video.status, video.held_back) == (VideoStatus.READY, "daily_budget")
    assert isinstance(begins(stage, again, limit=0), Run)
    assert stage.video(job).held_back is None


def test_sound_that_is_done_can_be_opened_again(stage: Stage, job: TranscodeJob) -> None:
    held = hold(stage, job, SOUND)
    held.record(segments=3, samples=500, done=True, lease_until=0)
    kept = (Span(attempt=1, segments=2),)
    again = ledger(stage).reopen(job, held.part, frames=240, spans=kept, samples=400)
    assert again is not None
    assert (again.attempt, again.part.done, again.part.frames) == (2, False, 240)
    assert stored_part(stage, job, SOUND) == again.part
    assert isinstance(ledger(stage).claim(job, SOUND), Busy)
    # Of two that verify at the same time, one opens it.
    assert ledger(stage).reopen(job, held.part, frames=240, spans=(), samples=0) is None
    again.record(segments=1, samples=90, done=True, lease_until=0)
    assert stored_part(stage, job, SOUND).attempts == (1, 1, 2)


# -- failures --------------------------------------------------------------------------------------


def test_failures_are_counted_and_the_part_is_let_go(stage: Stage, job: TranscodeJob) -> None:
    assert hold(stage, job).count_failure() == 1
    again = hold(stage, job)
    assert (again.attempt, again.part.failures) == (2, 1)
    assert again.count_failure() == 2
    hold(stage, job).release()
    assert stored_part(stage, job).failures == 2


def test_failures_are_forgiven_once_for_a_message(stage: Stage, job: TranscodeJob) -> None:
    for _ in range(2):
        hold(stage, job).count_failure()
    assert hold(stage, job, forgive="message").count_failure() == 1
    # The same message comes again, with its mark, after its own failure.
    assert hold(stage, job, forgive="message").count_failure() == 2
    assert hold(stage, job).count_failure() == 3
    assert hold(stage, job, forgive="another").count_failure() == 1


def test_failed_run_goes_on_for_an_operator_only(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    held = hold(stage, job)
    held.record(segments=1, samples=100)
    held.fail(FAILURE)
    assert stage.video(job).failure == FAILURE
    assert (stage.video(job).status, stored_run(stage, job).status) == (
        VideoStatus.FAILED,
        RunStatus.FAILED,
    )
    assert stored_part(stage, job).lease_until == 0
    (event,) = stage.events(job)
    assert (event.event_type, event.data["code"]) == (EventType.VIDEO_FAILED, "c")
    assert isinstance(found.open(job, forgive=False), Settled)
    with pytest.raises(StoppedError, match="ended"):
        found.check(job)

    assert isinstance(found.open(job, forgive=True), Run)
    video = stage.video(job)
    assert (video.status, video.failure) == (VideoStatus.PROCESSING, None)
    assert stored_run(stage, job).status is RunStatus.RUNNING
    assert stored_part(stage, job).segments == 1
    assert hold(stage, job).attempt == 2


# -- init segments ---------------------------------------------------------------------------------


def test_init_segments_of_all_parts_come_together(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    found.note_inits(job, {"v360": "init-a.mp4"}, {"v360": "avc1"})
    found.note_inits(job, {"audio": "init-b.mp4"}, {"audio": "mp4a"})
    found.note_inits(job, {"v360": "init-a.mp4"}, {"v360": "avc1"})
    run = stored_run(stage, job)
    assert run.inits == {"v360": "init-a.mp4", "audio": "init-b.mp4"}
    assert run.codecs == {"v360": "avc1", "audio": "mp4a"}


def test_other_init_segments_are_not_taken(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    found.note_inits(job, {"v360": "init-a.mp4"}, {"v360": "avc1"})
    with pytest.raises(TransientError, match=r"init-z\.mp4, but init-a\.mp4 was published"):
        found.note_inits(job, {"v360": "init-z.mp4", "v180": "x"}, {})
    assert stored_run(stage, job).inits == {"v360": "init-a.mp4"}


def test_init_segments_noted_at_the_same_time_all_stand(stage: Stage, job: TranscodeJob) -> None:
    opened(stage, job)
    tracks = [f"v{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        notes = [
            pool.submit(ledger(stage).note_inits, job, {track: f"init-{track}"}, {track: "c"})
            for track in [*tracks, *tracks]
        ]
        for note in notes:
            note.result()
    assert stored_run(stage, job).inits == {track: f"init-{track}" for track in tracks}


def test_init_segments_of_a_run_that_has_ended(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    hold(stage, job).fail(FAILURE)
    with pytest.raises(StoppedError, match="ended"):
        found.note_inits(job, {"v360": "init-a.mp4"}, {})


# -- publishing ------------------------------------------------------------------------------------


def test_one_of_many_has_the_turn(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    for _ in range(3):
        run = stored_run(stage, job)
        with ThreadPoolExecutor(6) as pool:
            turns = list(pool.map(lambda _, r=run: found.take_turn(job, r), range(6)))
        (turn,) = [turn for turn in turns if turn is not None]
        assert turn == stored_run(stage, job)
        assert turn.published_at > run.published_at


def test_who_publishes_late_writes_no_progress(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    slow = found.take_turn(job, stored_run(stage, job))
    assert slow is not None
    fast = found.take_turn(job, slow)
    assert fast is not None
    assert found.note(job, fast, progress=60, joined=4)
    assert not found.note(job, slow, progress=40, joined=2)
    run = stored_run(stage, job)
    assert (run.progress, run.joined) == (60, 4)


def test_turn_of_a_run_that_has_ended(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    turn = found.take_turn(job, stored_run(stage, job))
    assert turn is not None
    hold(stage, job).fail(FAILURE)
    assert found.take_turn(job, turn) is None
    assert not found.note(job, turn, progress=50)
    assert stored_run(stage, job).progress == 0


def planned(stage: Stage, job: TranscodeJob, chunks: int) -> RunLedger:
    found = opened(stage, job)
    found.plan(job, plan="{}", chunks=chunks)
    return found


@pytest.mark.parametrize("count", [1, 16, 17, 32])
def test_standing_reads_as_many_chunks_as_there_are(
    stage: Stage, job: TranscodeJob, count: int
) -> None:
    found = planned(stage, job, count)
    for number in range(count):
        put_chunk(stage, job, number)
    standing = found.standing(job)
    assert (standing.joined, standing.partial, standing.sound) == (count, None, None)
    assert standing.picture_complete
    assert [part.name for part in found.chunks(job, 0, count)] == [
        video_part(number) for number in range(count)
    ]


@pytest.mark.parametrize("at", [0, 15, 16, 39])
@pytest.mark.parametrize("begun", [False, True], ids=["gap", "partial"])
def test_standing_ends_where_a_chunk_is_missing(
    stage: Stage, job: TranscodeJob, at: int, begun: bool
) -> None:
    found = planned(stage, job, 40)
    for number in (*range(at), *range(at + 1, 40)):
        put_chunk(stage, job, number)
    partial = put_chunk(stage, job, at, done=False) if begun else None
    sound = hold(stage, job, SOUND).part
    standing = found.standing(job)
    assert (standing.joined, standing.partial, standing.sound) == (at, partial, sound)
    assert not standing.picture_complete


def test_standing_goes_on_from_where_it_was(stage: Stage, job: TranscodeJob) -> None:
    """The chunks before are complete for good, and are not read again."""
    found = planned(stage, job, 40)
    turn = found.take_turn(job, stored_run(stage, job))
    assert turn is not None
    found.note(job, turn, joined=20)
    for number in range(20, 23):
        put_chunk(stage, job, number)
    assert found.standing(job).joined == 23


def test_chunks_are_read_with_gaps_and_in_order(stage: Stage, job: TranscodeJob) -> None:
    found = planned(stage, job, 60)
    numbers = [*range(0, 60, 2), 5, 59]
    for number in reversed(numbers):
        put_chunk(stage, job, number)
    names = [part.name for part in found.chunks(job, 1, 60)]
    assert names == [video_part(number) for number in sorted(numbers) if number >= 1]


def test_standing_of_a_run_that_has_ended(stage: Stage, job: TranscodeJob) -> None:
    found = planned(stage, job, 3)
    hold(stage, job).fail(FAILURE)
    with pytest.raises(StoppedError, match="ended"):
        found.standing(job)


# -- the end ---------------------------------------------------------------------------------------


def test_completed_run_is_settled(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    complete(hold(stage, job, END))
    video, run = stage.video(job), stored_run(stage, job)
    assert (video.status, video.duration_seconds, video.width) == (VideoStatus.READY, 10.0, 640)
    assert (run.status, run.progress, run.renditions) == (RunStatus.COMPLETE, 100, (RENDITION,))
    end = stored_part(stage, job, END)
    assert (end.done, end.lease_until) == (True, 0)
    (event,) = stage.events(job)
    assert (event.event_type, event.sequence) == (EventType.VIDEO_READY, video.version)
    assert isinstance(found.open(job, forgive=True), Settled)
    assert stage.purge(job) is None


@pytest.fixture
def again(stage: Stage, job: TranscodeJob) -> TranscodeJob:
    """The job of a second run; the first is what viewers have."""
    opened(stage, job)
    complete(hold(stage, job, END))
    return stage.transcode_again(job)


def test_second_run_is_not_seen_until_it_is_complete(
    stage: Stage, job: TranscodeJob, again: TranscodeJob
) -> None:
    before = stage.video(again)
    assert isinstance(opened(stage, job=again).open(job, forgive=True), Settled)
    assert stage.video(again) == before
    held = hold(stage, again, END)
    assert stage.purge(job) is None

    complete(held)
    video, purge = stage.video(again), stage.purge(job)
    assert (video.status, video.current_run, video.next_run) == (
        VideoStatus.READY,
        again.run_id,
        None,
    )
    assert purge is not None
    assert (purge.run_id, purge.tenant, purge.region) == (job.run_id, job.tenant, REGION)
    assert str(video.ready_at) < purge.due_at
    assert [event.event_type for event in stage.events(again)] == [EventType.VIDEO_READY] * 2
    assert stored_run(stage, job).status is RunStatus.COMPLETE


def test_second_run_that_fails_takes_nothing_away(
    stage: Stage, job: TranscodeJob, again: TranscodeJob
) -> None:
    found = opened(stage, again)
    hold(stage, again).fail(FAILURE)
    video = stage.video(again)
    assert (video.status, video.current_run, video.next_run, video.failure) == (
        VideoStatus.READY,
        job.run_id,
        None,
        None,
    )
    last = max(stage.events(again), key=lambda event: event.sequence)
    assert (last.event_type, last.data["code"], last.data["run_id"]) == (
        EventType.VIDEO_UPDATED,
        "c",
        again.run_id,
    )
    assert stored_run(stage, again).status is RunStatus.FAILED
    assert stage.purge(job) is None
    assert stage.purge(again) is not None
    assert isinstance(found.open(again, forgive=False), Settled)


def test_second_run_is_given_up_for_a_third(stage: Stage, again: TranscodeJob) -> None:
    found = opened(stage, again)
    held = hold(stage, again, END)
    third = stage.transcode_again(again)
    before = stage.video(again)
    with pytest.raises(StoppedError, match="cancelled"):
        found.check(again)
    with pytest.raises(StoppedError, match="cancelled"):
        complete(held)
    found.cancel(again)
    assert stage.video(again) == before
    assert before.next_run == third.run_id
    assert stored_run(stage, again).status is RunStatus.CANCELLED
    assert stage.purge(again) is not None


class Interfering(RunLedger):
    """Lets somebody else change the video between our reading and our writing."""

    meanwhile: Callable[[], object] | None = None

    def video(self, video_id: str) -> Video | None:
        video = super().video(video_id)
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return video


def interfering(stage: Stage, job: TranscodeJob) -> tuple[Interfering, HeldPart]:
    opened(stage, job)
    found = Interfering(stage.emulator.client("dynamodb"), TABLE, REGION, 60)
    held = found.claim(job, END)
    assert isinstance(held, HeldPart)
    return found, held


def test_new_title_in_the_last_moment_is_kept(stage: Stage, job: TranscodeJob) -> None:
    found, held = interfering(stage, job)
    found.meanwhile = lambda: stage.edit(job, title="New")
    complete(held)
    video = stage.video(job)
    assert (video.title, video.status) == ("New", VideoStatus.READY)
    assert len(stage.events(job)) == 1
    assert stored_run(stage, job).status is RunStatus.COMPLETE


def test_new_title_while_the_run_is_opened_is_kept(stage: Stage, job: TranscodeJob) -> None:
    found = Interfering(stage.emulator.client("dynamodb"), TABLE, REGION, 60)
    found.meanwhile = lambda: stage.edit(job, title="New")
    assert isinstance(found.open(job, forgive=False), Run)
    video = stage.video(job)
    assert (video.title, video.status) == ("New", VideoStatus.PROCESSING)


@pytest.mark.parametrize(
    "write", [complete, lambda held: held.fail(FAILURE)], ids=["complete", "fail"]
)
def test_deletion_in_the_last_moment_wins(
    stage: Stage, job: TranscodeJob, write: Callable[[HeldPart], Any]
) -> None:
    found, held = interfering(stage, job)
    found.meanwhile = lambda: stage.edit(job, status=VideoStatus.DELETED)
    with pytest.raises(StoppedError, match="deleted"):
        write(held)
    assert stage.video(job).status is VideoStatus.DELETED
    assert stage.events(job) == []
    assert stored_run(stage, job).status is RunStatus.RUNNING
    found.cancel(job)
    assert stored_run(stage, job).status is RunStatus.CANCELLED


def test_take_over_in_the_last_moment_wins(stage: Stage, job: TranscodeJob) -> None:
    found, held = interfering(stage, job)

    def take_over() -> None:
        stage.put(replace(held.part, attempt=2, holder="another"))

    found.meanwhile = take_over
    with pytest.raises(StoppedError, match="fence lost"):
        complete(held)
    assert stage.video(job).status is VideoStatus.PROCESSING
    assert stored_run(stage, job).status is RunStatus.RUNNING


def test_heartbeat_notices_a_deletion(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    found.check(job)
    stage.edit(job, status=VideoStatus.DELETED)
    with pytest.raises(StoppedError, match="deleted"):
        found.check(job)


FAILED = {"status": VideoStatus.FAILED, "failure": Failure(code="cancelled", message="m")}


@pytest.mark.parametrize("forgive", [False, True])
def test_video_that_failed_before_its_run_began_stays_so(
    stage: Stage, job: TranscodeJob, forgive: bool
) -> None:
    before = stage.edit(job, **FAILED)
    assert isinstance(ledger(stage).open(job, forgive=forgive), Settled)
    assert (stage.video(job), stage.run(job)) == (before, None)


@pytest.mark.parametrize(
    "write", [complete, lambda held: held.fail(FAILURE)], ids=["complete", "fail"]
)
def test_cancelling_in_the_last_moment_wins(
    stage: Stage, job: TranscodeJob, write: Callable[[HeldPart], Any]
) -> None:
    found, held = interfering(stage, job)
    found.meanwhile = lambda: stage.edit(job, **FAILED)
    with pytest.raises(StoppedError, match="cancelled"):
        write(held)
    video = stage.video(job)
    assert (video.status, video.failure) == (FAILED["status"], FAILED["failure"])
    assert stage.events(job) == []
    assert isinstance(found.open(job, forgive=True), Settled)
    with pytest.raises(StoppedError, match="cancelled"):
        found.check(job)


def test_cancelling_while_the_run_is_opened_wins(stage: Stage, job: TranscodeJob) -> None:
    found = Interfering(stage.emulator.client("dynamodb"), TABLE, REGION, 60)
    found.meanwhile = lambda: stage.edit(job, **FAILED)
    assert isinstance(found.open(job, forgive=False), Settled)
    assert (stage.video(job).status, stage.run(job)) == (VideoStatus.FAILED, None)


def test_video_that_failed_may_get_another_run(stage: Stage, job: TranscodeJob) -> None:
    opened(stage, job)
    hold(stage, job).fail(FAILURE)
    second = replace(job, run_id=new_id())
    stage.edit(job, status=VideoStatus.UPLOADED, current_run=second.run_id)
    assert isinstance(ledger(stage).open(job, forgive=True), Settled)
    assert isinstance(ledger(stage).open(second, forgive=False), Run)
    video = stage.video(job)
    assert (video.status, video.failure) == (VideoStatus.PROCESSING, None)


def test_cancelled_run_is_settled(stage: Stage, job: TranscodeJob) -> None:
    found = opened(stage, job)
    found.cancel(job)
    assert isinstance(found.open(job, forgive=True), Settled)
    with pytest.raises(StoppedError, match="ended"):
        found.check(job)


def test_downloads_that_are_noted_at_the_same_time_all_stand(
    stage: Stage, job: TranscodeJob
) -> None:
    opened(stage, job)
    complete(hold(stage, job, END))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda h: ledger(stage).note_download(job, h), [720, 360, 1080, 720]))
    assert stored_run(stage, job).downloads == (360, 720, 1080)


def test_run_items_survive_what_newer_code_adds(stage: Stage, job: TranscodeJob) -> None:
    run = Run(video_id=job.video_id, run_id=job.run_id, status=RunStatus.RUNNING, started_at="now")
    item = {**run.to_item(), "of_tomorrow": {"S": "x"}}
    stage.emulator.client("dynamodb").put_item(TableName=TABLE, Item=item)
    found = ledger(stage).open(job, forgive=False)
    assert found == run
    ledger(stage).plan(job, plan="p", chunks=1)
    stored = stage.emulator.client("dynamodb").get_item(
        TableName=TABLE, Key=table.run_key(job.video_id, job.run_id).to_wire()
    )["Item"]
    assert stored["of_tomorrow"] == {"S": "x"}
