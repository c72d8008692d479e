"""Workers that die, are asked to go, wake up late or meet faults: nothing is lost or done twice.

The crash points are those that ``docs/transcoding.md`` lists. A worker is killed, or sleeps, while
one of its calls is held, so each of them is met exactly. Most of the time of a case goes by until a
lease does, so all of them run side by side, each with queues of its own.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from emulator import running_emulator
from lanes import side_by_side
from waiting import eventually
from worker_outcome import assert_complete, stored_run
from worker_stage import MEDIA, TABLE, Stage, WorkerProcess, make_clip, make_stage, moving_picture
from worker_wire import Call, wire_to

from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.jobs import DEAD_LETTER_REASON, START, TranscodeJob
from media_platform.contract.run import END, SOUND, Part, Run, RunStatus, video_part
from media_platform.contract.video import Failure, VideoStatus

RATE = 10
SECONDS = 21
FRAMES = SECONDS * RATE
FIRST, SECOND, LAST = (video_part(number) for number in range(3))
"""The chunks of the clip: of one, two and three segments."""

LEASE = 5
"""Seconds after which a part and its message are free that nobody renews."""

TRACKS = ("v90", "audio")

Look = Callable[[Call], bool]
Case = Callable[[Stage, bytes], None]

CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Let a function be one of the cases."""

    def register(function: Case) -> Case:
        CASES[name] = function
        return function

    return register


def make(folder: Path, seconds: float) -> bytes:
    source = moving_picture(seconds, "160x90", RATE)
    return make_clip(folder / f"{seconds}.mp4", *source).read_bytes()


def start(stage: Stage, clip: bytes) -> TranscodeJob:
    job = stage.upload(clip)
    stage.send(job)
    return job


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def put(ending: str, *words: bytes) -> Look:
    return lambda call: call.puts(ending, *words)


def update(item: str, *fields: str) -> Look:
    return lambda call: call.updates(item, *fields)


def claim(part: str) -> Look:
    return lambda call: call.operation == "PutItem" and f'#{part}"' in call.text


def transaction(*words: str) -> Look:
    return lambda call: (
        call.operation == "TransactWriteItems" and all(word in call.text for word in words)
    )


def received(call: Call) -> bool:
    return call.operation == "ReceiveMessage" and '"Body"' in call.answer


def sent(part: str) -> Look:
    return lambda call: call.operation == "SendMessage" and part in call.text


# -- death -----------------------------------------------------------------------------------------

DEATHS: dict[str, Look] = {
    "receiving": received,
    "opening the run": transaction("PROCESSING"),
    "claiming a part": claim(FIRST),
    "the plan": update("#STATE", "plan"),
    "uploading segments": put("v90/1/000000.m4s"),
    "recording segments": update(f"#{FIRST}", "spans"),
    "done": update(f"#{FIRST}", "done"),
    "a turn": update("#STATE", "published_at"),
    "some playlists": put("v90/playlist.m3u8"),
    "the multivariant playlist": put("master.m3u8"),
    "playable": update("#STATE", "playable_at"),
    "recording sound": update(f"#{SOUND}", "spans"),
    "the end of the sound": update(f"#{SOUND}", "done"),
    "claiming the end": claim(END),
    "some ENDLIST": put("v90/playlist.m3u8", b"ENDLIST"),
    "all of the end": put("master.m3u8", b"I-FRAME"),
    "READY": transaction("VideoReady"),
}
"""What is done, and known to nobody, when the worker dies."""

LEFT: dict[str, dict[str, int]] = {
    "receiving": {},
    "opening the run": {},
    "claiming a part": {FIRST: 0},
    "the plan": {FIRST: 0},
}
"""Segments of all parts that were begun."""


@dataclass(frozen=True)
class Death:
    """A worker that died, and what it left."""

    stage: Stage
    job: TranscodeJob
    parts: dict[str, Part]
    playlists: dict[str, list[str]]


def live_on(stage: Stage, clip: bytes, *, point: str) -> None:
    death = die(stage, clip, DEATHS[point])
    if point in LEFT:
        assert {name: part.segments for name, part in death.parts.items()} == LEFT[point]
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_continued(death)


