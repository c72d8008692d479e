"""How a region takes over the videos of another that is lost, and what keeps that one out.

A global table has no condition that holds in two regions: of two writes of an item the later one
stands in the end. So nothing can refuse what a region writes that is only cut off and works on.
What it writes is made harmless instead:

- The region that takes over first writes that it does (:class:`Takeover`), in an item that the lost
  one never writes. While it stands there, the lost one publishes no events once it sees it; the one
  that took over publishes what is left.
- Each video gets a higher ``epoch``, a new home, and a ``version`` that is :data:`VERSION_STEP`
  above the one that was read. Whatever the lost region writes before it learns of that has a lower
  sequence than all that follows; later, conditions on version and epoch refuse its writes.
- What it wrote before may be later than the takeover, and then stands in its place. Whoever took
  over sees the epoch of the video fall, and writes again what it had (:func:`restored`), also if
  the lost region wrote more, or the takeover was repeated over that.
- What is in the works begins anew, as another run: objects of the old one may be missing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item, to_wire
from media_platform.contract.purge import GIVEN_UP_TIME, Purge
from media_platform.contract.video import (
    IN_FLIGHT_STATUSES,
    Change,
    Video,
    VideoStatus,
    change,
    replaced,
)

VERSION_STEP = 1000
"""By how much a takeover raises the version of a video: more than changes are ever under way."""


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """That a region has taken over what is at home in another.

    Attributes:
        lost: The region that is lost.
        by: The region that took over.
        begun_at: When it began (RFC 3339, UTC).
    """

    lost: str
    by: str
    begun_at: str

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        return cls(**{f.name: stored[f.name] for f in fields(cls)})

    def to_item(self) -> WireItem:
        """Return the wire item."""
        key = table.takeover_key(self.lost)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})


def list_takeovers(table_name: str) -> dict[str, Any]:
    """Return the arguments of the ``Query`` call that reads all takeovers; they are few."""
    return {
        "TableName": table_name,
        "KeyConditionExpression": "#pk = :pk",
        "ExpressionAttributeNames": {"#pk": table.PARTITION_KEY},
        "ExpressionAttributeValues": {":pk": {"S": table.takeovers()}},
        "ConsistentRead": True,
    }


def may_be_taken(video: Video) -> bool:
    """Tell whether a region can take a video over at all.

    One whose file is still to come is left to its home region: the upload is under way to its
    bucket, and goes on when it returns.
    """
    return video.status is not VideoStatus.PENDING


def take_over(table_name: str, video: Video, *, region: str) -> Change:
    """Make a region the home of a video.

    Args:
        table_name: The table.
        video: The video as the region has it.
        region: The region that takes it over.
    """
    changes: dict[str, Any] = {
        "home_region": region,
        "epoch": video.epoch + 1,
        "taken_version": video.version,
        "former_regions": tuple(
            dict.fromkeys(
                one for one in (*(video.former_regions or ()), video.home_region) if one != region
            )
        ),
    }
    given_up: str | None = None
    if video.status in IN_FLIGHT_STATUSES:
        given_up = video.current_run
        changes |= {"status": VideoStatus.UPLOADED, "current_run": new_id()}
    else:
        changes["run_region"] = video.run_region or video.home_region
        if video.next_run is not None:
            given_up, changes["next_run"] = video.next_run, new_id()
    taken = change(
        table_name,
        video,
        region=region,
        event_type=EventType.VIDEO_UPDATED,
        event_data={"changed": {}, "home_region": region},
        version_step=VERSION_STEP,
        **changes,
    )
    if given_up is not None:
        note = Purge.after(
            GIVEN_UP_TIME,
            video_id=video.video_id,
            run_id=given_up,
            tenant=video.tenant,
            region=video.home_region,
        )
        taken.writes.append(note.put(table_name))
    return taken


def restored(table_name: str, before: Video, now: Video, *, region: str) -> TransactItem | None:
    """Return the write that puts back what a fenced region wrote over, if that happened.

    Args:
        table_name: The table.
        before: The video before it was changed in this region.
        now: The video after it, or as it became since.
        region: This region.
    """
    if _takeover_of(now) >= _takeover_of(before) or before.home_region != region:
        return None
    return replaced(table_name, now, before, version_step=VERSION_STEP)


def _takeover_of(video: Video) -> tuple[int, int]:
    """Return what compares a takeover with others: of two with one epoch, the first one counts.

    The other was made of what the lost region had written over it, thus from a higher version.
    """
    return video.epoch, -(video.taken_version or 0)


def begin(table_name: str, takeover: Takeover) -> dict[str, Any]:
    """Return the arguments of the ``PutItem`` call by which a takeover begins; it may be repeated.

    It fails if another region has begun to take the lost one over, or has lost this one.
    """
    return {
        "TableName": table_name,
        "Item": takeover.to_item(),
        "ConditionExpression": "attribute_not_exists(#pk) OR #by = :by",
        "ExpressionAttributeNames": {"#pk": table.PARTITION_KEY, "#by": "by"},
        "ExpressionAttributeValues": {":by": to_wire(takeover.by)},
    }
