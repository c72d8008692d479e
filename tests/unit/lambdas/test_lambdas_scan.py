"""What the built-in scanner makes of files, also of those that were made to deceive it.

That it lets pass whatever a worker takes is part of the worker's own tests (``clips.plan_of``).
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content_scan import reader as limits
from content_scan.findings import FAMILIES, Family, RefusalError
from content_scan.iso_media import MAX_BOXES
from content_scan.reader import HEAD_BYTES, Reader, TooMuchError
from content_scan.scanner import GoneError, judge
from content_scan.sniffer import Sniffed, sniff
from media_platform.contract.ids import new_id
from media_platform.contract.media_types import EXTENSIONS
from media_platform.contract.scanning import Outcome, ScanRequest

MP4, MKV, AVI, TS, MPG = (
    *("video/mp4", "video/x-matroska", "video/x-msvideo"),
    *("video/mp2t", "video/mpeg"),
)
FTYP = b"\0\0\0\x10ftypisom\0\0\0\0"


class File:
    """A file of any size, of which some places hold something; it notes what was read."""

    def __init__(self, *parts: tuple[int, bytes], size: int) -> None:
        self.parts = parts
        self.size = size
        self.ranges: list[tuple[int, int]] = []

    def fetch(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= self.size
        self.ranges.append((start, end))
        content = bytearray(end - start)
        for place, data in self.parts:
            for offset in range(max(start, place), min(end, place + len(data))):
                content[offset - start] = data[offset - place]
        return bytes(content)


def whole(data: bytes) -> File:
    return File((0, data), size=len(data))


def look(file: File | bytes, content_type: str = MP4) -> Sniffed:
    file = whole(file) if isinstance(file, bytes) else file
    return sniff(Reader(file.fetch, file.size), content_type)


def refusal(file: File | bytes, content_type: str = MP4) -> str:
    with pytest.raises(RefusalError) as raised:
        look(file, content_type)
    message = raised.value.failure.message
    assert message[0].isupper()
    assert message.endswith(".")
    return raised.value.failure.code


def box(kind: bytes, *content: bytes, size: int | None = None) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body) if size is None else size, kind) + body


def track(handler: bytes, *formats: bytes) -> bytes:
    entries = b"".join(box(kind, bytes(8)) for kind in formats)
    table = box(b"stsd", bytes(4), struct.pack(">I", len(formats)), entries)
    media = box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(12)))
    if formats:
        media = box(b"mdia", media[8:], box(b"minf", box(b"stbl", table)))
    return box(b"trak", box(b"tkhd", bytes(84)), media)


def movie(*tracks: bytes) -> bytes:
    return box(b"moov", box(b"mvhd", bytes(100)), *tracks)


def element(identifier: bytes, *content: bytes, unknown: bool = False) -> bytes:
    body = b"".join(content)
    size = b"\x01" + (b"\xff" * 7 if unknown else len(body).to_bytes(7))
    return identifier + size + body


EBML = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"webm"))


def matroska_track(kind: int, codec: bytes, *more: bytes) -> bytes:
    return element(b"\xae", element(b"\x83", bytes([kind])), element(b"\x86", codec), *more)


def matroska(*tracks: bytes, before: bytes = b"", unknown: bool = False) -> bytes:
    content = (before, element(b"\x16\x54\xae\x6b", *tracks), element(b"\x1f\x43\xb6\x75"))
    return EBML + element(b"\x18\x53\x80\x67", *content, unknown=unknown)


ENCRYPTED = element(
    b"\x6d\x80", element(b"\x62\x40", element(b"\x50\x33", b"\x01"), element(b"\x50\x35"))
)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def avi(*kinds: tuple[bytes, bytes]) -> bytes:
    streams = (
        chunk(b"LIST", b"strl" + chunk(b"strh", kind + codec + bytes(48))) for kind, codec in kinds
    )
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(56)) + b"".join(streams))
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", b"movi" + bytes(100)))


def ogg_page(first: int, content: bytes) -> bytes:
    return b"OggS\0" + bytes([first]) + bytes(20) + bytes([1, len(content)]) + content


def transport(size: int = 188, packets: int = 8, lead: bytes = b"") -> bytes:
    return lead + b"".join(b"\x47" + bytes(size - 1) for _ in range(packets))


ACCEPTED: dict[str, tuple[bytes, str, tuple[str, ...]]] = {
    "index at the start": (FTYP + movie(track(b"vide", b"avc1")), MP4, ("avc1",)),
    "index at the end": (
        FTYP
        + box(b"mdat", bytes(90_000))
        + movie(track(b"soun", b"mp4a"), track(b"vide", b"hvc1")),
        MP4,
        ("hvc1",),
    ),
    "content of more than 4 GiB announced by 64 bits": (
        FTYP
        + struct.pack(">I4sQ", 1, b"mdat", 16 + 10)
        + bytes(10)
        + movie(track(b"vide", b"av01")),
        MP4,
        ("av01",),
    ),
    "QuickTime without a brand": (movie(track(b"vide", b"apch")), "video/quicktime", ("apch",)),
    "an index in a box that was freed": (
        FTYP + box(b"free", box(b"mvhd", bytes(100)), track(b"vide", b"avc1")),
        MP4,
        ("avc1",),
    ),
    "a track without a handler": (FTYP + movie(box(b"trak")), MP4, ()),
    "a track of a kind that is not known": (FTYP + movie(track(b"new ", b"avc9")), MP4, ()),
    "sound whose index is cut off": (
        FTYP + box(b"moov", track(b"soun", b"mp4a"), size=100_000),
        MP4,
        (),
    ),
    "one track that is protected, one that is not": (
        FTYP + movie(track(b"vide", b"encv"), track(b"vide", b"avc1")),
        MP4,
        ("avc1",),
    ),
    "matroska": (
        matroska(matroska_track(2, b"A_OPUS"), matroska_track(1, b"V_VP9")),
        MKV,
        ("V_VP9",),
    ),
    "a stream of unknown size": (
        matroska(matroska_track(1, b"V_AV1"), unknown=True),
        MKV,
        ("V_AV1",),
    ),
    "webm declared as matroska's kin": (
        matroska(matroska_track(1, b"V_VP8"), before=element(b"\xec", bytes(100))),
        "video/webm",
        ("V_VP8",),
    ),
    "a cluster ahead of the tracks": (
        EBML + element(b"\x18\x53\x80\x67", element(b"\x1f\x43\xb6\x75")),
        MKV,
        (),
    ),
    "avi": (avi((b"auds", b"\0\0\0\0"), (b"vids", b"XVID")), AVI, ("XVID",)),
    "a camcorder's avi": (avi((b"iavs", b"dvsd")), AVI, ("dvsd",)),
    "ogg": (ogg_page(2, b"\x01vorbis") + ogg_page(2, b"\x80theora"), "video/ogg", ("theora",)),
    "ogg with an unknown codec": (ogg_page(2, b"newcodec"), "video/ogg", ()),
    "flash": (b"FLV\x01\x05\0\0\0\x09\0\0\0\0", "video/x-flv", ()),
    "transport stream": (transport(), TS, ()),
    "a camcorder's transport stream": (bytes(4) + transport(192), TS, ()),
    "a broadcast with error correction": (transport(204), TS, ()),
    "a broadcast that starts within a packet": (transport(lead=b"\xff" * 100), TS, ()),
    "a broadcast behind rubbish": (transport(lead=bytes(range(1, 255)) * 1000), TS, ()),
    "a broadcast that starts like a picture": (transport(lead=b"BM" + b"\xff" * 90), TS, ()),
    "program stream": (b"\0\0\x01\xba" + bytes(100), MPG, ()),
    "a program stream without packs": (b"\xff" * 10 + b"\0\0\x01\xe0" + bytes(100), MPG, ()),
    "a transport stream by the name of the other": (transport(), MPG, ()),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_videos_pass_and_tell_their_codec(name: str) -> None:
    data, content_type, codecs = ACCEPTED[name]
    sniffed = look(data, content_type)
    assert sniffed.content.codecs == codecs
    assert sniffed.family is FAMILIES[content_type]
    assert sniffed.whole


def test_every_type_that_may_be_declared_has_its_family() -> None:
    assert FAMILIES.keys() == EXTENSIONS.keys()


@pytest.mark.parametrize(
    ("name", "content_type"), list(itertools.product(ACCEPTED, sorted(EXTENSIONS)))
)
def test_a_container_of_another_family_than_declared_is_refused(
    name: str, content_type: str
) -> None:
    data, own, _ = ACCEPTED[name]
    if FAMILIES[content_type] is FAMILIES[own]:
        look(data, content_type)
        look(data, f" {content_type.upper()}; codecs=x")
    else:
        assert refusal(data, content_type) == "wrong_type"


NO_VIDEOS: dict[str, bytes] = {
    "html": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "html behind a mark and blanks": b"\xef\xbb\xbf \n <HTML><body>",
    "svg": b'<?xml version="1.0"?><svg onload="alert(1)"/>',
    "zip": b"PK\x03\x04" + bytes(100),
    "zip that holds a transport stream": b"PK\x03\x04" + bytes(60) + transport(),
    "pdf": b"%PDF-1.7\n" + bytes(100),
    "program for Windows": b"MZ\x90\0" + bytes(100),
    "program for Linux": b"\x7fELF\x02\x01" + bytes(100),
    "script": b"#!/bin/sh\nrm -rf /\n",
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "concatenation": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
    "gif": b"GIF89a" + bytes(100),
    "bitmap": b"BM" + bytes(100),
    "webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "heic": box(b"ftyp", b"heic", bytes(4)) + box(b"meta", bytes(50)) + box(b"mdat", bytes(9)),
    "avif": box(b"ftyp", b"avif", bytes(4)) + box(b"meta", bytes(50)),
    "wave": b"RIFF\0\0\0\0WAVEfmt ",
    "flac": b"fLaC" + bytes(100),
    "mp3": b"ID3\x04" + bytes(100) + b"\xff\xfb\x90\x64" + bytes(300),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "text": "Schöne Grüße\n".encode() * 50,
    "zeros": bytes(200_000),
    "noise": random.Random(7).randbytes(200_000),  # noqa: S311 - any bytes do
    "one byte": b"\x47",
    "a sync byte here and there": b"\x47\x01\x02" * 1,
    "flash of a version to come": b"FLV\x09" + bytes(100),
}


@pytest.mark.parametrize("name", NO_VIDEOS)
@pytest.mark.parametrize("content_type", [MP4, TS])
def test_what_is_no_video_is_refused(name: str, content_type: str) -> None:
    if name in {"heic", "avif"} and content_type == TS:
        assert refusal(NO_VIDEOS[name], content_type) == "wrong_type"
    else:
        assert refusal(NO_VIDEOS[name], content_type) == "not_a_video"


@pytest.mark.parametrize(
    ("data", "content_type", "code"),
    [
        pytest.param(FTYP + movie(track(b"soun", b"mp4a")), MP4, "no_video", id="sound in mp4"),
        pytest.param(matroska(matroska_track(2, b"A_OPUS")), MKV, "no_video", id="in matroska"),
        pytest.param(avi((b"auds", b"\0\0\0\0")), AVI, "no_video", id="in avi"),
        pytest.param(
            ogg_page(2, b"OpusHead") + ogg_page(0, b"OpusTags"),
            "video/ogg",
            "no_video",
            id="in ogg",
        ),
        pytest.param(
            FTYP + movie(track(b"vide", b"encv"), track(b"soun", b"enca")),
            *(MP4, "unsupported_codec"),
            id="protected mp4",
        ),
        pytest.param(
            matroska(matroska_track(1, b"V_VP9", ENCRYPTED)),
            *(MKV, "unsupported_codec"),
            id="protected matroska",
        ),
        pytest.param(FTYP + box(b"mdat", bytes(99)), MP4, "unreadable", id="no index"),
        pytest.param(FTYP + box(b"mdat", size=10**6), MP4, "unreadable", id="cut off"),
        pytest.param(FTYP, MP4, "unreadable", id="nothing but a brand"),
    ],
)
def test_what_no_worker_can_make_anything_of_is_refused(
    data: bytes, content_type: str, code: str
) -> None:
    assert refusal(data, content_type) == code


def nested(depth: int) -> bytes:
    content = b""
    for kind in itertools.islice(itertools.cycle((b"stbl", b"minf", b"mdia", b"trak")), depth):
        content = box(kind, content)
    return FTYP + box(b"moov", content)


HOSTILE: dict[str, Callable[[], File]] = {
    "a box of no size": lambda: whole(FTYP + box(b"moov", size=0) + bytes(9000)),
    "a box smaller than its header": lambda: whole(FTYP + box(b"mdat", size=4) + bytes(9000)),
    "a box of 2^63 bytes": lambda: whole(
        FTYP + struct.pack(">I4sQ", 1, b"mdat", 1 << 63) + movie(track(b"vide", b"avc1"))
    ),
    "a large box smaller than its header": lambda: whole(
        FTYP + struct.pack(">I4sQ", 1, b"mdat", 3) + bytes(9000)
    ),
    "an index of 2^63 bytes": lambda: whole(
        FTYP + struct.pack(">I4sQ", 1, b"moov", 1 << 63) + track(b"soun", b"mp4a")
    ),
    "boxes that nest": lambda: whole(nested(5000)),
    "boxes without end": lambda: whole(FTYP + box(b"free") * 100_000),
    "tracks without end": lambda: whole(FTYP + box(b"moov", box(b"trak") * 100_000)),
    "formats without end": lambda: whole(
        FTYP + movie(track(b"vide", *[b"encv"] * 4000), track(b"soun", b"mp4a"))
    ),
    "boxes far apart": lambda: File(
        (0, FTYP),
        *(
            (16 + number * 10**9, struct.pack(">I4s", 10**9, b"free"))
            for number in range(MAX_BOXES + 10)
        ),
        size=10**12,
    ),
    "an element of no size": lambda: whole(EBML + element(b"\x18\x53\x80\x67") * 1000),
    "elements without end": lambda: whole(
        EBML + element(b"\x18\x53\x80\x67", element(b"\xec") * 50_000)
    ),
    "elements that nest": lambda: whole(
        EBML + b"\x18\x53\x80\x67\xff" * 1000 + element(b"\x16\x54\xae\x6b")
    ),
    "an element without an id": lambda: whole(EBML + bytes(1000)),
    "an element that ends in its header": lambda: whole(EBML + b"\x18\x53"),
    "chunks without end": lambda: whole(chunk(b"RIFF", b"AVI " + chunk(b"JUNK", b"") * 50_000)),
    "a chunk of 2^32 bytes": lambda: whole(b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrl"),
    "streams without end": lambda: whole(ogg_page(2, b"\x01vorbis") * 5000),
    "bytes of synchronization alone": lambda: whole(b"\xff" + b"\x47" * 10**6),
    "almost a transport stream": lambda: whole(
        b"\xfe" + (b"\x47" + bytes(187)) * 4 + b"\x47\x46" * 500_000
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_takes_much_to_judge(name: str) -> None:
    file = HOSTILE[name]()
    for content_type in (MP4, MKV, AVI, "video/ogg", TS):
        file.ranges.clear()
        try:
            look(file, content_type)
        except RefusalError as error:
            assert error.failure.code  # noqa: PT017 - either may come of it, nothing else
        assert len(file.ranges) <= limits.MAX_REQUESTS
        assert sum(end - start for start, end in file.ranges) <= limits.MAX_BYTES


def test_what_takes_too_much_is_left_to_the_worker() -> None:
    sniffed = look(HOSTILE["boxes far apart"]())
    assert (sniffed.family, sniffed.whole) == (Family.ISO, False)


@given(
    st.sampled_from([ACCEPTED[name][0] for name in ACCEPTED]),
    st.integers(0, 200),
    st.binary(max_size=12),
    st.sampled_from(sorted(EXTENSIONS)),
)
def test_nothing_but_a_refusal_comes_of_any_bytes(
    data: bytes, place: int, change: bytes, content_type: str
) -> None:
    for changed in (
        data[:place] + change + data[place + len(change) :],
        data[:place] + change + data[place:],
        data[:place],
        change,
    ):
        file = whole(changed or b"\0")
        try:
            assert look(file, content_type).family
        except RefusalError as error:
            assert error.failure.message  # noqa: PT017 - either may come of it, nothing else
        assert len(file.ranges) <= limits.MAX_REQUESTS


def test_a_large_file_is_read_in_few_small_pieces() -> None:
    size = 4 * 10**9
    index = movie(track(b"soun", b"mp4a"), box(b"free", bytes(10**6)), track(b"vide", b"avc1"))
    start = size - len(index)
    content = struct.pack(">I4s", start - len(FTYP), b"mdat")
    file = File((0, FTYP + content), (start, index), size=size)
    assert look(file).content.codecs == ("avc1",)
    assert len(file.ranges) == 3
    assert file.ranges[0] == (0, HEAD_BYTES)


def test_bytes_that_were_read_are_not_read_again() -> None:
    file = File((0, b"abc"), size=10**8)
    reader = Reader(file.fetch, file.size)
    assert reader.read(0, 3) == b"abc"
    assert reader.read(1, 2) == b"bc"
    assert reader.read(10**8 - 10, 50) == bytes(10)
    assert reader.read(10**8, 1) == b""
    assert file.ranges == [(0, HEAD_BYTES), (10**8 - 10, 10**8)]
    with pytest.raises(TooMuchError):
        reader.read(100_000, limits.MAX_BYTES)


class Files:
    """Object versions in memory."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def read(self, request: ScanRequest, start: int, end: int) -> tuple[bytes, int]:  # noqa: ARG002
        if self.data is None:
            raise GoneError
        return self.data[start:end], len(self.data)


REQUEST = ScanRequest(
    video_id=new_id(),
    run_id=new_id(),
    tenant="acme",
    scanner="content",
    bucket="raw",
    key="raw/acme/ada/x.mp4",
    version_id="v1",
    size_bytes=len(ACCEPTED["index at the end"][0]),
    content_type=MP4,
    sent_at="2026-11-21T09:00:00.000Z",
    answer_to="https://sqs/verdicts",
)


def test_a_verdict_answers_its_request() -> None:
    assert judge(REQUEST, Files(ACCEPTED["index at the end"][0])) == REQUEST.clean()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(None, "file_gone", id="gone"),
        pytest.param(b"x", "wrong_size", id="another size"),
        pytest.param(b"x" * REQUEST.size_bytes, "not_a_video", id="no video"),
    ],
)
def test_a_refusal_says_why(data: bytes | None, code: str) -> None:
    verdict = judge(REQUEST, Files(data))
    assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, code)
    assert verdict == dataclasses.replace(REQUEST.refused(code, "x"), message=verdict.message), (
        "it is about the version that was asked for"
    )
