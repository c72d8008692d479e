"""Downloads: one file of a rendition, made when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from media_api.audit import Cause
from media_api.decisions import Step
from media_api.download_models import DownloadStateBody, DownloadStatus, NewDownload, state_of
from media_api.idempotency import KeyedRequest
from media_api.playback import Admission, PlaybackService
from media_api.problems import Kind, Problem, invalid
from media_api.rules import Client
from media_api.store import VideoTable
from media_api.tokens import Caller
from media_api.videos import Videos, refuse_deleted
from media_platform.contract.audit import AuditAction
from media_platform.contract.events import EventType
from media_platform.contract.jobs import REQUESTED_PART
from media_platform.contract.run import Part, Run, download_part
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus

PATIENCE = timedelta(minutes=10)
"""Time in which workers take a download, unless all are busy; it may be asked for again then."""


@dataclass(frozen=True)
class DownloadList:
    """The downloads of what viewers have of a video.

    Attributes:
        admission: What the viewer may play.
        downloads: Where each stands, highest first, with its URL if it is there.
    """

    admission: Admission
    downloads: list[tuple[DownloadStateBody, str | None]]


@dataclass(frozen=True)
class RequestedDownload:
    """A download that was asked for.

    Attributes:
        state: Where it stands.
        replayed: Whether an earlier request with the same key asked for it.
    """

    state: DownloadStateBody
    replayed: bool


class Downloads:
    """The downloads of videos: whoever may play one may load its files down.

    Args:
        videos: The videos.
        table: The table.
        playback: Knows who may play what.
    """

    def __init__(self, videos: Videos, table: VideoTable, playback: PlaybackService) -> None:
        self._videos = videos
        self._table = table
        self._playback = playback

    async def list(self, viewer: Caller | None, video_id: str, client: Client) -> DownloadList:
        """Return the downloads of a video.

        Args:
            viewer: Who asks. ``None``: somebody who is not signed in.
            video_id: The video.
            client: Where the request comes from, for the rules of the video.

        Raises:
            Problem: If the viewer may not play the video.
        """
        admission = await self._playback.admit(viewer, video_id, client)
        parts = await self._table.downloads(video_id, admission.keys.run_id)
        states = sorted(map(state_of, parts), key=lambda state: state.height, reverse=True)
        return DownloadList(
            admission,
            [
                (
                    state,
                    admission.url(admission.keys.download(state.height))
                    if state.status is DownloadStatus.READY
                    else None,
                )
                for state in states
            ],
        )

    async def request(
        self,
        cause: Cause,
        video_id: str,
        wanted: NewDownload,
        keyed: KeyedRequest | None = None,
    ) -> RequestedDownload:
        """Ask workers for a download; one that is there or under way is not made again.

        Args:
            cause: The request.
            video_id: The video.
            wanted: Which file.
            keyed: The request, if it may be a repeat.

        Raises:
            Problem: If there is no such video, it is not READY or has no such rendition, or the
                caller may not change it.
        """
        name = download_part(wanted.height)
        videos = await self._videos.at_home(cause.caller, video_id)
        table = videos.table

        async def decide(video: Video) -> Step | None:
            refuse_deleted(video)
            run = await _complete_run(table, video)
            heights = [rendition.height for rendition in run.renditions]
            if wanted.height not in heights:
                raise invalid(
                    "body.height",
                    f"the video has no rendition with {wanted.height} lines; choose one of "
                    f"{', '.join(map(str, heights))}",
                )
            part = await table.part(video_id, run.run_id, name)
            if part is not None and not _may_be_asked_for_again(part):
                return None
            asked = Part(
                video_id=video_id,
                run_id=run.run_id,
                name=name,
                # What an earlier worker may still write stays fenced off.
                attempt=part.attempt if part else 0,
                requested_at=timestamp(),
            )
            return Step(
                action=AuditAction.DOWNLOAD_REQUESTED,
                changes={},
                event_type=EventType.VIDEO_UPDATED,
                event_data={
                    "updated_by": cause.caller.user,
                    "changed": {},
                    REQUESTED_PART: name,
                },
                writes=(table.part_put(asked, before=part),),
                subject=name,
            )

        changed = await videos.change_here(cause, video_id, decide, keyed)
        video = changed.view.video
        part = await table.part(video_id, video.current_run or "", name)
        if part is None:
            raise _not_ready(video)
        return RequestedDownload(state_of(part), changed.replayed)


async def _complete_run(table: VideoTable, video: Video) -> Run:
    run = None
    if video.status is VideoStatus.READY and video.current_run is not None:
        run = await table.run(video.video_id, video.current_run)
    if run is None:
        raise _not_ready(video)
    return run


def _may_be_asked_for_again(part: Part) -> bool:
    """Tell whether it was given up, or nobody took it in time, as after a restoring."""
    match state_of(part).status:
        case DownloadStatus.FAILED:
            return True
        case DownloadStatus.WAITING:
            asked_at = datetime.fromisoformat(part.requested_at or timestamp())
            return datetime.now(UTC) - asked_at > PATIENCE
    return False


def _not_ready(video: Video) -> Problem:
    return Problem(
        Kind.NOT_DOWNLOADABLE,
        f"video {video.video_id} is {video.status}; files are made of what is READY and stays so: "
        "wait until it is, and ask again",
        video_status=video.status.value,
    )
