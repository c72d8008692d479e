"""The progressive MP4 for a download: one file, with its index at the start.

It is made of the published segments without decoding anything: the same frames and the same sound.
Segments show their first frame at zero by negative composition offsets, a plain MP4 does so by an
edit list, which ffmpeg writes, and every player honours: the first frame and the first sound are
both at zero.
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from media_worker import ffmpeg
from media_worker.boxes import BoxError, find, read_box
from media_worker.cancellation import Cancellation
from media_worker.faults import TransientError
from media_worker.sandbox import Child, Limits
from media_worker.source_proxy import RangeReader, SourceProxy

PROGRESSIVE_TYPE = "video/mp4"

_MEMORY = 4 * 1024**3
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024
_START_SECONDS = 120
_LARGEST_GROWTH = Fraction(6, 5)
"""What the index takes beyond the boxes of the segments, which it replaces: up to 30 bytes a frame,
which matter only for sound with pictures that hardly move."""

_INDEX_BYTES = 1024 * 1024


def largest_size(video: RangeReader, sound: RangeReader | None) -> int:
    """Return how many bytes the file has at most, and hence the scratch space that it takes."""
    return _INDEX_BYTES + int((video.size() + (sound.size() if sound else 0)) * _LARGEST_GROWTH)


def command(video_url: str, sound_url: str | None, target: Path) -> list[str]:
    """Copy one picture and at most one sound into a file, and move the index to its start.

    Args:
        video_url: Init segment and segments of a rendition.
        sound_url: Those of a sound track, or ``None`` without one.
        target: The file.
    """
    argv = [str(ffmpeg.binary()), "-nostdin", "-hide_banner", "-nostats", "-v", "error", "-xerror"]
    for url in filter(None, (video_url, sound_url)):
        argv += ["-protocol_whitelist", ffmpeg.PROTOCOLS, "-format_whitelist", "mov", "-i", url]
    argv += ["-map", "0:v:0", *(("-map", "1:a:0") if sound_url else ()), "-c", "copy"]
    argv += ["-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4", "-y", str(target)]
    return argv


def make_progressive(
    video: RangeReader,
    sound: RangeReader | None,
    *,
    frames: int,
    target: Path,
    cancellation: Cancellation,
) -> int:
    """Write the file, and return its size in bytes.

    Args:
        video: Init segment and segments of a rendition, as a
            :class:`media_worker.concatenation.Concatenation` for example.
        sound: Those of a sound track, or ``None`` without one.
        frames: Frames that the rendition has.
        target: The file, in a folder with :func:`largest_size` bytes to spare; overwritten.
        cancellation: Stops it.

    Raises:
        TransientError: If the segments could not be read, or the file is not what was asked for.
        StoppedError: If the job was stopped.
    """
    size = largest_size(video, sound)
    seconds = _START_SECONDS + size // _SLOWEST_BYTES_PER_SECOND
    limits = Limits(
        wall_seconds=seconds, cpu_seconds=seconds, memory_bytes=_MEMORY, file_bytes=size
    )
    with ExitStack() as stack:
        sources = [
            stack.enter_context(SourceProxy(reader, reader.size()))
            for reader in (video, sound)
            if reader is not None
        ]
        argv = command(sources[0].url, sources[1].url if sound else None, target)
        with Child(argv, limits=limits, cancellation=cancellation, scratch=target.parent) as child:
            child.output.read()
            code = child.wait()
        for source in sources:
            if source.failure is not None:
                raise TransientError(f"a segment could not be read: {source.failure}")
    if code:
        raise TransientError(f"ffmpeg ended with {code} on the download: {child.log[-500:]}")
    _check(target, frames)
    return target.stat().st_size


def _check(target: Path, frames: int) -> None:
    """Make sure that the index is at the start and lists every frame."""
    try:
        with target.open("rb") as file:
            kinds = []
            moov = b""
            while (box := read_box(file)) is not None:
                kinds.append(box[0])
                if box[0] == b"moov":
                    moov = box[1]
                    break
        tables = find(moov, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
        (listed,) = struct.unpack_from(">I", next(tables), 8)
    except (BoxError, StopIteration, struct.error) as error:
        raise TransientError(f"the download has no index at its start: {error}") from error
    if b"mdat" in kinds or listed != frames:
        raise TransientError(
            f"the download lists {listed} frames behind {kinds!r}, planned are {frames}"
        )
