"""What may be done with videos."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

from media_api import cursors, decisions
from media_api.audit import Cause
from media_api.cache import VideoCache, ViewCache
from media_api.decisions import ChangedSinceError, Step
from media_api.edits import VideoPatch, VideoUpdate
from media_api.idempotency import Done, Idempotency, KeyedRequest
from media_api.models import ListQuery, TranscodeRequest
from media_api.problems import Kind, Problem, invalid
from media_api.representation import VideoView
from media_api.store import StaleVideoError, VideoList, VideoTable
from media_api.tokens import Caller
from media_platform.contract import table
from media_platform.contract import video as contract
from media_platform.contract.environment import NO_CACHE
from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.ids import is_id
from media_platform.contract.run import Run
from media_platform.contract.video import Video, VideoStatus, Visibility

_IN_WORK = frozenset({VideoStatus.PENDING, VideoStatus.UPLOADED, VideoStatus.PROCESSING})
_WRITE_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05


class StoredVideo:
    """A video as it is stored, and as it was shown to whom.

    Attributes:
        video: The video.

    Args:
        video: The video.
        run: Its current run, if a worker took it.
        next_run: The run that will replace it, if a worker took it.
    """

    def __init__(self, video: Video, run: Run | None, next_run: Run | None) -> None:
        self.video = video
        self._run = run
        self._next_run = next_run
        self._views: dict[tuple[bool, bool], VideoView] = {}

    def shown_to(self, viewer: Caller | None) -> VideoView:
        """Return what a viewer may see of it; equal ones are made once, with their answers."""
        of_tenant, may_change = is_of_tenant(viewer, self.video), _may_change(viewer, self.video)
        view = self._views.get((of_tenant, may_change))
        if view is None:
            view = VideoView(
                video=self.video,
                run=self._run,
                next_run=self._next_run,
                of_tenant=of_tenant,
                may_change=may_change,
            )
            self._views[of_tenant, may_change] = view
        return view

    @property
    def changes_soon(self) -> bool:
        """Whether workers or the intake are about to change it."""
        return self.video.status in _IN_WORK or self.video.next_run is not None

    def to_bytes(self) -> bytes:
        """Return it as a cache that processes share takes it: the items of the table."""
        items = [one and one.to_item() for one in (self.video, self._run, self._next_run)]
        return json.dumps(items, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ValueError: If it is something else.
        """
        video, run, next_run = json.loads(data)
        return cls(
            Video.from_item(video),
            run and Run.from_item(run),
            next_run and Run.from_item(next_run),
        )


def video_cache(url: str) -> ViewCache[StoredVideo]:
    """Return what keeps videos: the Valkey of the stage, or without one the memory of the process.

    Args:
        url: Where Valkey is, or ``NO_CACHE``.
    """
    if url == NO_CACHE:
        return VideoCache()
    from media_api.shared_cache import SharedCache, connect  # noqa: PLC0415 - most stages have none

    return SharedCache(connect(url), StoredVideo.from_bytes)


@dataclass(frozen=True)
class Changed:
    """A video that was changed.

    Attributes:
        view: The video.
        replayed: Whether an earlier request with the same key changed it.
    """

    view: VideoView
    replayed: bool


@dataclass(frozen=True)
class VideoPage:
    """A page of a list.

    Attributes:
        views: The videos, newest first.
        next_cursor: Cursor of the next page, if there may be one.
    """

    views: list[VideoView]
    next_cursor: str | None


