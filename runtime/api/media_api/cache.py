"""Videos kept in memory for a moment, never older than what a write through the API left.

What is kept is a lease: it may be used for :data:`LEASE_SECONDS` from the moment at which it was
asked for. Nobody tells other processes of a write. Instead, whoever writes a video lets that time
pass before he answers (:class:`Hold`): by then every lease that may show what was before has ended,
in whichever task of the API or the admin service it is. Clocks need not agree, only run alike. In
the process that writes, what is kept of the video is dropped before and after the write, and what
is being read meanwhile is not kept, so that there the write shows at once.

What is asked for near the end of its lease is read again beside the requests, so that of a video
that many watch nobody waits for the table.

Creating needs no hold, since that a video does not exist is never kept. What other services change
(workers, the intake) shows after at most the lease.

Where the stage has a Valkey, ``shared_cache`` takes the place of this cache.

Source: C. Gray and D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file
cache consistency" (1989).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from media_platform.contract import table

LEASE_SECONDS = 0.25
"""How long a video is kept, and by how much a change of one is answered later.

A release that makes it longer must first be deployed with writers that wait longer.
"""

_RENEWED_AFTER = 0.75
"""Share of a lease after which what is asked for is read again."""

_MOST_ENTRIES = 4096

Clock = Callable[[], float]
View = TypeVar("View")


class Hold:
    """How long the answer to a request is held back; one a request."""

    def __init__(self) -> None:
        self._until = 0.0

    def until(self, moment: float) -> None:
        """Hold the answer back until a moment of the monotonic clock at least."""
        self._until = max(self._until, moment)

    async def over(self) -> None:
        """Wait until the answer may be sent."""
        left = self._until - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)


_hold: ContextVar[Hold | None] = ContextVar("hold", default=None)


def holding() -> Hold:
    """Return the hold of a request that begins: what it writes from here on prolongs it."""
    hold = Hold()
    _hold.set(hold)
    return hold


def hold_until(moment: float) -> None:
    """Hold the answer to the present request back until a moment of the monotonic clock at least.

    Outside of a request there is nothing to hold back.
    """
    hold = _hold.get()
    if hold is not None:
        hold.until(moment)


@dataclass
class _Entry(Generic[View]):
    """A view that is kept or being read.

    Attributes:
        ends_at: When its lease ends.
        view: The view, once it is read.
        renewal: What is read to follow it.
    """

    ends_at: float
    view: asyncio.Future[View | None]
    renewal: _Entry[View] | None = None


@dataclass
class CacheCounts:
    """What is counted until it is told as metrics.

    Attributes:
        hits: Reads that were answered from memory, or by a read that was under way.
        misses: Reads that went to the table.
        events: Events that were written to the table.
    """

    hits: int = 0
    misses: int = 0
    events: int = 0


class ViewCache(Protocol[View]):
    """Keeps views of videos, in memory (:class:`VideoCache`) or in Valkey (``shared_cache``)."""

    counts: CacheCounts

    async def get(self, video_id: str, load: Callable[[], Awaitable[View | None]]) -> View | None:
        """Return the view of a video, as it was kept or as ``load`` reads it from the table."""

    def writing(self, video_ids: Iterable[str]) -> AbstractAsyncContextManager[None]:
        """Return what a block must be in that writes these videos."""

    async def aclose(self) -> None:
        """Close what was opened."""


class VideoCache(Generic[View]):
    """Views of videos by id, each for the length of a lease.

    Args:
        lease_seconds: How long a view is kept, from the moment at which it was asked for; 0 to
            keep none.
        clock: Seconds that only go forward. Default: the monotonic clock.
    """

    def __init__(
        self, lease_seconds: float = LEASE_SECONDS, *, clock: Clock = time.monotonic
    ) -> None:
        self.lease_seconds = lease_seconds
        self._renewal_seconds = lease_seconds * (1 - _RENEWED_AFTER)
        self.counts = CacheCounts()
        self._clock = clock
        self._entries: dict[str, _Entry[View]] = {}
        self._writes: dict[str, int] = {}

    async def get(self, video_id: str, load: Callable[[], Awaitable[View | None]]) -> View | None:
        """Return the view of a video, from memory if it may be.

        Reads of one video at the same time share one read of the table; whoever comes when its
        lease has ended, or while the video is being written, reads for himself. One that is asked
        for in the last quarter of its lease is read again meanwhile.

        Args:
            video_id: The video.
            load: Reads it from the table. What it raises is raised, and kept no more than ``None``.
        """
        now = self._clock()
        entry = self._valid(video_id, now)
        if entry is None:
            if video_id in self._writes or not self.lease_seconds:
                self.counts.misses += 1
                return await load()
            self._drop_ended(now)
            entry = self._entries[video_id] = self._read(video_id, load, now)
        else:
            self.counts.hits += 1
        if not entry.view.done():
            # A reader that goes away must not take the others' read with him.
            return await asyncio.shield(entry.view)
        if entry.renewal is None and entry.ends_at - now <= self._renewal_seconds:
            entry.renewal = self._read(video_id, load, now, old=entry)
        return entry.view.result()

    def _valid(self, video_id: str, now: float) -> _Entry[View] | None:
        """Return what is kept or being read under a lease that has not ended."""
        entry = self._entries.get(video_id)
        if entry is None or entry.ends_at > now:
            return entry
        del self._entries[video_id]
        renewal = entry.renewal
        if renewal is None or renewal.ends_at <= now:
            return None
        self._entries[video_id] = renewal
        return renewal

    def _read(
        self,
        video_id: str,
        load: Callable[[], Awaitable[View | None]],
        now: float,
        *,
        old: _Entry[View] | None = None,
    ) -> _Entry[View]:
        """Begin to read a video under a new lease, perhaps to follow an old one."""
        self.counts.misses += 1
        entry = _Entry(now + self.lease_seconds, asyncio.ensure_future(load()))
        entry.view.add_done_callback(lambda _view: self._settle(video_id, entry, old))
        return entry

    def _settle(self, video_id: str, entry: _Entry[View], old: _Entry[View] | None) -> None:
        """Keep what was read in place of the old, unless the video was written meanwhile.

        A read that failed is left to who comes when the old lease has ended: he is told.
        """
        view = entry.view
        failed = view.cancelled() or view.exception() is not None
        found = not failed and view.result() is not None
        kept = self._entries.get(video_id)
        if kept is entry or (kept is not None and kept is old and not failed):
            del self._entries[video_id]
            if found:
                self._entries[video_id] = entry
        if not found:
            entry.ends_at = -math.inf

    @asynccontextmanager
    async def writing(self, video_ids: Iterable[str]) -> AsyncIterator[None]:
        """Keep nothing of these videos while the block writes them, nor what was read meanwhile.

        The answer to the present request is held back until no other process has anything older.
        """
        written = frozenset(video_ids)
        for video_id in written:
            self._writes[video_id] = self._writes.get(video_id, 0) + 1
            self._entries.pop(video_id, None)
        try:
            yield
        finally:
            for video_id in written:
                self._entries.pop(video_id, None)
                self._writes[video_id] -= 1
                if not self._writes[video_id]:
                    del self._writes[video_id]
            if written:
                hold_until(time.monotonic() + self.lease_seconds)

    async def aclose(self) -> None:
        """Do nothing: memory needs no closing."""

    def _drop_ended(self, now: float) -> None:
        """Drop what has ended; entries stand in the order in which they were asked for."""
        for video_id, entry in list(islice(self._entries.items(), 2)):
            if entry.ends_at <= now or len(self._entries) >= _MOST_ENTRIES:
                del self._entries[video_id]


class CoherentTable:
    """A client of the table that lets the cache know what it writes.

    Every write of the API goes through it, whatever module makes it, so that none can be forgotten.

    Args:
        client: A DynamoDB client.
        cache: Keeps videos, and counts the events that are written.
    """

    def __init__(self, client: Any, cache: ViewCache[Any]) -> None:
        self._client = client
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        """Return an operation that writes nothing."""
        return getattr(self._client, name)

    async def put_item(self, **request: Any) -> Any:
        """Call ``PutItem``."""
        async with self._cache.writing(_written([{"Put": request}])):
            return await self._client.put_item(**request)

    async def update_item(self, **request: Any) -> Any:
        """Call ``UpdateItem``."""
        async with self._cache.writing(_written([{"Update": request}])):
            return await self._client.update_item(**request)

    async def delete_item(self, **request: Any) -> Any:
        """Call ``DeleteItem``."""
        async with self._cache.writing(_written([{"Delete": request}])):
            return await self._client.delete_item(**request)

    async def transact_write_items(self, **request: Any) -> Any:
        """Call ``TransactWriteItems``."""
        writes = request["TransactItems"]
        async with self._cache.writing(_written(writes)):
            answer = await self._client.transact_write_items(**request)
        self._cache.counts.events += sum(map(_is_event, writes))
        return answer

    async def batch_write_item(self, **request: Any) -> Any:
        """Call ``BatchWriteItem``."""
        writes = [
            {kind.removesuffix("Request"): content}
            for requests in request["RequestItems"].values()
            for one in requests
            for kind, content in one.items()
        ]
        async with self._cache.writing(_written(writes)):
            return await self._client.batch_write_item(**request)


_NEW = "attribute_not_exists(pk)"
_VIDEO = table.video_partition("")
_KEPT = (table.video_key("").sk, table.run_prefix("")[:-1])
"""What the items that are kept begin with: the video and its runs."""


def _written(writes: Iterable[Mapping[str, Mapping[str, Any]]]) -> set[str]:
    """Return the ids of videos of which something may be kept that these writes change."""
    found = set()
    for write in writes:
        ((kind, content),) = write.items()
        if kind == "ConditionCheck" or content.get("ConditionExpression") == _NEW:
            continue
        key = content.get("Key") or content.get("Item") or {}
        pk = key.get(table.PARTITION_KEY, {}).get("S", "")
        if pk.startswith(_VIDEO) and key[table.SORT_KEY]["S"].startswith(_KEPT):
            found.add(pk.removeprefix(_VIDEO))
    return found


def _is_event(write: Mapping[str, Mapping[str, Any]]) -> bool:
    item = write.get("Put", {}).get("Item", {})
    return str(item.get(table.SORT_KEY, {}).get("S", "")).startswith(table.EVENT_SORT_PREFIX)
