"""The servers that ``api.py`` measures, as processes: ``python -m harness.api_peers MODE PORT``.

``bare`` is a FastAPI route that does nothing, ``bare-bytes`` one that does not even write JSON;
``usual`` is what one would write: FastAPI, PyJWT with its PyJWKClient, boto3 in the thread pool;
``signing`` and ``signing-rsa`` are the API without its memory for signatures, with its own signer
and with botocore's CloudFrontSigner; ``aws`` stands for AWS and for the issuer, with answers that
are ready to be sent. All but ``aws`` run on the server of the API, with its settings.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import boto3
import jwt
from botocore.config import Config
from botocore.signers import CloudFrontSigner
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from harness.api_signers import rsa_signature
from media_api import delivery, signing
from media_api.__main__ import main as serve_api
from media_api.lifecycle import Lifecycle
from media_api.models import VideoBody, video_body
from media_api.process import leave
from media_api.server import serve_until_told
from media_api.settings import Listening
from media_platform.contract import table
from media_platform.contract.run import Run
from media_platform.contract.video import Video

HOST = "127.0.0.1"
_BEARER = HTTPBearer()

CANNED = "BENCH_CANNED"
"""Variable with the path of the answers of ``aws``, and of the body that bare routes return."""


def canned() -> dict[str, Any]:
    """Return what the benchmark prepared."""
    return dict(json.loads(Path(os.environ[CANNED]).read_text()))


class Responder(asyncio.Protocol):
    """Answers by what a request names, without reading more of it than that."""

    answers: dict[bytes, bytes]

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            request, self._buffer = (
                self._buffer[: end + 4 + length],
                self._buffer[end + 4 + length :],
            )
            for mark, answer in self.answers.items():
                if mark in request:
                    self._transport.write(answer)
                    break
            else:
                self._transport.write(_reply({}))


def _reply(content: Any) -> bytes:
    body = json.dumps(content).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def serve_aws(port: int) -> None:
    """Answer for good, without the pauses of a garbage collector: AWS is not one process."""
    gc.freeze()
    gc.disable()
    Responder.answers = {
        mark.encode(): _reply(content) for mark, content in canned()["answers"].items()
    }
    server = await asyncio.get_running_loop().create_server(Responder, HOST, port, backlog=1024)
    await server.serve_forever()


def bare(*, as_bytes: bool) -> Any:
    """Return the application that only answers."""
    app = FastAPI(openapi_url=None)
    content = canned()["body"]
    if as_bytes:
        text = json.dumps(content, separators=(",", ":")).encode()

        @app.get("/api/videos/{video_id}")
        async def get_bytes(video_id: str) -> Response:
            del video_id
            return Response(text, media_type="application/json")

    else:

        @app.get("/api/videos/{video_id}")
        async def get(video_id: str) -> dict[str, Any]:
            del video_id
            return dict(content)

    return app


def usual() -> Any:
    """Return the application that one would write."""
    app = FastAPI(openapi_url=None)
    keys = jwt.PyJWKClient(os.environ["TOKEN_JWKS_URL"])
    client = boto3.client("dynamodb", config=Config(max_pool_connections=64))
    name = os.environ["TABLE_NAME"]

    def user(
        credentials: Annotated[HTTPAuthorizationCredentials, Depends(_BEARER)],
    ) -> dict[str, Any]:
        key = keys.get_signing_key_from_jwt(credentials.credentials)
        claims = jwt.decode(
            credentials.credentials,
            key.key,
            algorithms=["RS256"],
            issuer=os.environ["TOKEN_ISSUER"],
        )
        return dict(claims)

    @app.get("/api/videos/{video_id}")
    def get(video_id: str, claims: dict[str, Any] = Depends(user)) -> VideoBody:  # noqa: B008, FAST002 - `user` is a local name, which annotations cannot have
        item = client.get_item(
            TableName=name, Key=table.video_key(video_id).to_wire(), ConsistentRead=True
        ).get("Item")
        video = Video.from_item(item) if item else None
        if video is None or video.tenant != claims["tenant"]:
            raise HTTPException(404)
        run = None
        if video.current_run:
            answer = client.get_item(
                TableName=name, Key=table.run_key(video_id, video.current_run).to_wire()
            )
            run = Run.from_item(answer["Item"])
        return video_body(video, run, with_rules=False)

    return app


async def serve_app(app: Any, port: int) -> None:
    """Serve an application as the API is served."""

    async def there() -> None:
        """Say that all is well."""

    await serve_until_told(app, Lifecycle(there), Listening(host=HOST, port=port))


def sign_each_time(*, with_rsa: bool) -> None:
    """Let the API sign every grant, with its own signer or with botocore's."""

    class Signer(signing.PlaybackSigner):
        def grant(self, keys: Any, expires_at: int, source_range: str | None = None) -> Any:
            return self._sign(keys, expires_at, source_range)

    if with_rsa:
        signer = CloudFrontSigner("KA", rsa_signature())

        def sign(self: Any, keys: Any, expires_at: int, _source_range: str | None) -> Any:
            policy = signing.playback.policy_text(f"{self.base_url}/{keys.prefix}*", expires_at)
            url = signer.generate_presigned_url(f"{self.base_url}/x", policy=policy)
            parts = dict(part.split("=", 1) for part in url.partition("?")[2].split("&"))
            return signing.Grant(
                keys,
                self.base_url,
                expires_at,
                parts["Policy"],
                parts["Signature"],
                self.key_pair_id,
            )

        Signer._sign = sign  # type: ignore[method-assign] # noqa: SLF001
    delivery.PlaybackSigner = Signer  # type: ignore[misc]


def main() -> None:
    """Serve what the arguments name."""
    mode, port = sys.argv[1], int(sys.argv[2])
    if mode == "aws":
        asyncio.run(serve_aws(port))
    elif mode in {"bare", "bare-bytes"}:
        asyncio.run(serve_app(bare(as_bytes=mode == "bare-bytes"), port))
    elif mode == "usual":
        asyncio.run(serve_app(usual(), port))
    else:
        sign_each_time(with_rsa=mode == "signing-rsa")
        leave(serve_api())
    os._exit(0)


if __name__ == "__main__":
    main()
