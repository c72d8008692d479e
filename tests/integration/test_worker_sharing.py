"""Several workers on one video, and one worker for several tenants."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from waiting import eventually
from worker_outcome import assert_complete, stored_run
from worker_stage import Stage, WorkerProcess, make_clip, moving_picture
from worker_wire import Wire, wire_to

from media_platform.contract import table
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import SOUND, Part, RunStatus, video_part
from media_platform.contract.video import VideoStatus

SECONDS = 41
FRAMES = SECONDS * 25
CHUNKS = 10
"""Of one segment each; the last has a second more."""

IN_FLIGHT = 4

PROCESSORS = sorted(os.sched_getaffinity(0))
"""With one for each, the encoder has one thread.

With more, what x264 makes of a peak rate depends on which of them is faster.
"""


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    return shared_stage.with_own_queues()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, *moving_picture(SECONDS, "160x90")).read_bytes()


@dataclass(frozen=True)
class Team:
    """Workers that share queues and a wire."""

    stage: Stage
    wire: Wire
    workers: list[WorkerProcess]

    def chunks(self) -> list[list[int]]:
        """Return the chunks that each worker has made."""
        return [
            [line["chunk"] for line in worker.log() if line.get("message") == "chunk done"]
            for worker in self.workers
        ]


@pytest.fixture
def team(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Team]:
    """As many workers as the test wants, all of them waiting for work."""
    with ExitStack() as stack:
        wire = stack.enter_context(wire_to(stage.emulator.endpoint))
        workers = [
            stack.enter_context(
                stage.worker(
                    wire=wire,
                    processor=PROCESSORS[number % len(PROCESSORS)],
                    chunk_seconds=4,
                    chunks_in_flight=IN_FLIGHT,
                )
            )
            for number in range(request.param)
        ]
        for worker in workers:
            worker.wait_for("worker started")
        yield Team(stage, wire, workers)


def done(stage: Stage, job: TranscodeJob) -> set[str]:
    return {name for name, part in stage.parts(job).items() if part.done}


# -- one video -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(shared_stage: Stage, clip: bytes) -> dict[str, str]:
    """What one worker publishes of the clip: the hash of each object."""
    stage = shared_stage.with_own_queues()
    job = stage.upload(clip)
    stage.send(job)
    with stage.worker(processor=PROCESSORS[0], chunk_seconds=4):
        assert_complete(stage, job, frames=FRAMES)
    return hashes(stage, job)


def hashes(stage: Stage, job: TranscodeJob) -> dict[str, str]:
    return {name: head["ETag"] for name, head in stage.objects(job).items()}


@pytest.mark.parametrize("team", [2, 3], indirect=True)
def test_workers_that_share_a_video_publish_what_one_does(
    team: Team, clip: bytes, alone: dict[str, str]
) -> None:
    """To the bit, though no chunk is made by whom it would be alone."""
    stage, job = team.stage, team.stage.upload(clip)
    stage.send(job)
    assert_complete(stage, job, frames=FRAMES)
    assert hashes(stage, job) == alone
    made = team.chunks()
    assert sorted(chunk for chunks in made for chunk in chunks) == list(range(CHUNKS))
    assert sum(1 for chunks in made if chunks) >= 2, made
    assert {part.attempt for part in stage.parts(job).values()} == {1}


@pytest.mark.parametrize("team", [3], indirect=True)
def test_a_chunk_that_comes_last_holds_up_the_list_and_nothing_else(
    team: Team, clip: bytes
) -> None:
    stage, job = team.stage, team.stage.upload(clip)
    late = 2
    trap = team.wire.before(lambda call: call.puts(f"v90/1/{late:06d}.m4s"))
    stage.send(job)
    trap.wait()
    # Of those behind it, only what waits for its end is not sent.
    others = {video_part(n) for n in range(CHUNKS) if n % IN_FLIGHT != late or n < late}
    eventually(lambda: others <= done(stage, job), "all other chunks are done")
    eventually(lambda: len(stage.entries(job, "v90")) == late, "what is joined is listed")
    assert stage.parts(job)[video_part(late)].segments == 0
    assert stage.video(job).status is VideoStatus.PROCESSING
    assert 0 < stored_run(stage, job).progress < 100 * (late + 1) / CHUNKS
    trap.let_go()
    assert_complete(stage, job, frames=FRAMES)


# -- several tenants -------------------------------------------------------------------------------

HOURS = 10


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten hours with a frame each second."""
    folder = tmp_path_factory.mktemp("long")
    minute = make_clip(folder / "minute.mp4", *moving_picture(60, "160x90", 1)[:-2], "-an")
    loops = str(HOURS * 60 - 1)
    copied = ("-stream_loop", loops, "-i", str(minute), "-c", "copy")
    return make_clip(folder / "long.mp4", *copied).read_bytes()


