"""What a request makes of a video: pure functions of the video as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from media_api.edits import VideoPatch, VideoUpdate, described
from media_api.problems import Kind, Problem
from media_api.representation import is_expected
from media_platform.contract.audit import AuditAction
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.purge import GIVEN_UP_TIME, RESTORE_MARGIN, Purge, drop_purge
from media_platform.contract.times import timestamp
from media_platform.contract.video import (
    IN_FLIGHT_STATUSES,
    Failure,
    Video,
    VideoStatus,
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change that was decided upon.

    Attributes:
        action: What the audit entry calls it.
        changes: New values of fields of the video.
        event_type: The event that tells of it. Default: none does.
        event_data: Details of the event.
        writes: What else belongs into its transaction.
        subject: What else it is done to, for the audit entry. Default: nothing.
    """

    action: AuditAction
    changes: Mapping[str, Any]
    event_type: EventType | None = None
    event_data: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[TransactItem, ...] = ()
    subject: str | None = None


class ChangedSinceError(Exception):
    """The video is not what the caller has read.

    Attributes:
        video: The video as it is.
    """

    def __init__(self, video: Video) -> None:
        super().__init__(video.video_id)
        self.video = video


def update(
    video: Video, edit: VideoUpdate | VideoPatch, *, user: str, if_match: str | None
) -> Step | None:
    """Change what people may change; ``None`` if nothing becomes different.

    Raises:
        ChangedSinceError: If ``If-Match`` names other versions than the present one.
    """
    if not is_expected(if_match, video.version):
        raise ChangedSinceError(video)
    changes = edit.changes(video)
    if not changes:
        return None
    return Step(
        action=AuditAction.VIDEO_UPDATED,
        changes=changes,
        event_type=EventType.VIDEO_UPDATED,
        event_data={"updated_by": user, "changed": described(changes)},
    )


def delete(video: Video, *, user: str, table_name: str, restore_days: int) -> Step | None:
    """Delete a video; ``None`` if it is deleted.

    Args:
        video: The video.
        user: Who deletes it.
        table_name: The table.
        restore_days: Days for which it may be restored; then it is purged.
    """
    if video.status is VideoStatus.DELETED:
        return None
    keeping = timedelta(days=restore_days)
    purge = Purge.after(
        keeping + RESTORE_MARGIN,
        video_id=video.video_id,
        tenant=video.tenant,
        region=video.home_region,
    )
    now = timestamp()
    until = datetime.fromisoformat(now) + keeping
    return Step(
        action=AuditAction.VIDEO_DELETED,
        changes={
            "status": VideoStatus.DELETED,
            "deleted_at": now,
            "deleted_by": user,
            "deleted_from": video.status,
            "restorable_until": timestamp(until),
        },
        event_type=EventType.VIDEO_DELETED,
        event_data={"deleted_by": user},
        writes=(purge.put(table_name),),
    )


def purge(video: Video, *, user: str, table_name: str) -> Step:
    """Delete a video for good: nobody restores it, and every region purges it in its next turn."""
    note = Purge.after(
        timedelta(),
        video_id=video.video_id,
        tenant=video.tenant,
        region=video.home_region,
        raw_key=video.raw_key,
        former_regions=video.former_regions,
    )
    deletion = delete(video, user=user, table_name=table_name, restore_days=0)
    if deletion is None:
        return Step(
            action=AuditAction.VIDEO_PURGED,
            changes={"restorable_until": None},
            writes=(note.put(table_name),),
        )
    return replace(
        deletion,
        action=AuditAction.VIDEO_PURGED,
        changes={**deletion.changes, "restorable_until": None},
        writes=(note.put(table_name),),
    )


def restore(video: Video, *, user: str, table_name: str) -> Step | None:
    """Make a deleted video what it was; ``None`` if it is not deleted.

    A run that the deletion ended is begun anew, under another id, since whoever worked on the old
    one may still write to it.

    Raises:
        Problem: If its time is over.
    """
    if video.status is not VideoStatus.DELETED:
        return None
    became = video.deleted_from
    if became is None or timestamp() >= (video.restorable_until or ""):
        raise Problem(
            Kind.NOT_RESTORABLE,
            f"video {video.video_id} could be restored until "
            f"{video.restorable_until or 'it was purged'}; upload the file again",
        )
    given_up: str | None = None
    changes: dict[str, Any] = {
        "status": became,
        "deleted_at": None,
        "deleted_by": None,
        "deleted_from": None,
        "restorable_until": None,
    }
    if became in IN_FLIGHT_STATUSES:
        changes["status"] = VideoStatus.UPLOADED
        if video.current_run is not None:
            given_up, changes["current_run"] = video.current_run, new_id()
    elif video.next_run is not None:
        given_up, changes["next_run"] = video.next_run, new_id()
    return Step(
        action=AuditAction.VIDEO_RESTORED,
        changes=changes,
        event_type=EventType.VIDEO_RESTORED,
        event_data={"restored_by": user, "status": changes["status"].value},
        writes=(
            drop_purge(table_name, video.video_id),
            *purge_notes(video, given_up, table_name=table_name),
        ),
    )


