"""What one region sends to another arrives in order and once, however often the way breaks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mediactl.local.emulator.links import DESTINATION, Links
from mediactl.local.gateway import Gateway
from mediactl.local.ports import free_ports

HERE, THERE = "us-east-1", "eu-west-1"


class Door:
    """Stands for the emulator: takes what comes in, and loses some answers."""

    def __init__(self) -> None:
        self.links: Links
        self.lost_answers = 0
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                door.requests.append((self.path, self.headers["Host"], dict(self.headers)))
                taken = door.links.arrive(json.loads(content)["numbers"])
                if door.lost_answers:
                    door.lost_answers -= 1
                    if door.lost_answers % 2:
                        # It breaks off behind its head.
                        self.send_response(200)
                        self.send_header("Content-Length", "9")
                        self.end_headers()
                    return
                body = json.dumps(taken).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.links = Links("token", self.port)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Sent:
    """Numbers that are sent, and those that arrived."""

    def __init__(self, door: Door, count: int) -> None:
        self.arrived: list[int] = []
        self.whole = threading.Event()
        for number in range(count):
            door.links.send(HERE, THERE, lambda number=number: self._take(number, count))  # type: ignore[misc]

    def _take(self, number: int, count: int) -> None:
        self.arrived.append(number)
        if len(self.arrived) >= count:
            self.whole.set()


class Gateways:
    """Gateways of both regions, each in a loop of its own that can be ended."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.ports = dict(zip((HERE, THERE), free_ports(2), strict=True))
        self._loops: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = {}

    def open(self, region: str) -> None:
        ready = threading.Event()

        def run() -> None:
            async def serve() -> None:
                port = self.ports[region]
                gateway = Gateway(region, port, lambda: self.ports, self._door.port)
                task = asyncio.create_task(gateway.serve())
                self._loops[region] = (asyncio.get_running_loop(), task)
                ready.set()
                await asyncio.wait({task})

            asyncio.run(serve())

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(10)

    def close(self, region: str) -> None:
        loop, task = self._loops.pop(region)
        loop.call_soon_threadsafe(task.cancel)


@pytest.fixture
def gateways(door: Door) -> Iterator[Gateways]:
    made = Gateways(door)
    door.links.connect(made.ports)
    yield made
    for region in list(made._loops):
        made.close(region)


def test_all_arrives_in_order(door: Door) -> None:
    sent = Sent(door, 500)
    assert sent.whole.wait(20)
    assert sent.arrived == list(range(500))


def test_a_lost_answer_brings_nothing_twice(door: Door) -> None:
    door.lost_answers = 3
    sent = Sent(door, 5)
    assert sent.whole.wait(20)
    again = Sent(door, 1)
    assert again.whole.wait(20)
    assert sent.arrived == [0, 1, 2, 3, 4]


def test_what_cannot_be_taken_does_not_hold_up_the_rest(door: Door) -> None:
    def fail() -> None:
        raise OSError

    door.links.send(HERE, THERE, fail)
    assert Sent(door, 3).whole.wait(20)


@pytest.mark.parametrize("closed", [HERE, THERE])
def test_nothing_passes_while_a_gateway_is_closed_and_all_does_later(
    door: Door, gateways: Gateways, closed: str
) -> None:
    gateways.open(THERE if closed == HERE else HERE)
    sent = Sent(door, 3)
    assert not sent.whole.wait(1)
    (way,) = door.links.waiting()
    assert way == {"source": HERE, "destination": THERE, "parcels": 3}
    gateways.open(closed)
    assert sent.whole.wait(20)
    assert sent.arrived == [0, 1, 2]
    path, _, headers = door.requests[-1]
    assert path == "/_mediactl/arrive"
    assert headers[DESTINATION.title()] == THERE
