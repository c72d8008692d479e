"""How much the process takes on: what is more is refused at once, so that the rest is answered.

Two things fill a process. Requests that wait for AWS are counted while they are in flight. Requests
that need nothing but the processor are answered as they are taken up, so that those which are not
taken up yet are the queue; how long that is shows in how late the event loop is for a beat. In both
cases a request that is refused costs little, since nothing of it is looked at.

Source: Amazon Builders' Library, "Using load shedding to avoid overload".
"""

from __future__ import annotations

import asyncio
import random

MOST_IN_FLIGHT = 128
"""Most requests in flight: twice the connections to the table, so that all of them are busy."""

MOST_LATE_SECONDS = 0.2
"""Age of requests that were not taken up yet at which more of them are refused."""

_BEAT_SECONDS = 0.05
_RETRY_SECONDS = (1, 3)
"""Range of ``Retry-After``; spread, so that those who were refused do not return together."""


class Load:
    """Counts requests in flight and tells whether one more is taken.

    Attributes:
        in_flight: Requests in flight.
        most: Most that there were since :meth:`take_counts`.
        refused: Requests that were refused since then.

    Args:
        limit: Most requests in flight. Default :data:`MOST_IN_FLIGHT`.
    """

    def __init__(self, limit: int = MOST_IN_FLIGHT) -> None:
        self._limit = limit
        self._next_beat: float | None = None
        self.in_flight = 0
        self.most = 0
        self.refused = 0

    def takes_one_more(self) -> bool:
        """Tell whether a request is taken; one that is not is counted as refused."""
        if not self.is_full and not self._is_late():
            return True
        self.refused += 1
        return False

    @property
    def is_full(self) -> bool:
        """Whether there are as many requests in flight as there may be."""
        return self.in_flight >= self._limit

    def begin(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)

    def end(self) -> None:
        """Count a request out."""
        self.in_flight -= 1

    def take_counts(self) -> tuple[int, int]:
        """Return :attr:`most` and :attr:`refused`, and begin to count anew."""
        counts = self.most, self.refused
        self.most, self.refused = self.in_flight, 0
        return counts

    def _is_late(self) -> bool:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._next_beat is None:
            # The loop beats only while there are requests.
            self._next_beat = now + _BEAT_SECONDS
            loop.call_at(self._next_beat, self._beat)
        return now - self._next_beat > MOST_LATE_SECONDS

    def _beat(self) -> None:
        self._next_beat = None


def retry_after_seconds() -> int:
    """Return when a request that was refused may be tried again, in seconds."""
    return random.randint(*_RETRY_SECONDS)  # noqa: S311 - it spreads load
