"""What real runs on one and on two workers took: the constants of the simulation, and its test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import CACHE
from harness.figures import median
from harness.stage import WorkerProcess
from media_platform.contract.jobs import TranscodeJob

FILE = CACHE / "measured.json"
"""Where ``scale.py`` leaves what it measured, for ``simulation.py``."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One real run, in seconds from its message.

    Attributes:
        started: When a worker began with it.
        planned: When it was planned.
        loudness: When the loudness of the sound was known; 0 without sound.
        playable: When it could be played.
        sound_done: When the sound was done; 0 without.
        ready: When it was READY.
        verified: When its parts were found to fit.
        chunks: Number, length in seconds of video, time taken, and time of the end, of each chunk.
    """

    started: float
    planned: float
    loudness: float
    playable: float
    sound_done: float
    verified: float
    ready: float
    chunks: tuple[tuple[int, float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        seconds: Length of the film.
        chunk_seconds: Length of a chunk.
        window: Most chunks in the queue at a time.
        one: The run on one worker of one processor.
        two: The run on two.
        bare_one: Bare ffmpeg with all of the film on one processor.
        bare_two: Two, with half of it each, on one processor each.
        sound_cpu: Processor time of the sound.
    """

    seconds: float
    chunk_seconds: int
    window: int
    one: Timeline
    two: Timeline
    bare_one: float
    bare_two: float
    sound_cpu: float

    def save(self) -> None:
        """Keep it for the simulation."""
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Read what was kept."""
        content = json.loads(path.read_text())
        for name in ("one", "two"):
            chunks = tuple(tuple(chunk) for chunk in content[name].pop("chunks"))
            content[name] = Timeline(**content[name], chunks=chunks)
        return cls(**content)


def timeline(
    workers: Sequence[WorkerProcess], job: TranscodeJob, sent: float, rate: float
) -> Timeline:
    """Return the timeline of a run, from the logs of all of its workers.

    Args:
        workers: The workers.
        job: The job of the run.
        sent: When its message was sent, in Unix seconds.
        rate: Frames per second.
    """

    def lines(name: str) -> list[dict[str, Any]]:
        return [line for worker in workers for line in worker.events(job, name)]

    def at(name: str) -> float:
        times = [float(line["time"]) for line in lines(name)]
        return min(times) - sent if times else 0.0

    chunks = sorted(
        (int(c["chunk"]), c["frames"] / rate, float(c["seconds"]), float(c["time"]) - sent)
        for c in lines("chunk done")
    )
    return Timeline(
        started=at("job started"),
        planned=at("planned"),
        loudness=at("loudness measured"),
        playable=at("playable"),
        sound_done=at("sound done"),
        verified=at("verified"),
        ready=at("video ready"),
        chunks=tuple(chunks),
    )


def typical(timelines: Sequence[Timeline]) -> Timeline:
    """Return the run whose end is the median; of two in the middle, the later one."""
    middle = median(run.ready for run in timelines)
    return min(timelines, key=lambda run: (abs(run.ready - middle), -run.ready))
