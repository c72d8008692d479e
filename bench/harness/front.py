"""A server in front of the emulator: it holds large sources, and counts what passes.

An emulator that keeps objects in memory cannot hold ten gigabytes, so versions of raw objects that
are registered here are read from here. Everything else is passed on as it came.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from harness.repeated import VirtualFile

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_JSON_PROTOCOL = "x-amz-target"


@dataclass
class Seen:
    """What has passed.

    Attributes:
        calls: Number of calls by service, operation and what it is about.
        bytes_read: Bytes of registered sources that were sent.
    """

    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    bytes_read: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, service: str, operation: str, about: str) -> None:
        """Count one call."""
        with self.lock:
            self.calls[service, operation, about] += 1

    def reset(self) -> None:
        """Begin again."""
        with self.lock:
            self.calls.clear()
            self.bytes_read = 0


class Front(ThreadingHTTPServer):
    """The server.

    Args:
        emulator: ``host:port`` of what is behind it.

    Attributes:
        seen: What has passed.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, emulator: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = emulator
        self.files: dict[str, VirtualFile] = {}
        self.seen = Seen()
        self.local = threading.local()

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def hold(self, bucket: str, key: str, file: VirtualFile) -> None:
        """Answer reads of an object, whatever version, with ``file``."""
        self.files[f"/{bucket}/{key}"] = file

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Front
    _behind: http.client.HTTPConnection | None = None

    def do_GET(self) -> None:
        file = self.server.files.get(unquote(urlsplit(self.path).path))
        if file is None:
            self._forward()
        else:
            self._count(b"")
            self._answer(file)

    do_HEAD = do_GET  # noqa: N815 - names of the base

    def handle_expect_100(self) -> bool:
        """Ask for the body at once; clients wait a second before they send it unasked."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def do_POST(self) -> None:
        self._forward()

    do_PUT = do_POST  # noqa: N815
    do_DELETE = do_POST  # noqa: N815

    def finish(self) -> None:
        super().finish()
        if self._behind is not None:
            self._behind.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base
        """Leave requests out of the log."""

    def _answer(self, file: VirtualFile) -> None:
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, end = 0, file.size
        if asked:
            start = int(asked[1])
            end = min(file.size, int(asked[2]) + 1) if asked[2] else file.size
        if start >= end:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"registered"')
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        for part in file.read(start, end):
            self.wfile.write(part)
        with self.server.seen.lock:
            self.server.seen.bytes_read += end - start

    def _forward(self) -> None:
        body = self._body()
        self._count(body)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP | {"expect"}}
        if self._behind is None:
            self._behind = http.client.HTTPConnection(self.server.emulator, timeout=60)
        self._behind.request(self.command, self.path, body or None, headers)
        answer = self._behind.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"date", "server"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _count(self, body: bytes) -> None:
        target = self.headers.get(_JSON_PROTOCOL)
        if target:
            service, _, operation = target.partition(".")
            service = "DynamoDB" if service.startswith("DynamoDB") else service
            content = json.loads(body or b"{}")
            about = _item(operation, content) if service == "DynamoDB" else _queue(content)
            if service == "DynamoDB" and operation == "TransactWriteItems":
                for write in content["TransactItems"]:
                    ((kind, inner),) = write.items()
                    self.server.seen.count(service, f"Transact{kind}", _item(kind, inner))
                return
            self.server.seen.count(service, operation, about)
            return
        split = urlsplit(self.path)
        query = parse_qs(split.query, keep_blank_values=True)
        bucket, _, key = split.path.lstrip("/").partition("/")
        operation = (
            f"{self.command}{''.join(f'?{name}' for name in ('list-type',) if name in query)}"
        )
        self.server.seen.count("S3", operation, _object(bucket, key))


def _item(operation: str, content: dict[str, object]) -> str:
    """Return which kind of item a call is about."""
    if operation == "Query":
        return "PART page"
    found = content.get("Key") or content.get("Item") or {}
    key = found["sk"]["S"] if isinstance(found, dict) and "sk" in found else "other"
    for mark, name in (
        ("#PART#video", "PART video"),
        ("#PART#", "PART other"),
        ("#STATE", "RUN"),
        ("META", "META"),
        ("EVENT#", "EVENT"),
    ):
        if mark in key:
            return name
    return "other"


def _queue(content: dict[str, object]) -> str:
    return str(content.get("QueueUrl", "")).rpartition("/")[2]


def _object(bucket: str, key: str) -> str:
    """Return which kind of object a call is about."""
    if key.startswith("raw/"):
        return "source"
    name = key.rpartition("/")[2]
    kinds = {"m4s": "segment", "m3u8": "playlist", "mp4": "init"}
    return kinds.get(name.rpartition(".")[2], "other") if key else bucket


@contextmanager
def running_front(emulator: str) -> Iterator[Front]:
    """Serve in front of ``host:port`` while the block runs."""
    front = Front(emulator)
    thread = threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield front
    finally:
        front.shutdown()
        front.server_close()
        thread.join()
