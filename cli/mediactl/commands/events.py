"""``mediactl events``: what happened to videos, as subscribers are told of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from media_platform.contract.events import DomainEvent, EventType
from mediactl import output
from mediactl.errors import USAGE, CommandError
from mediactl.options import (
    HELP,
    SINCE,
    Consent,
    Group,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
    regions_option,
    video_id,
    video_option,
)
from mediactl.watching.event_log import Replay

if TYPE_CHECKING:
    from mediactl.asking import MissingRegion
    from mediactl.environment import Environment

LOOK_AGAIN_SECONDS = 1.0
"""Time between two looks at the events of a video."""

KIND = "tail"
"""What the names of its queues say (:class:`mediactl.temporary.TemporaryName`)."""

TAIL_SECONDS = 12 * 3600
"""Time after which a queue is taken for one whose owner was killed."""

type_option = click.option(
    "--type",
    "types",
    metavar="TYPE",
    type=click.Choice([one.value for one in EventType]),
    multiple=True,
    help=f"Only of this type: {', '.join(EventType)}; may be repeated.",
)


@click.group(name="events", cls=Group, context_settings=HELP)
def group() -> None:
    """Follow domain events, and publish them again."""


@group.command()
@environment_option
@regions_option
@video_option
@type_option
@click.option(
    "--since",
    type=SINCE,
    help="With --video: from then on, e.g. 10m, 2h, or a time. Default: since it was created.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@json_option(DomainEvent, stream=True)
@click.pass_context
def tail(
    ctx: click.Context,
    *,
    environment: Environment,
    regions: tuple[str, ...],
    video: str | None,
    types: tuple[str, ...],
    since: datetime | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Show events as they happen, until Ctrl-C.

    With --video they are read from the table, those of the past, too, and nothing is changed.
    Without, a queue is subscribed to the topic of each region, named mediactl-tail-..., and removed
    in the end; one that was left by a process that was killed, by the next tail after 12 hours.
    Regions that do not answer are told of, and left out: exit code 5.

    \b
    Examples:
      mediactl events tail --video VIDEO --type VideoReady --count 1 --json
    """
    if since is not None and video is None:
        raise CommandError(
            "--since needs --video: topics keep nothing of the past",
            hint="`mediactl events replay --since TIME --dry-run` lists all, and reads the whole"
            " table for it",
            exit_code=USAGE,
        )
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help

    number = 0
    missing: list[MissingRegion] = []
    if video:
        stream = _of_video(environment, regions, video, since, missing)
    else:
        stream = _all(environment, regions, missing)
    for event in stream:
        if types and event.event_type not in types:
            continue
        _print(event, as_json)
        number += 1
        if number == count:
            break
    end_with(ctx, missing)


