"""VMAF: the very frames are compared that were encoded, whatever the source is like."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
from published import Track, bench, make

from media_worker import ffmpeg, quality
from media_worker.boxes import Fragment, read_fragments
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.planning import FrameRange, Plan, Rung, make_plan
from media_worker.probe import probe
from media_worker.segments import VideoGrid, VideoSegmenter

MOTION = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r={}:d=5,rotate=t")
"""Every frame differs all over from the next."""

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p")


def plan_of(path: Path, scratch: Path) -> Plan:
    with bench(path, scratch) as workbench:
        plan = make_plan(probe(workbench, path.read_bytes()[:16]), 16)
    top = plan.rungs[0]
    # Hardly any loss above, and a lot of it below.
    rungs = (
        Rung(width=top.width, height=top.height, peak_bits=20_000_000, level="3.0"),
        Rung(width=160, height=90, peak_bits=20_000, level="3.0"),
    )
    return replace(plan, rungs=rungs)


@dataclass
class Published:
    """Renditions as the worker encodes them."""

    plan: Plan
    tracks: list[Track]

    @property
    def frames(self) -> int:
        return sum(segment.samples for segment in self.tracks[0].segments)

    @property
    def inits(self) -> Sequence[bytes]:
        return [track.init for track in self.tracks]

    def segment(self, rung: int, index: int) -> bytes:
        return self.tracks[rung].segments[index].data

    def compare(self, path: Path, scratch: Path) -> dict[int, float]:
        with bench(path, scratch) as workbench:
            return quality.measure(
                workbench,
                self.plan,
                frames=self.frames,
                inits=self.inits,
                segment=self.segment,
            )


def encode(plan: Plan, path: Path, scratch: Path) -> Published:
    """Encode every rung with the worker's own command line."""
    tracks = []
    for rung in plan.rungs:
        alone = replace(plan, rungs=(rung,))
        with bench(path, scratch) as workbench:
            read, write = os.pipe()
            argv = ffmpeg.video(
                alone,
                FrameRange(0, None),
                workbench.source.url,
                pipes=[write],
                pre_roll=Fraction(1),
                max_pixels=workbench.max_pixels,
                threads=1,
            )
            with subprocess.Popen(argv, stdout=subprocess.DEVNULL, pass_fds=[write]) as child:
                os.close(write)
                with os.fdopen(read, "rb") as pipe:
                    data = pipe.read()
            assert child.returncode == 0
        segmenter, init, found = VideoSegmenter(plan.grid, 0), b"", []
        for part in read_fragments(io.BytesIO(data)):
            if isinstance(part, Fragment):
                found.append(segmenter.push(part))
            else:
                init = part
        found.append(segmenter.finish())
        tracks.append(Track(init, [segment for segment in found if segment is not None]))
    return Published(plan, tracks)


SOURCES = {
    "25.mp4": ("25", *X264, "-g", "250"),
    "29.mkv": ("30000/1001", *X264, "-g", "60"),
    "50.ts": ("50", *X264, "-g", "100"),
    "late.ts": ("25", *X264, "-g", "250", "-output_ts_offset", "7"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_very_frames_are_compared_that_were_encoded(tmp_path: Path, name: str) -> None:
    rate, *arguments = SOURCES[name]
    path = make(tmp_path / name, *(part.format(rate) for part in MOTION), *arguments)
    published = encode(plan_of(path, tmp_path), path, tmp_path)
    scores = published.compare(path, tmp_path)
    assert scores[180] > 90
    assert scores[90] < 60


def test_one_frame_beside_would_be_seen(tmp_path: Path) -> None:
    """What the test above relies on: neighbours differ by more than encoding loses."""
    path = make(tmp_path / "a.mp4", *(part.format("25") for part in MOTION), *X264)
    plan = plan_of(path, tmp_path)
    published = encode(plan, path, tmp_path)
    source = replace(plan.source, first_pts=plan.source.first_pts - 512)
    shifted = Published(replace(plan, source=source), published.tracks)
    assert shifted.compare(path, tmp_path)[180] < 60


def test_source_that_lacks_frames_is_no_score(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *(part.format("25") for part in MOTION), *X264)
    plan = plan_of(path, tmp_path)
    published = encode(plan, path, tmp_path)
    short = make(tmp_path / "b.mp4", "-i", path, "-t", "4", *X264)
    with pytest.raises(TransientError, match=r"of the 25 frames from 100 could be compared"):
        published.compare(short, tmp_path)


def test_windows_are_spread_over_whole_gops() -> None:
    grid = VideoGrid(timescale=12800, frame_ticks=512, gop_frames=50, segment_frames=100)

    class Planned:
        pass

    plan = Planned()
    plan.grid = grid  # type: ignore[attr-defined]
    for frames, starts in ((36_000 * 25, [150_000, 450_000, 750_000]), (225, [0, 100, 200])):
        found = quality.windows(plan, frames)  # type: ignore[arg-type]
        assert [window.start for window in found] == starts
        assert all(window.end <= frames for window in found)
    (one,) = quality.windows(plan, 7)  # type: ignore[arg-type]
    assert (one.start, one.end) == (0, 7)


def test_stop_ends_it(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *(part.format("25") for part in MOTION), *X264)
    plan = plan_of(path, tmp_path)
    with bench(path, tmp_path) as workbench:
        workbench.cancellation.cancel(StopReason.INTERRUPTED)
        with pytest.raises(StoppedError):
            quality.measure(workbench, plan, frames=225, inits=[b"", b""], segment=lambda *_: b"x")
