"""What transcoding takes: one item for each run, which stays when the run is purged.

It is written when the run is planned, with what is expected, and again in the transaction that ends
the run, with what all workers told, those that were interrupted among them. So a repeat of either
changes nothing, and a run that never ended shows by its status. Items stand by tenant and day, the
day on which the first worker took the run, so that a day is one query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item
from media_platform.contract.run import DOWNLOAD_PREFIX, Part, Run, RunStatus

KEPT = timedelta(days=400)
"""Time for which it is known what a run took."""

CPU_SECONDS_PER_MEGAPIXEL = 0.029
"""Processor time that a million pixels of output take, everything else that workers do in it: 84
seconds for 32 of 1080p at 25 frames a second, into four renditions. On a newer processor it was
0.019.
"""


@dataclass(frozen=True, kw_only=True)
class Spend:
    """What a run took.

    Attributes:
        tenant: Tenant of the video.
        video_id: The video.
        run_id: The run.
        region: Region whose workers made it.
        day: Day on which the first worker took it (``2026-11-26``, UTC).
        status: Where the run stands; of one that goes on, ``cpu_seconds`` is what is expected.
        cpu_seconds: Processor time.
        bytes_in: Bytes read of the upload.
        bytes_out: Bytes written.
        video_seconds: Length of the video, once known.
    """

    tenant: str
    video_id: str
    run_id: str
    region: str
    day: str
    status: RunStatus
    cpu_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    video_seconds: float | None = None

    @classmethod
    def expected(cls, run: Run, *, tenant: str, region: str, megapixels: float) -> Self:
        """Return what a run that was planned will take.

        Args:
            run: The run.
            tenant: Tenant of the video.
            region: Region whose workers make it.
            megapixels: Millions of pixels of all frames of all renditions.
        """
        return cls(
            tenant=tenant,
            video_id=run.video_id,
            run_id=run.run_id,
            region=region,
            day=run.started_at[:10],
            status=run.status,
            cpu_seconds=round(megapixels * CPU_SECONDS_PER_MEGAPIXEL, 3),
            video_seconds=run.duration_seconds,
        )

    def ended(self, status: RunStatus, parts: Iterable[Part]) -> Self:
        """Return what it took in the end, over all attempts at all of its parts.

        Args:
            status: How it ended.
            parts: All parts of the run; downloads, which are made later, do not count.
        """
        counted = [part for part in parts if not part.name.startswith(DOWNLOAD_PREFIX)]
        return replace(
            self,
            status=status,
            cpu_seconds=round(sum(part.cpu_seconds for part in counted), 3),
            bytes_in=sum(part.bytes_in for part in counted),
            bytes_out=sum(part.bytes_out for part in counted),
        )

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        return cls(**{**values, "status": RunStatus(values["status"])})

    def to_item(self) -> WireItem:
        """Return the wire item, which vanishes after :data:`KEPT`."""
        key = table.spend_key(self.tenant, self.day, self.video_id, self.run_id)
        until = datetime.fromisoformat(f"{self.day}T00:00:00+00:00") + KEPT
        return to_item(
            {
                table.PARTITION_KEY: key.pk,
                table.SORT_KEY: key.sk,
                table.TTL_ATTRIBUTE: int(until.timestamp()),
                **asdict(self),
            }
        )

    def put(self, table_name: str) -> TransactItem:
        """Return what writes it, as a part of a transaction."""
        return {"Put": {"TableName": table_name, "Item": self.to_item()}}