CASES |= {f"killed after {point}": functools.partial(live_on, point=point) for point in DEATHS}


def die(stage: Stage, clip: bytes, look: Look) -> Death:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.behind(look)
        job = start(stage, clip)
        trap.wait()
        children = worker.children()
        worker.kill()
        eventually(lambda: all(gone(pid) for pid in children), "the encoders die with the worker")
    return left_by(stage, job)


def left_by(stage: Stage, job: TranscodeJob) -> Death:
    playlists = {track: stage.entries(job, track) for track in TRACKS}
    return Death(stage, job, stage.parts(job), playlists)


def assert_continued(death: Death, frames: int = FRAMES) -> None:
    """Hold the end of a job against what a worker left of it: all that was recorded is kept."""
    stage, job = death.stage, death.job
    assert_complete(stage, job, frames=frames, rate=RATE, every_list=False)
    parts = stage.parts(job)
    for name, before in death.parts.items():
        assert parts[name].attempts[: before.segments] == before.attempts, name
    assert {part.failures for part in parts.values()} == {0}
    assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_READY]
    for track, listed in death.playlists.items():
        assert stage.entries(job, track)[: len(listed)] == listed
    assert stage.letters() == []


@case("killed after the last record, ahead of done, with a full last segment")
def killed_after_a_full_segment(stage: Stage, _: bytes) -> None:
    killed_after_the_last_record(stage, 8)


@case("killed after the last record, ahead of done, with a short last segment")
def killed_after_a_short_segment(stage: Stage, _: bytes) -> None:
    killed_after_the_last_record(stage, 7)


def killed_after_the_last_record(stage: Stage, seconds: int) -> None:
    """Nothing is left to encode, whether more might follow on the last segment or not."""
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.before(put("poster.jpg"))  # which the first chunk waits for
        job = start(stage, make(stage.folder, seconds))
        trap.wait()
        eventually(lambda: stage.parts(job)[FIRST].segments == 2, "all is recorded")
        worker.kill()
    death = left_by(stage, job)
    assert not death.parts[FIRST].done
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_continued(death, frames=seconds * RATE)
    made = stage.parts(job)[FIRST]
    assert (made.attempt, made.attempts) == (2, (1, 1))


@case("killed in the middle of a chunk")
def killed_in_the_middle(stage: Stage, clip: bytes) -> None:
    """The next one goes on behind the last recorded segment."""
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.before(put("v90/1/000004.m4s"))
        job = start(stage, clip)
        trap.wait()
        eventually(lambda: stage.parts(job)[LAST].segments == 1, "a segment is recorded")
        worker.kill()
    death = left_by(stage, job)
    with stage.worker(visibility_timeout_seconds=LEASE) as second:
        assert_continued(death)
        (line,) = [line for line in second.log() if line.get("message") == "chunk done"]
    assert stage.parts(job)[LAST].attempts == (1, 2, 2)
    assert (line["chunk"], line["encoded"]) == (2, FRAMES - 160)


@case("killed after the FAILED transaction")
def killed_after_failing(stage: Stage, _: bytes) -> None:
    death = die(stage, b"no video" * 100, transaction("VideoFailed"))
    before = (stage.video(death.job), stage.run(death.job), death.parts)
    assert before[0].status is VideoStatus.FAILED
    with stage.worker(visibility_timeout_seconds=LEASE):
        eventually(lambda: not stage.left(), "the message is deleted")
    assert (stage.video(death.job), stage.run(death.job), stage.parts(death.job)) == before
    assert [event.event_type for event in stage.events(death.job)] == [EventType.VIDEO_FAILED]


# -- sleep -----------------------------------------------------------------------------------------

SLEEPS: dict[str, Look] = {
    "recording segments": update(f"#{LAST}", "spans"),
    "done": update(f"#{SECOND}", "done"),
    "some playlists": put("v90/playlist.m3u8"),
    "recording sound": update(f"#{SOUND}", "spans"),
    "some ENDLIST": put("v90/playlist.m3u8", b"ENDLIST"),
    "READY": transaction("VideoReady"),
}
"""What a worker was about to write when it was stopped; the call arrives when all is over."""


