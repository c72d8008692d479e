"""What is to be purged: runs and thumbnails that were replaced or given up, and deleted videos.

Viewers of today keep a run that was replaced for a while, and a deleted video may be restored for a
while. The note is written in the transaction that makes it so, and stands in the index of due work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item
from media_platform.contract.times import timestamp

RESTORE_MARGIN = timedelta(hours=1)
"""Time between the last moment of restoring and the purge.

Until then the restoring that was just in time has come to every region that purges.
"""

TURN_TIME = timedelta(minutes=5)
"""Longest time that a region takes for one turn over what is due."""

GIVEN_UP_TIME = timedelta(hours=1)
"""Time after which is purged what no viewer had: until then, whoever worked on it is gone."""

REPLACED_THUMBNAIL_TIME = timedelta(days=1)
"""Time after which a thumbnail is purged that was replaced: pages of today still show it."""


@dataclass(frozen=True, kw_only=True)
class Purge:
    """A run or a video whose objects and items are to go.

    Attributes:
        video_id: The video.
        run_id: The run, or the thumbnail, whose objects lie as those of a run do. Default: the
            whole video.
        tenant: Tenant of the video.
        region: Home region of the video; part of the keys of its objects.
        due_at: Time from which on they may go (RFC 3339, UTC).
        raw_key: Key of the upload of a video whose items go at once, and not only when every region
            had its time: the note then says all that other regions need. Default: they stay.
        former_regions: Other regions that were home to the video, under which objects of it may
            lie. Default: none.
    """

    video_id: str
    run_id: str | None = None
    tenant: str
    region: str
    due_at: str
    raw_key: str | None = None
    former_regions: tuple[str, ...] | None = None

    @classmethod
    def after(
        cls,
        time: timedelta,
        *,
        video_id: str,
        tenant: str,
        region: str,
        run_id: str | None = None,
        raw_key: str | None = None,
        former_regions: tuple[str, ...] | None = None,
    ) -> Self:
        """Return the note of what may go after some time from now.

        Args:
            time: The time.
            video_id: The video.
            tenant: Its tenant.
            region: Its home region.
            run_id: The run. Default: the whole video.
            raw_key: Key of the upload, if the items go at once.
            former_regions: Other regions that were home to the video, if the items go at once.
        """
        due = datetime.now(UTC) + time
        return cls(
            video_id=video_id,
            run_id=run_id,
            tenant=tenant,
            region=region,
            due_at=timestamp(due),
            raw_key=raw_key,
            former_regions=former_regions,
        )

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        if values.get("former_regions") is not None:
            values["former_regions"] = tuple(values["former_regions"])
        return cls(**values)

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

    def put(self, table_name: str) -> TransactItem:
        """Return the write of the note, as a part of a transaction."""
        return {"Put": {"TableName": table_name, "Item": self.to_item()}}


def drop_purge(table_name: str, video_id: str) -> TransactItem:
    """Return the write that takes back the purge of a video, as a part of a transaction."""
    return {
        "Delete": {"TableName": table_name, "Key": table.purge_key(video_id).to_wire()},
    }
