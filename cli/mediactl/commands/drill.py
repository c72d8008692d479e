"""``mediactl drill``: what happens when a region is lost, tried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.environment import Environment
from mediactl.errors import FAILED, USAGE, CommandError
from mediactl.options import Amount, Consent, consent_option, environment_option, json_option

if TYPE_CHECKING:
    from mediactl.regions.drill import DrillReport

_MINUTE = 60


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--drain", metavar="REGION", help="Lead everybody away from a region first.")
@click.option("--cut", metavar="REGION", help="Take a region of a local plane away at once.")
@click.option(
    "--by", metavar="REGION", help="Region that stands in. Default: the first of the others."
)
@click.option(
    "--patience",
    type=Amount(min=0, min_open=True),
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="Longest wait for what is under way.",
)
@consent_option
@environment_option
@json_option("mediactl.regions.drill:DrillReport")
@click.pass_context
def drill(
    ctx: click.Context,
    *,
    environment: Environment,
    drain: str | None,
    cut: str | None,
    by: str | None,
    patience: float,
    consent: Consent,
    as_json: bool,
) -> None:
    """Try out what happens without a region: how soon others serve, and what is missing.

    With --drain, Route 53 leads everybody to the other region, which takes the videos over once
    nothing is under way any more; nobody is refused, and nothing is lost. With --cut, a region of a
    local plane is gone at once, as in a failure; videos that the other has not, or not as a whole,
    are named.

    In the end the region is given back. Videos that were taken over stay at home in the other. A
    drain that was interrupted is ended by the same command. The exit code is 1 if a video was lost.

    \b
    Examples:
      mediactl drill --drain us-east-1 -e prod --confirm prod
      mediactl drill --cut us-east-1 --yes
    """
    from mediactl.regions.drill import Drill  # noqa: PLC0415 - imports botocore

    region = drain or cut
    if region is None or (drain and cut):
        raise CommandError(
            "a drill takes one region away: give --drain REGION or --cut REGION", exit_code=USAGE
        )
    if cut:
        environment.plane()  # in AWS there is none, and nothing is cut
    consent.require(environment, f"take {region} away for a while")
    others = [one for one in environment.regions if one != region]
    if not others:
        raise CommandError(
            f"{environment.name} has one region, so none can stand in",
            hint="on this machine: mediactl local up --stage pair",
            exit_code=USAGE,
        )
    exercise = Drill(
        environment, region, by or others[0], output.say, patience_seconds=patience * _MINUTE
    )
    report = exercise.drain() if drain else exercise.cut()
    output.show(report, as_json, _show)
    if report.lost:
        ctx.exit(FAILED)


def _show(report: DrillReport) -> None:
    for name, told in (
        (f"{report.kind} of", f"{report.region}, {report.by} stood in, {report.seconds:.1f} s"),
        ("playback after", f"{report.playback_seconds:.1f} s"),
        ("uploads after", f"{report.upload_seconds:.1f} s"),
        (f"now in {report.by}", f"{len(report.taken)} videos"),
    ):
        click.echo(f"{name:20}  {told}")
    for video_id, reason in report.left.items():
        click.echo(f"{'left':20}  {video_id}: {reason}")
    for video_id in report.unknown:
        click.echo(f"{'not copied at all':20}  {video_id}")
    for video_id in report.lost:
        click.echo(f"{'lost':20}  {video_id}")
    if not report.lost:
        click.echo(f"{'lost':20}  nothing")
