"""One request to an endpoint, whose owner is nobody to trust.

The name is resolved once; every address that it leads to is judged, and the connection goes to one
of them, so that the name cannot lead elsewhere a moment later. TLS and the header ``Host`` still
say the name. Redirects are answers like any other. Time and bytes are bounded, whatever comes.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

from media_platform.contract.webhook_urls import (
    Address,
    Network,
    RefusedUrlError,
    Target,
    check_addresses,
    parse_url,
)
from media_platform.contract.webhooks import RESPONSE_MAX_CHARACTERS

CONNECT_SECONDS = 3
"""Longest wait for a name, and for a connection to one address."""

TOTAL_SECONDS = 10
"""Longest time of an attempt, from the name to the last byte that is read."""

READ_BYTES = 64 * 1024
"""Most bytes of an answer that are read."""

_RESOLVERS = 32
_DAY = 24 * 3600
_DIGITS = 9
_HTTPS = "https"

Resolve = Callable[[str, int], Sequence[Address]]
"""Returns the addresses of a name, in the order in which they are to be tried."""


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        milliseconds: How long it took.
        status_code: HTTP status, ``None`` if there was no answer.
        error: Why there was none.
        response: The beginning of the body.
        retry_after_seconds: When the other side asked to be tried again, if it did.
    """

    milliseconds: int
    status_code: int | None = None
    error: str | None = None
    response: str = ""
    retry_after_seconds: int | None = None


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a name, as the system knows them.

    Raises:
        OSError: If there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


class Sender:
    """Sends requests; may be used by several threads.

    Args:
        allowed_networks: Networks that may be sent to although they are not public.
        resolve: Resolves names. Default: as the system does.
        total_seconds: Longest time of an attempt. Default 10.
    """

    def __init__(
        self,
        allowed_networks: tuple[Network, ...],
        *,
        resolve: Resolve = resolve,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._allowed_networks = allowed_networks
        self._total_seconds = total_seconds
        self._resolve = resolve
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, "resolve")
        self._tls = ssl.create_default_context()

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST ``body`` to ``url``; never raises for what the other side does."""
        started = time.monotonic()
        answer, error = Answer(0), None
        try:
            with _Deadline(self._total_seconds) as deadline:
                answer = self._post(url, body, headers, deadline)
        except RefusedUrlError as refused:
            error = f"nothing was sent: {refused}"
        except ssl.SSLCertVerificationError as failed:
            error = f"the certificate is not accepted: {failed.verify_message}"
        except (OSError, http.client.HTTPException, ValueError) as failed:
            error = _in_words(failed)
        milliseconds = round((time.monotonic() - started) * 1000)
        return replace(answer, milliseconds=milliseconds, error=error)

    def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], deadline: _Deadline
    ) -> Answer:
        """Return what was answered, however long it took."""
        target = parse_url(url, self._allowed_networks)
        addresses = self._addresses(target)
        connection = _PinnedConnection(
            target, addresses, deadline, self._tls if target.scheme == _HTTPS else None
        )
        with contextlib.closing(connection), deadline.named():
            connection.request("POST", target.path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            # The end of a connection passes for the end of the head.
            deadline.check()
            return Answer(
                0,
                answer.status,
                response=_excerpt(answer),
                retry_after_seconds=_retry_after(answer.getheader("Retry-After")),
            )

    def _addresses(self, target: Target) -> Sequence[Address]:
        """Return where to connect to, all of it judged.

        Raises:
            RefusedUrlError: If one of the addresses may not be sent to.
            OSError: If the name leads nowhere, or not in time.
        """
        if target.address is not None:
            return [target.address]
        pending = self._resolvers.submit(self._resolve, target.host, target.port)
        try:
            addresses = pending.result(CONNECT_SECONDS)
        except FutureTimeoutError:
            pending.cancel()
            raise OSError(f"the name was not resolved within {CONNECT_SECONDS} s") from None
        except (OSError, UnicodeError):
            raise OSError("the name leads to no address") from None
        check_addresses(target, addresses, self._allowed_networks)
        return addresses


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to addresses that were judged, whatever the name leads to by now.

    Args:
        target: Whom the request names.
        addresses: Where it goes.
        deadline: When it ends.
        tls: How TLS is spoken. Default: plain HTTP.
    """

    def __init__(
        self,
        target: Target,
        addresses: Sequence[Address],
        deadline: _Deadline,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(target.host, target.port)
        # The port stands in the header "Host" unless it is that of the scheme.
        self.default_port = 443 if tls else 80
        self._target = target
        self._addresses = addresses
        self._deadline = deadline
        self._tls = tls

    def connect(self) -> None:
        """Connect to the first address that answers."""
        self.sock = plain = self._connect_plain()
        self._deadline.watch(plain)
        if self._tls is None:
            return
        secured = self._tls.wrap_socket(
            plain, server_hostname=self._target.host, do_handshake_on_connect=False
        )
        # The plain socket gave its descriptor away.
        self.sock = secured
        self._deadline.watch(secured)
        secured.do_handshake()

    def _connect_plain(self) -> socket.socket:
        failure: OSError | None = None
        for address in self._addresses:
            left = self._deadline.left()
            if left <= 0:
                break
            try:
                made = socket.create_connection(
                    (str(address), self._target.port), min(CONNECT_SECONDS, left)
                )
            except TimeoutError:
                failure = OSError(f"no connection within {CONNECT_SECONDS} s")
            except OSError as error:
                failure = error
            else:
                made.settimeout(TOTAL_SECONDS)
                return made
        raise failure or TimeoutError


class _Deadline:
    """Ends what a socket does at a moment in time, however slowly bytes come.

    Timeouts of sockets start anew with every byte.

    Args:
        seconds: Seconds from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._ends_at - time.monotonic()

    def check(self) -> None:
        """Check that the time is not over.

        Raises:
            TimeoutError: If it is.
        """
        if self._over:
            raise TimeoutError

    def watch(self, connected: socket.socket) -> None:
        """End this socket, and no other, when the time is over.

        Raises:
            TimeoutError: If it is.
        """
        with self._lock:
            self._socket = connected
            self.check()

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Turn whatever fails because the time is over into one error that says so."""
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._over or isinstance(error, TimeoutError):
                raise OSError(f"no answer within {self._seconds} s") from None
            raise

    def _end(self) -> None:
        with self._lock:
            self._over = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Past SSLSocket, which would take what follows for plain text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _excerpt(answer: http.client.HTTPResponse) -> str:
    """Return the beginning of the body; the status is what counts, so that it may be missing."""
    try:
        content = answer.read(READ_BYTES)
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return content[:RESPONSE_MAX_CHARACTERS].decode("utf-8", "replace")


def _retry_after(text: str | None) -> int | None:
    """Return the seconds of a ``Retry-After`` (RFC 9110, section 10.2.3), ``None`` if it says none.

    What lies beyond a day says no more than a day does.
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(int(text.strip()[:_DIGITS]), _DAY)
    try:
        at = parsedate_to_datetime(text)
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (OverflowError, ValueError):
        return None
    return min(max(0, math.ceil(seconds)), _DAY)


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP: {type(error).__name__}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
