"""The budget of a day: what counts, what lifts it, and what it costs to ask."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from media_platform.contract.budget import (
    DayBudget,
    day_query,
    lifted_item,
    next_day,
    own_limit_item,
)
from media_platform.contract.ids import new_id
from media_platform.contract.run import RunStatus
from media_platform.contract.spend import Spend

NOW = "2026-11-26T23:59:59.999Z"
DAY = NOW[:10]


SPEND = Spend(
    tenant="acme",
    video_id=new_id(),
    run_id=new_id(),
    region="us-east-1",
    day=DAY,
    status=RunStatus.COMPLETE,
    cpu_seconds=99,
)


def spend(cpu_seconds: float, status: RunStatus = RunStatus.COMPLETE) -> dict[str, Any]:
    return replace(SPEND, cpu_seconds=cpu_seconds, status=status).to_item()


@pytest.mark.parametrize(
    ("spent", "limit", "is_spent"),
    [([], 10, False), ([9.9], 10, False), ([4, 6], 10, True), ([50], 0, False)],
)
def test_a_budget_is_spent_once_all_runs_of_the_day_take_it(
    spent: list[float], limit: int, is_spent: bool
) -> None:
    budget = DayBudget.from_items([spend(one) for one in spent], DAY)
    assert budget.cpu_seconds == pytest.approx(sum(spent))
    assert budget.is_spent(limit) is is_spent


def test_a_run_that_goes_on_counts_with_what_is_expected() -> None:
    assert DayBudget.from_items([spend(11, RunStatus.RUNNING)], DAY).is_spent(10)


def test_an_operator_lifts_it_for_one_day() -> None:
    lifted = lifted_item("acme", at=NOW)
    assert not DayBudget.from_items([spend(99), lifted], DAY).is_spent(10)
    asked = day_query("table", "acme", DAY)
    for item in (spend(1), lifted, own_limit_item("acme", 5, at=NOW)):
        assert is_found(item, asked)
    assert not is_found(lifted_item("acme", at="2026-11-25T00:00:00.000Z"), asked)
    assert next_day(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("own", "limit", "is_spent"), [(100, 10, False), (5, 10, True), (0, 10, False), (5, 5000, True)]
)
def test_a_budget_of_its_own_holds_instead_of_that_of_the_stage(
    own: int, limit: int, is_spent: bool
) -> None:
    items = [spend(50), own_limit_item("acme", own, at=NOW)]
    assert DayBudget.from_items(items, DAY).is_spent(limit) is is_spent


def test_what_began_by_a_clock_that_is_ahead_counts_on_its_day() -> None:
    tomorrow = replace(SPEND, day="2026-11-27").to_item()
    assert DayBudget.from_items([tomorrow, spend(3)], DAY).cpu_seconds == 3


def is_found(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Tell whether a query on a range of sort keys finds an item."""
    values = {name: value["S"] for name, value in asked["ExpressionAttributeValues"].items()}
    same = item["pk"]["S"] == values[":pk"]
    return bool(same and values[":day"] <= item["sk"]["S"] <= values[":budget"])
