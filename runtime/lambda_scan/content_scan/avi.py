"""AVI: chunks in lists.

Source: Microsoft, "AVI RIFF File Reference"; "OpenDML AVI File Format Extensions".
"""

from __future__ import annotations

from collections.abc import Iterator

from content_scan.findings import UNTOLD, Content, no_video
from content_scan.reader import Reader

MAX_CHUNKS = 256
"""Chunks of one file that are looked at, at every level together."""

_FORMS = frozenset({b"AVI ", b"AVIX", b"AVI\x19", b"AMV "})
_WITH_PICTURES = frozenset({b"vids", b"iavs"})
_WITHOUT_PICTURES = frozenset({b"auds", b"txts", b"mids"})
_HEADER, _LIST_HEADER = 8, 12


class _MalformedError(Exception):
    """There are more chunks than any file has, or the header does not end within the file."""


class _Chunks:
    """Walks through the chunks of a file, and counts them."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._count = 0

    def within(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the name of each chunk, and where what it holds starts and ends.

        A list has the name of its kind.
        """
        while start + _HEADER <= end:
            self._count += 1
            if self._count > MAX_CHUNKS:
                raise _MalformedError
            header = self.reader.read(start, _LIST_HEADER)
            if len(header) < _HEADER:
                return
            name, size = header[:4], int.from_bytes(header[4:8], "little")
            finish = start + _HEADER + size
            if name == b"LIST":
                yield header[8:], start + _LIST_HEADER, finish
            else:
                yield name, start + _HEADER, finish
            start = finish + size % 2


def begins(head: bytes) -> bool:
    """Tell whether a file begins like an AVI."""
    return (head[:4] == b"RIFF" and head[8:12] in _FORMS) or head[:8] == b"ON2 ON2f"


def inspect(reader: Reader) -> Content:
    """Return what the header says of the streams.

    Raises:
        RefusalError: If none of them has pictures.
        TooMuchError: If more would have to be read than is allowed.
    """
    if reader.read(0, _LIST_HEADER)[8:] != b"AVI ":
        return UNTOLD
    try:
        streams = list(_streams(_Chunks(reader)))
    except _MalformedError:
        return UNTOLD
    pictures = tuple(codec for kind, codec in streams if kind in _WITH_PICTURES)
    if pictures:
        return Content(tuple(codec.decode("latin-1") for codec in pictures))
    if streams and {kind for kind, _ in streams} <= _WITHOUT_PICTURES:
        raise no_video()
    return UNTOLD


def _streams(chunks: _Chunks) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and codec of each stream."""
    for name, start, end in chunks.within(_LIST_HEADER, chunks.reader.size):
        if name != b"hdrl":
            continue
        if end > chunks.reader.size:
            raise _MalformedError
        for inner, inner_start, inner_end in chunks.within(start, end):
            if inner != b"strl":
                continue
            for part, begin, _ in chunks.within(inner_start, inner_end):
                if part == b"strh":
                    header = chunks.reader.read(begin, 8)
                    yield header[:4], header[4:]
        return
