"""Waiting for what comes: by looking again, never by sleeping for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 120
"""Long enough for a slow machine; a test that passes never waits for it."""

LOOK_AGAIN_SECONDS = 0.05

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str) -> T:
    """Return what ``look`` finds as soon as it finds something.

    Raises:
        AssertionError: If it does not in time; the message says ``what`` was awaited.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_AGAIN_SECONDS)
    raise AssertionError(f"{what}: not within {PATIENCE_SECONDS} s")
