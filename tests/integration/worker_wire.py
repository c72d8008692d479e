"""A wire between a worker and the emulator on which any call can be held.

A worker that is killed while one of its calls is held dies at exactly this point of its work: with
everything before it done, and nothing behind it.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from waiting import PATIENCE_SECONDS

_DENIED = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
_HOP_BY_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Call:
    """A call of a worker.

    Attributes:
        operation: ``UpdateItem``, ``SendMessage``, ...; the HTTP method of calls to S3.
        text: The body of a call with an operation, the path of a call to S3.
        body: The body, as bytes.
        answer: The body of the answer; empty before it was sent on.
    """

    operation: str
    text: str
    body: bytes = field(default=b"", repr=False)
    answer: str = field(default="", repr=False)

    def puts(self, ending: str, *words: bytes) -> bool:
        """Tell whether it writes an object whose key ends so, and that holds ``words``."""
        return (
            self.operation == "PUT"
            and self.text.endswith(ending)
            and all(word in self.body for word in words)
        )

    def updates(self, item: str, *fields: str) -> bool:
        """Tell whether it updates ``fields`` of an item whose sort key ends so."""
        return (
            self.operation == "UpdateItem"
            and f'{item}"' in self.text
            and all(f'":{name}"' in self.text for name in fields)
        )


@dataclass
class Trap:
    """Holds the first call that it looks for, until it is let go or dropped."""

    look: Callable[[Call], bool]
    behind: bool
    _caught: threading.Event = field(default_factory=threading.Event)
    _go: threading.Event = field(default_factory=threading.Event)
    _dropped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Wait until the call is held."""
        assert self._caught.wait(PATIENCE_SECONDS), "no call came that the trap looks for"

    def let_go(self) -> None:
        """Send the call on, or its answer back."""
        self._go.set()

    def drop(self) -> None:
        """Lose the call, or its answer."""
        self._dropped = True
        self._go.set()

    def takes(self, call: Call, *, behind: bool) -> bool:
        """Hold a call if it is the one; tell whether it is lost."""
        with self._lock:
            if behind is not self.behind or self._caught.is_set() or not self.look(call):
                return False
            self._caught.set()
        self._go.wait()
        return self._dropped


@dataclass
class Cut(Trap):
    """Holds everything of what it looks for from some number of answers on."""

    after: int = 0
    _answered: int = 0

    def takes(self, call: Call, *, behind: bool) -> bool:
        """Hold a call that comes too late, or the last answer; tell whether it is lost."""
        if not self.look(call):
            return False
        with self._lock:
            self._answered += behind
            if self._answered < self.after:
                return False
            self._caught.set()
        self._go.wait()
        return self._dropped


@dataclass
class Wire:
    """The wire.

    Attributes:
        url: What the worker takes for the endpoint of AWS.
        calls: Every call that was answered, in this order.
        refuse: Says which calls are denied, as if a right were missing.
    """

    url: str
    calls: list[Call] = field(default_factory=list)
    refuse: Callable[[Call], bool] = lambda _: False
    _traps: list[Trap] = field(default_factory=list)

    def before(self, look: Callable[[Call], bool]) -> Trap:
        """Hold the first call for which ``look`` says so, before anybody sees it."""
        return self._set(Trap(look, behind=False))

    def behind(self, look: Callable[[Call], bool]) -> Trap:
        """Hold the answer to the first such call: what it asked for is done, and nobody knows."""
        return self._set(Trap(look, behind=True))

    def cut(self, look: Callable[[Call], bool], *, after: int) -> Trap:
        """Hold such calls for good once some of them took effect, and the answer to the last.

        Whoever asks again after a while, because no answer comes, is held like the others.

        Args:
            look: Says which calls are meant.
            after: Calls that take effect.
        """
        return self._set(Cut(look, behind=False, after=after))

    def loses(self, call: Call, *, behind: bool) -> bool:
        """Show a call to all traps; tell whether one of them loses it."""
        lost = [trap.takes(call, behind=behind) for trap in list(self._traps)]
        return any(lost)

    def close(self) -> None:
        """Drop whatever is held."""
        for trap in self._traps:
            trap.drop()

    def _set(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        return trap


def _ask(
    host: str | None, port: int | None, request: BaseHTTPRequestHandler, body: bytes
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request on as it came, so that its signature holds; return the answer."""
    connection = http.client.HTTPConnection(str(host), port, timeout=PATIENCE_SECONDS)
    connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name.lower() not in _HOP_BY_HOP:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


@contextmanager
def wire_to(endpoint: str) -> Iterator[Wire]:
    """Lay a wire to an emulator."""
    target = urlsplit(endpoint)
    wire: Wire

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE_SECONDS

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", self.command).rpartition(".")[2]
            is_s3 = operation == self.command
            text = unquote(self.path) if is_s3 else body.decode()
            if wire.loses(Call(operation, text, body), behind=False):
                self.close_connection = True
                return
            if wire.refuse(Call(operation, text, body)):
                self.send_response_only(HTTPStatus.FORBIDDEN)
                self.send_header("Content-Length", str(len(_DENIED)))
                self.end_headers()
                self.wfile.write(_DENIED)
                return
            answer, content = _ask(target.hostname, target.port, self, body)
            call = Call(operation, text, body, "" if is_s3 else content.decode())
            if wire.loses(call, behind=True):
                self.close_connection = True
                return
            wire.calls.append(call)
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815

        def handle(self) -> None:
            """Serve a connection; that of a worker which was killed ends anyhow."""
            try:
                super().handle()
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    wire = Wire(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="wire", daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.close()
        server.shutdown()
        server.server_close()
