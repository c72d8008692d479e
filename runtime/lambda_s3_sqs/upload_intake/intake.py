"""The way of one upload: look, judge, write, and take it on."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import Any, Self

from media_platform.contract import duplicates, table
from media_platform.contract import video as videos
from media_platform.contract.environment import UploadIntakeEnvironment
from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.jobs import REQUESTED_PART, TranscodeJob
from media_platform.contract.object_keys import RawKey
from media_platform.contract.times import timestamp
from media_platform.contract.tracing import TraceContext
from media_platform.contract.upload import end_session
from media_platform.contract.video import Change, Duplicates, Failure, Video, VideoStatus
from upload_intake.aws import Jobs, Uploads, Videos
from upload_intake.decision import (
    Step,
    StoredObject,
    duplicate,
    fault,
    next_step,
    run_to_start,
)
from upload_intake.onward import Next, Onward
from upload_intake.s3_event import UploadedObject

_LOG = logging.getLogger(__name__)

MAX_DECISIONS = 8
"""Decisions on one event, each made anew because something changed; then Lambda retries it."""

_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class ContendedVideoError(RuntimeError):
    """The video changed at every attempt; Lambda retries the event."""


@dataclass(frozen=True)
class Intake:
    """Takes uploads in.

    Attributes:
        environment: Settings of the function.
        videos: The table.
        uploads: The raw bucket.
        onward: Takes on what was taken in: to the scanners, or to the workers.
        jobs: The queue of jobs that start no run.
    """

    environment: UploadIntakeEnvironment
    videos: Videos
    uploads: Uploads
    onward: Onward
    jobs: Jobs

    @classmethod
    def connect(cls, environment: UploadIntakeEnvironment) -> Self:
        """Make the clients that the environment of a function calls for."""
        onward = Onward.connect(environment)
        return cls(
            environment=environment,
            videos=onward.videos,
            uploads=Uploads(),
            onward=onward,
            jobs=Jobs(environment.queue_url),
        )

    def take(self, uploaded: UploadedObject) -> str:
        """Take one upload in; may be called any number of times with the same one.

        Returns:
            What was done: ``accepted``, ``sent_again`` (the requests to the scanners, or the job),
            ``refused``, or why nothing was.

        Raises:
            ContendedVideoError: If the video changed at every attempt.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        fields: dict[str, Any] = {"key": uploaded.key, "object_version": uploaded.version_id}
        try:
            key = RawKey.parse(uploaded.key)
        except ValueError as error:
            _LOG.warning("ignored an upload: %s", error, extra={**fields, "outcome": "bad_key"})
            return "bad_key"
        fields |= {"video_id": key.video_id, "tenant": key.tenant}
        for attempt in range(MAX_DECISIONS):
            if attempt:
                # All that a tenant uploads meets at what it uses, so the next one steps aside.
                pause = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**attempt)
                time.sleep(pause * random.random())  # noqa: S311
            outcome = self._attempt(key, uploaded, fields)
            if outcome is not None:
                return outcome
        raise ContendedVideoError(
            f"video {key.video_id} changed {MAX_DECISIONS} times while its upload was judged"
        )

    def _attempt(self, key: RawKey, uploaded: UploadedObject, fields: dict[str, Any]) -> str | None:
        """Decide once; ``None`` if the video changed meanwhile."""
        video = self.videos.read(key.video_id)
        trace = TraceContext.parse(video.traceparent) if video is not None else None
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        step = next_step(
            video, key=key, uploaded=uploaded, home_region=self.environment.home_region
        )
        if video is not None and step is Step.SEND_AGAIN:
            return self._go_on(video, uploaded, fields, "sent_again")
        if video is None or step is not Step.JUDGE:
            _LOG.info("ignored an upload", extra={**fields, "outcome": step.value})
            return step.value

        stored = self.uploads.read(uploaded)
        if stored is None:
            _LOG.warning("the upload is gone", extra={**fields, "outcome": "gone"})
            return "gone"
        change = self._judge(video, uploaded, stored)
        if not self.videos.write(change):
            return None
        failure = change.video.failure
        if failure is not None:
            fields = {**fields, "outcome": "refused", "code": failure.code}
            _LOG.warning("refused an upload: %s", failure.message, extra=fields)
            return "refused"
        fields["run_id"] = change.video.current_run
        return self._go_on(change.video, uploaded, fields, "accepted")

    def _go_on(
        self, video: Video, uploaded: UploadedObject, fields: dict[str, Any], outcome: str
    ) -> str | None:
        """Take an UPLOADED video on; ``None`` if it changed meanwhile."""
        done = self.onward.go_on(video, uploaded.bucket)
        if done is Next.CHANGED:
            return None
        _LOG.info("took an upload in", extra={**fields, "outcome": outcome, "next": done.value})
        return outcome

    def _judge(self, video: Video, uploaded: UploadedObject, stored: StoredObject) -> Change:
        """Return the change that an upload leads to; the session of the upload ends with it."""
        failure = fault(video, stored, max_bytes=self.environment.upload_max_bytes)
        if failure is not None:
            return self._refuse(video, uploaded, stored, failure)
        checksum = stored.checksum_sha256
        if checksum is None:
            return self._accept(video, uploaded, stored, [])
        free, existing = self._same_content(video, checksum)
        if existing is not None and video.duplicates is Duplicates.REFUSE:
            return self._refuse(
                video, uploaded, stored, duplicate(existing), duplicate_of=existing.video_id
            )
        guards = duplicates.guard_writes(self.environment.table_name, video, checksum, free)
        return self._accept(video, uploaded, stored, guards)

    def _same_content(
        self, video: Video, checksum: str
    ) -> tuple[dict[table.Key, str | None], Video | None]:
        """Look for a video with the same content.

        Returns:
            The guards that stand for none, as they were read; and a video, if there is one.
        """
        keys = duplicates.guard_keys(video.tenant, video.owner, checksum, video.size_bytes)
        free: dict[table.Key, str | None] = {}
        existing = None
        for key, video_id in self.videos.guards(keys).items():
            other = self.videos.read(video_id) if video_id is not None else None
            if duplicates.stands_for(other, tenant=video.tenant, owner=video.owner):
                existing = existing or other
            else:
                free[key] = video_id
        return free, existing

    def _accept(
        self,
        video: Video,
        uploaded: UploadedObject,
        stored: StoredObject,
        guards: list[TransactItem],
    ) -> Change:
        run_id = new_id()
        change = videos.change(
            self.environment.table_name,
            video,
            region=self.environment.home_region,
            event_type=EventType.VIDEO_UPLOADED,
            event_data={
                "run_id": run_id,
                "content_type": video.content_type,
                "size_bytes": stored.size_bytes,
            },
            status=VideoStatus.UPLOADED,
            raw_version_id=uploaded.version_id,
            current_run=run_id,
            uploaded_at=timestamp(),
            checksum_sha256=stored.checksum_sha256,
            scan=self.onward.first_scan,
        )
        change.writes.extend([self._end_session(video), *guards])
        return change

    def _refuse(
        self,
        video: Video,
        uploaded: UploadedObject,
        stored: StoredObject,
        failure: Failure,
        *,
        duplicate_of: str | None = None,
    ) -> Change:
        data = {"code": failure.code, "message": failure.message}
        if duplicate_of is not None:
            data["duplicate_of"] = duplicate_of
        change = videos.change(
            self.environment.table_name,
            video,
            region=self.environment.home_region,
            event_type=EventType.VIDEO_FAILED,
            event_data=data,
            status=VideoStatus.FAILED,
            raw_version_id=uploaded.version_id,
            uploaded_at=timestamp(),
            checksum_sha256=stored.checksum_sha256,
            failure=failure,
            duplicate_of=duplicate_of,
            # It was not judged by a scanner, should somebody want it transcoded all the same.
            scan=self.onward.first_scan,
        )
        change.writes.append(self._end_session(video))
        return change

    def _end_session(self, video: Video) -> TransactItem:
        return end_session(self.environment.table_name, video.video_id)

    def send_part(self, event: DomainEvent) -> str:
        """Send the job of a part that somebody asked for, and wake a worker, which knows the rest.

        Whether the part is still wanted, and was not made before, the worker finds in the table.

        Returns:
            What was done: ``nothing_to_start``, or ``started``.

        Raises:
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        video = self.videos.read(event.video_id)
        if (
            video is None
            or video.home_region != self.environment.home_region
            or video.current_run is None
            or video.raw_version_id is None
        ):
            return "nothing_to_start"
        job = TranscodeJob(
            video_id=video.video_id,
            run_id=video.current_run,
            tenant=video.tenant,
            bucket=self.environment.raw_bucket,
            key=video.raw_key,
            version_id=video.raw_version_id,
            size_bytes=video.size_bytes,
            queued_at=event.occurred_at,
            part=event.data[REQUESTED_PART],
            region=video.media_region,
        )
        self.jobs.send(job, TraceContext.parse(video.traceparent))
        self.onward.workers.wake()
        fields = {"video_id": video.video_id, "run_id": job.run_id, "part": job.part}
        _LOG.info("sent the job of a part that was asked for", extra=fields)
        return Next.STARTED.value

    def start_awaited(self, video_id: str) -> str:
        """Start the run that a video waits for; may be called any number of times.

        Returns:
            What was done: ``nothing_to_start``, or what follows (``onward.Next``).

        Raises:
            ContendedVideoError: If the video changed at every attempt.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        for _ in range(MAX_DECISIONS):
            video = self.videos.read(video_id)
            if (
                video is None
                or video.home_region != self.environment.home_region
                or run_to_start(video) is None
            ):
                return "nothing_to_start"
            done = self.onward.go_on(video, self.environment.raw_bucket)
            if done is not Next.CHANGED:
                fields = {"video_id": video_id, "run_id": run_to_start(video), "outcome": done}
                _LOG.info("took a video on that was asked for again", extra=fields)
                return done.value
        raise ContendedVideoError(
            f"video {video_id} changed {MAX_DECISIONS} times while its run was to be started"
        )
