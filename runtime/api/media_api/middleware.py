"""What every request and answer has: an id, safe headers, one log line, an answer at any cost.

A request that is more than the process takes on waits and is refused here, before anything of it is
looked at; one that is taken is answered within :data:`REQUEST_SECONDS`. Reading ends when nobody
waits for it any more; writing does not, so that who writes need not ask what became of it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from media_api import problems
from media_api.aws import error_code, is_passing
from media_api.cache import holding
from media_api.lifecycle import Lifecycle
from media_api.load import retry_after_seconds
from media_api.logs import access_log, log
from media_api.metrics import Metrics
from media_api.tracing import QUIET_PATHS, context_of
from media_platform.contract.ids import new_id

_REQUEST_ID = b"x-request-id"
_TRACE_ID = b"x-amzn-trace-id"
_USABLE_ID = re.compile(rb"[A-Za-z0-9._:=;-]{1,128}")
_ROOT = re.compile(rb"(?:^|;)Root=([0-9a-f-]{1,64})(?:;|$)")
_RETRY_SECONDS = 2
_READING = frozenset({"GET", "HEAD"})
_OVERLOAD_LOG_SECONDS = 1

_GONE = 499
"""What the log calls the status of a request whose client did not wait for the answer."""

REQUEST_SECONDS = 10
"""Longest time to the answer of a request, with the reading of its body."""

_IMPATIENT_AFTER_SECONDS = 1
"""After this time it is looked whether the client still waits: most requests end before."""

_ROUND_SECONDS = 0.1
"""How often it is looked whose time has come."""

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
        metrics: Adds up what requests took. Default: nothing does.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifecycle: Lifecycle,
        max_body_bytes: int,
        metrics: Metrics | None = None,
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics
        self._watched = _Watched()
        self._told_of_overload_at = -float("inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        scope["request_id"] = _request_id(headers)
        is_quiet = scope["path"] in QUIET_PATHS
        load = self._lifecycle.load
        if is_quiet or not (load.is_full or load.is_late()):
            self._lifecycle.begin()
        elif not await self._lifecycle.wait():
            await self._refuse(scope, receive, send)
            return
        started = time.perf_counter()
        scope["trace"] = context_of(headers)
        try:
            await self._answer(scope, receive, send, headers)
        finally:
            self._lifecycle.end()
            status = scope.get("status", _GONE)
            seconds = time.perf_counter() - started
            if not is_quiet:
                _log_access(scope, status, seconds)
                if self._metrics is not None:
                    path = getattr(scope.get("route"), "path", None)
                    self._metrics.request(scope["method"], path, status, seconds)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]
    ) -> None:
        """Answer a request that is taken on, whatever happens."""
        hold = holding()
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        async def send_held(message: Message) -> None:
            if message["type"] == "http.response.start":
                await hold.over()
                scope["status"] = message["status"]
                message["headers"] = self._headers(message["headers"], scope["request_id"])
            await send(message)

        try:
            announced = headers.get(b"content-length", b"0")
            if announced.isdigit() and int(announced) > self._max_body_bytes:
                raise problems.too_large(self._max_body_bytes)  # noqa: TRY301 - before any reading
            watch = self._watched.add(_Watch(receive if scope["method"] in _READING else None))
            try:
                await self._app(scope, receive_limited, send_held)
            except asyncio.CancelledError:
                if not watch.is_over:
                    raise
                watch.forget()
                raise TimeoutError(f"no answer within {REQUEST_SECONDS} s") from None
            finally:
                self._watched.remove(watch)
        except Exception as error:
            if "status" in scope:
                raise
            problem = _problem_of(error, scope)
            answer = problems.render(problem, path=scope["path"], request_id=scope["request_id"])
            await answer(scope, receive, send_held)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request; of many at a time one log line tells."""
        self._lifecycle.load.refused += 1
        now = time.monotonic()
        if now - self._told_of_overload_at > _OVERLOAD_LOG_SECONDS:
            self._told_of_overload_at = now
            log.warning("overloaded", in_flight=self._lifecycle.load.in_flight)
        request_id: str = scope["request_id"]
        problem = problems.overloaded(retry_after_seconds())
        answer = problems.render(problem, path=scope["path"], request_id=request_id)
        answer.raw_headers = self._headers(answer.raw_headers, request_id)
        await answer(scope, receive, send)

    def _headers(
        self, headers: list[tuple[bytes, bytes]], request_id: str
    ) -> list[tuple[bytes, bytes]]:
        present = {name for name, _ in headers}
        more = [pair for pair in _DEFAULT_HEADERS.items() if pair[0] not in present]
        more.append((_REQUEST_ID, request_id.encode()))
        if self._lifecycle.is_draining:
            more.append((b"connection", b"close"))
        return [*headers, *more]


class _Watched:
    """The requests that are being answered.

    One timer goes round all of them, since most end before theirs would.
    """

    def __init__(self) -> None:
        self._watches: set[_Watch] = set()
        self._is_going_round = False

    def add(self, watch: _Watch) -> _Watch:
        """Watch a request, and return what watches it."""
        self._watches.add(watch)
        if not self._is_going_round:
            self._is_going_round = True
            asyncio.get_running_loop().call_later(_ROUND_SECONDS, self._go_round)
        return watch

    def remove(self, watch: _Watch) -> None:
        """Watch a request no more: its work is done."""
        self._watches.discard(watch)
        watch.end()

    def _go_round(self) -> None:
        self._is_going_round = bool(self._watches)
        if self._is_going_round:
            asyncio.get_running_loop().call_later(_ROUND_SECONDS, self._go_round)
        for watch in self._watches:
            watch.look()


class _Watch:
    """Ends the work of the present task when its time is over, or when its client goes away.

    Attributes:
        is_over: Whether its time is over.

    Args:
        receive: Tells that the client goes away, if that is to end the work; the client sent all
            that it had.
    """

    def __init__(self, receive: Receive | None) -> None:
        self.is_over = False
        self._receive = receive
        self._begun = time.monotonic()
        self._working = asyncio.current_task()
        self._listening: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Watch no more: the work is done."""
        if self._listening is not None:
            self._listening.cancel()

    def forget(self) -> None:
        """Take back that the work was ended, so that the task may still answer."""
        if self._working is not None:
            self._working.uncancel()

    def look(self) -> None:
        """Do what the time has come for."""
        taken = time.monotonic() - self._begun
        if taken > REQUEST_SECONDS and not self.is_over:
            self.is_over = True
            self._end_work()
        elif taken > _IMPATIENT_AFTER_SECONDS and self._receive and not self._listening:
            self._listening = asyncio.create_task(self._listen(self._receive))

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._end_work()

    def _end_work(self) -> None:
        if self._working is not None:
            self._working.cancel()


def _request_id(given: Mapping[bytes, bytes]) -> str:
    """Return the id that the client or the load balancer gave the request, or a new one."""
    own = given.get(_REQUEST_ID, b"")
    if _USABLE_ID.fullmatch(own):
        return str(own.decode())
    root = _ROOT.search(given.get(_TRACE_ID, b""))
    return root.group(1).decode() if root else new_id()


def _problem_of(error: Exception, scope: Scope) -> problems.Problem:
    refusal = problems.problem_of(error, scope)
    if refusal is not None:
        return refusal
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
    caller = scope.get("caller")
    route = scope.get("route")
    access_log.write(
        "request",
        level="ERROR" if status >= _SERVER_ERROR else "INFO",
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
