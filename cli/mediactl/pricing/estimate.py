"""What a stage will cost in a month: its templates and a workload at the prices of a book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mediactl.pricing.bill import Bill, CostLine
from mediactl.pricing.book import Price, PriceBook
from mediactl.pricing.lines import SERVICES, unpriced_types
from mediactl.pricing.others import Alternative, alternatives
from mediactl.pricing.template import Stage
from mediactl.pricing.usage import Month, month_of
from mediactl.pricing.workload import NOTHING, Workload

FARGATE = "Fargate"
WORKERS = "workers"


@dataclass(frozen=True, kw_only=True)
class ServiceCost:
    """What one AWS service costs.

    Attributes:
        service: Its name.
        usd: US dollars in a month.
        idle_usd: What of it is paid even if nobody comes.
    """

    service: str
    usd: float
    idle_usd: float


@dataclass(frozen=True, kw_only=True)
class RegionCost:
    """What a stage costs in a region.

    Attributes:
        region: The region; ``all`` for services without one.
        usd: US dollars in a month.
    """

    region: str
    usd: float


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage costs in a month.

    Attributes:
        stage: Its name, or the folder of its assembly.
        regions: Its regions.
        usd: US dollars in a month.
        idle_usd: What of it is paid even if nobody comes.
        usd_per_minute: US dollars for a minute of uploaded video, everything counted;
            ``None`` without uploads.
        usd_per_further_minute: The same without what is paid anyway.
        delivered_gb: GB that viewers load.
        worker_cpu_hours: Hours of a virtual CPU that are paid for workers.
        worker_busy_share: Share of them that transcodes; workers start, and stay for a while.
        services: The sum by AWS service, dearest first.
        by_region: The sum by region.
        lines: Every line.
        unpriced: Types of the templates of which nothing is known: they may cost something.
        alternatives: What others ask for the same.
    """

    stage: str
    regions: list[str]
    usd: float
    idle_usd: float
    usd_per_minute: float | None
    usd_per_further_minute: float | None
    delivered_gb: float
    worker_cpu_hours: float
    worker_busy_share: float
    services: list[ServiceCost]
    by_region: list[RegionCost]
    lines: list[CostLine]
    unpriced: list[str]
    alternatives: list[Alternative]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What stages cost in a month.

    Attributes:
        usd: US dollars in a month, of all stages together.
        budget_usd: What it may cost, if that was said.
        workload: What users do, in each of the stages.
        stages: The stages.
        prices: The prices that were used, each with its source and date.
        free_tier: Whether what is free for an account was taken off; for each stage, as if it were
            alone in its account.
    """

    usd: float
    budget_usd: float | None
    workload: Workload
    stages: list[StageCost]
    prices: list[Price]
    free_tier: bool


def estimate(
    stages: Mapping[str, Stage],
    workload: Workload,
    book: PriceBook,
    *,
    with_free: bool = True,
    budget_usd: float | None = None,
) -> Estimate:
    """Return what stages cost.

    Args:
        stages: Stages by name.
        workload: What users do in each.
        book: Prices.
        with_free: Whether what is free for an account is taken off.
        budget_usd: What it may cost; it is only passed on.
    """
    costs = [
        stage_cost(name, stage, workload, book, with_free=with_free)
        for name, stage in stages.items()
    ]
    used = {(line.price, line.region) for cost in costs for line in cost.lines}
    prices = {book.price(name, region) for name, region in used}
    return Estimate(
        usd=round(sum(cost.usd for cost in costs), 2),
        budget_usd=budget_usd,
        workload=workload,
        stages=costs,
        prices=sorted(prices, key=lambda price: (price.name, price.region)),
        free_tier=with_free,
    )


def stage_cost(
    name: str, stage: Stage, workload: Workload, book: PriceBook, *, with_free: bool = True
) -> StageCost:
    """Return what a stage costs; arguments are those of :func:`estimate`."""
    month = month_of(stage, workload)
    bill = bill_of(stage, month, book, with_free=with_free)
    idle = bill_of(stage, month_of(stage, NOTHING), book, with_free=with_free)
    minutes = workload.uploaded_minutes
    workers = sum(
        line.usd for line in bill.lines if line.service == FARGATE and line.what.startswith(WORKERS)
    )
    return StageCost(
        stage=name,
        regions=stage.regions,
        usd=round(bill.usd, 2),
        idle_usd=round(idle.usd, 2),
        usd_per_minute=round(bill.usd / minutes, 4) if minutes else None,
        usd_per_further_minute=round((bill.usd - idle.usd) / minutes, 4) if minutes else None,
        delivered_gb=round(month.delivered_gb, 2),
        worker_cpu_hours=round(month.worker_cpu_hours, 2),
        worker_busy_share=round(month.worker_busy_share, 4),
        services=_by_service(bill, idle),
        by_region=_by_region(bill, stage.regions),
        lines=bill.rounded(),
        unpriced=unpriced_types(stage),
        alternatives=_rounded(alternatives(book, month, workers_usd=workers, all_usd=bill.usd)),
    )


def bill_of(stage: Stage, month: Month, book: PriceBook, *, with_free: bool = True) -> Bill:
    """Return the bill of a stage for a month."""
    bill = Bill(book, with_free=with_free)
    for service in SERVICES:
        service(stage, month, bill)
    return bill


def _by_service(bill: Bill, idle: Bill) -> list[ServiceCost]:
    sums: dict[str, list[float]] = {}
    for place, one in enumerate((bill, idle)):
        for line in one.lines:
            sums.setdefault(line.service, [0.0, 0.0])[place] += line.usd
    costs = [
        ServiceCost(service=service, usd=round(usd, 2), idle_usd=round(idle_usd, 2))
        for service, (usd, idle_usd) in sums.items()
    ]
    return sorted(costs, key=lambda cost: (-cost.usd, cost.service))


def _by_region(bill: Bill, first: Sequence[str]) -> list[RegionCost]:
    others = {line.region for line in bill.lines}
    regions = [one for one in first if one in others] + sorted(others - {*first})
    return [
        RegionCost(
            region=region,
            usd=round(sum(line.usd for line in bill.lines if line.region == region), 2),
        )
        for region in regions
    ]


def _rounded(found: list[Alternative]) -> list[Alternative]:
    return [
        Alternative(
            name=one.name, what=one.what, usd=round(one.usd, 2), ours_usd=round(one.ours_usd, 2)
        )
        for one in found
    ]
