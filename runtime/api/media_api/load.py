"""How much the process takes on: what is more waits for a moment and is refused.

Two things fill a process. Requests that wait for AWS are counted while they are in flight; those
beyond the limit stand in line. Requests that need nothing but the processor are answered as they
are taken up, so that those which are not taken up yet are the queue: it is as long as there are
connections, and how long that takes shows in how late the event loop is for a beat, twice in a row,
since a process that merely stood still for a moment has no queue that lasts.

Standing in line is what protects the process. To refuse costs a third of what it costs to answer,
and who is refused at once comes back at once; somebody who waits sends nothing meanwhile. The line
costs no more than its connections, and who stands in it has not been looked at.

Source: Amazon Builders' Library, "Using load shedding to avoid overload".
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

MOST_IN_FLIGHT = 128
"""Most requests in flight: twice the connections to the table, so that all of them are busy."""

MOST_WAIT_SECONDS = 0.5
"""Longest time in line."""

MOST_LATE_SECONDS = 0.5
"""Age of requests that were not taken up yet at which more of them are refused."""

_BEAT_SECONDS = 0.05
_RETRY_SECONDS = (1, 3)
"""Range of ``Retry-After``; spread, so that those who were refused do not return together."""


class Load:
    """Counts requests in flight, and lets others wait.

    Attributes:
        in_flight: Requests in flight.
        most: Most that there were since :meth:`take_counts`.
        refused: Requests that were refused since then.

    Args:
        limit: Most requests in flight. Default :data:`MOST_IN_FLIGHT`.
        wait_seconds: Longest time in line. Default :data:`MOST_WAIT_SECONDS`.
    """

    def __init__(
        self, limit: int = MOST_IN_FLIGHT, *, wait_seconds: float = MOST_WAIT_SECONDS
    ) -> None:
        self._limit = limit
        self._wait_seconds = wait_seconds
        self._line: deque[asyncio.Future[bool]] = deque()
        self._next_beat: float | None = None
        self._was_late = False
        self.in_flight = 0
        self.most = 0
        self.refused = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many requests in flight as there may be."""
        return self.in_flight >= self._limit

    def is_late(self) -> bool:
        """Tell whether requests wait so long to be taken up that one more must not."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._next_beat is None:
            # The loop beats only while there are requests.
            self._next_beat = now + _BEAT_SECONDS
            loop.call_at(self._next_beat, self._beat)
        return self._was_late and now - self._next_beat > MOST_LATE_SECONDS

    def begin(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)

    async def wait(self) -> bool:
        """Stand in line, and tell whether the request was counted in after all."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._line.append(turn)
        timer = loop.call_later(self._wait_seconds, _call, turn, False)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.end()
            raise
        finally:
            timer.cancel()

    def end(self) -> None:
        """Count a request out; the first in line takes its place."""
        self.in_flight -= 1
        while self._line:
            if _call(self._line.popleft(), True):
                self.begin()
                return

    def take_counts(self) -> tuple[int, int]:
        """Return :attr:`most` and :attr:`refused`, and begin to count anew."""
        counts = self.most, self.refused
        self.most, self.refused = self.in_flight, 0
        return counts

    def _beat(self) -> None:
        if self._next_beat is not None:
            late = asyncio.get_running_loop().time() - self._next_beat
            self._was_late = late > MOST_LATE_SECONDS / 2
        self._next_beat = None


def retry_after_seconds() -> int:
    """Return when a request that was refused may be tried again, in seconds."""
    return random.randint(*_RETRY_SECONDS)  # noqa: S311 - it spreads load


def _call(turn: asyncio.Future[bool], taken: bool) -> bool:
    """Call up who stands in line, and tell whether he was still there."""
    if turn.done():
        return False
    turn.set_result(taken)
    return True
