"""What a user would do instead: bare ffmpeg on the local disk, with the worker's own encoders."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.sources import Film
from harness.stage import held_on
from media_worker import ffmpeg
from media_worker.planning import GOP_SECONDS, SEGMENT_SECONDS, Rung


def _outputs(film: Film, rungs: Sequence[Rung], folder: Path, threads: int) -> list[str]:
    """Return the outputs of one decode into every rung, as HLS."""
    split = f"[0:v]split={len(rungs)}" + "".join(f"[i{number}]" for number in range(len(rungs)))
    scale = "".join(
        f";[i{number}]scale={rung.width}:{rung.height}:flags=bicubic,format=yuv420p[o{number}]"
        for number, rung in enumerate(rungs)
    )
    argv = ["-filter_complex", split + scale]
    gop = round(GOP_SECONDS * film.rate)
    for number, rung in enumerate(rungs):
        encoder = ffmpeg._x264(rung, gop, threads)  # noqa: SLF001 - the very settings
        argv += ["-map", f"[o{number}]", *encoder, *_hls(folder / f"v{rung.height}")]
    return argv


def _sound(folder: Path) -> list[str]:
    codec = ["-map", "0:a?", "-c:a", "aac", "-b:a", str(ffmpeg.AUDIO_BITS), "-ac", "2"]
    return [*codec, "-ar", "48000", *_hls(folder / "sound")]


def _hls(folder: Path) -> list[str]:
    folder.mkdir()
    return [
        *("-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", str(SEGMENT_SECONDS)),
        *("-hls_playlist_type", "event", str(folder / "playlist.m3u8")),
    ]


def _command(source: Path, *, start: float = 0.0, seconds: float | None = None) -> list[str]:
    seek = ["-ss", str(start)] if start else []
    length = [] if seconds is None else ["-t", str(seconds)]
    return [str(ffmpeg.binary()), "-nostdin", "-v", "error", *seek, *length, "-i", str(source)]


def _run(argv: Sequence[str]) -> None:
    if subprocess.run(argv, check=False).returncode:
        raise SystemExit("bare ffmpeg failed on this file")


def whole(
    film: Film,
    *,
    threads: int,
    seconds: float | None = None,
    on: Collection[int] | None = None,
) -> float:
    """Encode the whole ladder and the sound in one ffmpeg process; return the seconds it took."""
    with tempfile.TemporaryDirectory() as name, held_on(on):
        folder = Path(name)
        argv = _command(film.path, seconds=seconds)
        argv += _outputs(film, film.rungs, folder, threads) + _sound(folder)
        begun = time.monotonic()
        _run(argv)
        return time.monotonic() - begun


def one_by_one(film: Film, *, threads: int) -> float:
    """Encode one rung after the other, each in a run of its own; return the seconds it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = time.monotonic()
        for number, rung in enumerate(film.rungs):
            argv = _command(film.path) + _outputs(film, [rung], folder, threads)
            _run(argv if number else argv + _sound(folder))
        return time.monotonic() - begun


def side_by_side(
    film: Film, shares: Sequence[tuple[float, float]], *, on: Sequence[Collection[int]]
) -> float:
    """Encode shares of the picture at the same time, each by one ffmpeg on processors of its own.

    Args:
        film: The source.
        shares: Start and length in seconds of each share.
        on: The processors of each.
    """
    with tempfile.TemporaryDirectory() as name:
        children = []
        begun = time.monotonic()
        for number, ((start, seconds), some) in enumerate(zip(shares, on, strict=True)):
            folder = Path(name, str(number))
            folder.mkdir()
            argv = _command(film.path, start=start, seconds=seconds)
            argv += _outputs(film, film.rungs, folder, len(some))
            if number == 0:
                argv += _sound(folder)
            with held_on(some):
                children.append(subprocess.Popen(argv, stdout=sys.stderr))
        codes = [child.wait() for child in children]
        if any(codes):
            raise SystemExit("bare ffmpeg failed on this file")
        return time.monotonic() - begun
