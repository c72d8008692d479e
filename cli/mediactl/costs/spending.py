"""What transcoding took, as workers wrote it down, and what that costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract import table
from media_platform.contract.outputs import StackPart, StoreOutput, stack_name
from media_platform.contract.run import RunStatus
from media_platform.contract.spend import Spend
from media_platform.contract.tenant import Tenant
from media_platform.contract.video import VideoStatus
from mediactl.asking import MissingRegion, ask_regions
from mediactl.environment import Environment
from mediactl.errors import LostRegionError
from mediactl.pricing.book import PriceBook
from mediactl.pricing.template import Stage, TaskService

_DEFAULT_CPUS, _DEFAULT_GB = 4.0, 8.0
_DEFAULT_SPOT = 0.8
_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class WorkerPrice:
    """What an hour of a virtual CPU of a worker costs, with the memory that comes with it.

    Attributes:
        region: Region of the workers.
        usd_per_cpu_hour: US dollars.
        gb_per_cpu: GB of memory for a virtual CPU.
        spot_share: Share of the tasks on Spot.
        deployed: Whether that was read from what is deployed; else it is the default.
    """

    region: str
    usd_per_cpu_hour: float
    gb_per_cpu: float
    spot_share: float
    deployed: bool


@dataclass(frozen=True, kw_only=True)
class SpendingRow:
    """What something took.

    Attributes:
        by: Id of the video, name of the tenant, or the day on which runs began.
        tenant: The tenant; of a day ``None``.
        runs: Runs, failed and cancelled ones among them.
        running: Those of them that go on, or whose end nobody told; they count with what is
            expected.
        video_minutes: Minutes of video that became READY.
        cpu_hours: Hours of a virtual CPU that worked.
        gb_in: GB of uploads that workers read.
        gb_out: GB that they wrote.
        usd: What the work cost, in US dollars.
        usd_per_minute: The same for a minute of video; ``None`` where none became READY.
        storage_usd: What a month of what was written costs.
    """

    by: str
    tenant: str | None
    runs: int
    running: int
    video_minutes: float
    cpu_hours: float
    gb_in: float
    gb_out: float
    usd: float
    usd_per_minute: float | None
    storage_usd: float


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What transcoding took since a day.

    Attributes:
        since: The first day.
        by: What rows are about.
        rows: What each took, dearest first; days in their order.
        total: All together.
        unknown_videos: READY videos of the time whose run was not written down: it was made by an
            older version.
        prices: What work costs, by region.
        missing_regions: Regions of which not all may be known.
    """

    since: str
    by: str
    rows: list[SpendingRow]
    total: SpendingRow
    unknown_videos: int
    prices: list[WorkerPrice]
    missing_regions: list[MissingRegion] = field(default_factory=list)


