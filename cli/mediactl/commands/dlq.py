"""``mediactl dlq``: what failed for good, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.errors import USAGE, CommandError
from mediactl.options import (
    HELP,
    Consent,
    Group,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
    regions_option,
)
from mediactl.watching.dead_letters import DeadLetter, DeadLetterList, Outcome

if TYPE_CHECKING:
    from mediactl.asking import Answers
    from mediactl.environment import Environment
    from mediactl.watching.dead_letters import Box

_ALL = 100_000
"""More than SQS hides at a time (Amazon SQS Developer Guide, "Message quotas": 120,000)."""

queue_option = click.option(
    "--queue",
    "queues",
    metavar="QUEUE",
    multiple=True,
    help="Only this queue of dead letters, e.g. jobs, uploads; may be repeated. Default: all.",
)
all_option = click.option("--all", "everything", is_flag=True, help="All that are there now.")


@click.group(name="dlq", cls=Group, context_settings=HELP)
def group() -> None:
    """Look at what failed for good, try it again, or drop it.

    It works on the queues themselves, so it needs AWS credentials and no running API. A look hides
    what it sees from others while it goes on, for two minutes at most if it is killed. The queue
    `subscriptions` has events that a queue which is subscribed to the topic did not take.
    """


@group.command("list")
@environment_option
@regions_option
@queue_option
@click.option(
    "--limit",
    type=click.IntRange(1, _ALL),
    default=100,
    show_default=True,
    help="Most dead letters of each queue.",
)
@json_option(DeadLetterList)
@click.pass_context
def list_(
    ctx: click.Context,
    *,
    environment: Environment,
    regions: tuple[str, ...],
    queues: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, with the reason and the video of each as it is now.

    \b
    Examples:
      mediactl dlq list
      mediactl dlq list --queue jobs --json
    """
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help
    from mediactl.watching.dead_letters import boxes, list_letters  # noqa: PLC0415

    found = list_letters(boxes(environment, regions, queues), limit)
    output.show(found, as_json, _show_list)
    end_with(ctx, found.missing_regions)


