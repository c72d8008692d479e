"""Thumbnails that people choose: a frame of the video, or a picture that they upload.

A video has one item that tells of the last request; whoever asks later wins, also over a request
that a worker finishes late. It is written together with the event that asks workers for the
picture, so that a request always has a job, which is repeated until it is done or given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import WireItem, from_item, to_item
from media_platform.contract.video import Failure

MAX_PICTURE_BYTES = 10 * 1024**2
"""Largest picture that may be uploaded."""

PICTURE_TYPES: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp")
"""Content types of pictures that may be uploaded; what a file is, its bytes tell."""


class ThumbnailStatus(StrEnum):
    """Where the last request stands."""

    NONE = "NONE"
    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """The last request for a thumbnail of a video.

    Attributes:
        video_id: The video.
        thumbnail_id: Id of the request, part of the key of the picture; later ones sort behind.
        status: Where it stands. ``NONE``: the poster was asked for.
        requested_by: User who asked.
        requested_at: Time of the request (RFC 3339, UTC).
        at_seconds: Second of the video whose frame it is, if it is one.
        upload_id: Id of the picture that was uploaded, if it is one.
        finished_at: Time at which it was made or given up.
        failures: Transient failures so far.
        failure: Why it was given up, if it was.
    """

    video_id: str
    thumbnail_id: str
    status: ThumbnailStatus
    requested_by: str
    requested_at: str
    at_seconds: float | None = None
    upload_id: str | None = None
    finished_at: str | None = None
    failures: int = 0
    failure: Failure | None = None

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values["status"] = ThumbnailStatus(values["status"])
        if values.get("failure"):
            failure = values["failure"]
            values["failure"] = Failure(**{f.name: failure[f.name] for f in fields(Failure)})
        return cls(**values)

    def to_item(self) -> WireItem:
        """Return the wire item."""
        key = table.thumbnail_key(self.video_id)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})