class Videos:
    """The videos of all tenants, each caller seeing its own tenant's.

    Attributes:
        table: The table.

    Args:
        videos: The table.
        cache: Keeps what was read of single videos, whoever may see it.
        idempotency: Knows what requests with a key did.
        region: Region whose videos are written here.
        restore_days: Days for which a deleted video may be restored.
        elsewhere: The same with the tables of other regions, which change the videos that are at
            home there. Default: such videos are not changed from here.
    """

    def __init__(
        self,
        videos: VideoTable,
        cache: ViewCache[StoredVideo],
        idempotency: Idempotency,
        *,
        region: str,
        restore_days: int,
        elsewhere: Mapping[str, Videos] | None = None,
    ) -> None:
        self._elsewhere = elsewhere or {}
        self.table = videos
        self._cache = cache
        self._idempotency = idempotency
        self._region = region
        self._restore_days = restore_days

    async def get(self, viewer: Caller | None, video_id: str) -> VideoView:
        """Return a video that the viewer may see, with its current run.

        Args:
            viewer: Who asks. ``None``: somebody who is not signed in.
            video_id: The video.

        Raises:
            Problem: If there is none.
        """
        stored = None
        if is_id(video_id):
            stored = await self._cache.get(video_id, lambda: self._stored(video_id))
        if (
            stored is None
            or stored.video.status is VideoStatus.DELETED
            or not _may_see(viewer, stored.video)
        ):
            raise _not_found()
        return stored.shown_to(viewer)

    async def of_tenant(self, caller: Caller, video_id: str) -> VideoView:
        """Return a video of the caller's tenant that he may see, as the last write left it.

        Raises:
            Problem: If there is none.
        """
        video = await self._find(caller, video_id)
        if video.status is VideoStatus.DELETED:
            raise _not_found()
        return await self._view(caller, video)

    async def to_change(self, caller: Caller, video_id: str) -> VideoView:
        """Return a video that the caller may change here (:meth:`changeable`), with its run."""
        return await self._view(caller, await self.changeable(caller, video_id))

    async def _stored(self, video_id: str) -> StoredVideo | None:
        video = await self.table.video(video_id)
        return None if video is None else await self._with_runs(video)

    async def _with_runs(self, video: Video) -> StoredVideo:
        """Return a video with its runs, those of them that a worker took."""
        run = next_run = None
        if video.current_run is not None:
            run = await self.table.run(video.video_id, video.current_run)
        if video.next_run is not None:
            next_run = await self.table.run(video.video_id, video.next_run)
        return StoredVideo(video, run, next_run)

    async def list(self, caller: Caller, query: ListQuery) -> VideoPage:
        """Return a page of what the caller's tenant shares, or of the caller's own videos.

        Raises:
            Problem: If the cursor does not belong to the list, or the filters to each other.
        """
        videos = _list_of(caller, query)
        after = cursors.start_of_page(str(videos), query.cursor)
        page = await self.table.page(videos, limit=query.limit, after=after)
        runs = await self.table.runs(page.videos)
        views = [
            VideoView(
                video=video,
                run=runs.get(video.current_run or ""),
                next_run=runs.get(video.next_run or ""),
                may_change=_may_change(caller, video),
            )
            for video in page.videos
        ]
        cursor = cursors.encode(str(videos), page.last_id) if page.last_id else None
        return VideoPage(views, cursor)

    async def update(
        self,
        cause: Cause,
        video_id: str,
        edit: VideoUpdate | VideoPatch,
        *,
        if_match: str | None,
    ) -> VideoView:
        """Change what people may change about a video; what changes nothing is no change.

        Args:
            cause: The request.
            video_id: The video.
            edit: What is to become of it.
            if_match: Header ``If-Match``. Without one, the video is changed as it is now.

        Raises:
            Problem: If there is no such video, it was changed since the caller read it, or the
                caller may not change it.
        """

        async def decide(video: Video) -> Step | None:
            refuse_deleted(video)
            return decisions.update(video, edit, user=cause.caller.user, if_match=if_match)

        try:
            changed = await self.change(cause, video_id, decide)
        except ChangedSinceError as error:
            raise await self._changed_since(cause.caller, error.video) from None
        return changed.view

    async def delete(self, cause: Cause, video_id: str) -> None:
        """Delete a video; deleting it once more changes nothing.

        Raises:
            Problem: If there is no such video, the caller is neither its owner nor an
                administrator, another region is home to it, or it keeps changing.
        """

        async def decide(video: Video) -> Step | None:
            return decisions.delete(
                video,
                user=cause.caller.user,
                table_name=self.table.name,
                restore_days=self._restore_days,
            )

        await self.change(cause, video_id, decide)

    async def restore(
        self, cause: Cause, video_id: str, keyed: KeyedRequest | None = None
    ) -> Changed:
        """Make a deleted video what it was; one that is not deleted stays as it is.

        Args:
            cause: The request.
            video_id: The video.
            keyed: The request, if it may be a repeat.

        Raises:
            Problem: If there is no such video, its time is over, or the caller may not.
        """

        async def decide(video: Video) -> Step | None:
            return decisions.restore(video, user=cause.caller.user, table_name=self.table.name)

        return await self.change(cause, video_id, decide, keyed)

    async def transcode(
        self,
        cause: Cause,
        video_id: str,
        wanted: TranscodeRequest,
        keyed: KeyedRequest | None = None,
    ) -> Changed:
        """Ask for another run of a video.

        Args:
            cause: The request.
            video_id: The video.
            wanted: How it is to be transcoded.
            keyed: The request, if it may be a repeat.

        Raises:
            Problem: If there is no such video, it cannot be transcoded again, or the caller may
                not.
        """

        async def decide(video: Video) -> Step:
            refuse_deleted(video)
            return decisions.transcode(
                video,
                user=cause.caller.user,
                profile=wanted.profile or video.profile,
                quality=wanted.quality or video.quality,
                table_name=self.table.name,
            )

        return await self.change(cause, video_id, decide, keyed)

    async def cancel(
        self, cause: Cause, video_id: str, keyed: KeyedRequest | None = None
    ) -> Changed:
        """End the transcoding of a video.

        Args:
            cause: The request.
            video_id: The video.
            keyed: The request, if it may be a repeat.

        Raises:
            Problem: If there is no such video, it is not being transcoded, or the caller may not.
        """

        async def decide(video: Video) -> Step:
            refuse_deleted(video)
            return decisions.cancel(video, user=cause.caller.user, table_name=self.table.name)

        return await self.change(cause, video_id, decide, keyed)

    async def change(
        self,
        cause: Cause,
        video_id: str,
        decide: Callable[[Video], Awaitable[Step | None]],
        keyed: KeyedRequest | None = None,
    ) -> Changed:
        """Change a video as ``decide`` says, which is asked again when others were faster.

        Args:
            cause: The request.
            video_id: The video.
            decide: Says what is to be done; also of a video that is DELETED.
            keyed: The request, if it may be a repeat.

        Returns:
            The video after the change, or as it is if nothing is to be changed.

        Raises:
            Problem: If the caller may not change it, a region is home to it that is not known
                here, or it keeps changing.
            botocore.exceptions.ClientError: If its home region does not answer.
        """
        at_home = await self.at_home(cause.caller, video_id)
        return await at_home.change_here(cause, video_id, decide, keyed)

    async def change_here(
        self,
        cause: Cause,
        video_id: str,
        decide: Callable[[Video], Awaitable[Step | None]],
        keyed: KeyedRequest | None = None,
    ) -> Changed:
        """Change a video as :meth:`change` does, of which it is known that it is at home here.

        Raises:
            Problem: If the caller may not change it, another region is home to it after all, or it
                keeps changing.
        """
        caller = cause.caller
        record = self._idempotency.record(keyed, Done(reference=video_id, status=200))
        async for _ in _attempts():
            if await self._idempotency.done_by(keyed) is not None:
                return Changed(await self.get(caller, video_id), replayed=True)
            video = await self._changeable(caller, video_id)
            step = await decide(video)
            if step is None:
                return Changed(await self._view(caller, video), replayed=False)
            # A DELETED video may be deleted again anywhere, which changes nothing.
            self._refuse_elsewhere(video)
            change = contract.change(
                self.table.name,
                video,
                region=self._region,
                event_type=step.event_type,
                event_data=step.event_data,
                **step.changes,
            )
            entry = cause.entry(
                step.action, video_id=video_id, subject=step.subject, changed=step.changes
            )
            try:
                await self.table.write(change, entry, *step.writes, *record)
            except StaleVideoError:
                continue
            return Changed(await self._view(caller, change.video), replayed=False)
        raise _changed_meanwhile(video_id)

    async def at_home(self, caller: Caller, video_id: str) -> Videos:
        """Return what changes a video: conditions hold in its home region only.

        Whoever decides on a change by other items of the video reads them in the table of that.

        Raises:
            Problem: If the caller may not know of it; a home region that does not answer would tell
                of it.
        """
        if not self._elsewhere:
            return self
        video = await self._find(caller, video_id)
        return self._elsewhere.get(video.home_region, self)

    async def changeable(self, caller: Caller, video_id: str) -> Video:
        """Return a video, not deleted, that the caller may change here.

        Raises:
            Problem: If there is no such video, the caller is neither its owner nor an
                administrator, or another region is home to it.
        """
        video = await self._changeable(caller, video_id)
        if video.status is VideoStatus.DELETED:
            raise _not_found()
        return video

    async def _changeable(self, caller: Caller, video_id: str) -> Video:
        """Return a video, deleted or not, that the caller may change here."""
        video = await self._find(caller, video_id)
        if not _may_change(caller, video):
            if video.status is VideoStatus.DELETED:
                raise _not_found()
            raise Problem(
                Kind.FORBIDDEN,
                f"only its owner and users in the group {ADMIN_GROUP} may change or delete video "
                f"{video_id}; ask one of them",
            )
        if video.status is not VideoStatus.DELETED:
            self._refuse_elsewhere(video)
        return video

    def _refuse_elsewhere(self, video: Video) -> None:
        """Change nothing of a video that is at home in another region.

        Raises:
            Problem: If it is.
        """
        if video.home_region != self._region:
            raise Problem(
                Kind.OTHER_REGION,
                f"video {video.video_id} is at home in {video.home_region}, and this is "
                f"{self._region}; send the request there",
            )

    async def _changed_since(self, caller: Caller, video: Video) -> Problem:
        current = (await self._view(caller, video)).representation.entity_tag
        return Problem(
            Kind.PRECONDITION_FAILED,
            f"video {video.video_id} is at version {video.version}, which If-Match does not name; "
            "read it again, decide again, and send the ETag of that answer",
            headers={"ETag": current},
        )

    async def _view(self, viewer: Caller | None, video: Video) -> VideoView:
        """Return a video with what its run adds."""
        return (await self._with_runs(video)).shown_to(viewer)

    async def _find(self, caller: Caller, video_id: str) -> Video:
        """Return a video of the tenant, deleted or not, if the caller may know of it."""
        video = await self.table.video(video_id) if is_id(video_id) else None
        if video is None or not is_of_tenant(caller, video) or not _may_see(caller, video):
            raise _not_found()
        return video


