"""What people upload: every kind of file becomes an exact ladder, or a clear reason why not."""

from __future__ import annotations

import itertools
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import pytest
from clips import (
    H264,
    MAX_PIXELS,
    MAX_SECONDS,
    FolderSink,
    bench,
    decoded,
    make,
    picture,
    plan_of,
    sound,
)

from media_worker import ffmpeg
from media_worker.encode import encode_audio, encode_video, make_poster
from media_worker.faults import BadInputError
from media_worker.planning import check_frames, check_source, make_plan
from media_worker.probe import probe
from media_worker.segments import AUDIO_RATE

VFR = "select='not(between(n\\,20\\,44))',settb=1/1000"
ODD = "scale=191:107,setsar=1,format=yuv444p"
AAC = ("-c:a", "aac")


def plain(folder: Path, name: str = "plain.mp4", *more: str) -> Path:
    return make(folder / name, *picture(), *sound(), *H264, *AAC, *more)


def rotated(folder: Path) -> Path:
    flat = plain(folder, "flat.mp4")
    return make(folder / "rotated.mp4", "-display_rotation", "90", "-i", str(flat), "-c", "copy")


def changing(folder: Path) -> Path:
    first = make(folder / "1.ts", *picture(2), *H264)
    second = make(folder / "2.ts", *picture(1, "384x216"), *H264, "-output_ts_offset", "2")
    path = folder / "changing.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def turned(folder: Path, *matrix: int) -> Path:
    """Write a display matrix of nine fixed-point numbers into the header of the track."""
    path = plain(folder, "turned.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # of version 0, behind times, track, duration, layer and volume
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def garbled(path: Path, stream: str, share: int) -> Path:
    """Overwrite ``share`` of ten packets of a stream, with the file's structure left whole."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [
            (packet.pos, packet.size)
            for packet in container.demux(**{stream: 0})
            if packet.pos is not None and packet.size
        ]
    for number, (start, size) in enumerate(places):
        if number and number % 10 < share:  # the first one stays, so that there is a picture
            data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    return path


EIGHTH = round(0x10000 * 0.5**0.5)

# name: (maker, displayed size, frame rate, frames, whether there is sound)
INPUTS: dict[str, tuple[Callable[[Path], Path], tuple[int, int], str, int, bool]] = {
    "mp4, index at the end": (plain, (192, 108), "25", 75, True),
    "mp4, index at the start": (
        lambda d: plain(d, "fast.mp4", "-movflags", "faststart"),
        (192, 108),
        "25",
        75,
        True,
    ),
    "rotated": (rotated, (108, 192), "25", 75, True),
    "turned by nothing that is an angle": (
        lambda d: turned(d, *[0] * 9),
        (192, 108),
        "25",
        75,
        True,
    ),
    "turned by an eighth": (
        lambda d: turned(d, EIGHTH, EIGHTH, 0, -EIGHTH, EIGHTH, 0, 0, 0, 1 << 30),
        (192, 108),
        "25",
        75,
        True,
    ),
    "two lines": (
        lambda d: make(d / "flat.mkv", *picture(), "-vf", "scale=4096:2,setsar=1", *H264),
        (4096, 2),
        "25",
        75,
        False,
    ),
    "sound that is damaged": (
        lambda d: garbled(plain(d), "audio", 9),
        (192, 108),
        "25",
        75,
        True,
    ),
    "sound that is all damaged": (
        lambda d: garbled(plain(d), "audio", 10),
        (192, 108),
        "25",
        75,
        True,
    ),
    "29.97 frames a second": (
        lambda d: make(d / "ntsc.mp4", *picture(rate="30000/1001"), *H264),
        (192, 108),
        "30000/1001",
        90,
        False,
    ),
    "variable frame rate": (
        lambda d: make(d / "vfr.mkv", *picture(), "-vf", VFR, "-fps_mode", "vfr", *H264),
        (192, 108),
        "25",
        75,
        False,
    ),
    "odd size": (
        lambda d: make(d / "odd.mkv", *picture(), "-vf", ODD, "-c:v", "ffv1"),
        (191, 107),
        "25",
        75,
        False,
    ),
    "pixels that are not square": (
        lambda d: make(d / "sar.mp4", *picture(size="144x108"), "-vf", "setsar=4/3", *H264),
        (192, 108),
        "25",
        75,
        False,
    ),
    "surround sound": (
        lambda d: make(
            d / "surround.mp4",
            *picture(),
            *("-f", "lavfi", "-i", "sine=d=3,aformat=channel_layouts=5.1"),
            *(*H264, *AAC),
        ),
        (192, 108),
        "25",
        75,
        True,
    ),
    "sound that starts late and ends early": (
        lambda d: make(d / "late.mp4", *picture(), "-itsoffset", "1", *sound(1), *H264, *AAC),
        (192, 108),
        "25",
        75,
        True,
    ),
    "mov": (
        lambda d: make(d / "a.mov", *picture(), *sound(), "-c:v", "mjpeg", "-c:a", "pcm_s16le"),
        (192, 108),
        "25",
        75,
        True,
    ),
    "webm": (
        lambda d: make(
            *(d / "a.webm", *picture(), *sound(), "-c:v", "libvpx", "-deadline", "realtime"),
            *("-c:a", "libopus"),
        ),
        (192, 108),
        "25",
        75,
        True,
    ),
    "avi": (
        lambda d: make(d / "a.avi", *picture(), *sound(), "-c:v", "mpeg4", "-c:a", "libmp3lame"),
        (192, 108),
        "25",
        76,  # the index of the file leaves the slot of the second frame empty
        True,
    ),
    "flv": (
        lambda d: make(d / "a.flv", *picture(), *sound(), *H264, *AAC),
        (192, 108),
        "25",
        75,
        True,
    ),
    "program stream": (
        lambda d: make(d / "a.mpg", *picture(), *sound(), "-c:v", "mpeg2video", "-c:a", "mp2"),
        (192, 108),
        "25",
        75,
        True,
    ),
    "transport stream": (
        lambda d: make(d / "a.ts", *picture(), *sound(), *H264, *AAC),
        (192, 108),
        "25",
        75,
        True,
    ),
    "interlaced": (
        lambda d: make(
            *(d / "i.ts", *picture(rate="50"), "-vf", "interlace", "-c:v", "mpeg2video"),
            *("-flags", "+ildct+ilme"),
        ),
        (192, 108),
        "25",
        75,
        False,
    ),
    "size that changes on the way": (
        changing,
        (192, 108),
        "25",
        75,
        False,
    ),
    "shorter than a key frame interval": (
        lambda d: make(d / "short.mp4", *picture(0.48), *sound(0.48), *H264, *AAC),
        (192, 108),
        "25",
        12,
        True,
    ),
    "a single frame": (
        lambda d: make(d / "one.mp4", *picture(0.04), *H264),
        (192, 108),
        "25",
        1,
        False,
    ),
    "longer than a segment": (
        lambda d: make(d / "long.mp4", *picture(9), *sound(9), *H264, *AAC),
        (192, 108),
        "25",
        225,
        True,
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input_becomes_an_exact_ladder(name: str, tmp_path: Path) -> None:
    maker, size, rate, frames, audible = INPUTS[name]
    path = maker(tmp_path)
    sink = FolderSink(tmp_path)
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        assert plan.source.displayed_size == size
        assert str(plan.frame_rate) == rate
        assert plan.frames is not None
        assert abs(plan.frames - frames) <= 1
        encoded = encode_video(plan, plan.ranges[0], workbench, sink)
        assert encoded.decoded == frames
        assert encoded.encoded == (frames,)
        check_frames(plan, encoded.decoded)
        assert (plan.source.audio_index is not None) is audible
        samples = encode_audio(plan, workbench, sink) if audible else 0
        poster = make_poster(plan, workbench)
    times = decoded(sink.playlist(0))
    assert len(times) == frames
    assert len({after - before for before, after in itertools.pairwise(times)}) <= 1
    if audible:
        assert abs(samples / AUDIO_RATE - frames / plan.frame_rate) < 0.05
        assert decoded(sink.playlist(None), "-ac", "2")
    assert poster.startswith(b"\xff\xd8")


@pytest.mark.parametrize("container", ["avi", "mkv", "mp4"])
def test_metadata_may_be_in_any_encoding(container: str, tmp_path: Path) -> None:
    path = make(tmp_path / f"a.{container}", *picture(1), *H264, "-metadata", "title=Cafes")
    data = path.read_bytes()
    assert b"Cafes" in data
    path.write_bytes(data.replace(b"Cafes", "Cafés".encode("latin-1")))
    with bench(path, tmp_path) as workbench:
        assert plan_of(path, workbench).source.displayed_size == (192, 108)


def test_ladder_is_never_above_the_source(tmp_path: Path) -> None:
    path = make(tmp_path / "wide.mp4", *picture(2.4, "1000x500"), *H264)
    sink = FolderSink(tmp_path)
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        encoded = encode_video(plan, plan.ranges[0], workbench, sink)
    assert [(rung.width, rung.height) for rung in plan.rungs] == [(960, 480), (720, 360)]
    assert encoded.encoded == (60, 60)
    assert len(decoded(sink.playlist(0))) == len(decoded(sink.playlist(1))) == 60


MEASURE = """
import resource, subprocess, sys
pipes = [int(word[5:]) for word in sys.argv if word.startswith("pipe:")]
subprocess.run(sys.argv[1:], check=True, pass_fds=pipes)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def test_pause_in_a_recording_takes_time_and_no_memory(tmp_path: Path) -> None:
    """What fills the 90 seconds would be 800 MB if each frame was a picture of its own."""
    pause = "setpts='PTS+if(gte(N,25),90/TB,0)'"
    path = make(
        *(tmp_path / "pause.mkv", *picture(2, "640x360"), "-vf", pause, "-fps_mode", "vfr"),
        *("-enc_time_base", "1/1000", *H264, "-pix_fmt", "yuv444p"),
    )
    with bench(path, tmp_path, max_seconds=120) as workbench, Path(os.devnull).open("wb") as null:
        plan = make_plan(probe(workbench, path.read_bytes()[:16]))
        argv = ffmpeg.video(
            plan,
            plan.ranges[0],
            workbench.source.url,
            pipes=[null.fileno()],
            pre_roll=Fraction(1),
            max_pixels=MAX_PIXELS,
            threads=1,
        )
        # A child counts the memory of the process that started it: so a small one does.
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, *argv],
            capture_output=True,
            text=True,
            check=True,
            pass_fds=[null.fileno()],
        )
    counts = re.findall(r"frame=\s*(\d+)", measured.stdout)
    assert int(counts[-1]) == plan.frames == 92 * 25
    peak = int(measured.stderr.splitlines()[-1])
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak * unit < 400 * 1024**2


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def text(folder: Path, content: str) -> Path:
    path = folder / "text.mp4"
    path.write_text(content)
    return path


