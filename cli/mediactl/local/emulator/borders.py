"""Calls of tasks to another region leave through the gateway of their own.

All regions of a plane share one emulator, so a task of one region could reach what another holds
although one of the two is cut off. What a task signs for another region than the one its
credentials were made in is therefore sent out, and comes back in, through the gateways of both.
"""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import get_region
from ministack.services import sts

from .control import Application, Receive, Send, read
from .links import DESTINATION, Links

_SCOPE = re.compile(rb"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
_CALL_SECONDS = 30
_REGION = "_mediactl_region"
"""Key under which a session keeps the region that it was made in."""

_CROSSED = DESTINATION.encode()


@dataclass(frozen=True)
class _Crossing:
    source: str
    destination: str


def with_borders(application: Application, links: Links) -> Application:
    """Return ``application`` with borders between the regions that have gateways."""
    _note_regions()

    async def handle(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        crossing = _crossing(scope) if links.have_gateways else None
        port = links.gateway(crossing.source) if crossing else None
        if crossing is None or port is None:
            await application(scope, receive, send)
            return
        body = await read(receive)
        try:
            status, headers, content = await asyncio.to_thread(
                _pass_on, port, crossing, scope, body
            )
        except (OSError, http.client.HTTPException):
            # What SDKs take as they take no answer: they try again, then tell the caller.
            status, headers, content = 503, [], b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return handle


def _note_regions() -> None:
    register: Callable[[str, dict[str, Any]], None] = sts.register_session

    def register_session(access_key: str, session: dict[str, Any]) -> None:
        session[_REGION] = get_region()
        register(access_key, session)

    sts.register_session = register_session


def _crossing(scope: dict[str, Any]) -> _Crossing | None:
    """Return from where to where a call goes, ``None`` if it crosses no border, or has already."""
    if scope["type"] != "http":
        return None
    headers = dict(scope["headers"])
    found = _SCOPE.search(headers.get(b"authorization", b""))
    if found is None or _CROSSED in headers:
        return None
    session = sts._sessions.get(found[1].decode()) or {}  # noqa: SLF001
    source, destination = session.get(_REGION), found[2].decode()
    if source is None or source == destination:
        return None
    return _Crossing(source, destination)


def _pass_on(
    port: int, crossing: _Crossing, scope: dict[str, Any], body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Send a call as it came, signature and all, to the gateway of its region."""
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_CALL_SECONDS)
    try:
        connection.putrequest(scope["method"], target, skip_host=True, skip_accept_encoding=True)
        for name, value in scope["headers"]:
            if name not in {b"connection", b"content-length", b"transfer-encoding"}:
                connection.putheader(name.decode("latin-1"), value.decode("latin-1"))
        connection.putheader(DESTINATION, crossing.destination)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.getheaders()
        if name.lower() not in {"connection", "transfer-encoding", "content-length"}
    ]
    return answer.status, [*headers, (b"content-length", str(len(content)).encode())], content
