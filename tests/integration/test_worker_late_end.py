"""Sources longer or shorter than they say: the sound ends with the picture all the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace

import pytest
from lanes import side_by_side
from worker_outcome import assert_complete, stored_run
from worker_stage import Stage, make_clip, moving_picture
from worker_wire import Call, Wire, wire_to

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import SOUND, video_part
from media_worker.playlists import END_OF_LIST

RATE = 10
SECONDS = 21
FRAMES = SECONDS * RATE
LEASE = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, *moving_picture(SECONDS, "160x90", RATE)).read_bytes()


def begin(stage: Stage, wire: Wire, clip: bytes, *, estimate: int | None) -> TranscodeJob:
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


def ends(stage: Stage, clip: bytes, *, estimate: int | None, kept: int) -> None:
    with wire_to(stage.emulator.endpoint) as wire, stage.worker(wire=wire):
        job = begin(stage, wire, clip, estimate=estimate)
        assert_complete(stage, job, frames=FRAMES, rate=RATE)
    assert stage.parts(job)[SOUND].attempts == (1,) * kept + (2,) * (6 - kept)


CASES: dict[str, Callable[[Stage, bytes], None]] = {
    name: functools.partial(ends, estimate=estimate, kept=kept)
    for name, estimate, kept in [
        ("the sound ends with a full segment, the picture later", 200, 4),
        ("a frame less than expected", 211, 5),
        ("a segment more than expected", 190, 4),
        ("as expected", 210, 6),
    ]
}
"""What comes of a picture; segments of the sound that are kept may be listed by then."""


def much_shorter(stage: Stage, clip: bytes) -> None:
    with wire_to(stage.emulator.endpoint) as wire, stage.worker(wire=wire):
        job = begin(stage, wire, clip, estimate=FRAMES + 90)
        failure = stage.finished(job).failure
    assert failure is not None
    assert failure.code == "truncated"
    assert "30.0 seconds" in failure.message
    assert END_OF_LIST not in stage.playlist(job, "v90")


CASES["much less than expected"] = much_shorter

AGAIN: dict[str, Callable[[Call], bool]] = {
    "opening it": lambda call: call.updates(f"#{SOUND}", "frames"),
    "its end": lambda call: call.updates(f"#{SOUND}", "done") and '":frames"' not in call.text,
}
"""What is done of the sound, for the second time, when the worker dies."""


def death(stage: Stage, clip: bytes, *, point: str) -> None:
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


CASES |= {f"killed after {point} again": functools.partial(death, point=point) for point in AGAIN}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, shared_stage: Stage, clip: bytes
) -> Iterator[Mapping[str, Future[None]]]:
    with side_by_side(
        request, CASES, lambda name: CASES[name](shared_stage.with_own_queues(), clip)
    ) as futures:
        yield futures


@pytest.mark.parametrize("name", CASES)
def test_sound_ends_with_the_picture(outcomes: Mapping[str, Future[None]], name: str) -> None:
    outcomes[name].result()
