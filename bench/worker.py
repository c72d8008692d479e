"""The worker beside bare ffmpeg: a whole job, time to playable by length, memory and scratch disk.

Whole job: a minute of 1080p to four rungs by one worker process, from S3 to S3 through the
emulator, with publishing and verification; the peer is one ffmpeg that makes the same ladder with
the same encoders from and to the local disk.

Playable: from the job's message to a master playlist, on two warm workers that have half of the
processors each, for the minute and for an hour made of it (with its index at the front, and at the
end); the peer is bare ffmpeg on as many processors, with the first four seconds.

Memory: the worker process itself, without its children, and its scratch folder, while it plans a
source of 10 GB, encodes a chunk from its middle, and makes its sound.

    python bench/worker.py [--json] [--quick] [--runs N] [--source FILE] [--only PART]
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from harness import peers, sources
from harness.figures import Figure, arguments, median, report, say, show
from harness.sources import Film
from harness.stage import Stage, WorkerProcess, cores, running_stage, wait_for

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import video_part
from media_worker import plans
from media_worker.planning import SEGMENT_SECONDS

WHOLE_AIM = 1.25
PLAYABLE_AIM = 2.0
SPREAD_AIM = 1.3
RESIDENT_MEGABYTES = 120.0
LONG_MINUTES = 60
LARGE_BYTES = 10_000_000_000
PARTS = ("whole", "playable", "memory")


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        film: The source.
        runs: Runs of each.
        long_minutes: Length of the long source.
        large_bytes: Size of the large source.
    """

    film: Film
    runs: int
    long_minutes: int
    large_bytes: int


def whole_job(stage: Stage, options: Options) -> list[Figure]:
    """Measure whole jobs, beside one decode and beside one run per rendition."""
    film, threads = options.film, len(cores())
    body = film.path.read_bytes()
    ours, bare, bare_cpu, steps = [], [], [], []
    with stage.workers([None]) as (worker,):
        for number in range(options.runs):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            bare.append(peers.whole(film, threads=threads))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            bare_cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            job = stage.upload(body)
            own, behind = worker.cpu_seconds(), stage.cpu_seconds()
            sent = stage.send(job)
            ours.append(stage.finished(job) - sent)
            steps.append(
                {
                    **_steps(worker, job, sent),
                    "worker's own cpu": worker.cpu_seconds() - own,
                    "emulator's cpu": stage.cpu_seconds() - behind,
                }
            )
            say(f"whole job {number + 1}: {ours[-1]:.1f} s, bare ffmpeg {bare[-1]:.1f} s")
    names = list(steps[0])
    show(
        "where a whole job's time goes (medians)",
        ("step", "seconds"),
        [(name, f"{median(step[name] for step in steps):.2f}") for name in names],
    )
    say(f"bare ffmpeg's cpu: {median(bare_cpu):.1f} s")
    each = peers.one_by_one(film, threads=threads)
    value, peer = median(ours), median(bare)
    say(f"one ffmpeg run per rendition: {each:.1f} s, {each / peer:.2f} x one decode for all")
    return [
        Figure(name="whole_job", value=value, peer=peer, aim=WHOLE_AIM),
        Figure(name="whole_job_by_run_per_rendition", value=value, peer=each, aim=WHOLE_AIM),
    ]


def _steps(worker: WorkerProcess, job: TranscodeJob, sent: float) -> dict[str, float]:
    """Return seconds of the steps of a job, from the log of the worker that did all of it."""

    def at(name: str) -> float:
        return float(worker.events(job, name)[0]["time"])

    chunks = sorted(worker.events(job, "chunk done"), key=lambda line: int(line["chunk"]))
    sounds = worker.events(job, "sound done")
    spent = sum(float(line["seconds"]) for line in chunks)
    return {
        "message to start": at("job started") - sent,
        "start to plan": at("planned") - at("job started"),
        "plan to playable": at("playable") - at("planned"),
        "first chunk": float(chunks[0]["seconds"]),
        "all chunks": spent,
        "all chunks, encoders' cpu": sum(float(line["cpu_seconds"]) for line in chunks),
        "between chunks": chunks[-1]["time"] - at("planned") - spent,
        "sound done at": (sounds[0]["time"] - sent) if sounds else 0.0,
        "last chunk to verified": at("verified") - chunks[-1]["time"],
        "verified to ready": at("video ready") - at("verified"),
    }