@group.command()
@click.argument("message_id")
@environment_option
@regions_option
@queue_option
@json_option(DeadLetter)
def show(
    message_id: str,
    environment: Environment,
    regions: tuple[str, ...],
    queues: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show one dead letter with all that it says.

    \b
    Examples:
      mediactl dlq show MESSAGE --json
    """
    from mediactl.watching.dead_letters import boxes, held_letter  # noqa: PLC0415

    with held_letter(boxes(environment, regions, queues), message_id) as (box, message):
        (letter,) = box.read([message])
    output.show(letter, as_json, _show_whole)


@group.command()
@click.argument("message_id", required=False)
@all_option
@environment_option
@regions_option
@queue_option
@dry_run_option
@json_option(Outcome)
@click.pass_context
def redrive(
    ctx: click.Context,
    *,
    message_id: str | None,
    everything: bool,
    environment: Environment,
    regions: tuple[str, ...],
    queues: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send a dead letter, or all, back to where it came from.

    A message goes back to its queue with all that it carries; of a job, the failures so far are
    forgiven. A call of a function (uploads, turns of sweeps and purges) is made again. What cannot
    go back stays, and is said, as is a region that does not answer: exit code 5. What fails again
    comes back as another message. Workers that rest are woken within minutes.

    \b
    Examples:
      mediactl dlq redrive MESSAGE
      mediactl dlq redrive --all --queue jobs --dry-run
    """
    from mediactl.watching.dead_letters import boxes, held_letter  # noqa: PLC0415

    _check_choice(message_id, everything)
    places = boxes(environment, regions, queues)
    outcome = Outcome()
    if dry_run:
        _redrive_dry(places, message_id, outcome)
    elif message_id is None:
        _act_everywhere(environment, places, outcome, lambda box: box.redrive, "redriven")
    else:
        with held_letter(places, message_id) as (box, message):
            box.redrive([message], outcome)
    _end(ctx, outcome, "would go back" if dry_run else "went back", as_json)


@group.command()
@click.argument("message_id", required=False)
@all_option
@environment_option
@regions_option
@queue_option
@consent_option
@dry_run_option
@json_option(Outcome)
@click.pass_context
def drop(
    ctx: click.Context,
    *,
    message_id: str | None,
    everything: bool,
    environment: Environment,
    regions: tuple[str, ...],
    queues: tuple[str, ...],
    consent: Consent,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete a dead letter, or all of a queue, for good.

    The work that it stands for is not done then; `dlq show` says what that is.

    \b
    Examples:
      mediactl dlq drop MESSAGE --yes
      mediactl dlq drop --all --queue purges --dry-run
    """
    from mediactl.watching.dead_letters import boxes, held_letter, list_letters  # noqa: PLC0415

    _check_choice(message_id, everything)
    if message_id is None and not queues:
        raise CommandError(
            "--all drops all of a queue, and no queue is named",
            hint="name it with --queue; `mediactl dlq list` shows which have dead letters",
            exit_code=USAGE,
        )
    places = boxes(environment, regions, queues)
    if not dry_run:
        what = f"dead letter {message_id}" if message_id else f"all of {', '.join(queues)}"
        consent.require(environment, f"drop {what} for good")
    outcome = Outcome()
    if message_id is not None:
        with held_letter(places, message_id) as (box, message):
            if dry_run:
                outcome.done.append(message_id)
            else:
                box.drop([message], outcome)
    elif dry_run:
        found = list_letters(places, _ALL)
        outcome.done.extend(letter.message_id for letter in found.letters)
        outcome.missing_regions.extend(found.missing_regions)
    else:
        _act_everywhere(environment, places, outcome, lambda box: box.drop, "dropped")
    _end(ctx, outcome, "would be dropped" if dry_run else "dropped", as_json)


def _check_choice(message_id: str | None, everything: bool) -> None:
    if (message_id is None) != everything:
        raise CommandError(
            "a dead letter is named by its id, or all are chosen with --all",
            hint="`mediactl dlq list` shows them",
            exit_code=USAGE,
        )


def _act_everywhere(
    environment: Environment,
    places: Answers[list[Box]],
    outcome: Outcome,
    act: Callable[[Box], Callable[[Sequence[dict[str, Any]], Outcome], None]],
    done: str,
) -> None:
    """Do something with all dead letters of the regions that answer, for as long as they do."""
    from mediactl.asking import unless_missing  # noqa: PLC0415 - not needed for help

    outcome.missing_regions.extend(places.missing)
    for region, found in places.by_region.items():
        with unless_missing(environment, region, outcome.missing_regions):
            for box in found:
                box.all_of(act(box), outcome, _teller(box, done))


def _redrive_dry(places: Answers[list[Box]], message_id: str | None, outcome: Outcome) -> None:
    from mediactl.watching.dead_letters import held_letter, list_letters  # noqa: PLC0415

    if message_id is None:
        found = list_letters(places, _ALL)
        letters = found.letters
        outcome.missing_regions.extend(found.missing_regions)
    else:
        with held_letter(places, message_id) as (box, message):
            letters = box.read([message])
    for letter in letters:
        if letter.stays_because is None:
            outcome.done.append(letter.message_id)
            output.say(f"{letter.message_id}: {letter.what} to {letter.goes_to}")
        else:
            outcome.left[letter.message_id] = letter.stays_because


def _teller(box: Box, done: str) -> Callable[[int], None]:
    total = 0

    def tell(number: int) -> None:
        nonlocal total
        total += number
        output.say(f"{box.region} {box.name}: {total} {done}")

    return tell


def _end(ctx: click.Context, outcome: Outcome, done: str, as_json: bool) -> None:
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help

    def render(outcome: Outcome) -> None:
        for message_id, reason in outcome.left.items():
            click.echo(f"{message_id} stays: {output.printable(reason)}")
        click.echo(f"{len(outcome.done)} {done}, {len(outcome.left)} left")

    output.show(outcome, as_json, render)
    end_with(ctx, outcome.missing_regions, degraded=bool(outcome.left))


def _show_list(found: DeadLetterList) -> None:
    for letter in found.letters:
        click.echo(f"{letter.message_id}  {letter.sent_at}  {letter.region} {letter.queue}")
        for line in _facts(letter):
            click.echo(f"  {line}")
    if not found.letters:
        click.echo("no dead letters")
    if found.unseen:
        output.say(
            f"about {found.unseen} more are not shown: see --limit; or somebody looks at them just"
            " now"
        )


def _show_whole(letter: DeadLetter) -> None:
    _show_list(DeadLetterList(letters=[letter], unseen=0))
    click.echo(f"  seen {letter.looks} times")
    click.echo(output.printable(letter.body))


def _facts(letter: DeadLetter) -> list[str]:
    lines = [output.printable(letter.what)]
    lines.append(f"reason: {output.printable(letter.reason or 'nobody said why')}")
    video = letter.video
    if video is not None:
        state = f"{video.status}, at home in {video.home_region}" if video.status else "is gone"
        lines.append(f"video {video.video_id}: {state}")
        if video.run_counts is False:
            lines.append("its run was replaced or given up: trying it again is of no use")
    if letter.goes_to is not None:
        lines.append(f"goes back to {letter.goes_to}")
    else:
        lines.append(f"stays: {output.printable(letter.stays_because or '')}")
    return lines
