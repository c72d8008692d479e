"""When an endpoint is tried again, and when no more."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract.ids import new_id
from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    MAX_ATTEMPTS_KEPT,
    Attempt,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Secret,
    Webhook,
)
from webhook_dispatch.decision import (
    DISABLE_AFTER,
    GRACE,
    LEASE,
    after,
    claimed,
    is_due,
    queue_delay_seconds,
    reason_to_disable,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WEBHOOK = Webhook(
    webhook_id=new_id(),
    tenant="acme",
    url="https://example.com/",
    created_at=timestamp(NOW),
    created_by="root",
    updated_at=timestamp(NOW),
    enabled_at=timestamp(NOW),
    secrets=(Secret.new(),),
)
DELIVERY = Delivery.new(
    WEBHOOK,
    event_id=new_id(),
    event_type="VideoReady",
    event="{}",
    region="eu-central-1",
    now=NOW,
    due_at=NOW + GRACE,
)


def attempt(number: int, at: datetime, status: int | None = 500) -> Attempt:
    return Attempt(number=number, started_at=timestamp(at), milliseconds=1, status_code=status)


def life(delivery: Delivery, *, chance: float) -> list[tuple[datetime, Delivery]]:
    """Return what becomes of a delivery whose endpoint always fails, attempt by attempt."""
    steps = []
    while delivery.next_attempt_at is not None:
        now = datetime.fromisoformat(delivery.next_attempt_at)
        assert is_due(delivery, now)
        mine = claimed(delivery, now)
        delivery = after(mine, attempt(mine.attempt_count, now), now=now, chance=chance)
        steps.append((now, delivery))
    return steps


@given(chance=st.floats(0, 1))
def test_a_delivery_is_tried_for_a_day_and_then_given_up(chance: float) -> None:
    steps = life(DELIVERY, chance=chance)
    times = [time - NOW for time, _ in steps]
    assert times[0] == timedelta()
    assert timedelta(hours=22) < times[-1] <= timedelta(hours=24)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(waits) <= timedelta(hours=1.2)
    assert waits[0] < waits[1] < waits[2] < waits[3]
    assert 20 < len(steps) < MAX_ATTEMPTS_KEPT
    last = steps[-1][1]
    assert last.status is DeliveryStatus.FAILED
    assert last.failure == "no attempt succeeded within 24 hours"
    assert len(last.attempts) == len(steps)


@given(asked=st.none() | st.integers(0, 10**6), chance=st.floats(0, 1))
def test_an_endpoint_is_tried_as_late_as_it_asks_within_bounds(
    asked: int | None, chance: float
) -> None:
    mine = claimed(DELIVERY, NOW)
    usual, asking = (
        after(mine, replace(attempt(1, NOW), retry_after_seconds=seconds), now=NOW, chance=chance)
        for seconds in (None, asked)
    )
    assert usual.next_attempt_at is not None
    assert asking.next_attempt_at is not None
    wait = datetime.fromisoformat(asking.next_attempt_at) - NOW
    assert wait <= timedelta(hours=1)
    assert asking.next_attempt_at >= usual.next_attempt_at
    if asked is not None and asked >= 6:
        assert wait == min(timedelta(seconds=asked), timedelta(hours=1))


def test_a_delivery_that_is_asked_for_again_begins_anew() -> None:
    later = NOW + timedelta(days=2)
    given_up = life(DELIVERY, chance=0.5)[-1][1]
    again = given_up.again(region="eu-central-1", now=later)
    assert (again.status, again.failure) == (DeliveryStatus.PENDING, None)
    steps = life(again, chance=0.5)
    waits = [b - a for (a, _), (b, _) in itertools.pairwise(steps)]
    assert waits[0] == timedelta(seconds=5)
    numbers = [one.number for one in steps[-1][1].attempts]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= MAX_ATTEMPTS_KEPT


def test_what_was_claimed_is_nobody_elses_until_it_counts_as_lost() -> None:
    mine = claimed(DELIVERY, NOW)
    assert (mine.attempt_count, mine.leased) == (1, True)
    assert not is_due(mine, NOW)
    assert not is_due(mine, NOW + LEASE - timedelta(seconds=2))
    assert is_due(mine, NOW + LEASE)
    assert mine.due_at == timestamp(NOW + LEASE), "the schedule finds it then"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_delivers(status: int) -> None:
    done = after(claimed(DELIVERY, NOW), attempt(1, NOW, status), now=NOW, chance=0.5)
    assert (done.status, done.next_attempt_at, done.due_at, done.leased) == (
        DeliveryStatus.DELIVERED,
        None,
        None,
        False,
    )


@pytest.mark.parametrize("status", [None, 100, 199, 300, 302, 304, 404, 429, 500])
def test_nothing_else_does(status: int | None) -> None:
    tried = after(claimed(DELIVERY, NOW), attempt(1, NOW, status), now=NOW, chance=0.5)
    assert tried.status is DeliveryStatus.PENDING
    assert tried.next_attempt_at == timestamp(NOW + timedelta(seconds=5))


def test_gone_ends_it_at_once() -> None:
    gone = attempt(1, NOW, 410)
    ended = after(claimed(DELIVERY, NOW), gone, now=NOW, chance=0.5)
    assert (ended.status, ended.failure) == (
        DeliveryStatus.FAILED,
        "the endpoint answered 410 Gone",
    )
    reason = reason_to_disable(WEBHOOK, gone, failing_since=timestamp(NOW), now=NOW)
    assert reason is DisabledReason.GONE


def test_short_delays_are_the_queues_and_long_ones_the_schedules() -> None:
    for time, delivery in life(DELIVERY, chance=0.5)[:-1]:
        assert delivery.next_attempt_at is not None
        delay = datetime.fromisoformat(delivery.next_attempt_at) - time
        seconds = queue_delay_seconds(delivery, time)
        if delay <= timedelta(minutes=15):
            assert seconds is not None
            assert delay.total_seconds() <= seconds < delay.total_seconds() + 1
            assert delivery.due_at == timestamp(time + delay + GRACE), "should the message be lost"
        else:
            assert seconds is None
            assert delivery.due_at == delivery.next_attempt_at


def test_an_endpoint_that_only_fails_is_disabled_after_days() -> None:
    failed = attempt(1, NOW)
    begin = timestamp(NOW)
    almost = NOW + DISABLE_AFTER - timedelta(seconds=1)
    assert reason_to_disable(WEBHOOK, failed, failing_since=begin, now=almost) is None
    due = NOW + DISABLE_AFTER
    assert reason_to_disable(WEBHOOK, failed, failing_since=begin, now=due) is (
        DisabledReason.FAILING
    )
    enabled = replace(WEBHOOK, enabled_at=timestamp(due))
    assert reason_to_disable(enabled, failed, failing_since=begin, now=due) is None
