"""A video as tests begin with one."""

from __future__ import annotations

from typing import Any

from media_platform.contract.ids import new_id
from media_platform.contract.video import Video


def sample_video(**changes: Any) -> Video:
    """Return a new video.

    Args:
        **changes: Fields with other values than those of the sample.
    """
    values: dict[str, Any] = {
        "video_id": new_id(),
        "tenant": "acme",
        "owner": "ada",
        "home_region": "eu-central-1",
        "title": "Title",
        "file_name": "a.mp4",
        "content_type": "video/mp4",
        "size_bytes": 1,
        "raw_key": "raw/acme/ada/x.mp4",
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
    }
    return Video(**{**values, **changes})
