"""Running the encoders: the picture by range of frames, all sound in one pass, the poster.

Every function blocks until its child has ended, hands each segment on the moment it is complete,
and raises what the job is to make of an error.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, BinaryIO, Protocol, TypeAlias

from media_worker import ffmpeg, subtitles
from media_worker.boxes import BoxError, Fragment, read_fragments
from media_worker.faults import BadInputError, StoppedError, TransientError
from media_worker.planning import FrameRange, Plan, check_frames, too_long
from media_worker.probe import Workbench
from media_worker.sandbox import Limits, child_memory, is_crash
from media_worker.segments import AudioSegmenter, GridError, Segment, VideoSegmenter

_PRE_ROLL = Fraction(1)
_LONG_PRE_ROLL = Fraction(10)
"""Seeking in MPEG streams lands between key frames."""

_PRE_ROLL_TRIES = 4


_IMAGE_LIMITS = Limits(wall_seconds=120, cpu_seconds=120, memory_bytes=child_memory())


class TrackSink(Protocol):
    """Takes what a track consists of; may block while earlier segments are still on their way."""

    def init(self, track: int, data: bytes) -> None:
        """Take the init segment of a track: the number of a rung, or of an audio stream."""

    def segment(self, track: int, segment: Segment) -> None:
        """Take the next segment of a track."""


@dataclass(frozen=True)
class EncodedRange:
    """What came of a range.

    Attributes:
        decoded: Frames that the one decode yielded.
        encoded: Frames of each rung.
        cpu_seconds: Processor time that it took.
    """

    decoded: int
    encoded: tuple[int, ...]
    cpu_seconds: float


@dataclass(frozen=True)
class EncodedSound:
    """What came of the sound.

    Attributes:
        samples: Samples of each audio track.
        texts: Each subtitle track as WebVTT, ``None`` if there is nothing to show.
        cpu_seconds: Processor time that it took.
    """

    samples: tuple[int, ...]
    texts: tuple[str | None, ...]
    cpu_seconds: float


Segmenter: TypeAlias = VideoSegmenter | AudioSegmenter


def _limits(seconds: Fraction | float) -> Limits:
    """Return generous limits: an hour of video may take ten on a slow machine, but not forever."""
    wall = 300 + 20 * float(seconds)
    return Limits(
        wall_seconds=wall,
        cpu_seconds=int(wall * (os.cpu_count() or 1)),
        memory_bytes=child_memory(),
    )


class _Cutter(threading.Thread):
    """Cuts the fMP4 of one pipe into segments and hands them on."""

    def __init__(
        self,
        pipe: BinaryIO,
        track: int,
        segmenter: Segmenter,
        sink: TrackSink,
        on_error: Callable[[], None],
    ) -> None:
        super().__init__(name=f"cutter-{track}", daemon=True)
        self._pipe = pipe
        self._track = track
        self._segmenter = segmenter
        self._sink = sink
        self._on_error = on_error
        self._init: bytes | None = None
        self.handed_on = False
        self.error: Exception | None = None

    def run(self) -> None:
        """Read to the end of the pipe."""
        try:
            with self._pipe:
                for part in read_fragments(self._pipe):
                    self._take(part)
                self._hand_on(self._segmenter.finish())
        except Exception as error:  # noqa: BLE001 - raised again by who waits for the thread
            self.error = error
            self._on_error()

    def _take(self, part: bytes | Fragment) -> None:
        if isinstance(part, bytes):
            self._init = part
            return
        segment = self._segmenter.push(part)
        if self._init is not None:
            self._sink.init(self._track, self._init)
            self._init = None
        self._hand_on(segment)

    def _hand_on(self, segment: Segment | None) -> None:
        if segment is not None:
            self.handed_on = True
            self._sink.segment(self._track, segment)


def encode_video(plan: Plan, frames: FrameRange, bench: Workbench, sink: TrackSink) -> EncodedRange:
    """Encode a range of frames into every rung of the ladder.

    Where a seek lands too late for the first frame, reading starts further ahead, as long as
    nothing was handed on.

    Raises:
        BadInputError: If the range is longer than any video may be, or mostly damaged, or if the
            source ends long before it.
        TransientError: If an encoder failed or wrote what was not planned.
        StoppedError: If the job was stopped.
    """
    pre_roll = _LONG_PRE_ROLL if plan.source.format_name == "mpegts" else _PRE_ROLL
    for attempt in range(_PRE_ROLL_TRIES):
        try:
            return _encode_video(plan, frames, bench, sink, pre_roll)
        except _LateStartError as error:
            if attempt == _PRE_ROLL_TRIES - 1:
                if error.reached is not None:
                    check_frames(plan, error.reached)
                raise TransientError(str(error)) from error
            pre_roll = pre_roll * 4 + 2
    raise AssertionError("unreachable")


class _LateStartError(Exception):
    """A range did not start where it should, and nothing of it was handed on.

    Attributes:
        reached: The frame before which the source ended, if it ended within the range.
    """

    def __init__(self, message: str, reached: int | None = None) -> None:
        super().__init__(message)
        self.reached = reached


def _encode_video(
    plan: Plan, frames: FrameRange, bench: Workbench, sink: TrackSink, pre_roll: Fraction
) -> EncodedRange:
    ends = [os.pipe() for _ in plan.rungs]
    argv = ffmpeg.video(
        plan,
        frames,
        bench.source.url,
        pipes=[write for _, write in ends],
        pre_roll=pre_roll,
        max_pixels=bench.max_pixels,
        threads=bench.threads,
    )
    segmenters = [VideoSegmenter(plan.grid, frames.start) for _ in plan.rungs]
    readers = [os.fdopen(read, "rb", 1 << 16) for read, _ in ends]
    most = int(bench.max_duration_seconds * plan.frame_rate)
    decoded = 0
    limits = _limits(_seconds(plan, frames, bench))
    with bench.child(argv, limits, tuple(write for _, write in ends)) as child:
        cutters = [
            _Cutter(reader, number, segmenter, sink, child.kill)
            for number, (reader, segmenter) in enumerate(zip(readers, segmenters, strict=True))
        ]
        for cutter in cutters:
            cutter.start()
        for decoded in _decoded_frames(child.output):
            if frames.start + decoded > most:
                child.kill()
        for cutter in cutters:
            cutter.join()
        code = child.wait()
        log = child.log
    bench.check_source()
    if frames.start + decoded > most:
        raise too_long(bench.max_duration_seconds)
    # A stream that was cut off by a crash is no fault of its own.
    if is_crash(code):
        raise BadInputError(
            "damaged", "The file is damaged in a way that ends every attempt to show its pictures."
        )
    _raise_first(cutters)
    if code == ffmpeg.TOO_MANY_ERRORS:
        raise BadInputError(
            "damaged",
            "Most of the pictures in the file are damaged and cannot be shown. Please upload it"
            " again.",
        )
    if code:
        raise TransientError(f"ffmpeg ended with {code}: {log[-500:]}")
    result = EncodedRange(
        decoded, tuple(segmenter.frames for segmenter in segmenters), child.cpu_seconds
    )
    _check_range(plan, frames, result, cutters)
    return result


def _raise_first(cutters: list[_Cutter]) -> None:
    """Raise what went wrong in the cutters, if anything did."""
    errors = [cutter.error for cutter in cutters if cutter.error is not None]
    for error in errors:
        if isinstance(error, StoppedError | BadInputError | TransientError):
            raise error
    for error in errors:
        if isinstance(error, GridError | BoxError):
            if isinstance(error, GridError) and not any(c.handed_on for c in cutters):
                raise _LateStartError(str(error)) from error
            raise TransientError(str(error)) from error
    if errors:
        raise errors[0]


def _check_range(
    plan: Plan, frames: FrameRange, result: EncodedRange, cutters: list[_Cutter]
) -> None:
    """Hold the rungs against each other, against the decode, and against the range."""
    if set(result.encoded) != {result.decoded}:
        raise TransientError(
            f"{result.decoded} frames were decoded, but the rungs have {result.encoded}"
        )
    if frames.end is not None and result.decoded != frames.end - frames.start:
        message = f"{result.decoded} frames of {frames.start} to {frames.end} were decoded"
        reached = frames.start + result.decoded
        if not any(cutter.handed_on for cutter in cutters):
            raise _LateStartError(message, reached if reached < frames.end else None)
        if reached < frames.end:
            check_frames(plan, reached)
        raise TransientError(message)


_PROGRESS = re.compile(rb"frame=\s*(\d+)")


def _decoded_frames(output: IO[bytes]) -> Iterator[int]:
    """Yield the counts that ``-progress`` writes, the last of which is final."""
    for line in output:
        if found := _PROGRESS.match(line):
            yield int(found[1])


def _seconds(plan: Plan, frames: FrameRange, bench: Workbench) -> Fraction | int:
    """Return how long a range may be at most."""
    end = frames.end or plan.frames
    if end is None:
        return bench.max_duration_seconds
    # The last range is an estimate, and may hold more.
    return max(Fraction(60), (end - frames.start) / plan.frame_rate)


class _TextReader(threading.Thread):
    """Reads what a child writes of one subtitle track."""

    def __init__(self, pipe: BinaryIO) -> None:
        super().__init__(name="text", daemon=True)
        self._pipe = pipe
        self.text: str | None = None

    def run(self) -> None:
        """Read to the end of the pipe."""
        with self._pipe:
            extracted = subtitles.collect(self._pipe)
        self.text = None if extracted is None else subtitles.document(extracted)


def encode_sound(
    plan: Plan,
    bench: Workbench,
    sink: TrackSink,
    *,
    loudness: Sequence[str],
    frames: int | None,
) -> EncodedSound:
    """Encode every audio track and extract the subtitles, from first to last.

    Args:
        plan: The plan.
        bench: What children are given.
        sink: Takes the segments of the audio tracks.
        loudness: Filters of each audio track.
        frames: Frames of picture to whose end the sound is padded or cut.

    Raises:
        BadInputError: If the source made the encoder break.
        TransientError: If the encoder failed or wrote what was not planned.
        StoppedError: If the job was stopped.
    """
    ends = [os.pipe() for _ in plan.source.audio]
    text_ends = [os.pipe() for _ in plan.source.texts]
    writing = tuple(write for _, write in (*ends, *text_ends))
    argv = ffmpeg.sound(
        plan,
        bench.source.url,
        pipes=[write for _, write in ends],
        loudness=loudness,
        text_pipes=[write for _, write in text_ends],
        max_pixels=bench.max_pixels,
        frames=frames,
    )
    segmenters = [AudioSegmenter(plan.grid.segment_seconds) for _ in ends]
    readers = [os.fdopen(read, "rb", 1 << 16) for read, _ in ends]
    texts = [_TextReader(os.fdopen(read, "rb", 1 << 16)) for read, _ in text_ends]
    with bench.child(argv, _limits(plan.seconds or bench.max_duration_seconds), writing) as child:
        cutters = [
            _Cutter(reader, number, segmenter, sink, child.kill)
            for number, (reader, segmenter) in enumerate(zip(readers, segmenters, strict=True))
        ]
        threads = [*cutters, *texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = child.wait()
        log = child.log
    bench.check_source()
    if is_crash(code):
        raise BadInputError(
            "damaged", "The file is damaged in a way that ends every attempt to hear its sound."
        )
    try:
        _raise_first(cutters)
    except _LateStartError as error:
        raise TransientError(str(error)) from error
    if code:
        raise TransientError(f"ffmpeg ended with {code} on the sound: {log[-500:]}")
    return EncodedSound(
        samples=tuple(segmenter.samples for segmenter in segmenters),
        texts=tuple(reader.text for reader in texts),
        cpu_seconds=child.cpu_seconds,
    )


def make_poster(plan: Plan, bench: Workbench) -> bytes:
    """Return a JPEG of a representative frame: from a tenth into the video on, or the first ones.

    Raises:
        TransientError: If no frame could be made into a picture.
        StoppedError: If the job was stopped.
    """
    log = ""
    for at in ((plan.seconds or Fraction(0)) / 10, Fraction(0)):
        argv = ffmpeg.poster(plan, bench.source.url, bench.max_pixels, at=at)
        with bench.child(argv, _limits(60)) as child:
            image = child.output.read()
            child.wait()
            log = child.log
        bench.check_source()
        if image:
            return image
    raise TransientError(f"no poster could be made: {log[-500:]}")


def make_frame(plan: Plan, number: int, bench: Workbench) -> bytes | None:
    """Return one frame as a JPEG, or ``None`` if there is no such frame.

    Raises:
        TransientError: If the source could not be read.
        StoppedError: If the job was stopped.
    """
    pre_roll = _LONG_PRE_ROLL if plan.source.format_name == "mpegts" else _PRE_ROLL
    for _ in range(_PRE_ROLL_TRIES):
        image, _ = _image(
            ffmpeg.frame(
                plan, number, bench.source.url, pre_roll=pre_roll, max_pixels=bench.max_pixels
            ),
            bench,
        )
        if image:
            return image
        pre_roll = pre_roll * 4 + 2
    return None


def make_picture(kind: str, bench: Workbench) -> bytes:
    """Return an uploaded picture as a JPEG.

    Args:
        kind: What it is, one of :data:`ffmpeg.PICTURES`.
        bench: What children are given; its source is the picture.

    Raises:
        BadInputError: If it cannot be decoded.
        TransientError: If it could not be read.
        StoppedError: If the job was stopped.
    """
    argv = ffmpeg.picture(kind, bench.source.url, max_pixels=bench.max_pixels)
    image, code = _image(argv, bench)
    if code or not image:
        raise BadInputError(
            "damaged_picture", "The picture is damaged or too large, and cannot be shown."
        )
    return image


def _image(argv: list[str], bench: Workbench) -> tuple[bytes, int]:
    """Return what a child writes to standard output, and its exit code."""
    with bench.child(argv, _IMAGE_LIMITS) as child:
        image = child.output.read()
        code = child.wait()
    bench.check_source()
    return image, code
