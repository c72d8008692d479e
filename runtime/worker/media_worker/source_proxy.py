"""A loopback server through which children read one object version, and nothing else.

Children have no credentials and no way to the network; the worker reads bounded ranges for them.
Blocks are kept for a moment, since the video and the audio of a job read the same ones.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Protocol, Self

import structlog

BLOCK_BYTES = 1024 * 1024
CACHED_BLOCKS = 24

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

        threading.Thread(target=read, name="read-ahead", daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    cache: BlockCache
    size: int
    path: str
    failure: Exception | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: children close connections whenever they seek."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer a range, streaming it block by block for as long as the child listens."""
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
        cache = self.server.cache
        while start < end:
            number, offset = divmod(start, BLOCK_BYTES)
            try:
                block = cache.block(number)
            except Exception as error:
                self.server.failure = error
                raise ConnectionAbortedError from error
            if end > (number + 1) * BLOCK_BYTES:
                cache.read_ahead(number + 1)
            part = block[offset : offset + end - start]
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
        structlog.get_logger().debug("source closed", bytes_read=self.bytes_read)

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
