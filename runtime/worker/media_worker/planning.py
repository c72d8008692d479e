"""From what the probe saw to a plan: timeline, frame rate, grid, ladder, ranges.

Everything here is a function of the source and of what was asked for, so that two workers that plan
the same run plan the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.ladder import DEFAULT_LADDER, LadderRung
from media_platform.contract.run import SEGMENT_SECONDS
from media_worker.faults import BadInputError
from media_worker.segments import VideoGrid

STANDARD_RATES: tuple[Fraction, ...] = (
    *(Fraction(5), Fraction(6), Fraction(15, 2), Fraction(10), Fraction(12), Fraction(25, 2)),
    *(Fraction(15), Fraction(20), Fraction(24000, 1001), Fraction(24), Fraction(25)),
    *(Fraction(30000, 1001), Fraction(30), Fraction(48), Fraction(50)),
    *(Fraction(60000, 1001), Fraction(60)),
)
"""Frame rates that cameras and programs mean when their time stamps come close."""

LONGEST_SIDE = 16_384
"""Longest side in pixels that the encoder takes."""

MAX_RATE = 60
MIN_RATE = 5

_USUAL_RATE = 30
"""Frames per second up to which the peaks of a ladder hold."""

_SMOOTH_RATE = 48
"""Frames per second that a share of a faster rate has at least; below, 60 is the better choice."""

_FEWEST_INTERVALS = 4
"""Fewer frame intervals have no meaningful median."""

_SAME_PHASE = Fraction(1, 10)
"""Part of a frame by which frames may lie off the grid and still count as being on it."""

MAX_AUDIO = 8
MAX_TEXTS = 32
"""Streams beyond these are left out."""

GOP_SECONDS = 2
MIN_TIMESCALE = 10_000
"""Ticks per second that a timescale has at least, so that players round nothing visible."""

CRF: dict[Quality, int] = {Quality.STANDARD: 23, Quality.HIGH: 20}
"""Constant rate factor of x264 by quality; six less take about twice the bits."""

_PEAKS: dict[Quality, Fraction] = {Quality.STANDARD: Fraction(1), Quality.HIGH: Fraction(3, 2)}
"""What the peaks of a ladder are multiplied by: three steps of the rate factor."""

_LEVELS: tuple[tuple[str, int, int, int], ...] = (
    ("3.0", 40_500, 1_620, 12_500_000),
    ("3.1", 108_000, 3_600, 17_500_000),
    ("3.2", 216_000, 5_120, 25_000_000),
    ("4.0", 245_760, 8_192, 25_000_000),
    ("4.2", 522_240, 8_704, 62_500_000),
    ("5.0", 589_824, 22_080, 168_750_000),
    ("5.1", 983_040, 36_864, 300_000_000),
)
"""H.264 levels with macroblocks per second and per frame, and bits per second of High profile.

