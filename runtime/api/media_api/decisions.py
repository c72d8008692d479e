"""What a request makes of a video: pure functions of the video as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from media_api.edits import VideoPatch, VideoUpdate, described
from media_api.representation import is_expected
from media_platform.contract.audit import AuditAction
from media_platform.contract.events import EventType
from media_platform.contract.items import TransactItem
from media_platform.contract.video import Video, VideoStatus, timestamp


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change that was decided upon.

    Attributes:
        action: What the audit entry calls it.
        changes: New values of fields of the video.
        event_type: The event that tells of it. Default: none does.
        event_data: Details of the event.
        writes: What else belongs into its transaction.
    """

    action: AuditAction
    changes: Mapping[str, Any]
    event_type: EventType | None = None
    event_data: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[TransactItem, ...] = ()


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


def delete(video: Video, *, user: str) -> Step | None:
    """Delete a video; ``None`` if it is deleted."""
    if video.status is VideoStatus.DELETED:
        return None
    return Step(
        action=AuditAction.VIDEO_DELETED,
        changes={
            "status": VideoStatus.DELETED,
            "deleted_at": timestamp(),
            "deleted_by": user,
            "deleted_from": video.status,
        },
        event_type=EventType.VIDEO_DELETED,
        event_data={"deleted_by": user},
    )
