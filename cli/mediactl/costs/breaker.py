"""The budget breaker, as an operator sees it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime

from media_platform.contract import table
from media_platform.contract.audit import AuditAction, AuditEntry, audit_write
from media_platform.contract.budget import (
    DayBudget,
    day_query,
    lifted_item,
    next_day,
    own_limit_item,
)
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video
from mediactl.asking import MissingRegion
from mediactl.costs.spending import SpendingStore, WorkerPrices
from mediactl.deployed import in_flight
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, REFUSED, CommandError
from mediactl.pricing.book import price_table

_LIMIT = "MAX_TENANT_DAILY_CPU_SECONDS"


@dataclass(frozen=True, kw_only=True)
class TenantBudget:
    """What a tenant spent on a day.

    Attributes:
        tenant: The tenant.
        cpu_hours: Hours of a virtual CPU, of runs that go on as expected.
        limit_cpu_hours: What it may spend of a day; ``None`` for any.
        own_limit: Whether that is its own, and not that of the stage.
        waiting: Videos that wait for another day.
        lifted: Whether it may begin more than the budget today.
        holds_back: Whether no further transcode begins today.
    """

    tenant: str
    cpu_hours: float
    limit_cpu_hours: float | None
    own_limit: bool
    waiting: int
    lifted: bool
    holds_back: bool


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """The budgets of a day.

    Attributes:
        day: The day (UTC).
        limit_cpu_hours: The budget of a tenant that has none of its own; ``None`` if the stage has
            none, and then no other holds.
        tenants: Tenants that spent something, wait, or have a budget of their own; those that spent
            most first.
        missing_regions: Regions of which not all may be known.
    """

    day: str
    limit_cpu_hours: float | None
    tenants: list[TenantBudget]
    missing_regions: list[MissingRegion] = field(default_factory=list)


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


@dataclass(frozen=True, kw_only=True)
class ChangedBudget:
    """The budget of a tenant that was changed.

    Attributes:
        tenant: The tenant.
        before_cpu_hours: What it might spend of a day before; ``None`` for any.
        limit_cpu_hours: What it may spend of a day now; ``None`` for any.
        own_limit: Whether that is its own, and not that of the stage.
        holds_back: Whether with it no further transcode begins today.
        changed: Whether it was changed; not with ``--dry-run``, or if it was so already.
    """

    tenant: str
    before_cpu_hours: float | None
    limit_cpu_hours: float | None
    own_limit: bool
    holds_back: bool
    changed: bool


def read_breaker(environment: Environment) -> Breaker:
    """Return what tenants spent today, and how many of their videos wait.

    Args:
        environment: The stage.
    """
    store = SpendingStore(environment)
    day = timestamp()[:10]
    limit = _limit_seconds(environment)
    waiting = _waiting(environment, store)
    found = []
    for tenant in sorted({*store.tenants(), *waiting}):
        budget = _read(store, tenant, day)
        own = budget.own_limit_cpu_seconds is not None
        if budget.cpu_seconds or budget.lifted or own or waiting[tenant]:
            found.append(
                TenantBudget(
                    tenant=tenant,
                    cpu_hours=round(budget.cpu_seconds / 3600, 4),
                    limit_cpu_hours=_limit_hours(budget, limit),
                    own_limit=own and bool(limit),
                    waiting=waiting[tenant],
                    lifted=budget.lifted,
                    holds_back=bool(limit) and budget.is_spent(limit),
                )
            )
    found.sort(key=lambda one: (-one.cpu_hours, one.tenant))
    return Breaker(
        day=day, limit_cpu_hours=_hours(limit), tenants=found, missing_regions=store.missing
    )


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
    _require(store, tenant)
    now = timestamp()
    if not dry_run:
        lifted: TransactItem = {
            "Put": {"TableName": store.table_name, "Item": lifted_item(tenant, at=now)}
        }
        _write(environment, store, lifted, AuditAction.BUDGET_LIFTED, tenant, at=now)
    until = timestamp(next_day(datetime.fromisoformat(now)))
    return Lifted(tenant=tenant, until=until, changed=not dry_run)


def budget_change(environment: Environment, tenant: str, limit: int | None) -> ChangedBudget:
    """Return what :func:`change_budget` would do.

    Args:
        environment: The stage.
        tenant: The tenant.
        limit: Its budget of a day in seconds, 0 for any; ``None`` for that of the stage.

    Raises:
        CommandError: If there is no such tenant, or the stage has no budget.
    """
    store = SpendingStore(environment)
    _require(store, tenant)
    of_stage = _limit_seconds(environment)
    if not of_stage:
        raise CommandError(
            f"the stage {environment.stage} has no budget of a day, so none of a tenant holds",
            hint="give it one first: worker.max_tenant_daily_cpu_hours in cdk.json, then"
            " `mediactl deploy`",
            exit_code=REFUSED,
        )
    before = _read(store, tenant, timestamp()[:10])
    after = replace(before, own_limit_cpu_seconds=limit)
    return ChangedBudget(
        tenant=tenant,
        before_cpu_hours=_limit_hours(before, of_stage),
        limit_cpu_hours=_limit_hours(after, of_stage),
        own_limit=limit is not None,
        holds_back=after.is_spent(of_stage),
        changed=after != before,
    )


def change_budget(environment: Environment, tenant: str, limit: int | None) -> None:
    """Give a tenant a budget of its own, or take it away; arguments as of :func:`budget_change`.

    The change and its audit entry are one transaction.
    """
    store, now = SpendingStore(environment), timestamp()
    change: TransactItem
    if limit is None:
        key = table.spend_budget_key(tenant).to_wire()
        change = {"Delete": {"TableName": store.table_name, "Key": key}}
    else:
        item = own_limit_item(tenant, limit, at=now)
        change = {"Put": {"TableName": store.table_name, "Item": item}}
    _write(environment, store, change, AuditAction.BUDGET_CHANGED, tenant, at=now)


def _require(store: SpendingStore, tenant: str) -> None:
    if tenant not in store.tenants():
        raise CommandError(
            f"there is no tenant {tenant!r}",
            hint="`mediactl tenants list` names all",
            exit_code=NOT_FOUND,
        )


def _write(
    environment: Environment,
    store: SpendingStore,
    change: TransactItem,
    action: AuditAction,
    tenant: str,
    *,
    at: str,
) -> None:
    """Write a change together with the audit entry that tells who made it."""
    entry = AuditEntry(
        entry_id=new_id(),
        at=at,
        tenant=tenant,
        actor=environment.client("sts", store.region).get_caller_identity()["Arn"],
        actor_tenant="",
        actor_groups=(),
        action=action,
        request_id="",
        trace_id="",
    )
    store.dynamodb.transact_write_items(
        TransactItems=[change, audit_write(store.table_name, entry)]
    )


def _read(store: SpendingStore, tenant: str, day: str) -> DayBudget:
    return DayBudget.from_items(store.query(day_query(store.table_name, tenant, day)), day)


def _limit_hours(budget: DayBudget, of_stage: int) -> float | None:
    """Return what a tenant may spend of a day in hours; ``None`` for any."""
    own = budget.own_limit_cpu_seconds
    return _hours(of_stage if own is None or not of_stage else own)


def _hours(cpu_seconds: int) -> float | None:
    return cpu_seconds / 3600 if cpu_seconds else None


def _limit_seconds(environment: Environment) -> int:
    """Return the budget with which the workers of the first region that answers are deployed."""
    prices = WorkerPrices(environment, price_table())
    workers = filter(None, map(prices.worker, environment.regions))
    worker = next(workers, None)
    return int(worker.variables.get(_LIMIT, 0)) if worker else 0


def _waiting(environment: Environment, store: SpendingStore) -> Counter[str]:
    """Return how many videos wait, by tenant, in all regions."""
    waiting: Counter[str] = Counter()
    for region in environment.regions:
        videos = map(Video.from_item, in_flight(store.dynamodb, store.table_name, region))
        waiting.update(one.tenant for one in videos if one.held_back is not None)
    return waiting
