"""Running the encoders of a job: video by range of frames, audio as a task of its own, the poster.

Every function blocks until its child has ended, hands each segment on the moment it is complete,
and raises what the job is to make of an error.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, BinaryIO, Protocol, TypeAlias

from media_worker import ffmpeg
from media_worker.boxes import BoxError, Fragment, read_fragments
from media_worker.faults import BadInputError, StoppedError, TransientError
from media_worker.planning import FrameRange, Plan, too_long
from media_worker.probe import Workbench
from media_worker.sandbox import Limits
from media_worker.segments import AudioSegmenter, GridError, Segment, VideoSegmenter

_MEMORY = 6 * 1024**3
"""Well below what the task has (8 GiB), so that a child fails before the worker is killed."""

_PRE_ROLL = Fraction(1)
_LONG_PRE_ROLL = Fraction(10)
"""Seeking in MPEG streams lands between key frames."""

_PRE_ROLL_TRIES = 4


class TrackSink(Protocol):
    """Takes what a track consists of; may block while earlier segments are still on their way."""

    def init(self, track: int | None, data: bytes) -> None:
        """Take the init segment of a rung (its number in the ladder) or of the audio (``None``)."""

    def segment(self, track: int | None, segment: Segment) -> None:
        """Take the next segment."""


@dataclass(frozen=True)
class EncodedRange:
    """What came of a range.

    Attributes:
        decoded: Frames that the one decode yielded.
        encoded: Frames of each rung.
    """

    decoded: int
    encoded: tuple[int, ...]


Segmenter: TypeAlias = VideoSegmenter | AudioSegmenter


def _limits(plan: Plan, bench: Workbench) -> Limits:
    """Return generous limits: an hour of video may take ten on a slow machine, but not forever."""
    length = float(plan.seconds or bench.max_duration_seconds)
    wall = 300 + 20 * length
    return Limits(
        wall_seconds=wall, cpu_seconds=int(wall * (os.cpu_count() or 1)), memory_bytes=_MEMORY
    )


class _Cutter(threading.Thread):
    """Cuts the fMP4 of one pipe into segments and hands them on."""

    def __init__(
        self,
        pipe: BinaryIO,
        track: int | None,
        segmenter: Segmenter,
        sink: TrackSink,
        on_error: Callable[[], None],
    ) -> None:
        super().__init__(name=f"cutter-{'audio' if track is None else track}", daemon=True)
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
        BadInputError: If the range is longer than any video may be, or mostly damaged.
        TransientError: If an encoder failed or wrote what was not planned.
        StoppedError: If the job was stopped.
    """
    pre_roll = _LONG_PRE_ROLL if plan.source.format_name == "mpegts" else _PRE_ROLL
    for attempt in range(_PRE_ROLL_TRIES):
        try:
            return _encode_video(plan, frames, bench, sink, pre_roll)
        except _LateStartError as error:
            if attempt == _PRE_ROLL_TRIES - 1:
                raise TransientError(str(error)) from error
            pre_roll = pre_roll * 4 + 2
    raise AssertionError("unreachable")


class _LateStartError(Exception):
    """A range did not start where it should, and nothing of it was handed on."""


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
    with bench.child(argv, _limits(plan, bench), tuple(write for _, write in ends)) as child:
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
    _raise_first(cutters)
    if code == ffmpeg.TOO_MANY_ERRORS:
        raise BadInputError(
            "damaged",
            "Most of the pictures in the file are damaged and cannot be shown. Please upload it"
            " again.",
        )
    if code:
        raise TransientError(f"ffmpeg ended with {code}: {log[-500:]}")
    result = EncodedRange(decoded, tuple(segmenter.frames for segmenter in segmenters))
    _check_range(frames, result, cutters)
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


def _check_range(frames: FrameRange, result: EncodedRange, cutters: list[_Cutter]) -> None:
    """Hold the rungs against each other, against the decode, and against the range."""
    if set(result.encoded) != {result.decoded}:
        raise TransientError(
            f"{result.decoded} frames were decoded, but the rungs have {result.encoded}"
        )
    if frames.end is not None and result.decoded != frames.end - frames.start:
        message = f"{result.decoded} frames of {frames.start} to {frames.end} were decoded"
        if not any(cutter.handed_on for cutter in cutters):
            raise _LateStartError(message)
        raise TransientError(message)


_PROGRESS = re.compile(rb"frame=\s*(\d+)")


def _decoded_frames(output: IO[bytes]) -> Iterator[int]:
    """Yield the counts that ``-progress`` writes, the last of which is final."""
    for line in output:
        if found := _PROGRESS.match(line):
            yield int(found[1])


def encode_audio(plan: Plan, bench: Workbench, sink: TrackSink) -> int:
    """Encode the whole sound; return the samples of the track, 0 if there is nothing to hear.

    Raises:
        TransientError: If the encoder failed or wrote what was not planned.
        StoppedError: If the job was stopped.
    """
    argv = ffmpeg.audio(plan, bench.source.url, bench.max_pixels)
    segmenter = AudioSegmenter(plan.grid.segment_seconds)
    with bench.child(argv, _limits(plan, bench)) as child:
        reader = os.fdopen(os.dup(child.output.fileno()), "rb", 1 << 16)
        cutter = _Cutter(reader, None, segmenter, sink, child.kill)
        cutter.start()
        cutter.join()
        code = child.wait()
        log = child.log
    bench.check_source()
    try:
        _raise_first([cutter])
    except _LateStartError as error:
        raise TransientError(str(error)) from error
    if code:
        raise TransientError(f"ffmpeg ended with {code} on the sound: {log[-500:]}")
    return segmenter.samples


def make_poster(plan: Plan, bench: Workbench) -> bytes:
    """Return a JPEG of a representative frame: from a tenth into the video on, or the first ones.

    Raises:
        TransientError: If no frame could be made into a picture.
        StoppedError: If the job was stopped.
    """
    log = ""
    for at in ((plan.seconds or Fraction(0)) / 10, Fraction(0)):
        argv = ffmpeg.poster(plan, bench.source.url, bench.max_pixels, at=at)
        with bench.child(argv, _limits(plan, bench)) as child:
            image = child.output.read()
            child.wait()
            log = child.log
        bench.check_source()
        if image:
            return image
    raise TransientError(f"no poster could be made: {log[-500:]}")
