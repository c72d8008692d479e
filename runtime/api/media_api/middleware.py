"""What every request and answer has: an id, safe headers, one log line, an answer at any cost."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from media_api import problems
from media_api.aws import error_code, is_passing
from media_api.lifecycle import Lifecycle
from media_api.logs import access_log, log
from media_api.tracing import QUIET_PATHS, context_of
from media_platform.contract.ids import new_id

_REQUEST_ID = b"x-request-id"
_TRACE_ID = b"x-amzn-trace-id"
_USABLE_ID = re.compile(rb"[A-Za-z0-9._:=;-]{1,128}")
_ROOT = re.compile(rb"(?:^|;)Root=([0-9a-f-]{1,64})(?:;|$)")
_RETRY_SECONDS = 2

_DEFAULT_HEADERS: Mapping[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"strict-transport-security": b"max-age=31536000",
    b"x-content-type-options": b"nosniff",
}
"""Headers of every answer that does not set them itself.

Source: OWASP REST Security Cheat Sheet, "Security Headers".
"""


class Envelope:
    """Wraps the application.

    Args:
        app: The application.
        lifecycle: Counts requests and knows whether the process is stopping.
        max_body_bytes: Largest request body.
    """

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, max_body_bytes: int) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        scope["request_id"] = request_id
        scope["trace"] = context_of(headers)
        status = 0
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        async def send_wrapped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._headers(message["headers"], request_id)
            await send(message)

        self._lifecycle.begin()
        try:
            announced = headers.get(b"content-length", b"0")
            if announced.isdigit() and int(announced) > self._max_body_bytes:
                raise problems.too_large(self._max_body_bytes)  # noqa: TRY301 - before any reading
            await self._app(scope, receive_limited, send_wrapped)
        except Exception as error:
            if status:
                raise
            problem = _problem_of(error, scope)
            answer = problems.render(problem, path=scope["path"], request_id=request_id)
            await answer(scope, receive, send_wrapped)
        finally:
            self._lifecycle.end()
            _log_access(scope, status, time.perf_counter() - started)

    def _headers(
        self, headers: list[tuple[bytes, bytes]], request_id: str
    ) -> list[tuple[bytes, bytes]]:
        present = {name for name, _ in headers}
        more = [pair for pair in _DEFAULT_HEADERS.items() if pair[0] not in present]
        more.append((_REQUEST_ID, request_id.encode()))
        if self._lifecycle.is_draining:
            more.append((b"connection", b"close"))
        return [*headers, *more]


def _request_id(given: Mapping[bytes, bytes]) -> str:
    """Return the id that the client or the load balancer gave the request, or a new one."""
    own = given.get(_REQUEST_ID, b"")
    if _USABLE_ID.fullmatch(own):
        return str(own.decode())
    root = _ROOT.search(given.get(_TRACE_ID, b""))
    return root.group(1).decode() if root else new_id()


def _problem_of(error: Exception, scope: Scope) -> problems.Problem:
    if isinstance(error, problems.Problem):
        return error
    ids = {"request_id": scope["request_id"], "trace_id": scope["trace"].trace_id}
    if isinstance(error, ClientError):
        log.error("aws_refused", **ids, code=error_code(error), error=str(error))
        if is_passing(error):
            return _try_again()
    elif isinstance(error, BotoCoreError | TimeoutError):
        log.error("aws_unreachable", **ids, error=repr(error))
        return _try_again()
    else:
        log.error("unexpected_error", **ids, exc_info=error)
    return problems.Problem(
        problems.Kind.INTERNAL,
        "the request failed through no fault of yours; "
        "try again later, and name the request_id when you ask for help",
    )


def _try_again() -> problems.Problem:
    return problems.unavailable(
        "a service behind the API does not answer", retry_after_seconds=_RETRY_SECONDS
    )


_SERVER_ERROR = 500


def _log_access(scope: Scope, status: int, seconds: float) -> None:
    if scope["path"] in QUIET_PATHS:
        return
    caller = scope.get("caller")
    route = scope.get("route")
    write = access_log.error if status >= _SERVER_ERROR else access_log.info
    write(
        "request",
        request_id=scope["request_id"],
        trace_id=scope["trace"].trace_id,
        method=scope["method"],
        path=scope["path"],
        route=getattr(route, "path", None),
        status=status,
        milliseconds=round(seconds * 1000, 2),
        tenant=caller.tenant if caller else None,
        user=caller.user if caller else None,
    )
