"""One turn over what was left: uploads that are due, parts of no video, runs that nobody took."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.environment import UploadSweepEnvironment
from media_platform.contract.events import EventType
from media_platform.contract.object_keys import RawKey
from media_platform.contract.times import timestamp
from media_platform.contract.upload import UploadSession
from media_platform.contract.video import Failure, Video, VideoStatus
from upload_intake.aws import LeftWork
from upload_intake.decision import run_to_start, sends_again
from upload_intake.intake import ContendedVideoError, Intake
from upload_intake.onward import Next
from upload_intake.s3_event import UploadedObject

_LOG = logging.getLogger(__name__)

HasTime = Callable[[], bool]
"""Tells whether one more piece of work fits into the invocation."""

LAST_LOOK = timedelta(days=1)
"""Time after an upload was given up at which it is looked at once more, for what came too late."""

BEGINNING = timedelta(hours=1)
"""Age from which on an upload in parts must belong to a video; it is written within seconds."""

ABANDONED = Failure(code="upload_abandoned", message="The file did not arrive in time.")


class Outcome(StrEnum):
    """What became of a piece of work."""

    TAKEN_IN = "taken_in"
    """The file was there; the event that should have told of it was lost."""

    ABANDONED = "abandoned"
    """The file was not there; the video is FAILED now."""

    CLEARED = "cleared"
    """The video no longer waits: what arrived for it is deleted, and the session with it."""

    ABORTED = "aborted"
    """An upload in parts belonged to no video."""

    SENT_AGAIN = "sent_again"
    """The job of a run that nobody took is in the queue again, or scanners are asked again."""

    LEFT = "left"
    """It changed meanwhile, or the time was over; the next turn looks again."""

    FAILED = "failed"
    """A call failed, or an item cannot be read; the next turn tries again."""


Work = Callable[[], Outcome | None]
"""Does one piece of work; ``None`` if there was nothing to do."""


class SweepError(RuntimeError):
    """Something could not be looked after; Lambda tries again, then raises an alarm."""


@dataclass(frozen=True)
class Sweeper:
    """Looks after what was left.

    Attributes:
        environment: Settings of the function.
        intake: Takes uploads in.
        left: The indexes of what is due and under way.
    """

    environment: UploadSweepEnvironment
    intake: Intake
    left: LeftWork

    def turn(self, has_time: HasTime) -> dict[str, int]:
        """Do what there is to do; may be called any number of times, also at the same time.

        Args:
            has_time: Asked before everything that may be left to the next turn.

        Returns:
            How much came to which outcome.

        Raises:
            SweepError: If something failed; the rest is done all the same.
            botocore.exceptions.ClientError: If the work cannot be listed.
        """
        now = datetime.now(UTC)
        outcomes: Counter[Outcome] = Counter()
        for what, work in self._work(now):
            outcome = self._do(what, work) if has_time() else Outcome.LEFT
            if outcome is not None:
                outcomes[outcome] += 1
        counted = {outcome.value: outcomes[outcome] for outcome in Outcome}
        if outcomes.total():
            _LOG.info("looked after what was left", extra=counted)
        if outcomes[Outcome.FAILED]:
            raise SweepError(
                f"{outcomes[Outcome.FAILED]} of {outcomes.total()} pieces of work could not be "
                "done; the log names each"
            )
        return counted

    def _work(self, now: datetime) -> Iterator[tuple[str, Work]]:
        """Yield what there may be to do, each with the name of what it is about."""
        region, bucket = self.environment.home_region, self.environment.raw_bucket
        for shard in range(table.SHARDS):
            for item in list(self.left.due_uploads(region, shard, timestamp())):
                yield str(item[table.PARTITION_KEY]), partial(self._upload, item, now)
        for key, upload_id in self.intake.uploads.unfinished(bucket, now - BEGINNING):
            yield key, partial(self._parts, key, upload_id)
        spent = cache(partial(self._is_spent, day=timestamp(now)[:10]))
        for shard in range(table.SHARDS):
            for item in self.left.in_flight(region, shard):
                video = Video.from_item(item)
                if video.held_back is not None:
                    if not spent(video.tenant):
                        yield video.video_id, partial(self._held_back, video.video_id)
                elif self._may_lack_a_job(video, now):
                    yield video.video_id, partial(self._run, video.video_id, now)

    def _do(self, what: str, work: Work) -> Outcome | None:
        """Do one piece of work; what fails there does not stop the others."""
        try:
            outcome = work()
        except (
            BotoCoreError,
            ClientError,
            ContendedVideoError,
            # What a malformed item leads to.
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            _LOG.exception(
                "something was not looked after: %s: %s",
                type(error).__name__,
                error,
                extra={"outcome": Outcome.FAILED.value, "subject": what},
            )
            return Outcome.FAILED
        if outcome not in {None, Outcome.LEFT}:
            _LOG.info("looked after one", extra={"outcome": outcome, "subject": what})
        return outcome

    def _upload(self, item: Mapping[str, Any], now: datetime) -> Outcome:
        session = UploadSession.from_item(item)
        video = self.intake.videos.read(session.video_id)
        if video is None or video.status is not VideoStatus.PENDING:
            return self._clear(session, video)
        # Ended first: from then on the file is there or never will be.
        self._end_parts(session)
        bucket = self.environment.raw_bucket
        versions = self.intake.uploads.versions(bucket, session.raw_key)
        if versions:
            self.intake.take(
                UploadedObject(bucket=bucket, key=session.raw_key, version_id=versions[0])
            )
            return Outcome.TAKEN_IN
        change = videos.change(
            self.environment.table_name,
            video,
            region=self.environment.home_region,
            event_type=EventType.VIDEO_FAILED,
            event_data={"code": ABANDONED.code, "message": ABANDONED.message},
            status=VideoStatus.FAILED,
            failure=ABANDONED,
        )
        later = replace(session, due_at=timestamp(now + LAST_LOOK))
        change.writes.append(later.put(self.environment.table_name))
        return Outcome.ABANDONED if self.intake.videos.write(change) else Outcome.LEFT

    def _clear(self, session: UploadSession, video: Video | None) -> Outcome:
        """Delete what arrived for a video that no longer waits, then the session.

        A video that was deleted while it waited is first kept from waiting again once restored.
        """
        if video is not None and video.deleted_from is VideoStatus.PENDING:
            change = videos.change(
                self.environment.table_name,
                video,
                region=self.environment.home_region,
                deleted_from=VideoStatus.FAILED,
                failure=ABANDONED,
            )
            if not self.intake.videos.write(change):
                return Outcome.LEFT
        if video is None or video.raw_version_id is None:
            if RawKey.parse(session.raw_key).video_id != session.video_id:
                raise ValueError(f"the session of {session.video_id} names {session.raw_key!r}")
            self._end_parts(session)
            self.intake.uploads.remove(self.environment.raw_bucket, session.raw_key)
        self.left.end_session(session.video_id)
        return Outcome.CLEARED

    def _end_parts(self, session: UploadSession) -> None:
        if session.upload_id is not None:
            self.intake.uploads.abort(
                self.environment.raw_bucket, session.raw_key, session.upload_id
            )

    def _parts(self, key: str, upload_id: str) -> Outcome | None:
        session = self.left.session(RawKey.parse(key).video_id)
        if session is not None and session.upload_id == upload_id:
            return None
        self.intake.uploads.abort(self.environment.raw_bucket, key, upload_id)
        return Outcome.ABORTED

    def _may_lack_a_job(self, video: Video, now: datetime) -> bool:
        return run_to_start(video) is not None and sends_again(
            now - datetime.fromisoformat(video.updated_at),
            timedelta(minutes=self.environment.interval_minutes),
        )

    def _is_spent(self, tenant: str, *, day: str) -> bool:
        limit = self.environment.max_tenant_daily_cpu_seconds
        return bool(limit) and self.left.budget(tenant, day).is_spent(limit)

    def _held_back(self, video_id: str) -> Outcome | None:
        """Send the job of a video that waited for another day; from now on it waits as others."""
        video = self.intake.videos.read(video_id)
        if video is None or video.held_back is None or run_to_start(video) is None:
            return None
        change = videos.change(
            self.environment.table_name,
            video,
            region=self.environment.home_region,
            held_back=None,
        )
        if not self.intake.videos.write(change):
            return Outcome.LEFT
        done = self.intake.onward.go_on(change.video, self.environment.raw_bucket)
        return Outcome.LEFT if done is Next.CHANGED else Outcome.SENT_AGAIN

    def _run(self, video_id: str, now: datetime) -> Outcome | None:
        # The index lags behind, and the work before took its time.
        video = self.intake.videos.read(video_id)
        run_id = run_to_start(video) if video is not None else None
        if video is None or run_id is None or not self._may_lack_a_job(video, now):
            return None
        if self.left.has_run(video_id, run_id):
            return None
        done = self.intake.onward.go_on(video, self.environment.raw_bucket)
        return Outcome.LEFT if done is Next.CHANGED else Outcome.SENT_AGAIN
