"""Key frames: where their bytes are, and the playlist that points there."""

from __future__ import annotations

import io
import subprocess
from fractions import Fraction

import pytest
from published import GRID, Track, run, video_track

from media_worker import ffmpeg
from media_worker.boxes import BoxError, read_fragments
from media_worker.key_frames import KeyFrame, bandwidth, key_frame_playlist, on_grid


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


def of(track: Track, frames: int = 225) -> list[KeyFrame]:
    listed = [(f"1/{segment.name}", segment.key_frames) for segment in track.segments]
    return on_grid(listed, grid=GRID, frames=frames)


def test_key_frames_last_until_the_next(track: Track) -> None:
    assert [frame.duration for frame in of(track)] == [2, 2, 2, 2, 1]
    assert [frame.uri for frame in of(track)] == [
        *("1/000000.m4s", "1/000000.m4s", "1/000001.m4s", "1/000001.m4s", "1/000002.m4s")
    ]


def test_missing_segment_is_told(track: Track) -> None:
    with pytest.raises(ValueError, match="5 key frames, but 325 frames have 7 on a grid of 50"):
        of(track, frames=325)


def test_every_entry_of_the_playlist_is_a_picture(track: Track) -> None:
    """As a player does it: load the range, and append it behind the init segment."""
    stored = {f"1/{segment.name}": segment.data for segment in track.segments}
    lines = key_frame_playlist(of(track), init_uri="init.mp4").splitlines()
    shown = []
    for number, line in enumerate(lines):
        if line.startswith("#EXT-X-BYTERANGE:"):
            size, at = map(int, line.removeprefix("#EXT-X-BYTERANGE:").split("@"))
            shown += hashes(track.init + stored[lines[number + 1]][at : at + size])
    assert shown == hashes(track.stream)[::50]


def test_playlist_states_ranges(track: Track) -> None:
    lines = key_frame_playlist(of(track), init_uri="init-x.mp4").splitlines()
    assert lines[0] == "#EXTM3U"
    assert "#EXT-X-I-FRAMES-ONLY" in lines
    assert "#EXT-X-TARGETDURATION:2" in lines
    assert '#EXT-X-MAP:URI="init-x.mp4"' in lines
    assert lines[-1] == "#EXT-X-ENDLIST"
    offset, size = track.segments[1].key_frames[1]
    at = lines.index(f"#EXT-X-BYTERANGE:{size}@{offset}")
    assert lines[at - 1 : at + 2 : 2] == ["#EXTINF:2.000000,", "1/000001.m4s"]


def frames(*sizes_and_seconds: tuple[int, float]) -> list[KeyFrame]:
    return [KeyFrame("s", 0, size, Fraction(seconds)) for size, seconds in sizes_and_seconds]


def test_bandwidth_is_that_of_about_one_target_duration() -> None:
    found = bandwidth(frames((1000, 2), (3000, 2), (1000, 2), (1000, 0.0625)))
    assert found.peak == 3000 * 8 / 2
    assert found.average == -(-6000 * 8 // 6.0625)


def test_bandwidth_of_a_single_picture() -> None:
    assert bandwidth(frames((1000, 0.25))).peak == 32_000


def test_no_key_frames_are_no_playlist() -> None:
    for function in (bandwidth, lambda none: key_frame_playlist(none, init_uri="i")):
        with pytest.raises(ValueError, match="frames is empty"):
            function([])
