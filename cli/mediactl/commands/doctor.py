"""``mediactl doctor``: what could keep an environment from working."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.errors import DEGRADED
from mediactl.options import environment_option, json_option

if TYPE_CHECKING:
    from mediactl.checking.doctor import Diagnosis
    from mediactl.environment import Environment

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "bright_black"}


@click.command("doctor")
@environment_option
@click.option("--offline", is_flag=True, help="Look only at this machine and at the templates.")
@click.option("--drift", is_flag=True, help="Look also for what was changed by hand (minutes).")
@json_option("mediactl.checking.doctor:Diagnosis")
@click.pass_context
def doctor_command(
    ctx: click.Context, *, environment: Environment, offline: bool, drift: bool, as_json: bool
) -> None:
    """Look for what could keep an environment from working, and say how to mend it.

    It looks at tools, templates, credentials, clock, regions, bootstrap, quotas, stacks,
    certificates, DNS, images, alarms, dead letters and whether the services answer; of a plane on
    this machine also at disk, ports and processes that were left. What nobody can look at is
    skipped with the reason. Exit code 0: nothing fails; 5: something does.

    \b
    Examples:
      mediactl doctor -e local
      mediactl doctor -e prod --offline
      mediactl doctor -e prod --drift --json
    """
    from mediactl.checking.doctor import diagnose  # noqa: PLC0415 - slow to import

    found = diagnose(environment, say=output.say, offline=offline, drift=drift)
    output.show(found, as_json, _show)
    ctx.exit(0 if found.healthy else DEGRADED)


def _show(found: Diagnosis) -> None:
    # Nothing is cut into lines, so that a remedy can be copied.
    for one in found.findings:
        state = click.style(f"{one.state:7}", fg=_COLOURS[one.state])
        where = f"{one.region}: " if one.region else ""
        click.echo(f"{state}  {one.check:13}  {where}{one.seen}")
        if one.fix and one.state != "ok":
            click.echo(f"{'':7}  {'':13}  → {one.fix}")
