"""``mediactl region``: what an operator does when a region is lost, and when it returns."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mediactl import output

if TYPE_CHECKING:
    from mediactl.takeover import RegionStore

stage_option = click.option("--stage", default="prod", show_default=True, help="The stage.")
by_option = click.option("--by", required=True, help="Region that takes over, which works.")


@click.group(name="region", context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Take a lost region over, and let it in again; with the AWS credentials of the environment."""


def _store(stage: str, region: str) -> RegionStore:
    import botocore.session  # noqa: PLC0415 - slow to import

    from mediactl.takeover import RegionStore  # noqa: PLC0415 - imports botocore

    return RegionStore(botocore.session.get_session(), stage=stage, region=region)


@group.command()
@click.argument("lost")
@by_option
@stage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def takeover(lost: str, by: str, stage: str, as_json: bool) -> None:
    """Make another region home to the videos of LOST, and the publisher of its events.

    Videos whose file or media were not copied yet, and uploads that are under way, are left to LOST
    and listed. It may be repeated. What LOST still does is refused or put right when it returns.
    """
    store = _store(stage, by)
    store.begin(lost)
    report = store.take_over(lost)
    if as_json:
        output.data(asdict(report))
        return
    for video_id, reason in report.left.items():
        click.echo(f"left {video_id}: {reason}")
    output.say(f"{len(report.taken)} videos are at home in {by}, {len(report.left)} were left")


@group.command()
@click.argument("lost")
@by_option
@stage_option
def readmit(lost: str, by: str, stage: str) -> None:
    """Let LOST publish its own events again, once it is back and up to date.

    Videos that were taken over stay where they are.
    """
    _store(stage, by).end(lost)
    output.say(f"{lost} publishes its events again")
