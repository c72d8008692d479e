"""One attempt to deliver an event, and what follows from it."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from media_platform.contract import metrics as names
from media_platform.contract.environment import WebhookEnvironment
from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    ATTEMPT_HEADER,
    ID_HEADER,
    SIGNATURE_HEADER,
    Attempt,
    Delivery,
    DeliveryJob,
    DeliveryStatus,
    Webhook,
    sign,
)
from webhook_dispatch import metrics
from webhook_dispatch.aws import DeliveryQueue, Webhooks
from webhook_dispatch.decision import (
    after,
    claimed,
    is_due,
    queue_delay_seconds,
    reason_to_disable,
)
from webhook_dispatch.sender import Sender

_LOG = logging.getLogger(__name__)

USER_AGENT = "media-platform-webhooks/1"


class Outcome(StrEnum):
    """What became of a message."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    """The attempt failed, and another follows."""

    GIVEN_UP = "given_up"
    """No further attempt is made."""

    NOTHING = "nothing"
    """There was nothing to do: it is done, not due, or somebody else is at it."""


@dataclass(frozen=True)
class Deliverer:
    """Delivers events.

    Attributes:
        environment: Settings of the function.
        webhooks: Endpoints and deliveries.
        queue: The queue of deliveries.
        sender: Sends requests.
    """

    environment: WebhookEnvironment
    webhooks: Webhooks
    queue: DeliveryQueue
    sender: Sender

    def deliver(self, job: DeliveryJob) -> Outcome:
        """Make an attempt if one is due; may be called any number of times, also at the same time.

        The delivery is claimed before anything is sent, so that of several messages one makes the
        attempt. Whoever is stopped after the endpoint took the event and before that is recorded
        leaves it to the schedule, which has it sent again: at least once, never less.

        Raises:
            NotSentError: If the message for the next attempt was not taken.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        now = datetime.now(UTC)
        delivery = self.webhooks.delivery(job)
        if delivery is None or not is_due(delivery, now):
            return Outcome.NOTHING
        webhook = self.webhooks.webhook(job.tenant, job.webhook_id)
        if webhook is None or not webhook.enabled:
            state = "is disabled" if webhook else "was deleted"
            ended = delivery.ended(DeliveryStatus.FAILED, f"the endpoint {state}")
            done = self.webhooks.write(ended, delivery)
            return self._given_up(ended) if done else Outcome.NOTHING
        mine = claimed(delivery, now)
        if not self.webhooks.write(mine, delivery):
            return Outcome.NOTHING
        attempt = self._attempt(webhook, mine)
        return self._record(webhook, mine, attempt)

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> Attempt:
        now = datetime.now(UTC)
        body = delivery.event.encode()
        answer = self.sender.send(
            webhook.url,
            body,
            {
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
                "Connection": "close",
                ID_HEADER: delivery.event_id,
                ATTEMPT_HEADER: str(delivery.attempt_count),
                SIGNATURE_HEADER: sign(body, webhook.valid_secrets(now), now),
            },
        )
        return Attempt(
            number=delivery.attempt_count,
            started_at=timestamp(now),
            milliseconds=answer.milliseconds,
            status_code=answer.status_code,
            error=answer.error,
            response=answer.response,
            retry_after_seconds=answer.retry_after_seconds,
        )

    def _record(self, webhook: Webhook, mine: Delivery, attempt: Attempt) -> Outcome:
        now = datetime.now(UTC)
        result = after(mine, attempt, now=now, chance=random.random())  # noqa: S311  not secret
        if not self.webhooks.write(result, mine):
            _LOG.warning("an attempt ended too late to count", extra=_fields(mine))
            return Outcome.NOTHING
        if attempt.delivered:
            self.webhooks.note_success(webhook, now)
            delay = now - datetime.fromisoformat(mine.created_at)
            _LOG.info("delivered an event", extra={**_fields(mine), "status": attempt.status_code})
            self._emit(
                mine,
                {names.WEBHOOKS_DELIVERED: 1, names.WEBHOOK_DELAY_SECONDS: delay.total_seconds()},
            )
            return Outcome.DELIVERED
        _LOG.warning(
            "an endpoint did not take an event: %s",
            attempt.fault,
            extra=_fields(mine),
        )
        self._emit(mine, {names.WEBHOOK_ATTEMPTS_FAILED: 1})
        since = self.webhooks.note_failure(webhook, attempt.fault, now)
        reason = reason_to_disable(webhook, attempt, failing_since=since, now=now)
        if reason is not None and self.webhooks.disable(webhook, reason, now):
            _LOG.warning("disabled an endpoint: %s", reason.value, extra=_fields(mine))
        if result.status is not DeliveryStatus.PENDING:
            return self._given_up(result)
        wait = queue_delay_seconds(result, now)
        if wait is not None:
            self.queue.send([DeliveryJob.of(result)], delay_seconds=wait)
        return Outcome.RETRIED

    def _given_up(self, delivery: Delivery) -> Outcome:
        _LOG.warning("gave a delivery up: %s", delivery.failure, extra=_fields(delivery))
        self._emit(delivery, {names.WEBHOOKS_GIVEN_UP: 1})
        return Outcome.GIVEN_UP

    def _emit(self, delivery: Delivery, values: Mapping[str, float]) -> None:
        metrics.emit(self.environment.stage, values, tenant=delivery.tenant)


def _fields(delivery: Delivery) -> dict[str, object]:
    """Return what log lines say; a URL may hold a secret, so that it is not among it."""
    return {
        "tenant": delivery.tenant,
        "webhook_id": delivery.webhook_id,
        "event_id": delivery.event_id,
        "attempt": delivery.attempt_count,
    }