@group.command()
@click.argument("video", required=False, callback=video_id)
@click.option("--since", type=SINCE, help="All from then on, e.g. 2h, or a time.")
@click.option("--to", type=SINCE, help="All until then. Default: now.")
@environment_option
@regions_option
@type_option
@consent_option
@dry_run_option
@json_option(Replay)
@click.pass_context
def replay(
    ctx: click.Context,
    *,
    video: str | None,
    since: datetime | None,
    to: datetime | None,
    environment: Environment,
    regions: tuple[str, ...],
    types: tuple[str, ...],
    consent: Consent,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish events again that the table still keeps: of a VIDEO, or of a time.

    Each goes to the topic of its region as it was, with the same event id, by which consumers drop
    what they have handled, and with the message attribute replayed_at. A webhook is not sent again
    while the table keeps its delivery. Without a VIDEO the whole table is read.

    \b
    Examples:
      mediactl events replay VIDEO --dry-run
      mediactl events replay --since 2h --type VideoReady --dry-run --json
    """
    from mediactl.asking import ask_regions, end_with  # noqa: PLC0415
    from mediactl.watching.event_log import Outbox, publish_again  # noqa: PLC0415

    if (video is None) == (since is None):
        raise CommandError(
            "name either a video or --since",
            hint="mediactl events replay VIDEO, or: mediactl events replay --since 2h",
            exit_code=USAGE,
        )
    # Every region has all events; the first that answers will do.
    asked = ask_regions(environment, regions, lambda region: Outbox(environment, region))
    outbox = next(iter(asked.by_region.values()))
    until = to or datetime.now(UTC)
    if video is not None:
        kept = list(outbox.of_video(video, datetime.fromtimestamp(0, UTC)))
    else:
        output.say("reading the whole table")
        kept = outbox.between(since or until, until)
    kept = [
        one
        for one in kept
        if one.event.region in regions and (not types or one.event.event_type in types)
    ]
    if not dry_run and kept:
        consent.require(environment, f"publish {len(kept)} events once more")
    done = publish_again(environment, kept, regions, missing=asked.missing, dry_run=dry_run)
    output.show(done, as_json, lambda done: _show_replay(done, dry_run))
    end_with(ctx, done.missing_regions, degraded=bool(done.left))


def _of_video(
    environment: Environment,
    regions: tuple[str, ...],
    video: str,
    since: datetime | None,
    missing: list[MissingRegion],
) -> Iterator[DomainEvent]:
    """Yield events of a video; regions that are found to be missing are added to ``missing``."""
    from media_platform.contract.ids import made_at  # noqa: PLC0415
    from mediactl.asking import ask_regions  # noqa: PLC0415
    from mediactl.watching.event_log import Outbox  # noqa: PLC0415

    asked = ask_regions(environment, regions, lambda region: Outbox(environment, region))
    missing += asked.missing
    outboxes = asked.by_region.values()
    seen: set[str] = set()
    pause = threading.Event()
    while True:
        events = {
            kept.event.event_id: kept.event
            for outbox in outboxes
            for kept in outbox.of_video(video, since or made_at(video))
        }
        for event_id in sorted(events.keys() - seen):
            seen.add(event_id)
            yield events[event_id]
        pause.wait(LOOK_AGAIN_SECONDS)


def _all(
    environment: Environment, regions: tuple[str, ...], missing: list[MissingRegion]
) -> Iterator[DomainEvent]:
    """Yield events as they happen; regions that are missing are added to ``missing``."""
    from mediactl.asking import ask_regions, tell_missing  # noqa: PLC0415
    from mediactl.temporary import TemporaryName  # noqa: PLC0415
    from mediactl.watching.event_queues import EventQueues, remove_outlived  # noqa: PLC0415

    name = TemporaryName.make(KIND, environment.stage, seconds=TAIL_SECONDS)
    asked = ask_regions(
        environment, regions, lambda region: remove_outlived(environment, name, [region])
    )
    missing += asked.missing
    tell_missing(missing)
    queues = EventQueues(environment, name, tuple(asked.by_region))
    with queues.subscribed():
        for region in queues.regions:
            output.say(f"queue {name} is subscribed in {region} until this ends")
        yield from queues.events()


def _print(event: DomainEvent, as_json: bool) -> None:
    if as_json:
        output.line(event)
        return
    details = " ".join(f"{name}={_short(value)}" for name, value in event.data.items())
    click.echo(
        output.printable(
            f"{event.occurred_at} {event.event_type:13} {event.video_id} {event.sequence}"
            f" {event.tenant} {event.region}  {details}".strip()
        )
    )


def _short(value: object) -> str:
    """Return a detail as it fits into a line; of what has parts, how many."""
    if isinstance(value, list | dict):
        return f"({len(value)})"
    return value if isinstance(value, str) else json.dumps(value)


def _show_replay(done: Replay, dry_run: bool) -> None:
    for event in done.events:
        _print(event, as_json=False)
    for event_id, reason in done.left.items():
        click.echo(f"{event_id} stays: {output.printable(reason)}")
    said = "would be published again" if dry_run else "were published again"
    click.echo(f"{len(done.events)} {said}, {len(done.left)} not")
