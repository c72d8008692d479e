"""What is to be done about a run that was replaced: pure functions of what was read."""

from __future__ import annotations

from datetime import datetime, timedelta

from media_platform.contract.ids import is_id
from media_platform.contract.object_keys import RunKeys, is_key_segment
from media_platform.contract.purge import Purge
from media_platform.contract.video import Video

SETTLE = timedelta(days=1)
"""Time from ``due_at`` on in which the note stands, so that every region comes to see it.

Version deletes are not replicated, so each region deletes what it holds. A region that was away, or
had more to do than one invocation takes, has its next turn within this time.
"""


class UnsafeNoteError(ValueError):
    """A note that does not name exactly one run; nothing is deleted for it."""


def prefix_of(note: Purge, video: Video | None) -> str:
    """Return the prefix below which the objects of the run lie.

    Raises:
        UnsafeNoteError: If a part of it is malformed, so that more than one run could be meant, or
            the video belongs to another tenant.
    """
    if not (
        is_key_segment(note.region)
        and is_key_segment(note.tenant)
        and is_id(note.video_id)
        and is_id(note.run_id)
    ):
        raise UnsafeNoteError("region, tenant, video or run of the note is malformed")
    if video is not None and video.tenant != note.tenant:
        raise UnsafeNoteError(
            f"the note is of tenant {note.tenant!r}, but the video of {video.tenant!r}"
        )
    return RunKeys(
        region=note.region, tenant=note.tenant, video_id=note.video_id, run_id=note.run_id
    ).prefix


def is_in_use(note: Purge, video: Video | None) -> bool:
    """Tell whether the run is what viewers see, or is becoming that."""
    return video is not None and note.run_id in {video.current_run, video.next_run}


def home_of(note: Purge, video: Video | None) -> str:
    """Return the region that deletes the items; another one may have taken the video over."""
    return note.region if video is None else video.home_region


def items_may_go(note: Purge, now: datetime) -> bool:
    """Tell whether every region has had its time to delete its objects.

    Raises:
        ValueError: If ``due_at`` is no time.
    """
    return now >= datetime.fromisoformat(note.due_at) + SETTLE