async def _attempts() -> AsyncIterator[int]:
    """Count the attempts at a write that others may be faster with, after a pause each but one."""
    for attempt in range(_WRITE_ATTEMPTS):
        if attempt:
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311
        yield attempt


def refuse_deleted(video: Video) -> None:
    """Let nobody do anything with a DELETED video.

    Raises:
        Problem: If it is one.
    """
    if video.status is VideoStatus.DELETED:
        raise _not_found()


def _may_change(viewer: Caller | None, video: Video) -> bool:
    return (
        viewer is not None
        and is_of_tenant(viewer, video)
        and (video.owner == viewer.user or viewer.is_in(ADMIN_GROUP))
    )


def _changed_meanwhile(video_id: str) -> Problem:
    return Problem(
        Kind.CHANGED_MEANWHILE,
        f"video {video_id} was changed by others {_WRITE_ATTEMPTS} times in a row; try again",
    )


def is_of_tenant(viewer: Caller | None, video: Video) -> bool:
    """Tell whether a viewer is of the tenant of a video, and sees all of it."""
    return viewer is not None and viewer.tenant == video.tenant


def _may_see(viewer: Caller | None, video: Video) -> bool:
    match video.visibility:
        case Visibility.PUBLIC:
            return True
        case Visibility.TENANT:
            return is_of_tenant(viewer, video)
    return viewer is not None and is_of_tenant(viewer, video) and viewer.user == video.owner


