"""Looks after deliveries of which no message may be left: later attempts, and what was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from media_platform.contract import table
from media_platform.contract.webhooks import DeliveryJob
from webhook_dispatch.aws import SEND_ENTRIES, DeliveryQueue, Webhooks
from webhook_dispatch.decision import GRACE

_LOG = logging.getLogger(__name__)

HasTime = Callable[[], bool]
"""Tells whether one more call fits into the invocation."""


@dataclass(frozen=True)
class Turn:
    """Sends messages for deliveries that are due.

    Attributes:
        webhooks: Endpoints and deliveries.
        queue: The queue of deliveries.
    """

    webhooks: Webhooks
    queue: DeliveryQueue

    def take(self, has_time: HasTime) -> int:
        """Do what is due; may be called any number of times, also at the same time.

        Each delivery is postponed before its message is sent, so that a queue in which messages
        wait does not get one more every minute.

        Args:
            has_time: Asked before every delivery; the rest is left to the next turn.

        Returns:
            How many messages were sent.

        Raises:
            NotSentError: If a message was not taken.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        sent = 0
        jobs: list[DeliveryJob] = []
        now = datetime.now(UTC)
        for shard in range(table.SHARDS):
            for due in self.webhooks.due(shard, now):
                if not has_time():
                    break
                if self.webhooks.postpone(due, now + GRACE):
                    jobs.append(due.job)
                if len(jobs) == SEND_ENTRIES:
                    self.queue.send(jobs)
                    sent, jobs = sent + len(jobs), []
        self.queue.send(jobs)
        sent += len(jobs)
        if sent:
            _LOG.info("sent deliveries that are due", extra={"deliveries": sent})
        return sent