def sleep_at(stage: Stage, clip: bytes, *, point: str) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.before(SLEEPS[point])
        job = start(stage, clip)
        trap.wait()
        worker.process.send_signal(signal.SIGSTOP)
        with stage.worker(visibility_timeout_seconds=LEASE):
            assert_continued(left_by(stage, job))
        before = (stage.video(job), stage.run(job), stage.parts(job), lists(stage, job))
        listed = set(stage.objects(job))

        worker.process.send_signal(signal.SIGCONT)
        trap.let_go()
        eventually(lambda: settled(worker), "the worker has seen that it is late")
        assert (stage.video(job), stage.run(job), stage.parts(job), lists(stage, job)) == before
        late = set(stage.objects(job)) - listed
        assert all("/1/" in name for name in late), late
        assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_READY]


CASES |= {f"asleep ahead of {point}": functools.partial(sleep_at, point=point) for point in SLEEPS}


def lists(stage: Stage, job: TranscodeJob) -> dict[str, bytes]:
    """Return everything that names segments, as it is stored."""
    s3, prefix = stage.emulator.client("s3"), stage.keys(job).prefix
    return {
        name: s3.get_object(Bucket=MEDIA, Key=prefix + name)["Body"].read()
        for name in stage.objects(job)
        if name.endswith((".m3u8", ".mpd"))
    }


def settled(worker: WorkerProcess) -> bool:
    return any(
        worker.said(event)
        for event in (
            "gave up",
            "the run has ended",
            "nothing to do",
            "the job is left to the queue",
        )
    )


# -- interruption ----------------------------------------------------------------------------------

INTERRUPTIONS: dict[str, tuple[Look, bool]] = {
    "in a chunk, while an upload hangs": (put("v90/1/000000.m4s"), True),
    "in the sound, while an upload hangs": (put("audio/1/000001.m4s"), True),
    "in the end": (put("storyboard.vtt"), False),
}


def interrupted(stage: Stage, clip: bytes, *, point: str) -> None:
    """It goes in time and gives all back; no failure is counted, so none is too many."""
    look, hangs = INTERRUPTIONS[point]
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_failures=1) as worker,
    ):
        trap = wire.before(look)
        job = start(stage, clip)
        trap.wait()
        children = worker.children()
        worker.terminate()
        if not hangs:
            trap.let_go()
        assert worker.process.wait(5) == 0
        assert all(gone(pid) for pid in children)
    death = left_by(stage, job)
    assert {part.lease_until for part in death.parts.values()} == {0}
    with stage.worker(max_failures=1):
        assert_continued(death)
    assert {part.attempt for part in stage.parts(job).values()} <= {1, 2}


CASES |= {
    f"asked to go {point}": functools.partial(interrupted, point=point) for point in INTERRUPTIONS
}


# -- faults ----------------------------------------------------------------------------------------


def refuse_the_second(stage: Stage, job: TranscodeJob) -> Look:
    """Refuse a segment of the second chunk, once the one before is recorded."""

    def refuse(call: Call) -> bool:
        if not call.puts("v90/1/000002.m4s"):
            return False
        eventually(lambda: stage.parts(job)[SECOND].segments == 1, "a segment is recorded")
        return True

    return refuse


@case("a fault that passes")
def passing_fault(stage: Stage, clip: bytes) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire) as worker,
    ):
        job = stage.upload(clip)
        wire.refuse = refuse_the_second(stage, job)
        stage.send(job)
        worker.wait_for("failed, will be tried again")
        part = stage.parts(job)[SECOND]
        assert (part.failures, part.lease_until, part.attempts) == (1, 0, (1,))
        wire.refuse = lambda _: False
        assert_complete(stage, job, frames=FRAMES, rate=RATE)
    part = stage.parts(job)[SECOND]
    assert (part.attempt, part.failures, part.attempts) == (2, 1, (1, 2))
    assert stage.letters() == []


