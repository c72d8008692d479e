"""A video to try the platform with, made by ffmpeg: motion, a burnt-in clock, and sound."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mediactl.errors import CommandError

_CLOCK = (
    # The test picture carries a small clock in its corner; enlarged, it needs no font.
    "[0:v]split[picture][corner];"
    "[corner]crop=112:32:0:0,scale=iw*6:ih*6:flags=neighbor[clock];"
    "[picture][clock]overlay=96:96"
)


def ffmpeg() -> str:
    """Return the path of the ffmpeg binary that the worker uses as well.

    Raises:
        CommandError: If the local plane's dependencies are not installed.
    """
    try:
        import imageio_ffmpeg  # noqa: PLC0415
    except ImportError:
        raise CommandError(
            "the dependencies of the local plane are not installed",
            hint="pip install 'media-platform[local]'",
        ) from None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def make_sample(path: Path, *, seconds: int = 20, width: int = 1920, height: int = 1080) -> None:
    """Write a sample video (H.264 and AAC in MP4, 30 frames a second) to ``path``.

    Args:
        path: File to write.
        seconds: Length.
        width: Pixels a line.
        height: Lines.

    Raises:
        CommandError: If ffmpeg fails, with the end of what it said.
    """
    picture = f"testsrc2=size={width}x{height}:rate=30:duration={seconds}"
    sound = f"sine=frequency=330:beep_factor=3:sample_rate=48000:duration={seconds}"
    command = [ffmpeg(), "-nostdin", "-v", "error", "-y"]
    command += ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    command += ["-filter_complex", _CLOCK, "-map", "1:a"]
    command += ["-c:v", "libx264", "-preset", "superfast", "-crf", "23", "-pix_fmt", "yuv420p"]
    command += ["-c:a", "aac", "-ac", "2", "-movflags", "+faststart", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise CommandError(f"ffmpeg could not make {path}: {made.stderr.strip()[-300:]}")
