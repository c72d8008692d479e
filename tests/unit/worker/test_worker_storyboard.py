"""The storyboard: whatever the index says is what a sheet shows there."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from published import GRID, Track, video_track

from media_worker.boxes import BoxError
from media_worker.cancellation import Cancellation
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.key_frames import KeyFrame, on_grid
from media_worker.segments import Segment, VideoGrid
from media_worker.storyboard import choose_tiles, make_storyboard, tile_size

SHORT_GOPS = VideoGrid(timescale=12800, frame_ticks=512, gop_frames=5, segment_frames=10)
"""Many key frames in a short clip."""

SHADES = "nullsrc=s=320x180:r=25:d={},geq=lum='16+mod(floor(N/5)*3,200)':cb=128:cr=128"
"""Every GOP in a grey of its own."""


def shade(gop: int) -> float:
    """Return the brightness of a GOP in full range."""
    return gop * 3 % 200 * 255 / 219


@dataclass
class Stored:
    """A rendition as it is stored, and what was read of it."""

    track: Track
    grid: VideoGrid
    read_bytes: int = 0

    def frames(self) -> list[KeyFrame]:
        listed = [(segment.name, segment.key_frames) for segment in self.track.segments]
        frames = sum(segment.samples for segment in self.track.segments)
        return on_grid(listed, grid=self.grid, frames=frames)

    def read(self, uri: str, offset: int, size: int) -> bytes:
        self.read_bytes += size
        found = next(segment for segment in self.track.segments if segment.name == uri)
        return found.data[offset : offset + size]

    def make(self, scratch: Path, cancellation: Cancellation | None = None) -> dict[str, bytes]:
        return make_storyboard(
            self.frames(),
            init=self.track.init,
            size=(320, 180),
            read=self.read,
            cancellation=cancellation or Cancellation(),
            scratch=scratch,
        )


@pytest.fixture(scope="module")
def shades() -> Track:
    """One hundred and twenty-three GOPs, the last of them short."""
    return video_track("-f", "lavfi", "-i", SHADES.format(24.44), grid=SHORT_GOPS, height=180)


def pictures(files: dict[str, bytes]) -> list[tuple[float, float, float]]:
    """Return start, end and brightness of each picture, found through the index."""
    text = files["storyboard.vtt"].decode()
    assert text.startswith("WEBVTT\n\n")
    sheets = {name: grey(data) for name, data in files.items() if name.endswith(".jpg")}
    cue = re.compile(r"([\d:.]+) --> ([\d:.]+)\n(\d\.jpg)#xywh=(\d+),(\d+),(\d+),(\d+)\n")
    found = []
    for start, end, sheet, *numbers in cue.findall(text):
        x, y, width, height = map(int, numbers)
        assert (width, height) == (160, 90)
        columns, rows, data = sheets[sheet]
        assert x + width <= columns
        assert y + height <= rows
        found.append((seconds(start), seconds(end), data[(y + 45) * columns + x + 80]))
    return found


def grey(jpeg: bytes) -> tuple[int, int, bytes]:
    with av.open(io.BytesIO(jpeg)) as container:
        frame = next(container.decode(video=0)).reformat(format="gray")
    data = bytes(frame.planes[0])
    size = frame.planes[0].line_size
    return (
        frame.width,
        frame.height,
        b"".join(data[row * size : row * size + frame.width] for row in range(frame.height)),
    )


def seconds(text: str) -> float:
    hours, minutes, rest = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_index_leads_to_the_picture_of_its_time(shades: Track, tmp_path: Path) -> None:
    stored = Stored(shades, SHORT_GOPS)
    files = stored.make(tmp_path)
    assert sorted(files) == ["0.jpg", "1.jpg", "storyboard.vtt"]
    found = pictures(files)
    assert len(found) == 100
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(24.44)
    assert all(one[1] == other[0] for one, other in pairwise(found))
    for start, _, brightness in found:
        assert brightness == pytest.approx(shade(round(start / 0.2)), abs=4)
    assert stored.read_bytes < len(shades.stream)


def test_single_key_frame_is_a_storyboard(tmp_path: Path) -> None:
    track = video_track("-f", "lavfi", "-i", SHADES.format(0.04), grid=GRID, height=180)
    found = pictures(Stored(track, GRID).make(tmp_path))
    assert [(start, end) for start, end, _ in found] == [(0, 0.04)]


def test_ten_hours_take_a_hundred_pictures() -> None:
    gops = [KeyFrame(str(number // 2), 0, 1, Fraction(2002, 1000)) for number in range(18_000)]
    tiles = choose_tiles(gops)
    assert len(tiles) == 100
    assert tiles[0].start == 0
    assert tiles[-1].end == 18_000 * Fraction(2002, 1000)
    assert {tile.end - tile.start for tile in tiles} == {180 * Fraction(2002, 1000)}


@pytest.mark.parametrize(
    ("size", "small"),
    [((1920, 1080), (160, 90)), ((360, 640), (90, 160)), ((640, 480), (160, 120))],
)
def test_pictures_keep_their_shape(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert tile_size(*size) == small


def test_pictures_are_even_and_never_a_line() -> None:
    assert tile_size(16_000, 20) == (160, 16)
    assert tile_size(641, 361) == (160, 90)


def test_other_bytes_are_refused(shades: Track, tmp_path: Path) -> None:
    stored = Stored(shades, SHORT_GOPS)
    stored.read = lambda *place: bytes(place[2])  # type: ignore[method-assign]
    with pytest.raises(BoxError, match="key frame"):
        stored.make(tmp_path)


def test_picture_that_cannot_be_decoded_is_a_fault(shades: Track, tmp_path: Path) -> None:
    """Were it left out, all that follow would stand in the wrong place."""

    def damage(segment: Segment) -> Segment:
        if segment.index != 0:
            return segment
        at, size = segment.key_frames[0]
        start = segment.data.index(b"mdat") + 8
        return replace(
            segment,
            data=segment.data[:start] + b"\xff" * (at + size - start) + segment.data[at + size :],
        )

    damaged = Track(shades.init, [damage(segment) for segment in shades.segments])
    with pytest.raises(TransientError, match="no storyboard"):
        Stored(damaged, SHORT_GOPS).make(tmp_path)


def test_stop_ends_it(shades: Track, tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel(StopReason.INTERRUPTED)
    stored = Stored(shades, SHORT_GOPS)
    with pytest.raises(StoppedError):
        stored.make(tmp_path, cancellation)
    assert stored.read_bytes == 0


def test_no_key_frames_are_no_storyboard(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames is empty"):
        make_storyboard(
            [],
            init=b"",
            size=(1, 1),
            read=lambda *_: b"",
            cancellation=Cancellation(),
            scratch=tmp_path,
        )
