"""How much the process takes on: what is more waits, and is refused if that takes too long.

Two things fill a process. Requests that wait for AWS are counted while they are in flight. Requests
that need nothing but the processor are answered as they are taken up, so that those which are not
taken up yet are the queue; how long that is shows in how late the event loop is for a beat. Where
either is too much, a request stands in line, which costs a tenth of an answer.

Who stands in line sends nothing meanwhile, and who is refused comes back at once, whatever he is
told. So the line is what protects the process: it is as long as there are connections, and no more
than a few leave it refused at a time. While all are called up soon, they are in the order in which
they came. When that takes long, the newest are called first: answers to those still come in time,
while in the order of arrival every answer would come late.

Source: Amazon Builders' Library, "Using load shedding to avoid overload"; B. Maurer, "Fail at
Scale" (ACM Queue, 2015), adaptive LIFO.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

MOST_IN_FLIGHT = 64
"""Most requests in flight: as many as connections to the table, so that none waits for one twice.

To wait for a connection costs more than to stand in line; twice as many cost a tenth of answers.
"""

LONG_WAIT_SECONDS = 0.5
"""Time in line after which a request is refused; after half of it others go first."""

MOST_LATE_SECONDS = 0.25
"""Age of requests that were not taken up yet at which more of them stand in line."""

MOST_REFUSED = 8
"""Most requests that are refused in a beat: refusing takes a hundredth or two of the time."""

_BEAT_SECONDS = 0.05
_RETRY_SECONDS = (1, 3)
"""Range of ``Retry-After``; spread, so that those who were refused do not return together."""


class Load:
    """Counts requests in flight, and lets others wait.

    Attributes:
        in_flight: Requests in flight.
        in_line: Requests that wait until they may begin.
        most: Most in flight since :meth:`take_counts`.
        refused: Requests that were refused since then.

    Args:
        limit: Most requests in flight. Default :data:`MOST_IN_FLIGHT`.
        wait_seconds: Time in line after which a request is refused. Default
            :data:`LONG_WAIT_SECONDS`.
    """

    def __init__(
        self, limit: int = MOST_IN_FLIGHT, *, wait_seconds: float = LONG_WAIT_SECONDS
    ) -> None:
        self._limit = limit
        self._wait_seconds = wait_seconds
        self._line: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._next_beat: float | None = None
        self.in_flight = 0
        self.in_line = 0
        self.most = 0
        self.refused = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many requests in flight as there may be."""
        return self.in_flight >= self._limit

    def is_late(self) -> bool:
        """Tell whether requests wait so long to be taken up that one more must not begin."""
        now = asyncio.get_running_loop().time()
        return now - self._beat_after(now) > MOST_LATE_SECONDS

    def begin(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)

    async def wait(self) -> bool:
        """Stand in line, and tell whether the request was counted in after all."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        now = loop.time()
        self._line.append((now, turn))
        self._beat_after(now)
        self.in_line += 1
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.end()
            raise
        finally:
            self.in_line -= 1

    def end(self) -> None:
        """Count a request out; one that stands in line takes its place."""
        self.in_flight -= 1
        if self._line and not self.is_late():
            self._call_next(asyncio.get_running_loop().time())

    def take_counts(self) -> tuple[int, int]:
        """Return :attr:`most` and :attr:`refused`, and begin to count anew."""
        counts = self.most, self.refused
        self.most, self.refused = self.in_flight, 0
        return counts

    def _beat_after(self, now: float) -> float:
        """Return when the next beat is due; it beats only while there are requests."""
        if self._next_beat is None:
            self._next_beat = now + _BEAT_SECONDS
            asyncio.get_running_loop().call_at(self._next_beat, self._beat)
        return self._next_beat

    def _beat(self) -> None:
        """Call up whom there is room for, and refuse those who have waited too long."""
        now = asyncio.get_running_loop().time()
        late = now - self._beat_after(now)
        self._next_beat = None
        if late <= MOST_LATE_SECONDS:
            while not self.is_full and self._call_next(now):
                continue
        for _ in range(MOST_REFUSED):
            if not self._line or now - self._line[0][0] < self._wait_seconds:
                break
            _call(self._line.popleft()[1], False)
        if self._line:
            self._beat_after(now)

    def _call_next(self, now: float) -> bool:
        """Count in one who stands in line, and tell whether there was any."""
        while self._line:
            is_long = now - self._line[0][0] > self._wait_seconds / 2
            _, turn = self._line.pop() if is_long else self._line.popleft()
            if _call(turn, True):
                self.begin()
                return True
        return False


def retry_after_seconds() -> int:
    """Return when a request that was refused may be tried again, in seconds."""
    return random.randint(*_RETRY_SECONDS)  # noqa: S311 - it spreads load


def _call(turn: asyncio.Future[bool], taken: bool) -> bool:
    """Call up who stands in line, and tell whether he was still there."""
    if turn.done():
        return False
    turn.set_result(taken)
    return True
