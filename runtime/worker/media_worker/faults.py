"""What can end a job, besides success."""

from __future__ import annotations

from enum import StrEnum

from media_platform.contract.video import Failure


class BadInputError(Exception):
    """The upload cannot become a video; trying again would not help.

    Attributes:
        failure: The reason, in words for the person who uploaded it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.failure = Failure(code=code, message=message)


class TransientError(Exception):
    """Something went wrong that may go right the next time."""


class StopReason(StrEnum):
    """Why work on a job is given up without a verdict."""

    INTERRUPTED = "interrupted"
    """The process is asked to end; the job goes back to the queue at once."""

    FENCE_LOST = "fence lost"
    """Another worker holds the run now; nothing of the job is ours any more."""

    DELETED = "deleted"
    """The video was deleted while it was worked on."""

    CANCELLED = "cancelled"
    """The video does not wait for the run any more."""

    SETTLED = "the run has ended"
    """Another worker failed or completed it; nothing is left to do."""

    SIBLING_FAILED = "another part of the job failed"
    """Only within a job: its first error is the one that counts."""


class StoppedError(Exception):
    """Work on a job was given up.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason
