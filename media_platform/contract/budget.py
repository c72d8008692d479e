"""The budget breaker: how much processor time a tenant's transcodes of a day may take.

A transcode begins when the first worker takes its run. That is where the breaker is asked, with one
query of what runs of the day took or are expected to take (``spend.Spend``). What has begun goes on
to its end; a run that may not begin is left, its video says so (``Video.held_back``), and the sweep
sends its job again on the next day, or once an operator lifts the breaker for the day.

A stage has one budget for all tenants; an operator may give a tenant another, which the same query
reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import WireItem, from_item, to_item
from media_platform.contract.spend import KEPT

HELD_BACK = "daily_budget"
"""Why a video is held back: its tenant spent the budget of the day."""


@dataclass(frozen=True, kw_only=True)
class DayBudget:
    """What a tenant spent on a day.

    Attributes:
        cpu_seconds: Processor time of the runs that began, of those that go on as expected.
        lifted: Whether an operator lifted the breaker for the day.
        own_limit_cpu_seconds: Budget of every day that an operator gave the tenant, 0 for any;
            ``None`` if that of the stage holds.
    """

    cpu_seconds: float = 0.0
    lifted: bool = False
    own_limit_cpu_seconds: int | None = None

    @classmethod
    def from_items(cls, items: Iterable[Mapping[str, Mapping[str, Any]]], day: str) -> Self:
        """Read it from what :func:`day_query` finds for a day."""
        stored = [from_item(item) for item in items]
        # A clock that is ahead may have begun with the day after.
        of_day = [one for one in stored if one[table.SORT_KEY].startswith(f"{day}#")]
        own = [one["limit_cpu_seconds"] for one in stored if "limit_cpu_seconds" in one]
        return cls(
            cpu_seconds=sum(one.get("cpu_seconds", 0) for one in of_day),
            lifted=any("lifted_at" in one for one in of_day),
            own_limit_cpu_seconds=int(own[0]) if own else None,
        )

    def is_spent(self, limit_cpu_seconds: int) -> bool:
        """Tell whether no further transcode may begin.

        Args:
            limit_cpu_seconds: The budget of a day that the stage has; 0 for any.
        """
        limit = limit_cpu_seconds
        if self.own_limit_cpu_seconds is not None:
            limit = self.own_limit_cpu_seconds
        return bool(limit) and not self.lifted and self.cpu_seconds >= limit


def day_query(table_name: str, tenant: str, day: str) -> dict[str, Any]:
    """Return the arguments of the ``Query`` for what a tenant spent on a day, and may spend.

    Args:
        table_name: The table.
        tenant: The tenant.
        day: The present day (``2026-11-26``, UTC): what is spent later is read, too.
    """
    return {
        "TableName": table_name,
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :day AND :budget",
        "ExpressionAttributeValues": {
            ":pk": {"S": table.spend_partition(tenant)},
            ":day": {"S": f"{day}#"},
            ":budget": {"S": table.spend_budget_key(tenant).sk},
        },
        "ProjectionExpression": "sk, cpu_seconds, lifted_at, limit_cpu_seconds",
        "ConsistentRead": True,
    }


def own_limit_item(tenant: str, cpu_seconds: int, *, at: str) -> WireItem:
    """Return the wire item by which a tenant has a budget of its own.

    Args:
        tenant: The tenant.
        cpu_seconds: Its budget of a day; 0 for any.
        at: The present time (RFC 3339, UTC).
    """
    key = table.spend_budget_key(tenant)
    return to_item(
        {
            table.PARTITION_KEY: key.pk,
            table.SORT_KEY: key.sk,
            "limit_cpu_seconds": cpu_seconds,
            "set_at": at,
        }
    )


def lifted_item(tenant: str, *, at: str) -> WireItem:
    """Return the wire item by which the breaker is lifted for the rest of a day.

    Args:
        tenant: The tenant.
        at: The present time (RFC 3339, UTC).
    """
    key = table.spend_lifted_key(tenant, at[:10])
    until = datetime.fromisoformat(f"{at[:10]}T00:00:00+00:00") + KEPT
    return to_item(
        {
            table.PARTITION_KEY: key.pk,
            table.SORT_KEY: key.sk,
            table.TTL_ATTRIBUTE: int(until.timestamp()),
            "lifted_at": at,
        }
    )


def next_day(at: datetime) -> datetime:
    """Return when the budget of another day begins."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
