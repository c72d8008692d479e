"""``mediactl top``: the slowest and the costliest transcodings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.asking import MissingRegion, end_with
from mediactl.options import HELP, SINCE, environment_option, json_option, regions_option
from mediactl.watching.ended_jobs import EndedJob

if TYPE_CHECKING:
    from mediactl.environment import Environment


@dataclass(frozen=True, kw_only=True)
class TopJobs:
    """Transcodings that ended.

    Attributes:
        since: Time from which on they did (RFC 3339, UTC).
        ended: How many did.
        failed: How many of them failed.
        jobs: Those of them that took most.
        missing_regions: Regions that were not looked at.
    """

    since: str
    ended: int
    failed: int
    jobs: list[EndedJob]
    missing_regions: list[MissingRegion] = field(default_factory=list)


_ORDERS: dict[str, Callable[[EndedJob], float]] = {
    "time": lambda job: job.seconds or job.work_seconds or 0,
    "cpu": lambda job: job.cpu_seconds or 0,
    "cpu-per-minute": lambda job: _per_minute(job) or 0,
}


@click.command("top", context_settings=HELP)
@environment_option
@regions_option
@click.option(
    "--since",
    type=SINCE,
    help="Those that ended from then on: 30m, 2h, 3d ago, or a time. Default: 24h.",
)
@click.option(
    "--by",
    type=click.Choice(list(_ORDERS)),
    default="time",
    show_default=True,
    help="What they took most of: time, processor time, or that for a minute of video.",
)
@click.option("--number", "-n", type=click.IntRange(1), default=10, show_default=True, help="Most.")
@json_option(TopJobs)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    environment: Environment,
    regions: tuple[str, ...],
    since: datetime | None,
    by: str,
    number: int,
    as_json: bool,
) -> None:
    """Show the transcodings that took most time, or most of the processors.

    They are found in the log of the workers, as far as that is kept. `mediactl status` shows those
    that still run.

    \b
    Examples:
      mediactl top --since 3d --by cpu
      mediactl top --json
    """
    from media_platform.contract.times import timestamp  # noqa: PLC0415
    from mediactl.watching.ended_jobs import ended_jobs  # noqa: PLC0415

    start = since or datetime.now(UTC) - timedelta(days=1)
    answers = ended_jobs(environment, regions, start)
    jobs = [job for there in answers.by_region.values() for job in there]
    found = TopJobs(
        since=timestamp(start),
        ended=len(jobs),
        failed=sum(job.failed is not None for job in jobs),
        jobs=sorted(jobs, key=_ORDERS[by], reverse=True)[:number],
        missing_regions=answers.missing,
    )
    output.show(found, as_json, _show)
    end_with(ctx, found.missing_regions)


def _show(found: TopJobs) -> None:
    if found.jobs:
        table = output.table(gap=1)
        table.add_column("video", no_wrap=True)
        for heading in ("length", "ready after", "work", "cpu", "cpu/min"):
            table.add_column(heading, justify="right")
        for job in found.jobs:
            after = f"{job.failed}" if job.failed else _seconds(job.seconds)
            numbers = (job.work_seconds, job.cpu_seconds, _per_minute(job))
            table.add_row(
                job.video_id, _seconds(job.duration_seconds), after, *map(_seconds, numbers)
            )
        output.console().print(table)
    click.echo(f"{found.ended} ended since {found.since}, {found.failed} of them failed")


def _per_minute(job: EndedJob) -> float | None:
    """Return the processor time for a minute of video."""
    if not job.cpu_seconds or not job.duration_seconds:
        return None
    return job.cpu_seconds * 60 / job.duration_seconds


def _seconds(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f} s"
