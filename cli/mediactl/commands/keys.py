"""``mediactl keys``: the keys that sign playback."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.environment import Environment
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
    from mediactl.keys.signing_keys import KeyList, Rotation


@click.group(name="keys", cls=Group, context_settings=HELP)
def group() -> None:
    """Show and rotate the keys that sign playback."""


@group.command("list")
@environment_option
@json_option("mediactl.keys.signing_keys:KeyList")
@click.pass_context
def list_keys(ctx: click.Context, environment: Environment, as_json: bool) -> None:
    """Show the keys that sign playback, and who signs with which.

    A key is trusted once the key group of the distribution has it. The exit code is 5 if a region
    signs with another key than it should, or with one that is not trusted, or does not answer.

    \b
    Examples:
      mediactl keys list
      mediactl keys list --json
    """
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help
    from mediactl.keys.signing_keys import SigningKeys  # noqa: PLC0415 - imports botocore

    found = SigningKeys(environment).overview()
    output.show(found, as_json, _show_list)
    for problem in found.problems:
        output.say(problem)
    end_with(ctx, found.missing_regions, degraded=bool(found.problems))


@group.command()
@click.option("--abort", is_flag=True, help="Go back to the old key and remove the new one.")
@click.option(
    "--revoke",
    is_flag=True,
    help="Remove the old key although grants that it signed still hold; needs consent.",
)
@click.option(
    "--older-than",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Begin a rotation only if the key that signs is older.",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait for what takes time, or stop there.",
)
@dry_run_option
@consent_option
@environment_option
@json_option("mediactl.keys.signing_keys:Rotation")
def rotate(
    *,
    environment: Environment,
    abort: bool,
    revoke: bool,
    older_than: int | None,
    wait: bool,
    dry_run: bool,
    consent: Consent,
    as_json: bool,
) -> None:
    """Replace the key that signs playback, without refusing anybody who plays.

    A new key is added and, once all edge locations trust it, signs. The old one is removed once the
    last grant that it signed has ended: with grants of four hours, after five. Interrupted or
    stopped anywhere, run the same command again; it goes on from what AWS shows. Deployments
    meanwhile do no harm.

    Use --revoke if the old key has become known: then whoever plays by an older grant is refused,
    and asks for a new one.

    \b
    Examples:
      mediactl keys rotate --dry-run
      mediactl keys rotate --no-wait
      mediactl keys rotate --older-than 90 --json
      mediactl keys rotate --abort
    """
    from mediactl.keys.numbers import State  # noqa: PLC0415 - imports more than help needs
    from mediactl.keys.rotation import KeyRotation  # noqa: PLC0415 - imports botocore
    from mediactl.keys.signing_keys import SigningKeys  # noqa: PLC0415 - imports botocore

    if revoke and not dry_run:
        consent.require(environment, "refuse all who play by a grant of the old key")
    keys = SigningKeys(environment)
    rotation = KeyRotation(keys, output.say, waits=wait, revokes=revoke)
    plan = rotation.plan(aborts=abort)
    begins = plan.state == State.SETTLED and not abort
    if begins and older_than is not None and keys.age_days() <= older_than:
        output.say(f"{plan.signs_with} is {keys.age_days()} days old: nothing is to be done")
        done = replace(plan, next=[])
    elif dry_run:
        done = plan
    else:
        try:
            done = rotation.abort() if abort else rotation.rotate()
        except KeyboardInterrupt as end:
            end.add_note("nobody is refused meanwhile; the same command goes on")
            raise
    output.show(done, as_json, _show_rotation)


def _show_list(found: KeyList) -> None:
    keys = output.table(
        "slot", "key", "made", "days old", "use", "last grant ends", numbers=("days old",)
    )
    for slot in found.slots:
        use = [name for name, is_so in (("signs", slot.signs), ("trusted", slot.trusted)) if is_so]
        keys.add_row(
            slot.slot,
            slot.key_pair_id or "-",
            _minute(slot.made_at),
            "-" if slot.age_days is None else str(slot.age_days),
            ", ".join(use) or "empty",
            _minute(slot.last_grant_ends_at),
        )
    regions = output.table("region", "signs with", "accepts", "since")
    for region in found.regions:
        regions.add_row(
            region.region, region.signs_with, " ".join(region.accepts), _minute(region.since)
        )
    console = output.console()
    console.print(keys)
    console.print()
    console.print(regions)
    console.print()
    console.print(f"rotation      {found.state}")
    console.print(f"distribution  {found.distribution}")
    console.print(f"grants hold   {found.longest_grant_seconds:,} s at most")


def _minute(moment: str | None) -> str:
    """Return a time as it fits into a column, in UTC."""
    return moment[:16].replace("T", " ") if moment else "-"


def _show_rotation(done: Rotation) -> None:
    click.echo(f"{done.signs_with} signs playback")
    if done.other is not None:
        click.echo(f"{done.other} is trusted, too")
    for step in done.next:
        click.echo(f"to be done: {step}")
    if done.next_at is not None:
        click.echo(f"go on at {done.next_at} with the same command")
