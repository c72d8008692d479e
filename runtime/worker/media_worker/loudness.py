"""How loud a sound is, and what brings it to the loudness that all videos share.

Source: ITU-R BS.1770-5 (measuring), EBU R 128 s2 (-16 LUFS for streaming).

Everything is measured as it will be heard, behind :func:`media_worker.ffmpeg.down_mix`. There, with
floating-point samples, libswresample mixes as ITU-R BS.775 does: left and right get the centre,
where the dialogue is, and their surround channel at -3 dB each (or at the levels that an AC-3 file
states for itself), and the low-frequency channel is left out. It does not normalise, so that
dialogue keeps its level; sums above full scale are kept, and the limiter takes them. With integer
samples it would: ``-ac 2`` into 16 bits makes 5.1 channels 7.7 dB softer. A mono sound goes to both
sides at -3 dB, by which its loudness stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log10
from time import monotonic

from media_worker import ffmpeg
from media_worker.faults import TransientError
from media_worker.planning import AudioStream
from media_worker.probe import Workbench
from media_worker.sandbox import Limits
from media_worker.segments import AUDIO_RATE
from media_worker.threads import make_pool

TARGET_LUFS = -16.0

LONGEST_WHOLE_SECONDS = 60
"""A sound up to this length is measured as a whole."""

WINDOWS = 12
WINDOW_SECONDS = 5
"""Of a longer sound, this many windows of this length are measured, evenly spread."""

LARGEST_CUT_DB, LARGEST_BOOST_DB = -24.0, 20.0
"""What a gain is limited to: more would raise the noise of what was recorded far too low."""

_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
"""Gates of BS.1770, in LUFS and in LU below what passes the first: nothing below counts."""

_CEILING_DB = -1.5
"""Highest sample of the limiter at four times the rate. Between such samples a signal rises by
less than half a decibel, so true peaks stay below -1 dBTP, as R 128 wants it."""

_STEREO_CHANNELS = 2
_WITHOUT_INDEX = frozenset({"flv"})
"""Containers in which looking for a place means reading up to there."""

_AT_A_TIME = 3
"""Windows that are measured side by side; more would push each other's blocks out of the cache."""

_PATIENCE_SECONDS = 20
"""After this time what was measured so far has to do."""

_CPU_SECONDS = 60
_MEMORY = 4 * 1024**3
_BLOCK = re.compile(rb"lavfi\.r128\.M=(-?[\d.]+)")
_INCOMPLETE_BLOCKS = 3
"""The first values, every 100 ms, are of blocks that are not yet 400 ms long."""


@dataclass(frozen=True)
class Window:
    """A part of a sound that is measured.

    Attributes:
        start: Seconds from the start of the video.
        length: Seconds.
    """

    start: Fraction
    length: Fraction


def windows(seconds: Fraction | None) -> list[Window]:
    """Return what is measured of a sound: all of it if it is short, else a fixed amount.

    Args:
        seconds: Length of the video, or ``None`` if nothing tells; then it is the first minute.
    """
    if seconds is None or seconds <= LONGEST_WHOLE_SECONDS:
        return [Window(Fraction(0), Fraction(LONGEST_WHOLE_SECONDS))]
    length = Fraction(WINDOW_SECONDS)
    return [
        Window((number + Fraction(1, 2)) * seconds / WINDOWS - length / 2, length)
        for number in range(WINDOWS)
    ]


def command(
    url: str, stream: AudioStream, window: Window, *, seek_origin: Fraction, max_pixels: int
) -> list[str]:
    """Measure the blocks of a window; their loudness goes to standard output.

    Args:
        url: The source.
        stream: The audio stream.
        window: The window.
        seek_origin: Where the video starts, in seconds as ``-ss`` counts them: from the start of
            the container.
        max_pixels: Largest picture that is decoded, should the demuxer look at one.
    """
    start = seek_origin + window.start
    meter = "ebur128=metadata=1:framelog=quiet,ametadata=mode=print:key=lavfi.r128.M:file=-"
    return [
        *(str(ffmpeg.binary()), "-nostdin", "-hide_banner", "-nostats", "-v", "error"),
        *("-max_error_rate", "1"),
        *(("-ss", f"{float(start):.6f}") if window.start and start > 0 else ()),
        *("-t", f"{float(window.length):.6f}", "-threads", "1", "-discard:v", "all"),
        *("-protocol_whitelist", ffmpeg.PROTOCOLS, "-format_whitelist", ffmpeg.DEMUXERS),
        *("-max_pixels", str(max_pixels), "-i", url, "-map", f"0:{stream.index}", "-vn"),
        *("-af", f"{ffmpeg.down_mix(stream.layout)},{meter}", "-f", "null", "-"),
    ]


