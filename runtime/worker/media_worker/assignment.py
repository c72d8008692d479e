"""What one message asks for, from the claim of a part to what follows from it.

A message names a part, but it stands for more: the one that starts a run for its plan, its first
chunk, its sound and its poster; and whichever completes the last part, for the end of the run. It
is deleted only when all of that is done, so that nothing depends on a worker that may die.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import structlog

from media_platform.contract import metrics
from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.object_keys import RunKeys, text_track, video_track
from media_platform.contract.run import END, SOUND, Part, Span, video_part
from media_worker import loudness, plans
from media_worker.cancellation import Cancellation
from media_worker.encode import encode_sound, encode_video, make_poster
from media_worker.ending import Ending
from media_worker.faults import BadInputError, StoppedError, StopReason, TransientError
from media_worker.job_queue import JobQueue
from media_worker.metrics import seconds_since
from media_worker.objects import FINISHED, ObjectStore, Upload
from media_worker.planning import FrameRange, Plan, check_source, make_plan
from media_worker.probe import Workbench, probe
from media_worker.publisher import Publisher, sounds
from media_worker.recorder import Recorder
from media_worker.runs import Busy, Done, HeldPart, RunLedger, Settled
from media_worker.segments import audio_segment_samples
from media_worker.source_proxy import RangeReader, SourceProxy
from media_worker.uploads import Uploader

POSTER_TYPE = "image/jpeg"
TEXT_TYPE = "text/vtt"

_HEAD_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How a worker does its jobs.

    Attributes:
        max_pixels: Most pixels of a source frame.
        max_duration_seconds: Longest video that is accepted.
        max_frame_rate: Most frames per second of a source.
        threads: Threads of each encoder.
        chunk_seconds: Length of a chunk.
        chunks_in_flight: Most chunks of one video in the queue at a time.
        old_run_seconds: Time after which a run that was replaced is purged.
        playlist_interval_seconds: Least time between two versions of the playlists.
        upload_threads: Uploads at a time.
        upload_bytes: Bytes that may wait for upload in memory.
    """

    max_pixels: int
    max_duration_seconds: int
    max_frame_rate: int
    threads: int
    chunk_seconds: int
    chunks_in_flight: int
    old_run_seconds: int
    playlist_interval_seconds: float = 2.0
    upload_threads: int = 8
    upload_bytes: int = 24 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Services:
    """What assignments work with.

    Attributes:
        jobs: The queue of chunks.
        ledger: The runs.
        store: Where runs are published.
        open_source: Opens the source of a job.
        settings: How jobs are done.
        emit: Takes metrics and what they are about.
    """

    jobs: JobQueue
    ledger: RunLedger
    store: ObjectStore
    open_source: Callable[[TranscodeJob], RangeReader]
    settings: JobSettings
    emit: Callable[..., None]


