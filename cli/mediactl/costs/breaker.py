"""The budget breaker, as an operator sees it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from media_platform.contract.budget import DayBudget, day_query, lifted_item, next_day
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video
from mediactl.costs.spending import SpendingStore, WorkerPrices
from mediactl.deployed import in_flight
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, CommandError
from mediactl.pricing.book import price_table

_LIMIT = "MAX_TENANT_DAILY_CPU_SECONDS"


@dataclass(frozen=True, kw_only=True)
class TenantBudget:
    """What a tenant spent on a day.

    Attributes:
        tenant: The tenant.
        cpu_hours: Hours of a virtual CPU, of runs that go on as expected.
        waiting: Videos that wait for another day.
        lifted: Whether it may begin more than the budget today.
        holds_back: Whether no further transcode begins today.
    """

    tenant: str
    cpu_hours: float
    waiting: int
    lifted: bool
    holds_back: bool


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """The budgets of a day.

    Attributes:
        day: The day (UTC).
        limit_cpu_hours: The budget of a tenant; ``None`` if the stage has none.
        tenants: Tenants that spent something or wait, those that spent most first.
    """

    day: str
    limit_cpu_hours: float | None
    tenants: list[TenantBudget]


@dataclass(frozen=True, kw_only=True)
class Lifted:
    """A breaker that was lifted.

    Attributes:
        tenant: The tenant.
        until: When the budget holds again.
        changed: Whether it was lifted now; not with ``--dry-run``.
    """

    tenant: str
    until: str
    changed: bool


def read_breaker(environment: Environment) -> Breaker:
    """Return what tenants spent today, and how many of their videos wait.

    Args:
        environment: The stage.
    """
    store = SpendingStore(environment)
    day = timestamp()[:10]
    limit = _limit_seconds(environment)
    waiting = _waiting(environment, store.table_name)
    found = []
    for tenant in sorted({*store.tenants(), *waiting}):
        budget = DayBudget.from_items(store.query(day_query(store.table_name, tenant, day)))
        if budget.cpu_seconds or budget.lifted or waiting[tenant]:
            found.append(
                TenantBudget(
                    tenant=tenant,
                    cpu_hours=round(budget.cpu_seconds / 3600, 4),
                    waiting=waiting[tenant],
                    lifted=budget.lifted,
                    holds_back=budget.is_spent(limit),
                )
            )
    found.sort(key=lambda one: (-one.cpu_hours, one.tenant))
    return Breaker(day=day, limit_cpu_hours=limit / 3600 if limit else None, tenants=found)


def lift_breaker(environment: Environment, tenant: str, *, dry_run: bool) -> Lifted:
    """Let a tenant begin transcodes for the rest of the day.

    Args:
        environment: The stage.
        tenant: The tenant.
        dry_run: Whether it is only said what would be done.

    Raises:
        CommandError: If there is no such tenant.
    """
    store = SpendingStore(environment)
    if tenant not in store.tenants():
        raise CommandError(
            f"there is no tenant {tenant!r}",
            hint="`mediactl tenants list` names all",
            exit_code=NOT_FOUND,
        )
    now = timestamp()
    if not dry_run:
        environment.client("dynamodb").put_item(
            TableName=store.table_name, Item=lifted_item(tenant, at=now)
        )
    until = timestamp(next_day(datetime.fromisoformat(now)))
    return Lifted(tenant=tenant, until=until, changed=not dry_run)


def _limit_seconds(environment: Environment) -> int:
    """Return the budget with which the workers of the home region are deployed."""
    worker = WorkerPrices(environment, price_table()).worker(environment.home_region)
    return int(worker.variables.get(_LIMIT, 0)) if worker else 0


def _waiting(environment: Environment, table_name: str) -> Counter[str]:
    """Return how many videos wait, by tenant, in all regions."""
    waiting: Counter[str] = Counter()
    client = environment.client("dynamodb")
    for region in environment.regions:
        videos = map(Video.from_item, in_flight(client, table_name, region))
        waiting.update(one.tenant for one in videos if one.held_back is not None)
    return waiting
