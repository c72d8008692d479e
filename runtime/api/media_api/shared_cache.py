"""Videos kept in Valkey for all processes, never older than what a write through the API left.

Why that holds, whatever fails, is written down in ``docs/decisions/shared-cache.md``. In short:

- Whoever misses leaves a token under the key before he reads the table, and keeps what he read only
  if the token is still there: nothing is ever kept that was asked for before a write was told.
- Whoever writes deletes the key after the write and before the answer, token or view alike.
- A key lives for :data:`LIFE_SECONDS` from the token on, whatever comes to stand under it. So who
  cannot delete it waits that long before he answers.
- What cannot be had of Valkey in time is had from the table.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ConnectionError as LostConnectionError
from valkey.exceptions import ValkeyError

from media_api.cache import CacheCounts, Clock, hold_until
from media_api.logs import log

LIFE_SECONDS = 2.0
"""How long a key lives, and by how much a change is answered later that could not be told."""

BRIEF_SECONDS = 0.25
"""How long a view is kept of which others than the API will soon change something."""

_CALL_SECONDS = 0.25
"""Longest wait for Valkey, connecting included; the table answers in a hundredth of that."""

_AWAY_SECONDS = 1.0
"""Time for which readers do not ask a Valkey that has failed."""

_CONNECTIONS = 32

_TOKEN, _VIEW = b"?", b"1"
"""First byte of what stands under a key; the second names how views are written, too, so that a
release that writes them otherwise takes those of another for none, yet deletes them."""

_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local left = redis.call('PTTL', KEYS[1])
if left <= 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.min(left, tonumber(ARGV[3])))
return 1
"""
"""Puts a view in the place of the token of its reader; it never lives longer than that."""


class Keepable(Protocol):
    """What can be kept."""

    @property
    def changes_soon(self) -> bool:
        """Whether others than the API are about to change it."""

    def to_bytes(self) -> bytes:
        """Return it as it is kept."""


View = TypeVar("View", bound=Keepable)


class SharedCache(Generic[View]):
    """Views of videos by id, in a Valkey that all processes of the stage share.

    Args:
        client: Valkey.
        read: Reads a view that was kept; a ``ValueError`` or ``KeyError`` says that it is none.
        life_seconds: How long a key lives.
        clock: Seconds that only go forward. Default: the monotonic clock.
    """

    def __init__(
        self,
        client: Valkey,
        read: Callable[[bytes], View],
        *,
        life_seconds: float = LIFE_SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        self.counts = CacheCounts()
        self._client: Any = client
        self._read = read
        self._life_seconds = life_seconds
        self._clock = clock
        self._away_until = -float("inf")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, video_id: str, load: Callable[[], Awaitable[View | None]]) -> View | None:
        """Return the view of a video, from Valkey if it is there.

        Args:
            video_id: The video.
            load: Reads it from the table, consistently. What it raises is raised, and kept no more
                than ``None``.
        """
        if self._clock() < self._away_until:
            self.counts.misses += 1
            return await load()
        key, token = _key(video_id), _TOKEN + secrets.token_bytes(12)
        try:
            found = await self._ask(
                # Returns what stands there already, and else puts the token there.
                self._client.set(
                    key, token, nx=True, get=True, px=_milliseconds(self._life_seconds)
                )
            )
        except _FAILURES as error:
            self._be_away(error)
            self.counts.misses += 1
            return await load()
        view = self._view_in(found)
        if view is not None:
            self.counts.hits += 1
            return view
        self.counts.misses += 1
        view = await load()
        if found is None and view is not None:
            await self._keep(key, token, view)
        return view

    @asynccontextmanager
    async def writing(self, video_ids: Iterable[str]) -> AsyncIterator[None]:
        """Let nothing be kept of these videos that was read before the block wrote them.

        If Valkey cannot be told, the answer to the present request is held back until nothing older
        can be left there.
        """
        written = frozenset(video_ids)
        try:
            yield
        finally:
            if written and not await self._drop(written):
                hold_until(time.monotonic() + self._life_seconds)

    def _view_in(self, found: bytes | None) -> View | None:
        if found is None or not found.startswith(_VIEW):
            return None
        try:
            return self._read(found[len(_VIEW) :])
        except (KeyError, TypeError, ValueError) as error:
            log.warning("cached_view_is_unreadable", error=repr(error))
            return None

    async def _keep(self, key: str, token: bytes, view: View) -> None:
        """Keep a view, if no write was told since its token was put there."""
        seconds = BRIEF_SECONDS if view.changes_soon else self._life_seconds
        kept = _VIEW + view.to_bytes()
        try:
            await self._ask(self._client.eval(_KEEP, 1, key, token, kept, _milliseconds(seconds)))
        except _FAILURES as error:
            self._be_away(error)

    async def _drop(self, video_ids: Iterable[str]) -> bool:
        """Delete what stands under the keys of videos; return whether all of it is certainly gone.

        One call for each, since a cluster takes keys of several slots in no other way.
        """
        try:
            for video_id in video_ids:
                await self._ask(self._client.delete(_key(video_id)))
        except _FAILURES as error:
            self._be_away(error)
            return False
        return True

    async def _ask(self, call: Awaitable[Any]) -> Any:
        async with asyncio.timeout(_CALL_SECONDS):
            return await call

    def _be_away(self, error: Exception) -> None:
        if self._clock() >= self._away_until:
            log.warning("cache_is_away", error=repr(error), for_seconds=_AWAY_SECONDS)
        self._away_until = self._clock() + _AWAY_SECONDS


_FAILURES = (ValkeyError, OSError, TimeoutError)


def connect(url: str) -> Valkey:
    """Return a client with limited time and connections; it connects when it is used.

    Args:
        url: ``rediss://`` host and port, or ``redis://`` without TLS.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_CALL_SECONDS,
        socket_timeout=_CALL_SECONDS,
        socket_connect_timeout=_CALL_SECONDS,
        # A connection that was closed while it was idle shows with the next call.
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[LostConnectionError],
    )
    return Valkey.from_pool(pool)


def _key(video_id: str) -> str:
    return f"video:{video_id}"


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
