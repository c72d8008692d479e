"""Requests to what is no API of AWS: the platform, and S3 by URLs that the platform signed.

They go by the proxies of the person, as calls of AWS do.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from mediactl import output
from mediactl.limits import (
    API,
    BLOCK_SECONDS,
    CONNECT_SECONDS,
    PLANE,
    Limits,
    NoAnswerError,
    patient,
    within,
)

TIMEOUT = urllib3.Timeout(connect=CONNECT_SECONDS, read=BLOCK_SECONDS)

_told: set[str] = set()
"""Origins of which the person was told that they are waited for."""


class LateError(urllib3.exceptions.TimeoutError):
    """There was no answer in time."""


class Web:
    """Sends requests, each once; threads may share it.

    ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` are honoured, but for what is on this machine:
    no proxy reaches that.

    Args:
        connections: Most connections to one host that are kept open.
    """

    def __init__(self, connections: int = 10) -> None:
        self._connections = connections
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send a request, with the options of urllib3, and return the answer.

        Raises:
            urllib3.exceptions.HTTPError: If there is none.
        """
        return self._pool(proxy_of(url)).request(method, url, **options)

    def _pool(self, proxy: str | None) -> urllib3.PoolManager:
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str | None) -> urllib3.PoolManager:
        settings: dict[str, Any] = {
            "timeout": TIMEOUT,
            "retries": False,
            "maxsize": self._connections,
        }
        if proxy is None:
            return urllib3.PoolManager(**settings)
        # As botocore reads it, which is told the same.
        url = urllib3.util.parse_url(proxy if "//" in proxy else f"http://{proxy}")
        if url.auth:
            settings["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=unquote(url.auth))
        return urllib3.ProxyManager(url._replace(auth=None).url, **settings)


def proxy_of(url: str) -> str | None:
    """Return the proxy by which a URL is asked for, ``None`` if there is none."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def limits_of(url: str) -> Limits:
    """Return how long the platform at a URL may take."""
    return patient(PLANE if is_loopback(url) else API)


def in_time(
    send: Callable[[], urllib3.BaseHTTPResponse], url: str, *, more: float = 0
) -> urllib3.BaseHTTPResponse:
    """Return the answer of the platform to a request, as a whole.

    Args:
        send: Sends it.
        url: Where to.
        more: Seconds that it may take beyond others.

    Raises:
        LateError: If there is none in time.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"

    def tell() -> None:
        if origin not in _told:
            _told.add(origin)
            output.say(f"waiting for {origin} …")

    limits = limits_of(url)
    seconds = limits.answer_seconds + more
    try:
        return within(send, seconds, word_after=limits.word_seconds + more, word=tell)
    except NoAnswerError:
        raise LateError(f"{origin} sends nothing whole within {seconds:g} s") from None
