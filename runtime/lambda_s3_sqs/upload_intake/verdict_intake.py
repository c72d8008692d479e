"""The way of one verdict: look, judge, write, and take the video on or put its file away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from media_platform.contract import video as videos
from media_platform.contract.environment import ScanVerdictsEnvironment
from media_platform.contract.events import EventType
from media_platform.contract.scanning import Outcome, Scan, Verdict
from media_platform.contract.tracing import TraceContext
from media_platform.contract.video import (
    REFUSED_STATUSES,
    Change,
    Failure,
    Video,
    VideoStatus,
)
from upload_intake.aws import Videos
from upload_intake.intake import MAX_DECISIONS, ContendedVideoError
from upload_intake.onward import Next, Onward
from upload_intake.scans import Quarantine, Scans

_LOG = logging.getLogger(__name__)


class VerdictStep(StrEnum):
    """The next step; all but the first four leave everything as it is."""

    RECORD = "record"
    REFUSE = "refuse"
    GO_ON = "go_on"
    QUARANTINE = "quarantine"
    OTHER_SCANNER = "other_scanner"
    UNKNOWN_VIDEO = "unknown_video"
    OTHER_HOME_REGION = "other_home_region"
    OTHER_FILE = "other_file"
    LATE = "late"


def next_step(  # noqa: PLR0911 - one return for each answer
    video: Video | None, verdict: Verdict, *, scanner: str | None, home_region: str
) -> VerdictStep:
    """Say what a verdict means for the video as it stands.

    Args:
        video: The video.
        verdict: The verdict.
        scanner: Whose queue it came through, or ``None`` if that is no scanner of the stage.
        home_region: Region whose videos are changed.
    """
    if scanner is None or verdict.scanner != scanner:
        return VerdictStep.OTHER_SCANNER
    if video is None:
        return VerdictStep.UNKNOWN_VIDEO
    if video.home_region != home_region:
        return VerdictStep.OTHER_HOME_REGION
    if (verdict.run_id, verdict.version_id) != (video.current_run, video.raw_version_id):
        return VerdictStep.OTHER_FILE
    refused = verdict.outcome is Outcome.REFUSED
    if video.scan is Scan.REFUSED and video.status in REFUSED_STATUSES and refused:
        # The function may have died between the transaction and the tag.
        return VerdictStep.QUARANTINE
    if video.status is not VideoStatus.UPLOADED or video.scan is None:
        return VerdictStep.LATE
    if refused:
        return VerdictStep.REFUSE
    return VerdictStep.RECORD if video.scan is Scan.WAITING else VerdictStep.GO_ON


@dataclass(frozen=True, kw_only=True)
class VerdictIntake:
    """Takes verdicts in.

    Attributes:
        environment: Settings of the function.
        videos: The videos in the table.
        scans: The verdicts in the table.
        onward: Takes videos on that may go on.
        quarantine: Puts files away that may not.
    """

    environment: ScanVerdictsEnvironment
    videos: Videos
    scans: Scans
    onward: Onward
    quarantine: Quarantine

    def take(self, verdict: Verdict, scanner: str | None) -> str:
        """Take one verdict in; may be called any number of times with the same one.

        Args:
            verdict: The verdict.
            scanner: Whose queue it came through, or ``None`` if that is no scanner of the stage.

        Returns:
            What was done: ``started``, ``scanning`` while others are waited for, ``refused``,
            ``quarantined``, or why nothing was.

        Raises:
            ContendedVideoError: If the video changed at every attempt.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        for _ in range(MAX_DECISIONS):
            outcome = self._attempt(verdict, scanner)
            if outcome is not None:
                return outcome
        raise ContendedVideoError(
            f"video {verdict.video_id} changed {MAX_DECISIONS} times while a verdict was taken in"
        )

    def _attempt(self, verdict: Verdict, scanner: str | None) -> str | None:
        """Decide once; ``None`` if the video changed meanwhile."""
        fields = {
            "video_id": verdict.video_id,
            "run_id": verdict.run_id,
            "object_version": verdict.version_id,
            "scanner": scanner,
            "verdict": verdict.outcome.value,
            "code": verdict.code,
        }
        video = self.videos.read(verdict.video_id)
        trace = TraceContext.parse(video.traceparent) if video is not None else None
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        step = next_step(video, verdict, scanner=scanner, home_region=self.environment.home_region)
        if video is not None and step in _STEPS:
            outcome = self._do(step, video, verdict)
            if outcome is not None:
                _LOG.info("took a verdict in", extra={**fields, "outcome": outcome})
            return outcome
        _LOG.warning("ignored a verdict", extra={**fields, "outcome": step.value})
        return step.value

    def _do(self, step: VerdictStep, video: Video, verdict: Verdict) -> str | None:
        if step is VerdictStep.QUARANTINE:
            return self._put_away(video, "quarantined")
        if step is not VerdictStep.GO_ON:
            # First, so that a refusal that gets no further is no longer taken for a clean file.
            self.scans.record(verdict)
        if step is VerdictStep.REFUSE:
            refusal = self._refuse(video, verdict)
            return self._put_away(video, "refused") if self.videos.write(refusal) else None
        done = self.onward.go_on(video, self.environment.raw_bucket, ask=False)
        return None if done is Next.CHANGED else done.value

    def _put_away(self, video: Video, outcome: str) -> str:
        """Quarantine the pinned version; when that fails, the verdict comes again."""
        assert video.raw_version_id is not None  # noqa: S101 - the verdict is about it
        there = self.quarantine.put(video.raw_key, video.raw_version_id)
        return outcome if there else "gone"

    def _refuse(self, video: Video, verdict: Verdict) -> Change:
        failure = Failure(code=str(verdict.code), message=str(verdict.message))
        data: dict[str, Any] = {"code": failure.code, "message": failure.message}
        return videos.change(
            self.environment.table_name,
            video,
            region=self.environment.home_region,
            event_type=EventType.VIDEO_FAILED,
            event_data=data,
            status=VideoStatus.FAILED,
            scan=Scan.REFUSED,
            failure=failure,
        )


_STEPS = frozenset(
    {VerdictStep.RECORD, VerdictStep.REFUSE, VerdictStep.GO_ON, VerdictStep.QUARANTINE}
)
