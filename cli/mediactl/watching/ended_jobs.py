"""Transcodings that ended: how long they took, and how much processor time.

Workers log a line of metrics for each run that becomes READY or fails, once; no index of the table
lists runs by their time. The numbers of a run are read from the table, as long as it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from media_platform.contract import table
from media_platform.contract.metrics import (
    CPU_SECONDS,
    JOBS_COMPLETED,
    JOBS_FAILED,
    TIME_TO_READY_SECONDS,
)
from media_platform.contract.outputs import StoreOutput
from media_platform.contract.run import Run
from mediactl.asking import Answers, ask_regions
from mediactl.deployed import items_by_key
from mediactl.watching.log_lines import LogLine, Wanted, sources

if TYPE_CHECKING:
    from mediactl.environment import Environment

WORKERS = "workers"
"""What workers are called among those who log."""


@dataclass(frozen=True, kw_only=True)
class EndedJob:
    """A run that ended.

    Attributes:
        video_id: The video.
        run_id: The run.
        tenant: Tenant of the video, if it is known.
        region: Region of the workers.
        ended_at: Time at which it ended (RFC 3339, UTC).
        failed: Stable code of the reason, if it failed.
        seconds: From the upload to READY.
        work_seconds: From the first worker that took it to its end, if the run is there.
        cpu_seconds: Processor time that all workers spent on it, in seconds of one virtual CPU.
        duration_seconds: Length of the video, if the run is there.
    """

    video_id: str
    run_id: str
    tenant: str | None
    region: str
    ended_at: str
    failed: str | None
    seconds: float | None
    work_seconds: float | None
    cpu_seconds: float | None
    duration_seconds: float | None


def ended_jobs(
    environment: Environment, regions: Sequence[str], since: datetime
) -> Answers[list[EndedJob]]:
    """Return the runs that ended since a time, by region, in no order.

    Args:
        environment: The environment.
        regions: Regions of the workers.
        since: The time.
    """
    wanted = Wanted(since=since, counted=(JOBS_COMPLETED, JOBS_FAILED), everything=True)

    def ended_in(region: str) -> list[EndedJob]:
        workers = sources(environment, [region], [WORKERS], wanted).by_region[region]
        lines = [line for source in workers for line in source.lines()]
        return _of_region(environment, region, lines)

    return ask_regions(environment, regions, ended_in)


def _of_region(environment: Environment, region: str, lines: Sequence[LogLine]) -> list[EndedJob]:
    ends = {
        (str(one.fields["video_id"]), str(one.fields["run_id"])): one
        for one in lines
        if {"video_id", "run_id"} <= one.fields.keys()
    }
    table_name = environment.output(StoreOutput.TABLE_NAME, region)
    items = items_by_key(
        environment.client("dynamodb", region),
        table_name,
        [table.run_key(*names).to_wire() for names in ends],
    )
    runs = {(run.video_id, run.run_id): run for run in map(Run.from_item, items)}
    return [_job(line, runs.get(names)) for names, line in ends.items()]


def _job(line: LogLine, run: Run | None) -> EndedJob:
    said = line.fields
    work = None
    if run is not None and run.finished_at is not None:
        started, finished = map(datetime.fromisoformat, (run.started_at, run.finished_at))
        work = (finished - started).total_seconds()
    return EndedJob(
        video_id=str(said["video_id"]),
        run_id=str(said["run_id"]),
        tenant=said.get("tenant"),
        region=line.region,
        ended_at=line.time,
        failed=str(said.get("code", "unknown")) if JOBS_FAILED in said else None,
        seconds=said.get(TIME_TO_READY_SECONDS),
        work_seconds=work,
        cpu_seconds=said.get(CPU_SECONDS) or (run.cpu_seconds if run is not None else None),
        duration_seconds=run.duration_seconds if run is not None else None,
    )
