"""Looks at a source: what it is, and whether it can become a video."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from media_worker import ffmpeg
from media_worker.cancellation import Cancellation
from media_worker.faults import BadInputError, TransientError
from media_worker.planning import (
    MAX_AUDIO,
    MAX_TEXTS,
    AudioStream,
    Source,
    TextStream,
    settle,
    too_many_pixels,
)
from media_worker.sandbox import Child, Limits, child_memory, is_crash
from media_worker.source_proxy import SourceProxy

_PROBE = Path(__file__).with_name("probe_child.py")
_WALL_SECONDS, _CPU_SECONDS = 120, 60
_MOST_MEMORY = 4 * 1024**3
_MOST_SERVED = 1024**3
"""Bytes that one look at a source may take; the index of ten hours of video has a twentieth."""

_MOST_OUTPUT = 1024**2


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What every child of a job is given.

    Attributes:
        source: The loopback proxy to the source.
        cancellation: Stops the job.
        scratch: Working directory of children, empty and never written.
        max_pixels: Largest picture that is decoded.
        max_duration_seconds: Longest video that is accepted.
        threads: Threads of each encoder.
        spent: Takes the processor time of each child, in seconds. Default: nobody is told.
    """

    source: SourceProxy
    cancellation: Cancellation
    scratch: Path
    max_pixels: int
    max_duration_seconds: int
    threads: int
    spent: Callable[[float], None] | None = None

    def child(self, argv: list[str], limits: Limits, pipes: tuple[int, ...] = ()) -> Child:
        """Start a child in the sandbox."""
        return Child(
            argv,
            limits=limits,
            cancellation=self.cancellation,
            scratch=self.scratch,
            pipes=pipes,
            spent=self.spent,
        )

    def check_source(self) -> None:
        """Make sure that what children saw was the source.

        Raises:
            TransientError: If reading it failed meanwhile, so that nothing they said counts.
        """
        if self.source.failure is not None:
            raise TransientError(f"the source could not be read: {self.source.failure}")


def probe(bench: Workbench, head: bytes) -> Source:
    """Return the facts of the source.

    Args:
        bench: What children are given.
        head: The first bytes of the source.

    Raises:
        BadInputError: If it cannot become a video.
        TransientError: If it could not be read, or the probe ended in an unforeseen way.
    """
    facts = _run_probe(bench, head)
    if "fault" in facts:
        raise BadInputError(*facts["fault"])
    if facts.get("oversize"):
        raise too_many_pixels(facts["width"], facts["height"], bench.max_pixels)
    first_pts, time_base, interlaced = _first_frame(
        bench, facts["video_index"], restarts=facts["restarts"]
    )
    source = Source(
        format_name=facts["format_name"],
        format_start=Fraction(facts["format_start"]),
        video_index=facts["video_index"],
        audio=tuple(AudioStream(**stream) for stream in facts["audio"]),
        texts=tuple(TextStream(**stream) for stream in facts["texts"]),
        time_base=Fraction(facts["time_base"]),
        packet_times=tuple(facts["packet_times"]),
        average_rate=_fraction(facts["average_rate"]),
        base_rate=_fraction(facts["base_rate"]),
        width=facts["width"],
        height=facts["height"],
        rotation=facts["rotation"],
        sample_aspect=Fraction(facts["sample_aspect"]) or Fraction(1),
        transfer=facts["transfer"],
        matrix=facts["matrix"],
        primaries=facts["primaries"],
        video_promise=_fraction(facts["video_promise"]),
        promised_end=_fraction(facts["promised_end"]),
        tail_end=_fraction(facts["tail_end"]),
        video_end=_fraction(facts["video_end"]),
        first_pts=first_pts,
        decoder_time_base=time_base,
        interlaced=interlaced,
        restarts=facts["restarts"],
    )
    return settle(source)


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def _run_probe(bench: Workbench, head: bytes) -> dict[str, Any]:
    request = json.dumps(
        {
            "url": bench.source.url,
            "head": head[:8].hex(),
            "demuxers": ffmpeg.DEMUXERS,
            "protocols": ffmpeg.PROTOCOLS,
            "max_pixels": bench.max_pixels,
            "max_audio": MAX_AUDIO,
            "max_texts": MAX_TEXTS,
        }
    )
    output, code, log = _run(bench, [sys.executable, "-I", str(_PROBE), request])
    if code:
        raise TransientError(f"the probe ended with {code}: {log[-500:]}")
    facts: dict[str, Any] = json.loads(output)
    return facts


def _run(bench: Workbench, argv: list[str]) -> tuple[bytes, int, str]:
    """Run a child that looks at the source; return its output, exit code and log.

    Raises:
        BadInputError: If the source made it break, or takes it without end.
        TransientError: If the source could not be read, or took too long to arrive.
        StoppedError: If the job was stopped.
    """
    limits = Limits(
        wall_seconds=_WALL_SECONDS,
        cpu_seconds=_CPU_SECONDS,
        memory_bytes=min(_MOST_MEMORY, child_memory()),
    )
    with bench.source.serving_at_most(_MOST_SERVED) as served, bench.child(argv, limits) as child:
        output = child.output.read(_MOST_OUTPUT)
        code = child.wait()
        log = child.log
    bench.check_source()
    if is_crash(code) or served.exhausted:
        raise BadInputError(
            "unreadable",
            "The file cannot be read in a reasonable time: it is damaged, or not what it seems.",
        )
    return output, code, log


def _first_frame(
    bench: Workbench, video_index: int, *, restarts: bool
) -> tuple[int, Fraction, bool]:
    """Ask the encoding binary for its first frame: another demuxer may begin elsewhere."""
    argv = ffmpeg.first_frame(bench.source.url, video_index, bench.max_pixels, restarts=restarts)
    _, _, log = _run(bench, argv)
    frame = ffmpeg.read_first_frame(log)
    if frame is None:
        if "Decoder" in log and "not found" in log:
            raise BadInputError(
                "unsupported_codec", "The video is encoded in a way that is not supported."
            )
        raise BadInputError("no_decodable_frames", "No picture in the file can be decoded.")
    return frame
