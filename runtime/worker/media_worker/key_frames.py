"""Playlists of key frames, with which players show pictures while one seeks.

Source: RFC 8216, 4.3.3.6 (``EXT-X-I-FRAMES-ONLY``), 4.3.2.2 (``EXT-X-BYTERANGE``) and 4.3.4.3. The
pictures are not stored again: each entry names the bytes of an existing segment from the start of a
fragment to the end of its key frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from media_worker.segments import VideoGrid

_VERSION = 7


@dataclass(frozen=True)
class KeyFrame:
    """A key frame of a published rendition.

    Attributes:
        uri: The segment that it lies in.
        offset: Where its bytes begin there.
        size: Number of bytes; after the init segment they can be decoded.
        duration: Seconds until the next key frame, or until the end.
    """

    uri: str
    offset: int
    size: int
    duration: Fraction


@dataclass(frozen=True)
class Bandwidth:
    """Bits per second that a playlist of key frames takes at normal speed.

    Attributes:
        peak: The most over about one target duration.
        average: Over all of it.
    """

    peak: int
    average: int


def on_grid(
    segments: Iterable[tuple[str, Sequence[tuple[int, int]]]], *, grid: VideoGrid, frames: int
) -> list[KeyFrame]:
    """Return the key frames of a rendition with their durations.

    Args:
        segments: URI of each segment, from the first on, and offset and size of its key frames
            (:attr:`media_worker.segments.Segment.key_frames`).
        grid: The grid of the rendition.
        frames: Frames of the whole rendition.

    Raises:
        ValueError: If there are fewer or more key frames than ``frames`` take on the grid.
    """
    found = [(uri, offset, size) for uri, places in segments for offset, size in places]
    planned = -(-frames // grid.gop_frames)
    if len(found) != planned:
        raise ValueError(
            f"segments have {len(found)} key frames, but {frames} frames have {planned} on a grid"
            f" of {grid.gop_frames}; pass the segments of the whole rendition"
        )
    return [
        KeyFrame(
            uri,
            offset,
            size,
            Fraction(
                min(grid.gop_frames, frames - number * grid.gop_frames) * grid.frame_ticks,
                grid.timescale,
            ),
        )
        for number, (uri, offset, size) in enumerate(found)
    ]


def key_frame_playlist(frames: Sequence[KeyFrame], *, init_uri: str) -> str:
    """Return the complete playlist of the key frames of a rendition.

    It is written once, when the rendition is complete, hence ``VOD``.

    Args:
        frames: All key frames, in order; their URIs are relative to the playlist.
        init_uri: Where the init segment is, relative to the playlist.

    Raises:
        ValueError: If there are none.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{_target_duration(frames)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-I-FRAMES-ONLY",
        f'#EXT-X-MAP:URI="{init_uri}"',
    ]
    for frame in frames:
        lines += [
            f"#EXTINF:{float(frame.duration):.6f},",
            f"#EXT-X-BYTERANGE:{frame.size}@{frame.offset}",
            frame.uri,
        ]
    lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def bandwidth(frames: Sequence[KeyFrame]) -> Bandwidth:
    """Return what ``EXT-X-I-FRAME-STREAM-INF`` has to state of a playlist of ``frames``.

    The peak is that of any entries in a row which last from half of to one and a half times the
    target duration (RFC 8216, 4.1): a last GOP of a frame or two does not count alone.

    Raises:
        ValueError: If there are none.
    """
    target = _target_duration(frames)
    shortest, longest = Fraction(target, 2), Fraction(3 * target, 2)
    bits = 8 * sum(frame.size for frame in frames)
    average = bits / sum((frame.duration for frame in frames), Fraction(0))
    peak = average
    for number in range(len(frames)):
        size, duration = 0, Fraction(0)
        for frame in frames[number:]:
            size, duration = size + frame.size, duration + frame.duration
            if duration > longest:
                break
            if duration >= shortest:
                peak = max(peak, 8 * size / duration)
    return Bandwidth(peak=ceil(peak), average=ceil(average))


def _target_duration(frames: Sequence[KeyFrame]) -> int:
    if not frames:
        raise ValueError("frames is empty: a playlist needs at least one key frame")
    # Rounded as the rule compares it (RFC 8216, 4.3.3.1), half up.
    return max(1, *(int(frame.duration + Fraction(1, 2)) for frame in frames))
