"""The private HTTP door of the emulator, through which the process runner reports and reads.

Every request carries the token that the plane made for this emulator; nothing else may know it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

PREFIX = "/_mediactl/"
TOKEN_HEADER = b"x-mediactl-token"

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
Operation = Callable[[dict[str, Any]], Any]


def with_control_door(
    application: Application, token: str, operations: Mapping[str, Operation]
) -> Application:
    """Return ``application`` with ``POST /_mediactl/<operation>`` in front of it."""

    async def handle(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await application(scope, receive, send)
            return
        body = await read(receive)
        given = dict(scope["headers"]).get(TOKEN_HEADER, b"")
        operation = operations.get(scope["path"].removeprefix(PREFIX))
        if not hmac.compare_digest(given, token.encode()):
            await _answer(send, 403, {"error": "the control token is missing or wrong"})
        elif operation is None:
            await _answer(send, 404, {"error": "no such operation"})
        else:
            await _answer(send, 200, operation(json.loads(body or b"{}")))

    return handle


async def read(receive: Receive) -> bytes:
    """Return the whole body of a request."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, status: int, value: Any) -> None:
    body = json.dumps(value, default=str).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
