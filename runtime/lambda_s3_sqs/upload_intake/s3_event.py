"""What EventBridge says about a new object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class UploadedObject:
    """One version of one object.

    Attributes:
        bucket: Its bucket.
        key: Its key, as it is: EventBridge does not URL-encode it.
        version_id: Its version.
    """

    bucket: str
    key: str
    version_id: str

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> UploadedObject:
        """Read an ``Object Created`` event, which tells of exactly one object.

        Source: Amazon S3 User Guide, "EventBridge event message structure".

        Raises:
            ValueError: If it is another event, or the bucket keeps no versions.
        """
        kind = (event.get("source"), event.get("detail-type"))
        if kind != ("aws.s3", "Object Created"):
            raise ValueError(f"event is {kind!r}, not ('aws.s3', 'Object Created')")
        detail = event["detail"]
        version_id = detail["object"].get("version-id")
        if not version_id:
            raise ValueError(
                f"bucket {detail['bucket']['name']!r} keeps no versions, so an upload cannot be "
                "pinned; turn versioning on"
            )
        return cls(
            bucket=detail["bucket"]["name"], key=detail["object"]["key"], version_id=version_id
        )
