"""Cutting fragments into segments on a fixed grid, with every fragment checked before it is used.

A segment exists the moment its last byte was muxed. The grid is a property of the plan alone, so
that segments of one video fit together whoever encoded them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from media_worker.boxes import Fragment

AUDIO_RATE = 48_000
"""Samples per second of the audio track, and its timescale."""

AAC_FRAME = 1024
"""Samples of an AAC frame."""

AUDIO_FRAGMENT_FRAMES = 25
"""AAC frames of an audio fragment: 8/15 s. A fixed number, since fragments by time would drift."""

AUDIO_FRAGMENT = AUDIO_FRAGMENT_FRAMES * AAC_FRAME
"""Samples of an audio fragment."""


class GridError(ValueError):
    """The encoder wrote a fragment that is not where the plan puts it."""


@dataclass(frozen=True)
class Segment:
    """A segment, ready to be published.

    Attributes:
        index: Number on the grid of the whole video, from 0.
        duration: Seconds.
        samples: Video frames, or samples of audio.
        data: The bytes.
        key_frames: Of video, for each GOP: where in ``data`` the bytes begin with which its key
            frame can be decoded, after the init segment, and how many they are.
    """

    index: int
    duration: Fraction
    samples: int
    data: bytes = field(repr=False)
    key_frames: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """File name, the same for every track."""
        return segment_name(self.index)


def segment_name(index: int) -> str:
    """Return the file name of the segment with a number on the grid of the whole video."""
    return f"{index:06d}.m4s"


@dataclass(frozen=True, kw_only=True)
class VideoGrid:
    """Where video frames, key frames and segments lie.

    Attributes:
        timescale: Ticks per second.
        frame_ticks: Ticks of one frame.
        gop_frames: Frames between key frames.
        segment_frames: Frames of a segment, a multiple of ``gop_frames``.
    """

    timescale: int
    frame_ticks: int
    gop_frames: int
    segment_frames: int

    @property
    def segment_seconds(self) -> Fraction:
        """Length of a full segment."""
        return Fraction(self.segment_frames * self.frame_ticks, self.timescale)


class VideoSegmenter:
    """Collects the fragments of one rendition, from a frame of the grid on.

    Args:
        grid: The grid.
        first_frame: First frame of the range that is encoded; a segment begins there.
    """

    def __init__(self, grid: VideoGrid, first_frame: int) -> None:
        if first_frame % grid.segment_frames:
            raise ValueError(
                f"first_frame is {first_frame}, not a multiple of {grid.segment_frames}"
            )
        self._grid = grid
        self._next = first_frame
        self._parts: list[bytes] = []
        self._bytes = 0
        self._key_frames: list[tuple[int, int]] = []
        self._frames = 0
        self.frames = 0

    def push(self, fragment: Fragment) -> Segment | None:
        """Take the next fragment; return the segment that it completes.

        Raises:
            GridError: If the fragment is not exactly where the plan puts it.
        """
        grid = self._grid
        start, end = self._next * grid.frame_ticks, (self._next + fragment.samples - 1)
        if fragment.decode_time != start or fragment.first_pts != start:
            raise GridError(
                f"a fragment starts at {fragment.decode_time} and shows from {fragment.first_pts}"
                f", planned was {start}"
            )
        if not fragment.starts_with_sync:
            raise GridError(f"the fragment at {start} does not start with a key frame")
        if (
            fragment.duration != fragment.samples * grid.frame_ticks
            or fragment.last_pts != end * grid.frame_ticks
        ):
            raise GridError(f"the frames of the fragment at {start} are not evenly spaced")
        if self._next % grid.gop_frames or fragment.samples > grid.gop_frames:
            raise GridError(f"a key frame is off the grid at frame {self._next}")
        self._parts.append(fragment.data)
        self._key_frames.append((self._bytes, fragment.key_frame_bytes))
        self._bytes += len(fragment.data)
        self._frames += fragment.samples
        self._next += fragment.samples
        self.frames += fragment.samples
        return self._cut() if self._frames == grid.segment_frames else None

    def finish(self) -> Segment | None:
        """Return the short segment at the end, if there is one."""
        return self._cut() if self._parts else None

    def _cut(self) -> Segment:
        grid = self._grid
        segment = Segment(
            index=(self._next - 1) // grid.segment_frames,
            duration=Fraction(self._frames * grid.frame_ticks, grid.timescale),
            samples=self._frames,
            data=b"".join(self._parts),
            key_frames=tuple(self._key_frames),
        )
        self._parts, self._key_frames, self._bytes, self._frames = [], [], 0, 0
        return segment


def _audio_fragments_until(segment_seconds: Fraction, index: int) -> int:
    """Return how many fragments of sound there are up to the end of segment ``index``."""
    planned = segment_seconds * AUDIO_RATE / AUDIO_FRAGMENT * (index + 1)
    return max(index + 1, int(planned + Fraction(1, 2)))


def audio_segment_samples(segment_seconds: Fraction, index: int) -> int:
    """Return the samples of segment ``index`` of the sound, unless it is the last.

    Args:
        segment_seconds: Length of a video segment.
        index: Number of the segment.
    """
    before = _audio_fragments_until(segment_seconds, index - 1) if index else 0
    return (_audio_fragments_until(segment_seconds, index) - before) * AUDIO_FRAGMENT


class AudioSegmenter:
    """Collects the fragments of the audio track, which has a grid of its own.

    Segments end at the fragment that ends nearest to the end of the video segment, so they stay
    within 4/15 s of it and never drift.

    Args:
        segment_seconds: Length of a video segment.
    """

    def __init__(self, segment_seconds: Fraction) -> None:
        self._segment_seconds = segment_seconds
        self._parts: list[bytes] = []
        self._index = 0
        self._fragments = 0
        self._started_at = 0
        self._short = False
        self.samples = 0

    def push(self, fragment: Fragment) -> Segment | None:
        """Take the next fragment; return the segment that it completes.

        Raises:
            GridError: If the fragment does not continue the one before, or is not of full length
                though another follows.
        """
        if fragment.decode_time != self.samples or fragment.first_pts != self.samples:
            raise GridError(
                f"an audio fragment starts at {fragment.decode_time}, planned was {self.samples}"
            )
        if self._short or fragment.samples > AUDIO_FRAGMENT_FRAMES:
            raise GridError(f"an audio fragment at {fragment.decode_time} is off the grid")
        self._short = fragment.duration != AUDIO_FRAGMENT
        self._parts.append(fragment.data)
        self._fragments += 1
        self.samples += fragment.duration
        boundary = _audio_fragments_until(self._segment_seconds, self._index)
        return self._cut() if self._fragments >= boundary else None

    def finish(self) -> Segment | None:
        """Return the short segment at the end, if there is one."""
        return self._cut() if self._parts else None

    def _cut(self) -> Segment:
        samples = self.samples - self._started_at
        segment = Segment(
            index=self._index,
            duration=Fraction(samples, AUDIO_RATE),
            samples=samples,
            data=b"".join(self._parts),
        )
        self._parts, self._started_at = [], self.samples
        self._index += 1
        return segment
