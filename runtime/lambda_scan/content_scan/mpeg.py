"""MPEG transport and program streams, which may begin anywhere.

Source: ISO/IEC 13818-1, "Systems".
"""

from __future__ import annotations

import re

SEARCHED_BYTES = 1024**2
"""How far a stream is looked for; decoders look no further either."""

_SYNC = 0x47
_PACKETS = 5
_PACKET_SIZES = (188, 192, 204)
"""Of broadcasts, camcorders, and broadcasts with error correction."""

_PROGRAM = re.compile(rb"\x00\x00\x01[\xba\xe0-\xef]")
"""A pack, or pictures of a stream that has none."""


def begins(head: bytes) -> bool:
    """Tell whether a file begins with whole packets, or with a pack."""
    if _PROGRAM.match(head):
        return True
    return any(
        _is_transport(head, start, size) for size, start in ((188, 0), (192, 4), (192, 0), (204, 0))
    )


def is_within(data: bytes) -> bool:
    """Tell whether a stream begins anywhere in ``data``."""
    if _PROGRAM.search(data):
        return True
    start = data.find(_SYNC)
    while start >= 0:
        if any(_is_transport(data, start, size) for size in _PACKET_SIZES):
            return True
        start = data.find(_SYNC, start + 1)
    return False


def _is_transport(data: bytes, start: int, size: int) -> bool:
    """Tell whether several packets in a row begin with the byte that each begins with."""
    places = data[start : start + size * (_PACKETS - 1) + 1 : size]
    return len(places) == _PACKETS and places.count(_SYNC) == _PACKETS
