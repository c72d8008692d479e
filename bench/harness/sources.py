"""What the benchmarks encode: a minute of 1080p, made once, and longer files made of it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from harness import CACHE
from harness.figures import say
from harness.repeated import VirtualFile, repeat
from media_platform.contract.ladder import DEFAULT_LADDER
from media_worker import ffmpeg
from media_worker.planning import Rung, choose_rungs

RATE = 30
"""Frames per second of what is generated."""


@dataclass(frozen=True)
class Film:
    """A source on the local disk, as far as a benchmark needs to know it.

    Attributes:
        path: Where it is.
        seconds: Length of the picture.
        rate: Frames per second.
        rungs: The ladder that the worker makes of it.
    """

    path: Path
    seconds: float
    rate: Fraction
    rungs: tuple[Rung, ...]

    @classmethod
    def at(cls, path: Path) -> Film:
        """Look at a file."""
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or Fraction(RATE)
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            size = (stream.codec_context.width, stream.codec_context.height)
        return cls(path, seconds, rate, choose_rungs(DEFAULT_LADDER, size, rate))


def minute(*, seconds: int = 60, lines: int = 1080, kilobits: int = 12_000) -> Film:
    """Return a generated MP4 of a camera's bit rate; it is kept for later runs.

    Moving shapes and gradients under grain that differs from frame to frame, as a sensor's does,
    and sound that changes its level: nothing in it is cheaper to encode than what people upload.

    Args:
        seconds: Length.
        lines: Height; the width is 16 : 9.
        kilobits: Kilobits per second of the picture.
    """
    path = CACHE / f"source-{lines}p-{seconds}s-{kilobits}k.mp4"
    if path.exists():
        return Film.at(path)
    CACHE.mkdir(parents=True, exist_ok=True)
    say(f"making {path.name} (once)")
    size = f"{lines * 16 // 9 // 2 * 2}x{lines}"
    picture = f"testsrc2=s={size}:r={RATE}:d={seconds},noise=alls=8:allf=t"
    sound = f"anoisesrc=c=pink:a=0.25:r=48000:d={seconds},tremolo=f=2:d=0.7"
    partial = path.with_suffix(".part")
    subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-v", "error", "-y"),
            *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound),
            *(
                "-c:v",
                "libx264",
                "-preset",
                "superfast",
                "-pix_fmt",
                "yuv420p",
                "-g",
                str(2 * RATE),
            ),
            *("-b:v", f"{kilobits}k", "-maxrate", f"{kilobits}k", "-bufsize", f"{kilobits}k"),
            *("-bf", "2", "-c:a", "aac", "-b:a", "128k", "-ac", "2"),
            *("-movflags", "+faststart", "-f", "mp4", partial),
        ],
        check=True,
    )
    partial.rename(path)
    return Film.at(path)


def easy(*, seconds: int) -> Film:
    """Return a 1080p film that takes little to encode: for counting calls, not for time."""
    path = CACHE / f"easy-{seconds}s.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *(ffmpeg.binary(), "-nostdin", "-v", "error", "-y"),
                *("-f", "lavfi", "-i", f"color=c=gray:s=1920x1080:r=10:d={seconds}"),
                *("-f", "lavfi", "-i", f"sine=f=440:r=48000:d={seconds}"),
                *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
                *("-c:a", "aac", path),
            ],
            check=True,
        )
    return Film.at(path)


def remuxed(source: Path) -> Film:
    """Return ``source`` as an MP4 that can be repeated, its streams copied."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / "given-source.mp4"
    subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-v", "error", "-y", "-i", source),
            *("-map", "0:v:0", "-map", "0:a:0?", "-c", "copy", "-movflags", "+faststart", path),
        ],
        check=True,
    )
    return Film.at(path)


def longer(short: Film, times: int, *, index_first: bool) -> VirtualFile:
    """Return ``short`` many times over, as one file that exists only when it is read."""
    return repeat(short.path.read_bytes(), times, index_first=index_first)
