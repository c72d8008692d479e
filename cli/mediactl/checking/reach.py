"""Whether the platform answers those who reach it from outside."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

UNSIGNED_PATHS = {"API": "/api/videos", "admin service": "/api/admin/videos"}
"""A path of each service. Without a token it is refused by the service itself, and by nobody before
it: that says that all on the way works, which a health check beside it would not."""

_UNAUTHENTICATED = 401


@dataclass(frozen=True)
class Reached:
    """Whether a service answered.

    Attributes:
        name: The service.
        url: What was asked.
        ok: Whether the service itself answered.
        seen: What came back.
    """

    name: str
    url: str
    ok: bool
    seen: str


def reach(base_url: str, *, seconds: float = 0) -> list[Reached]:
    """Ask every service through the one origin that clients know.

    Args:
        base_url: That origin.
        seconds: How long it is asked again while it does not answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = [_ask(name, f"{base_url}{path}") for name, path in UNSIGNED_PATHS.items()]
        if all(one.ok for one in found) or time.monotonic() >= deadline:
            return found
        time.sleep(1)


def _ask(name: str, url: str) -> Reached:
    import urllib3  # noqa: PLC0415 - slow to import

    from mediactl.web import Web, in_time  # noqa: PLC0415 - imports urllib3

    http = Web()
    try:
        answer = in_time(lambda: http.request("GET", url), url)
    except urllib3.exceptions.HTTPError as error:
        return Reached(name, url, ok=False, seen=_told(error))
    try:
        problem = json.loads(answer.data)["type"]
    except (ValueError, KeyError, TypeError):
        problem = None
    ok = answer.status == _UNAUTHENTICATED and problem is not None
    seen = f"HTTP status {answer.status}" + ("" if problem else ", not from the service")
    return Reached(name, url, ok, "it answers" if ok else seen)


def _told(error: Exception) -> str:
    """Return what was seen in place of an answer."""
    from urllib3 import exceptions  # noqa: PLC0415 - slow to import

    for kind, seen in (
        (exceptions.NameResolutionError, "its host has no address"),
        (exceptions.NewConnectionError, "it takes no connection"),
        (exceptions.SSLError, "its certificate is not accepted"),
    ):
        if isinstance(error, kind):
            return seen
    return " ".join(str(error).split())
