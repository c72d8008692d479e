"""Bodies of requests and answers about downloads."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from media_api.models import FailureBody
from media_platform.contract.run import DOWNLOAD_PREFIX, Part


class DownloadStatus(StrEnum):
    """Where a download stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    READY = "READY"
    FAILED = "FAILED"


class NewDownload(BaseModel):
    """Which file is to be made.

    Attributes:
        height: Lines; one of the renditions of the video.
    """

    model_config = ConfigDict(extra="forbid")

    height: Annotated[int, Field(strict=True, ge=1, le=100_000, examples=[720])]


class DownloadStateBody(BaseModel):
    """Where a download stands.

    Attributes:
        height: Lines.
        status: Where it stands.
        requested_at: Time at which it was asked for last.
        failure: Why it was given up, if it was; asking again tries again.
    """

    height: int
    status: DownloadStatus
    requested_at: str | None
    failure: FailureBody | None


class DownloadBody(DownloadStateBody):
    """A download.

    Attributes:
        url: The file, signed for itself alone, once it is READY.
        expires_at: Time after which the URL is not accepted.
    """

    url: str | None
    expires_at: str | None


class DownloadsBody(BaseModel):
    """The downloads of a video.

    Attributes:
        video_id: The video.
        run_id: The run whose they are; another transcoding begins without any.
        downloads: What was asked for, highest first.
    """

    video_id: str
    run_id: str
    downloads: list[DownloadBody]


def state_of(part: Part) -> DownloadStateBody:
    """Return where the download stands that a part of a run makes."""
    status, failure = DownloadStatus.WAITING, None
    if part.done:
        status = DownloadStatus.READY
    elif part.lease_until > time.time():
        status = DownloadStatus.RUNNING
    elif part.failure is not None:
        status = DownloadStatus.FAILED
        failure = FailureBody(code=part.failure.code, message=part.failure.message)
    return DownloadStateBody(
        height=int(part.name.removeprefix(DOWNLOAD_PREFIX)),
        status=status,
        requested_at=part.requested_at,
        failure=failure,
    )
