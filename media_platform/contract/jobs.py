"""The messages of the transcode queues.

A run is many messages: one in the express queue that starts it, and one in the job queue for every
further part. All of them name the same object version; ``part`` says which work is meant.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Self

EXPRESS = "express"
"""What administrators call the queue of jobs that start a run."""

JOBS = "jobs"
"""What they call the queue of all other jobs, and that of all jobs that failed for good."""


class Profile(StrEnum):
    """Which rungs a run has: all that the source allows, or those up to a height."""

    AUTO = "auto"
    UP_TO_1080 = "1080p"
    UP_TO_720 = "720p"
    UP_TO_480 = "480p"
    UP_TO_360 = "360p"


class Quality(StrEnum):
    """How much is spent on every rung."""

    STANDARD = "standard"
    HIGH = "high"


START = "start"
"""Plan the run, encode its first chunk, its sound and its poster."""

REQUESTED_PART = "part"
"""Field of the data of a ``VideoUpdated`` event: a part of the video that somebody asked for."""


@dataclass(frozen=True, kw_only=True)
class TranscodeJob:
    """Work on one object version; may come twice, late, or out of order.

    Attributes:
        video_id: The video.
        run_id: The run; repeats of a job carry the same.
        tenant: Tenant of the video.
        bucket: Bucket of the source.
        key: Key of the source.
        version_id: The one version of the source that counts.
        size_bytes: Size of the source.
        queued_at: Time at which the first job of the run was sent (RFC 3339, UTC).
        part: What is to be done: ``start``, or the name of a part (``run.video_part``, ...).
        profile: Which rungs the run has.
        quality: How much is spent on every rung.
        region: Region in the keys of what is published. Default: that of the worker.
    """

    video_id: str
    run_id: str
    tenant: str
    bucket: str
    key: str
    version_id: str
    size_bytes: int
    queued_at: str
    part: str = START
    profile: Profile = Profile.AUTO
    quality: Quality = Quality.STANDARD
    region: str = ""

    def for_part(self, part: str) -> Self:
        """Return the job of another part of the same run."""
        return replace(self, part=part)

    def to_json(self) -> str:
        """Return the body of the message."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TranscodeJob:
        """Read the body of a message; fields that a later version added are ignored.

        Raises:
            ValueError: If it is not a transcode job.
        """
        content = json.loads(text)
        try:
            values = {
                field.name: content[field.name]
                for field in fields(cls)
                if field.default is MISSING or field.name in content
            }
            values["profile"] = Profile(values.get("profile", Profile.AUTO))
            values["quality"] = Quality(values.get("quality", Quality.STANDARD))
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a transcode job: {error}") from error


DEAD_LETTER_REASON = "Reason"
"""Message attribute of a dead letter: why the job failed, in one sentence.

A message that has it and stands in a job queue was put back there by an operator: the failures of
its run are forgiven.
"""
