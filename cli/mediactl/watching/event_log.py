"""Domain events: as the topics publish them now, and as the outbox keeps them.

The outbox lists the events of one video for the price of a query. No index lists those of all, and
the stream of the table has room for no third reader beside the relay and replication. So whoever
wants to see all that happens subscribes a queue of his own, and whoever wants all of the past reads
the whole table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from media_platform.contract import table
from media_platform.contract.events import OUTBOX_BODY, REPLAYED_AT, DomainEvent
from media_platform.contract.ids import first_of
from media_platform.contract.outputs import MediaOutput, StoreOutput
from media_platform.contract.times import timestamp
from mediactl.asking import MissingRegion, unless_missing
from mediactl.deployed import batches

if TYPE_CHECKING:
    from mediactl.environment import Environment


@dataclass(frozen=True, kw_only=True)
class KeptEvent:
    """An event of the outbox.

    Attributes:
        event: The event.
        published: Whether it was published.
    """

    event: DomainEvent
    published: bool


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of events that were to be published again.

    Attributes:
        events: Those that were, or would be with ``--dry-run``, oldest first.
        left: Why one was not, by its id.
        missing_regions: Regions whose events may not be known, and were not published.
    """

    events: list[DomainEvent] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    missing_regions: list[MissingRegion] = field(default_factory=list)


class Outbox:
    """The outbox of an environment, as one region has it; every region has all.

    Args:
        environment: The environment.
        region: The region.
    """

    def __init__(self, environment: Environment, region: str) -> None:
        self._dynamodb = environment.client("dynamodb", region)
        self._table = environment.output(StoreOutput.TABLE_NAME, region)

    def of_video(self, video_id: str, since: datetime) -> Iterator[KeptEvent]:
        """Yield the events of a video from a time on, oldest first."""
        first = table.event_key(video_id, first_of(since))
        last = table.event_key(video_id, "g")  # behind all hexadecimal digits
        yield from self._read(
            "query",
            KeyConditionExpression="#pk = :pk AND #sk BETWEEN :first AND :last",
            ExpressionAttributeNames={"#pk": table.PARTITION_KEY, "#sk": table.SORT_KEY},
            ExpressionAttributeValues={
                ":pk": {"S": first.pk},
                ":first": {"S": first.sk},
                ":last": {"S": last.sk},
            },
            ConsistentRead=True,
        )

    def between(self, since: datetime, to: datetime) -> list[KeptEvent]:
        """Return all events of a time, oldest first; this reads the whole table."""
        found = self._read(
            "scan",
            FilterExpression="#sk BETWEEN :first AND :last",
            ExpressionAttributeNames={"#sk": table.SORT_KEY},
            ExpressionAttributeValues={
                ":first": {"S": f"{table.EVENT_SORT_PREFIX}{first_of(since)}"},
                ":last": {"S": f"{table.EVENT_SORT_PREFIX}{first_of(to)}"},
            },
        )
        return sorted(found, key=lambda one: one.event.event_id)

    def _read(self, operation: str, **request: Any) -> Iterator[KeptEvent]:
        pages = self._dynamodb.get_paginator(operation).paginate(TableName=self._table, **request)
        for page in pages:
            for item in page["Items"]:
                # One that cannot be read is told of by the sweep, which cannot publish it either.
                with contextlib.suppress(ValueError, KeyError, AttributeError, RecursionError):
                    yield KeptEvent(
                        event=DomainEvent.from_json(item[OUTBOX_BODY]["S"]),
                        published=table.UNPUBLISHED.partition_key not in item,
                    )


def publish_again(
    environment: Environment,
    kept: Sequence[KeptEvent],
    regions: Sequence[str],
    *,
    missing: Sequence[MissingRegion] = (),
    dry_run: bool,
) -> Replay:
    """Publish events once more, each on the topic of the region that published it.

    Args:
        environment: The environment.
        kept: The events.
        regions: Regions whose events are meant.
        missing: Those of them that do not answer.
        dry_run: Whether nothing is published.
    """
    replay = Replay(missing_regions=list(missing))
    asked = [region for region in regions if region not in {one.region for one in missing}]
    for region in asked:
        mine = [one.event for one in kept if one.event.region == region and one.published]
        if mine:
            with unless_missing(environment, region, replay.missing_regions):
                _publish_in(environment, region, mine, replay, dry_run=dry_run)
    done = {event.event_id for event in replay.events}
    lost = {one.region: one.reason for one in replay.missing_regions}
    for one in kept:
        event = one.event
        if not one.published:
            replay.left[event.event_id] = "it was not published yet; the relay or its sweep does it"
        elif event.region not in environment.regions:
            replay.left[event.event_id] = f"{event.region} is no region of the environment"
        elif event.region in lost and event.event_id not in done:
            replay.left[event.event_id] = lost[event.region]
    replay.events.sort(key=lambda event: event.event_id)
    return replay


def _publish_in(
    environment: Environment,
    region: str,
    events: Sequence[DomainEvent],
    replay: Replay,
    *,
    dry_run: bool,
) -> None:
    """Publish events on the topic of a region, for as long as that answers."""
    sns = environment.client("sns", region)
    topic = environment.output(MediaOutput.TOPIC_ARN, region)
    for batch in batches(events, DomainEvent.to_json):
        failed = {} if dry_run else _publish(sns, topic, batch)
        replay.left.update(failed)
        replay.events.extend(event for event in batch if event.event_id not in failed)


def _publish(sns: Any, topic: str, batch: Sequence[DomainEvent]) -> dict[str, str]:
    """Publish events; return why one was not taken, by its id."""
    mark = {REPLAYED_AT: {"DataType": "String", "StringValue": timestamp()}}
    answer = sns.publish_batch(
        TopicArn=topic,
        PublishBatchRequestEntries=[
            {
                "Id": str(n),
                "Message": event.to_json(),
                "MessageAttributes": {**event.message_attributes(), **mark},
            }
            for n, event in enumerate(batch)
        ],
    )
    return {
        batch[int(one["Id"])].event_id: f"{one['Code']}: {one.get('Message', '')}"
        for one in answer.get("Failed", [])
    }
