"""Loudness: measured as the standard says, and after the gain as loud as all other videos."""

from __future__ import annotations

import array
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from published import bench, make

from media_worker import ffmpeg
from media_worker.concatenation import Concatenation
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.loudness import filters, gain, measure, windows
from media_worker.planning import AudioStream

PICTURE = ("-f", "lavfi", "-i", "color=s=32x32:r=5:d=120")


def tone(level_db: float, seconds: float, more: str = "") -> tuple[str, ...]:
    """Return the arguments of a stereo input: 1 kHz, whose loudness in LUFS is its level."""
    level = 10 ** (level_db / 20)
    graph = f"aevalsrc='{level}*sin(2*PI*997*t){more}':c=mono:s=48000:d={seconds}"
    return ("-f", "lavfi", "-i", f"{graph},pan=stereo|c0=c0|c1=c0")


def audio_stream(index: int) -> AudioStream:
    """Return a stream in stereo."""
    return AudioStream(index=index, channels=2, language=None, title=None, default=True)


def measured(path: Path, scratch: Path, seconds: float, stream: int = 0) -> float | None:
    with bench(path, scratch) as workbench:
        return measure(
            workbench,
            audio_stream(stream),
            format_name="matroska",
            seek_origin=Fraction(0),
            seconds=Fraction(seconds).limit_denominator(),
        )


def chain(gain_db: float, channels: int) -> str:
    return ",".join(filter(None, (ffmpeg.DOWN_MIX, filters(gain_db, channels))))


