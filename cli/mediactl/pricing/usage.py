"""How much of everything a workload takes, as far as it is the same in every region.

Numbers that are no price and stand in no template were counted on the local plane, with the worker
of this version, on a minute of 1080p that became four renditions; ``docs/costs.md`` has them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from media_platform.contract.spend import CPU_SECONDS_PER_MEGAPIXEL
from mediactl.pricing.template import Stage, TaskService, ladder_of
from mediactl.pricing.workload import Workload

HOURS = 730
"""Hours of a month, as AWS counts them."""

MINUTES = HOURS * 60

SEGMENT_SECONDS = 4
AUDIO_KILOBITS = 128
DEFAULT_LADDER = [(1080, 4500.0), (720, 2600.0), (480, 1200.0), (360, 700.0)]
"""What is taken where no worker tells its own."""

USEFUL_SHARE = 0.9
"""Share of the processors of a busy worker that works; the rest waits."""

ALONE_SECONDS = 180
"""Time until further workers help the first: a minute of metric, one until it is seen, one to
start.
"""

START_SECONDS = 60
"""Time that a task costs before it works."""

STAY_SECONDS = 180
"""Time that tasks stay without work, until the policy takes them away."""

IDLE_SECONDS = 300
"""The same for the last one, where its environment does not say."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month of a stage in numbers; of all regions together.

    Attributes:
        workload: What users do.
        rungs: Rungs of the ladder that are made: short side, and kilobits per second at most.
        media_gb: GB of media that are made.
        objects: Objects of media that are made.
        chunks: Parts of the picture that workers take.
        worker_cpu_hours: Hours of a virtual CPU that are paid for workers.
        worker_busy_share: Share of them that transcodes; the others start, wait and stay.
        worker_starts: Tasks of workers that start.
        worker_hours: Hours of the clock in which a task of a worker runs.
        delivered_gb: GB that viewers load.
        delivered_requests: Requests of viewers for media.
        events: Domain events.
    """

    workload: Workload
    rungs: list[tuple[int, float]]
    media_gb: float
    objects: float
    chunks: float
    worker_cpu_hours: float
    worker_busy_share: float
    worker_starts: float
    worker_hours: float
    delivered_gb: float
    delivered_requests: float
    events: float


def month_of(stage: Stage, workload: Workload) -> Month:
    """Return what a workload takes of a stage."""
    rungs = rungs_of(stage, workload)
    kilobits = sum(peak for _, peak in rungs) * workload.average_of_peak + AUDIO_KILOBITS
    seconds = workload.uploaded_minutes * 60
    cpu_seconds, busy_share, starts = worker_time(stage.worker, workload, rungs)
    watched = workload.minutes_watched * 60
    best = max((peak for _, peak in rungs), default=0) * workload.average_of_peak
    delivered = watched * (best + AUDIO_KILOBITS) / 8 / 1e6
    if workload.delivered_gb is not None:
        delivered = workload.delivered_gb
    return Month(
        workload=workload,
        rungs=rungs,
        media_gb=seconds * kilobits / 8 / 1e6,
        # Per segment of a track its object; beside them playlists, pictures and what is final.
        objects=seconds / SEGMENT_SECONDS * (len(rungs) + 1) + 40 * workload.uploads,
        chunks=_chunks_of_a_video(stage.worker, workload) * workload.uploads,
        worker_cpu_hours=cpu_seconds / 3600,
        worker_busy_share=busy_share,
        worker_starts=starts,
        worker_hours=worker_hours(stage.worker, workload, rungs),
        delivered_gb=delivered,
        # Picture and sound are segments of their own; playlists, keys and the page are few.
        delivered_requests=watched / SEGMENT_SECONDS * 2 + 10 * workload.views,
        events=7 * workload.uploads,
    )


def rungs_of(stage: Stage, workload: Workload) -> list[tuple[int, float]]:
    """Return the rungs that become renditions: none above the source, but always one."""
    ladder = sorted(ladder_of(stage.worker) or DEFAULT_LADDER, reverse=True)
    within = [rung for rung in ladder if rung[0] <= workload.source_lines]
    return within or ladder[-1:]


def cpu_seconds_of_a_minute(rungs: list[tuple[int, float]], frame_rate: float) -> float:
    """Return the processor time that a minute of video takes, in seconds of one virtual CPU."""
    megapixels = sum(lines * round(lines * 16 / 9) for lines, _ in rungs) / 1e6
    return megapixels * min(frame_rate, 60) * 60 * CPU_SECONDS_PER_MEGAPIXEL


def worker_time(
    worker: TaskService | None, workload: Workload, rungs: list[tuple[int, float]]
) -> tuple[float, float, float]:
    """Return what workers are paid for: seconds of a virtual CPU, the busy share, and starts.

    The first task works alone until further ones are there. How many come depends on the messages
    that are left by then; each stays for a while.
    """
    if worker is None or not workload.uploads:
        return 0.0, 0.0, 0.0
    bursts = workload.uploads / workload.uploads_at_once
    work, tasks = _burst(worker, workload, rungs)
    idle = worker.cpus * (tasks * START_SECONDS + _stays(worker) + (tasks - 1) * STAY_SECONDS)
    paid = work + idle
    return bursts * paid, work / paid, bursts * tasks


def worker_hours(
    worker: TaskService | None, workload: Workload, rungs: list[tuple[int, float]]
) -> float:
    """Return the hours of the clock in which workers run at some time, of all uploads.

    Whatever begins at any minute and lasts for a while touches one hour more than it lasts.
    """
    if worker is None or not workload.uploads:
        return 0.0
    work, tasks = _burst(worker, workload, rungs)
    alone = min(work / worker.cpus, ALONE_SECONDS)
    together = (work - alone * worker.cpus) / (worker.cpus * tasks)
    seconds = START_SECONDS + alone + together + _stays(worker)
    return workload.uploads / workload.uploads_at_once * (1 + seconds / 3600)


def _burst(
    worker: TaskService, workload: Workload, rungs: list[tuple[int, float]]
) -> tuple[float, float]:
    """Return what uploads that come together take: seconds of a virtual CPU, and tasks."""
    together = workload.uploads_at_once
    work = (
        together * workload.minutes * cpu_seconds_of_a_minute(rungs, workload.frame_rate)
    ) / USEFUL_SHARE
    left = max(0.0, 1 - ALONE_SECONDS * worker.cpus / work)
    if not left:
        return work, 1.0
    return work, worker.tasks_for(left * together * _chunks_of_a_video(worker, workload))


def _stays(worker: TaskService) -> float:
    """Return the seconds that the last task stays."""
    return max(STAY_SECONDS, float(worker.variables.get("IDLE_SECONDS", IDLE_SECONDS)))


def _chunks_of_a_video(worker: TaskService | None, workload: Workload) -> float:
    seconds = float(worker.variables.get("CHUNK_SECONDS", 16)) if worker else 16.0
    length = workload.minutes * 60
    # The first chunk is a segment.
    return 1 + max(0.0, length - SEGMENT_SECONDS) / seconds
