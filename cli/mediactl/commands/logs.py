"""``mediactl logs``: what services, functions and workers log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.errors import DEGRADED
from mediactl.options import (
    HELP,
    SINCE,
    environment_option,
    json_option,
    regions_option,
    video_option,
)
from mediactl.watching.log_lines import LogLine

if TYPE_CHECKING:
    from mediactl.environment import Environment

FOLLOW_SECONDS = 0.5
"""Time between two looks at the files of a local plane."""

FOLLOW_AWS_SECONDS = 3.0
"""Time between two looks on AWS: a look is a call for each log group, and a region has some twenty
(CloudWatch Logs quotas, "FilterLogEvents": 25 a second in most regions, 5 in a few)."""

_HIDDEN = {"exception", "logger", "request_id", "route", "tenant", "trace_id"}
"""Fields of a line that people do not get beside its message; JSON has them."""

_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command("logs", context_settings=HELP)
@environment_option
@regions_option
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@click.option(
    "--since",
    type=SINCE,
    help="From then on: 30s, 10m, 2h, 3d ago, or a time such as 2026-11-26T05:00Z. Default: 10m;"
    " with --video since that was created.",
)
@click.option(
    "--service",
    "services",
    metavar="NAME",
    multiple=True,
    help="Only those with this in their name, e.g. api, workers; may be repeated.",
)
@video_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also lines of metrics, and what Lambda says of every call.",
)
@json_option(LogLine, stream=True)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    environment: Environment,
    regions: tuple[str, ...],
    follow: bool,
    since: datetime | None,
    services: tuple[str, ...],
    video: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Show log lines of API, functions and workers in the order of time (UTC).

    With --video: all that name the video, from its creation to its last playback, across services
    and regions. CloudWatch gets lines some seconds late; what comes later than others is shown
    when it comes. What the local plane itself logs is shown by `mediactl local logs`. Exit code 5:
    a region does not answer, or does not any more; the end says which, and why.

    \b
    Examples:
      mediactl logs --since 2h --service workers
      mediactl logs --video VIDEO --json
    """
    from media_platform.contract.ids import made_at  # noqa: PLC0415
    from mediactl.asking import tell_missing  # noqa: PLC0415
    from mediactl.deployed import regions_of  # noqa: PLC0415
    from mediactl.watching.log_lines import Logs, Wanted  # noqa: PLC0415

    if since is None:
        since = made_at(video) if video else datetime.now(UTC) - timedelta(minutes=10)
    everywhere = {*regions} == {*environment.regions}
    places = regions_of(environment) if everywhere else regions
    wanted = Wanted(since=since, video_id=video, everything=everything)
    logs = Logs.of(environment, places, services, wanted)
    number = _print(logs.lines() if video is None else logs.sorted_lines(), as_json)
    tell_missing(logs.missing)
    if not follow:
        if not number:
            output.say(f"no lines since {since.isoformat(timespec='seconds')}")
        if logs.missing:
            ctx.exit(DEGRADED)
        return
    pause = threading.Event()
    while True:
        pause.wait(FOLLOW_SECONDS if environment.is_local else FOLLOW_AWS_SECONDS)
        told = len(logs.missing)
        _print(logs.sorted_lines(), as_json)
        tell_missing(logs.missing[told:])


def _print(lines: Iterable[LogLine], as_json: bool) -> int:
    """Print lines; return how many."""
    number, day = 0, datetime.now(UTC).date().isoformat()
    for line in lines:
        number += 1
        if as_json:
            output.line(line)
            continue
        if not line.time.startswith(day):
            day = line.time.partition("T")[0]
            click.echo(day)
        click.echo(text_of(line))
    return number


def text_of(line: LogLine) -> str:
    """Return a line as people read it."""
    time = line.time.partition("T")[2].removesuffix("Z")
    level, color = f"{line.level or '':7}", _COLORS.get(line.level or "")
    level = click.style(level, fg=color) if color else level
    shown = {key: one for key, one in line.fields.items() if key not in _HIDDEN}
    fields = " ".join(
        f"{key}={one if isinstance(one, str) else json.dumps(one)}" for key, one in shown.items()
    )
    text = output.printable(f"{line.message}  {fields}".strip())
    parts = [f"{time} {line.service:14} {level} {text}"]
    exception = line.fields.get("exception")
    if exception:
        told = exception if isinstance(exception, str) else json.dumps(exception, indent=2)
        parts += [f"    {output.printable(one)}" for one in told.splitlines()]
    return "\n".join(parts)