def heard(path: Path, graph: str, stream: int = 0) -> tuple[float, float]:
    """Return loudness and true peak after ``graph``, as ffmpeg reports them in its summary."""
    done = subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-hide_banner", "-v", "info", "-i", path),
            *("-map", f"0:{stream}", "-af", f"{graph},ebur128=peak=true:framelog=quiet"),
            *("-f", "null", "-"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    summary = done.stderr.rpartition("Summary:")[2]
    loudness = re.search(r"I: +(-?[\d.]+) LUFS", summary)
    peak = re.search(r"Peak: +(-?[\d.]+) dBFS", summary)
    assert loudness
    assert peak
    return float(loudness[1]), float(peak[1])


def test_reference_tone_reads_its_level(tmp_path: Path) -> None:
    """EBU Tech 3341, test 1: a stereo sine of 1 kHz at -23 dBFS is -23 LUFS."""
    path = make(tmp_path / "a.wav.mkv", *tone(-23, 10), "-c:a", "pcm_s16le")
    assert measured(path, tmp_path, 10) == pytest.approx(-23, abs=0.1)


def test_pauses_do_not_count(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", *tone(-20, 20, "*lt(mod(t,10),5)"), "-c:a", "pcm_s16le")
    assert measured(path, tmp_path, 20) == pytest.approx(-20, abs=0.5)


def test_long_sound_is_measured_in_windows_that_make_up_one(tmp_path: Path) -> None:
    """Loud in the first half and soft in the second: the relative gate is that of both together."""
    path = make(
        tmp_path / "a.mkv",
        *PICTURE,
        *tone(-14, 120, "*if(lt(t,60),1,0.05)"),
        *("-shortest", "-c:v", "libx264", "-g", "25", "-preset", "ultrafast", "-c:a", "pcm_s16le"),
    )
    # The soft half is 26 LU lower, beyond the relative gate of 10 LU, and does not count.
    assert measured(path, tmp_path, 120, stream=1) == pytest.approx(-14, abs=0.2)


def test_blocks_are_gated_as_ffmpeg_does(tmp_path: Path) -> None:
    """Of a sound with every level, ours is the value in ffmpeg's own summary."""
    path = make(tmp_path / "a.mkv", *tone(-5, 20, "*exp(-t/4)*(0.6+0.4*sin(9*t))"), "-c:a", "flac")
    loudness, _ = heard(path, ffmpeg.DOWN_MIX)
    assert measured(path, tmp_path, 20) == pytest.approx(loudness, abs=0.11)


def test_windows_are_spread_and_of_a_fixed_amount() -> None:
    assert [(w.start, w.length) for w in windows(Fraction(60))] == [(0, 60)]
    assert [(w.start, w.length) for w in windows(None)] == [(0, 60)]
    for seconds in (Fraction(61), Fraction(36_000)):
        parts = windows(seconds)
        assert sum(part.length for part in parts) == 60
        assert parts[0].start >= 0
        ends = [part.start + part.length for part in parts]
        assert all(end <= part.start for end, part in zip(ends, parts[1:], strict=False))
        assert ends[-1] <= seconds


def test_sound_that_ends_early_is_measured_where_it_is(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.mp4",
        *("-f", "lavfi", "-i", "color=s=32x32:r=5:d=120"),
        *tone(-20, 30),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    )
    assert measured(path, tmp_path, 120, stream=1) == pytest.approx(-20, abs=0.3)


@pytest.mark.parametrize("seconds", [10, 90])
def test_silence_stays_as_it_is(tmp_path: Path, seconds: int) -> None:
    source = f"anullsrc=r=48000:d={seconds}"
    path = make(tmp_path / "a.mkv", "-f", "lavfi", "-i", source, "-c:a", "aac")
    lufs = measured(path, tmp_path, seconds)
    assert lufs is None
    assert gain(lufs) == 0


def test_gain_is_limited() -> None:
    assert gain(-23.0) == 7
    assert gain(-10.0) == -6
    assert gain(-60.0) == 20
    assert gain(20.0) == -24


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("level", [-35, -8])
def test_stereo_ends_up_at_the_target(tmp_path: Path, codec: str, level: int) -> None:
    path = make(tmp_path / "a.mkv", *tone(level, 5), "-c:a", codec)
    lufs = measured(path, tmp_path, 5)
    loudness, peak = heard(path, chain(gain(lufs), 2))
    assert loudness == pytest.approx(-16, abs=0.2)
    assert peak <= -1


@pytest.mark.parametrize("codec", ["pcm_s16le", "ac3"])
def test_dialogue_of_surround_sound_ends_up_at_the_target(tmp_path: Path, codec: str) -> None:
    """Measured after the down-mix, whatever the kind of samples: not 3 or 7 dB beside."""
    graph = "sine=f=997:r=48000:d=5,volume=-6dB,pan=5.1|c2=c0"
    path = make(tmp_path / "a.mkv", "-f", "lavfi", "-i", graph, "-c:a", codec)
    lufs = measured(path, tmp_path, 5)
    loudness, _ = heard(path, chain(gain(lufs), 6))
    assert loudness == pytest.approx(-16, abs=0.2)
    if codec != "ac3":  # which states levels of its own
        # A sine of 1/8 at -6 dB to both sides at -3 dB each.
        assert lufs == pytest.approx(-18.06 - 6 - 3.01, abs=0.3)


def test_all_channels_at_once_do_not_clip(tmp_path: Path) -> None:
    graph = "anoisesrc=r=48000:d=5:a=0.9:seed=1,pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0"
    path = make(tmp_path / "a.mkv", "-f", "lavfi", "-i", graph, "-c:a", "pcm_s16le")
    _, peak = heard(path, chain(0, 6))
    assert peak <= -0.9


def test_peaks_between_samples_are_limited(tmp_path: Path) -> None:
    """A quarter of the sampling rate, whose samples miss its peaks by 3 dB."""
    graph = "aevalsrc='0.5*sin(2*PI*12000*t+PI/4)':s=48000:d=3,aformat=channel_layouts=stereo"
    path = make(tmp_path / "a.mkv", "-f", "lavfi", "-i", graph, "-c:a", "pcm_s16le")
    _, peak = heard(path, chain(12, 2))
    assert peak <= -1


def samples(path: Path, graph: str) -> array.array[float]:
    done = subprocess.run(
        [ffmpeg.binary(), "-v", "error", "-i", path, "-af", graph, "-f", "f32le", "-"],
        capture_output=True,
        check=True,
    )
    return array.array("f", done.stdout)


def test_no_sample_is_moved(tmp_path: Path) -> None:
    """The limiter looks ahead, and the rate goes up and down: neither may delay the sound."""
    graph = "aevalsrc='0.05*sin(2*PI*(50*t+900*t*t))':c=mono:s=48000:d=2.01"
    path = make(tmp_path / "a.mkv", "-f", "lavfi", "-i", graph, "-ac", "2", "-c:a", "pcm_f32le")
    plain, raised = samples(path, ffmpeg.DOWN_MIX), samples(path, chain(6, 2))
    assert len(raised) == len(plain)
    factor = 10 ** (6 / 20)
    inner = range(2000, len(plain) - 2000)
    assert max(abs(raised[at] - factor * plain[at]) for at in inner) < 1e-4
    assert max(abs(raised[at + 2] - factor * plain[at]) for at in inner) > 1e-3


def test_sound_that_cannot_be_measured_stays_as_it_is(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", *tone(-20, 2), "-c:a", "pcm_s16le")
    assert measured(path, tmp_path, 2, stream=7) is None


def test_source_that_cannot_be_read_is_no_silence(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", *tone(-20, 2), "-c:a", "pcm_s16le")

    def broken(number: int, offset: int, size: int) -> bytes:
        raise OSError(f"piece {number} is away: {size} bytes at {offset}")

    reader = Concatenation([(0, path.stat().st_size)], broken)
    with (
        bench(reader, tmp_path) as workbench,
        pytest.raises(TransientError, match="piece 0 is away"),
    ):
        measure(
            workbench,
            audio_stream(0),
            format_name="matroska",
            seek_origin=Fraction(0),
            seconds=Fraction(2),
        )


def test_stop_ends_it(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", *tone(-20, 2), "-c:a", "pcm_s16le")
    with bench(path, tmp_path) as workbench:
        workbench.cancellation.cancel(StopReason.INTERRUPTED)
        with pytest.raises(StoppedError):
            measure(
                workbench,
                audio_stream(0),
                format_name="matroska",
                seek_origin=Fraction(0),
                seconds=Fraction(2),
            )
