"""Tenants: which there are, what they use and may use, and who may take an administrator away."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from media_api.aws import error_code
from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.tenant import Tenant, note_tenant
from media_platform.contract.times import timestamp
from media_platform.contract.usage import Quota, Usage

LEASE_SECONDS = 30
"""Time after which the lease of a process that died is free; no work under it takes half of it."""

_PAGE = 1000
_READS = 16
"""Tenants that are read at a time."""

_LEASE_ATTEMPTS = 8
_LEASE_PAUSE_SECONDS = 0.05


class AdminsBusyError(Exception):
    """Another request takes an administrator from the tenant."""


@dataclass(frozen=True)
class TenantUse:
    """What a tenant uses.

    Attributes:
        usage: In each region.
        quota: What was set for it, if anything was; the stage has a default.
    """

    usage: dict[str, Usage]
    quota: Quota | None

    @property
    def total(self) -> Usage:
        """What it uses in all regions."""
        return sum(self.usage.values(), Usage())


@dataclass(frozen=True)
class TenantPage:
    """A page of tenants.

    Attributes:
        tenants: The tenants, by name.
        last: The last one, if there may be more.
    """

    tenants: list[Tenant]
    last: str | None


class Tenants:
    """The tenants in the table.

    Args:
        client: A DynamoDB client.
        table_name: The table.

    Attributes:
        table_name: The table.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self.table_name = table_name

    async def note(self, tenant: str) -> None:
        """Make a tenant listable; once more changes nothing."""
        await self._client.update_item(**note_tenant(self.table_name, tenant, seen_at=timestamp()))

    async def get(self, tenant: str) -> Tenant | None:
        """Return a tenant, or ``None`` if it was never met."""
        answer = await self._client.get_item(
            TableName=self.table_name,
            Key=table.tenant_key(tenant).to_wire(),
            ConsistentRead=True,
        )
        item = answer.get("Item")
        return Tenant.from_item(item) if item else None

    async def page(self, *, limit: int, after: str | None) -> TenantPage:
        """Return a page of all tenants, by name.

        Args:
            limit: Most tenants of the page.
            after: Tenant behind which the page starts. Default: the first.
        """
        index, partition = table.DIRECTORY, {"S": table.tenant_directory()}
        query: dict[str, Any] = {
            "TableName": self.table_name,
            "IndexName": index.name,
            "KeyConditionExpression": "#partition = :partition",
            "ExpressionAttributeNames": {"#partition": index.partition_key},
            "ExpressionAttributeValues": {":partition": partition},
            "Limit": limit,
        }
        if after is not None:
            query["ExclusiveStartKey"] = {
                **table.tenant_key(after).to_wire(),
                index.partition_key: partition,
            }
        answer = await self._client.query(**query)
        tenants = [Tenant.from_item(item) for item in answer["Items"]]
        more = "LastEvaluatedKey" in answer and bool(tenants)
        return TenantPage(tenants, tenants[-1].name if more else None)

    async def usage(self, tenant: str) -> dict[str, Usage]:
        """Return what a tenant uses, by region."""
        answer = await self._client.query(
            TableName=self.table_name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={
                ":pk": {"S": table.tenant_key(tenant).pk},
                ":prefix": {"S": table.USAGE_PREFIX},
            },
            ConsistentRead=True,
        )
        usage: dict[str, Usage] = {}
        for item in answer["Items"]:
            # A region has one item, and a few more for what is added to more often.
            region = item[table.SORT_KEY]["S"].removeprefix(table.USAGE_PREFIX).partition("#")[0]
            usage[region] = usage.get(region, Usage()) + Usage.from_item(item)
        return usage

    async def total(self) -> tuple[int, Usage]:
        """Return how many tenants there are, and what they use together, each read once."""
        at_a_time = asyncio.Semaphore(_READS)

        async def read(tenant: Tenant) -> Usage:
            async with at_a_time:
                return sum((await self.usage(tenant.name)).values(), Usage())

        tenants, total, last = 0, Usage(), None
        while True:
            page = await self.page(limit=_PAGE, after=last)
            total = sum(await asyncio.gather(*map(read, page.tenants)), total)
            tenants += len(page.tenants)
            last = page.last
            if last is None:
                return tenants, total

    async def use(self, tenant: str) -> TenantUse:
        """Return what a tenant uses and may use."""
        usage, stored = await asyncio.gather(
            self.usage(tenant),
            self._client.get_item(
                TableName=self.table_name,
                Key=table.quota_key(tenant).to_wire(),
                ConsistentRead=True,
            ),
        )
        item = stored.get("Item")
        quota = Quota.from_item(item, Quota(videos=0, stored_bytes=0, uploads=0)) if item else None
        return TenantUse(usage, quota)

    async def put_quota(self, tenant: str, quota: Quota, *writes: dict[str, Any]) -> None:
        """Set what a tenant may use, together with ``writes``."""
        await self.note(tenant)
        await self._client.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": self.table_name, "Item": quota.to_item(tenant)}},
                *writes,
            ]
        )

    @asynccontextmanager
    async def admins_held(self, tenant: str) -> AsyncIterator[None]:
        """Keep others from taking an administrator from a tenant.

        Two administrators who remove each other at a time would leave none; the pool has no
        conditions, hence a lease in the table.

        Raises:
            AdminsBusyError: If another request holds it for too long.
        """
        holder = new_id()
        for attempt in range(_LEASE_ATTEMPTS):
            if attempt:
                pause = _LEASE_PAUSE_SECONDS * 2**attempt * (0.5 + random.random() / 2)  # noqa: S311
                await asyncio.sleep(pause)
            if await self._take_lease(tenant, holder):
                break
        else:
            raise AdminsBusyError(tenant)
        try:
            yield
        finally:
            with contextlib.suppress(ClientError):
                await self._client.update_item(
                    TableName=self.table_name,
                    Key=table.tenant_admins_key(tenant).to_wire(),
                    UpdateExpression="REMOVE holder, held_until",
                    ConditionExpression="holder = :holder",
                    ExpressionAttributeValues={":holder": {"S": holder}},
                )

    async def _take_lease(self, tenant: str, holder: str) -> bool:
        now = int(time.time())
        try:
            await self._client.update_item(
                TableName=self.table_name,
                Key=table.tenant_admins_key(tenant).to_wire(),
                UpdateExpression="SET holder = :holder, held_until = :until",
                ConditionExpression=(
                    "attribute_not_exists(held_until) OR held_until < :now OR holder = :holder"
                ),
                ExpressionAttributeValues={
                    ":holder": {"S": holder},
                    ":until": {"N": str(now + LEASE_SECONDS)},
                    ":now": {"N": str(now)},
                },
            )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True
