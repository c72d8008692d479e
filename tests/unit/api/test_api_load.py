"""What the API does with more than it can do: with a table that does not answer, and alone."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from media_api import middleware
from media_api.lifecycle import Lifecycle
from media_api.load import (
    LONG_WAIT_SECONDS,
    MOST_IN_FLIGHT,
    MOST_LATE_SECONDS,
    MOST_REFUSED,
    Load,
)
from media_api.middleware import Envelope
from media_platform.contract.ids import new_id
from tests.unit.api.api_issuer import Issuer
from tests.unit.api.api_process import (
    PATIENCE_SECONDS,
    SECURITY,
    Answer,
    Api,
    api_environment,
    running_api,
)


class StallingTable:
    """A table without items, that answers or keeps everyone waiting.

    Attributes:
        answers: Set while it answers.
        url: Where it is.
    """

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.url = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def stalling_table() -> Iterator[StallingTable]:
    table = StallingTable()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            table.answers.wait(60)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    table.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield table
    finally:
        table.answers.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def table() -> Iterator[StallingTable]:
    with stalling_table() as table:
        yield table


@pytest.fixture
def own_api(issuer: Issuer, table: StallingTable, tmp_path: Path) -> Iterator[Api]:
    variables = {
        "AWS_ENDPOINT_URL": table.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    with running_api(api_environment(token_jwks_url=issuer.url), variables, tmp_path) as api:
        yield api


@pytest.fixture
def token(issuer: Issuer) -> str:
    return issuer.user("user-1", "acme", "editor")


def get(api: Api, token: str) -> Answer:
    return api.call("GET", f"/api/videos/{new_id()}", token=token)


@contextmanager
def full(api: Api, token: str) -> Iterator[list[socket.socket]]:
    """Have as many requests in flight as there may be, while the block runs."""
    with ExitStack() as stack:
        connections = []
        for _ in range(MOST_IN_FLIGHT):
            address = ("127.0.0.1", api.port)
            connection = stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS))
            head = (
                f"GET /api/videos/{new_id()} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {token}\r\n\r\n"
            )
            connection.sendall(head.encode())
            connections.append(connection)
        # They are taken up one after the other; the first that is one too many is refused.
        while True:
            refused = api.call("GET", "/api/nothing")
            if refused.status == 503:
                break
        yield connections


def test_what_is_too_much_is_refused_at_once_and_the_rest_is_answered(
    own_api: Api, table: StallingTable, token: str
) -> None:
    assert get(own_api, token).status == 404
    assert own_api.call("GET", "/health/ready").status == 200
    table.answers.clear()
    with full(own_api, token) as waiting:
        # Not even the token is looked at.
        for answer in (get(own_api, token), get(own_api, "x"), own_api.call("PUT", "/", body=b"{")):
            assert answer.status == 503
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json["type"] == "urn:media-platform:problem:overloaded"
            assert answer.json["request_id"] == answer.headers["X-Request-Id"]
            assert 1 <= int(answer.headers["Retry-After"]) <= 3
            assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
        assert own_api.call("GET", "/health/live").status == 200
        assert own_api.call("GET", "/health/ready").status == 200
        assert own_api.log_message("overloaded")["in_flight"] == MOST_IN_FLIGHT

        table.answers.set()
        for connection in waiting:
            assert connection.recv(1000).startswith(b"HTTP/1.1 404 ")
        assert get(own_api, token).status == 404


def test_a_full_process_ends_when_it_is_told_and_finishes_what_it_took_on(
    own_api: Api, table: StallingTable, token: str
) -> None:
    get(own_api, token)
    table.answers.clear()
    with full(own_api, token) as waiting:
        own_api.process.send_signal(signal.SIGTERM)
        own_api.log_message("draining")
        refused = get(own_api, token)
        assert (refused.status, refused.headers["Connection"]) == (503, "close")
        table.answers.set()
        for connection in waiting:
            assert connection.recv(1000).startswith(b"HTTP/1.1 404 ")
    assert own_api.process.wait(PATIENCE_SECONDS) == 0


def test_metrics_of_the_last_minute_are_written_before_the_end(own_api: Api, token: str) -> None:
    video = f"/api/videos/{new_id()}"
    for path in (video, f"{video}/playback", "/api/nothing", "/health/live"):
        own_api.call("GET", path, token=token)
    own_api.call("POST", "/api/videos", token=token, body={})
    own_api.call("GET", "/api/videos")
    assert own_api.stop() == 0
    lines = [json.loads(line) for line in own_api.log_file.read_text().splitlines()]
    metrics = [line for line in lines if "_aws" in line]
    requests = {(line["Route"], line["Status"]): line for line in metrics if "Route" in line}
    assert {key: line["ApiLatencySeconds"]["Count"] for key, line in requests.items()} == {
        ("read", "4xx"): 1,
        ("playback", "4xx"): 1,
        ("other", "4xx"): 1,
        ("write", "4xx"): 1,
        ("list", "4xx"): 1,
    }
    read = requests["read", "4xx"]
    (directive,) = read["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "MediaPlatform"
    assert directive["Dimensions"] == [["Stage", "Route", "Status"]]
    assert {m["Name"]: m["Unit"] for m in directive["Metrics"]} == {"ApiLatencySeconds": "Seconds"}
    assert read["ApiLatencySeconds"]["Count"] == sum(read["ApiLatencySeconds"]["Counts"]) == 1
    (calls,) = [line for line in metrics if line.get("Service") == "DynamoDB"]
    assert (calls["CallSeconds"]["Count"], calls["CallErrors"]) == (2, 0)
    (counts,) = [line for line in metrics if "ApiRefused" in line]
    assert counts["ApiRefused"] == counts["PlaybackGrants"] == counts["EventsWritten"] == 0
    assert counts["ApiInFlight"] == 1
    assert counts["CacheHitRatio"] == 0


async def nothing() -> None:
    """A table that is always there."""


class Client:
    """What the server would pass on for one request."""

    def __init__(self, method: str = "GET") -> None:
        self.scope: Scope = {
            "type": "http",
            "method": method,
            "path": "/api/videos",
            "headers": [],
            "query_string": b"",
        }
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        self._asked = False

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b""}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def enveloped(app: Any) -> tuple[Envelope, Lifecycle]:
    lifecycle = Lifecycle(nothing)
    return Envelope(app, lifecycle=lifecycle, max_body_bytes=1000), lifecycle


async def hanging(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.Event().wait()


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_takes_too_long_is_answered(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(middleware, "REQUEST_SECONDS", 0.01)
    monkeypatch.setattr(middleware, "_IMPATIENT_AFTER_SECONDS", 0)
    app, lifecycle = enveloped(hanging)
    client = Client(method)
    await app(client.scope, client.receive, client.send)
    assert client.sent[0]["status"] == 503
    assert b"retry-after" in dict(client.sent[0]["headers"])
    assert lifecycle.load.in_flight == 0


@pytest.mark.anyio
async def test_reading_ends_with_its_client_and_writing_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(middleware, "_IMPATIENT_AFTER_SECONDS", 0)
    finished = asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await finished.wait()

    app, lifecycle = enveloped(slow)
    reader, writer = Client("GET"), Client("DELETE")
    reading = asyncio.create_task(app(reader.scope, reader.receive, reader.send))
    writing = asyncio.create_task(app(writer.scope, writer.receive, writer.send))
    reader.gone.set()
    writer.gone.set()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert lifecycle.load.in_flight == 1
    finished.set()
    await writing
    assert lifecycle.load.in_flight == 0


class OwnTime:
    """Time of the event loop as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        # Beats are made by hand: the loop would wait for its own time.
        monkeypatch.setattr(loop, "call_at", lambda *_: None)