@case("a fault that lasts, deaths in its end, and a redrive")
def lasting_fault(stage: Stage, clip: bytes) -> None:
    job = stage.upload(clip)
    stage.send(job)
    # The first worker dies after the dead letter, and has not failed the run yet.
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_failures=1, visibility_timeout_seconds=LEASE) as worker,
    ):
        wire.refuse = refuse_the_second(stage, job)
        trap = wire.behind(sent(DEAD_LETTER_REASON))
        trap.wait()
        worker.kill()
    assert stored_run(stage, job).status is RunStatus.RUNNING
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_failures=1, visibility_timeout_seconds=LEASE),
    ):
        wire.refuse = lambda call: call.puts("000002.m4s")
        video = stage.finished(job)
        assert video.failure is not None
        assert (video.status, video.failure.code) == (VideoStatus.FAILED, "processing_failed")
        assert stored_run(stage, job).status is RunStatus.FAILED
        letters = stage.letters()
        assert [letter for letter, _ in letters] == [job.for_part(SECOND)] * 2
        assert all("AccessDenied" in reason for _, reason in letters)
        # What comes without the mark of an operator is a repeat, and too late.
        before = stage.parts(job)
        stage.send(job.for_part(SECOND))
        stage.send(job.for_part(START))
        eventually(lambda: not stage.left(), "the messages are deleted")
        assert (stage.video(job), stage.parts(job), stage.letters()) == (video, before, [])
        # The fault still lasts.
        stage.send(job.for_part(SECOND), reason=letters[0][1])
        eventually(lambda: len(stage.events(job)) == 2, "the run has failed again")
        eventually(lambda: not stage.left(), "the messages are deleted")
        assert [letter for letter, _ in stage.letters()] == [job.for_part(SECOND)]
    # It is over, but the worker dies before it sends the other parts, whose messages are long gone.
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.behind(transaction("PROCESSING"))
        stage.send(job.for_part(SECOND), reason=letters[0][1])
        trap.wait()
        worker.kill()
    assert stored_run(stage, job).status is RunStatus.RUNNING
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_complete(stage, job, frames=FRAMES, rate=RATE)
    parts = stage.parts(job)
    assert parts[FIRST] == before[FIRST]
    assert parts[SECOND].attempts[0] == 1
    assert parts[SECOND].failures == 0
    assert [event.event_type for event in stage.events(job)] == [
        *[EventType.VIDEO_FAILED] * 2,
        EventType.VIDEO_READY,
    ]


# -- what is not wanted any more -------------------------------------------------------------------


def stopped_by(
    stage: Stage, clip: bytes, change: Callable[[TranscodeJob], object], *, said: str
) -> TranscodeJob:
    """Let something happen to a video whose first segments are being uploaded; return its job.

    The worker must stop by its next heartbeat, let all messages go, and leave run and video alone.
    """
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.before(put("v90/1/000000.m4s"))
        job = start(stage, clip)
        trap.wait()
        change(job)
        before = stage.video(job)
        worker.wait_for(said)
        trap.let_go()
        eventually(lambda: not stage.left(), "the messages are deleted")
    assert stage.video(job) == before
    assert stored_run(stage, job).status is RunStatus.CANCELLED
    assert "master.m3u8" not in stage.objects(job)
    assert stage.letters() == []
    return job


def run_put(run: Run) -> TransactItem:
    return {"Put": {"TableName": TABLE, "Item": run.to_item()}}


def cancelled(stage: Stage, job: TranscodeJob) -> None:
    """Cancel the first run of a video, as the API does."""
    failure = Failure(code="cancelled", message="The transcoding was cancelled.")
    run = stage.run(job)
    further = [] if run is None else [run_put(replace(run, status=RunStatus.CANCELLED))]
    stage.edit(job, *further, status=VideoStatus.FAILED, failure=failure)


@case("a video that is deleted meanwhile")
def deleted(stage: Stage, clip: bytes) -> None:
    job = stopped_by(
        stage,
        clip,
        lambda job: stage.edit(job, status=VideoStatus.DELETED),
        said="the run is not wanted any more",
    )
    assert stage.events(job) == []


