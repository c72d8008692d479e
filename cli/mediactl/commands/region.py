"""``mediactl region``: what an operator does when a region is lost, and when it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.environment import Environment
from mediactl.options import HELP, environment_option, json_option

if TYPE_CHECKING:
    from mediactl.takeover import Report

by_option = click.option(
    "--by", required=True, metavar="REGION", help="Region that takes over, which works."
)


@click.group(name="region", context_settings=HELP)
def group() -> None:
    """Take a lost region over, and let it in again."""


@dataclass(frozen=True)
class Readmitted:
    """A region that publishes its events itself again.

    Attributes:
        region: The region.
    """

    region: str


@group.command()
@click.argument("lost")
@by_option
@environment_option
@json_option("mediactl.takeover:Report")
def takeover(lost: str, by: str, environment: Environment, as_json: bool) -> None:
    """Make another region home to the videos of LOST, and the publisher of its events.

    Videos whose file or media were not copied yet, and uploads that are under way, are left to LOST
    and listed. It may be repeated. What LOST still does is refused or put right when it returns.

    \b
    Examples:
      mediactl region takeover us-east-1 --by eu-west-1 -e prod
    """
    from mediactl.takeover import RegionStore  # noqa: PLC0415 - imports botocore

    store = RegionStore(environment, by)
    store.begin(lost)
    report = store.take_over(lost)
    output.show(report, as_json, _show_report)
    output.say(f"{len(report.taken)} videos are at home in {by}, {len(report.left)} were left")


def _show_report(report: Report) -> None:
    for video_id, reason in report.left.items():
        click.echo(f"left {video_id}: {reason}")


@group.command()
@click.argument("lost")
@by_option
@environment_option
@json_option(Readmitted)
def readmit(lost: str, by: str, environment: Environment, as_json: bool) -> None:
    """Let LOST publish its own events again, once it is back and up to date.

    Videos that were taken over stay where they are.

    \b
    Examples:
      mediactl region readmit us-east-1 --by eu-west-1 -e prod
    """
    from mediactl.takeover import RegionStore  # noqa: PLC0415 - imports botocore

    RegionStore(environment, by).end(lost)
    output.say(f"{lost} publishes its events again")
    output.show(Readmitted(lost), as_json, lambda _: None)
