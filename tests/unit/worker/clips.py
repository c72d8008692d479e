"""Clips for worker tests, made with the worker's own ffmpeg, and a job's parts on local files."""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from content_scan.reader import Reader
from content_scan.sniffer import Sniffed, sniff
from media_platform.contract.media_types import CONTENT_TYPES
from media_worker import ffmpeg
from media_worker.cancellation import Cancellation
from media_worker.planning import Plan, check_source, make_plan
from media_worker.playlists import Entry, media_playlist
from media_worker.probe import Workbench, probe
from media_worker.segments import Segment
from media_worker.source_proxy import SourceProxy

MAX_PIXELS = 1920 * 1080
MAX_SECONDS = 60
MAX_FRAME_RATE = 250
CHUNK_SECONDS = 16
BITS = 12


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


def numbered(seconds: float = 9, rate: str = "25", size: str = "192x64") -> list[str]:
    """Return the arguments of an input whose frames show their own number, in black and white."""
    code = f"if(mod(floor(N/pow(2,floor(X*{BITS}/W))),2),220,30)"
    source = f"nullsrc=s={size}:r={rate}:d={seconds},geq=lum='{code}':cb=128:cr=128,format=yuv420p"
    return ["-f", "lavfi", "-i", source]


def beeps(seconds: float = 9, rate: int = 48_000) -> list[str]:
    """Return the arguments of an input that beeps a tenth of a second at 0.5 s, 1.5 s, ..."""
    tone = f"sin(2*PI*1000*t)*between(mod(t,1),0.5,0.6)':s={rate}:d={seconds}"
    return ["-f", "lavfi", "-i", f"aevalsrc='{tone}"]


def shown_numbers(movie: bytes, turned_back: str = "") -> list[int]:
    """Return the numbers that the frames of a track show."""
    chain = f"{turned_back}format=gray,scale={BITS}:1:flags=area"
    lines = _decode(movie, "-vf", chain, "-fps_mode", "passthrough", "-pix_fmt", "gray")
    return [
        sum((lines[start + bit] > 125) << bit for bit in range(BITS))
        for start in range(0, len(lines), BITS)
    ]


def heard_beeps(movie: bytes) -> list[float]:
    """Return the times in seconds at which something can be heard after a silence."""
    samples = array("h", _decode(movie, "-f", "s16le", "-ac", "1", "-ar", "48000"))
    times, last = [], -48_000
    for number, sample in enumerate(samples):
        if abs(sample) > 6000:
            if number - last > 4800:
                times.append(number / 48_000)
            last = number
    return times


def _decode(movie: bytes, *arguments: str) -> bytes:
    kind = () if "-f" in arguments else ("-f", "rawvideo")
    done = subprocess.run(
        [*(ffmpeg.binary(), "-v", "error", "-i", "pipe:0"), *arguments, *kind, "pipe:1"],
        input=movie,
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout


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


def scan(path: Path) -> Sniffed:
    """Let the built-in scanner look at a file, declared as what its name says."""
    file = FileReader(path)
    extension = {"m2ts": "ts"}.get(path.suffix[1:], path.suffix[1:])
    return sniff(Reader(file.read, file.size()), CONTENT_TYPES.get(extension, ""))


def plan_of(path: Path, workbench: Workbench) -> Plan:
    """Probe, check and plan, as a job does; what a worker takes, the scanner has let pass."""
    source = probe(workbench, FileReader(path).read(0, 16))
    check_source(
        source,
        max_pixels=MAX_PIXELS,
        max_duration_seconds=MAX_SECONDS,
        max_frame_rate=MAX_FRAME_RATE,
    )
    plan = make_plan(source, CHUNK_SECONDS)
    scan(path)
    return plan


@dataclass
class FolderSink:
    """Takes the segments of a job into a folder, one below it for each track."""

    folder: Path
    segments: dict[str, list[Segment]] = field(default_factory=dict)

    def init(self, track: int, data: bytes) -> None:
        self._file(track, "init.mp4").write_bytes(data)

    def segment(self, track: int, segment: Segment) -> None:
        self._file(track, segment.name).write_bytes(segment.data)
        self.segments.setdefault(str(track), []).append(segment)

    def movie(self, track: int) -> bytes:
        """Return the init segment and all segments so far, in the order of the grid."""
        segments = sorted(self.segments[str(track)], key=lambda segment: segment.index)
        init = self._file(track, "init.mp4").read_bytes()
        return init + b"".join(segment.data for segment in segments)

    def playlist(self, track: int) -> Path:
        """Write the playlist of all segments so far, and return it."""
        entries = [Entry(s.name, s.duration) for s in self.segments[str(track)]]
        target = self._file(track, "playlist.m3u8")
        target.write_text(
            media_playlist(entries, init_uri="init.mp4", target_duration=5, ended=True)
        )
        return target

    def _file(self, track: int, name: str) -> Path:
        path = self.folder / str(track) / name
        path.parent.mkdir(exist_ok=True, parents=True)
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
