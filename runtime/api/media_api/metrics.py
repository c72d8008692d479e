"""What the process did in the last minute, as metrics of CloudWatch.

Numbers are added up in memory and written once a minute, in one line a class of requests, so that
they cost nothing a request. The minute that a killed process was in is lost; no decision is made on
these numbers, and what must be exact stands in the table.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache

import structlog

from media_api.cache import CacheCounts
from media_api.load import Load
from media_platform.contract import embedded_metrics
from media_platform.contract import metrics as names
from media_platform.contract.embedded_metrics import Distribution

FLUSH_SECONDS = 60
"""How often metrics are written: they are kept by the minute."""

PLAYBACK = "playback"
"""Class of the route that grants playback."""

OTHER = "other"
"""Class of what is no route of the API."""

_READING = frozenset({"GET", "HEAD"})
_GRANTED = 200


@lru_cache
def route_class(method: str, path: str | None) -> str:
    """Return the class of a route.

    Args:
        method: HTTP method.
        path: Path of the route with its parameters' names, or ``None`` where there is no route.
    """
    if path is None or not path.startswith("/api/"):
        return OTHER
    if path.startswith("/api/admin"):
        return "admin"
    if method not in _READING:
        return "write"
    if path.endswith("/playback"):
        return PLAYBACK
    if "/hls/" in path:
        return "playlists"
    return "read" if "{" in path else "list"


class Metrics:
    """Adds up what requests and calls took, and writes it by the minute.

    Args:
        stage: Name of the stage.
        load: Knows what the process took on.
        cache: Counts reads and events.
    """

    def __init__(self, stage: str, load: Load, cache: CacheCounts) -> None:
        self._stage = stage
        self._load = load
        self._cache = cache
        self._requests: defaultdict[tuple[str, str], Distribution] = defaultdict(Distribution)
        self._calls: defaultdict[str, Distribution] = defaultdict(Distribution)
        self._failed: Counter[str] = Counter()
        self._grants = 0

    def request(self, method: str, path: str | None, status: int, seconds: float) -> None:
        """Add a request that was answered."""
        route = route_class(method, path)
        self._requests[route, f"{status // 100}xx"].add(seconds)
        if route == PLAYBACK and status == _GRANTED:
            self._grants += 1

    def call(self, service: str, seconds: float, *, failed: bool) -> None:
        """Add a call to an AWS service, with all of its attempts."""
        self._calls[service].add(seconds)
        self._failed[service] += failed

    def flush(self) -> list[str]:
        """Return what happened since the last time as log lines, and begin anew."""
        most, refused = self._load.take_counts()
        counts: dict[str, float | Distribution] = {
            names.API_IN_FLIGHT: most,
            names.API_REFUSED: refused,
            names.PLAYBACK_GRANTS: self._grants,
            names.EVENTS_WRITTEN: self._cache.events,
        }
        if reads := self._cache.hits + self._cache.misses:
            counts[names.CACHE_HIT_RATIO] = self._cache.hits / reads
        lines = [self._line(counts)]
        values: dict[str, float | Distribution]
        for (route, status), taken in sorted(self._requests.items()):
            values = {names.API_LATENCY_SECONDS: taken}
            lines.append(
                self._line(values, {embedded_metrics.ROUTE: route, embedded_metrics.STATUS: status})
            )
        for service, taken in sorted(self._calls.items()):
            values = {names.CALL_SECONDS: taken, names.CALL_ERRORS: self._failed[service]}
            lines.append(self._line(values, {embedded_metrics.SERVICE: service}))
        for numbers in (self._requests, self._calls, self._failed):
            numbers.clear()
        self._grants = self._cache.hits = self._cache.misses = self._cache.events = 0
        return [line for line in lines if line is not None]

    def _line(
        self,
        values: Mapping[str, float | Distribution],
        dimensions: Mapping[str, str] | None = None,
    ) -> str | None:
        return embedded_metrics.line(self._stage, values, dimensions=dimensions)

    async def flush_regularly(self, write: Callable[[str], object] | None = None) -> None:
        """Write what happened every minute, until it is cancelled; then what is left.

        Args:
            write: Takes each line. Default: the log writes it, so that lines are never mixed.
        """
        write = write or structlog.WriteLogger(sys.stdout).msg
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                for line in self.flush():
                    write(line)
        finally:
            for line in self.flush():
                write(line)
