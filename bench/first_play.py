"""Seconds from upload-complete to playable and to ready, beside bare ffmpeg on the same file.

The platform does the whole way: S3 event, intake, queue, a worker woken from zero, range reads,
publishing to S3, verification. The peer is one ffmpeg process that encodes the same ladder with
the same encoder settings in one decode, from and to the local disk, in the same run.

    python bench/first_play.py [--json] [--quick] [--video FILE] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console

from mediactl.commands import demo
from mediactl.commands.local import running_platform
from mediactl.local.sample import ffmpeg

LADDER = ((1080, 4500), (720, 2600), (480, 1200), (360, 700))
"""Lines and peak kilobits per second of each rung, as the worker encodes them."""

SEGMENT_SECONDS = 4
AIMS = {"playable": 2.0, "ready": 1.25}
"""Largest ratios that are aimed at."""


def bare_ffmpeg(source: Path, folder: Path) -> dict[str, float]:
    """Encode the ladder and return seconds to the first segment of all rungs and to the end."""
    split = f"[0:v]split={len(LADDER)}" + "".join(f"[i{height}]" for height, _ in LADDER)
    scale = "".join(f";[i{h}]scale=-2:{h}:flags=bicubic,format=yuv420p[o{h}]" for h, _ in LADDER)
    command = [ffmpeg(), "-nostdin", "-v", "error", "-i", str(source)]
    command += ["-filter_complex", split + scale]
    hls = ["-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", str(SEGMENT_SECONDS)]
    hls += ["-hls_playlist_type", "event", "-hls_flags", "temp_file"]
    for height, rate in LADDER:
        track = folder / str(height)
        track.mkdir()
        command += ["-map", f"[o{height}]", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23"]
        command += ["-maxrate", f"{rate}k", "-bufsize", f"{2 * rate}k", "-bf", "2", "-refs", "3"]
        command += ["-force_key_frames", "expr:gte(t,n_forced*2)", "-sc_threshold", "0"]
        command += [*hls, str(track / "playlist.m3u8")]
    audio = folder / "audio"
    audio.mkdir()
    command += ["-map", "0:a?", "-c:a", "aac", "-b:a", "128k", "-ac", "2"]
    command += [*hls, str(audio / "playlist.m3u8")]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder)
    first = 0.0
    while process.poll() is None:
        if not first and all((folder / str(h) / "playlist.m3u8").exists() for h, _ in LADDER):
            first = time.monotonic() - started
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit("bare ffmpeg failed on this file")
    total = time.monotonic() - started
    return {"playable": first or total, "ready": total}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--video", type=Path, help="file to use; default: the 20 s sample")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; medians are compared")
    parser.add_argument("--quick", action="store_true", help="one run: shows that it works")
    options = parser.parse_args()
    ours: list[dict[str, float]] = []
    peers: list[dict[str, float]] = []
    with running_platform() as (platform, state_dir):
        video = (options.video or demo.sample_video(state_dir)).resolve()
        for _ in range(1 if options.quick else options.runs):
            ours.append(demo.run(platform, video, Console(stderr=True)).seconds)
            with tempfile.TemporaryDirectory() as folder:
                peers.append(bare_ffmpeg(video, Path(folder)))
    figures = {}
    for name, aim in AIMS.items():
        value = statistics.median(run[name] for run in ours)
        peer = statistics.median(run[name] for run in peers)
        ratio = value / peer
        figures[name] = {
            "value": round(value, 2),
            "peer": round(peer, 2),
            "ratio": round(ratio, 2),
            "aim": aim,
            "met": ratio <= aim,
        }
        print(f"{name:>9}: {value:6.2f} s, bare ffmpeg {peer:6.2f} s, ratio {ratio:.2f}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
