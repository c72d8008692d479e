"""Seconds from upload-complete to playable and to ready, beside bare ffmpeg on the same file.

The platform does the whole way: S3 event, intake, queue, a worker woken from zero, range reads,
publishing to S3, verification. The peer is one ffmpeg process that encodes the same ladder with
the same encoder settings in one decode, from and to the local disk, in the same run.

    python bench/first_play.py [--json] [--quick] [--video FILE] [--runs N]
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from harness.figures import Figure, arguments, console, median, report, stop_on_sigterm

from mediactl.commands import demo
from mediactl.commands.local import running_plane
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
    parser = arguments((__doc__ or "").splitlines()[0], runs=3)
    parser.add_argument("--video", type=Path, help="file to use; default: the 20 s sample")
    options = parser.parse_args()
    ours: list[dict[str, float]] = []
    peers: list[dict[str, float]] = []
    stop_on_sigterm()
    with running_plane() as environment:
        video = (options.video or demo.sample_video(environment.state_dir)).resolve()
        for _ in range(1 if options.quick else options.runs):
            ours.append(demo.run(environment, video, console).seconds)
            with tempfile.TemporaryDirectory() as folder:
                peers.append(bare_ffmpeg(video, Path(folder)))
    figures = [
        Figure(
            name=name,
            value=median(run[name] for run in ours),
            peer=median(run[name] for run in peers),
            aim=aim,
        )
        for name, aim in AIMS.items()
    ]
    report("first play", figures, as_json=options.json)


if __name__ == "__main__":
    main()