@pytest.fixture
async def own_time(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OwnTime]:
    with monkeypatch.context() as patched:
        yield OwnTime(patched)


async def in_line(load: Load, count: int) -> list[asyncio.Task[bool]]:
    """Let some requests stand in line, one after the other."""
    tasks = [asyncio.create_task(load.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def beat(load: Load) -> None:
    """Let the loop beat, and those act who are called up."""
    load._beat()
    await asyncio.sleep(0)


@pytest.mark.anyio
async def test_requests_stand_in_line_while_the_loop_is_late(own_time: OwnTime) -> None:
    load = Load()
    assert not load.is_late()
    own_time.now += MOST_LATE_SECONDS + 0.1
    assert load.is_late()
    (waiting,) = await in_line(load, 1)
    await beat(load)
    assert not waiting.done()
    await beat(load)
    assert waiting.result()
    assert (load.in_flight, load.in_line) == (1, 0)


@pytest.mark.anyio
async def test_once_the_line_is_slow_the_newest_are_called_first(own_time: OwnTime) -> None:
    load = Load(limit=1, wait_seconds=1)
    load.begin()
    first, second = await in_line(load, 2)
    own_time.now += 0.4
    await beat(load)
    (third,) = await in_line(load, 1)
    load.end()
    await asyncio.wait({first})
    own_time.now += 0.2
    load.end()
    await asyncio.wait({third})
    assert not second.done()
    own_time.now += 0.4
    await beat(load)
    assert not second.result()
    assert load.in_flight == 1


@pytest.mark.anyio
async def test_a_few_are_refused_at_a_time(own_time: OwnTime) -> None:
    load = Load(limit=1)
    load.begin()
    tasks = await in_line(load, MOST_REFUSED + 1)
    own_time.now += LONG_WAIT_SECONDS
    await beat(load)
    assert [task.done() for task in tasks] == [True] * MOST_REFUSED + [False]
    await beat(load)
    assert not any(task.result() for task in tasks)


@pytest.mark.anyio
async def test_who_stands_in_line_is_answered_before_the_end() -> None:
    lifecycle = Lifecycle(nothing, Load(limit=1))
    lifecycle.begin()
    waiting = asyncio.create_task(lifecycle.wait())
    draining = asyncio.create_task(lifecycle.drain(PATIENCE_SECONDS))
    await asyncio.sleep(0)
    lifecycle.end()
    assert await waiting
    assert not draining.done()
    lifecycle.end()
    assert await draining


@pytest.mark.anyio
async def test_those_in_line_take_the_places_of_others_in_their_order() -> None:
    load = Load(limit=2, wait_seconds=60)
    load.begin()
    load.begin()
    assert load.is_full
    order: list[str] = []

    async def wait(name: str) -> None:
        assert await load.wait()
        order.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.wait({waiting[1]})
    load.end()
    load.end()
    await asyncio.gather(waiting[0], waiting[2])
    assert order == ["a", "c"]
    assert load.in_flight == 2
    load.end()
    load.end()
    assert load.in_flight == 0


@pytest.mark.anyio
async def test_who_stood_in_line_too_long_is_not_counted_in() -> None:
    load = Load(limit=1, wait_seconds=0)
    load.begin()
    assert not await load.wait()
    load.end()
    assert load.in_flight == 0


@pytest.mark.anyio
async def test_a_place_that_was_given_to_who_is_gone_is_given_on() -> None:
    load = Load(limit=1, wait_seconds=60)
    load.begin()
    first, second = (asyncio.create_task(load.wait()) for _ in range(2))
    await asyncio.sleep(0)
    load.end()
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert await second
    assert load.in_flight == 1


def test_the_most_in_flight_is_kept_from_one_minute_to_the_next() -> None:
    load = Load(limit=3)
    for _ in range(3):
        load.begin()
    assert load.is_full
    load.end()
    assert load.take_counts() == (3, 0)
    assert load.take_counts() == (2, 0)
