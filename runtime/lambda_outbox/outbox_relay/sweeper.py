"""One turn over the events that nobody published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from media_platform.contract import table
from outbox_relay.aws import Outbox
from outbox_relay.relay import Relay
from outbox_relay.stream import OutboxRecord, UnreadableRecordError, in_batches, read_item

_LOG = logging.getLogger(__name__)

HasTime = Callable[[], bool]
"""Tells whether one more batch fits into the invocation."""

LEFT_AFTER = timedelta(minutes=5)
"""Age from which on an event was left; the relay needs seconds."""

LOST_AFTER = timedelta(seconds=20)
"""The same for events of a region that was taken over: by then it is here that they were published,
if they were."""


class SweepError(RuntimeError):
    """Events could not be published; the next turn tries again, and an alarm tells of it."""


@dataclass(frozen=True)
class Sweeper:
    """Publishes what was left.

    Attributes:
        relay: Publishes and marks.
        outbox: The index of what was not published.
    """

    relay: Relay
    outbox: Outbox

    def turn(self, has_time: HasTime) -> int:
        """Publish what was left; may be called any number of times, also at the same time.

        Args:
            has_time: Asked before every batch.

        Returns:
            How many events were published.

        Raises:
            SweepError: If one could not be published; the others are, as far as the topic takes
                them.
            botocore.exceptions.ClientError: If the events cannot be listed.
        """
        published = 0
        failed: list[str] = []
        for region, age in self._regions().items():
            before = datetime.now(UTC) - age
            for shard in range(table.SHARDS):
                for batch in in_batches(self._left(region, shard, before, failed)):
                    if not has_time():
                        break
                    first = self.relay.publish_batch(batch)
                    if first is None:
                        published += len(batch)
                    else:
                        failed.append(first.key.sk)
        if published:
            _LOG.info("published events that were left", extra={"events": published})
        if failed:
            raise SweepError(
                f"{len(failed)} times an event was not published, first {failed[0]}; the log names "
                "each"
            )
        return published

    def _regions(self) -> dict[str, timedelta]:
        """Return the regions whose events are published here, and the age from which on."""
        here = self.relay.environment.home_region
        takeovers = self.outbox.takeovers()
        found = {one.lost: LOST_AFTER for one in takeovers if one.by == here}
        if not any(one.lost == here for one in takeovers):
            found[here] = LEFT_AFTER
        return found

    def _left(
        self, region: str, shard: int, before: datetime, failed: list[str]
    ) -> Iterator[OutboxRecord]:
        """Yield the events of a shard that were left; names those that are none in ``failed``."""
        for item in self.outbox.waiting(region, shard, before=before):
            name = str(item[table.SORT_KEY]["S"])
            try:
                yield read_item(item, name=name)
            except UnreadableRecordError as error:
                failed.append(name)
                _LOG.error("an event cannot be published: %s", error, extra={"outcome": "poison"})
