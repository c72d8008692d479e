from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.api.api_issuer import Issuer
from tests.unit.api.api_process import PATIENCE_SECONDS, Api, api_environment, running_api


@pytest.fixture
def own_api(issuer: Issuer, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_environment(token_jwks_url=issuer.url), {}, tmp_path) as api:
        yield api


def test_a_request_in_flight_is_finished_before_the_process_ends(
    own_api: Api, issuer: Issuer
) -> None:
    body = b'{"title": ""}'
    head = (
        "POST /api/videos HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {issuer.user('user-1', 'acme', 'editor')}\r\n"
        "Content-Type: application/json\r\nExpect: 100-continue\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", own_api.port), PATIENCE_SECONDS) as connection:
        connection.sendall(head.encode())
        # The server asks for the body when the handler reads it: the request is in flight.
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        own_api.process.send_signal(signal.SIGTERM)
        own_api.log_message("draining")

        ready = own_api.call("GET", "/health/ready")
        assert (ready.status, ready.headers["Connection"]) == (503, "close")
        assert "stopping" in ready.json["detail"]
        assert own_api.call("GET", "/health/live").status == 200

        connection.sendall(body)
        answer = connection.recv(100_000)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"]
    assert own_api.process.wait(PATIENCE_SECONDS) == 0


def test_an_idle_process_ends_at_once_also_with_open_connections(own_api: Api) -> None:
    with socket.create_connection(("127.0.0.1", own_api.port), PATIENCE_SECONDS) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert own_api.stop() == 0
