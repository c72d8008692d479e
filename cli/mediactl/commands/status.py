"""``mediactl status``: one screen for an environment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.errors import DEGRADED
from mediactl.options import HELP, Amount, environment_option, json_option, regions_option
from mediactl.progress import size
from mediactl.watching.region_status import EnvironmentStatus, RegionStatus, status_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from mediactl.environment import Environment
    from mediactl.watching.region_status import (
        ReplicationState,
        ServiceState,
        StackState,
        VideoInFlight,
    )

LEAST_SECONDS = 1.0
"""Least time between two looks: each is some forty calls for a region."""

VIDEOS_SHOWN = 10
"""Videos in flight that fit on a screen beside the rest."""


@click.command("status", context_settings=HELP)
@environment_option
@regions_option
@click.option(
    "--watch",
    type=Amount(min=LEAST_SECONDS),
    is_flag=False,
    flag_value=5.0,
    metavar="[SECONDS]",
    help="Look again every 5 seconds, or so many, until Ctrl-C.",
)
@json_option(EnvironmentStatus)
@click.pass_context
def command(
    ctx: click.Context,
    environment: Environment,
    regions: tuple[str, ...],
    watch: float | None,
    as_json: bool,
) -> None:
    """Show services, queues, videos in flight, alarms and deployments.

    Depths of queues are the estimates of SQS. The age of the oldest message, and how late copies
    are, is what CloudWatch was told within the last minutes; a dash where it was told nothing.

    Exit code 0: nothing needs a person; 5: something does, and the end of the screen says what;
    3: nothing is deployed, or the local plane is not up. With --watch it is that of the last look.

    \b
    Examples:
      mediactl status
      mediactl status --region REGION --json
    """
    last = status_of(environment, regions)
    if watch is None:
        output.show(last, as_json, _show)
    else:
        looks = _looks(environment, regions, watch, last)
        last = _watch(looks, last, as_json=as_json)
    if last.needs:
        ctx.exit(DEGRADED)


def _show(found: EnvironmentStatus) -> None:
    # Commands are there to be copied, so they are not cut.
    output.console().print(screen(found), crop=False)


def _looks(
    environment: Environment, regions: tuple[str, ...], seconds: float, first: EnvironmentStatus
) -> Iterator[EnvironmentStatus]:
    """Yield looks; one that fails is told, and the next one tries again."""
    from mediactl.failures import explain  # noqa: PLC0415 - not needed otherwise

    pause = threading.Event()
    yield first
    while True:
        pause.wait(seconds)
        environment.find_lost()
        try:
            found = status_of(environment, regions)
        except Exception as error:  # noqa: BLE001 - whoever watches wants to see it come back
            output.say(f"not known just now: {explain(error)}")
            continue
        yield found


def _watch(
    looks: Iterator[EnvironmentStatus], first: EnvironmentStatus, *, as_json: bool
) -> EnvironmentStatus:
    """Show looks until Ctrl-C, in one place or as lines of JSON; return the last one."""
    from rich.live import Live  # noqa: PLC0415 - slow to import

    last = first
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            for last in looks:
                output.line(last)
            return last
        console = output.console(least=0)
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            for last in looks:
                live.update(screen(last), refresh=True)
    return last


def screen(found: EnvironmentStatus) -> RenderableType:
    """Return what a person sees of an environment, at most 80 columns wide."""
    from rich.console import Group  # noqa: PLC0415 - slow to import
    from rich.text import Text  # noqa: PLC0415

    heading = f"{found.environment}  {found.base_url or 'no address yet'}  {found.asked_at}"
    parts: list[RenderableType] = [Text(heading, style="bold")]
    for region in found.regions:
        parts += _region(region, found.asked_at)
    if not found.needs:
        return Group(*parts, Text("\nnothing needs a person", style="green"))
    parts.append(Text("\nwhat needs a person", style="bold red"))
    for need in found.needs:
        parts.append(Text(f"- {need.text}"))
        if need.command:
            parts.append(Text(f"  {need.command}", style="cyan", no_wrap=True, overflow="ignore"))
    return Group(*parts)


def _region(region: RegionStatus, now: str) -> list[RenderableType]:
    from rich.rule import Rule  # noqa: PLC0415 - slow to import
    from rich.text import Text  # noqa: PLC0415

    parts: list[RenderableType] = [Rule(region.region, align="left")]
    if not region.reachable:
        return [*parts, Text(region.reason or "does not answer", style="red")]
    stacks = ", ".join(_stack(one, now) for one in region.stacks)
    parts.append(Text(f"deployed: {stacks or 'nothing'}"))
    if not region.stacks:
        return parts
    if region.services:
        parts.append(_services(region.services))
    if region.queues:
        parts.append(_queues(region))
    number = f"{region.videos_in_flight}{' or more' if region.more_in_flight else ''}"
    parts.append(
        Text(f"videos in flight: {number}   events to publish: {region.events_unpublished}")
    )
    if region.videos:
        parts.append(_videos(region.videos[:VIDEOS_SHOWN]))
    return parts + [Text(_copies(one)) for one in region.replication]


def _stack(stack: StackState, now: str) -> str:
    from mediactl.videos.tables import age  # noqa: PLC0415 - imports rich

    since = datetime.fromisoformat(now) - datetime.fromisoformat(stack.deployed_at)
    usual = stack.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    status = "" if usual else f" {stack.status}"
    return f"{stack.part}{status} {age(since.total_seconds())} ago"


def _table(*headings: str) -> Table:
    from rich.table import Table  # noqa: PLC0415 - slow to import

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _services(services: list[ServiceState]) -> Table:
    table = _table("service", "desired", "running", "pending", "deployment")
    for one in services:
        style = "red" if one.running < one.desired else None
        counts = (str(number) for number in (one.desired, one.running, one.pending))
        table.add_row(one.name, *counts, (one.rollout or "-").lower(), style=style)
    return table


def _queues(region: RegionStatus) -> Table:
    from mediactl.videos.tables import age  # noqa: PLC0415 - imports rich

    table = _table("queue", "waiting", "in work", "delayed", "oldest")
    for one in region.queues:
        counts = (str(number) for number in (one.visible, one.in_flight, one.delayed))
        table.add_row(
            one.name, *counts, "-" if one.oldest_seconds is None else age(one.oldest_seconds)
        )
    for dead in region.dead_letters:
        table.add_row(f"dead letters: {dead.queue}", str(dead.messages), style="red")
    return table


def _videos(videos: list[VideoInFlight]) -> Table:
    from mediactl.videos.tables import age  # noqa: PLC0415 - imports rich

    table = _table("video", "tenant", "status", "doing", "for")
    for one in videos:
        doing = one.doing if one.progress is None else f"{one.doing} {one.progress} %"
        table.add_row(one.video_id, one.tenant[:12], one.status, doing, age(one.seconds))
    return table


def _copies(one: ReplicationState) -> str:
    def late(seconds: float | None, pending: int | None = None) -> str:
        waiting = f" ({size(pending)} wait)" if pending else ""
        return f"{'-' if seconds is None else f'{seconds:.1f} s'}{waiting}"

    if one.under_way is not None:
        return f"on the way to {one.region}: {one.under_way} changes and copies"
    return (
        f"late in {one.region}: table {late(one.table_seconds)},"
        f" uploads {late(one.raw_seconds, one.raw_pending_bytes)},"
        f" media {late(one.media_seconds, one.media_pending_bytes)}"
    )