class SpendingStore:
    """Reads what runs took, in the first region that answers: what others' runs took is copied.

    Args:
        environment: The stage.

    Raises:
        CommandError: If no region is deployed as a whole.
    """

    def __init__(self, environment: Environment) -> None:
        def table_name(region: str) -> str:
            # Where no workers are, nothing is written down.
            environment.outputs(StackPart.MEDIA, region)
            return environment.output(StoreOutput.TABLE_NAME, region)

        found = ask_regions(environment, environment.regions, table_name)
        self.region, self.table_name = next(iter(found.by_region.items()))
        self.missing = found.missing
        self.dynamodb = environment.client("dynamodb", self.region)

    def tenants(self) -> list[str]:
        """Return the names of all tenants."""
        items = self._query(
            IndexName=table.DIRECTORY.name,
            KeyConditionExpression="#directory = :directory",
            ExpressionAttributeNames={"#directory": table.DIRECTORY.partition_key},
            ExpressionAttributeValues={":directory": {"S": table.tenant_directory()}},
        )
        return sorted(Tenant.from_item(item).name for item in items)

    def spends(self, tenant: str, since: str) -> Iterator[Spend]:
        """Yield what the runs of a tenant took, oldest day first."""
        for item in self._query(
            KeyConditionExpression="pk = :pk AND sk >= :since",
            FilterExpression="attribute_exists(run_id)",
            ExpressionAttributeValues={
                ":pk": {"S": table.spend_partition(tenant)},
                ":since": {"S": since},
            },
        ):
            yield Spend.from_item(item)

    def ready_runs(self, tenant: str, since: str) -> Iterator[str]:
        """Yield the current runs of the videos of a tenant that became READY since a day."""
        for partition in (table.tenant_videos(tenant), table.tenant_private_videos(tenant)):
            for item in self._query(
                IndexName=table.TENANT_VIDEOS.name,
                KeyConditionExpression="#tenant = :tenant",
                FilterExpression="#status = :ready AND ready_at >= :since",
                ProjectionExpression="current_run",
                ExpressionAttributeNames={
                    "#tenant": table.TENANT_VIDEOS.partition_key,
                    "#status": "status",
                },
                ExpressionAttributeValues={
                    ":tenant": {"S": partition},
                    ":ready": {"S": VideoStatus.READY.value},
                    ":since": {"S": since},
                },
            ):
                yield str(item["current_run"]["S"])

    def query(self, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the items that a query finds, on all of its pages."""
        for page in self.dynamodb.get_paginator("query").paginate(**arguments):
            yield from page["Items"]

    def _query(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        return self.query({"TableName": self.table_name, **arguments})


class WorkerPrices:
    """What work costs in each region, by the workers that are deployed there.

    Args:
        environment: The stage.
        book: Prices.
    """

    def __init__(self, environment: Environment, book: PriceBook) -> None:
        self._environment = environment
        self._book = book
        self._known: dict[str, WorkerPrice] = {}

    def of(self, region: str) -> WorkerPrice:
        """Return what an hour of a virtual CPU costs in a region."""
        if region not in self._known:
            self._known[region] = worker_price(self._book, region, self.worker(region))
        return self._known[region]

    @property
    def used(self) -> list[WorkerPrice]:
        """The prices that were asked for, by region."""
        return [self._known[region] for region in sorted(self._known)]

    def worker(self, region: str) -> TaskService | None:
        """Return the workers that are deployed, ``None`` if that cannot be read."""
        name = stack_name(self._environment.stage, StackPart.MEDIA)
        try:
            client = self._environment.client("cloudformation", region)
            body = client.get_template(StackName=name)["TemplateBody"]
        except (BotoCoreError, ClientError, LostRegionError):
            return None
        template = json.loads(body) if isinstance(body, str) else body
        return Stage.of_template(name, region, template).worker


def worker_price(book: PriceBook, region: str, worker: TaskService | None) -> WorkerPrice:
    """Return what an hour of a virtual CPU of workers costs.

    Args:
        book: Prices.
        region: Their region.
        worker: Their service. Default: four processors and 8 GB on ARM, four fifths of them Spot.
    """
    cpus, gb = (_DEFAULT_CPUS, _DEFAULT_GB) if worker is None else (worker.cpus, worker.gb)
    spot = _DEFAULT_SPOT if worker is None else worker.spot
    kind = "arm" if worker is None or worker.arm else "x86"
    full = book.price(f"fargate-{kind}-vcpu", region).usd
    full += gb / cpus * book.price(f"fargate-{kind}-gb", region).usd
    paid = 1 - spot + spot * book.price("fargate-spot-share", region).usd
    return WorkerPrice(
        region=region,
        usd_per_cpu_hour=round(full * paid, 6),
        gb_per_cpu=gb / cpus,
        spot_share=spot,
        deployed=worker is not None,
    )


def read_spending(
    store: SpendingStore,
    prices: WorkerPrices,
    book: PriceBook,
    *,
    since: str,
    by: str,
    tenants: Iterable[str],
) -> Spending:
    """Return what transcoding took.

    Args:
        store: Where it stands.
        prices: What work costs.
        book: Prices of storage.
        since: First day (``2026-11-26``).
        by: What is summed up: ``video``, ``tenant`` or ``day``.
        tenants: Whose videos count.
    """
    spends: list[Spend] = []
    unknown = 0
    for tenant in tenants:
        of_tenant = list(store.spends(tenant, since))
        known = {spend.run_id for spend in of_tenant}
        unknown += sum(run not in known for run in store.ready_runs(tenant, since))
        spends += of_tenant
    sums = Sums(prices, book)
    rows = [sums.row(key, group) for key, group in _grouped(spends, by).items()]
    rows.sort(key=lambda row: (0.0 if by == "day" else -row.usd, row.by))
    total = sums.row("all", spends)
    return Spending(
        since=since,
        by=by,
        rows=rows,
        total=total,
        unknown_videos=unknown,
        prices=prices.used,
        missing_regions=store.missing,
    )


@dataclass(frozen=True)
class Sums:
    """Adds up what runs took.

    Attributes:
        prices: What work costs.
        book: Prices of storage.
    """

    prices: WorkerPrices
    book: PriceBook

    def row(self, key: str, spends: list[Spend]) -> SpendingRow:
        """Return the sum of some runs."""
        usd = sum(
            one.cpu_seconds / 3600 * self.prices.of(one.region).usd_per_cpu_hour for one in spends
        )
        storage = sum(
            one.bytes_out / _GB * self.book.price("s3-standard", one.region).usd for one in spends
        )
        done = [one for one in spends if one.status is RunStatus.COMPLETE]
        minutes = sum(one.video_seconds or 0 for one in done) / 60
        tenants = {one.tenant for one in spends}
        return SpendingRow(
            by=key,
            tenant=tenants.pop() if len(tenants) == 1 else None,
            runs=len(spends),
            running=sum(one.status is RunStatus.RUNNING for one in spends),
            video_minutes=round(minutes, 3),
            cpu_hours=round(sum(one.cpu_seconds for one in spends) / 3600, 4),
            gb_in=round(sum(one.bytes_in for one in spends) / _GB, 4),
            gb_out=round(sum(one.bytes_out for one in spends) / _GB, 4),
            usd=round(usd, 6),
            usd_per_minute=round(usd / minutes, 6) if minutes else None,
            storage_usd=round(storage, 6),
        )


def _grouped(spends: Iterable[Spend], by: str) -> Mapping[str, list[Spend]]:
    groups: dict[str, list[Spend]] = {}
    for spend in spends:
        key = {"video": spend.video_id, "tenant": spend.tenant, "day": spend.day}[by]
        groups.setdefault(key, []).append(spend)
    return groups
