"""Files that are made to do harm end with a reason, soon, and nothing else is read or asked."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from clips import H264, MAX_SECONDS, FolderSink, bench, make, picture, plan_of, sound

from media_worker import ffmpeg
from media_worker import probe as probe_module
from media_worker.boxes import boxes
from media_worker.cancellation import Cancellation
from media_worker.encode import encode_sound, encode_video
from media_worker.faults import BadInputError
from media_worker.planning import FrameRange
from media_worker.probe import Workbench, probe
from media_worker.source_proxy import SourceProxy


class _Host(BaseHTTPRequestHandler):
    """A host inside the network that nobody may be lured to."""

    visits: list[str]

    def do_GET(self) -> None:
        self.visits.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base
        pass


@pytest.fixture
def host() -> Iterator[int]:
    """Return the port of a host that must not get any request by the end of the test."""
    _Host.visits = []
    with HTTPServer(("127.0.0.1", 0), _Host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
    assert _Host.visits == []


def refusal(path: Path, scratch: Path) -> str:
    """Return the code with which a file is refused, whenever that is."""
    with pytest.raises(BadInputError) as raised:
        transcode(path, scratch)
    message = raised.value.failure.message
    assert message[0].isupper()
    assert message.endswith(".")
    assert str(scratch) not in message
    assert "127.0.0.1" not in message
    return raised.value.failure.code


def transcode(path: Path, scratch: Path) -> int:
    """Encode the picture of a file; return its frames."""
    with bench(path, scratch) as workbench:
        plan = plan_of(path, workbench)
        frames = FrameRange(0, None)
        return encode_video(plan, frames, workbench, FolderSink(scratch / "out")).decoded


def secret(folder: Path) -> Path:
    """Return a video that is not the uploader's."""
    return make(folder / "secret.ts", *picture(2), *H264)


SCRIPTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n",
    "hls with a key": (
        '#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n'
        "#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n"
    ),
    "hls that joins": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nconcat:{target}|{target}\n",
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "dash": '<?xml version="1.0"?>\n<MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 33\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>',
    "xspf": '<?xml version="1.0"?>\n<playlist><location>{target}</location></playlist>',
    "smooth streaming": '<SmoothStreamingMedia MajorVersion="2" Url="{target}"/>',
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("scheme", ["file", "http", "name"])
def test_script_that_names_files_or_hosts_is_refused(
    script: str, scheme: str, tmp_path: Path, host: int
) -> None:
    targets = {
        "file": f"file://{secret(tmp_path)}",
        "http": f"http://127.0.0.1:{host}/a.ts",
        "name": "secret.ts",
    }
    path = tmp_path / "upload"
    path.write_text(SCRIPTS[script].format(target=targets[scheme]))
    assert refusal(path, tmp_path) == "not_a_video"


def test_scripts_would_do_harm_elsewhere(tmp_path: Path) -> None:
    """What the tests above hold back is real: ffmpeg as it comes follows such a script."""
    path = tmp_path / "upload"
    path.write_text(SCRIPTS["concat"].format(target=secret(tmp_path).name))
    argv = [ffmpeg.binary(), "-v", "error", "-i", path, "-f", "framecrc", "-"]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout.count(b"\n0,") == 50


