"""What a tenant uses, and what it may use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from typing import Any

from media_api.problems import Kind, Problem
from media_platform.contract import table
from media_platform.contract.items import TransactItem
from media_platform.contract.tenant import note_tenant
from media_platform.contract.times import timestamp
from media_platform.contract.usage import Quota, Usage, usage_update

_WHAT = {
    "videos": ("videos", "delete videos that nobody needs"),
    "stored_bytes": ("bytes of files", "delete videos that nobody needs"),
    "uploads": ("uploads at a time", "finish or abort uploads that are under way"),
}


@dataclass(frozen=True, kw_only=True)
class TenantUsage:
    """What a tenant uses, and what it may use.

    Attributes:
        tenant: The tenant.
        quota: What it may use in all regions together.
        here: What it uses in this region.
        elsewhere: What it uses in the others.
    """

    tenant: str
    quota: Quota
    here: Usage
    elsewhere: Usage

    @property
    def used(self) -> Usage:
        """What it uses in all regions together."""
        return self.here + self.elsewhere

    @property
    def within(self) -> Quota:
        """What it may use in this region: what the others leave."""
        return Quota(
            **{f.name: getattr(self.quota, f.name) - getattr(self.elsewhere, f.name) for f in _ALL}
        )

    def refusal(self, more: Usage) -> Problem | None:
        """Return why ``more`` cannot be used, ``None`` if it can."""
        used = self.used
        for name, (what, remedy) in _WHAT.items():
            limit, asked = getattr(self.quota, name), getattr(more, name)
            if asked and getattr(used, name) + asked > limit:
                return Problem(
                    Kind.QUOTA_EXCEEDED,
                    f"the tenant {self.tenant} has {getattr(used, name)} {what}, and {asked} more "
                    f"would exceed the {limit} that it may have; {remedy}, or ask an operator for "
                    "a larger quota",
                    exceeded={"name": name, "used": getattr(used, name), "limit": limit},
                )
        return None


_ALL = fields(Quota)


class Quotas:
    """Quotas and use of all tenants.

    Args:
        client: A DynamoDB client of the home region.
        table_name: The table.
        region: Region whose use is counted here.
        default: What a tenant may use for which nothing else was set.
    """

    def __init__(self, client: Any, table_name: str, *, region: str, default: Quota) -> None:
        self._client = client
        self._table_name = table_name
        self._region = region
        self._default = default

    async def of(self, tenant: str) -> TenantUsage:
        """Return what a tenant uses and may use, as the last writes of this region left it."""
        quota, counted = await asyncio.gather(
            self._client.get_item(
                TableName=self._table_name, Key=table.quota_key(tenant).to_wire()
            ),
            self._client.query(
                TableName=self._table_name,
                KeyConditionExpression="#pk = :pk AND begins_with(#sk, :start)",
                ExpressionAttributeNames={"#pk": table.PARTITION_KEY, "#sk": table.SORT_KEY},
                ExpressionAttributeValues={
                    ":pk": {"S": table.quota_key(tenant).pk},
                    ":start": {"S": table.USAGE_PREFIX},
                },
                ConsistentRead=True,
            ),
        )
        own = table.usage_key(tenant, self._region).sk
        here, elsewhere = Usage(), Usage()
        for item in counted["Items"]:
            usage = Usage.from_item(item)
            if item[table.SORT_KEY]["S"] == own:
                here = usage
            else:
                elsewhere += usage
        return TenantUsage(
            tenant=tenant,
            quota=Quota.from_item(quota.get("Item"), self._default),
            here=here,
            elsewhere=elsewhere,
        )

    def take(self, usage: TenantUsage, more: Usage) -> list[TransactItem]:
        """Return the writes that use ``more``, which fail if the quota does not allow it.

        The first video of a tenant makes it listable.
        """
        taken = usage_update(
            self._table_name,
            tenant=usage.tenant,
            region=self._region,
            more=more,
            within=usage.within,
        )
        if usage.used.videos:
            return [taken]
        seen = note_tenant(self._table_name, usage.tenant, seen_at=timestamp())
        return [taken, {"Update": seen}]
