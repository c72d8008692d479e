"""What a batch of the table stream, or an item of the outbox, holds for the relay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.items import from_item
from media_platform.contract.table import EVENT_SORT_PREFIX, SORT_KEY, Key, video_key
from media_platform.contract.video import Video

VIDEO_SORT_KEY = video_key("").sk
BATCH_ENTRIES = 10
"""Most messages of one ``PublishBatch`` call (Amazon SNS quotas)."""

BATCH_BYTES = 256 * 1024
"""Most bytes of one ``PublishBatch`` call, message attributes included (Amazon SNS quotas)."""


class UnreadableRecordError(ValueError):
    """A record of the outbox that cannot be published, now or later."""


@dataclass(frozen=True, kw_only=True)
class OutboxRecord:
    """An event as the stream shows it.

    Attributes:
        key: Key of the outbox item.
        event: The event.
        sequence_number: Place of the record in the stream, by which it is reported. Empty for one
            that was read from the table.
    """

    key: Key
    event: DomainEvent
    sequence_number: str = ""

    @property
    def message_bytes(self) -> int:
        """Bytes of the message that count towards the limit of a batch."""
        attributes = self.event.message_attributes()
        texts = [self.event.to_json()]
        for name, attribute in attributes.items():
            texts += [name, *attribute.values()]
        return sum(len(text.encode()) for text in texts)


def sequence_number(record: Mapping[str, Any]) -> str:
    """Return the place of a record in the stream."""
    return str(record["dynamodb"]["SequenceNumber"])


def is_new_event(record: Mapping[str, Any], *, region: str) -> bool:
    """Tell whether a record is an event that this region has to publish.

    What is left out: every other item; the marks and the end of events (``MODIFY`` and ``REMOVE``,
    also by time to live); and what another region wrote, which its own relay publishes, while
    replication brings the item here as an ``INSERT`` like any other.
    """
    if record.get("eventName") != "INSERT":
        return False
    change = record["dynamodb"]
    if not change["Keys"][SORT_KEY].get("S", "").startswith(EVENT_SORT_PREFIX):
        return False
    written_in = change.get("NewImage", {}).get("region", {}).get("S")
    return written_in is None or written_in == region


def taken_video(record: Mapping[str, Any]) -> tuple[Video, Video] | None:
    """Return a video before and after a change, if one of the two was taken over.

    Raises:
        UnreadableRecordError: If it holds no video.
    """
    change = record["dynamodb"]
    if record.get("eventName") != "MODIFY" or change["Keys"][SORT_KEY].get("S") != VIDEO_SORT_KEY:
        return None
    images = change.get("OldImage"), change.get("NewImage")
    if None in images:
        return None
    try:
        before, now = (Video.from_item(image) for image in images)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableRecordError(
            f"record {sequence_number(record)} holds no video: {type(error).__name__}: {error}"
        ) from error
    return (before, now) if before.epoch != now.epoch else None


def read(record: Mapping[str, Any]) -> OutboxRecord:
    """Read a record that :func:`is_new_event` picked.

    Raises:
        UnreadableRecordError: If it holds no event, or one that is too large for SNS.
    """
    number = sequence_number(record)
    return read_item(
        record["dynamodb"].get("NewImage", {}), name=f"record {number}", sequence_number=number
    )


def read_item(item: Mapping[str, Any], *, name: str, sequence_number: str = "") -> OutboxRecord:
    """Read an item of the outbox.

    Args:
        item: The item, in wire format.
        name: What the item is called in errors.
        sequence_number: As in :class:`OutboxRecord`.

    Raises:
        UnreadableRecordError: If it holds no event, or one that is too large for SNS.
    """
    try:
        stored = from_item(item)
        key, region = Key(stored["pk"], stored["sk"]), stored["region"]
        event = DomainEvent.from_json(stored[OUTBOX_BODY])
        found = OutboxRecord(key=key, event=event, sequence_number=sequence_number)
        size = found.message_bytes
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UnreadableRecordError(
            f"{name} holds no event: {type(error).__name__}: {error}"
        ) from error
    if event.region != region:
        raise UnreadableRecordError(
            f"{name} is of region {region!r}, but its event is of {event.region!r}"
        )
    if size > BATCH_BYTES:
        raise UnreadableRecordError(
            f"{name} holds an event of {size} bytes; SNS takes at most {BATCH_BYTES}"
        )
    return found


def in_batches(records: Iterable[OutboxRecord]) -> Iterator[Sequence[OutboxRecord]]:
    """Cut records, in their order, into what one ``PublishBatch`` call takes."""
    batch: list[OutboxRecord] = []
    size = 0
    for record in records:
        grown = size + record.message_bytes
        if batch and (len(batch) == BATCH_ENTRIES or grown > BATCH_BYTES):
            yield batch
            batch, grown = [], record.message_bytes
        batch.append(record)
        size = grown
    if batch:
        yield batch
