"""Ogg: every stream begins with a page that names its codec, ahead of all others.

Source: RFC 3533, "The Ogg Encapsulation Format Version 0".
"""

from __future__ import annotations

from content_scan.findings import UNTOLD, Content, no_video
from content_scan.reader import Reader

SIGNATURE = b"OggS"
MAX_STREAMS = 16
"""Streams of one file that are looked at."""

_HEADER = 27
_FIRST_PAGE = 0x02
_WITHOUT_PICTURES = (
    b"\x01vorbis",
    b"OpusHead",
    b"\x7fFLAC",
    b"Speex   ",
    b"fishead\0",
    b"PCM     ",
)


def begins(head: bytes) -> bool:
    """Tell whether a file begins with a page."""
    return head.startswith(SIGNATURE)


def inspect(reader: Reader) -> Content:
    """Return which codec has the pictures.

    Raises:
        RefusalError: If no stream has any.
        TooMuchError: If more would have to be read than is allowed.
    """
    position = 0
    for _ in range(MAX_STREAMS):
        header = reader.read(position, _HEADER)
        if len(header) < _HEADER or not begins(header):
            return UNTOLD
        if not header[5] & _FIRST_PAGE:
            if position:
                raise no_video()
            return UNTOLD
        lengths = reader.read(position + _HEADER, header[26])
        start = position + _HEADER + len(lengths)
        name = reader.read(start, 8)
        if name.startswith(b"\x80theora"):
            return Content(("theora",))
        if not name.startswith(_WITHOUT_PICTURES):
            return UNTOLD
        position = start + sum(lengths)
    return UNTOLD