@case("a first run that is cancelled")
def cancelled_first(stage: Stage, clip: bytes) -> None:
    job = stopped_by(stage, clip, lambda job: cancelled(stage, job), said="the run has ended")
    assert stage.events(job) == []
    with stage.worker():
        # Whatever of it is still under way changes nothing.
        stage.send(job)
        stage.send(job.for_part(SECOND))
        stage.send(job.for_part(SECOND), reason="an operator wants it")
        eventually(lambda: not stage.left(), "the messages are deleted")
        assert stage.video(job).status is VideoStatus.FAILED

        stage.edit(job, status=VideoStatus.UPLOADED, current_run=(run_id := new_id()))
        again = replace(job, run_id=run_id)
        stage.send(again)
        assert_complete(stage, again, frames=FRAMES, rate=RATE)
    assert stage.video(job).failure is None


@case("a first run that is cancelled before any worker took it")
def cancelled_early(stage: Stage, clip: bytes) -> None:
    job = stage.upload(clip)
    cancelled(stage, job)
    before = stage.video(job)
    with stage.worker():
        stage.send(job)
        stage.send(job, reason="an operator wants it")
        eventually(lambda: not stage.left(), "the messages are deleted")
    assert (stage.video(job), stage.run(job)) == (before, None)
    assert stage.letters() == []


@case("another run that is cancelled")
def cancelled_next(stage: Stage, clip: bytes) -> None:
    with stage.worker():
        first = start(stage, clip)
        assert_complete(stage, first, frames=FRAMES, rate=RATE)
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        again = stage.transcode_again(first)
        trap = wire.before(put(f"{again.run_id}/v90/1/000000.m4s"))
        stage.send(again)
        trap.wait()
        before = stage.edit(first, next_run=None)
        worker.wait_for("the run is not wanted any more")
        trap.let_go()
        eventually(lambda: not stage.left(), "the messages are deleted")
    assert stage.video(first) == before
    assert stored_run(stage, again).status is RunStatus.CANCELLED
    assert stage.purge(again) is not None
    assert stage.purge(first) is None


@case("a video that is deleted and restored meanwhile")
def restored(stage: Stage, clip: bytes) -> None:
    runs = []

    def delete_and_restore(job: TranscodeJob) -> None:
        stage.edit(job, status=VideoStatus.DELETED)
        runs.append(new_id())
        stage.edit(job, status=VideoStatus.UPLOADED, current_run=runs[0])

    job = stopped_by(stage, clip, delete_and_restore, said="the run is not wanted any more")
    again = replace(job, run_id=runs[0])
    with stage.worker():
        stage.send(again)
        assert_complete(stage, again, frames=FRAMES, rate=RATE)
    assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_READY]


# -- all of them -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("emulator")
    with running_emulator(folder) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))
        assert emulator.denied() == []


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    clip = make(tmp_path_factory.mktemp("clip"), SECONDS)
    with side_by_side(request, CASES, lambda name: CASES[name](own(stage, name), clip)) as futures:
        yield futures


def own(stage: Stage, name: str) -> Stage:
    """Return the stage with queues and a folder of its own for a case."""
    folder = stage.folder / name.replace(" ", "-").replace(",", "")
    folder.mkdir()
    return replace(stage.with_own_queues(), folder=folder)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_or_done_twice(outcomes: Mapping[str, Future[None]], name: str) -> None:
    outcomes[name].result()


def test_idle_worker_goes_at_once(stage: Stage) -> None:
    with stage.with_own_queues().worker() as worker:
        worker.wait_for("worker started")
        worker.terminate()
        assert worker.process.wait(5) == 0


def test_missing_variables_are_all_named(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start({"TABLE_NAME": "videos", "IDLE_SECONDS": "soon"}, tmp_path / "log")
    assert worker.process.wait(20) == os.EX_CONFIG
    text = worker.log_file.read_text()
    assert "QUEUE_URL is missing" in text
    assert "IDLE_SECONDS is 'soon', not int" in text
    assert "TABLE_NAME" not in text