Source: ITU-T H.264, tables A-1 and A-2.
"""

PQ, HLG = 16, 18
"""Transfer characteristics of HDR video (ITU-T H.273, table 3)."""

BT2020 = 9
"""Primaries of wide-gamut video (ITU-T H.273, table 2)."""

_HD_MATRICES = frozenset({1, 9, 10})
_WIDE_MATRICES = frozenset({9, 10})
UNSPECIFIED = 2


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """An audio stream of a source.

    Attributes:
        index: Number of the stream.
        channels: Number of channels, 0 if unknown.
        language: Language tag as the container states it, or ``None``.
        title: Title as the container states it, or ``None``.
        default: Whether the container marks it as the one to play.
        layout: Channel layout as ffmpeg names it. Default: nothing is known of it.
    """

    index: int
    channels: int
    language: str | None
    title: str | None
    default: bool
    layout: str = ""


@dataclass(frozen=True, kw_only=True)
class TextStream:
    """A stream of subtitles that are text, not pictures.

    Attributes:
        index: Number of the stream.
        language: Language tag as the container states it, or ``None``.
        title: Title as the container states it, or ``None``.
        forced: Whether it is to be shown even to those who asked for no subtitles.
    """

    index: int
    language: str | None
    title: str | None
    forced: bool


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the probe and the first decoded frame say about an upload.

    Attributes:
        format_name: Name of the demuxer.
        format_start: Time from which seeking counts, in seconds.
        video_index: Number of the video stream.
        audio: Its audio streams, at most :data:`MAX_AUDIO`, the one to play by default first.
        texts: Its subtitles, at most :data:`MAX_TEXTS`.
        time_base: Seconds of one tick of the video stream.
        packet_times: Presentation times of the first packets, in ticks.
        average_rate: Frames per second on average, as far as the container says.
        base_rate: The exact rate that the container states, if it does.
        width: Pixels of a decoded line.
        height: Lines of a decoded frame.
        rotation: Degrees by which players turn the picture; other than by right angles, the
            picture is turned within its frame.
        sample_aspect: Width of a pixel divided by its height.
        transfer: Transfer characteristics (ITU-T H.273).
        matrix: Matrix coefficients (ITU-T H.273).
        primaries: Colour primaries (ITU-T H.273).
        video_promise: Time of the end that the header claims for the video, or ``None``.
        promised_end: Time of the end that the header claims for the longest stream, or ``None``.
        tail_end: Time of the end of the last packet found, of any stream, or ``None``.
        video_end: Time of the end of the last video packet, as far as it is known.
        first_pts: Time of the first frame that the encoder's own decoder yields, in ticks of
            ``decoder_time_base``; once :func:`settle` has seen it, the time that is zero.
        decoder_time_base: Seconds of one such tick.
        interlaced: Whether this frame was interlaced.
        fast: Whether it has more than 60 frames a second, so that some have to be left out.
        restarts: Whether its clock starts anew on the way, as in files that were joined; then times
            do not say where in the file something is, and it can only be read from the start.
    """

    format_name: str
    format_start: Fraction
    video_index: int
    audio: tuple[AudioStream, ...]
    texts: tuple[TextStream, ...]
    time_base: Fraction
    packet_times: tuple[int, ...]
    average_rate: Fraction | None
    base_rate: Fraction | None
    width: int
    height: int
    rotation: int
    sample_aspect: Fraction
    transfer: int
    matrix: int
    video_promise: Fraction | None
    promised_end: Fraction | None
    tail_end: Fraction | None
    video_end: Fraction | None
    first_pts: int
    decoder_time_base: Fraction
    interlaced: bool
    primaries: int = UNSPECIFIED
    fast: bool = False
    restarts: bool = False

    @property
    def origin(self) -> Fraction:
        """Time in the source that is zero in the result, in seconds."""
        return self.first_pts * self.decoder_time_base

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Width and height in square pixels, turned as players turn it."""
        width, height = max(1, round(self.width * self.sample_aspect)), self.height
        return (height, width) if self.rotation in {90, 270} else (width, height)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rendition to be made.

    Attributes:
        width: Pixels of a line, even.
        height: Lines, even.
        peak_bits: Bits per second that the rate control does not exceed over one second.
        level: H.264 level.
    """

    width: int
    height: int
    peak_bits: int
    level: str

    @property
    def bandwidth(self) -> int:
        """Peak bits per second of a full segment: one second of buffer on top of four."""
        return self.peak_bits * (SEGMENT_SECONDS + 1) // SEGMENT_SECONDS


