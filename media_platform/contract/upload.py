"""The upload of a video's file: how it is cut, how long it may take, and how it is stored.

Up to :data:`SINGLE_PUT_MAX_BYTES` a file is one PUT, above it is a multipart upload. The session is
written in the transaction that creates the video, and goes in the one that takes the file in; until
then it stands in the index of due work, so that an upload that nobody finished is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item
from media_platform.contract.times import timestamp

SINGLE_PUT_MAX_BYTES = 100 * 1000**2
"""Largest file that is uploaded with one PUT, 100 MB.

Source: Amazon S3 User Guide, "Uploading and copying objects using multipart upload": consider it
from 100 MB on.
"""

UPLOAD_MAX_BYTES = 5 * 1024**4
"""Largest file, whatever a stage allows, 5 TiB.

Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits".
"""

PARTS_MAX = 10_000
"""Most parts of an upload (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""

_MEBIBYTE = 1024**2
_SMALLEST_PART = 8 * _MEBIBYTE
_HANDY_PART = 64 * _MEBIBYTE
_HANDY_PARTS = 1000

SINGLE_PUT_TIME = timedelta(days=1)
"""Time in which the URL of one PUT is given again, unless a stage lets URLs live longer."""

MULTIPART_TIME = timedelta(days=6)
"""Time that an upload in parts may take; the raw bucket drops unfinished ones after 7 days."""

SETTLE_TIME = timedelta(hours=1)
"""Time after the end of the last URL in which a request that began before may still end."""

DUE_KIND = "UPLOAD"
"""Kind of due work (``table.due``)."""


class UploadKind(StrEnum):
    """How a file is uploaded."""

    SINGLE = "single"
    MULTIPART = "multipart"


def kind_of(size_bytes: int) -> UploadKind:
    """Return how a file of a size is uploaded."""
    return UploadKind.SINGLE if size_bytes <= SINGLE_PUT_MAX_BYTES else UploadKind.MULTIPART


def part_bytes_of(size_bytes: int) -> int:
    """Return the size of the parts of a file, of which only the last is smaller.

    Whole mebibytes, at least 8: small enough to send one again, and at most 1,000 parts for as long
    as parts stay below 64 MiB. A pure function of the size, since the composite checksums of equal
    files are equal only if both are cut the same way: to change it means that files that were
    uploaded before are not recognized.
    """
    handy = min(_HANDY_PART, _whole_mebibytes(size_bytes, _HANDY_PARTS))
    return max(_SMALLEST_PART, handy, _whole_mebibytes(size_bytes, PARTS_MAX))


def _whole_mebibytes(size_bytes: int, parts: int) -> int:
    return -(-size_bytes // (parts * _MEBIBYTE)) * _MEBIBYTE


@dataclass(frozen=True, kw_only=True)
class UploadSession:
    """An upload that is still to come, or came to nothing and was not cleared yet.

    It says all that is needed to clear it, also once its video is gone.

    Attributes:
        video_id: The video.
        region: Home region of the video.
        raw_key: Key of the file in the raw bucket.
        kind: How it is uploaded.
        size_bytes: Size of the file, as declared.
        open_until: Time until which requests of the upload are signed (RFC 3339, UTC).
        due_at: Time from which on it is looked after, when no request can be under way any more.
        upload_id: S3's id of the upload in parts.
        part_bytes: Size of its parts; the last may be smaller.
        sha256: SHA-256 of the file in base64, if the client gave it for one PUT.
    """

    video_id: str
    region: str
    raw_key: str
    kind: UploadKind
    size_bytes: int
    open_until: str
    due_at: str
    upload_id: str | None = None
    part_bytes: int | None = None
    sha256: str | None = None

    @classmethod
    def begin(
        cls,
        *,
        video_id: str,
        region: str,
        raw_key: str,
        size_bytes: int,
        now: datetime,
        url_time: timedelta,
        upload_id: str | None = None,
        sha256: str | None = None,
    ) -> Self:
        """Return the session of a new video.

        Args:
            video_id: The video.
            region: Its home region.
            raw_key: Key of its file.
            size_bytes: Size of its file.
            now: The present time.
            url_time: Longest life of a URL.
            upload_id: S3's id of the upload, if it is one in parts.
            sha256: SHA-256 of the file in base64, if it is known.
        """
        kind = kind_of(size_bytes)
        multipart = kind is UploadKind.MULTIPART
        open_until = now + (MULTIPART_TIME if multipart else max(SINGLE_PUT_TIME, url_time))
        return cls(
            video_id=video_id,
            region=region,
            raw_key=raw_key,
            kind=kind,
            size_bytes=size_bytes,
            open_until=timestamp(open_until),
            due_at=timestamp(open_until + SETTLE_TIME),
            upload_id=upload_id,
            part_bytes=part_bytes_of(size_bytes) if multipart else None,
            sha256=sha256,
        )

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        return cls(**{**values, "kind": UploadKind(values["kind"])})

    def to_item(self) -> WireItem:
        """Return the wire item, which stands in the index of due work."""
        key = table.upload_key(self.video_id)
        return to_item(
            {
                table.PARTITION_KEY: key.pk,
                table.SORT_KEY: key.sk,
                table.DUE.partition_key: table.due(DUE_KIND, self.region, self.video_id),
                **asdict(self),
            }
        )

    def put(self, table_name: str) -> TransactItem:
        """Return the write that stores it, as a part of a transaction."""
        return {"Put": {"TableName": table_name, "Item": self.to_item()}}

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.size_bytes // self.part_bytes) if self.part_bytes else 1

    def part_length(self, number: int) -> int:
        """Return the size of the part with ``number``, from 1 to :attr:`parts`."""
        length = self.part_bytes or self.size_bytes
        return min(length, self.size_bytes - (number - 1) * length)

    def url_seconds(self, now: datetime, longest: int) -> int:
        """Return how long a URL may live that is signed now; 0 once the session is over.

        Args:
            now: The present time.
            longest: Longest life of a URL, in seconds.
        """
        left = (datetime.fromisoformat(self.open_until) - now).total_seconds()
        return max(0, min(longest, int(left)))


def end_session(table_name: str, video_id: str) -> TransactItem:
    """Return the write that ends the session of a video, as a part of a transaction."""
    return {"Delete": {"TableName": table_name, "Key": table.upload_key(video_id).to_wire()}}
