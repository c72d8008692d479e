"""Tracks as a run publishes them, made without a plan: init segment, segments, and their bytes."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from media_worker import ffmpeg
from media_worker.boxes import Fragment, read_fragments
from media_worker.cancellation import Cancellation
from media_worker.probe import Workbench
from media_worker.segments import AudioSegmenter, Segment, VideoGrid, VideoSegmenter
from media_worker.source_proxy import RangeReader, SourceProxy

GRID = VideoGrid(timescale=12800, frame_ticks=512, gop_frames=50, segment_frames=100)
"""25 frames a second, key frames every two seconds, segments of four."""

_MOVFLAGS = "+cmaf+empty_moov+frag_discont+skip_trailer"


@dataclass(frozen=True)
class Track:
    """A published track."""

    init: bytes
    segments: list[Segment]

    @property
    def seconds(self) -> Fraction:
        return sum((segment.duration for segment in self.segments), Fraction(0))

    @property
    def stream(self) -> bytes:
        return self.init + b"".join(segment.data for segment in self.segments)


def run(*arguments: str | Path, data: bytes = b"") -> bytes:
    """Run ffmpeg strictly; return what it writes to standard output."""
    done = subprocess.run(
        [ffmpeg.binary(), "-nostdin", "-v", "error", *arguments],
        input=data,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make(path: Path, *arguments: str | Path) -> Path:
    """Make a file with ffmpeg."""
    run("-y", *arguments, path)
    return path


def video_track(*source: str | Path, grid: VideoGrid = GRID, height: int = 108) -> Track:
    """Encode a picture as the worker does."""
    rate = Fraction(grid.timescale, grid.frame_ticks)
    gop = str(grid.gop_frames)
    data = run(
        *source,
        *("-an", "-vf", f"fps={rate},scale=-2:{height}", "-c:v", "libx264", "-preset", "veryfast"),
        *("-pix_fmt", "yuv420p", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-bf", "2"),
        *("-flags", "+cgop", "-x264-params", "stitchable=1:open-gop=0", "-map_metadata", "-1"),
        *("-fps_mode", "passthrough", "-video_track_timescale", str(grid.timescale)),
        *("-f", "mp4", "-write_btrt", "0", "-movflags", f"{_MOVFLAGS}+frag_keyframe"),
        *("-fragment_index", "1", "pipe:1"),
    )
    return _cut(data, VideoSegmenter(grid, 0))


def audio_track(*source: str | Path, grid: VideoGrid = GRID) -> Track:
    """Encode a sound as the worker does."""
    data = run(
        *source,
        *("-vn", "-af", "aresample=48000:async=1:first_pts=0", "-ac", "2", "-c:a", "aac"),
        *("-b:a", "128000", "-bsf:a", "noise=drop='lt(pts,0)'", "-map_metadata", "-1"),
        *("-f", "mp4", "-write_btrt", "0", "-movflags", _MOVFLAGS),
        *("-frag_duration", "533333", "pipe:1"),
    )
    return _cut(data, AudioSegmenter(grid.segment_seconds))


def _cut(data: bytes, segmenter: VideoSegmenter | AudioSegmenter) -> Track:
    init, found = b"", []
    for part in read_fragments(io.BytesIO(data)):
        if isinstance(part, Fragment):
            found.append(segmenter.push(part))
        else:
            init = part
    found.append(segmenter.finish())
    return Track(init, [segment for segment in found if segment is not None])


class FileReader:
    """Reads a file as the worker reads an object version."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self) -> int:
        return self._path.stat().st_size

    def read(self, start: int, end: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


@contextmanager
def bench(reader: RangeReader | Path, scratch: Path) -> Iterator[Workbench]:
    """Serve a source to children as a job does."""
    if isinstance(reader, Path):
        reader = FileReader(reader)
    with SourceProxy(reader, reader.size()) as source:
        yield Workbench(
            source=source,
            cancellation=Cancellation(),
            scratch=scratch,
            max_pixels=1920 * 1080,
            max_duration_seconds=3600,
            threads=1,
        )