@dataclass(frozen=True)
class FrameRange:
    """Frames of one chunk.

    Attributes:
        start: First frame, at the start of a segment.
        end: Frame after the last, or ``None`` for all that are there.
    """

    start: int
    end: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a source becomes a ladder.

    Attributes:
        source: The source.
        frame_rate: Frames per second of all renditions.
        frames: Frames that the result should have, or ``None`` if nothing tells. An estimate.
        grid: Where frames, key frames and segments lie.
        rungs: The ladder, highest first.
        chunks: The picture in parts, each encoded by one worker, in order; the last has no end,
            since the number of frames is an estimate.
        chunks_in_flight: Most of them in the queue at a time. Part of the plan, since whoever
            finishes one sends the one that lies as many ahead: workers with other settings would
            leave some out.
        crf: Constant rate factor of every rung, under its peak.
    """

    source: Source
    frame_rate: Fraction
    frames: int | None
    grid: VideoGrid
    rungs: tuple[Rung, ...]
    chunks: tuple[FrameRange, ...]
    chunks_in_flight: int
    crf: int = CRF[Quality.STANDARD]

    @property
    def seconds(self) -> Fraction | None:
        """Planned length in seconds."""
        return None if self.frames is None else self.frames / self.frame_rate


def make_plan(
    source: Source,
    chunk_seconds: int,
    chunks_in_flight: int = 2,
    *,
    ladder: Sequence[LadderRung] = DEFAULT_LADDER,
    profile: Profile = Profile.AUTO,
    quality: Quality = Quality.STANDARD,
) -> Plan:
    """Plan the encoding of ``source`` in chunks of ``chunk_seconds``, the first one shorter.

    The first chunk is a single segment, so that a video can be played after the same time whatever
    its length. No chunk at the end is a stub: an estimate is off by a few frames, and none at all
    might be left for it.
    """
    rate = choose_rate(source)
    gop = max(1, round(GOP_SECONDS * rate))
    timescale = rate.numerator
    while timescale < MIN_TIMESCALE:
        timescale *= 2
    grid = VideoGrid(
        timescale=timescale,
        frame_ticks=int(timescale / rate),
        gop_frames=gop,
        segment_frames=gop * (SEGMENT_SECONDS // GOP_SECONDS),
    )
    # Where the end could not be found ahead, the result is held against what the header says.
    end = source.video_promise if source.video_end is None else source.video_end
    frames = None if end is None else max(1, round((end - source.origin) * rate))
    chunks = choose_chunks(frames, grid.segment_frames, chunk_seconds // SEGMENT_SECONDS)
    return Plan(
        source=source,
        frame_rate=rate,
        frames=frames,
        grid=grid,
        rungs=choose_rungs(ladder, source.displayed_size, rate, profile=profile, quality=quality),
        chunks=(FrameRange(0, None),) if source.restarts else chunks,
        chunks_in_flight=chunks_in_flight,
        crf=CRF[quality],
    )


def choose_chunks(
    frames: int | None, segment_frames: int, segments_per_chunk: int
) -> tuple[FrameRange, ...]:
    """Return the chunks of a picture.

    Args:
        frames: Estimated length, or ``None`` if nothing tells; then there are two.
        segment_frames: Frames of a segment.
        segments_per_chunk: Most segments of a chunk. Chunks are as equal as they can be, longer
            ones first: what would be left over for a long last one, all workers but one would wait
            for.
    """
    if frames is None:
        cuts = [0, segment_frames]
    elif frames <= 2 * segment_frames:
        cuts = [0]
    else:
        # What is less than half a segment at the end goes with the one before.
        segments = (frames - segment_frames + segment_frames // 2) // segment_frames
        count = -(-segments // max(1, segments_per_chunk))
        each, longer = divmod(segments, count)
        cuts = [0, segment_frames]
        for number in range(count - 1):
            cuts.append(cuts[-1] + (each + (number < longer)) * segment_frames)
    return tuple(FrameRange(start, end) for start, end in zip(cuts, [*cuts[1:], None], strict=True))


def snap(rate: Fraction | float, tolerance: float) -> Fraction | None:
    """Return the standard rate within ``tolerance`` (a ratio) of ``rate``, or ``None``."""
    nearest = min(STANDARD_RATES, key=lambda standard: abs(float(standard) - float(rate)))
    near = abs(float(nearest) - float(rate)) <= tolerance * float(nearest)
    return nearest if near else None


def measured_rate(source: Source) -> float | None:
    """Return the frames per second of the source, or ``None`` if there are too few to tell.

    It is the mean of the frame intervals within 45 % of the median one: pauses and dropped frames
    do not lower it, as they do the average that the container states, and jitter does not bend it.
    """
    intervals = _intervals(source)
    if len(intervals) < _FEWEST_INTERVALS:
        return None
    median = intervals[len(intervals) // 2]
    usual = [interval for interval in intervals if abs(interval - median) <= 0.45 * median]
    return len(usual) / sum(usual)


def _intervals(source: Source) -> list[float]:
    """Return the seconds between the first frames, shortest first."""
    times = sorted(set(source.packet_times))
    return sorted(float((after - before) * source.time_base) for before, after in pairwise(times))


def choose_rate(source: Source) -> Fraction:
    """Return the frame rate of the grid: what the camera meant, snapped to a standard rate.

    Above 60, it is the highest standard rate that takes every second, third, ... frame, so that
    motion stays even; else 60.
    """
    rate = measured_rate(source) or float(source.average_rate or source.base_rate or 30)
    stated = source.base_rate and snap(source.base_rate, 1e-5)
    if stated and abs(float(stated) / rate - 1) < 0.004:  # noqa: PLR2004 - the frames agree
        return stated
    many = 100
    near = 0.002 if len(_intervals(source)) >= many else 0.02
    if is_too_fast(rate):
        shares = (snap(rate / share, near) for share in range(2, 33))
        return next((s for s in shares if s and s >= _SMOOTH_RATE), Fraction(MAX_RATE))
    exact = snap(rate, near) or snap(rate, 0.03)
    return exact or Fraction(min(MAX_RATE, max(MIN_RATE, round(rate))))


def is_too_fast(rate: float) -> bool:
    """Tell whether frames have to be left out; what is meant to be 60 may be measured as 61."""
    return rate > MAX_RATE * 1.03


def settle(source: Source) -> Source:
    """Return ``source`` with what the times of its packets say, which later workers do not have.

    Zero is the first frame, unless nearly all that follow lie between the places of the grid that
    starts there (some muxers put the first frame half a frame early): rounding would make them
    alternate between being shown twice and not at all.
    """
    offset = round(_grid_offset(source) / source.decoder_time_base)
    return replace(
        source,
        first_pts=source.first_pts + offset,
        fast=is_too_fast(measured_rate(source) or 0),
    )


def _grid_offset(source: Source) -> Fraction:
    """Return by how many seconds nearly all frames lie behind the grid that the first one sets.

    Less than a tenth of a frame is none, and so is what many frames do not agree on.
    """
    rate = choose_rate(source)
    first = source.first_pts * source.decoder_time_base
    places = [(time * source.time_base - first) * rate for time in source.packet_times]
    phases = [place - round(place) for place in places if place > 0]
    if len(phases) < _FEWEST_INTERVALS:
        return Fraction(0)
    # Phases go around: just below a half and just above minus a half are neighbours.
    anchor = phases[len(phases) // 2]
    turned = sorted((phase - anchor + Fraction(1, 2)) % 1 for phase in phases)
    middle = turned[len(turned) // 2]
    near = sum(abs(phase - middle) < _SAME_PHASE for phase in turned)
    offset = (middle - Fraction(1, 2) + anchor + Fraction(1, 2)) % 1 - Fraction(1, 2)
    if near < 0.9 * len(phases) or abs(offset) < _SAME_PHASE:
        return Fraction(0)
    return offset / rate


def choose_rungs(
    ladder: Sequence[LadderRung],
    size: tuple[int, int],
    rate: Fraction,
    *,
    profile: Profile = Profile.AUTO,
    quality: Quality = Quality.STANDARD,
) -> tuple[Rung, ...]:
    """Return the rungs for a source of ``size`` as displayed, highest first.

    Rungs count by the short side, as people do ("1080p" of an upright video is 1080 wide), and none
    is larger than the source or than ``profile`` says, if the ladder has such. A source below the
    lowest rung gets one of its own size.
    """
    short, lowest = min(size), ladder[-1]
    most = short if profile is Profile.AUTO else min(short, int(profile.removesuffix("p")))
    peaks = {rung.short_side: rung.peak_kilobits * 1000 for rung in ladder}
    sides = [side for side in peaks if side <= most] or [min(short, lowest.short_side)]
    rungs = []
    for side in sides:
        ratio = Fraction(side, short)
        width, height = (_even(length * ratio) for length in size)
        base = peaks.get(side) or _small_peak_bits(lowest, width * height)
        peak = int((base if rate <= _USUAL_RATE else base * 7 // 5) * _PEAKS[quality])
        level = _level(width, height, rate, peak)
        rungs.append(Rung(width=width, height=height, peak_bits=peak, level=level))
    return tuple(rungs)


def _even(length: Fraction) -> int:
    """Return the nearest even number that is not above ``length`` where it is a whole number."""
    nearest = round(length / 2) * 2
    return max(2, nearest if nearest <= length or length.denominator > 1 else nearest - 2)


def _small_peak_bits(lowest: LadderRung, pixels: int) -> int:
    """Return the peak of a picture that is smaller than the lowest rung, by its area."""
    side = lowest.short_side
    return max(200_000, lowest.peak_kilobits * 1000 * pixels // (side * side * 16 // 9))


def _level(width: int, height: int, rate: Fraction, peak_bits: int) -> str:
    blocks = ((width + 15) // 16) * ((height + 15) // 16)
    for level, per_second, per_frame, bits in _LEVELS:
        if blocks <= per_frame and blocks * rate <= per_second and peak_bits <= bits:
            return level
    return "5.2"


def is_hdr(source: Source) -> bool:
    """Tell whether the picture has to be tone-mapped."""
    return source.transfer in {PQ, HLG}


def is_wide(source: Source) -> bool:
    """Tell whether the colours are of a wider gamut than those of the result, without being HDR."""
    wide = source.primaries == BT2020 or source.matrix in _WIDE_MATRICES
    return wide and not is_hdr(source)


def has_hd_colours(source: Source) -> bool:
    """Tell whether the matrix of the picture is BT.709 (or becomes it), by tag or else by size."""
    hd_lines = 720
    return source.matrix in _HD_MATRICES or (
        source.matrix == UNSPECIFIED and source.height >= hd_lines
    )


def check_source(
    source: Source, *, max_pixels: int, max_duration_seconds: int, max_frame_rate: int
) -> None:
    """Refuse a source that is too large, too fast, too long, or cut off.

    Args:
        source: The source.
        max_pixels: Most pixels of a frame (width x height).
        max_duration_seconds: Longest video that is accepted.
        max_frame_rate: Most frames per second.

    Raises:
        BadInputError: If it is refused.
    """
    # Pixels may be declared a thousand times as wide as they are high.
    for width, height in ((source.width, source.height), source.displayed_size):
        if width * height > max_pixels:
            raise too_many_pixels(width, height, max_pixels)
        if max(width, height) > LONGEST_SIDE:
            raise BadInputError(
                "too_many_pixels",
                f"The picture of {width} x {height} pixels has a side that is longer than the"
                f" {LONGEST_SIDE} pixels that are allowed here.",
            )
    rate = measured_rate(source) or 0
    # A standard rate may be exceeded by what time stamps are rounded by.
    if rate > max_frame_rate * 1.03:
        raise BadInputError(
            "too_many_frames",
            f"The video has {rate:.0f} frames a second, which is more than the {max_frame_rate}"
            " that are allowed here.",
        )
    end = max((e for e in (source.promised_end, source.video_end) if e is not None), default=None)
    if end is not None and end - source.origin > max_duration_seconds:
        raise too_long(max_duration_seconds)
    promised, found = source.promised_end, source.tail_end
    if promised is not None:
        length = promised - source.origin
        if found is None or promised - found > tolerance(length):
            there = max(Fraction(0), (found or source.origin) - source.origin)
            raise truncated(length, there)
    # Sound that is all there does not make up for a picture that ends early.
    promised, found = source.video_promise, source.video_end
    if promised is not None and found is not None:
        length = promised - source.origin
        if promised - found > tolerance(length):
            raise truncated(length, max(Fraction(0), found - source.origin))


def tolerance(length: Fraction) -> Fraction:
    """Return by how many seconds a header may be wrong about ``length`` seconds."""
    return max(Fraction(1, 2), min(Fraction(2), length / 50))


def check_frames(plan: Plan, frames: int) -> None:
    """Hold the frames of the result against what the source promised.

    Raises:
        BadInputError: If frames are missing: the head was lost, or the file is cut off or damaged.
    """
    if frames == 0:
        raise BadInputError("no_decodable_frames", "No picture in the file can be decoded.")
    if plan.frames is None:
        return
    length = plan.frames / plan.frame_rate
    if plan.frames - frames > tolerance(length) * plan.frame_rate:
        raise truncated(length, frames / plan.frame_rate)


def truncated(promised: Fraction, found: Fraction) -> BadInputError:
    """Return the fault of a file that is shorter than it says."""
    return BadInputError(
        "truncated",
        f"The file is incomplete: it announces {float(promised):.1f} seconds of video, but only"
        f" {float(found):.1f} seconds can be read. Please upload it again.",
    )


def too_long(max_seconds: int) -> BadInputError:
    """Return the fault of a video above the limit."""
    return BadInputError(
        "too_long", f"The video is longer than the {max_seconds} seconds that are allowed here."
    )


def too_many_pixels(width: int, height: int, max_pixels: int) -> BadInputError:
    """Return the fault of a picture above the limit."""
    return BadInputError(
        "too_many_pixels",
        f"The picture of {width} x {height} pixels is larger than the {max_pixels} pixels that"
        " are allowed here.",
    )
