"""Views: how often playback of a video was granted, in counters by region and shard.

Whoever removes a video for good removes :func:`view_keys` of it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from media_platform.contract import table
from media_platform.contract.items import TransactItem, from_item, to_wire

_VIEWS = "views"


def view_keys(video_id: str, regions: Iterable[str]) -> list[table.Key]:
    """Return the keys of all counters of a video; most of them may not be there."""
    return [
        table.view_counter_key(video_id, region, number)
        for region in regions
        for number in range(table.SHARDS)
    ]


def view_update(
    table_name: str, video_id: str, *, region: str, number: int, views: int
) -> TransactItem:
    """Add to a counter, as a part of a transaction.

    Args:
        table_name: The table.
        video_id: The video.
        region: Region that counts; it writes its own counters only.
        number: The shard, from 0.
        views: Views more.
    """
    return {
        "Update": {
            "TableName": table_name,
            "Key": table.view_counter_key(video_id, region, number).to_wire(),
            "UpdateExpression": "ADD #views :views",
            "ExpressionAttributeNames": {"#views": _VIEWS},
            "ExpressionAttributeValues": {":views": to_wire(views)},
        }
    }


def views_of(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return what a counter counted."""
    return int(from_item(item)[_VIEWS])
