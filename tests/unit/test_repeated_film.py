"""The long files of the benchmarks: as long as they say, and decodable from end to end."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import av
import pytest
from harness.repeated import repeat

from media_worker import ffmpeg

SECONDS, RATE, TIMES = 6, 10, 5


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "short.mp4"
    subprocess.run(
        [
            *(ffmpeg.binary(), "-v", "error", "-f", "lavfi"),
            *("-i", f"testsrc2=s=64x36:r={RATE}:d={SECONDS}", "-f", "lavfi"),
            *("-i", f"sine=r=48000:d={SECONDS}", "-bf", "2", "-c:a", "aac", path),
        ],
        check=True,
    )
    return path.read_bytes()


@pytest.mark.parametrize("index_first", [True, False])
def test_film_is_repeated_without_a_seam(short: bytes, index_first: bool, tmp_path: Path) -> None:
    film = repeat(short, TIMES, index_first=index_first)
    path = tmp_path / "long.mp4"
    film.write(path)
    content = path.read_bytes()
    assert len(content) == film.size
    assert (content.index(b"moov") < content.index(b"mdat")) is index_first
    assert b"".join(film.read(1000, film.size - 10)) == content[1000:-10]
    result = subprocess.run(
        [ffmpeg.binary(), "-v", "warning", "-xerror", "-i", path, "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        times = sorted(p.pts for p in container.demux(video) if p.pts is not None)
        assert {after - before for before, after in pairwise(times)} == {
            round(1 / (RATE * video.time_base))
        }
        assert len(times) == TIMES * SECONDS * RATE
        assert float(audio.duration * audio.time_base) == pytest.approx(TIMES * SECONDS, abs=0.05)


def test_what_is_no_plain_mp4_is_refused() -> None:
    with pytest.raises(ValueError, match="no plain MP4"):
        repeat(b"\x00\x00\x00\x08free", 2, index_first=True)