class BusyError(Exception):
    """Another worker holds what is needed.

    Attributes:
        seconds: Time until its lease passes.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"another worker holds the part for {seconds} s more")
        self.seconds = seconds


class NothingToDoError(Exception):
    """The job is settled already; the text says why."""


class Assignment:
    """Does what one message asks for.

    Args:
        job: The job of the message.
        services: What it works with.
        cancellation: Stops it.
        forgive: Whether an operator sent it again: failures so far are forgotten.

    Attributes:
        light: Set once what is left to do takes little of the machine, so that the worker may begin
            with something else.
        failing: The part in which an error arose, once one did.
    """

    def __init__(
        self, job: TranscodeJob, services: Services, cancellation: Cancellation, *, forgive: bool
    ) -> None:
        self.job = job
        self.light = threading.Event()
        self.failing: HeldPart | None = None
        self._services = services
        self._cancellation = cancellation
        self._forgive = forgive
        self._keys = RunKeys(services.ledger.region, job.tenant, job.video_id, job.run_id)
        self._lock = threading.Lock()
        self._held: dict[str, HeldPart] = {}
        self._stack = ExitStack()
        self._was_done = False
        self._sound_busy: BusyError | None = None
        self._plan: Plan | None = None
        self._log = structlog.get_logger().bind(
            video_id=job.video_id, run_id=job.run_id, part=job.part
        )

    @property
    def held(self) -> list[HeldPart]:
        """The parts that are held at the moment."""
        with self._lock:
            return list(self._held.values())

    def run(self) -> None:
        """Do it.

        Raises:
            NothingToDoError: If the job is settled already.
            BusyError: If another worker holds the part.
            BadInputError: If the source cannot become a video.
            TransientError: If something failed that may go right the next time.
            StoppedError: If the job was stopped.
            botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: If AWS failed.
        """
        with self._stack:
            try:
                self._run()
            except StoppedError:
                if self._cancellation.reason is StopReason.SIBLING_FAILED:
                    error = self._cancellation.error
                    if error is not None:
                        raise error from None
                raise
            except Exception as error:
                # Whatever still runs for the job ends now; a stop that came first is what counts.
                self._cancellation.fail(error)
                if self._cancellation.reason is not StopReason.SIBLING_FAILED:
                    self._cancellation.check()
                raise

    def _run(self) -> None:
        ledger = self._services.ledger
        opened = ledger.open(self.job, forgive=self._forgive)
        if isinstance(opened, Settled):
            raise NothingToDoError(opened.why)
        if opened.run.plan is not None:
            self._plan = plans.from_text(opened.run.plan)
        if opened.reopened:
            self._send_unfinished()
        if self.job.part == START:
            self._start()
            return
        number = self._chunk_number()
        if self._plan is None or not 0 < number < len(self._plan.chunks):
            raise NothingToDoError(f"there is no {self.job.part} in the plan of the run")
        held = self._claim(self.job.part)
        if held is not None:
            with self._holding(held):
                self._encode_chunk(number, held)
        self._send_chunk(number + self._services.settings.chunks_in_flight)
        self._advance()

    def _chunk_number(self) -> int:
        kind, _, number = self.job.part.partition("#")
        if kind != "video" or not number.isdecimal():
            raise NothingToDoError(f"{self.job.part!r} is not a part that is known")
        return int(number)

    # -- parts -------------------------------------------------------------------------------------

    def _claim(self, name: str) -> HeldPart | None:
        """Take a part; ``None`` if it is complete already.

        Raises:
            BusyError: If another worker holds it.
        """
        claim = self._services.ledger.claim(self.job, name, forgive=self._forgive)
        match claim:
            case Busy():
                raise BusyError(claim.seconds)
            case Done():
                self._was_done = True
                return None
        self._log.info("part taken", held=name, attempt=claim.attempt, failures=claim.part.failures)
        return claim

    @contextmanager
    def _holding(self, held: HeldPart) -> Iterator[None]:
        """Renew the lease of a part while the block runs; remember it if an error arises there."""
        with self._lock:
            self._held[held.part.name] = held
        try:
            self._cancellation.check()
            yield
        except BaseException as error:
            if self.failing is None and not isinstance(error, StoppedError):
                self.failing = held
            raise
        with self._lock:
            del self._held[held.part.name]

    def _start(self) -> None:
        """Plan the run; encode its first chunk, and its sound beside it."""
        held = self._claim(video_part(0))
        if held is not None:
            with self._holding(held):
                if self._plan is None:
                    self._plan = self._make_plan()
                for number in range(1, self._services.settings.chunks_in_flight):
                    self._send_chunk(number)
                _ = self._bench, self._publisher  # which two threads are about to use
        sound = threading.Thread(target=self._do_sound, name="sound", daemon=True)
        has_sound = bool(self._known_plan.source.audio or self._known_plan.source.texts)
        if has_sound:
            sound.start()
        if held is not None:
            with self._holding(held):
                self._encode_chunk(0, held)
            self._advance()
        self.light.set()
        if has_sound:
            sound.join()
        self._cancellation.check()
        if self._sound_busy is not None:
            raise self._sound_busy
        if held is None:
            self._advance()

    def _make_plan(self) -> Plan:
        settings = self._services.settings
        reader_head = self._source.head
        source = probe(self._bench, reader_head)
        check_source(
            source,
            max_pixels=settings.max_pixels,
            max_duration_seconds=settings.max_duration_seconds,
            max_frame_rate=settings.max_frame_rate,
        )
        plan = make_plan(source, settings.chunk_seconds)
        self._log.info(
            "planned",
            format=source.format_name,
            frame_rate=str(plan.frame_rate),
            frames=plan.frames,
            chunks=len(plan.chunks),
            rungs=[rung.height for rung in plan.rungs],
            audio=len(source.audio),
            texts=len(source.texts),
        )
        self._services.ledger.plan(
            self.job,
            plan=plans.to_text(plan),
            chunks=len(plan.chunks),
            frame_rate=str(plan.frame_rate),
            has_audio=bool(source.audio),
            **({} if plan.seconds is None else {"duration_seconds": round(float(plan.seconds), 3)}),
        )
        # Another worker may have been faster, with a newer version of this code.
        run = self._services.ledger.run(self.job)
        if run is None or run.plan is None:
            raise StoppedError(StopReason.SETTLED)
        return plans.from_text(run.plan)

    def _encode_chunk(self, number: int, held: HeldPart) -> None:
        """Encode what is left of a chunk, and write it down."""
        plan, grid = self._known_plan, self._known_plan.grid
        frames = plan.chunks[number]
        begun = time.monotonic()
        with (
            self._uploader() as uploader,
            Recorder(
                held,
                self._services.ledger,
                tracks=[video_track(rung.height) for rung in plan.rungs],
                picture=True,
                first_segment=frames.start // grid.segment_frames,
                keys=self._keys,
                uploader=uploader,
                cancellation=self._cancellation,
                recorded=self._publish,
            ) as recorder,
        ):
            left = FrameRange(frames.start + held.part.samples, frames.end)
            encoded, cpu = 0, 0.0
            # After a segment that is not full nothing can follow.
            if left.start % grid.segment_frames == 0 and left.start != left.end:
                result = encode_video(plan, left, self._bench, recorder)
                encoded, cpu = result.decoded, result.cpu_seconds
            if number == 0:
                self._make_poster(uploader)
            recorder.finish(
                cpu_seconds=held.part.cpu_seconds + cpu,
                bytes_in=held.part.bytes_in + self._source.bytes_read,
                bytes_out=held.part.bytes_out + recorder.bytes_out,
            )
        took = time.monotonic() - begun
        self._log.info(
            "chunk done",
            chunk=number,
            frames=held.part.samples,
            encoded=encoded,
            seconds=round(took, 3),
            cpu_seconds=round(cpu, 3),
        )
        self._emit(
            {
                metrics.CHUNKS_COMPLETED: 1,
                metrics.CHUNK_RETRIES: held.attempt - 1,
                metrics.BYTES_IN: held.part.bytes_in,
                metrics.BYTES_OUT: held.part.bytes_out,
                **(
                    {metrics.ENCODE_SPEED_RATIO: float(encoded / plan.frame_rate) / took}
                    if encoded
                    else {}
                ),
            }
        )

    def _make_poster(self, uploader: Uploader) -> None:
        uploader.submit(
            Upload(
                key=self._keys.poster,
                body=make_poster(self._known_plan, self._bench),
                content_type=POSTER_TYPE,
                cache_control=FINISHED,
            ),
            lambda: None,
        )

    def _do_sound(self) -> None:
        """Do the sound in a thread of its own; an error stops the whole assignment."""
        try:
            held = self._claim(SOUND)
            if held is not None:
                with self._holding(held):
                    self._encode_sound(held)
                self._advance()
        except BusyError as error:
            self._sound_busy = error
        except Exception as error:  # noqa: BLE001 - raised again by run()
            self._cancellation.fail(error)

    def _encode_sound(self, held: HeldPart) -> None:
        """Encode what is left of the sound, and write it down, with the subtitles."""
        plan = self._known_plan
        frames = plan.frames if held.part.frames is None else held.part.frames
        gains = held.part.gains
        if gains is None:
            gains = tuple(
                loudness.gain(
                    loudness.measure(
                        self._bench,
                        stream.index,
                        format_name=plan.source.format_name,
                        seek_origin=plan.source.origin - plan.source.format_start,
                        seconds=plan.seconds,
                    )
                )
                for stream in plan.source.audio
            )
            held.note(gains=gains)
            self._log.info("loudness measured", gains=gains)
        with (
            self._uploader() as uploader,
            Recorder(
                held,
                self._services.ledger,
                tracks=[sound.track for sound in sounds(plan)],
                picture=False,
                first_segment=0,
                keys=self._keys,
                uploader=uploader,
                cancellation=self._cancellation,
                recorded=self._publish,
            ) as recorder,
        ):
            encoded = encode_sound(
                plan,
                self._bench,
                recorder,
                loudness=[
                    loudness.filters(gain, stream.channels)
                    for gain, stream in zip(gains, plan.source.audio, strict=True)
                ],
                frames=frames,
            )
            recorder.finish(
                texts=self._upload_texts(encoded.texts, held.attempt, uploader),
                cpu_seconds=held.part.cpu_seconds + encoded.cpu_seconds,
            )
        self._log.info("sound done", samples=held.part.samples, texts=len(held.part.texts))

    def _upload_texts(
        self, texts: tuple[str | None, ...], attempt: int, uploader: Uploader
    ) -> tuple[str, ...]:
        """Publish the subtitles; return the paths of their files below the run, in order."""
        paths = []
        for number, text in enumerate(texts):
            path = ""
            if text is not None:
                path = f"{text_track(number)}/{attempt}/subtitles.vtt"
                upload = Upload(
                    key=self._keys.prefix + path, body=text.encode(), content_type=TEXT_TYPE
                )
                uploader.submit(upload, lambda: None)
            paths.append(path)
        return tuple(paths)

    def _mend_sound(self, sound: Part, frames: int) -> Part:
        """Make the end of the sound again, now that the end of the picture is known.

        What is kept may be listed already: no more than lies before the last segment of the
        picture.
        """
        grid = self._known_plan.grid
        keep = min(sound.segments, -(-frames // grid.segment_frames)) - 1
        held = self._services.ledger.reopen(
            self.job,
            sound,
            frames=frames,
            spans=_first(sound.spans, keep),
            samples=sum(
                audio_segment_samples(grid.segment_seconds, index) for index in range(keep)
            ),
        )
        if held is None:
            raise TransientError("the sound changed while it was verified")
        self._log.info("sound is made again from a segment on", segment=keep, frames=frames)
        with self._holding(held):
            self._encode_sound(held)
        return held.part

    # -- what follows ------------------------------------------------------------------------------

    def _publish(self) -> None:
        self._publisher.advance()

    def _advance(self) -> None:
        """Publish what follows from a part that is complete; end the run if it was the last.

        Whoever finds that another worker does what is left may leave it to him, since his message
        stays until it is done. But a message that had been here before may be all that is left of
        him, and waits.
        """
        standing = self._publisher.advance()
        source = self._known_plan.source
        if not standing.picture_complete:
            return
        try:
            if (source.audio or source.texts) and not (standing.sound and standing.sound.done):
                if not self._was_done:
                    return
                held = self._claim(SOUND)
                if held is not None:
                    with self._holding(held):
                        self._encode_sound(held)
            held = self._claim(END)
        except BusyError:
            if self._was_done:
                raise
            return
        if held is not None:
            with self._holding(held):
                self._end(held)

    def _end(self, held: HeldPart) -> None:
        """Verify the run and make the video READY."""
        plan, ledger = self._known_plan, self._services.ledger
        ending = Ending(
            plan=plan,
            job=self.job,
            keys=self._keys,
            store=self._services.store,
            ledger=ledger,
            publisher=self._publisher,
            bench=self._bench,
        )
        verified = ending.verify(self._mend_sound)
        renditions = ending.publish(verified)
        seconds = round(float(verified.frames / plan.frame_rate), 3)
        cpu = sum(part.cpu_seconds for part in (*verified.chunks, verified.sound) if part)
        held.complete(
            duration_seconds=seconds,
            size=plan.source.displayed_size,
            renditions=renditions,
            old_run_seconds=self._services.settings.old_run_seconds,
            cpu_seconds=round(cpu, 3),
        )
        self._log.info("video ready", duration_seconds=seconds, cpu_seconds=round(cpu, 3))
        self._emit(
            {
                metrics.JOBS_COMPLETED: 1,
                metrics.TIME_TO_READY_SECONDS: seconds_since(self.job.queued_at),
                metrics.CPU_SECONDS: cpu,
            }
        )

    def _send_chunk(self, number: int) -> None:
        if number < len(self._known_plan.chunks):
            self._services.jobs.send(self.job.for_part(video_part(number)))

    def _send_unfinished(self) -> None:
        """Send every part again that is to be done now and is not: their messages may be gone."""
        if self._plan is None:
            return
        count, window = len(self._plan.chunks), self._services.settings.chunks_in_flight
        chunks = self._services.ledger.chunks(self.job, 0, count)
        done = {part.name for part in chunks if part.done}
        for number in range(1, count):
            released = number < window or video_part(number - window) in done
            if released and video_part(number) not in done:
                self._send_chunk(number)
        if self.job.part != START:
            self._services.jobs.send(self.job.for_part(START))

    # -- what it works with ------------------------------------------------------------------------

    @property
    def _known_plan(self) -> Plan:
        if self._plan is None:
            raise TransientError("the run has no plan")
        return self._plan

    @cached_property
    def _source(self) -> _Source:
        reader = self._services.open_source(self.job)
        try:
            size = reader.size()
        except FileNotFoundError:
            raise BadInputError("source_missing", "The uploaded file is no longer there.") from None
        if size == 0:
            raise BadInputError("empty", "The file is empty.")
        proxy = self._stack.enter_context(SourceProxy(reader, size))
        return _Source(proxy, reader.read(0, min(size, _HEAD_BYTES)))

    @cached_property
    def _bench(self) -> Workbench:
        scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="job-"))
        settings = self._services.settings
        return Workbench(
            source=self._source.proxy,
            cancellation=self._cancellation,
            scratch=Path(scratch),
            max_pixels=settings.max_pixels,
            max_duration_seconds=settings.max_duration_seconds,
            threads=settings.threads,
        )

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(
            plan=self._known_plan,
            job=self.job,
            keys=self._keys,
            store=self._services.store,
            ledger=self._services.ledger,
            interval_seconds=self._services.settings.playlist_interval_seconds,
            playable=lambda: self._emit(
                {metrics.TIME_TO_PLAYABLE_SECONDS: seconds_since(self.job.queued_at)}
            ),
        )

    @contextmanager
    def _uploader(self) -> Iterator[Uploader]:
        settings = self._services.settings
        uploader = Uploader(
            self._services.store,
            self._cancellation,
            threads=settings.upload_threads,
            max_bytes=settings.upload_bytes,
        )
        try:
            yield uploader
        finally:
            uploader.close()

    def _emit(self, values: Mapping[str, float]) -> None:
        self._services.emit(
            values, video_id=self.job.video_id, run_id=self.job.run_id, part=self.job.part
        )


@dataclass(frozen=True)
class _Source:
    """The source of an assignment.

    Attributes:
        proxy: Where children read it.
        head: Its first bytes.
    """

    proxy: SourceProxy
    head: bytes

    @property
    def bytes_read(self) -> int:
        return self.proxy.bytes_read


def _first(spans: tuple[Span, ...], segments: int) -> tuple[Span, ...]:
    """Return the spans of the first ``segments`` segments."""
    kept = []
    for span in spans:
        count = min(span.segments, segments)
        if count > 0:
            kept.append(replace(span, segments=count))
        segments -= count
    return tuple(kept)
