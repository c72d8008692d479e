"""Identifiers: UUID version 7, which sort by the millisecond they were made in."""

from __future__ import annotations

import os
import re
import time
import uuid

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_id() -> str:
    """Return a new identifier of 36 characters, later ones sorting after earlier ones.

    Layout: RFC 9562, section 5.7 (48 bits of Unix milliseconds, then 74 random bits).
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def is_id(value: str) -> bool:
    """Tell whether ``value`` is an identifier as :func:`new_id` writes them."""
    return _UUID7.fullmatch(value) is not None
