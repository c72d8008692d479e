"""Reads a file piece by piece, and never more of it than it is worth."""

from __future__ import annotations

from collections.abc import Callable

HEAD_BYTES = 64 * 1024
"""What is read at first; it holds what most files have to say."""

WINDOW_BYTES = 16 * 1024
"""What is read at least anywhere else: the boxes that are looked at stand close to each other."""

MAX_REQUESTS = 48
MAX_BYTES = 4 * 1024**2


class TooMuchError(Exception):
    """To tell, more would have to be read than is allowed."""


class Reader:
    """The bytes of a file.

    Args:
        fetch: Returns the bytes from a start to before an end, both within the file.
        size: Size of the file in bytes.

    Attributes:
        size: Size of the file in bytes.
        requests: Times that something was fetched.
        bytes_read: How much.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._windows: list[tuple[int, bytes]] = []
        self.size = size
        self.requests = 0
        self.bytes_read = 0

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on; fewer at the end of the file.

        Raises:
            TooMuchError: If too much was read already.
        """
        end = min(start + length, self.size)
        if start >= end:
            return b""
        for begin, content in reversed(self._windows):
            if begin <= start and end <= begin + len(content):
                return content[start - begin : end - begin]
        at_least = HEAD_BYTES if start == 0 else WINDOW_BYTES
        until = min(max(end, start + at_least), self.size)
        if self.requests >= MAX_REQUESTS or self.bytes_read + until - start > MAX_BYTES:
            raise TooMuchError(f"{self.requests} requests, {self.bytes_read} bytes")
        self.requests += 1
        self.bytes_read += until - start
        content = self._fetch(start, until)
        self._windows.append((start, content))
        return content[: end - start]
