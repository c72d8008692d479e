"""A loopback server through which children read one object version, and nothing else.

Children have no credentials and no way to the network; the worker reads bounded ranges for them.
Blocks are kept for a moment, since the video and the audio of a job read the same ones.

ffmpeg asks for everything up to the end, reads what it needs and hangs up. So little is sent ahead
of it, and nothing is read ahead before a connection has proved that it reads on.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from media_worker.threads import as_here, make_pool

BLOCK_BYTES = 1024 * 1024
CACHED_BLOCKS = 12
CONNECTIONS = 32
"""More at a time are turned away; a child has one or two."""

_READ_AHEAD = 2
"""Blocks that are read at a time ahead of children that read on and on."""

_SEND_BYTES = 128 * 1024
"""What the kernel may take off us ahead of the child; by itself it would take megabytes."""

_REQUEST_SECONDS = 30

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class RangeReader(Protocol):
    """Reads parts of the source."""

    def size(self) -> int:
        """Return the size of the source in bytes."""

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``, all of them."""


class BlockCache:
    """The last blocks that were read, each read once however many ask for it.

    Args:
        reader: Reads the source.
        size: Size of the source in bytes.
    """

    def __init__(self, reader: RangeReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._ahead = make_pool("read-ahead", _READ_AHEAD)
        self.bytes_read = 0

    def block(self, number: int) -> bytes:
        """Return a block, reading it if need be."""
        with self._lock:
            future = self._blocks.get(number)
            mine = future is None
            if future is None:
                future = self._blocks[number] = Future()
                while len(self._blocks) > CACHED_BLOCKS:
                    self._blocks.popitem(last=False)
            else:
                self._blocks.move_to_end(number)
        if mine:
            start = number * BLOCK_BYTES
            try:
                data = self._reader.read(start, min(start + BLOCK_BYTES, self._size))
            except BaseException as error:
                with self._lock:
                    self._blocks.pop(number, None)
                future.set_exception(error)
                raise
            self.bytes_read += len(data)
            future.set_result(data)
        return future.result()

    def read_ahead(self, number: int) -> None:
        """Start reading a block that will be asked for next, if there is one."""
        if number * BLOCK_BYTES >= self._size or number in self._blocks:
            return

        def read() -> None:
            with suppress(Exception):  # whoever needs the block meets the error himself
                self.block(number)

        with suppress(RuntimeError):  # the job has ended
            self._ahead.submit(read)

    def close(self) -> None:
        """Read nothing ahead any more, and forget all blocks."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._blocks.clear()


@dataclass
class Served:
    """What children were sent within a limit.

    Attributes:
        left: Bytes that may still be sent.
        exhausted: Whether they asked for more.
    """

    left: int
    exhausted: bool = False

    def take(self, size: int) -> None:
        """Count ``size`` bytes.

        Raises:
            ConnectionAbortedError: If there are not as many left.
        """
        if size > self.left:
            self.exhausted = True
            raise ConnectionAbortedError
        self.left -= size


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    cache: BlockCache
    size: int
    path: str
    failure: Exception | None = None
    served: Served | None = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._answer = as_here(super().process_request_thread)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, of which there is a limited number."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another connection."""
        try:
            self._answer(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: children close connections whenever they seek."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        """Wait a limited time for the request, and let little of the answer pile up."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        self.request.settimeout(_REQUEST_SECONDS)
        super().setup()

    def do_GET(self) -> None:
        """Answer a range, streaming it block by block for as long as the child listens."""
        self.request.settimeout(None)  # an encoder may take its time
        self.close_connection = True
        if not secrets.compare_digest(self.path, self.server.path):
            self.send_error(404)
            return
        start, end = 0, self.server.size
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked:
            start = int(asked[1])
            end = min(end, int(asked[2]) + 1) if asked[2] else end
        if start >= end:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{self.server.size}")
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        # Unless it is told, libavformat takes the connection for a lasting one, and a seek back
        # to the start after the last byte fails: a file with its index at the end loses its head.
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{self.server.size}")
        self.end_headers()
        with suppress(ConnectionError):
            self._send(start, end)

    def _send(self, start: int, end: int) -> None:
        cache, served = self.server.cache, self.server.served
        first = start // BLOCK_BYTES
        while start < end:
            number, offset = divmod(start, BLOCK_BYTES)
            try:
                block = cache.block(number)
            except Exception as error:
                self.server.failure = error
                raise ConnectionAbortedError from error
            if number > first and end > (number + 1) * BLOCK_BYTES:
                cache.read_ahead(number + 1)
            part = memoryview(block)[offset : offset + min(end - start, _SEND_BYTES)]
            if served is not None:
                served.take(len(part))
            self.wfile.write(part)
            start += len(part)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base
        """Leave the requests of children out of the log."""


class SourceProxy:
    """Serves the source to the children of one job while the ``with`` block runs.

    Args:
        reader: Reads the source.
        size: Its size in bytes.
    """

    def __init__(self, reader: RangeReader, size: int) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.cache = BlockCache(reader, size)
        self._server.size = size
        self._server.path = f"/{secrets.token_urlsafe(24)}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="source-proxy", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server.cache.close()
        structlog.get_logger().debug("source closed", bytes_read=self.bytes_read)

    @contextmanager
    def serving_at_most(self, size: int) -> Iterator[Served]:
        """Send no more than ``size`` bytes to all children together within the ``with`` block."""
        served = self._server.served = Served(size)
        try:
            yield served
        finally:
            self._server.served = None

    @property
    def url(self) -> str:
        """Where children read the source."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._server.path}"

    @property
    def failure(self) -> Exception | None:
        """Why the source could not be read, if it could not: then no verdict on it counts."""
        return self._server.failure

    @property
    def bytes_read(self) -> int:
        """Bytes read from the source so far."""
        return self._server.cache.bytes_read
