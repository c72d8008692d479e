"""The budget breaker: how much processor time a tenant's transcodes of a day may take.

A transcode begins when the first worker takes its run. That is where the breaker is asked, with one
query of what runs of the day took or are expected to take (``spend.Spend``). What has begun goes on
to its end; a run that may not begin is left, its video says so (``Video.held_back``), and the sweep
sends its job again on the next day, or once an operator lifts the breaker for the day.
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
    """

    cpu_seconds: float = 0.0
    lifted: bool = False

    @classmethod
    def from_items(cls, items: Iterable[Mapping[str, Mapping[str, Any]]]) -> Self:
        """Read it from what :func:`day_query` finds."""
        stored = [from_item(item) for item in items]
        return cls(
            cpu_seconds=sum(one.get("cpu_seconds", 0) for one in stored),
            lifted=any("lifted_at" in one for one in stored),
        )

    def is_spent(self, limit_cpu_seconds: int) -> bool:
        """Tell whether no further transcode may begin.

        Args:
            limit_cpu_seconds: The budget of a day; 0 for any.
        """
        return bool(limit_cpu_seconds) and not self.lifted and self.cpu_seconds >= limit_cpu_seconds


def day_query(table_name: str, tenant: str, day: str) -> dict[str, Any]:
    """Return the arguments of the ``Query`` for what a tenant spent on a day.

    Args:
        table_name: The table.
        tenant: The tenant.
        day: The day (``2026-11-26``, UTC).
    """
    return {
        "TableName": table_name,
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :day)",
        "ExpressionAttributeValues": {
            ":pk": {"S": table.spend_partition(tenant)},
            ":day": {"S": f"{day}#"},
        },
        "ProjectionExpression": "cpu_seconds, lifted_at",
        "ConsistentRead": True,
    }


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
