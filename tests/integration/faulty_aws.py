"""A way to AWS on which things go wrong: a loopback proxy between workers and the emulator.

Requests are passed on byte for byte, so their signatures hold. A share of them meets a fault, and
every message that is sent arrives twice if that is wanted. Source of what can go wrong, and of what
clients have to expect: Amazon Builders' Library, "Timeouts, retries, and backoff with jitter".
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

LONGEST_STALL_SECONDS = 90
"""Longest wait for a client that ought to lose its patience."""

_HEAD_BYTES = 256 * 1024
_SCOPE = re.compile(rb"Credential=[^/,]+/\d{8}/[^/]+/([^/]+)/aws4_request")
_TWICE = b"AmazonSQS.SendMessage"


class Fault(StrEnum):
    """What happens to a request."""

    REFUSED = "refused"
    """It is answered with an error of the service, and has no effect."""

    CONFLICT = "conflict"
    """DynamoDB cancels it for another transaction on the same item; it has no effect."""

    BROKEN = "broken"
    """The connection breaks before all of it has arrived; it has no effect."""

    LOST = "lost"
    """It takes effect, but the connection breaks before the answer."""

    CUT = "cut"
    """It takes effect, but the connection breaks in the middle of the answer."""

    SLOW = "slow"
    """It takes effect after a moment."""

    STALLED = "stalled"
    """It takes effect, but the client waits for the answer in vain until its time is over."""

    LATE = "late"
    """It takes effect, but only after the client has given it up."""


BRIEF = {Fault.REFUSED: 3, Fault.BROKEN: 2, Fault.LOST: 3, Fault.CUT: 2, Fault.SLOW: 2}
"""Weights of the faults, without those that take as long as a client is patient."""

PATIENT = {**BRIEF, Fault.STALLED: 0.5, Fault.LATE: 0.5}
"""Weights of all faults."""

_REFUSALS: Mapping[str, list[tuple[str, str, str]]] = {
    "s3": [
        ("500 Internal Server Error", "application/xml", "InternalError"),
        ("503 Slow Down", "application/xml", "SlowDown"),
        ("503 Service Unavailable", "application/xml", "ServiceUnavailable"),
    ],
    "sqs": [
        ("500 Internal Server Error", "application/x-amz-json-1.0", "InternalFailure"),
        ("503 Service Unavailable", "application/x-amz-json-1.0", "ServiceUnavailable"),
        ("400 Bad Request", "application/x-amz-json-1.0", "ThrottlingException"),
    ],
    "dynamodb": [
        ("500 Internal Server Error", "application/x-amz-json-1.0", "InternalServerError"),
        ("400 Bad Request", "application/x-amz-json-1.0", "ThrottlingException"),
    ],
}


_CONFLICT_BODY = json.dumps(
    {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": [
            {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
        ],
    }
)
_CONFLICT = (
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\n"
    f"Content-Length: {len(_CONFLICT_BODY)}\r\nConnection: close\r\n\r\n{_CONFLICT_BODY}"
).encode()


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """How much goes wrong.

    Attributes:
        rates: Share of the calls of each service that meet a fault, 0 to 1. Default: none.
        weights: How often each fault is among them.
        twice_within_seconds: Every message that is sent is sent again within this time, or only
            once if it is ``None``.
        slow_seconds: Longest delay of a slow call.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[Fault, float] = field(default_factory=lambda: BRIEF)
    twice_within_seconds: float | None = None
    slow_seconds: float = 2.0


@dataclass(frozen=True)
class _Request:
    """A request as it came."""

    head: bytes
    body: bytes
    service: str

    @property
    def is_sending(self) -> bool:
        return _TWICE in self.head


