"""Key frames: where their bytes are, and the playlist that points there."""

from __future__ import annotations

import io
import subprocess

import pytest
from published import Track, run, video_track

from media_worker import ffmpeg
from media_worker.boxes import BoxError, read_fragments


@pytest.fixture(scope="module")
def track() -> Track:
    return video_track("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=9")


def hashes(data: bytes) -> list[bytes]:
    """Return a hash of each picture."""
    lines = run("-i", "pipe:0", "-f", "framehash", "-", data=data).splitlines()
    return [line.rsplit(b",", 1)[1] for line in lines if not line.startswith(b"#")]


def test_key_frame_decodes_from_its_bytes_alone(track: Track) -> None:
    whole = hashes(track.stream)
    assert [len(segment.key_frames) for segment in track.segments] == [2, 2, 1]
    found = [
        hashes(track.init + segment.data[at : at + size])
        for segment in track.segments
        for at, size in segment.key_frames
    ]
    assert found == [[whole[frame]] for frame in range(0, 225, 50)]


def test_no_byte_of_a_key_frame_is_left_over(track: Track) -> None:
    at, size = track.segments[0].key_frames[1]
    short = track.init + track.segments[0].data[at : at + size - 1]
    done = subprocess.run(
        [ffmpeg.binary(), "-v", "error", "-xerror", "-i", "pipe:0", "-f", "null", "-"],
        input=short,
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0


def test_sample_beyond_its_fragment_is_refused(track: Track) -> None:
    """Damaged offsets would send players to bytes that are not there."""
    data = track.segments[0].data
    run_at = data.index(b"trun") + 4
    wrong = data[: run_at + 8] + b"\x7f" + data[run_at + 9 :]
    with pytest.raises(BoxError, match="the first sample is said to be"):
        list(read_fragments(io.BytesIO(track.init + wrong)))
