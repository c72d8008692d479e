"""Uploads under way: what is still to be sent, and how they end.

S3 decides between completing and aborting: whichever it does first makes the other find nothing. So
both ask S3 first and then look what is there, and may be repeated, or killed at any point.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from media_api.audit import Cause
from media_api.problems import Kind, Problem, invalid
from media_api.representation import VideoView
from media_api.store import StaleVideoError, VideoTable
from media_api.tokens import Caller
from media_api.upload_models import (
    ArrivedPartBody,
    MultipartUploadBody,
    PartsToSign,
    PartUploadBody,
    PartUploadsBody,
    SingleUploadBody,
    UploadBody,
)
from media_api.uploads import ArrivedPart, Completion, RawBucket, expiry
from media_api.videos import Videos
from media_platform.contract import video as contract
from media_platform.contract.audit import AuditAction
from media_platform.contract.events import EventType
from media_platform.contract.upload import UploadKind, UploadSession
from media_platform.contract.video import Failure, Video, VideoStatus

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05
_LISTED_PARTS = 100
"""Most part numbers that a problem names."""

ABORTED = Failure(
    code="upload_aborted", message="The upload was given up before the file was complete."
)


class UploadSessions:
    """The uploads of all tenants, each for those who may change its video.

    Args:
        videos: The videos.
        videos_table: The table.
        raw: The raw bucket.
        region: Region whose videos are written here.
        url_seconds: Longest life of a URL.
    """

    def __init__(
        self,
        videos: Videos,
        videos_table: VideoTable,
        raw: RawBucket,
        *,
        region: str,
        url_seconds: int,
    ) -> None:
        self._videos = videos
        self._table = videos_table
        self._raw = raw
        self._region = region
        self._url_seconds = url_seconds

    async def begun(self, video: Video, session: UploadSession) -> UploadBody:
        """Return how the file of a video is uploaded, before anything arrived."""
        if session.kind is UploadKind.MULTIPART:
            return _in_parts(session, [])
        now, seconds = self._now(session)
        put = await self._raw.sign_put(video, sha256=session.sha256, seconds=max(1, seconds))
        return SingleUploadBody(
            url=put.url, headers=put.headers, expires_at=expiry(now, max(1, seconds))
        )

    async def state(self, caller: Caller, video_id: str) -> UploadBody:
        """Return how the file of a video is uploaded, and what of it arrived.

        Raises:
            Problem: If the caller may not change the video, or it waits for no file.
        """
        video = await self._videos.changeable(caller, video_id)
        session = await self._open(video)
        if session.kind is UploadKind.SINGLE:
            if await self._raw.has(session.raw_key):
                raise _not_uploading(video, "its file is there and is being taken in")
            return await self.begun(video, session)
        return _in_parts(session, await self._parts(video, session))

    async def sign_parts(
        self, caller: Caller, video_id: str, wanted: PartsToSign
    ) -> PartUploadsBody:
        """Return where parts are to be sent.

        Raises:
            Problem: If the caller may not change the video, it waits for no file, or a part is
                none of its file.
        """
        video = await self._videos.changeable(caller, video_id)
        session = await self._open(video)
        if session.kind is UploadKind.SINGLE:
            raise _not_uploading(
                video, "its file is uploaded with one PUT; get its URL at /upload instead"
            )
        for index, part in enumerate(wanted.parts):
            if part.number > session.parts:
                raise invalid(
                    f"body.parts.{index}.number",
                    f"{part.number} is no part of the file, which has {session.parts}; send 1 to "
                    f"{session.parts}",
                )
        now, seconds = self._now(session)
        signed = [
            PartUploadBody(number=part.number, url=put.url, headers=put.headers)
            for part in wanted.parts
            for put in [
                await self._raw.sign_part(session, part.number, sha256=part.sha256, seconds=seconds)
            ]
        ]
        return PartUploadsBody(parts=signed, expires_at=expiry(now, seconds))

    async def complete(self, caller: Caller, video_id: str) -> VideoView:
        """Make the file of its parts; who does it again gets the same answer.

        Raises:
            Problem: If the caller may not change the video, it waits for no file, or parts of it
                are missing.
        """
        async for _ in _attempts():
            video = await self._videos.changeable(caller, video_id)
            if video.raw_version_id is not None:
                return await self._videos.get(caller, video_id)
            session = await self._waiting(video)
            if session.kind is UploadKind.SINGLE:
                if not await self._raw.has(session.raw_key):
                    raise _incomplete(session, missing=[1], wrong=[])
                return await self._videos.get(caller, video_id)
            parts = await self._raw.parts(session)
            if parts is None:
                if await self._raw.has(session.raw_key):
                    return await self._videos.get(caller, video_id)
                # Aborted, and what aborted it writes that just now.
                continue
            _check_parts(session, parts)
            if await self._raw.complete(session, parts) is Completion.DONE:
                return await self._videos.get(caller, video_id)
        raise _not_uploading(video, "its upload was aborted, so that no part of it is left")

    async def abort(self, cause: Cause, video_id: str) -> VideoView:
        """Give an upload up; who does it again gets the same answer.

        The upload in parts ends first: a video that is FAILED gets no file any more. One PUT
        cannot be called back; a file that comes of it is deleted by the sweep.

        Raises:
            Problem: If the caller may not change the video, or it waits for no file.
        """
        caller = cause.caller
        async for _ in _attempts():
            video = await self._videos.changeable(caller, video_id)
            if video.failure is not None and video.failure.code == ABORTED.code:
                return await self._videos.get(caller, video_id)
            session = await self._waiting(video)
            if session.kind is UploadKind.MULTIPART:
                await self._raw.abort(session)
            if await self._raw.has(session.raw_key):
                raise _not_uploading(
                    video, "its file is there already; delete the video if it is not wanted"
                )
            change = contract.change(
                self._table.name,
                video,
                region=self._region,
                event_type=EventType.VIDEO_FAILED,
                event_data={"code": ABORTED.code, "message": ABORTED.message},
                status=VideoStatus.FAILED,
                failure=ABORTED,
            )
            entry = cause.entry(AuditAction.UPLOAD_ABORTED, video_id=video_id)
            try:
                await self._table.write(change, entry)
            except StaleVideoError:
                continue
            return await self._videos.get(caller, video_id)
        raise Problem(
            Kind.CHANGED_MEANWHILE,
            f"video {video_id} was changed by others {_ATTEMPTS} times in a row; try again",
        )

    async def _waiting(self, video: Video) -> UploadSession:
        """Return the session of a video that waits for its file."""
        session = None
        if video.status is VideoStatus.PENDING:
            session = await self._table.session(video.video_id)
        if session is None:
            raise _not_uploading(video, f"it is {video.status}")
        return session

    async def _open(self, video: Video) -> UploadSession:
        """Return the session of a video whose file may still be sent."""
        session = await self._waiting(video)
        if not self._now(session)[1]:
            raise _not_uploading(video, f"the time for its upload was over at {session.open_until}")
        return session

    async def _parts(self, video: Video, session: UploadSession) -> list[ArrivedPart]:
        parts = await self._raw.parts(session)
        if parts is None:
            there = await self._raw.has(session.raw_key)
            raise _not_uploading(
                video, "its file is being taken in" if there else "its upload was aborted"
            )
        return parts

    def _now(self, session: UploadSession) -> tuple[datetime, int]:
        """Return the present time, and how long a URL may live that is signed now."""
        now = datetime.now(UTC)
        return now, session.url_seconds(now, self._url_seconds)


def _in_parts(session: UploadSession, arrived: list[ArrivedPart]) -> MultipartUploadBody:
    return MultipartUploadBody(
        part_bytes=session.part_bytes or 0,
        parts=session.parts,
        arrived=[
            ArrivedPartBody(
                number=part.number, size_bytes=part.size_bytes, sha256=part.sha256, etag=part.etag
            )
            for part in arrived
        ],
        expires_at=session.open_until,
    )


def _check_parts(session: UploadSession, parts: list[ArrivedPart]) -> None:
    """Check that the parts are the file.

    Raises:
        Problem: If they are not.
    """
    arrived = {part.number: part.size_bytes for part in parts}
    numbers = range(1, session.parts + 1)
    missing = [number for number in numbers if number not in arrived]
    wrong = [
        number
        for number, size_bytes in arrived.items()
        if number not in numbers or size_bytes != session.part_length(number)
    ]
    if missing or wrong:
        raise _incomplete(session, missing=missing, wrong=wrong)


def _incomplete(session: UploadSession, *, missing: list[int], wrong: list[int]) -> Problem:
    said = []
    if missing:
        said.append(f"{len(missing)} of {session.parts} parts are missing ({_listed(missing)})")
    if wrong:
        said.append(f"{len(wrong)} have another size than announced ({_listed(wrong)})")
    return Problem(
        Kind.UPLOAD_INCOMPLETE,
        f"{' and '.join(said)}; send them, then complete the upload again",
        missing_parts=missing[:_LISTED_PARTS],
        wrong_parts=wrong[:_LISTED_PARTS],
    )


def _listed(numbers: list[int], most: int = 10) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


def _not_uploading(video: Video, why: str) -> Problem:
    return Problem(
        Kind.NOT_UPLOADING,
        f"video {video.video_id} waits for no upload: {why}",
        video_status=video.status.value,
    )


async def _attempts() -> AsyncIterator[int]:
    for attempt in range(_ATTEMPTS):
        if attempt:
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311
        yield attempt