def test_a_long_upload_does_not_hold_up_a_short_one(
    stage: Stage, long_film: bytes, tmp_path: Path
) -> None:
    short = make_clip(tmp_path / "short.mp4", *moving_picture(60, "160x90", 10)).read_bytes()
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.worker(wire=wire, max_duration_seconds=HOURS * 3600 + 60) as worker,
    ):
        slow = stage.upload(long_film)
        stage.send(slow)
        eventually(lambda: len(done(stage, slow)) >= 3, "the long upload is in work")
        quick = stage.upload(short, tenant="globex")
        stage.send(quick)
        eventually(lambda: stage.video(quick).status is VideoStatus.READY, "the short one is ready")
        worker.kill()
    run, chunks = stored_run(stage, slow), done(stage, slow)
    assert run.status is RunStatus.RUNNING
    assert run.chunks is not None
    assert run.chunks > HOURS * 3600 / 8
    quick_chunks = stored_run(stage, quick).chunks
    assert quick_chunks is not None
    # The long one had its share meanwhile, and no more than a few chunks for each of the other's.
    assert len(chunks) < 3 + 4 * quick_chunks
    waiting, unfinished = most_messages(wire, slow)
    assert waiting <= stage.environment.chunks_in_flight
    assert unfinished <= stage.environment.chunks_in_flight + 1


def most_messages(wire: Wire, job: TranscodeJob) -> tuple[int, int]:
    """Return how many messages of a run waited at most, and how many there were in all."""
    waiting: set[str] = set()
    left: set[str] = set()
    receipts: dict[str, str] = {}
    most = (0, 0)
    for call in wire.calls:
        if call.operation == "SendMessage" and job.run_id in call.text:
            part = TranscodeJob.from_json(json.loads(call.text)["MessageBody"]).part
            waiting.add(part)
            left.add(part)
        elif call.operation == "ReceiveMessage" and job.run_id in call.answer:
            for message in json.loads(call.answer)["Messages"]:
                part = TranscodeJob.from_json(message["Body"]).part
                receipts[message["ReceiptHandle"]] = part
                waiting.discard(part)
        elif call.operation == "DeleteMessage":
            left.discard(receipts.get(json.loads(call.text)["ReceiptHandle"], ""))
        most = (max(most[0], len(waiting)), max(most[1], len(left)))
    assert receipts
    return most


def test_parts_of_other_runs_are_left_alone(stage: Stage, clip: bytes) -> None:
    """Two runs of one video at a time: each has parts, attempts and objects of its own."""
    job = stage.upload(clip)
    stage.send(job)
    with stage.worker():
        stage.finished(job)
        before: dict[str, Part] = stage.parts(job)
        again = stage.transcode_again(job)
        stage.send(again)
        assert_complete(stage, again, frames=FRAMES)
    assert stage.parts(job) == before


def test_a_start_that_comes_twice_finds_the_plan_of_the_other(stage: Stage, tmp_path: Path) -> None:
    """Between its looks at the run and at the first chunk, another one made both."""
    job = stage.upload(make_clip(tmp_path / "clip.mp4", *moving_picture(2, "160x90")).read_bytes())
    stage.send(job)
    with stage.worker():
        stage.finished(job)
    again = stage.transcode_again(job)
    with wire_to(stage.emulator.endpoint) as wire, stage.worker(wire=wire) as worker:
        first = table.part_key(again.video_id, again.run_id, video_part(0))
        trap = wire.before(lambda call: call.operation == "GetItem" and first.sk in call.text)
        stage.send(again)
        trap.wait()
        stage.put(replace(stored_run(stage, again), plan=stored_run(stage, job).plan))
        stage.put(replace(stage.parts(job)[video_part(0)], run_id=again.run_id))
        trap.let_go()
        taken = worker.wait_for("part taken")
    assert taken["part"] == SOUND
    assert worker.said("failed, will be tried again") is None
