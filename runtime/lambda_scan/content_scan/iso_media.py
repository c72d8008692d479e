"""MP4, QuickTime and their kin: boxes in boxes.

Source: ISO/IEC 14496-12, "ISO base media file format"; QuickTime File Format Specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from content_scan.findings import UNTOLD, Content, RefusalError, no_video, protected
from content_scan.reader import Reader

FIRST_BOXES = frozenset(
    {b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid", b"jP  "}
    | {b"sidx", b"moof", b"junk", b"pict", b"prfl", b"ednw", b"emsg", b"udta", b"hoov"}
)
"""Types of boxes with which a file may begin."""

MAX_BOXES = 256
"""Boxes of one file that are looked at, at every level together."""

_HEADER, _LARGE_HEADER = 8, 16
_PICTURES = frozenset({b"heic", b"heix", b"heim", b"mif1", b"avif"})
"""Brands of files that hold still pictures."""

_WITHOUT_PICTURES = frozenset(
    {b"soun", b"hint", b"meta", b"text", b"sbtl", b"subt", b"subp", b"clcp", b"tmcd"}
)
"""Handlers of tracks that are certainly no video; of any other, the decoder has to judge."""

_ENCRYPTED = frozenset({b"encv", b"drmi"})


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    """First byte of what it holds."""
    end: int


class _MalformedError(Exception):
    """Boxes do not follow each other as they should."""


class _Boxes:
    """Walks through the boxes of a file, and counts them."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._count = 0

    def within(self, start: int, end: int) -> Iterator[_Box]:
        """Yield the boxes from ``start`` to ``end``; each ends behind its header."""
        while start < end:
            self._count += 1
            if self._count > MAX_BOXES:
                raise _MalformedError
            header = self.reader.read(start, _LARGE_HEADER)
            if len(header) < _HEADER:
                return
            size, kind, length = int.from_bytes(header[:4]), header[4:8], _HEADER
            if size == 1:
                size, length = int.from_bytes(header[8:16]), _LARGE_HEADER
            elif size == 0:
                size = end - start
            if size < length:
                raise _MalformedError
            yield _Box(kind, start + length, start + size)
            start += size

    def first(self, parent: _Box, *path: bytes) -> _Box | None:
        """Return the first box below ``parent`` that is reached by ``path``."""
        for kind in path:
            found = next((b for b in self.within(parent.start, parent.end) if b.kind == kind), None)
            if found is None:
                return None
            parent = found
        return parent


def begins(head: bytes) -> bool:
    """Tell whether a file begins with a box."""
    return head[4:8] in FIRST_BOXES


def inspect(reader: Reader) -> Content:
    """Return what the index says of the tracks.

    Raises:
        RefusalError: If there is no index, no track with pictures, or none that can be decoded.
        TooMuchError: If more would have to be read than is allowed.
    """
    boxes = _Boxes(reader)
    try:
        index = _index(boxes)
        return _tracks(boxes, index)
    except _MalformedError:
        return UNTOLD


def _index(boxes: _Boxes) -> _Box:
    kinds: set[bytes] = set()
    for box in boxes.within(0, boxes.reader.size):
        if box.kind == b"moov" or _is_hidden_index(boxes.reader, box):
            return box
        kinds.add(box.kind)
    if b"meta" in kinds and boxes.reader.read(8, 4) in _PICTURES:
        raise RefusalError("not_a_video", "The file is a picture, not a video.")
    raise RefusalError(
        "unreadable",
        "The file starts like a video, but its index is missing; it was probably cut off while it"
        " was recorded or copied.",
    )


def _is_hidden_index(reader: Reader, box: _Box) -> bool:
    """Tell whether a box that should hold nothing holds an index, which decoders then take."""
    return box.kind in {b"free", b"hoov"} and reader.read(box.start + 4, 4) in {b"mvhd", b"cmov"}


def _tracks(boxes: _Boxes, index: _Box) -> Content:
    codecs: list[bytes] = []
    told = False
    for box in boxes.within(index.start, index.end):
        if box.kind == b"cmov":
            return UNTOLD
        if box.kind != b"trak":
            continue
        handler = boxes.first(box, b"mdia", b"hdlr")
        kind = boxes.reader.read(handler.start + 8, 4) if handler else b""
        if kind in _WITHOUT_PICTURES:
            told = True
            continue
        if kind != b"vide":
            return UNTOLD
        formats = _formats(boxes, box)
        if not formats or not set(formats) <= _ENCRYPTED:
            return Content(tuple(name.decode("latin-1") for name in formats))
        codecs += formats
    if index.end > boxes.reader.size:
        return UNTOLD
    if codecs:
        raise protected()
    if told:
        raise no_video()
    return UNTOLD


def _formats(boxes: _Boxes, track: _Box) -> list[bytes]:
    table = boxes.first(track, b"mdia", b"minf", b"stbl", b"stsd")
    if table is None:
        return []
    entries = boxes.within(table.start + 8, min(table.end, table.start + 64 * 1024))
    return [entry.kind for entry in entries]
