"""A plane of a small app of its own, for tests that break things."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from media_platform.contract import playback
from mediactl.local import processes
from mediactl.local.plane import Endpoints, Plane

APP = Path(__file__).with_name("plane_app")


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


class SmallPlane:
    """The small app with a key of its own, and the plane that runs it."""

    def __init__(self, base: Path, state: Path) -> None:
        self.app = base / "app"
        shutil.copytree(APP, self.app)
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.app / "key.pem").write_bytes(public)
        self.plane = Plane(state, app=self.app)
        self.endpoints: Endpoints = Endpoints("", "", [], {}, "")

    def up(self) -> None:
        """Bring it up."""
        self.endpoints = self.plane.up()

    def output(self, name: str) -> str:
        """Return an output of the stack."""
        return self.endpoints.output(name)

    def client(self, service: str, region: str = "eu-west-1", **credentials: str) -> Any:
        """Return a client, with every right unless ``credentials`` are given."""
        return self.plane.emulator().client(service, region, **credentials)

    def pids(self) -> dict[str, int]:
        """Return the pids of all processes of the plane by the name of their record."""
        records = processes.records(self.plane.state.processes)
        return {record.name: record.pid for record in records}

    def service(self, output: str) -> dict[str, Any]:
        """Return what the runner knows of the service with that output."""
        name = self.output(output)
        return next(s for s in self.plane.status().services if s["name"] == name)

    def get(self, path: str, **options: Any) -> Answer:
        """Send one request to the edge, exactly as written."""
        call = urllib.request.Request(  # noqa: S310 - our own loopback URL
            self.endpoints.edge_url + path,
            method=options.get("method", "GET"),
            headers=options.get("headers", {}),
            data=options.get("body"),
        )
        try:
            with _OPENER.open(call, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def signature(self, resource: str, *, seconds: float = 600) -> dict[str, str]:
        """Return the query parameters of a signature for a resource."""
        policy = playback.policy_text(resource, int(time.time() + seconds)).encode()
        return {
            "Policy": playback.encode(policy),
            "Signature": playback.encode(self.key.sign(policy, ec.ECDSA(hashes.SHA256()))),
            "Key-Pair-Id": self.output("KeyId"),
            "Hash-Algorithm": "SHA256",
        }

    def sign(self, path: str, **options: float) -> str:
        """Return a path with a signature for it."""
        parts = self.signature(self.endpoints.edge_url + path, **options)
        return f"{path}?{'&'.join(f'{name}={value}' for name, value in parts.items())}"
