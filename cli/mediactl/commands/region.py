"""``mediactl region``: regions join a stage; a lost one is taken over, and let in again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.environment import Environment
from mediactl.errors import DEGRADED, USAGE, CommandError
from mediactl.options import (
    HELP,
    Consent,
    Group,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
)

if TYPE_CHECKING:
    from mediactl.regions.backfill import BucketCopies, Copies
    from mediactl.regions.membership import Added, Plan, Removed
    from mediactl.regions.takeover import Report

by_option = click.option(
    "--by", required=True, metavar="REGION", help="Region that takes over, which works."
)


@click.group(name="region", cls=Group, context_settings=HELP)
def group() -> None:
    """Let regions join a stage; take a lost one over, and let it in again."""


@group.command()
@click.argument("region", required=False)
@environment_option
@json_option("mediactl.regions.membership:Plan")
@click.pass_context
def plan(ctx: click.Context, region: str | None, environment: Environment, as_json: bool) -> None:
    """Tell how far REGION is a part of its stage, and what makes it a member.

    Default: every region that cdk.json gives the stage. Nothing is changed. Exit code 5: a region
    does not answer.

    \b
    Examples:
      mediactl region plan
      mediactl region plan eu-west-1 -e prod
    """
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help
    from mediactl.regions.membership import Regions  # noqa: PLC0415 - not needed for help

    regions = Regions(environment)
    found = regions.plan(regions.wanted if region is None else (region,))
    output.show(found, as_json, _show_plan)
    end_with(ctx, found.missing_regions)


def _show_plan(plan: Plan) -> None:
    for one in plan.regions:
        click.echo(f"{one.region}  {one.state}")
        for step in one.steps:
            click.echo(f"  [{'x' if step.done else ' '}] {step.what}")
            if step.command and not step.done:
                click.echo(f"      {step.command}")
        for note in one.notes:
            click.echo(f"  - {note}")


@group.command()
@click.argument("region")
@environment_option
@consent_option
@dry_run_option
@json_option("mediactl.regions.membership:Added")
def add(
    region: str, environment: Environment, consent: Consent, dry_run: bool, as_json: bool
) -> None:
    """Make REGION, which cdk.json gives the stage, a member of it.

    That takes two deployments: its store is made, then it joins. Nobody is refused meanwhile. What
    was interrupted is gone on with; on a member, nothing is done. What is older than the region is
    copied by `mediactl region replicate`. Where a deployment would lose data, it needs --yes or
    --confirm.

    \b
    Examples:
      mediactl region add eu-west-1 -e prod --dry-run
    """
    from mediactl.regions.membership import join  # noqa: PLC0415 - not needed for help

    added = join(environment, region, output.say, consent=consent, dry_run=dry_run)
    output.show(added, as_json, _show_added)
    if not dry_run:
        output.say(
            f"{region} is a member; `mediactl region replicate {region}` copies what is older"
        )


def _show_added(added: Added) -> None:
    for command in added.commands:
        click.echo(command)


@group.command()
@click.argument("region")
@environment_option
@consent_option
@dry_run_option
@json_option("mediactl.regions.membership:Removed")
def remove(
    region: str, environment: Environment, consent: Consent, dry_run: bool, as_json: bool
) -> None:
    """Take REGION away from its stage, with the copies that it holds.

    It is refused while a video is at home there, or was made there: `mediactl region takeover` and
    `mediactl videos transcode` change that. Its services go first, then the replica of the table
    and what is copied there, then its buckets; those of a stage that keeps its data stay, and are
    listed. What was interrupted is gone on with.

    \b
    Examples:
      mediactl region remove eu-west-1 -e prod --dry-run
      mediactl region remove eu-west-1 -e prod --confirm prod
    """
    from mediactl.regions.membership import leave  # noqa: PLC0415 - not needed for help

    removed = leave(environment, region, consent=consent, say=output.say, dry_run=dry_run)
    output.show(removed, as_json, _show_removed)
    if not dry_run:
        output.say(f"{region} is gone; take it out of `regions` of the stage in cdk.json now")


def _show_removed(removed: Removed) -> None:
    for command in removed.commands:
        click.echo(command)
    for one in removed.left:
        click.echo(f"kept: {one.type} {one.id}, of {one.stack} in {one.region}")


@group.command()
@click.argument("region")
@environment_option
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait until all copies are there; else leave them to S3.",
)
@json_option("mediactl.regions.backfill:Copies")
@click.pass_context
def replicate(
    ctx: click.Context, region: str, environment: Environment, wait: bool, as_json: bool
) -> None:
    """Copy to REGION what is older than it, and what could not be copied.

    A job of S3 Batch Replication does it for every bucket. It goes on when this command ends;
    called again, it finds the jobs that run. Exit code 5: something could not be copied.

    \b
    Examples:
      mediactl region replicate eu-west-1 -e prod
    """
    from mediactl.regions.backfill import Backfill  # noqa: PLC0415 - imports botocore

    heard: dict[str, BucketCopies] = {}

    def tell(copies: Copies) -> None:
        for one in copies.buckets:
            if heard.get(one.bucket) != one:
                heard[one.bucket] = one
                output.say(f"{one.bucket}: {one.status}, {one.copied} of {one.objects} copied")

    copies = Backfill(environment, region).run(tell, wait=wait)
    output.show(copies, as_json, _show_copies)
    if wait and not copies.are_whole:
        ctx.exit(DEGRADED)


def _show_copies(copies: Copies) -> None:
    for one in copies.buckets:
        failed = f", {one.failed} could not be copied" if one.failed else ""
        click.echo(f"{one.bucket} {one.status.lower()}: {one.copied} of {one.objects}{failed}")


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
@consent_option
@json_option("mediactl.regions.takeover:Report")
def takeover(lost: str, by: str, environment: Environment, consent: Consent, as_json: bool) -> None:
    """Make another region home to the videos of LOST, and the publisher of its events.

    Videos whose file or media were not copied yet, and uploads that are under way, are left to LOST
    and listed. It may be repeated. What LOST still does is refused or put right when it returns; a
    video stays where it is then, so it takes --yes or --confirm.

    \b
    Examples:
      mediactl region takeover us-east-1 --by eu-west-1 -e prod --confirm prod
    """
    from mediactl.regions.takeover import RegionStore  # noqa: PLC0415 - imports botocore

    if lost not in environment.regions:
        raise CommandError(
            f"{environment.name} has no region {lost!r}, but {', '.join(environment.regions)}",
            hint="name the region that is lost",
            exit_code=USAGE,
        )
    consent.require(environment, f"make {by} home to the videos of {lost}")
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
    from mediactl.regions.takeover import RegionStore  # noqa: PLC0415 - imports botocore

    RegionStore(environment, by).end(lost)
    output.say(f"{lost} publishes its events again")
    output.show(Readmitted(lost), as_json, lambda _: None)
