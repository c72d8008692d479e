"""How a video comes to be: its quota, its upload, and the transaction that writes it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from media_api.audit import Cause
from media_api.idempotency import Done, Idempotency, KeyedRequest
from media_api.models import NewVideo
from media_api.problems import Problem, invalid, unavailable
from media_api.quotas import Quotas
from media_api.representation import VideoView
from media_api.store import StaleVideoError, VideoTable
from media_api.tokens import Caller
from media_api.upload_models import UploadBody
from media_api.upload_sessions import UploadSessions
from media_api.uploads import RawBucket
from media_api.videos import Videos
from media_platform.contract import duplicates
from media_platform.contract import video as contract
from media_platform.contract.audit import AuditAction, AuditEntry
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.media_types import EXTENSIONS
from media_platform.contract.object_keys import RawKey
from media_platform.contract.times import timestamp
from media_platform.contract.upload import (
    SINGLE_PUT_MAX_BYTES,
    UploadKind,
    UploadSession,
    kind_of,
)
from media_platform.contract.usage import Usage
from media_platform.contract.video import Change, Duplicates, Video, VideoStatus

_ATTEMPTS = 10
"""All that a tenant creates meets at what it uses, so more attempts than for one video."""

_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_RETRY_SECONDS = 5

CREATED, FOUND = 201, 200


@dataclass(frozen=True, kw_only=True)
class Created:
    """A video that was created, or that has the file already.

    Attributes:
        view: The video.
        upload: How its file is uploaded, ``None`` if no file is needed any more.
        status: :data:`CREATED`, or :data:`FOUND` for a video that was there before.
        replayed: Whether an earlier request with the same key created it.
    """

    view: VideoView
    upload: UploadBody | None
    status: int = CREATED
    replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class _Birth:
    """All that one transaction writes for a new video.

    Attributes:
        change: The video and its event.
        entry: The audit entry.
        more: What the tenant then uses more.
        writes: Its upload, and the record of the request.
    """

    change: Change
    entry: AuditEntry
    more: Usage
    writes: tuple[TransactItem, ...]


class Creation:
    """Creates videos.

    Args:
        videos: The videos.
        videos_table: The table.
        raw: The raw bucket.
        sessions: Describes uploads.
        quotas: What tenants use and may use.
        idempotency: Knows what requests with a key did.
        region: Home region of the videos that are created here.
        upload_max_bytes: Largest file.
        url_seconds: Longest life of a URL.
    """

    def __init__(
        self,
        videos: Videos,
        videos_table: VideoTable,
        *,
        raw: RawBucket,
        sessions: UploadSessions,
        quotas: Quotas,
        idempotency: Idempotency,
        region: str,
        upload_max_bytes: int,
        url_seconds: int,
    ) -> None:
        self._videos = videos
        self._table = videos_table
        self._raw = raw
        self._sessions = sessions
        self._quotas = quotas
        self._idempotency = idempotency
        self._region = region
        self._upload_max_bytes = upload_max_bytes
        self._url_time = timedelta(seconds=url_seconds)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self, cause: Cause, new: NewVideo, keyed: KeyedRequest | None = None
    ) -> Created:
        """Create a video and say how its file is uploaded.

        The upload in parts is begun before the video is written: who dies in between leaves parts
        that belong to no video, which are found and ended; the other way round he would leave a
        video that waits for an upload nobody can make.

        Args:
            cause: The request; the transcoding continues its trace.
            new: What is known of it.
            keyed: The request, if it may be a repeat.

        Raises:
            Problem: If the file is too large, the tenant may not have it, or the key was used for
                another request.
        """
        caller = cause.caller
        before = await self._created_before(caller, keyed) or await self._found(caller, new)
        if before is not None:
            return before
        self._check(new)
        video = self._video(cause, new)
        more = Usage(videos=1, stored_bytes=video.size_bytes, uploads=1)
        session = self._session(video, new)
        if session.kind is UploadKind.MULTIPART:
            if problem := (await self._quotas.of(caller.tenant)).refusal(more):
                raise problem
            session = self._session(video, new, upload_id=await self._raw.begin(video))
        # Signed first: a failure then leaves nothing behind.
        upload = await self._sessions.begun(video, session)
        done = Done(reference=video.video_id, status=CREATED)
        birth = _Birth(
            change=contract.create(self._table.name, video),
            entry=cause.entry(AuditAction.VIDEO_CREATED, video_id=video.video_id),
            more=more,
            writes=(session.put(self._table.name), *self._idempotency.record(keyed, done)),
        )
        try:
            before = await self._write(caller, birth, keyed)
        except Problem:
            await self._end(session)
            raise
        if before is not None:
            await self._end(session)
            return before
        return Created(view=VideoView(video=video, may_change=True), upload=upload)

    async def _write(
        self, caller: Caller, birth: _Birth, keyed: KeyedRequest | None
    ) -> Created | None:
        """Write the video, unless a request with the same key was faster, whose answer it returns.

        Raises:
            Problem: If the quota does not allow it, or others are always faster; then, and only
                then, it is certain that nothing was written.
        """
        # Those of one process take turns, since they would only be in each other's way.
        async with self._turns.setdefault(caller.tenant, asyncio.Lock()):
            async for _ in _attempts():
                usage = await self._quotas.of(caller.tenant)
                if problem := usage.refusal(birth.more):
                    raise problem
                try:
                    taken = self._quotas.take(usage, birth.more)
                    await self._table.write(birth.change, birth.entry, *taken, *birth.writes)
                except StaleVideoError:
                    if before := await self._created_before(caller, keyed):
                        return before
                    continue
                return None
        raise unavailable(
            "too many videos of the tenant are being created at the same time",
            retry_after_seconds=_RETRY_SECONDS,
        )

    async def _end(self, session: UploadSession) -> None:
        """End the upload in parts of a video that was not written."""
        if session.kind is UploadKind.MULTIPART:
            await self._raw.abort(session)

    def _check(self, new: NewVideo) -> None:
        if new.size_bytes > self._upload_max_bytes:
            raise invalid(
                "body.size_bytes",
                f"{new.size_bytes} bytes are more than the {self._upload_max_bytes} that one "
                "upload may have; upload a smaller or more compressed file",
            )
        if new.sha256 and kind_of(new.size_bytes) is UploadKind.MULTIPART:
            raise invalid(
                "body.sha256",
                f"a file of more than {SINGLE_PUT_MAX_BYTES} bytes is uploaded in parts, of which "
                "S3 verifies each by its own checksum; leave it out here, and send those of the "
                "parts when you ask for their URLs",
            )

    def _video(self, cause: Cause, new: NewVideo) -> Video:
        caller, video_id, now = cause.caller, new_id(), timestamp()
        key = RawKey(caller.tenant, caller.user, video_id, EXTENSIONS[new.content_type])
        return Video(
            video_id=video_id,
            tenant=caller.tenant,
            owner=caller.user,
            home_region=self._region,
            title=new.title,
            file_name=new.file_name,
            content_type=new.content_type,
            size_bytes=new.size_bytes,
            raw_key=str(key),
            created_at=now,
            updated_at=now,
            visibility=new.visibility,
            rules=new.rules.to_rules() if new.rules else None,
            description=new.description,
            tags=tuple(new.tags),
            duplicates=new.duplicates,
            traceparent=str(cause.trace),
        )

    def _session(
        self, video: Video, new: NewVideo, *, upload_id: str | None = None
    ) -> UploadSession:
        return UploadSession.begin(
            video_id=video.video_id,
            region=video.home_region,
            raw_key=video.raw_key,
            size_bytes=video.size_bytes,
            now=datetime.now(UTC),
            url_time=self._url_time,
            upload_id=upload_id,
            sha256=new.sha256,
        )

    async def _found(self, caller: Caller, new: NewVideo) -> Created | None:
        """Return the video that has the file already, if that is known and wanted."""
        if new.sha256 is None or new.duplicates is Duplicates.KEEP:
            return None
        keys = duplicates.guard_keys(caller.tenant, caller.user, new.sha256, new.size_bytes)
        for video_id in (await self._table.guarded(keys)).values():
            other = await self._table.video(video_id) if video_id is not None else None
            if other is not None and duplicates.stands_for(
                other, tenant=caller.tenant, owner=caller.user
            ):
                view = await self._videos.get(caller, other.video_id)
                return Created(view=view, upload=None, status=FOUND)
        return None

    async def _created_before(self, caller: Caller, keyed: KeyedRequest | None) -> Created | None:
        """Return what a request created, as it is now, with an upload that is signed anew."""
        done = await self._idempotency.done_by(keyed)
        if done is None:
            return None
        view = await self._videos.get(caller, done.reference)
        upload = None
        if view.video.status is VideoStatus.PENDING:
            session = await self._table.session(view.video.video_id)
            upload = await self._sessions.begun(view.video, session) if session else None
        return Created(view=view, upload=upload, status=done.status, replayed=True)


async def _attempts() -> AsyncIterator[int]:
    for attempt in range(_ATTEMPTS):
        if attempt:
            pause = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**attempt)
            await asyncio.sleep(pause * random.random())  # noqa: S311
        yield attempt
