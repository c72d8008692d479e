"""The storyboard: sheets of small pictures, and the WebVTT index that says which shows what.

It is made of key frames of a published rendition, at most :data:`MOST_TILES` of them whatever the
length, each read by a range of its own: ten hours take no longer than ten minutes.

Source of the index: W3C WebVTT, with media fragments (W3C Media Fragments URI 1.0, 4.2.2) as cues,
as players with previews read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

from media_platform.contract.object_keys import STORYBOARD_INDEX
from media_worker import ffmpeg
from media_worker.boxes import key_frame_alone
from media_worker.cancellation import Cancellation
from media_worker.concatenation import in_memory
from media_worker.faults import TransientError
from media_worker.key_frames import KeyFrame
from media_worker.sandbox import Child, Limits
from media_worker.source_proxy import SourceProxy
from media_worker.threads import make_pool
from media_worker.webvtt import timestamp

MOST_TILES = 100
"""Pictures of a storyboard: a viewer's pointer can hardly tell more places apart."""

COLUMNS = 10
TILES_PER_SHEET = 50
"""Pictures of a sheet, so that the first one is there soon."""

LONG_SIDE = 160
"""Pixels of the longer side of a picture."""

_SHORTEST_SIDE = 16
_READS_AT_A_TIME = 8
_LIMITS = Limits(wall_seconds=120, cpu_seconds=120, memory_bytes=4 * 1024**3)


@dataclass(frozen=True)
class Tile:
    """A picture of the storyboard.

    Attributes:
        frame: The key frame that it shows.
        start: Seconds from which it stands for the video.
        end: Seconds until which it does.
    """

    frame: KeyFrame
    start: Fraction
    end: Fraction


def choose_tiles(frames: Sequence[KeyFrame], most: int = MOST_TILES) -> list[Tile]:
    """Return at most ``most`` of ``frames``, evenly spread, which together cover all of the time.

    Args:
        frames: The key frames of a rendition, from the first on.
        most: Number of pictures that there may be.
    """
    times = [Fraction(0), *accumulate(frame.duration for frame in frames)]
    count = min(most, len(frames))
    chosen = [number * len(frames) // count for number in range(count)] + [len(frames)]
    return [
        Tile(frames[number], times[number], times[following])
        for number, following in pairwise(chosen)
    ]


def tile_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of a small picture of a rendition of ``width`` by ``height``."""
    scale = Fraction(LONG_SIDE, max(width, height))

    def side(length: int) -> int:
        return max(_SHORTEST_SIDE, round(length * scale / 2) * 2)

    return side(width), side(height)


def sheet_name(number: int) -> str:
    """Return the file name of the sheet with ``number``, from 0."""
    return f"{number}.jpg"


def index(tiles: Sequence[Tile], size: tuple[int, int]) -> str:
    """Return the WebVTT file: for each stretch of time the place of its picture.

    Args:
        tiles: The pictures.
        size: Width and height of each in pixels.
    """
    width, height = size
    lines = ["WEBVTT", ""]
    for number, tile in enumerate(tiles):
        sheet, place = divmod(number, TILES_PER_SHEET)
        row, column = divmod(place, COLUMNS)
        lines += [
            f"{timestamp(tile.start)} --> {timestamp(tile.end)}",
            f"{sheet_name(sheet)}#xywh={column * width},{row * height},{width},{height}",
            "",
        ]
    return "\n".join(lines)


def make_storyboard(
    frames: Sequence[KeyFrame],
    *,
    init: bytes,
    size: tuple[int, int],
    read: Callable[[str, int, int], bytes],
    cancellation: Cancellation,
    scratch: Path,
    spent: Callable[[float], None] | None = None,
) -> dict[str, bytes]:
    """Return the files of the storyboard by name: the index and its sheets.

    Args:
        frames: The key frames of a rendition, from the first on; a low one is enough.
        init: Its init segment.
        size: Its width and height in pixels.
        read: Returns bytes of a segment, given the URI of the key frame, where they begin, and how
            many they are; called from several threads.
        cancellation: Stops it.
        scratch: Working directory of children, never written.
        spent: Takes the processor time of each child, in seconds. Default: nobody is told.

    Raises:
        ValueError: If there are no key frames.
        BoxError: If what is read is no key frame.
        TransientError: If a sheet could not be made.
        StoppedError: If the job was stopped.
    """
    if not frames:
        raise ValueError("frames is empty: a storyboard needs at least one key frame")
    tiles, small = choose_tiles(frames), tile_size(*size)
    files = {STORYBOARD_INDEX: index(tiles, small).encode()}

    def picture(tile: Tile) -> bytes:
        cancellation.check()
        return read(tile.frame.uri, tile.frame.offset, tile.frame.size)

    with make_pool("storyboard", _READS_AT_A_TIME) as pool:
        pictures = list(pool.map(picture, tiles))
    for number, some in enumerate(_sheets(pictures)):
        stream = [init, *(key_frame_alone(data, at) for at, data in enumerate(some))]
        reader = in_memory(stream)
        with SourceProxy(reader, reader.size()) as source:
            argv = _sheet(source.url, len(some), small)
            with Child(
                argv, limits=_LIMITS, cancellation=cancellation, scratch=scratch, spent=spent
            ) as child:
                image = child.output.read()
                code = child.wait()
        if code or not image:
            raise TransientError(f"no storyboard could be made: {child.log[-500:]}")
        files[sheet_name(number)] = image
    return files


def _sheets(pictures: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(pictures), TILES_PER_SHEET):
        yield pictures[start : start + TILES_PER_SHEET]


def _sheet(url: str, count: int, size: tuple[int, int]) -> list[str]:
    """Write one JPEG of ``count`` pictures to standard output.

    A picture that cannot be decoded is an error: without it, all that follow would be in the wrong
    place.
    """
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    chain = (
        f"scale={size[0]}:{size[1]}:flags=area:out_color_matrix=bt601:out_range=pc,setsar=1,"
        f"format=yuvj420p,tile={columns}x{rows}:nb_frames={count}"
    )
    return [
        *(str(ffmpeg.binary()), "-nostdin", "-hide_banner", "-nostats", "-v", "error", "-xerror"),
        *("-protocol_whitelist", ffmpeg.PROTOCOLS, "-format_whitelist", "mov", "-f", "mov"),
        *("-threads", "1", "-i", url, "-map", "0:v:0", "-vf", chain, "-fps_mode", "passthrough"),
        *("-frames:v", "1", "-c:v", "mjpeg", "-q:v", "5", "-f", "image2pipe", "pipe:1"),
    ]
