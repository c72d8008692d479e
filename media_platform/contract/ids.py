"""Identifiers: UUID version 7, which sort by the time they were made at."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BITS = 74
_LOW_BITS = 62
_STEP_BITS = 32

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Return a new identifier of 36 characters, greater than all that this process made before.

    Those of other processes sort by their clocks, to the millisecond.

    Layout: RFC 9562, section 5.7 (48 bits of Unix milliseconds, then 74 random bits). Within one
    millisecond, or when the clock steps back, the last identifier is raised by a random amount
    (section 6.2, method 2).
    """
    global _last  # noqa: PLW0603 - the order is one of the whole process
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big") >> (80 - _RANDOM_BITS)
    step = int.from_bytes(os.urandom(_STEP_BITS // 8), "big") + 1
    with _lock:
        _last = max((milliseconds << _RANDOM_BITS) | random, _last + step)
        value = _last
    high, low = value >> _LOW_BITS, value & ((1 << _LOW_BITS) - 1)
    time_bits, random_bits = high >> 12, high & 0xFFF
    return str(
        uuid.UUID(int=(time_bits << 80) | (0x7 << 76) | (random_bits << 64) | (0x2 << 62) | low)
    )


def first_of(time: datetime) -> str:
    """Return what sorts before every identifier made at ``time`` or later, and behind all others.

    Args:
        time: A time with its zone, taken to the millisecond.
    """
    milliseconds = f"{(time - _EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"


def made_at(identifier: str) -> datetime:
    """Return the time at which an identifier was made, to the millisecond."""
    milliseconds = int(identifier[:8] + identifier[9:13], 16)
    return _EPOCH + timedelta(milliseconds=milliseconds)


def is_id(value: str) -> bool:
    """Tell whether ``value`` is an identifier as :func:`new_id` writes them."""
    return _UUID7.fullmatch(value) is not None
