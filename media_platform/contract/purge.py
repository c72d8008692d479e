"""Runs that were replaced: viewers of today keep them for a while, then they are purged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import WireItem, from_item, to_item


@dataclass(frozen=True, kw_only=True)
class Purge:
    """A run whose objects and items are to go; written in the transaction that replaces the run.

    Attributes:
        video_id: The video.
        run_id: The run.
        tenant: Tenant of the video.
        region: Home region of the video; part of the keys of the run's objects.
        due_at: Time from which on they may go (RFC 3339, UTC).
    """

    video_id: str
    run_id: str
    tenant: str
    region: str
    due_at: str

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        return cls(**{field.name: stored[field.name] for field in fields(cls)})

    def to_item(self) -> WireItem:
        """Return the wire item, which stands in the index of due work."""
        key = table.purge_key(self.video_id, self.run_id)
        return to_item(
            {
                table.PARTITION_KEY: key.pk,
                table.SORT_KEY: key.sk,
                table.DUE.partition_key: table.due_purges(self.video_id),
                **asdict(self),
            }
        )