def playable(stage: Stage, options: Options) -> list[Figure]:
    """Measure the time to playable of a short and of long sources, beside bare ffmpeg."""
    film, found = options.film, cores()
    halves = [found[: len(found) // 2], found[len(found) // 2 :]]
    times = max(1, round(options.long_minutes * 60 / film.seconds))
    long_ones = {
        f"{options.long_minutes} min, index {'first' if first else 'last'}": sources.longer(
            film, times, index_first=first
        )
        for first in (True, False)
    }
    kinds = {"1 min": sources.longer(film, 1, index_first=True), **long_ones}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    bare = []
    # The same pair throughout: the last poll of a worker that has gone may still take a message.
    with stage.workers([*halves], large=True) as pair:
        for number in range(options.runs):
            bare.append(
                peers.whole(film, threads=len(halves[0]), seconds=SEGMENT_SECONDS, on=halves[0])
            )
            for name, source in kinds.items():
                job = stage.upload(source)
                sent = stage.send(job)
                seconds[name].append(stage.playable(job) - sent)
                steps[name].append(_first_steps(pair, job, sent))
                stage.abandon(job)
            line = ", ".join(f"{name} {values[-1]:.2f} s" for name, values in seconds.items())
            say(f"playable {number + 1}: {line}; bare ffmpeg {bare[-1]:.2f} s")
    show(
        "where the time to playable goes (medians, seconds from the message)",
        ("source", *next(iter(steps.values()))[0]),
        [
            (name, *(f"{median(step[key] for step in some):.2f}" for key in some[0]))
            for name, some in steps.items()
        ],
    )
    peer = median(bare)
    short = median(seconds["1 min"])
    long_one = max(median(seconds[name]) for name in long_ones)
    return [
        Figure(name="playable_1_min", value=short, peer=peer, aim=PLAYABLE_AIM),
        Figure(name="playable_long", value=long_one, peer=peer, aim=PLAYABLE_AIM),
        Figure(
            name="playable_long_by_short",
            value=max(long_one, short),
            peer=min(long_one, short),
            aim=SPREAD_AIM,
        ),
    ]


def _first_steps(pair: list[WorkerProcess], job: TranscodeJob, sent: float) -> dict[str, float]:
    """Return when the steps up to playable ended, in seconds from the message."""

    def at(name: str) -> float:
        times = [line["time"] for worker in pair for line in worker.events(job, name)]
        return min(times) - sent if times else float("nan")

    return {
        "job started": at("job started"),
        "planned": at("planned"),
        "loudness measured": at("loudness measured"),
        "playable": at("playable"),
    }


def memory(stage: Stage, options: Options) -> list[Figure]:
    """Measure the worker process and its scratch folder with a large source."""
    film = options.film
    times = -(-options.large_bytes // film.path.stat().st_size)
    source = sources.longer(film, times, index_first=False)
    say(f"a source of {source.size / 1e9:.1f} GB, {times * film.seconds / 60:.0f} minutes")
    job = stage.upload(source)
    with (
        stage.workers([None], large=True, chunks_in_flight=2) as (worker,),
        _watching(worker) as scratch,
    ):
        idle = worker.peak_resident()
        stage.send(job)

        def plan() -> str | None:
            run = stage.run(job)
            return run.plan if run else None

        text = wait_for(plan, "the plan")
        planned = worker.peak_resident()
        middle = len(plans.from_text(text).chunks) // 2
        stage.send(job.for_part(video_part(middle)))

        def encoded() -> list[dict[str, Any]]:
            return [
                line for line in worker.events(job, "chunk done") if int(line["chunk"]) == middle
            ]

        wait_for(encoded, "a chunk of the middle")
        halfway = worker.peak_resident()
        wait_for(lambda: worker.events(job, "sound done"), "the sound")
        peak = worker.peak_resident()
        part = next(
            item for item in stage.items(job) if item["sk"]["S"].endswith(video_part(middle))
        )
        chunk = float(part["bytes_out"]["N"])
        stage.abandon(job)
    show(
        "resident memory of the worker process, peak so far",
        ("after", "MB"),
        [
            ("the start", f"{idle / 1e6:.0f}"),
            ("planning", f"{planned / 1e6:.0f}"),
            ("a chunk of the middle", f"{halfway / 1e6:.0f}"),
            ("the sound", f"{peak / 1e6:.0f}"),
        ],
    )
    return [
        Figure(name="resident", value=peak / 1e6, peer=RESIDENT_MEGABYTES, aim=1.0, unit="MB"),
        Figure(name="scratch", value=scratch[0] / 1e6, peer=chunk / 1e6, aim=1.0, unit="MB"),
    ]


@contextmanager
def _watching(worker: WorkerProcess) -> Iterator[list[int]]:
    """Note the most bytes that the scratch folder of a worker holds, in a list of one."""
    most, end = [0], threading.Event()

    def watch() -> None:
        while not end.wait(0.1):
            try:
                most[0] = max(most[0], worker.scratch_bytes())
            except (psutil.Error, OSError):
                continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        end.set()
        thread.join()


def main() -> None:
    """Measure and print."""
    parser = arguments((__doc__ or "").splitlines()[0], runs=5)
    parser.add_argument("--source", type=Path, help="file to use; default: a generated minute")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part only")
    asked = parser.parse_args()
    if asked.source:
        film = sources.remuxed(asked.source.resolve())
    elif asked.quick:
        film = sources.minute(seconds=20, lines=360, kilobits=2000)
    else:
        film = sources.minute()
    options = Options(
        film=film,
        runs=1 if asked.quick else asked.runs,
        long_minutes=10 if asked.quick else LONG_MINUTES,
        large_bytes=200_000_000 if asked.quick else LARGE_BYTES,
    )
    measure = {"whole": whole_job, "playable": playable, "memory": memory}
    figures: list[Figure] = []
    begun = time.monotonic()
    for name in PARTS:
        if not asked.only or name in asked.only:
            with running_stage() as stage:
                figures += measure[name](stage, options)
    say(f"took {time.monotonic() - begun:.0f} s")
    report("worker", figures, as_json=asked.json)


if __name__ == "__main__":
    main()
