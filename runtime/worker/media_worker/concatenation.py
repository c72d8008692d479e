"""Several objects that children read as one: an init segment and the segments behind it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Concatenation(Generic[Key]):
    """Objects of known sizes, one behind the other; a ``RangeReader`` for a ``SourceProxy``.

    Args:
        pieces: Key and size in bytes of each object, in order.
        read: Returns bytes of an object, given its key, where they begin in it, and how many they
            are.
    """

    def __init__(
        self, pieces: Sequence[tuple[Key, int]], read: Callable[[Key, int, int], bytes]
    ) -> None:
        self._keys = [key for key, size in pieces if size]
        self._ends = list(accumulate(size for _, size in pieces if size))
        self._read = read

    def size(self) -> int:
        """Return the size of all of them in bytes."""
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``.

        Raises:
            OSError: If fewer arrive.
        """
        parts = []
        number = bisect_right(self._ends, start)
        at = start
        while at < end:
            begin = self._ends[number - 1] if number else 0
            count = min(end, self._ends[number]) - at
            part = self._read(self._keys[number], at - begin, count)
            if len(part) != count:
                raise OSError(f"{len(part)} bytes arrived of {count} of {self._keys[number]!r}")
            parts.append(part)
            at += count
            number += 1
        return b"".join(parts)


def in_memory(parts: Sequence[bytes]) -> Concatenation[int]:
    """Return the concatenation of ``parts``, which are at hand."""
    return Concatenation(
        [(number, len(part)) for number, part in enumerate(parts)],
        lambda number, offset, count: parts[number][offset : offset + count],
    )