def covered_sound(folder: Path) -> Path:
    cover = make(folder / "cover.png", *picture(0.04), "-frames:v", "1")
    return make(
        folder / "cover.m4a",
        *(*sound(), "-i", str(cover), "-map", "0", "-map", "1", *AAC, "-c:v", "copy"),
        *("-disposition:v", "attached_pic", "-f", "mp4"),
    )


def lost_on_the_way(folder: Path) -> Path:
    """One bit of the index is wrong: from the 26th picture on nothing is found, the sound is."""
    path = plain(folder, "bit.mp4")
    data = bytearray(path.read_bytes())
    sizes = data.index(b"stsz") + 16  # of the first track: version and flags, size, count
    data[sizes + 25 * 4] ^= 0x80
    path.write_bytes(data)
    return path


BAD_INPUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "text": (lambda d: text(d, "just words\n" * 50), "not_a_video"),
    "picture": (lambda d: make(d / "a.png", *picture(0.04), "-frames:v", "1"), "not_a_video"),
    "index cut off": (lambda d: cut(plain(d), 0.6), "unreadable"),
    "content cut off": (
        lambda d: cut(plain(d, "fast.mp4", "-movflags", "faststart"), 0.6),
        "truncated",
    ),
    "matroska cut off": (
        lambda d: cut(make(d / "a.mkv", *picture(6), *H264), 0.5),
        "truncated",
    ),
    "picture lost on the way": (lost_on_the_way, "truncated"),
    "sound only": (lambda d: make(d / "a.mp4", *sound(), *AAC), "no_video"),
    "sound with a cover": (covered_sound, "no_video"),
    "too long": (
        lambda d: make(d / "a.mp4", *picture(MAX_SECONDS + 5, "64x36", "5"), *H264),
        "too_long",
    ),
    "too large as displayed": (
        lambda d: make(d / "a.mp4", *picture(0.08, "960x540"), "-vf", "setsar=7", *H264),
        "too_many_pixels",
    ),
    "too large": (
        lambda d: make(d / "a.mp4", *picture(0.08, "2048x1152"), *H264),
        "too_many_pixels",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_gets_a_reason(name: str, tmp_path: Path) -> None:
    maker, code = BAD_INPUTS[name]
    path = maker(tmp_path)
    with bench(path, tmp_path) as workbench, pytest.raises(BadInputError) as raised:
        plan_of(path, workbench)
    assert raised.value.failure.code == code
    message = raised.value.failure.message
    assert message[0].isupper()
    assert message.endswith(".")
    assert str(tmp_path) not in message
    assert "127.0.0.1" not in message


@pytest.mark.parametrize("seconds", [3, 700], ids=["a little", "by far"])
def test_sound_may_go_on_after_the_picture(seconds: float, tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *picture(1), *sound(seconds), *H264, *AAC, "-b:a", "32k")
    with bench(path, tmp_path) as workbench:
        source = probe(workbench, path.read_bytes()[:16])
    check_source(source, max_pixels=MAX_PIXELS, max_duration_seconds=1000)
    assert make_plan(source).frames == 25


def test_pictures_that_are_mostly_damaged_are_not_ready(tmp_path: Path) -> None:
    path = garbled(make(tmp_path / "a.mp4", *picture(), "-c:v", "mjpeg"), "video", 9)
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        with pytest.raises(BadInputError) as raised:
            encode_video(plan, plan.ranges[0], workbench, FolderSink(tmp_path))
    assert raised.value.failure.code == "damaged"


def test_cut_that_only_decoding_shows_is_not_ready(tmp_path: Path) -> None:
    """FLV without an index cannot be searched for its tail beforehand."""
    codecs = ("-c:v", "flv1", "-c:a", "libmp3lame")
    path = cut(make(tmp_path / "a.flv", *picture(), *sound(), *codecs), 0.5)
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        encoded = encode_video(plan, plan.ranges[0], workbench, FolderSink(tmp_path))
    with pytest.raises(BadInputError) as raised:
        check_frames(plan, encoded.decoded)
    assert raised.value.failure.code == "truncated"


def test_noise_where_pictures_should_be_is_not_ready(tmp_path: Path) -> None:
    path = plain(tmp_path, "noise.mp4", "-movflags", "faststart")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    with bench(path, tmp_path) as workbench, pytest.raises(BadInputError) as raised:
        plan_of(path, workbench)
    assert raised.value.failure.code == "no_decodable_frames"


class _Trap(BaseHTTPRequestHandler):
    """A host inside the network that nobody may be lured to."""

    visited = threading.Event()

    def do_GET(self) -> None:
        self.visited.set()
        self.send_error(404)


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {target}\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
    ],
    ids=["hls", "concat", "dash"],
)
@pytest.mark.parametrize("scheme", ["file", "http"])
def test_script_that_names_files_or_hosts_is_refused(
    script: str, scheme: str, tmp_path: Path
) -> None:
    secret = plain(tmp_path, "secret.ts", "-f", "mpegts")
    with HTTPServer(("127.0.0.1", 0), _Trap) as trap:
        thread = threading.Thread(target=trap.serve_forever, args=(0.02,))
        thread.start()
        try:
            target = (
                f"http://127.0.0.1:{trap.server_port}/a.ts"
                if scheme == "http"
                else f"file://{secret}"
            )
            path = text(tmp_path, script.format(target=target))
            with bench(path, tmp_path) as workbench, pytest.raises(BadInputError) as raised:
                plan_of(path, workbench)
        finally:
            trap.shutdown()
            thread.join()
    assert raised.value.failure.code == "not_a_video"
    assert not _Trap.visited.is_set()
