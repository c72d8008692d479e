"""An issuer of access tokens: keys, tokens, and a real HTTP server for the key set."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"
CLIENT = "4example23client"

LIFE_SECONDS = 24 * 3600
"""Longer than any run of the tests: one that searches for hours must not end in refused tokens."""


class Issuer:
    """Signs tokens and serves its keys.

    Attributes:
        keys: Keys by id; those in it are served.
        down: Whether the key set answers with an error.
        reads: How often the key set was read.
        second_read: Set once the key set was read twice.
        document: What is served instead of the keys, if anything.
    """

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey] = {}
        self.down = False
        self.reads = 0
        self.second_read = threading.Event()
        self.document: bytes | None = None
        self.url = ""
        self.add_key("first")

    def add_key(self, kid: str) -> RSAKey:
        self.keys[kid] = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})
        return self.keys[kid]

    def token(self, *, kid: str = "first", key: RSAKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "kid": kid}
        return jwt.encode(header, {**self.claims(now), **claims}, key or self.keys[kid])

    def user(self, user: str, tenant: str, *groups: str) -> str:
        """Return an access token of a user."""
        more: dict[str, Any] = {"cognito:groups": list(groups)} if groups else {}
        return self.token(sub=user, tenant=tenant, **more)

    @staticmethod
    def claims(now: int) -> dict[str, Any]:
        return {
            "iss": ISSUER,
            "client_id": CLIENT,
            "token_use": "access",
            "sub": "5a1e0c8e-0000-4000-8000-000000000001",
            "tenant": "acme",
            "iat": now,
            "exp": now + LIFE_SECONDS,
        }

    def key_set(self) -> bytes:
        if self.document is not None:
            return self.document
        return json.dumps(
            {"keys": [key.as_dict(private=False) for key in self.keys.values()]}
        ).encode()


@contextlib.contextmanager
def serving_issuer() -> Iterator[Issuer]:
    """Serve the key set of a new issuer on a free port of the loopback interface."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.reads += 1
            if issuer.reads > 1:
                issuer.second_read.set()
            content = b"{}" if issuer.down else issuer.key_set()
            self.send_response(503 if issuer.down else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
