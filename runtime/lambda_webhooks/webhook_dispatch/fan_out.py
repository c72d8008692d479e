"""From an event to one delivery for every endpoint that wants it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from media_platform.contract.environment import WebhookEnvironment
from media_platform.contract.events import DomainEvent
from media_platform.contract.webhooks import Delivery, DeliveryJob
from webhook_dispatch.aws import DeliveryQueue, Webhooks
from webhook_dispatch.decision import GRACE

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FanOut:
    """Makes deliveries.

    Attributes:
        environment: Settings of the function.
        webhooks: Endpoints and deliveries.
        queue: The queue of deliveries.
    """

    environment: WebhookEnvironment
    webhooks: Webhooks
    queue: DeliveryQueue

    def take(self, event: DomainEvent) -> int:
        """Make the deliveries of one event; may be called any number of times with the same one.

        A message is sent for those that are there already, too: whoever made them may have been
        stopped before he sent one. A message about a delivery that is done is dropped.

        Returns:
            How many endpoints want it.

        Raises:
            NotSentError: If a message was not taken.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        now = datetime.now(UTC)
        jobs = []
        for webhook in self.webhooks.of_tenant(event.tenant):
            if not webhook.wants(event.event_type.value):
                continue
            delivery = Delivery.new(
                webhook,
                event_id=event.event_id,
                event_type=event.event_type.value,
                event=event.to_json(),
                region=self.environment.home_region,
                now=now,
                due_at=now + GRACE,
            )
            self.webhooks.write(delivery, None)
            jobs.append(DeliveryJob.of(delivery))
        self.queue.send(jobs)
        if jobs:
            _LOG.info(
                "an event goes to webhooks",
                extra={"event_id": event.event_id, "tenant": event.tenant, "endpoints": len(jobs)},
            )
        return len(jobs)