def _not_found() -> Problem:
    """Return one and the same problem, whether a video is unknown, deleted or someone else's."""
    return Problem(
        Kind.VIDEO_NOT_FOUND,
        "there is no video with this id that you may see; check the id in the path, "
        "or list the videos at /api/videos",
    )


def _list_of(caller: Caller, query: ListQuery) -> VideoList:
    status = query.status.value if query.status else None
    if query.tag is not None:
        return _list_of_tag(caller, query, query.tag)
    if query.visibility:
        raise invalid("query.visibility", "it goes with owner=me and a tag only; remove it")
    if query.owner:
        if status:
            partition = table.owner_status_videos(caller.tenant, caller.user, status)
            return VideoList(table.OWNER_STATUS_VIDEOS, partition)
        return VideoList(table.OWNER_VIDEOS, table.owner_videos(caller.tenant, caller.user))
    if query.status is VideoStatus.DELETED:
        raise invalid(
            "query.status", "deleted videos are listed to their owners only; add owner=me"
        )
    if status:
        partition = table.tenant_status_videos(caller.tenant, status)
        return VideoList(table.TENANT_STATUS_VIDEOS, partition)
    return VideoList(table.TENANT_VIDEOS, table.tenant_videos(caller.tenant))


def _list_of_tag(caller: Caller, query: ListQuery, tag: str) -> VideoList:
    """Return a list that an index keeps; no list is one of which some entries are left out."""
    if query.status:
        raise invalid("query.status", "no list is kept by tag and status; remove one of them")
    if bool(query.owner) is not bool(query.visibility):
        raise invalid(
            "query.tag",
            "lists by tag are kept of what the tenant shares, and of one's own PRIVATE videos; "
            "send neither owner nor visibility, or owner=me and visibility=PRIVATE",
        )
    partition = table.tag_videos(caller.tenant, tag, owner=caller.user if query.owner else None)
    return VideoList(table.TAG_VIDEOS, partition, tag)
