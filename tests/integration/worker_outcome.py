"""What must hold of every run that is complete, whoever made it and however often it was begun."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

from worker_stage import Stage, segments_of

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import END, SOUND, Part, Run, RunStatus
from media_platform.contract.video import VideoStatus
from media_worker import ffmpeg
from media_worker.playlists import END_OF_LIST

MOST_DRIFT_SECONDS = 0.02


def decode_all(source: Path) -> list[int]:
    """Decode every picture and sound strictly; return the frames of each, pictures first.

    All of them, since libavformat complains of renditions that it stops reading in the middle.
    """
    result = subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-v", "error", "-xerror"),
            *("-allowed_extensions", "ALL", "-i", source, "-map", "0:v?", "-map", "0:a?"),
            *("-fps_mode", "passthrough", "-f", "framecrc", "-"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    found = Counter(int(line.partition(",")[0]) for line in lines)
    return [found[number] for number in sorted(found)]


def decode(playlist: Path) -> int:
    """Decode the list of one track strictly; return the frames."""
    (frames,) = decode_all(playlist)
    return frames


def seconds_of(playlist: str) -> float:
    """Return the length of what a playlist lists."""
    return sum(float(length) for length in re.findall(r"#EXTINF:([0-9.]+),", playlist))


def stored_run(stage: Stage, job: TranscodeJob) -> Run:
    run = stage.run(job)
    assert run is not None
    return run


def attempts(parts: dict[str, Part]) -> list[str]:
    """Return what the playlist of a rung lists for the parts of a run."""
    made = [
        attempt
        for name, part in sorted(parts.items())
        if name.startswith("video#")
        for attempt in part.attempts
    ]
    return [f"{attempt}/{index:06d}.m4s" for index, attempt in enumerate(made)]


def assert_only_grew(stage: Stage, job: TranscodeJob, *tracks: str) -> None:
    """Hold every version of the lists against the one before: what was said once stands."""
    for track in tracks:
        texts = stage.versions(job, track)
        for before, after in pairwise(texts):
            assert after.startswith(before), (track, before, after)
        assert END_OF_LIST in texts[-1]


def assert_complete(
    stage: Stage, job: TranscodeJob, *, frames: int, rate: float = 25, every_list: bool = True
) -> Path:
    """Hold a run against the table and the store; return a folder with what it published.

    Args:
        stage: Where it was made.
        job: Its job.
        frames: Frames that it has.
        rate: Frames per second.
        every_list: Whether the lists of all tracks together are decoded, too.
    """
    video, run, parts = stage.finished(job), stored_run(stage, job), stage.parts(job)
    assert (video.status, run.status) == (VideoStatus.READY, RunStatus.COMPLETE), video.failure
    assert (video.current_run, video.next_run) == (job.run_id, None)
    assert (run.progress, run.playable_at is not None) == (100, True)
    assert {rendition.frames for rendition in run.renditions} == {frames}
    assert all(part.done for part in parts.values()), parts
    assert {END} <= set(parts)
    chunks = [part for name, part in parts.items() if name.startswith("video#")]
    assert len(chunks) == run.chunks
    assert sum(part.samples for part in chunks) == frames

    folder = stage.download(job)
    for rendition in run.renditions:
        track = folder / f"v{rendition.height}"
        text = (track / "playlist.m3u8").read_text()
        assert text.endswith("#EXT-X-ENDLIST\n")
        assert segments_of(text) == attempts(parts)
        assert decode(track / "playlist.m3u8") == frames
        assert abs(seconds_of(text) - frames / rate) < 0.001
    for number in range(len(json.loads(run.plan or "{}")["source"]["audio"])):
        text = (folder / (f"audio{number}" if number else "audio") / "playlist.m3u8").read_text()
        assert text.endswith("#EXT-X-ENDLIST\n")
        made = enumerate(parts[SOUND].attempts)
        assert segments_of(text) == [f"{attempt}/{index:06d}.m4s" for index, attempt in made]
        assert abs(seconds_of(text) - frames / rate) < MOST_DRIFT_SECONDS
    rungs = len(run.renditions)
    sounds = ["audio"] if run.has_audio else []
    assert_only_grew(stage, job, *(f"v{one.height}" for one in run.renditions), *sounds)
    for source in ("master.m3u8", "manifest.mpd") if every_list else ():
        assert decode_all(folder / source)[:rungs] == [frames] * rungs
    return folder
