"""WebM and Matroska: elements in elements.

Source: RFC 8794, "Extensible Binary Meta Language"; RFC 9559, "Matroska Media Container Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from content_scan.findings import UNTOLD, Content, no_video, protected
from content_scan.reader import Reader

SIGNATURE = b"\x1a\x45\xdf\xa3"
"""Id of the EBML header."""

MAX_ELEMENTS = 512
"""Elements of one file that are looked at, at every level together."""

_DOC_TYPE = 0x4282
_SEGMENT, _CLUSTER, _TRACKS, _TRACK = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
_TRACK_TYPE, _CODEC = 0x83, 0x86
_ENCODINGS, _ENCODING, _ENCODING_TYPE, _ENCRYPTION = 0x6D80, 0x6240, 0x5033, 0x5035
_VIDEO, _COMPLEX = 1, 3
_ENCRYPTED = 1
_LONGEST_TEXT = 64
_LONGEST_NUMBER = 8


class _MalformedError(Exception):
    """Elements do not follow each other as they should."""


@dataclass(frozen=True)
class _Element:
    identifier: int
    start: int
    """First byte of what it holds."""
    end: int


class _Elements:
    """Walks through the elements of a file, and counts them."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._count = 0

    def within(self, start: int, end: int) -> Iterator[_Element]:
        """Yield the elements from ``start`` to ``end``; one of unknown size reaches to ``end``."""
        while start < end:
            self._count += 1
            if self._count > MAX_ELEMENTS:
                raise _MalformedError
            header = self.reader.read(start, 12)
            identifier, length = _number(header, keep_marker=True)
            size, more = _number(header[length:], keep_marker=False)
            begin = start + length + more
            unknown = size == (1 << 7 * more) - 1
            finish = end if unknown else begin + size
            yield _Element(identifier, begin, finish)
            start = finish

    def number(self, element: _Element) -> int:
        """Return the unsigned integer that an element holds."""
        length = min(element.end - element.start, _LONGEST_NUMBER)
        return int.from_bytes(self.reader.read(element.start, length))

    def text(self, element: _Element) -> str:
        """Return the text that an element holds."""
        length = min(element.end - element.start, _LONGEST_TEXT)
        content = self.reader.read(element.start, length)
        return content.split(b"\0")[0].decode("latin-1")


def _number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Return a number of variable length, and its length."""
    if not data or not data[0]:
        raise _MalformedError
    length = 9 - data[0].bit_length()
    if len(data) < length:
        raise _MalformedError
    value = int.from_bytes(data[:length])
    return value if keep_marker else value & ((1 << 7 * length) - 1), length


def inspect(reader: Reader) -> Content:
    """Return what the tracks say.

    Raises:
        RefusalError: If there is no track with pictures, or none that can be decoded.
        TooMuchError: If more would have to be read than is allowed.
    """
    elements = _Elements(reader)
    try:
        tracks = _tracks(elements)
        return UNTOLD if tracks is None else _judge(elements, tracks)
    except _MalformedError:
        return UNTOLD


def _tracks(elements: _Elements) -> _Element | None:
    for outer in elements.within(0, elements.reader.size):
        if outer.identifier != _SEGMENT:
            continue
        for element in elements.within(outer.start, min(outer.end, elements.reader.size)):
            if element.identifier == _TRACKS:
                return element
            if element.identifier == _CLUSTER:
                return None
    return None


@dataclass
class _Track:
    kind: int | None = None
    codec: str = ""
    encrypted: bool = False


def _judge(elements: _Elements, tracks: _Element) -> Content:
    found = [
        _track(elements, element)
        for element in elements.within(tracks.start, min(tracks.end, elements.reader.size))
        if element.identifier == _TRACK
    ]
    pictures = [track for track in found if track.kind == _VIDEO]
    readable = tuple(track.codec for track in pictures if not track.encrypted)
    if readable:
        return Content(readable)
    if not found or tracks.end > elements.reader.size:
        return UNTOLD
    if {track.kind for track in found} & {None, _COMPLEX}:
        return UNTOLD
    raise protected() if pictures else no_video()


def _track(elements: _Elements, entry: _Element) -> _Track:
    track = _Track()
    for element in elements.within(entry.start, entry.end):
        if element.identifier == _TRACK_TYPE:
            track.kind = elements.number(element)
        elif element.identifier == _CODEC:
            track.codec = elements.text(element)
        elif element.identifier == _ENCODINGS:
            track.encrypted = _is_encrypted(elements, element)
    return track


def _is_encrypted(elements: _Elements, encodings: _Element) -> bool:
    for encoding in elements.within(encodings.start, encodings.end):
        if encoding.identifier != _ENCODING:
            continue
        for element in elements.within(encoding.start, encoding.end):
            if element.identifier == _ENCRYPTION:
                return True
            if element.identifier == _ENCODING_TYPE and elements.number(element) == _ENCRYPTED:
                return True
    return False


def begins(head: bytes) -> bool:
    """Tell whether a file begins with an EBML header."""
    return head.startswith(SIGNATURE)