def plain(folder: Path, name: str = "plain.mp4", seconds: float = 2) -> Path:
    return make(folder / name, *picture(seconds), *H264)


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def edited(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Return boxes with the payload of those at ``path`` changed, and all sizes with it."""
    result = b""
    for kind, payload in boxes(data):
        changed = payload
        if kind == path[0]:
            changed = change(payload) if len(path) == 1 else edited(payload, path[1:], change)
        result += box(kind, changed)
    return result


MEDIA = (b"moov", b"trak", b"mdia")
TABLE = (*MEDIA, b"minf", b"stbl")


def edit(path: Path, *changes: tuple[tuple[bytes, ...], Callable[[bytes], bytes]]) -> Path:
    """Change boxes of a file whose index stands at its end."""
    data = path.read_bytes()
    for place, change in changes:
        data = edited(data, place, change)
    path.write_bytes(data)
    return path


def alias(target: Path) -> bytes:
    """Return a data reference to another file, as QuickTime had them."""
    name = target.name.encode()
    where = str(target).encode()
    where += b"\0" * (len(where) % 2)
    record = bytes(10) + bytes([4]) + b"Disk".ljust(27, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">hh", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(where)) + where + struct.pack(">HH", 0xFFFF, 0)
    return struct.pack(">II", 0, 1) + box(b"alis", bytes(4) + record)


def test_data_that_is_in_another_file_is_not_read(tmp_path: Path, host: int) -> None:
    hidden = plain(tmp_path, "hidden.mp4")
    path = tmp_path / "upload.mov"
    path.write_bytes(hidden.read_bytes())
    edit(path, ((*MEDIA, b"minf", b"dinf", b"dref"), lambda _: alias(hidden)))
    argv = [ffmpeg.binary(), "-v", "error", "-enable_drefs", "1", "-use_absolute_path", "1"]
    argv += ["-i", path, "-f", "framecrc", "-"]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout.count(b"\n0,") == 50
    assert refusal(path, tmp_path) == "no_decodable_frames"


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_data_that_is_elsewhere_is_not_read(scheme: str, tmp_path: Path, host: int) -> None:
    target = f"http://127.0.0.1:{host}/a" if scheme == "http" else f"file://{secret(tmp_path)}"
    reference = struct.pack(">II", 0, 1) + box(b"url ", bytes(4) + target.encode() + b"\0")
    path = edit(plain(tmp_path), ((*MEDIA, b"minf", b"dinf", b"dref"), lambda _: reference))
    assert transcode(path, tmp_path) == 50  # the name is not looked at: the data are its own


def test_attachments_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "evil.ttf").write_bytes(b"attached" * 1000)
    path = make(
        *(tmp_path / "a.mkv", *picture(2), *H264, "-attach", str(tmp_path / "evil.ttf")),
        *("-metadata:s:t", "mimetype=font/ttf", "-metadata:s:t", "filename=../../evil.so"),
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with bench(path, scratch) as workbench:
        plan = plan_of(path, workbench)
        encode_video(plan, FrameRange(0, None), workbench, FolderSink(tmp_path / "out"))
    assert list(scratch.iterdir()) == []
    out = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert b"attached" not in out


def png(width: int, height: int, *, with_data: bool) -> bytes:
    """Return a black picture with one bit for each pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes((1 + (width + 7) // 8) * height) if with_data else b"", 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def pictures(
    folder: Path,
    *frames: bytes,
    claimed: tuple[int, int] = (192, 108),
    codec: bytes = b"MPNG",
) -> Path:
    """Write an AVI of pictures that claims a size of its own."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    count, (width, height) = len(frames), claimed
    main = struct.pack("<14I", 40_000, 0, 0, 0, count, 0, 1, 0, width, height, 0, 0, 0, 0)
    stream = b"vids" + codec + struct.pack("<10I8x", 0, 0, 0, 1, 25, 0, count, 0, 0, 0)
    form = struct.pack("<IiiHH4sIIIII", 40, width, height, 1, 24, codec, 0, 0, 0, 0, 0)
    strl = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form))
    hdrl = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + strl)
    movi = chunk(b"LIST", b"movi" + b"".join(chunk(b"00dc", frame) for frame in frames))
    path = folder / "pictures.avi"
    path.write_bytes(chunk(b"RIFF", b"AVI " + hdrl + movi))
    return path


def nested(folder: Path) -> Path:
    data = b""
    for _ in range(20_000):
        data = box(b"moov", data)
    path = folder / "nested.mp4"
    path.write_bytes(box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + data)
    return path


def many_streams(folder: Path) -> Path:
    """One track, three thousand times."""
    path = plain(folder)

    def multiplied(moov: bytes) -> bytes:
        return b"".join(
            box(kind, payload) * (3000 if kind == b"trak" else 1) for kind, payload in boxes(moov)
        )

    return edit(path, ((b"moov",), multiplied))


def times(media: bytes) -> bytes:
    """Claim a billion seconds, in the header of a movie, a track or its media."""
    return media[:16] + struct.pack(">I", 0xFFFF_FFF0) + media[20:]


def scaled(media: bytes) -> bytes:
    return media[:12] + struct.pack(">II", 1, 1_000_000_000) + media[20:]


def billion_samples(folder: Path) -> Path:
    """A table of a few bytes for a billion frames of one byte."""
    count = 1_000_000_000
    return edit(
        plain(folder),
        ((*TABLE, b"stts"), lambda _: struct.pack(">IIII", 0, 1, count, 1)),
        ((*TABLE, b"stsz"), lambda _: struct.pack(">III", 0, 1, count)),
        ((*TABLE, b"stsc"), lambda _: struct.pack(">IIIII", 0, 1, 1, count, 1)),
        ((*TABLE, b"ctts"), lambda _: struct.pack(">IIII", 0, 1, count, 0)),
    )


def unknown_sizes(folder: Path) -> Path:
    """Matroska whose elements are as long as they can say, each within the one before."""
    path = folder / "nested.mkv"
    head = bytes.fromhex("1a45dfa38b428288") + b"matroska"
    path.write_bytes(
        head
        + bytes.fromhex("1853806701ffffffffffffff")
        + bytes.fromhex("1654ae6b01fffffffffffffeae01fffffffffffffe") * 5000
    )
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], set[str]]] = {
    "claims 100,000 x 100,000": (
        lambda d: pictures(d, bytes(1000), claimed=(100_000, 100_000), codec=bytes(4)),
        {"no_decodable_frames"},  # no decoder takes it
    ),
    "claims 15,000 x 15,000": (
        lambda d: pictures(d, bytes(1000), claimed=(15_000, 15_000), codec=bytes(4)),
        {"too_many_pixels"},
    ),
    "is 100,000 x 100,000 inside": (
        lambda d: pictures(d, png(100_000, 100_000, with_data=False)),
        {"no_decodable_frames"},
    ),
    "is large once unpacked": (
        lambda d: pictures(d, *[png(16_000, 16_000, with_data=True)] * 3),
        {"too_many_pixels"},
    ),
    "becomes large on the way": (
        lambda d: pictures(
            d, png(192, 108, with_data=True), *[png(16_000, 16_000, with_data=True)] * 200
        ),
        {"damaged", "truncated"},
    ),
    "claims years": (
        lambda d: edit(plain(d), ((*MEDIA, b"mdhd"), scaled), ((b"moov", b"mvhd"), scaled)),
        {"too_long"},
    ),
    "claims a billion frames": (billion_samples, {"too_long", "unreadable", "no_decodable_frames"}),
    "three thousand streams": (many_streams, {"unreadable", "not_a_video"}),
    "boxes within boxes": (nested, {"unreadable", "no_video"}),
    "elements without end": (unknown_sizes, {"not_a_video", "no_video"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_ends_with_a_reason(name: str, tmp_path: Path) -> None:
    maker, codes = HOSTILE[name]
    assert refusal(maker(tmp_path), tmp_path) in codes


class Endless:
    """A source that goes on and on: a beginning, and then the same bytes again and again."""

    def __init__(self, head: bytes, again: bytes) -> None:
        self._head = head
        self._again = again * (4 * 1024**2 // len(again))

    def size(self) -> int:
        return 10**12

    def read(self, start: int, end: int) -> bytes:
        head = self._head[start:end]
        at = max(0, start - len(self._head)) % (len(self._again) // 4)
        return head + self._again[at : at + end - start - len(head)]


def endless_matroska(folder: Path) -> Endless:
    data = make(folder / "a.mkv", *picture(1), *H264, "-live", "1").read_bytes()
    return Endless(data, bytes(1024))


def endless_transport(folder: Path) -> Endless:
    """Sound alone goes on, in packets of a stream that no table names."""
    data = make(folder / "a.ts", *picture(1), *H264).read_bytes()
    return Endless(data, bytes([0x47, 0x1F, 0xFF, 0x10]) + bytes(184))


def endless_sound(folder: Path) -> Endless:
    """A header that announces a picture, and packets of sound without end."""
    data = make(
        folder / "a.flv", *picture(1), *sound(1), "-c:v", "flv1", "-c:a", "mp3"
    ).read_bytes()
    tag = bytes([8, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x2F, 0, 0, 0, 0, 0, 0, 15])
    return Endless(data[:13], tag)


@pytest.mark.parametrize("maker", [endless_matroska, endless_transport, endless_sound])
def test_stream_without_end_ends(
    maker: Callable[[Path], Endless], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "_MOST_SERVED", 64 * 1024**2)
    reader = maker(tmp_path)
    with SourceProxy(reader, reader.size()) as source:
        workbench = Workbench(
            source=source,
            cancellation=Cancellation(),
            scratch=tmp_path,
            max_pixels=1920 * 1080,
            max_duration_seconds=MAX_SECONDS,
            threads=1,
        )
        with pytest.raises(BadInputError) as raised:
            probe(workbench, reader.read(0, 16))
        assert source.bytes_read < 80 * 1024**2
    assert raised.value.failure.code in {"unreadable", "no_decodable_frames", "not_a_video"}


@pytest.mark.parametrize("part", ["video", "sound"])
def test_encoder_that_crashes_ends_the_video(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of what it writes, which then is cut off."""

    def crash(*_: object, pipes: Sequence[int], **__: object) -> list[str]:
        half = f"import os; os.write({pipes[0]}, bytes([0, 0, 1, 0]) + b'moof'); os.abort()"
        return [sys.executable, "-I", "-c", half]

    path = make(tmp_path / "a.mp4", *picture(2), *sound(2), *H264)
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        monkeypatch.setattr(ffmpeg, part, crash)
        sink, whole = FolderSink(tmp_path / "out"), FrameRange(0, None)
        encode: dict[str, Callable[[], object]] = {
            "video": lambda: encode_video(plan, whole, workbench, sink),
            "sound": lambda: encode_sound(plan, workbench, sink, loudness=[""], frames=50),
        }
        with pytest.raises(BadInputError) as raised:
            encode[part]()
    assert raised.value.failure.code == "damaged"


def test_video_that_does_not_tell_its_length_is_still_limited(tmp_path: Path) -> None:
    argv = [*picture(MAX_SECONDS + 5, "64x36", "5"), *H264, "-f", "flv", "pipe:1"]
    done = subprocess.run(
        [ffmpeg.binary(), "-nostdin", "-v", "error", *argv], capture_output=True, check=True
    )
    path = tmp_path / "a.flv"
    path.write_bytes(done.stdout)
    assert refusal(path, tmp_path) == "too_long"


def test_subtitles_of_any_size_do_no_harm(tmp_path: Path) -> None:
    words = ["never ends " * 300_000, "short"]
    (tmp_path / "a.srt").write_text(
        "\n\n".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{words[n % 2]}" for n in range(8))
    )
    path = make(
        *(tmp_path / "a.mkv", *picture(9), *sound(9), "-i", str(tmp_path / "a.srt")),
        *("-map", "0", "-map", "1", "-map", "2", *H264, "-c:s", "copy"),
    )
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        sink = FolderSink(tmp_path / "out")
        spoken = encode_sound(plan, workbench, sink, loudness=[""], frames=225)
    assert spoken.samples[0] > 0
    (text,) = spoken.texts
    assert text is not None
    assert text.count("short") == text.count("-->") == 4


def test_rendition_cannot_grow_beyond_its_rate(tmp_path: Path) -> None:
    """Noise does not compress; the peak of the ladder holds all the same, over five seconds."""
    path = make(
        *(tmp_path / "noise.mp4", "-f", "lavfi", "-i", "nullsrc=s=640x360:r=25:d=8"),
        *("-vf", "noise=alls=100:allf=t+u", "-c:v", "mpeg4", "-q:v", "2"),
    )
    sink = FolderSink(tmp_path / "out")
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        encode_video(plan, FrameRange(0, None), workbench, sink)
    sizes = [0, *(len(segment.data) * 8 for segment in sink.segments["0"])]
    assert all(after > 0 for _, after in pairwise(sizes))
    assert max(sizes) <= 1.5 * plan.rungs[0].bandwidth * 4
