"""What may be done with the thumbnail of a video."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from media_api.audit import Cause
from media_api.decisions import Step, purge_notes
from media_api.delivery import DeliveryUnavailableError
from media_api.models import NewPicture, NewThumbnail, is_playable
from media_api.playback import PlaybackService, SignedUrl
from media_api.problems import Kind, Problem, invalid
from media_api.representation import VideoView
from media_api.store import VideoTable
from media_api.tokens import Caller
from media_api.uploads import RawBucket, SignedPut, expiry
from media_api.videos import Videos, refuse_deleted
from media_platform.contract.audit import AuditAction
from media_platform.contract.events import EventType
from media_platform.contract.ids import is_id, new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.jobs import REQUESTED_PART
from media_platform.contract.object_keys import RunKeys, picture_key, thumbnail_of_key
from media_platform.contract.purge import REPLACED_THUMBNAIL_TIME
from media_platform.contract.run import thumbnail_part
from media_platform.contract.thumbnails import Thumbnail, ThumbnailStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video


@dataclass(frozen=True)
class ThumbnailView:
    """What viewers see of a video before it plays, and what was asked for.

    Attributes:
        video: The video.
        request: The last request for a thumbnail, if there was one.
        url: The picture that is shown at present, if there is one.
    """

    video: Video
    request: Thumbnail | None
    url: SignedUrl | None


@dataclass(frozen=True)
class PictureUpload:
    """A picture that is to be uploaded.

    Attributes:
        upload_id: Names it.
        upload: How it is uploaded.
        expires_at: Time at which the URL ends (RFC 3339, UTC).
    """

    upload_id: str
    upload: SignedPut
    expires_at: str


class Thumbnails:
    """The thumbnails of videos.

    Args:
        videos: The videos.
        table: The table.
        playback: Signs what is shown.
        raw: Signs uploads.
        url_seconds: Lifetime of the URLs that it signs.
    """

    def __init__(
        self,
        videos: Videos,
        table: VideoTable,
        playback: PlaybackService,
        raw: RawBucket,
        *,
        url_seconds: int,
    ) -> None:
        self._videos = videos
        self._table = table
        self._playback = playback
        self._raw = raw
        self._url_seconds = url_seconds

    async def get(self, caller: Caller, video_id: str) -> ThumbnailView:
        """Return what is shown of a video, and what was asked for.

        Raises:
            Problem: If there is no such video of the tenant.
        """
        # In this order, so that who sees a request as READY sees its picture.
        request = await self._table.thumbnail(video_id)
        return await self._view(await self._videos.of_tenant(caller, video_id), request)

    async def choose(self, cause: Cause, video_id: str, new: NewThumbnail) -> ThumbnailView:
        """Ask workers for a thumbnail; a later request wins over an earlier one.

        Raises:
            Problem: If the caller may not, the video cannot be played yet, or has no such second.
        """
        videos = await self._videos.at_home(cause.caller, video_id)
        table = videos.table

        async def decide(video: Video) -> Step:
            refuse_deleted(video)
            run_id = video.current_run
            if run_id is None or not is_playable(video, await table.run(video_id, run_id)):
                raise Problem(
                    Kind.NOT_PLAYABLE,
                    f"video {video_id} is {video.status} and has no frames to choose from; wait "
                    "until it can be played, and ask again",
                    video_status=video.status.value,
                )
            _check(new, video)
            stored = await table.thumbnail(video_id)
            request = _request(
                cause,
                video_id,
                ThumbnailStatus.PENDING,
                at_seconds=new.at_seconds,
                upload_id=new.upload_id,
            )
            return Step(
                action=AuditAction.THUMBNAIL_CHOSEN,
                changes={},
                event_type=EventType.VIDEO_UPDATED,
                event_data={
                    "updated_by": cause.caller.user,
                    "changed": {},
                    REQUESTED_PART: thumbnail_part(request.thumbnail_id),
                },
                writes=(table.thumbnail_put(request), *self._purge_unused(video, stored)),
                subject=request.thumbnail_id,
            )

        changed = await videos.change_here(cause, video_id, decide)
        return await self._view(changed.view, await table.thumbnail(video_id))

    async def upload(self, caller: Caller, video_id: str, new: NewPicture) -> PictureUpload:
        """Sign the upload of a picture, which can then be chosen.

        Raises:
            Problem: If the caller may not change the video.
        """
        video = (await self._videos.to_change(caller, video_id)).video
        upload_id = new_id()
        key = picture_key(video.tenant, video_id, upload_id)
        upload = await self._raw.sign_object(
            key,
            content_type=new.content_type,
            size_bytes=new.size_bytes,
            sha256=None,
            seconds=self._url_seconds,
        )
        return PictureUpload(upload_id, upload, expiry(datetime.now(UTC), self._url_seconds))

    async def remove(self, cause: Cause, video_id: str) -> None:
        """Go back to the poster, also from a thumbnail that is still to be made.

        Raises:
            Problem: If the caller may not change the video, or it keeps changing.
        """
        videos = await self._videos.at_home(cause.caller, video_id)
        table = videos.table

        async def decide(video: Video) -> Step | None:
            refuse_deleted(video)
            stored = await table.thumbnail(video_id)
            pending = stored is not None and stored.status is ThumbnailStatus.PENDING
            if video.thumbnail is None and not pending:
                return None
            request = _request(cause, video_id, ThumbnailStatus.NONE)
            return Step(
                action=AuditAction.THUMBNAIL_REMOVED,
                changes={"thumbnail": None},
                event_type=EventType.VIDEO_UPDATED,
                event_data={"updated_by": cause.caller.user, "changed": {"thumbnail": None}},
                writes=(
                    table.thumbnail_put(request),
                    *self._purge_unused(video, stored),
                    *self._purge_shown(video),
                ),
            )

        await videos.change_here(cause, video_id, decide)

    def _purge_unused(self, video: Video, stored: Thumbnail | None) -> tuple[TransactItem, ...]:
        """Return the note that what was asked for before is to be purged, if nobody ever saw it."""
        unused = {ThumbnailStatus.PENDING, ThumbnailStatus.FAILED}
        thumbnail_id = stored.thumbnail_id if stored and stored.status in unused else None
        return purge_notes(video, thumbnail_id, table_name=self._table.name)

    def _purge_shown(self, video: Video) -> tuple[TransactItem, ...]:
        """Return the note that the thumbnail of a video is to be purged, if it has one."""
        return purge_notes(
            video,
            thumbnail_of_key(video.thumbnail) if video.thumbnail else None,
            table_name=self._table.name,
            after=REPLACED_THUMBNAIL_TIME,
        )

    async def _view(self, view: VideoView, request: Thumbnail | None) -> ThumbnailView:
        video = view.video
        url = None
        if is_playable(video, view.run) and video.current_run:
            keys = RunKeys(video.media_region, video.tenant, video.video_id, video.current_run)
            try:
                url = await self._playback.sign(video.thumbnail or keys.poster)
            except DeliveryUnavailableError:
                url = None
        return ThumbnailView(video, request, url)


def _request(cause: Cause, video_id: str, status: ThumbnailStatus, **values: Any) -> Thumbnail:
    return Thumbnail(
        video_id=video_id,
        thumbnail_id=new_id(),
        status=status,
        requested_by=cause.caller.user,
        requested_at=timestamp(),
        **values,
    )


def _check(new: NewThumbnail, video: Video) -> None:
    """Refuse what can be seen to be wrong; the rest is told in the request.

    Raises:
        Problem: If it is.
    """
    if new.upload_id is not None and not is_id(new.upload_id):
        raise invalid(
            "body.upload_id",
            "this is no id of an upload; send the upload_id that …/thumbnail/upload returned",
        )
    length = video.duration_seconds
    if new.at_seconds is not None and length is not None and new.at_seconds >= length:
        raise invalid(
            "body.at_seconds",
            f"the video ends at {length} seconds; choose a second before that",
        )
