"""What a tenant uses, and how much it may use.

A tenant's use is counted in the region that is home to its videos, one item a region, since a
condition on an item holds in one region only; views alone are spread over shards, as more than one
process adds to them. What other regions count is read and taken off the
limit, so a limit is exact within a region and follows the others by seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item, to_wire


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a tenant uses in one region.

    Attributes:
        videos: Videos that are not purged.
        stored_bytes: Bytes of their files, as declared.
        uploads: Videos whose file is still to come: those that are PENDING.
        ready: Those that are READY.
        failed: Those that are FAILED.
        deleted: Those that are DELETED.
        views: Playbacks that were granted, of purged videos, too.
    """

    videos: int = 0
    stored_bytes: int = 0
    uploads: int = 0
    ready: int = 0
    failed: int = 0
    deleted: int = 0
    views: int = 0

    @property
    def in_flight(self) -> int:
        """Videos that wait for a worker or are transcoded: the rest, which needs no counter."""
        return self.videos - self.uploads - self.ready - self.failed - self.deleted

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        return cls(**{f.name: stored[f.name] for f in fields(cls) if f.name in stored})

    def __add__(self, other: Usage) -> Usage:
        """Return the use of two regions together."""
        return Usage(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)}
        )


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How much a tenant may use; the fields are among those of :class:`Usage`.

    Attributes:
        videos: Most videos.
        stored_bytes: Most bytes.
        uploads: Most uploads at a time.
    """

    videos: int
    stored_bytes: int
    uploads: int

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]] | None, default: Quota) -> Quota:
        """Read what was set for a tenant; what was not is as ``default`` says."""
        stored = from_item(item or {})
        return cls(**{f.name: stored.get(f.name, getattr(default, f.name)) for f in fields(cls)})

    def to_item(self, tenant: str) -> WireItem:
        """Return the wire item of the quota of a tenant."""
        key = table.quota_key(tenant)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})


def usage_update(
    table_name: str,
    *,
    tenant: str,
    region: str,
    more: Usage,
    number: int | None = None,
    within: Quota | None = None,
) -> TransactItem:
    """Add to the use of a tenant in a region, as a part of a transaction.

    Args:
        table_name: The table.
        tenant: The tenant.
        region: Home region of the video for which it is done.
        more: How much more, or less where negative; not all of it is 0.
        number: The shard, of views. Default: the item of everything else.
        within: What this region may use at most; what grows must stay within it, or the whole
            transaction fails. Default: anything.
    """
    amounts = {name: amount for name, amount in asdict(more).items() if amount}
    names = {f"#{name}": name for name in amounts}
    values = {f":{name}": to_wire(amount) for name, amount in amounts.items()}
    update: dict[str, Any] = {
        "TableName": table_name,
        "Key": table.usage_key(tenant, region, number).to_wire(),
        "UpdateExpression": "ADD " + ", ".join(f"#{name} :{name}" for name in amounts),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
    if within is not None:
        conditions = []
        for name, amount in amounts.items():
            # Conditions know no sums, hence the room that must be left before.
            room = getattr(within, name) - amount
            values[f":room_{name}"] = to_wire(room)
            fits = f"#{name} <= :room_{name}"
            conditions.append(f"(attribute_not_exists(#{name}) OR {fits})" if room >= 0 else fits)
        update["ConditionExpression"] = " AND ".join(conditions)
    return {"Update": update}
