"""Workers that die, are asked to go, wake up late or meet faults: nothing is lost or done twice.

The crash points are those that ``docs/transcoding.md`` lists. A worker is killed, or sleeps, while
one of its calls is held, so each of them is met exactly.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from emulator import running_emulator
from waiting import eventually
from worker_outcome import assert_complete, stored_run
from worker_stage import MEDIA, Stage, WorkerProcess, make_clip, make_stage, moving_picture
from worker_wire import Call, Trap, wire_to

from media_platform.contract.events import EventType
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import END, SOUND, Part, RunStatus, video_part
from media_platform.contract.video import VideoStatus

RATE = 10
SECONDS = 21
FRAMES = SECONDS * RATE
"""Three chunks, of one, two and three segments."""

LEASE = 5
"""Seconds after which a part and its message are free that nobody renews."""

TRACKS = ("v90", "audio")

Look = Callable[[Call], bool]


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("emulator")
    with running_emulator(folder) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))
        assert emulator.denied() == []


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    return shared_stage.with_own_queues()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make(tmp_path_factory.mktemp("clip"), SECONDS)


def make(folder: Path, seconds: float) -> bytes:
    source = moving_picture(seconds, "160x90", RATE)
    return make_clip(folder / "clip.mp4", *source).read_bytes()


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


# -- death at every point --------------------------------------------------------------------------


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


FIRST, SECOND, LAST = (video_part(number) for number in range(3))

DEATHS: dict[str, Look] = {
    "receiving": received,
    "opening the run": transaction("PROCESSING"),
    "claiming a part": claim(FIRST),
    "the plan": update("#STATE", "plan"),
    "the messages": sent(SECOND),
    "uploading segments": put("v90/1/000000.m4s"),
    "recording segments": update(f"#{FIRST}", "spans"),
    "recording in the middle of a chunk": update(f"#{LAST}", "spans"),
    "done": update(f"#{FIRST}", "done"),
    "done, of a later chunk": update(f"#{SECOND}", "done"),
    "a turn": update("#STATE", "published_at"),
    "some playlists": put("v90/playlist.m3u8"),
    "the multivariant playlist": put("master.m3u8"),
    "playable": update("#STATE", "playable_at"),
    "measuring the loudness": update(f"#{SOUND}", "gains"),
    "uploading sound": put("audio/1/000001.m4s"),
    "recording sound": update(f"#{SOUND}", "spans"),
    "the end of the sound": update(f"#{SOUND}", "done"),
    "claiming the end": claim(END),
    "the storyboard": put("storyboard.vtt"),
    "some ENDLIST": put("v90/playlist.m3u8", b"ENDLIST"),
    "all of the end": put("master.m3u8", b"I-FRAME"),
    "READY": transaction("VideoReady"),
}
"""What is done, and known to nobody, when the worker dies."""


@dataclass(frozen=True)
class Death:
    """A worker that died, and what it left."""

    stage: Stage
    job: TranscodeJob
    parts: dict[str, Part]
    playlists: dict[str, list[str]]


@pytest.fixture(scope="module")
def deaths(shared_stage: Stage, clip: bytes) -> dict[str, Death]:
    """All of them first, so that their leases pass at the same time."""
    return {name: die(shared_stage.with_own_queues(), clip, look) for name, look in DEATHS.items()}


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


@pytest.mark.parametrize("point", DEATHS)
def test_killed_worker_is_followed_by_another(deaths: dict[str, Death], point: str) -> None:
    death = deaths[point]
    with death.stage.worker(visibility_timeout_seconds=LEASE):
        assert_continued(death)


def assert_continued(death: Death, frames: int = FRAMES) -> None:
    """Hold the end of a job against what a worker left of it: all that was recorded is kept."""
    stage, job = death.stage, death.job
    assert_complete(stage, job, frames=frames, rate=RATE)
    parts = stage.parts(job)
    for name, before in death.parts.items():
        assert parts[name].attempts[: before.segments] == before.attempts, name
    assert {part.failures for part in parts.values()} == {0}
    assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_READY]
    for track, before in death.playlists.items():
        assert stage.entries(job, track)[: len(before)] == before
    assert stage.letters() == []


def test_what_each_death_leaves(deaths: dict[str, Death]) -> None:
    """The points are those that they are meant to be."""
    segments = {
        point: {name: part.segments for name, part in death.parts.items()}
        for point, death in deaths.items()
    }
    assert segments["receiving"] == segments["opening the run"] == {}
    assert segments["claiming a part"] == segments["the plan"] == {FIRST: 0}
    assert segments["uploading segments"][FIRST] == 0
    assert segments["recording segments"][FIRST] == 1
    assert segments["recording in the middle of a chunk"][LAST] >= 1
    assert not deaths["recording in the middle of a chunk"].parts[LAST].done
    assert deaths["done"].parts[FIRST].done
    assert deaths["claiming the end"].parts[SOUND].done
    assert not deaths["READY"].parts[END].lease_until
    assert deaths["playable"].playlists["v90"]
    assert deaths["some playlists"].playlists["v90"]


@pytest.mark.parametrize("seconds", [8, 7], ids=["a full segment", "a short segment"])
def test_death_between_the_last_record_and_done(stage: Stage, tmp_path: Path, seconds: int) -> None:
    """Nothing is left to encode, whether more might follow on the last segment or not."""
    clip = make(tmp_path, seconds)
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.before(put("poster.jpg"))  # which the first chunk waits for
        job = start(stage, clip)
        trap.wait()
        eventually(lambda: stage.parts(job)[FIRST].segments == 2, "all is recorded")
        worker.kill()
    death = left_by(stage, job)
    assert not death.parts[FIRST].done
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_continued(death, frames=seconds * RATE)
    made = stage.parts(job)[FIRST]
    assert (made.attempt, made.attempts) == (2, (1, 1))


def test_work_goes_on_behind_the_last_recorded_segment(stage: Stage, clip: bytes) -> None:
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


# -- sleep -----------------------------------------------------------------------------------------

SLEEPS: dict[str, Look] = {
    "the plan": update("#STATE", "plan"),
    "recording segments": update(f"#{LAST}", "spans"),
    "done": update(f"#{SECOND}", "done"),
    "some playlists": put("v90/playlist.m3u8"),
    "the multivariant playlist": put("master.m3u8"),
    "playable": update("#STATE", "playable_at"),
    "recording sound": update(f"#{SOUND}", "spans"),
    "some ENDLIST": put("v90/playlist.m3u8", b"ENDLIST"),
    "READY": transaction("VideoReady"),
}
"""What a worker was about to write when it was stopped; the call arrives when all is over."""


@dataclass(frozen=True)
class Sleeper:
    """A worker that is stopped, with a call on its way."""

    death: Death
    worker: WorkerProcess
    trap: Trap


@pytest.fixture(scope="module")
def sleepers(shared_stage: Stage, clip: bytes) -> Iterator[dict[str, Sleeper]]:
    with ExitStack() as stack:

        def sleep(look: Look) -> Sleeper:
            stage = shared_stage.with_own_queues()
            wire = stack.enter_context(wire_to(stage.emulator.endpoint))
            worker = stack.enter_context(stage.worker(wire=wire, visibility_timeout_seconds=LEASE))
            trap = wire.before(look)
            job = start(stage, clip)
            trap.wait()
            worker.process.send_signal(signal.SIGSTOP)
            return Sleeper(left_by(stage, job), worker, trap)

        yield {name: sleep(look) for name, look in SLEEPS.items()}


@pytest.mark.parametrize("point", SLEEPS)
def test_worker_that_wakes_up_late_changes_nothing(
    sleepers: dict[str, Sleeper], point: str
) -> None:
    sleeper = sleepers[point]
    stage, job = sleeper.death.stage, sleeper.death.job
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_continued(sleeper.death)
    before = (stage.video(job), stage.run(job), stage.parts(job), lists(stage, job))
    listed = set(stage.objects(job))

    sleeper.worker.process.send_signal(signal.SIGCONT)
    sleeper.trap.let_go()
    eventually(lambda: settled(sleeper.worker), "the worker has seen that it is late")
    assert (stage.video(job), stage.run(job), stage.parts(job), lists(stage, job)) == before
    late = set(stage.objects(job)) - listed
    assert all("/1/" in name for name in late), late
    assert [event.event_type for event in stage.events(job)] == [EventType.VIDEO_READY]


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


def test_idle_worker_goes_at_once(stage: Stage) -> None:
    with stage.worker() as worker:
        worker.wait_for("worker started")
        worker.terminate()
        assert worker.process.wait(5) == 0


@pytest.mark.parametrize(
    ("look", "hangs"),
    [
        (put("v90/1/000000.m4s"), True),
        (put("audio/1/000001.m4s"), True),
        (put("storyboard.vtt"), False),
    ],
    ids=["in a chunk", "in the sound", "in the end"],
)
def test_worker_that_is_asked_to_go_gives_its_job_back(
    stage: Stage, clip: bytes, look: Look, hangs: bool
) -> None:
    """It goes in time, even while an upload hangs; no failure is counted, so none is too many."""
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


# -- faults ----------------------------------------------------------------------------------------


def refuse_the_second(stage: Stage, job: TranscodeJob) -> Look:
    """Refuse a segment of the second chunk, once the one before is recorded."""

    def refuse(call: Call) -> bool:
        if not call.puts("v90/1/000002.m4s"):
            return False
        eventually(lambda: stage.parts(job)[SECOND].segments == 1, "a segment is recorded")
        return True

    return refuse


def test_passing_fault_is_tried_again(stage: Stage, clip: bytes) -> None:
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


@pytest.fixture
def failed(stage: Stage, clip: bytes) -> tuple[TranscodeJob, str]:
    """A run that was given up in its second chunk: the message, and why."""
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_failures=1),
    ):
        job = stage.upload(clip)
        wire.refuse = refuse_the_second(stage, job)
        stage.send(job)
        video, run = stage.finished(job), stored_run(stage, job)
    assert video.failure is not None
    assert (video.status, video.failure.code) == (VideoStatus.FAILED, "processing_failed")
    assert run.status is RunStatus.FAILED
    ((letter, reason),) = stage.letters()
    assert isinstance(letter, TranscodeJob)
    assert letter == job.for_part(SECOND)
    return letter, reason


def test_lasting_fault_ends_among_the_dead_letters(
    stage: Stage, failed: tuple[TranscodeJob, str]
) -> None:
    letter, reason = failed
    assert "Forbidden" in reason or "403" in reason
    assert [event.event_type for event in stage.events(letter)] == [EventType.VIDEO_FAILED]
    # What comes without the mark of an operator is a repeat, and too late.
    with stage.worker():
        stage.send(letter)
        stage.send(letter.for_part("start"))
        eventually(lambda: not stage.left(), "the messages are deleted")
    assert stage.video(letter).status is VideoStatus.FAILED


def test_redriven_job_goes_on_from_where_it_stood(
    stage: Stage, failed: tuple[TranscodeJob, str]
) -> None:
    letter, reason = failed
    before = stage.parts(letter)
    stage.send(letter, reason=reason)
    with stage.worker():
        assert_complete(stage, letter, frames=FRAMES, rate=RATE)
    parts = stage.parts(letter)
    assert parts[FIRST] == before[FIRST]
    assert parts[SECOND].attempts == (1, 2)
    assert parts[SECOND].failures == 0
    assert [event.event_type for event in stage.events(letter)] == [
        EventType.VIDEO_FAILED,
        EventType.VIDEO_READY,
    ]


def test_redriven_job_may_meet_a_crash(stage: Stage, failed: tuple[TranscodeJob, str]) -> None:
    """The messages of the other parts are long gone when the run is opened again."""
    letter, reason = failed
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.behind(transaction("PROCESSING"))
        stage.send(letter, reason=reason)
        trap.wait()
        worker.kill()
    assert stored_run(stage, letter).status is RunStatus.RUNNING
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_complete(stage, letter, frames=FRAMES, rate=RATE)


def test_redriven_job_that_fails_again_is_a_dead_letter_again(
    stage: Stage, failed: tuple[TranscodeJob, str]
) -> None:
    letter, reason = failed
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_failures=1),
    ):
        wire.refuse = lambda call: call.puts("000002.m4s")
        stage.send(letter, reason=reason)
        eventually(
            lambda: len(stage.events(letter)) == 2 and not stage.left(), "the run has failed again"
        )
    assert stage.video(letter).status is VideoStatus.FAILED
    assert [again for again, _ in stage.letters()] == [letter]


def test_deleted_video_is_no_longer_worked_on(stage: Stage, clip: bytes) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        trap = wire.before(put("v90/1/000000.m4s"))
        job = start(stage, clip)
        trap.wait()
        stage.edit(job, status=VideoStatus.DELETED)
        worker.wait_for("the video was deleted")
        trap.let_go()
        eventually(lambda: not stage.left(), "the messages are deleted")
    assert stored_run(stage, job).status is RunStatus.CANCELLED
    assert stage.video(job).status is VideoStatus.DELETED
    assert stage.events(job) == []


def test_missing_variables_are_all_named(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start({"TABLE_NAME": "videos", "IDLE_SECONDS": "soon"}, tmp_path / "log")
    assert worker.process.wait(20) == os.EX_CONFIG
    text = worker.log_file.read_text()
    assert "QUEUE_URL is missing" in text
    assert "IDLE_SECONDS is 'soon', not int" in text
    assert "TABLE_NAME" not in text
