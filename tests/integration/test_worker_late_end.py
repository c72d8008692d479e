"""Sources longer or shorter than they say: the sound ends with the picture all the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from emulator import running_emulator
from worker_outcome import assert_complete, stored_run
from worker_stage import Stage, make_clip, make_stage, moving_picture
from worker_wire import Call, Wire, wire_to

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import SOUND, video_part
from media_worker.playlists import END_OF_LIST

RATE = 10
SECONDS = 21
FRAMES = SECONDS * RATE
LEASE = 5


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
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, *moving_picture(SECONDS, "160x90", RATE)).read_bytes()


def begin(stage: Stage, wire: Wire, clip: bytes, *, estimate: int) -> TranscodeJob:
    """Send a job, and let its plan expect ``estimate`` frames.

    Few files are so far from what can be seen ahead, and each in its own way.
    """
    trap = wire.behind(lambda call: call.updates("#STATE", "plan"))
    job = stage.upload(clip)
    stage.send(job)
    trap.wait()
    run = stored_run(stage, job)
    plan = json.loads(run.plan or "{}")
    assert plan["frames"] == FRAMES
    stage.put(replace(run, plan=json.dumps({**plan, "frames": estimate})))
    trap.let_go()
    return job


@pytest.mark.parametrize(
    ("estimate", "kept"),
    [
        pytest.param(200, 4, id="the sound ends with a full segment, the picture later"),
        pytest.param(209, 5, id="a frame more than expected"),
        pytest.param(211, 5, id="a frame less than expected"),
        pytest.param(215, 5, id="many frames less than expected"),
        pytest.param(190, 4, id="a segment more than expected"),
        pytest.param(None, 5, id="nothing expected"),
        pytest.param(210, None, id="as expected"),
    ],
)
def test_sound_ends_with_the_picture(
    stage: Stage, clip: bytes, estimate: int, kept: int | None
) -> None:
    with wire_to(stage.emulator.endpoint) as wire, stage.worker(wire=wire) as worker:
        job = begin(stage, wire, clip, estimate=estimate)
        assert_complete(stage, job, frames=FRAMES, rate=RATE)
        mended = worker.said("sound is made again from a segment on")
    sound = stage.parts(job)[SOUND]
    if kept is None:
        assert mended is None
        assert sound.attempts == (1,) * 6
    elif mended is not None:
        assert sound.attempts == (1,) * kept + (2,) * (6 - kept)
    else:
        # Without an end to pad it to, the sound ends where its source does.
        assert estimate is None


def test_source_that_is_much_shorter_than_it_says_fails(stage: Stage, clip: bytes) -> None:
    with wire_to(stage.emulator.endpoint) as wire, stage.worker(wire=wire):
        job = begin(stage, wire, clip, estimate=FRAMES + 90)
        failure = stage.finished(job).failure
    assert failure is not None
    assert failure.code == "truncated"
    assert "30.0 seconds" in failure.message
    assert END_OF_LIST not in stage.playlist(job, "v90")


AGAIN: dict[str, Callable[[Call], bool]] = {
    "opening it": lambda call: call.updates(f"#{SOUND}", "frames"),
    "uploading its end": lambda call: call.operation == "PUT" and "/audio/2/" in call.text,
    "its end": lambda call: call.updates(f"#{SOUND}", "done") and '":frames"' not in call.text,
}
"""What is done of the sound, for the second time, when the worker dies."""


@pytest.mark.parametrize("point", AGAIN)
def test_death_while_the_sound_is_made_again(stage: Stage, clip: bytes, point: str) -> None:
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, visibility_timeout_seconds=LEASE) as worker,
    ):
        opened = wire.behind(AGAIN["opening it"])
        job = begin(stage, wire, clip, estimate=200)
        opened.wait()
        if point != "opening it":
            trap = wire.behind(AGAIN[point])
            opened.let_go()
            trap.wait()
        worker.kill()
    before = stage.parts(job)
    assert (before[SOUND].frames, before[SOUND].done) == (FRAMES, point == "its end")
    listed = {track: stage.entries(job, track) for track in ("v90", "audio")}
    with stage.worker(visibility_timeout_seconds=LEASE):
        assert_complete(stage, job, frames=FRAMES, rate=RATE)
    parts = stage.parts(job)
    kept = before[SOUND].attempts
    assert parts[SOUND].attempts[: len(kept)] == kept
    assert parts[video_part(0)] == before[video_part(0)]
    assert {part.failures for part in parts.values()} == {0}
    for track, entries in listed.items():
        assert stage.entries(job, track)[: len(entries)] == entries
