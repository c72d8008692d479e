"""The messages of the transcode queues."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class TranscodeJob:
    """Transcode one object version; may come twice, late, or out of order.

    Attributes:
        video_id: The video.
        run_id: The run; repeats of a job carry the same.
        tenant: Tenant of the video.
        bucket: Bucket of the source.
        key: Key of the source.
        version_id: The one version of the source that counts.
        size_bytes: Size of the source.
        queued_at: Time at which the job was first sent (RFC 3339, UTC).
    """

    video_id: str
    run_id: str
    tenant: str
    bucket: str
    key: str
    version_id: str
    size_bytes: int
    queued_at: str

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
            return cls(**{name: content[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a transcode job: {error}") from error


DEAD_LETTER_REASON = "Reason"
"""Message attribute of a dead letter: why the job failed, in one sentence."""
