"""Files that a tenant has already: guards by checksum, and who may know of them.

The first video with some content is found by its *guards*: one under which everybody of the tenant
looks, and one of its owner alone. A video that its tenant shares stands under both, a PRIVATE one
under that of its owner, so that nobody learns from a refusal what another keeps to himself. Guards
are written in the transaction that takes a file in, on the condition that they are as they were
read: of equal files that arrive together one is first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from media_platform.contract import table
from media_platform.contract.items import TransactItem, from_item, to_item
from media_platform.contract.video import Video, VideoStatus, Visibility

_VIDEO_ID = "video_id"
_NOT_THERE = frozenset({VideoStatus.PENDING, VideoStatus.FAILED, VideoStatus.DELETED})


def guard_keys(tenant: str, owner: str, checksum: str, size_bytes: int) -> tuple[table.Key, ...]:
    """Return the keys under which a user finds a video with some content.

    Args:
        tenant: Tenant of the user.
        owner: The user.
        checksum: SHA-256 as S3 writes it; a composite one of an upload in parts counts, too.
        size_bytes: Size of the content.
    """
    return (
        table.duplicate_guard_key(tenant, checksum, size_bytes),
        table.duplicate_guard_key(tenant, checksum, size_bytes, owner=owner),
    )


def guarded_video(item: Mapping[str, Mapping[str, Any]] | None) -> str | None:
    """Return the video that a guard names, ``None`` if there is no guard."""
    return str(from_item(item)[_VIDEO_ID]) if item else None


def stands_for(other: Video | None, *, tenant: str, owner: str) -> bool:
    """Tell whether a user may be referred to a video instead of adding another with its content.

    Args:
        other: The video that a guard names, if it exists.
        tenant: Tenant of the user.
        owner: The user.
    """
    return (
        other is not None
        and other.tenant == tenant
        and other.status not in _NOT_THERE
        and (other.visibility is not Visibility.PRIVATE or other.owner == owner)
    )


def guard_writes(
    table_name: str, video: Video, checksum: str, seen: Mapping[table.Key, str | None]
) -> list[TransactItem]:
    """Return the writes that let a video guard its content, as a part of a transaction.

    Args:
        table_name: The table.
        video: The video.
        checksum: SHA-256 of its content as S3 writes it.
        seen: The guards that it may replace, with the video that each named when it was read. The
            transaction fails if one of them was changed since.
    """
    shared, own = guard_keys(video.tenant, video.owner, checksum, video.size_bytes)
    wanted = (own,) if video.visibility is Visibility.PRIVATE else (shared, own)
    return [_put(table_name, key, video.video_id, seen[key]) for key in wanted if key in seen]


def _put(table_name: str, key: table.Key, video_id: str, before: str | None) -> TransactItem:
    item = to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, _VIDEO_ID: video_id})
    put: dict[str, Any] = {"TableName": table_name, "Item": item}
    if before is None:
        put["ConditionExpression"] = f"attribute_not_exists({table.PARTITION_KEY})"
    else:
        put["ConditionExpression"] = f"{_VIDEO_ID} = :before"
        put["ExpressionAttributeValues"] = {":before": {"S": before}}
    return {"Put": put}
