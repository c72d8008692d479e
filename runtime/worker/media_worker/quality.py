"""How much of the picture is lost by encoding: a VMAF sample of each rendition.

A few short windows of what was published are compared with the source, brought to the same frames
of the same grid, and to the size and colours of the rendition, by the very filters that encoding
uses. So the score tells what the encoder lost at that size, not what the smaller size itself loses.

Source: Netflix VMAF, model ``vmaf_v0.6.1``: 0 to 100, and six points are a visible difference.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction

from media_worker import ffmpeg
from media_worker.concatenation import in_memory
from media_worker.faults import TransientError
from media_worker.planning import FrameRange, Plan
from media_worker.probe import Workbench
from media_worker.sandbox import Limits
from media_worker.source_proxy import SourceProxy
from media_worker.threads import make_pool

WINDOWS = 3
"""Windows that are compared, evenly spread; each is the first GOP of a segment."""

_MODEL = "version=vmaf_v0.6.1"
_PRE_ROLLS = (Fraction(2), Fraction(10), Fraction(40))
"""Seconds before a window from which the source is read; more where seeking lands too late."""

_LIMITS = Limits(wall_seconds=900, cpu_seconds=3600, memory_bytes=6 * 1024**3)


def windows(plan: Plan, frames: int, count: int = WINDOWS) -> list[FrameRange]:
    """Return at most ``count`` windows, each within the first GOP of a segment.

    Args:
        plan: The plan.
        frames: Frames of the renditions.
        count: Number of windows.
    """
    length, gop = plan.grid.segment_frames, plan.grid.gop_frames
    segments = -(-frames // length)
    chosen = sorted({(2 * number + 1) * segments // (2 * count) for number in range(count)})
    return [FrameRange(index * length, min(index * length + gop, frames)) for index in chosen]


def command(
    plan: Plan,
    window: FrameRange,
    source_url: str,
    rendition_urls: Sequence[str],
    *,
    pipes: Sequence[int],
    pre_roll: Fraction,
    max_pixels: int,
    threads: int,
) -> list[str]:
    """Compare a window of every rendition with the source, from one decode of it.

    Frames are matched by their number on the grid, never by their place in a file: where the source
    has none for a frame, because reading began too late, that frame is missing in the result.

    Args:
        plan: The plan.
        window: Frames to be compared.
        source_url: The source.
        rendition_urls: For each rung, init segment and segment at whose start the window lies.
        pipes: File descriptors that get the scores of each rung, as CSV.
        pre_roll: Seconds before the window from which the source is read.
        max_pixels: Largest picture that is decoded.
        threads: Threads of each comparison.
    """
    assert window.end is not None  # noqa: S101 - windows have an end
    source, rate = plan.source, plan.frame_rate
    argv = [str(ffmpeg.binary()), "-nostdin", "-hide_banner", "-nostats", "-v", "error", "-copyts"]
    time = source.origin + window.start / rate - source.format_start - pre_roll
    if window.start and time > 0:
        argv += ["-noaccurate_seek", "-ss", f"{float(time):.6f}"]
    argv += ["-protocol_whitelist", ffmpeg.PROTOCOLS, "-format_whitelist", ffmpeg.DEMUXERS]
    argv += ["-max_pixels", str(max_pixels), "-reinit_filter:v", "0", "-i", source_url]
    graph = [ffmpeg.filters(plan, window), "[count]nullsink"]
    length = window.end - window.start
    compare = f"libvmaf=model={_MODEL}:n_threads={threads}:eof_action=endall:repeatlast=0"
    numbers = f"settb={rate.denominator}/{rate.numerator},setpts"
    for number, (url, pipe) in enumerate(zip(rendition_urls, pipes, strict=True)):
        argv += ["-protocol_whitelist", ffmpeg.PROTOCOLS, "-format_whitelist", "mov", "-i", url]
        log = f"log_fmt=csv:log_path=/dev/fd/{pipe}"
        graph += [
            f"[rung{number}]{numbers}=PTS[source{number}]",
            f"[{number + 1}:v]trim=end_frame={length},{numbers}=N+{window.start}[shown{number}]",
            f"[shown{number}][source{number}]{compare}:{log}[score{number}]",
        ]
    argv += ["-filter_complex", ";".join(graph)]
    for number in range(len(rendition_urls)):
        argv += ["-map", f"[score{number}]"]
    return [*argv, "-fps_mode", "passthrough", "-f", "null", "-"]


def read_scores(text: str) -> list[float]:
    """Return the score of each frame from what ``libvmaf`` wrote."""
    return [float(row["vmaf"]) for row in csv.DictReader(io.StringIO(text)) if row.get("vmaf")]


def measure(
    bench: Workbench,
    plan: Plan,
    *,
    frames: int,
    inits: Sequence[bytes],
    segment: Callable[[int, int], bytes],
) -> dict[int, float]:
    """Return the mean VMAF score of each rendition by its height, from a few windows.

    Args:
        bench: What children are given.
        plan: The plan.
        frames: Frames of the renditions.
        inits: Init segment of each rung, in the order of the ladder.
        segment: Returns a published segment, given the number of the rung and that of the segment.

    Raises:
        TransientError: If the source could not be read, or has no frame for one of a rendition.
        StoppedError: If the job was stopped.
    """
    scores: list[list[float]] = [[] for _ in plan.rungs]
    for window in windows(plan, frames):
        index = window.start // plan.grid.segment_frames
        streams = [[init, segment(number, index)] for number, init in enumerate(inits)]
        for all_found, found in zip(scores, _compare(bench, plan, window, streams), strict=True):
            all_found.extend(found)
    return {
        rung.height: round(sum(found) / len(found), 2)
        for rung, found in zip(plan.rungs, scores, strict=True)
    }


def _compare(
    bench: Workbench, plan: Plan, window: FrameRange, streams: Sequence[Sequence[bytes]]
) -> list[list[float]]:
    assert window.end is not None  # noqa: S101 - windows have an end
    planned = window.end - window.start
    log = ""
    for pre_roll in _PRE_ROLLS:
        found, log = _run(bench, plan, window, streams, pre_roll)
        if all(len(scores) == planned for scores in found):
            return found
    counts = [len(scores) for scores in found]
    raise TransientError(
        f"{counts} of the {planned} frames from {window.start} could be compared: {log[-500:]}"
    )


def _run(
    bench: Workbench,
    plan: Plan,
    window: FrameRange,
    streams: Sequence[Sequence[bytes]],
    pre_roll: Fraction,
) -> tuple[list[list[float]], str]:
    with ExitStack() as stack:
        urls = []
        for parts in streams:
            reader = in_memory(parts)
            urls.append(stack.enter_context(SourceProxy(reader, reader.size())).url)
        ends = [os.pipe() for _ in streams]
        readers = [stack.enter_context(os.fdopen(read, "rb")) for read, _ in ends]
        argv = command(
            plan,
            window,
            bench.source.url,
            urls,
            pipes=[write for _, write in ends],
            pre_roll=pre_roll,
            max_pixels=bench.max_pixels,
            threads=bench.threads,
        )
        child = stack.enter_context(bench.child(argv, _LIMITS, tuple(write for _, write in ends)))
        pool = stack.enter_context(make_pool("vmaf", len(readers)))
        texts = list(pool.map(lambda reader: reader.read().decode(), readers))
        child.output.read()
        code = child.wait()
        bench.check_source()
    if code:
        raise TransientError(f"ffmpeg ended with {code} on the comparison: {child.log[-500:]}")
    return [read_scores(text) for text in texts], child.log
