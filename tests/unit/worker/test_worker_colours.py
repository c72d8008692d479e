"""Colours: whatever matrix, range, gamut or dynamic range a source has, they look the same."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from clips import FolderSink, bench, make, plan_of

from media_worker import ffmpeg
from media_worker.encode import encode_video
from media_worker.planning import FrameRange

COLOURS = [
    *((200, 30, 30), (30, 180, 40), (40, 50, 200)),
    *((235, 235, 235), (120, 120, 120), (200, 190, 40)),
]
_TO_709 = "scale=out_color_matrix=bt709:out_range=tv"
_TO_601 = "scale=out_color_matrix=smpte170m:out_range=tv"
_TO_LINEAR = "zscale=t=linear:npl=203,format=gbrpf32le"
X264, X265 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10"), ("-c:v", "libx265")
X265 += ("-preset", "ultrafast", "-crf", "10", "-x265-params", "log-level=none")


def said(matrix: str, primaries: str, transfer: str, value_range: str = "tv") -> str:
    return (
        f"setparams=colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}"
        f":range={value_range}"
    )


def hdr(transfer: str) -> str:
    return (
        f"{_TO_LINEAR},zscale=m=bt2020nc:p=bt2020:t={transfer}:r=limited:npl=203,format=yuv420p10le"
    )


_WIDE = "zscale=m=bt2020nc:p=bt2020:t=bt709:r=limited,format=yuv420p10le"

COLOURED: dict[str, tuple[int, str, Sequence[str]]] = {
    "HD": (720, f"{_TO_709},format=yuv420p,{said('bt709', 'bt709', 'bt709')}", X264),
    "HD that says nothing": (
        *(
            720,
            f"{_TO_709},format=yuv420p,{said('unknown', 'unknown', 'unknown', 'unknown')}",
            X264,
        ),
    ),
    "SD that says nothing": (
        *(
            360,
            f"{_TO_601},format=yuv420p,{said('unknown', 'unknown', 'unknown', 'unknown')}",
            X264,
        ),
    ),
    "HD in colours of SD": (
        *(720, f"{_TO_601},format=yuv420p,{said('smpte170m', 'bt709', 'bt709')}", X264),
    ),
    "full range": (
        720,
        "scale=out_color_matrix=bt709:out_range=pc,format=yuvj420p,"
        + said("bt709", "bt709", "bt709", "pc"),
        X264,
    ),
    "RGB": (360, "format=gbrp", ("-c:v", "libx264rgb", "-crf", "10")),
    "wide": (720, f"{_WIDE},{said('bt2020nc', 'bt2020', 'bt709')}", X264),
    "PQ": (720, f"{hdr('smpte2084')},{said('bt2020nc', 'bt2020', 'smpte2084')}", X265),
    "HLG": (720, f"{hdr('arib-std-b67')},{said('bt2020nc', 'bt2020', 'arib-std-b67')}", X265),
    "HLG that says little": (
        *(720, f"{hdr('arib-std-b67')},{said('unknown', 'unknown', 'arib-std-b67')}", X265),
    ),
}
"""Lines, filters and encoder by what the source is."""


def patches(lines: int) -> list[str]:
    """Return the arguments of an input with patches of known colours, side by side."""
    count = len(COLOURS)
    planes = [
        "+".join(f"{colour[plane]}*eq(floor(X*{count}/W),{n})" for n, colour in enumerate(COLOURS))
        for plane in range(3)
    ]
    source = f"nullsrc=s={lines * 16 // 9}x{lines}:r=25:d=0.2,format=gbrp,"
    source += "geq=r='{}':g='{}':b='{}'".format(*planes)
    source += ",setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    return ["-f", "lavfi", "-i", source]


def seen_colours(movie: bytes) -> list[tuple[int, ...]]:
    done = subprocess.run(
        [
            *(ffmpeg.binary(), "-v", "error", "-i", "pipe:0", "-frames:v", "1", "-vf"),
            f"format=gbrp,scale={len(COLOURS)}:1:flags=area,format=rgb24",
            *("-f", "rawvideo", "pipe:1"),
        ],
        input=movie,
        capture_output=True,
        check=True,
    )
    return [tuple(done.stdout[at : at + 3]) for at in range(0, len(done.stdout), 3)]


@pytest.mark.parametrize("name", COLOURED)
def test_colours_are_those_of_the_source_in_every_rung(name: str, tmp_path: Path) -> None:
    lines, filters, encoder = COLOURED[name]
    path = make(tmp_path / "a.mkv", *patches(lines), "-vf", filters, *encoder)
    sink = FolderSink(tmp_path / "picture")
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        encode_video(plan, FrameRange(0, None), workbench, sink)
    tone_mapped = name.startswith(("PQ", "HLG"))
    for rung in range(len(plan.rungs)):
        for wanted, seen in zip(COLOURS, seen_colours(sink.movie(rung)), strict=True):
            # White of HDR leaves room for what is brighter; greys keep their place.
            lowest = [value * 0.84 - 14 if tone_mapped else value - 14 for value in wanted]
            assert all(
                low <= value <= high + 16
                for low, value, high in zip(lowest, seen, wanted, strict=True)
            ), (name, rung, wanted, seen)
        assert seen_colours(sink.movie(rung))[4] == pytest.approx((120, 120, 120), abs=8)
