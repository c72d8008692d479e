"""Publishes a batch in order and says from where the stream has to be tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract.environment import OutboxRelayEnvironment
from outbox_relay.aws import Outbox, Topic
from outbox_relay.stream import (
    OutboxRecord,
    UnreadableRecordError,
    in_batches,
    is_new_event,
    read,
    sequence_number,
    taken_video,
)

_LOG = logging.getLogger(__name__)
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Relay:
    """Publishes events.

    Attributes:
        environment: Settings of the function.
        topic: The topic of domain events.
        outbox: The items of the events.
    """

    environment: OutboxRelayEnvironment
    topic: Topic
    outbox: Outbox

    def publish(self, records: Sequence[dict[str, Any]]) -> str | None:
        """Publish the new events among the records of one shard.

        Work ends at the first record that fails, since Lambda tries again from there: all before
        it are published and marked, and those behind it keep their order for the next attempt.
        Events that went out in the same call as one that failed go out twice, which consumers
        notice by ``event_id``.

        In a region that was taken over nothing is published: the other does it, in its sweep.

        Returns:
            Sequence number of the first record that failed, or ``None`` if all is done.
        """
        failed_restore = self._restore(records)
        if failed_restore is not None:
            return failed_restore
        if self._is_fenced(records):
            _LOG.warning("left events to the region that took over", extra={"outcome": "fenced"})
            return None
        readable: list[OutboxRecord] = []
        unreadable: str | None = None
        for record in records:
            if not is_new_event(record, region=self.environment.home_region):
                continue
            try:
                readable.append(read(record))
            except UnreadableRecordError as error:
                unreadable = sequence_number(record)
                _LOG.error("an event cannot be published: %s", error, extra={"outcome": "poison"})
                break
        published = 0
        for batch in in_batches(readable):
            failed = self.publish_batch(batch)
            if failed is not None:
                return failed.sequence_number
            published += len(batch)
        if published:
            _LOG.info("published events", extra={"outcome": "published", "events": published})
        return unreadable

    def _is_fenced(self, records: Sequence[dict[str, Any]]) -> bool:
        """Tell whether another region has taken this one over and publishes its events."""
        region = self.environment.home_region
        if not any(is_new_event(record, region=region) for record in records):
            return False
        return any(takeover.lost == region for takeover in self.outbox.takeovers())

    def _restore(self, records: Sequence[dict[str, Any]]) -> str | None:
        """Put back what a region wrote over that was taken over.

        Returns:
            Sequence number of the first record that failed, or ``None`` if all is done.
        """
        for record in records:
            try:
                images = taken_video(record)
                region = self.environment.home_region
                if images is not None and self.outbox.restore(*images, region=region):
                    _LOG.warning(
                        "put back what a fenced region wrote over",
                        extra={"outcome": "restored", "video_id": images[0].video_id},
                    )
            except UnreadableRecordError as error:
                _LOG.error("a video cannot be read: %s", error, extra={"outcome": "poison"})
                return sequence_number(record)
            except (BotoCoreError, ClientError) as error:
                _LOG.warning("a video was not put back: %s", error, extra={"outcome": "failed"})
                return sequence_number(record)
        return None

    def publish_batch(self, batch: Sequence[OutboxRecord]) -> OutboxRecord | None:
        """Publish and mark what one call takes; return the first record that failed."""
        try:
            failures = self.topic.publish(batch)
        except (BotoCoreError, ClientError) as error:
            _log_failure(batch[0], error)
            return batch[0]
        expires_at = int(time.time()) + self.environment.retention_days * _SECONDS_A_DAY
        for place, record in enumerate(batch):
            if place in failures:
                _log_failure(record, failures[place])
                return record
            try:
                self.outbox.mark_published(record.key, expires_at=expires_at)
            except (BotoCoreError, ClientError) as error:
                _log_failure(record, error)
                return record
        return None


def _log_failure(record: OutboxRecord, reason: object) -> None:
    _LOG.warning(
        "an event was not published: %s",
        reason,
        extra={
            "outcome": "failed",
            "event_id": record.event.event_id,
            "video_id": record.event.video_id,
        },
    )
