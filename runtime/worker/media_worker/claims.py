"""What may come of a claim, and how far a run is."""

from __future__ import annotations

from dataclasses import dataclass

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import Part, Run
from media_platform.contract.scanning import Scan
from media_platform.contract.video import Video, VideoStatus


@dataclass(frozen=True)
class Settled:
    """Nothing is left to do for a job; its message may go.

    Attributes:
        why: For the log.
    """

    why: str


@dataclass(frozen=True)
class HeldBack:
    """The run may not begin today; its video says so, and its message may go.

    Attributes:
        first: Whether the video said so only now.
    """

    first: bool


@dataclass(frozen=True)
class Busy:
    """Another worker holds the part.

    Attributes:
        seconds: Time until its lease passes.
    """

    seconds: int


@dataclass(frozen=True)
class Done:
    """The part is complete already.

    Attributes:
        part: The part.
    """

    part: Part


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a run is.

    Attributes:
        run: The run.
        joined: Chunks that are complete, from the first on without a gap.
        partial: The chunk behind them, as far as it is, or ``None``.
        sound: The sound, or ``None`` if nobody has begun with it.
    """

    run: Run
    joined: int
    partial: Part | None
    sound: Part | None

    @property
    def picture_complete(self) -> bool:
        """Whether all chunks are complete."""
        return self.joined == self.run.chunks


def why_settled(video: Video | None, job: TranscodeJob, *, even_failed: bool = False) -> str | None:
    """Return why there is nothing to do, or ``None`` if there is.

    Args:
        video: The video as it is now, or ``None`` if there is none.
        job: A job of the run.
        even_failed: Whether a video that failed may go on, as for an operator. Default: it may not;
            somebody may have cancelled it before a worker took its run.
    """
    if video is None:
        return "the video is gone"
    if video.status is VideoStatus.DELETED or (
        video.status is VideoStatus.FAILED and not even_failed
    ):
        return f"the video is {video.status}"
    wanted = video.next_run if video.status is VideoStatus.READY else video.current_run
    if wanted != job.run_id or video.raw_version_id != job.version_id:
        return "the job is not one that the video waits for"
    if (video.tenant, video.raw_key) != (job.tenant, job.key):
        # Whoever may send a job must not read another upload by it, or publish for another tenant.
        return "the job is of another tenant or upload than the video"
    if video.scan not in {None, Scan.CLEAN}:
        # A job is no proof of a scan: it may be forged, or older than the refusal.
        return f"the scan of the file is {video.scan}"
    return None