class FaultyAws:
    """The proxy; made by :func:`faulty_aws`.

    Attributes:
        calls: Calls that were made, by service.
        faults: Faults that they met, by service and fault.
        sent: Messages that clients sent.
        repeated: Those that were sent a second time.
        endpoint: Where clients find it.
    """

    def __init__(self, target: str, plan: FaultPlan, seed: int) -> None:
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._plan = plan
        self._random = random.Random(seed)  # noqa: S311 - a seed makes a soak come again
        self._due: list[tuple[bytes, Fault]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.calls: Counter[str] = Counter()
        self.faults: Counter[tuple[str, Fault]] = Counter()
        self.sent = 0
        self.repeated = 0
        self.endpoint = ""

    def strike(self, operation: str, fault: Fault) -> None:
        """Let the next call of an operation meet a fault.

        Args:
            operation: Its name as it stands in the head of the request: that of the operation, or
                the method and the beginning of the path for S3.
            fault: The fault.
        """
        self._due.append((operation.encode(), fault))

    async def serve(self, ready: threading.Event, end: asyncio.Event) -> None:
        """Serve on a free port until ``end`` is set."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_HEAD_BYTES)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Clients are killed, and hang up when they lose patience; and the test ends.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        scope = _SCOPE.search(head)
        service = scope[1].decode() if scope else "unknown"
        fault = self._struck(head) or self._draw(service)
        size = int(_header(head, b"content-length") or 0)
        if _header(head, b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
        if fault is Fault.BROKEN:
            await reader.readexactly(size // 2)
            _break(writer)
            return
        request = _Request(head, await reader.readexactly(size), service)
        match fault:
            case Fault.REFUSED:
                writer.write(self._refusal(request))
                await writer.drain()
                return
            case Fault.CONFLICT:
                writer.write(_CONFLICT)
                await writer.drain()
                return
            case Fault.LATE:
                await _hung_up(reader)
            case Fault.SLOW:
                await asyncio.sleep(self._random.uniform(0, self._plan.slow_seconds))
        answer = await self._forward(request, reader)
        match fault:
            case Fault.LOST | Fault.LATE:
                _break(writer)
            case Fault.STALLED:
                await _hung_up(reader)
            case Fault.CUT:
                start = answer.index(b"\r\n\r\n") + 4
                writer.write(answer[: (start + len(answer)) // 2])
                await writer.drain()
            case _:
                writer.write(answer)
                await writer.drain()

    def _struck(self, head: bytes) -> Fault | None:
        """Return the fault that was meant for this call."""
        for due in self._due:
            operation, fault = due
            if operation in head:
                self._due.remove(due)
                return fault
        return None

    def _draw(self, service: str) -> Fault | None:
        """Return what happens to the next call of a service."""
        self.calls[service] += 1
        if self._random.random() >= self._plan.rates.get(service, 0):
            return None
        faults, weights = zip(*self._plan.weights.items(), strict=True)
        fault: Fault = self._random.choices(faults, weights)[0]
        self.faults[service, fault] += 1
        return fault

    def _refusal(self, request: _Request) -> bytes:
        status, kind, code = self._random.choice(_REFUSALS[request.service])
        text = (
            f"<Error><Code>{code}</Code><Message>try again</Message></Error>"
            if kind.endswith("xml")
            else f'{{"__type":"{code}","message":"try again"}}'
        )
        if request.head.startswith(b"HEAD "):
            text = ""
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}"
        ).encode()

    async def _forward(self, request: _Request, reader: asyncio.StreamReader) -> bytes:
        """Pass a request on, and a message a second time; return the answer.

        A client that hangs up lets go of the emulator as well: it would hold a message for it.
        """
        within = self._plan.twice_within_seconds
        self.sent += request.is_sending
        if request.is_sending and within is not None:
            self._spawn(self._again(request, self._random.uniform(0, within)))
        passing = asyncio.ensure_future(self._pass(request))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({passing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not passing.done() and b"ReceiveMessage" not in request.head:
                return await passing
            if not passing.done():
                raise ConnectionResetError
            return passing.result()
        finally:
            for task in (passing, gone):
                task.cancel()
            # Only one may read at a time, and there may be more to wait for.
            await asyncio.gather(passing, gone, return_exceptions=True)

    async def _again(self, request: _Request, pause: float) -> None:
        await asyncio.sleep(pause)
        with suppress(OSError):
            await self._pass(request)
            self.repeated += 1

    async def _pass(self, request: _Request) -> bytes:
        """Send a request to the emulator, as it was signed; return the answer as it came."""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(_closing(request.head) + request.body)
            await writer.drain()
            answer = await reader.read(-1)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return _closing(head + b"\r\n\r\n") + body

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextmanager
def faulty_aws(target: str, plan: FaultPlan, seed: int) -> Iterator[FaultyAws]:
    """Put a proxy before ``target`` while the ``with`` block runs.

    Args:
        target: Endpoint of the emulator.
        plan: How much goes wrong.
        seed: Start of the random numbers.
    """
    proxy = FaultyAws(target, plan, seed)
    ready, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(proxy.serve(ready, end))
        loop.close()

    thread = threading.Thread(target=run, name="faulty-aws", daemon=True)
    thread.start()
    try:
        assert ready.wait(30), "the proxy does not start"
        yield proxy
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(30)


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", head, re.IGNORECASE)
    return found[1] if found else b""


def _closing(head: bytes) -> bytes:
    """Return a head that says that the connection ends with its body; expects no leave for it."""
    head = re.sub(rb"\r\n(connection|expect):[^\r]*", b"", head, flags=re.IGNORECASE)
    return head[:-2] + b"Connection: close\r\n\r\n"


def _break(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, as a network does that is gone."""
    writer.transport.abort()


async def _hung_up(reader: asyncio.StreamReader) -> None:
    """Wait until the client gives up."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LONGEST_STALL_SECONDS):
            await reader.read(1)