def blocks(output: bytes) -> list[float]:
    """Return the loudness, in LUFS, of the blocks of a window that :func:`command` printed.

    They last 400 ms and overlap by three quarters, as BS.1770 has them.
    """
    return [float(value) for value in _BLOCK.findall(output)[_INCOMPLETE_BLOCKS:]]


def integrated(loudness: Sequence[float]) -> float | None:
    """Return the integrated loudness of blocks in LUFS, gated twice; ``None`` for silence."""
    heard = [value for value in loudness if value > _ABSOLUTE_GATE]
    if not heard:
        return None
    threshold = _mean(heard) + _RELATIVE_GATE
    return _mean([value for value in heard if value > threshold])


def _mean(loudness: Sequence[float]) -> float:
    """Return the loudness of the mean power."""
    return 10 * log10(sum(10 ** (value / 10) for value in loudness) / len(loudness))


def measure(
    bench: Workbench,
    stream: AudioStream,
    *,
    format_name: str,
    seek_origin: Fraction,
    seconds: Fraction | None,
) -> float | None:
    """Return the integrated loudness of a sound after the down-mix, in LUFS.

    It takes the same time whatever the length. Where a container has no index, its first minute
    stands for all; and where looking for a window takes too long, the others do.

    Args:
        bench: What children are given.
        stream: The audio stream.
        format_name: Name of the demuxer.
        seek_origin: Where the video starts, in seconds from the start of the container.
        seconds: Length of the video, or ``None`` if nothing tells.

    Returns:
        ``None`` for silence, and for what cannot be measured.

    Raises:
        TransientError: If the source could not be read.
        StoppedError: If the job was stopped.
    """
    patience = monotonic() + _PATIENCE_SECONDS

    def of(window: Window) -> list[float]:
        left = patience - monotonic()
        if left <= 0:
            return []
        limits = Limits(wall_seconds=left, cpu_seconds=_CPU_SECONDS, memory_bytes=_MEMORY)
        argv = command(
            bench.source.url,
            stream,
            window,
            seek_origin=seek_origin,
            max_pixels=bench.max_pixels,
        )
        with bench.child(argv, limits) as child:
            output = child.output.read()
            try:
                child.wait()
            except TransientError:
                if not child.timed_out:
                    raise
        return blocks(output)

    parts = windows(None if format_name in _WITHOUT_INDEX else seconds)
    with make_pool("loudness", _AT_A_TIME) as pool:
        found = [loudness for some in pool.map(of, parts) for loudness in some]
    bench.check_source()
    return integrated(found)


def gain(lufs: float | None) -> float:
    """Return by how many decibels a sound of ``lufs`` is to be raised, 0 for silence."""
    if lufs is None:
        return 0.0
    return round(min(LARGEST_BOOST_DB, max(LARGEST_CUT_DB, TARGET_LUFS - lufs)), 2)


def filters(gain_db: float, channels: int) -> str:
    """Return the filters that give a sound its gain, for stereo at 48 kHz; empty for none.

    Where it may rise above full scale, being raised or mixed down, it passes a limiter at four
    times the rate, which also sees peaks between the samples. The limiter looks ahead, and makes up
    for it: no sample is moved, and there are as many as before.

    Args:
        gain_db: The gain in decibels.
        channels: Channels of the source, 0 if unknown.
    """
    chain = [f"volume={gain_db:.2f}dB"] if gain_db else []
    if gain_db > 0 or not 0 < channels <= _STEREO_CHANNELS:
        chain += [
            f"aresample={4 * AUDIO_RATE}",
            f"alimiter=limit={_CEILING_DB}dB:level=0:latency=1",
            f"aresample={AUDIO_RATE}",
        ]
    return ",".join(chain)
