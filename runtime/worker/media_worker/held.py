"""A part that this worker holds, and every write that depends on the hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

from media_platform.contract.events import EventType
from media_platform.contract.items import TransactItem
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import DOWNLOAD_PREFIX, Part, Rendition, RunStatus, Span
from media_platform.contract.times import timestamp
from media_platform.contract.video import (
    Change,
    Failure,
    Video,
    VideoStatus,
    change,
)
from media_worker.claims import why_settled
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.writes import (
    ABANDONED_RUN_SECONDS,
    ended,
    in_transaction,
    part_update,
    purge_note,
    run_update,
)

if TYPE_CHECKING:
    from media_worker.runs import RunLedger

_CONFLICT_TRIES = 20
"""Times that a change is decided again when somebody else changed the video meanwhile."""


class Held(Protocol):
    """What a worker has in hand, as far as it matters to whoever settles a message."""

    job: TranscodeJob

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def attempt(self) -> int:
        """The number of this try."""

    @property
    def failures(self) -> int:
        """Transient failures so far."""

    def renew(self) -> None:
        """Keep it, if it is still ours."""

    def release(self) -> None:
        """Let the next worker have it at once."""

    def count_failure(self) -> int:
        """Count a transient failure and let go of it; return how many there were."""

    def fail(self, failure: Failure) -> object:
        """Give it up for good."""


class HeldPart:
    """A part that this worker holds, for as long as nobody else takes it.

    Every method that writes raises :class:`StoppedError` once the hold is lost.

    Args:
        ledger: Where it was taken.
        job: The job it belongs to.
        part: The part as it was taken.
    """

    def __init__(self, ledger: RunLedger, job: TranscodeJob, part: Part) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._spent = {"cpu_seconds": 0.0, "bytes_in": 0, "bytes_out": 0}
        self.job = job
        self.part = part

    @property
    def name(self) -> str:
        """Which part it is."""
        return self.part.name

    @property
    def failures(self) -> int:
        """Transient failures so far."""
        return self.part.failures

    @property
    def attempt(self) -> int:
        """The number that fences every write."""
        return self.part.attempt

    @property
    def cpu_seconds(self) -> float:
        """Processor time that was spent on the part so far, over all attempts that told."""
        with self._counting:
            return self.part.cpu_seconds + self._spent["cpu_seconds"]

    def spend(self, *, cpu_seconds: float = 0.0, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """Put something down to the part; the next write says so. Safe from any thread.

        Args:
            cpu_seconds: Processor time.
            bytes_in: Bytes read.
            bytes_out: Bytes written.
        """
        with self._counting:
            self._spent["cpu_seconds"] += cpu_seconds
            self._spent["bytes_in"] += bytes_in
            self._spent["bytes_out"] += bytes_out

    def renew(self) -> None:
        """Hold the part for another lease."""
        self._write(lease_until=int(time.time()) + self._ledger.lease_seconds)

    def record(
        self,
        *,
        segments: int,
        samples: int,
        key_frames: Sequence[tuple[tuple[tuple[int, int], ...], ...]] = (),
        **values: Any,
    ) -> None:
        """Write down segments that are uploaded, and whatever else is known by then.

        Args:
            segments: Number of further segments.
            samples: Frames in them, or samples of sound.
            key_frames: Their key frames, by segment, rung and GOP.
            **values: Other fields of the part.
        """
        spans = list(self.part.spans)
        if segments and spans and spans[-1].attempt == self.attempt:
            spans[-1] = Span(attempt=self.attempt, segments=spans[-1].segments + segments)
        elif segments:
            spans.append(Span(attempt=self.attempt, segments=segments))
        self._write(
            spans=tuple(spans),
            samples=self.part.samples + samples,
            key_frames=(*self.part.key_frames, *key_frames),
            **values,
        )

    def note(self, **values: Any) -> None:
        """Write fields of the part."""
        self._write(**values)

    def release(self) -> None:
        """Let the next worker take the part at once."""
        self._write(lease_until=0)

    def count_failure(self) -> int:
        """Count a transient failure and let go of the part; return how many there were."""
        self._write(failures=self.part.failures + 1, lease_until=0)
        return self.part.failures

    def complete(
        self,
        *,
        duration_seconds: float,
        size: tuple[int, int],
        renditions: Sequence[Rendition],
        old_run_seconds: int,
        **values: Any,
    ) -> Video:
        """Make the video READY with this run, with its event and the end of the run, at once.

        Args:
            duration_seconds: Length of the video.
            size: Width and height of the source as displayed.
            renditions: The ladder with its frames.
            old_run_seconds: Time after which a run that is replaced is purged.
            **values: Other fields of the run.
        """
        stored = [asdict(rendition) for rendition in renditions]
        run_id = self.job.run_id

        def decide(video: Video) -> tuple[Change, list[TransactItem]]:
            made = self._change(
                video,
                event_type=EventType.VIDEO_READY,
                event_data={
                    "run_id": run_id,
                    "duration_seconds": duration_seconds,
                    "renditions": stored,
                },
                status=VideoStatus.READY,
                current_run=run_id,
                next_run=None,
                duration_seconds=duration_seconds,
                width=size[0],
                height=size[1],
                ready_at=timestamp(),
            )
            if video.current_run in {None, run_id}:
                return made, []
            old = str(video.current_run)
            note = purge_note(self._ledger.table_name, video, old, seconds=old_run_seconds)
            return made, [note]

        return self._decide(
            decide,
            {
                **ended(RunStatus.COMPLETE),
                "progress": 100,
                "duration_seconds": duration_seconds,
                "renditions": stored,
                **values,
            },
            done=True,
        )

    def fail(self, failure: Failure) -> Video | None:
        """End the run as FAILED, and the video with it unless viewers have an older run.

        A download that is given up is told of in its part alone: the run is complete without it.
        """
        if self.name.startswith(DOWNLOAD_PREFIX):
            self._write(failure=failure, lease_until=0)
            return None

        def decide(video: Video) -> tuple[Change, list[TransactItem]]:
            data = {"run_id": self.job.run_id, **asdict(failure)}
            if video.status is VideoStatus.READY:
                note = purge_note(
                    self._ledger.table_name,
                    video,
                    self.job.run_id,
                    seconds=ABANDONED_RUN_SECONDS,
                )
                return self._change(
                    video, event_type=EventType.VIDEO_UPDATED, event_data=data, next_run=None
                ), [note]
            return self._change(
                video,
                event_type=EventType.VIDEO_FAILED,
                event_data=data,
                status=VideoStatus.FAILED,
                failure=failure,
            ), []

        return self._decide(decide, ended(RunStatus.FAILED), done=False)

    def _change(self, video: Video, **changes: Any) -> Change:
        return change(self._ledger.table_name, video, region=self._ledger.region, **changes)

    def _decide(
        self,
        decide: Callable[[Video], tuple[Change, list[TransactItem]]],
        run_values: dict[str, Any],
        *,
        done: bool,
    ) -> Video:
        """Change video, run and part together, deciding again whenever the video changed."""
        ledger, job = self._ledger, self.job
        for _ in range(_CONFLICT_TRIES):
            video = ledger.video(job.video_id)
            if video is None or video.status is VideoStatus.DELETED:
                raise StoppedError(StopReason.DELETED)
            run, part = ledger.run(job), ledger.part(job, self.part.name)
            if run is None or run.status is not RunStatus.RUNNING:
                raise StoppedError(StopReason.SETTLED)
            if why_settled(video, job):
                raise StoppedError(StopReason.CANCELLED)
            if part is None or part.attempt != self.attempt:
                raise StoppedError(StopReason.FENCE_LOST)
            decision, further = decide(video)
            after = self._after(done=done, lease_until=0)
            writes = [
                *decision.writes,
                *further,
                ledger.spend(job, run, RunStatus(run_values["status"]), after).put(
                    ledger.table_name
                ),
                *(
                    in_transaction(ledger.table_name, update)
                    for update in (
                        run_update(job, RunStatus.RUNNING, run_values),
                        part_update(self.part, after),
                    )
                ),
            ]
            if ledger.write(writes):
                self._written(after)
                return decision.video
        raise TransientError(f"video {job.video_id} kept changing")

    def _write(self, **values: Any) -> None:
        with self._lock:
            after = self._after(**values)
            if after == self.part:
                return
            if not self._ledger.write_part(self.part, after):
                raise StoppedError(StopReason.FENCE_LOST)
            self._written(after)

    def _after(self, **values: Any) -> Part:
        """Return the part with new values, and with what was spent on it."""
        with self._counting:
            for name, spent in self._spent.items():
                values[name] = getattr(self.part, name) + spent
        return replace(self.part, **values)

    def _written(self, after: Part) -> None:
        """Note what the table holds now; what was spent meanwhile is still to be told."""
        with self._counting:
            for name in self._spent:
                self._spent[name] -= getattr(after, name) - getattr(self.part, name)
            self.part = after
