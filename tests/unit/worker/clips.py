"""Clips for worker tests, made with the worker's own ffmpeg, and a job's parts on local files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from media_worker import ffmpeg
from media_worker.cancellation import Cancellation
from media_worker.planning import Plan, check_source, make_plan
from media_worker.playlists import Entry, media_playlist
from media_worker.probe import Workbench, probe
from media_worker.segments import Segment
from media_worker.source_proxy import SourceProxy

MAX_PIXELS = 1920 * 1080
MAX_SECONDS = 60


def make(path: Path, *arguments: str) -> Path:
    """Make a file with ffmpeg."""
    subprocess.run(
        [ffmpeg.binary(), "-nostdin", "-v", "error", "-y", *arguments, path],
        check=True,
    )
    return path


def picture(seconds: float = 3, size: str = "192x108", rate: str = "25") -> list[str]:
    """Return the arguments of an input with motion."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def sound(seconds: float = 3) -> list[str]:
    """Return the arguments of an input with a tone."""
    return ["-f", "lavfi", "-i", f"sine=f=440:r=44100:d={seconds}"]


H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


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
def bench(path: Path, scratch: Path, max_seconds: int = MAX_SECONDS) -> Iterator[Workbench]:
    """Serve a file to children as a job does."""
    reader = FileReader(path)
    with SourceProxy(reader, reader.size()) as source:
        yield Workbench(
            source=source,
            cancellation=Cancellation(),
            scratch=scratch,
            max_pixels=MAX_PIXELS,
            max_duration_seconds=max_seconds,
            threads=1,
        )


def plan_of(path: Path, workbench: Workbench) -> Plan:
    """Probe, check and plan, as a job does."""
    source = probe(workbench, FileReader(path).read(0, 16))
    check_source(source, max_pixels=MAX_PIXELS, max_duration_seconds=MAX_SECONDS)
    return make_plan(source)


@dataclass
class FolderSink:
    """Takes the segments of a job into a folder, one below it for each track."""

    folder: Path
    segments: dict[str, list[Segment]] = field(default_factory=dict)

    def init(self, track: int | None, data: bytes) -> None:
        self._file(track, "init.mp4").write_bytes(data)

    def segment(self, track: int | None, segment: Segment) -> None:
        self._file(track, segment.name).write_bytes(segment.data)
        self.segments.setdefault(self._name(track), []).append(segment)

    def playlist(self, track: int | None) -> Path:
        """Write the playlist of all segments so far, and return it."""
        entries = [Entry(s.name, s.duration) for s in self.segments[self._name(track)]]
        target = self._file(track, "playlist.m3u8")
        target.write_text(
            media_playlist(entries, init_uri="init.mp4", target_duration=5, ended=True)
        )
        return target

    def _name(self, track: int | None) -> str:
        return "audio" if track is None else str(track)

    def _file(self, track: int | None, name: str) -> Path:
        path = self.folder / self._name(track) / name
        path.parent.mkdir(exist_ok=True)
        return path


def decoded(playlist: Path, *arguments: str) -> list[int]:
    """Decode a playlist strictly; return the presentation times of its frames."""
    result = subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-v", "error", "-xerror", "-i", playlist),
            *(*arguments, "-fps_mode", "passthrough", "-copyts", "-f", "framecrc", "-"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    return [int(line.split(",")[2]) for line in lines]
