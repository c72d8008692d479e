"""Domain events: what subscribers of the topic receive, and how the outbox keeps them.

An event is written in the same transaction as the change it tells of. Delivery is at least once
and unordered: consumers drop repeats by ``event_id`` and order by ``sequence``, the version of the
video after the change.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from media_platform.contract import table
from media_platform.contract.items import WireItem, to_item

SCHEMA_VERSION = 1
"""Version of the event format; it rises when a field changes its meaning."""


class EventType(StrEnum):
    """What can happen to a video."""

    VIDEO_CREATED = "VideoCreated"
    VIDEO_UPLOADED = "VideoUploaded"
    VIDEO_READY = "VideoReady"
    VIDEO_FAILED = "VideoFailed"
    VIDEO_UPDATED = "VideoUpdated"
    VIDEO_DELETED = "VideoDeleted"
    VIDEO_RESTORED = "VideoRestored"


STARTING_EVENTS = (EventType.VIDEO_RESTORED, EventType.VIDEO_UPDATED)
"""What may ask workers for something, beside an upload: a video that is restored or transcoded
again, or a part of one that is asked for."""


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """One event.

    Attributes:
        event_id: Unique id; repeats of one event carry the same.
        event_type: What happened.
        video_id: The video.
        tenant: Its tenant.
        region: Region that made the change and publishes the event.
        sequence: Version of the video after the change, rising by one with every change.
        occurred_at: Time of the change (RFC 3339, UTC).
        data: Details by event type.
        schema_version: Version of this format.
    """

    event_id: str
    event_type: EventType
    video_id: str
    tenant: str
    region: str
    sequence: int
    occurred_at: str
    data: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Return the event as subscribers receive it."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> DomainEvent:
        """Read an event; fields that a later version added are ignored.

        Raises:
            ValueError: If a field is missing or the type is unknown.
        """
        content = json.loads(text)
        try:
            known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
            return cls(**{**known, "event_type": EventType(content["event_type"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a domain event: {error}") from error

    def message_attributes(self) -> dict[str, dict[str, str]]:
        """Return the SNS message attributes, by which subscriptions filter."""
        return {
            name: {"DataType": "String", "StringValue": value}
            for name, value in (("event_type", self.event_type.value), ("tenant", self.tenant))
        }

    def to_outbox_item(self) -> WireItem:
        """Return the item that the outbox keeps, unpublished."""
        key = table.event_key(self.video_id, self.event_id)
        return to_item(
            {
                table.PARTITION_KEY: key.pk,
                table.SORT_KEY: key.sk,
                table.UNPUBLISHED.partition_key: table.unpublished(self.region, self.event_id),
                "event_type": self.event_type.value,
                "region": self.region,
                OUTBOX_BODY: self.to_json(),
            }
        )


OUTBOX_BODY = "event"
"""Attribute of an outbox item that holds the event as JSON."""

REPLAYED_AT = "replayed_at"
"""Message attribute of an event that an operator published once more: when (RFC 3339, UTC)."""
