"""The API as a process of its own, as its task runs it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from media_platform.contract.delivery import delivery_parameter_name
from media_platform.contract.environment import ApiEnvironment, Environment
from tests.unit.api import api_issuer

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60
JSON = {"Content-Type": "application/json"}
SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer that holds nothing to keep."""


@dataclass(frozen=True)
class Answer:
    """An answer of the API."""

    status: int
    headers: urllib3.HTTPHeaderDict
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Api:
    """A running API."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log_file = log_file
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(60))

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request; a body that is not bytes is sent as JSON."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None and not isinstance(body, bytes):
            body, sent = json.dumps(body).encode(), {**sent, **JSON}
        answer = self._http.request(
            method, self.url + path, body=body, headers={**sent, **(headers or {})}
        )
        return Answer(answer.status, answer.headers, answer.data)

    def call_raw(self, method: str, path: str, *, headers: Mapping[str, str]) -> Answer:
        """Send a request and return the body as it came, still encoded."""
        answer = self._http.request(method, self.url + path, headers=headers, preload_content=False)
        return Answer(answer.status, answer.headers, answer.read(decode_content=False))

    def log_line(self, request_id: str) -> dict[str, Any]:
        """Return the access log line of a request; it is written after the answer was sent."""
        return self._line(request_id=request_id, message="request")

    def log_message(self, message: str, **fields: str) -> dict[str, Any]:
        """Return the first line with a message and values of its fields, once it is there."""
        return self._line(message=message, **fields)

    def _line(self, **wanted: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            text = self.log_file.read_text()
            for line in text[: text.rfind("\n") + 1].splitlines():
                content: dict[str, Any] = json.loads(line)
                if wanted.items() <= content.items():
                    return content
            time.sleep(0.02)
        raise AssertionError(f"no line of the log has {wanted}")

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def api_environment(**changes: Any) -> ApiEnvironment:
    """Return a complete environment whose names stand for nothing."""
    values = {
        "stage": "test",
        "home_region": "eu-central-1",
        "table_name": "videos",
        "raw_bucket": "raw-uploads",
        "media_bucket": "media-files",
        "token_issuer": api_issuer.ISSUER,
        "token_jwks_url": "http://127.0.0.1:9/jwks.json",
        "token_client_id": api_issuer.CLIENT,
        "delivery_parameter": delivery_parameter_name("test"),
        "upload_max_bytes": 1_000_000,
        "upload_expiry_seconds": 600,
        "playback_expiry_seconds": 600,
        "quota_videos": 10_000,
        "quota_bytes": 10**12,
        "quota_uploads": 1000,
        "regions": "eu-central-1,us-west-2",
        "restore_days": 30,
        "webhook_allowed_networks": "none",
        "cache_url": "none",
    }
    return ApiEnvironment(**{**values, **changes})


@contextlib.contextmanager
def running_api(
    environment: Environment,
    variables: Mapping[str, str],
    folder: Path,
    *,
    module: str = "media_api",
) -> Iterator[Api]:
    """Start the API and stop it in the end.

    Args:
        environment: Its environment class.
        variables: What its task would get beside it: endpoint and credentials.
        folder: Where its log goes.
        module: What is started. Default: the API; the admin service has its envelope, too.
    """
    port = free_port()
    log_file = folder / f"api-{port}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env={
                **environment.to_variables(),
                **variables,
                "LISTEN_ADDRESS": f"127.0.0.1:{port}",
                "AWS_EC2_METADATA_DISABLED": "true",
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime/api")]),
                "PATH": os.environ["PATH"],
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_answer(process, port, log_file)
        yield Api(process, port, log_file)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the API ended:\n{log_file.read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"the API does not listen:\n{log_file.read_text()[-2000:]}")
