"""What administrators may do with videos: any of the tenant, also PRIVATE and DELETED ones."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from media_api import cursors, decisions
from media_api.admin.scope import Scope
from media_api.audit import Cause
from media_api.problems import Kind, Problem
from media_api.store import StaleVideoError, VideoList, VideoTable
from media_platform.contract import table
from media_platform.contract import video as contract
from media_platform.contract.ids import is_id
from media_platform.contract.purge import TURN_TIME
from media_platform.contract.run import Run
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus

_WRITE_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class AnyVideo:
    """A video with its current run.

    Attributes:
        video: The video.
        run: Its current run, if a worker took it.
    """

    video: Video
    run: Run | None


@dataclass(frozen=True)
class AnyVideoPage:
    """A page of a list.

    Attributes:
        found: The videos, newest first.
        next_cursor: Cursor of the next page, if there may be one.
    """

    found: list[AnyVideo]
    next_cursor: str | None


@dataclass(frozen=True)
class PurgeTimes:
    """When a video goes that is deleted for good.

    Attributes:
        purge_from: Time from which on every region deletes what it holds (RFC 3339, UTC).
        expected_by: Time by which each had a whole turn for it.
    """

    purge_from: str
    expected_by: str


class AdminVideos:
    """The videos of all tenants.

    Args:
        videos: The table.
        region: Region whose videos are written here.
        purge_interval_minutes: Time between two turns in which a region deletes what is due.
    """

    def __init__(self, videos: VideoTable, *, region: str, purge_interval_minutes: int) -> None:
        self._table = videos
        self._region = region
        self._purge_interval_minutes = purge_interval_minutes

    async def list(
        self,
        tenant: str,
        *,
        owner: str | None,
        status: VideoStatus | None,
        limit: int,
        cursor: str | None,
    ) -> AnyVideoPage:
        """Return a page of the videos of a tenant, newest first, whoever may see them.

        Args:
            tenant: The tenant.
            owner: Only those of a user. Default: of all.
            status: Only those with a status. Default: all but DELETED ones.
            limit: Most videos of the page.
            cursor: ``next_cursor`` of the page before. Default: the first page.

        Raises:
            Problem: If the cursor does not belong to the list.
        """
        name = f"admin {tenant} {owner or ''} {status or ''}"
        after = cursors.start_of_page(name, cursor)
        # Lists are kept apart so that members read what they may see without a filter; each has
        # its newest videos first, so the newest of all are among the newest of each.
        pages = await asyncio.gather(
            *(
                self._table.page(part, limit=limit, after=after)
                for part in _lists(tenant, owner, status)
            )
        )
        merged = sorted(
            (video for page in pages for video in page.videos),
            key=lambda video: video.video_id,
            reverse=True,
        )
        videos = merged[:limit]
        more = len(merged) > limit or any(page.has_more for page in pages)
        runs = await self._table.runs(videos)
        found = [AnyVideo(video, runs.get(video.current_run or "")) for video in videos]
        last = videos[-1].video_id if videos and more else None
        return AnyVideoPage(found, cursors.encode(name, last) if last else None)

    async def get(self, scope: Scope, video_id: str) -> AnyVideo:
        """Return a video, deleted or not.

        Raises:
            Problem: If there is none that the caller administers.
        """
        video = await self._find(scope, video_id)
        run = None
        if video.current_run:
            run = await self._table.run(video_id, video.current_run)
        return AnyVideo(video, run)

    async def purge(self, cause: Cause, scope: Scope, video_id: str) -> PurgeTimes:
        """Delete a video for good, whoever owns it; once more changes nothing.

        Raises:
            Problem: If there is no such video, another region is home to it, or it keeps changing.
        """
        for attempt in range(_WRITE_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311
            video = await self._find(scope, video_id)
            if (times := await self._purge_times(video_id)) is not None:
                return times
            if video.home_region != self._region:
                raise Problem(
                    Kind.OTHER_REGION,
                    f"video {video_id} is at home in {video.home_region}, and the admin service "
                    f"writes in {self._region}; delete it as its owner there",
                )
            step = decisions.purge(video, user=cause.caller.user, table_name=self._table.name)
            change = contract.change(
                self._table.name,
                video,
                region=self._region,
                event_type=step.event_type,
                event_data=step.event_data,
                **step.changes,
            )
            entry = cause.entry(step.action, tenant=video.tenant, video_id=video_id)
            try:
                await self._table.write(change, entry, *step.writes)
            except StaleVideoError:
                continue
            if (times := await self._purge_times(video_id)) is not None:
                return times
        raise Problem(
            Kind.CHANGED_MEANWHILE,
            f"video {video_id} was changed by others {_WRITE_ATTEMPTS} times in a row; try again",
        )

    async def _purge_times(self, video_id: str) -> PurgeTimes | None:
        """Return when a video goes, if it is being purged at once."""
        note = await self._table.purge(video_id)
        if note is None or note.raw_key is None:
            return None
        due = datetime.fromisoformat(note.due_at)
        expected = due + timedelta(minutes=self._purge_interval_minutes) + TURN_TIME
        return PurgeTimes(
            purge_from=note.due_at,
            expected_by=timestamp(expected),
        )

    async def _find(self, scope: Scope, video_id: str) -> Video:
        video = await self._table.video(video_id) if is_id(video_id) else None
        if video is None or not scope.covers(video.tenant):
            raise Problem(
                Kind.VIDEO_NOT_FOUND,
                "there is no video with this id that you administer; check the id in the path, or "
                "list the videos at /api/admin/videos",
            )
        return video


def _lists(tenant: str, owner: str | None, status: VideoStatus | None) -> list[VideoList]:
    """Return the lists that together hold what is asked for, none of it twice."""
    if owner is not None:
        if status is not None:
            key = table.owner_status_videos(tenant, owner, status)
            return [VideoList(table.OWNER_STATUS_VIDEOS, key)]
        return [VideoList(table.OWNER_VIDEOS, table.owner_videos(tenant, owner))]
    if status is None:
        keys = (table.tenant_videos(tenant), table.tenant_private_videos(tenant))
        return [VideoList(table.TENANT_VIDEOS, key) for key in keys]
    keys = (
        table.tenant_status_videos(tenant, status),
        table.tenant_hidden_status_videos(tenant, status),
    )
    return [VideoList(table.TENANT_STATUS_VIDEOS, key) for key in keys]
