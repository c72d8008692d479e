"""When an endpoint is tried again, and when no more: pure functions of what was read."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    MAX_ATTEMPTS_KEPT,
    Attempt,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Webhook,
)

DELAYS = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800))
"""Times between the first attempts; from then on it is an hour."""

LONGEST_DELAY = timedelta(hours=1)

JITTER = 0.2
"""By how much a delay may differ from its length, so that failures together do not stay so."""

LEASE = timedelta(seconds=90)
"""Time after which an attempt that nobody recorded counts as lost; no function lives longer."""

GRACE = timedelta(minutes=5)
"""Time that a message has before the schedule sends another."""

EARLY = timedelta(seconds=1)
"""How much too early a message may come, since queues delay by whole seconds."""

LONGEST_QUEUE_DELAY = timedelta(minutes=15)
"""Longest delay of a message (Amazon SQS quotas)."""

DISABLE_AFTER = timedelta(days=3)
"""Time without a single success after which an endpoint that fails is disabled."""

GONE = 410
"""Status by which an endpoint says that it wants nothing more (RFC 9110, section 15.5.11)."""


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Tell whether an attempt is to be made now.

    What is not due was taken by another message, or has one of its own for later.
    """
    if delivery.status is not DeliveryStatus.PENDING or delivery.next_attempt_at is None:
        return False
    return datetime.fromisoformat(delivery.next_attempt_at) - EARLY <= now


def claimed(delivery: Delivery, now: datetime) -> Delivery:
    """Return the delivery with one more attempt begun, which nobody else makes."""
    until = timestamp(now + LEASE)
    return replace(
        delivery,
        attempt_count=delivery.attempt_count + 1,
        leased=True,
        next_attempt_at=until,
        due_at=until,
    )


def after(delivery: Delivery, attempt: Attempt, *, now: datetime, chance: float) -> Delivery:
    """Return the delivery after an attempt.

    Args:
        delivery: The delivery, claimed.
        attempt: What came of it.
        now: The present time.
        chance: A random number from 0 to 1, which spreads the next attempts.
    """
    tried = replace(delivery, attempts=(*delivery.attempts, attempt)[-MAX_ATTEMPTS_KEPT:])
    if attempt.delivered:
        return tried.ended(DeliveryStatus.DELIVERED)
    if attempt.status_code == GONE:
        return tried.ended(DeliveryStatus.FAILED, "the endpoint answered 410 Gone")
    next_at = now + retry_delay(tried, chance=chance)
    if next_at > delivery.gives_up_at:
        return tried.ended(DeliveryStatus.FAILED, "no attempt succeeded within 24 hours")
    short = next_at - now <= LONGEST_QUEUE_DELAY
    return replace(
        tried,
        leased=False,
        next_attempt_at=timestamp(next_at),
        due_at=timestamp(next_at + GRACE if short else next_at),
    )


def retry_delay(delivery: Delivery, *, chance: float) -> timedelta:
    """Return the time until the next attempt: longer with every one, an hour at most.

    An endpoint that asks to be tried later (``Retry-After``) is, by an hour at most; none is tried
    earlier for that. Attempts from before the delivery was asked for again do not count.

    Args:
        delivery: The delivery, with the attempt that failed.
        chance: A random number from 0 to 1.
    """
    failures = sum(attempt.started_at >= delivery.created_at for attempt in delivery.attempts)
    delay = DELAYS[failures - 1] if failures <= len(DELAYS) else LONGEST_DELAY
    usual = delay * (1 - JITTER + 2 * JITTER * chance)
    asked = timedelta(seconds=delivery.attempts[-1].retry_after_seconds or 0)
    return max(usual, min(asked, LONGEST_DELAY))


def queue_delay_seconds(delivery: Delivery, now: datetime) -> int | None:
    """Return the delay of the message for the next attempt, ``None`` if it is left to the schedule.

    A queue holds messages back for 15 minutes at most.
    """
    if delivery.next_attempt_at is None:
        return None
    delay = datetime.fromisoformat(delivery.next_attempt_at) - now
    if delay > LONGEST_QUEUE_DELAY:
        return None
    return max(0, math.ceil(delay.total_seconds()))


def reason_to_disable(
    webhook: Webhook, attempt: Attempt, *, failing_since: str, now: datetime
) -> DisabledReason | None:
    """Tell why an endpoint that just failed gets nothing more, ``None`` if it does.

    Args:
        webhook: The endpoint.
        attempt: The attempt that failed.
        failing_since: Time of the first failure since it took something last.
        now: The present time.
    """
    if attempt.status_code == GONE:
        return DisabledReason.GONE
    since = max(failing_since, webhook.enabled_at)
    if now - datetime.fromisoformat(since) >= DISABLE_AFTER:
        return DisabledReason.FAILING
    return None
