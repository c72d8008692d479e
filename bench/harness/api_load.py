"""Load on an HTTP server, from one process: as fast as it answers, or on a fixed schedule.

Requests are bytes that are ready to be sent, connections are kept open and carry one request at a
time. On a schedule, time counts from when a request was due: what a slow server delays is not left
out. A request that is due while all connections are busy is not sent, as a load balancer that may
open no more of them refuses it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PATIENCE_SECONDS = 1.0
"""An answer after more than this since its request was due is worth nothing to its client."""

_TICK_SECONDS = 0.001


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        seconds: How long it took.
        statuses: Answers by status.
        good: Answers with status 200 in time.
        latencies: Seconds to each of them, from when it was due.
        unsent: Requests that found no free connection.
        unannounced: Answers 503 without ``Retry-After``.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    good: int = 0
    latencies: list[float] = field(default_factory=list)
    unsent: int = 0
    unannounced: int = 0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    """Carries one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._due = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._load.ready(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at some time."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end >= 0:
            at = buffer.find(b"content-length: ", 0, end)
            length = int(buffer[at + 16 : buffer.find(b"\r", at)]) if at >= 0 else 0
            if len(buffer) >= end + 4 + length:
                self._buffer = b""
                self._load.answered(self, int(buffer[9:12]), self._due, buffer[:end])
                return
        self._buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._load.lost(self)

    def close(self) -> None:
        self._transport.close()


class _Load:
    """Sends requests over all connections, for a while."""

    def __init__(self, requests: Iterator[bytes], *, scheduled: bool) -> None:
        self._requests = requests
        self._scheduled = scheduled
        self._free: deque[_Connection] = deque()
        self._ended = False
        self._most = float("inf")
        self._sent = 0
        self.outcome = Outcome()
        self.connections: set[_Connection] = set()
        self.finished = asyncio.Event()

    def ready(self, connection: _Connection) -> None:
        self.connections.add(connection)
        self._free.append(connection)

    def lost(self, connection: _Connection) -> None:
        if not self._ended:
            raise SystemExit("the server closed a connection while it was being measured")
        self.connections.discard(connection)

    def answered(self, connection: _Connection, status: int, due: float, head: bytes) -> None:
        if self._ended:
            return
        now = time.perf_counter()
        outcome = self.outcome
        outcome.statuses[status] += 1
        if status == 200:
            taken = now - due
            if taken <= PATIENCE_SECONDS or not self._scheduled:
                outcome.good += 1
                outcome.latencies.append(taken)
        elif status == 503 and b"retry-after: " not in head:
            outcome.unannounced += 1
        if not self._scheduled:
            if self._sent < self._most:
                self._sent += 1
                connection.send(next(self._requests), now)
            elif outcome.statuses.total() >= self._most:
                self.finished.set()
            return
        self._free.append(connection)

    async def run(self, seconds: float, rate: float, most: int | None) -> None:
        begun = time.perf_counter()
        if most is not None:
            self._most = most
        if not self._scheduled:
            for connection in list(self._free):
                self._sent += 1
                connection.send(next(self._requests), time.perf_counter())
            if most is None:
                await asyncio.sleep(seconds)
            else:
                await self.finished.wait()
        else:
            number, end = 0, begun + seconds
            while (now := time.perf_counter()) < end:
                while (due := begun + number / rate) <= now:
                    number += 1
                    if self._free:
                        self._free.popleft().send(next(self._requests), due)
                    else:
                        self.outcome.unsent += 1
                await asyncio.sleep(_TICK_SECONDS)
        self.outcome.seconds = time.perf_counter() - begun
        self._ended = True


def load(
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float = 0,
    rate: float | None = None,
    most: int | None = None,
    begun: Callable[[], None] = lambda: None,
) -> Outcome:
    """Send requests to a port of this machine.

    Args:
        port: The port.
        requests: What is sent, one after the other.
        connections: Number of connections.
        seconds: For how long.
        rate: Requests that are due a second. Default: each connection sends the next one as soon
            as it has its answer.
        most: Number of requests, in place of a time.
        begun: Called when all connections are there.
    """
    # What the process began with is not looked at again while it measures.
    gc.collect()
    gc.freeze()

    async def run() -> Outcome:
        sending = _Load(requests, scheduled=rate is not None)
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(sending), "127.0.0.1", port)
        begun()
        await sending.run(seconds, rate or 0, most)
        for connection in list(sending.connections):
            connection.close()
        await asyncio.sleep(0)
        return sending.outcome

    return asyncio.run(run())
