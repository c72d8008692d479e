"""What is to be done about an old run or a deleted video: pure functions of what was read."""

from __future__ import annotations

from datetime import datetime, timedelta

from media_platform.contract.ids import is_id
from media_platform.contract.object_keys import (
    RawKey,
    is_key_segment,
    thumbnail_of_key,
    video_prefix,
)
from media_platform.contract.purge import Purge
from media_platform.contract.video import Video, VideoStatus

SETTLE = timedelta(days=1)
"""Time from ``due_at`` on in which the note stands, so that every region comes to see it.

Version deletes are not replicated, so each region deletes what it holds. A region that was away, or
had more to do than one invocation takes, has its next turn within this time.
"""


class UnsafeNoteError(ValueError):
    """A note that does not name exactly one run or video; nothing is deleted for it."""


def prefixes_of(note: Purge, video: Video | None) -> list[str]:
    """Return the prefixes below which the published objects of the run or the video lie.

    Those of a video that was taken over may lie under each region that was home to it.

    Raises:
        UnsafeNoteError: If a part of it is malformed, so that more could be meant, or the video
            belongs to another tenant.
    """
    if not (
        all(is_key_segment(region) for region in (note.region, *(note.former_regions or ())))
        and is_key_segment(note.tenant)
        and is_id(note.video_id)
        and (note.run_id is None or is_id(note.run_id))
    ):
        raise UnsafeNoteError("region, tenant, video or run of the note is malformed")
    if video is not None and video.tenant != note.tenant:
        raise UnsafeNoteError(
            f"the note is of tenant {note.tenant!r}, but the video of {video.tenant!r}"
        )
    if note.run_id is not None:
        return [f"{video_prefix(note.region, note.tenant, note.video_id)}{note.run_id}/"]
    regions = (note.region, *(note.former_regions or ()))
    if video is not None:
        regions = (*regions, video.home_region, *(video.former_regions or ()))
    return [video_prefix(region, note.tenant, note.video_id) for region in dict.fromkeys(regions)]


def upload_of(note: Purge, video: Video | None) -> str | None:
    """Return the key of the upload of a video that is purged, as far as anybody tells it.

    Raises:
        UnsafeNoteError: If it is not the key of this video.
    """
    raw_key = note.raw_key if video is None else video.raw_key
    if raw_key is None:
        return None
    try:
        key = RawKey.parse(raw_key)
    except ValueError as error:
        raise UnsafeNoteError(str(error)) from error
    if (key.tenant, key.video_id) != (note.tenant, note.video_id):
        raise UnsafeNoteError(f"the upload of video {note.video_id} is {raw_key!r}")
    return raw_key


def is_in_use(note: Purge, video: Video | None) -> bool:
    """Tell whether viewers see it or are about to; a video that was restored is seen."""
    if video is None:
        return False
    if note.run_id is None:
        return video.status is not VideoStatus.DELETED
    shown = {thumbnail_of_key(video.thumbnail)} if video.thumbnail else set()
    return note.run_id in {video.current_run, video.next_run, *shown}


def home_of(note: Purge, video: Video | None) -> str:
    """Return the region that deletes the items; another one may have taken the video over."""
    return note.region if video is None else video.home_region


def items_may_go(note: Purge, now: datetime) -> bool:
    """Tell whether no region needs the items any more.

    Raises:
        ValueError: If ``due_at`` is no time.
    """
    return note.raw_key is not None or note_may_go(note, now)


def note_may_go(note: Purge, now: datetime) -> bool:
    """Tell whether every region has had its time to delete its objects.

    Raises:
        ValueError: If ``due_at`` is no time.
    """
    return now >= datetime.fromisoformat(note.due_at) + SETTLE
