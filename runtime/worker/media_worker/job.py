"""One job from its source to what is published, without the queue and without a verdict."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from media_platform.contract.object_keys import RunKeys
from media_platform.contract.run import Rendition
from media_platform.contract.video import timestamp
from media_worker.cancellation import Cancellation
from media_worker.encode import EncodedRange, encode_audio, encode_video, make_poster
from media_worker.faults import BadInputError, StoppedError, StopReason, TransientError
from media_worker.objects import ObjectStore
from media_worker.planning import Plan, check_frames, check_source, make_plan
from media_worker.probe import Workbench, probe
from media_worker.publisher import Progress, Publisher
from media_worker.runs import HeldRun
from media_worker.segments import AUDIO_RATE
from media_worker.source_proxy import RangeReader, SourceProxy
from media_worker.uploads import Uploader

_HEAD_BYTES = 16
_AUDIO_TOLERANCE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How a worker does its jobs.

    Attributes:
        max_pixels: Most pixels of a source frame.
        max_duration_seconds: Longest video that is accepted.
        threads: Threads of each encoder.
        playlist_interval_seconds: Least time between two versions of the playlists.
        upload_threads: Uploads at a time.
        upload_bytes: Bytes that may wait for upload in memory.
    """

    max_pixels: int
    max_duration_seconds: int
    threads: int
    playlist_interval_seconds: float = 2.0
    upload_threads: int = 8
    upload_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job.

    Attributes:
        duration_seconds: Length of the video.
        size: Width and height of the source as displayed.
        renditions: The ladder with its frames.
        playable_after_seconds: Time from the start of the job until it could be played.
        encode_seconds: Time from the start of the job until everything was published.
    """

    duration_seconds: float
    size: tuple[int, int]
    renditions: tuple[Rendition, ...]
    playable_after_seconds: float
    encode_seconds: float


def run_job(
    held: HeldRun,
    *,
    reader: RangeReader,
    store: ObjectStore,
    keys: RunKeys,
    settings: JobSettings,
    cancellation: Cancellation,
) -> Outcome:
    """Encode, publish and verify a run.

    Raises:
        BadInputError: If the source cannot become a video.
        TransientError: If something failed that may go right the next time.
        StoppedError: If the job was stopped.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: If AWS failed.
    """
    try:
        size = reader.size()
    except FileNotFoundError:
        raise BadInputError("source_missing", "The uploaded file is no longer there.") from None
    if size == 0:
        raise BadInputError("empty", "The file is empty.")
    with (
        tempfile.TemporaryDirectory(prefix="job-") as scratch,
        SourceProxy(reader, size) as source,
    ):
        bench = Workbench(
            source=source,
            cancellation=cancellation,
            scratch=Path(scratch),
            max_pixels=settings.max_pixels,
            max_duration_seconds=settings.max_duration_seconds,
            threads=settings.threads,
        )
        job = _Job(held, bench, store, keys, settings)
        try:
            return job.run(reader.read(0, min(size, _HEAD_BYTES)))
        except StoppedError:
            if cancellation.reason is StopReason.SIBLING_FAILED and cancellation.error:
                raise cancellation.error from None
            raise
        except Exception as error:
            # Whatever still runs for the job ends now; a stop that came first is what counts.
            cancellation.fail(error)
            if cancellation.reason is not StopReason.SIBLING_FAILED:
                cancellation.check()
            raise


class _Job:
    def __init__(
        self,
        held: HeldRun,
        bench: Workbench,
        store: ObjectStore,
        keys: RunKeys,
        settings: JobSettings,
    ) -> None:
        self._held = held
        self._bench = bench
        self._store = store
        self._keys = keys
        self._settings = settings
        self._cancellation = bench.cancellation
        self._log = structlog.get_logger().bind(
            video_id=held.job.video_id, run_id=held.run.run_id, attempt=held.attempt
        )
        self._started = time.monotonic()
        self._playable_after: float | None = None
        self._poster_may_start = threading.Event()

    def run(self, head: bytes) -> Outcome:
        plan = self._plan(head)
        uploader = Uploader(
            self._store,
            self._cancellation,
            threads=self._settings.upload_threads,
            max_bytes=self._settings.upload_bytes,
        )
        publisher = Publisher(
            plan=plan,
            keys=self._keys,
            attempt=self._held.attempt,
            store=self._store,
            uploader=uploader,
            cancellation=self._cancellation,
            report=self._report,
            still_ours=self._held.renew,
            interval_seconds=self._settings.playlist_interval_seconds,
        )
        try:
            publisher.start()
            encoded, audio_samples = self._encode(plan, publisher)
            uploader.drain()
            frames = self._verify(plan, encoded, audio_samples)
            renditions = publisher.finish()
        finally:
            publisher.close()
            uploader.close()
        took = time.monotonic() - self._started
        return Outcome(
            duration_seconds=round(float(frames / plan.frame_rate), 3),
            size=plan.source.displayed_size,
            renditions=renditions,
            playable_after_seconds=took if self._playable_after is None else self._playable_after,
            encode_seconds=took,
        )

    def _plan(self, head: bytes) -> Plan:
        source = probe(self._bench, head)
        check_source(
            source,
            max_pixels=self._settings.max_pixels,
            max_duration_seconds=self._settings.max_duration_seconds,
        )
        plan = make_plan(source)
        self._log.info(
            "planned",
            format=source.format_name,
            frame_rate=str(plan.frame_rate),
            frames=plan.frames,
            rungs=[rung.height for rung in plan.rungs],
            audio=source.audio_index is not None,
        )
        self._held.note(
            frame_rate=str(plan.frame_rate),
            has_audio=source.audio_index is not None,
            **({} if plan.seconds is None else {"duration_seconds": round(float(plan.seconds), 3)}),
        )
        return plan

    def _encode(self, plan: Plan, publisher: Publisher) -> tuple[list[EncodedRange], int]:
        """Encode video and audio side by side, and the poster once the run can be played."""
        encoded: list[EncodedRange] = []
        audio_samples = 0

        def video() -> None:
            encoded.extend(
                encode_video(plan, frames, self._bench, publisher) for frames in plan.ranges
            )
            check_frames(plan, sum(part.decoded for part in encoded))

        def audio() -> None:
            nonlocal audio_samples
            audio_samples = encode_audio(plan, self._bench, publisher)
            if not audio_samples:
                self._log.warning("the audio track is empty")
                publisher.no_audio()
                self._held.note(has_audio=False)

        tasks = [self._start("video", video, self._poster_may_start.set)]
        if plan.source.audio_index is not None:
            tasks.append(self._start("audio", audio))
        self._poster_may_start.wait()
        self._cancellation.check()
        publisher.poster(make_poster(plan, self._bench))
        for task in tasks:
            task.join()
        self._cancellation.check()
        return encoded, audio_samples

    def _verify(self, plan: Plan, encoded: list[EncodedRange], audio_samples: int) -> int:
        """Hold the result against the plan; return the frames of every rung.

        That decode times continue was checked with each fragment, and that the rungs have what
        the decode yielded with each range.
        """
        frames = sum(part.decoded for part in encoded)
        check_frames(plan, frames)
        sound, picture = audio_samples / AUDIO_RATE, float(frames / plan.frame_rate)
        if audio_samples and plan.frames and abs(sound - picture) > _AUDIO_TOLERANCE_SECONDS:
            planned = float(plan.frames / plan.frame_rate)
            if abs(sound - planned) > _AUDIO_TOLERANCE_SECONDS:
                raise TransientError(
                    f"the sound ends after {sound:.3f} s and the picture after {picture:.3f} s"
                )
        self._log.info("verified", frames=frames, sound_seconds=round(sound, 3))
        return frames

    def _report(self, progress: Progress) -> None:
        values: dict[str, Any] = {
            "progress": progress.percent,
            "renditions": [asdict(rendition) for rendition in progress.renditions],
        }
        if progress.playable and self._playable_after is None:
            self._playable_after = time.monotonic() - self._started
            if self._held.run.playable_at is None:
                values["playable_at"] = timestamp()
            self._log.info("playable", seconds=round(self._playable_after, 3))
            self._poster_may_start.set()
        self._held.note(**values)

    def _start(
        self, name: str, work: Callable[[], None], then: Callable[[], None] = lambda: None
    ) -> threading.Thread:
        """Do a part of the job in a thread of its own; its error stops the job."""

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the job raises it
                self._cancellation.fail(error)
            finally:
                then()

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread
