"""Keeps two commands from doing the same thing at a time, also when one of them is killed."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from typing import IO, Any

from mediactl.errors import REFUSED, CommandError


@contextlib.contextmanager
def alone(file: IO[Any], what: str) -> Iterator[None]:
    """Hold the lock of a file while the block runs; it ends with the process at the latest.

    Args:
        file: An open file.
        what: What another command does that has it, e.g. ``uploading film.mp4``.

    Raises:
        CommandError: If one has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(
            f"another mediactl is {what}", hint="wait until it has ended", exit_code=REFUSED
        ) from None
    yield