def transcode(
    video: Video, *, user: str, profile: Profile, quality: Quality, table_name: str
) -> Step:
    """Let a READY video be transcoded again, or a FAILED one whose file may be all right.

    Raises:
        Problem: If it is neither.
    """
    run_id = new_id()
    changes: dict[str, Any] = {"profile": profile, "quality": quality}
    given_up: str | None = None
    if video.status is VideoStatus.READY:
        given_up, changes["next_run"] = video.next_run, run_id
    elif _may_be_tried_again(video):
        given_up = video.current_run
        changes |= {"status": VideoStatus.UPLOADED, "current_run": run_id, "failure": None}
    else:
        reason = f"FAILED ({video.failure.code})" if video.failure else video.status.value
        raise Problem(
            Kind.NOT_TRANSCODABLE,
            f"video {video.video_id} is {reason}; a READY video can be transcoded again, and one "
            "whose processing failed, but not one whose file was refused: upload another file",
            video_status=video.status.value,
        )
    return Step(
        action=AuditAction.VIDEO_TRANSCODED,
        changes=changes,
        event_type=EventType.VIDEO_UPDATED,
        event_data={
            "updated_by": user,
            "changed": {"profile": profile.value, "quality": quality.value},
            "run_id": run_id,
        },
        writes=purge_notes(video, given_up, table_name=table_name),
    )


def cancel(video: Video, *, user: str, table_name: str) -> Step:
    """End the transcoding of a video: a READY one keeps what viewers have, another is FAILED.

    Raises:
        Problem: If it is not being transcoded.
    """
    if video.status is VideoStatus.READY and video.next_run is not None:
        return Step(
            action=AuditAction.VIDEO_CANCELLED,
            changes={"next_run": None},
            event_type=EventType.VIDEO_UPDATED,
            event_data={"updated_by": user, "changed": {}, "cancelled_run_id": video.next_run},
            writes=purge_notes(video, video.next_run, table_name=table_name),
        )
    if video.status not in IN_FLIGHT_STATUSES:
        raise Problem(
            Kind.NOT_TRANSCODING,
            f"video {video.video_id} is {video.status} and not being transcoded, so there is "
            "nothing to cancel; read it again",
            video_status=video.status.value,
        )
    return Step(
        action=AuditAction.VIDEO_CANCELLED,
        changes={"status": VideoStatus.FAILED, "failure": CANCELLED, "current_run": None},
        event_type=EventType.VIDEO_FAILED,
        event_data={"code": CANCELLED.code, "message": CANCELLED.message},
        writes=purge_notes(video, video.current_run, table_name=table_name),
    )


CANCELLED = Failure(code="cancelled", message="The processing was cancelled.")

_MAY_BE_TRIED_AGAIN = frozenset({CANCELLED.code, "processing_failed"})
"""Codes of failures that say nothing against the file."""


def _may_be_tried_again(video: Video) -> bool:
    return (
        video.status is VideoStatus.FAILED
        and video.raw_version_id is not None
        and video.failure is not None
        and video.failure.code in _MAY_BE_TRIED_AGAIN
    )


def purge_notes(
    video: Video, run_id: str | None, *, table_name: str, after: timedelta = GIVEN_UP_TIME
) -> tuple[TransactItem, ...]:
    """Return the note that a run or a thumbnail is to be purged, if there is one.

    Args:
        video: The video.
        run_id: The run or the thumbnail.
        table_name: The table.
        after: Time until then. Default: that of what no viewer had.
    """
    if run_id is None:
        return ()
    note = Purge.after(
        after,
        video_id=video.video_id,
        run_id=run_id,
        tenant=video.tenant,
        region=video.region_of(run_id),
    )
    return (note.put(table_name),)
