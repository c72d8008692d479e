"""The budget of a day: what counts, what lifts it, and what it costs to ask."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from media_platform.contract.budget import DayBudget, day_query, lifted_item, next_day
from media_platform.contract.ids import new_id
from media_platform.contract.run import RunStatus
from media_platform.contract.spend import Spend

NOW = "2026-11-26T23:59:59.999Z"


def spend(cpu_seconds: float, status: RunStatus = RunStatus.COMPLETE) -> dict[str, Any]:
    return Spend(
        tenant="acme",
        video_id=new_id(),
        run_id=new_id(),
        region="us-east-1",
        day=NOW[:10],
        status=status,
        cpu_seconds=cpu_seconds,
    ).to_item()


@pytest.mark.parametrize(
    ("spent", "limit", "is_spent"),
    [([], 10, False), ([9.9], 10, False), ([4, 6], 10, True), ([50], 0, False)],
)
def test_a_budget_is_spent_once_all_runs_of_the_day_take_it(
    spent: list[float], limit: int, is_spent: bool
) -> None:
    budget = DayBudget.from_items([spend(one) for one in spent])
    assert budget.cpu_seconds == pytest.approx(sum(spent))
    assert budget.is_spent(limit) is is_spent


def test_a_run_that_goes_on_counts_with_what_is_expected() -> None:
    assert DayBudget.from_items([spend(11, RunStatus.RUNNING)]).is_spent(10)


def test_an_operator_lifts_it_for_one_day() -> None:
    lifted = lifted_item("acme", at=NOW)
    assert not DayBudget.from_items([spend(99), lifted]).is_spent(10)
    asked = day_query("table", "acme", NOW[:10])
    prefix = asked["ExpressionAttributeValues"][":day"]["S"]
    for item in (spend(1), lifted):
        assert item["pk"] == asked["ExpressionAttributeValues"][":pk"]
        assert item["sk"]["S"].startswith(prefix)
    assert next_day(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
