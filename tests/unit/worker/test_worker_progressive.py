"""The progressive MP4: the frames and the sound of the segments, from zero, index first."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from published import Track, audio_track, run, video_track

from media_worker.boxes import boxes
from media_worker.cancellation import Cancellation
from media_worker.concatenation import Concatenation, in_memory
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.progressive import largest_size, make_progressive
from media_worker.sandbox import Child, Limits

FRAMES = 225


@pytest.fixture(scope="module")
def picture() -> Track:
    return video_track("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=9")


@pytest.fixture(scope="module")
def sound() -> Track:
    return audio_track("-f", "lavfi", "-i", "sine=f=440:r=48000:d=9:beep_factor=4")


def reader(track: Track) -> Concatenation[int]:
    return in_memory([track.init, *(segment.data for segment in track.segments)])


def write(picture: Track, sound: Track | None, target: Path, frames: int = FRAMES) -> Path:
    size = make_progressive(
        reader(picture),
        None if sound is None else reader(sound),
        frames=frames,
        target=target,
        cancellation=Cancellation(),
    )
    assert target.stat().st_size == size
    return target


def hashes(*arguments: str | Path) -> list[str]:
    lines = run(*arguments, "-f", "framehash", "-").decode().splitlines()
    return [line.rsplit(",", 1)[1].strip() for line in lines if not line.startswith("#")]


def test_index_comes_first(picture: Track, sound: Track, tmp_path: Path) -> None:
    path = write(picture, sound, tmp_path / "a.mp4")
    kinds = [kind for kind, _ in boxes(path.read_bytes())]
    assert kinds[:2] == [b"ftyp", b"moov"]
    assert kinds[-1] == b"mdat"
    assert list(tmp_path.iterdir()) == [path]


def test_every_frame_and_sample_is_that_of_the_segments(
    picture: Track, sound: Track, tmp_path: Path
) -> None:
    path = write(picture, sound, tmp_path / "a.mp4")
    for track, kind in ((picture, "v"), (sound, "a")):
        plain = tmp_path / f"{kind}.mp4"
        plain.write_bytes(track.stream)
        found = hashes("-i", path, "-map", f"0:{kind}")
        assert found == hashes("-i", plain)
        assert len(found) == (FRAMES if kind == "v" else 422)


def test_first_picture_and_first_sound_are_at_zero(
    picture: Track, sound: Track, tmp_path: Path
) -> None:
    with av.open(write(picture, sound, tmp_path / "a.mp4")) as container:
        assert container.start_time == 0
        assert container.duration == 9_000_000
        video, audio = container.streams.video[0], container.streams.audio[0]
        times = {video: [], audio: []}
        for packet in container.demux():
            if packet.size:
                times[packet.stream].append(packet.pts * packet.time_base)
        assert sorted(times[video]) == [Fraction(number, 25) for number in range(FRAMES)]
        assert times[audio][0] == 0
        assert audio.duration == 9 * 48_000


def test_picture_without_sound(picture: Track, tmp_path: Path) -> None:
    with av.open(write(picture, None, tmp_path / "a.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.start_time == 0


def test_single_frame(tmp_path: Path) -> None:
    one = video_track("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=0.04")
    with av.open(write(one, None, tmp_path / "a.mp4", frames=1)) as container:
        assert [frame.pts for frame in container.decode(video=0)] == [0]


def test_missing_frames_are_told(picture: Track, tmp_path: Path) -> None:
    short = Track(picture.init, picture.segments[:2])
    with pytest.raises(TransientError, match=r"lists 200 frames .* planned are 225"):
        write(short, None, tmp_path / "a.mp4")


def test_missing_segment_is_told(picture: Track, tmp_path: Path) -> None:
    def read(number: int, offset: int, size: int) -> bytes:
        if number:
            raise OSError("no such object")
        return picture.init[offset : offset + size]

    pieces = Concatenation([(0, len(picture.init)), (1, 3_000_000)], read)
    with pytest.raises(TransientError, match="a segment could not be read"):
        make_progressive(
            pieces,
            None,
            frames=FRAMES,
            target=tmp_path / "a.mp4",
            cancellation=Cancellation(),
        )


def test_child_writes_no_more_than_it_may(tmp_path: Path) -> None:
    """Whatever ffmpeg makes of its input, it cannot fill the disk."""
    limits = Limits(wall_seconds=30, cpu_seconds=10, memory_bytes=1024**3, file_bytes=1000)
    code = "open('x', 'wb', 0).write(bytes(600)); open('y', 'wb', 0).write(bytes(2000))"
    argv = [sys.executable, "-I", "-S", "-c", code]
    with Child(argv, limits=limits, cancellation=Cancellation(), scratch=tmp_path) as child:
        child.wait()
    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == {"x": 600, "y": 1000}


def test_space_is_known_before(picture: Track, sound: Track, tmp_path: Path) -> None:
    path = write(picture, sound, tmp_path / "a.mp4")
    assert path.stat().st_size < largest_size(reader(picture), reader(sound))


def test_stop_ends_it(picture: Track, tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel(StopReason.INTERRUPTED)
    with pytest.raises(StoppedError):
        make_progressive(
            reader(picture),
            None,
            frames=FRAMES,
            target=tmp_path / "a.mp4",
            cancellation=cancellation,
        )
