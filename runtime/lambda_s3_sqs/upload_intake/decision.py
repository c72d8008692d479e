"""What is to be done about an upload: pure functions of what was read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.object_keys import RawKey
from media_platform.contract.scanning import ScannerQueues, ScanRequest
from media_platform.contract.times import timestamp
from media_platform.contract.video import Failure, Video, VideoStatus
from upload_intake.s3_event import UploadedObject

PATIENCE = timedelta(minutes=5)
"""Time in which a worker that was woken takes a job, unless all are busy."""


class Step(StrEnum):
    """The next step; all but the first two end the matter without a trace in the table."""

    JUDGE = "judge"
    SEND_AGAIN = "send_again"
    UNKNOWN_VIDEO = "unknown_video"
    OTHER_HOME_REGION = "other_home_region"
    NOT_THE_KEY_OF_THE_VIDEO = "not_the_key_of_the_video"
    OTHER_VERSION = "other_version"
    ALREADY_TAKEN = "already_taken"


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """What S3 says about the pinned version.

    Attributes:
        size_bytes: Its size.
        content_type: Its content type.
        checksum_sha256: Its SHA-256 as S3 computed it, in base64; of an upload in parts the
            composite ``<base64>-<parts>``; ``None`` if S3 was not asked for it.
    """

    size_bytes: int
    content_type: str
    checksum_sha256: str | None = None


def next_step(
    video: Video | None, *, key: RawKey, uploaded: UploadedObject, home_region: str
) -> Step:
    """Say what an upload means for the video as it stands.

    A replica bucket tells of its copies as well, and the table replica knows every video: so a
    video of another home region is left to that region. Once a version is pinned, it alone counts;
    its job is sent again for as long as no worker took it, since the sender may have died between
    the transaction and the queue.
    """
    if video is None:
        return Step.UNKNOWN_VIDEO
    if video.home_region != home_region:
        return Step.OTHER_HOME_REGION
    if (key.tenant, key.user, str(key)) != (video.tenant, video.owner, video.raw_key):
        return Step.NOT_THE_KEY_OF_THE_VIDEO
    if video.status is VideoStatus.PENDING:
        return Step.JUDGE
    if video.raw_version_id != uploaded.version_id:
        return Step.OTHER_VERSION
    return Step.SEND_AGAIN if video.status is VideoStatus.UPLOADED else Step.ALREADY_TAKEN


def fault(video: Video, stored: StoredObject, *, max_bytes: int) -> Failure | None:
    """Return why the upload is refused, or ``None`` if it is what the video declared.

    Args:
        video: The video.
        stored: The pinned version.
        max_bytes: Largest upload that is accepted.
    """
    if stored.size_bytes == 0:
        return Failure(code="empty_file", message="The uploaded file is empty.")
    if stored.size_bytes > max_bytes:
        return Failure(
            code="too_large",
            message=f"The uploaded file has {stored.size_bytes} bytes, "
            f"but at most {max_bytes} are accepted.",
        )
    if stored.size_bytes != video.size_bytes:
        return Failure(
            code="wrong_size",
            message=f"The uploaded file has {stored.size_bytes} bytes, "
            f"but {video.size_bytes} were announced.",
        )
    if _media_type(stored.content_type) != _media_type(video.content_type):
        return Failure(
            code="wrong_type",
            message=f"The file was uploaded as {stored.content_type[:100]}, "
            f"but {video.content_type} was announced.",
        )
    return None


def duplicate(existing: Video) -> Failure:
    """Return why an upload is refused whose file the tenant has already.

    Args:
        existing: The video that has the file, and that the uploader may see.
    """
    return Failure(
        code="duplicate",
        message=f"This file is there already, as the video {existing.video_id}.",
    )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def run_to_start(video: Video) -> str | None:
    """Return the run of a video that no worker took yet, as far as the video itself tells."""
    if video.status is VideoStatus.UPLOADED:
        return video.current_run
    return video.next_run if video.status is VideoStatus.READY else None


def sends_again(waiting: timedelta, interval: timedelta) -> bool:
    """Tell whether the job of a run that nobody took is to be sent again in this turn.

    It may be lost, or stand in a long queue: so it is sent again after 5 minutes, then after 10,
    20, 40 and so on, which no queue is filled by.

    Args:
        waiting: Time since the run was asked for.
        interval: Time between two turns.
    """
    if waiting < PATIENCE:
        return False
    doublings = math.floor(math.log2(waiting / PATIENCE))
    boundary: timedelta = PATIENCE * 2**doublings
    return waiting < boundary + interval


def job_of(video: Video, bucket: str) -> TranscodeJob:
    """Return the job that starts the run of a video; every repeat equals the first.

    Raises:
        ValueError: If no version was pinned or no run is to be started.
    """
    run_id = run_to_start(video)
    if video.raw_version_id is None or run_id is None:
        raise ValueError(f"video {video.video_id} is {video.status} without a version or a run")
    return TranscodeJob(
        video_id=video.video_id,
        run_id=run_id,
        tenant=video.tenant,
        bucket=bucket,
        key=video.raw_key,
        version_id=video.raw_version_id,
        size_bytes=video.size_bytes,
        queued_at=_asked_at(video),
        part=START,
        profile=video.profile,
        quality=video.quality,
    )


def _asked_at(video: Video) -> str:
    """Return when the run was asked for: with the upload, or with a later change of the video."""
    if video.status is VideoStatus.UPLOADED and video.uploaded_at:
        return video.uploaded_at
    return video.updated_at


def request_of(video: Video, bucket: str, scanner: str, queues: ScannerQueues) -> ScanRequest:
    """Return what a scanner is asked about an UPLOADED video.

    Raises:
        ValueError: If no version was pinned or no run was begun.
    """
    if video.raw_version_id is None or video.current_run is None:
        raise ValueError(f"video {video.video_id} is {video.status} without a version or a run")
    return ScanRequest(
        video_id=video.video_id,
        run_id=video.current_run,
        tenant=video.tenant,
        scanner=scanner,
        bucket=bucket,
        key=video.raw_key,
        version_id=video.raw_version_id,
        size_bytes=video.size_bytes,
        content_type=video.content_type,
        sent_at=timestamp(),
        answer_to=queues.verdicts_url,
    )
