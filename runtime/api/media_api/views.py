"""Views: counted in the process, added to the table every few seconds, so that no viewer waits.

What a process counted since it last added is lost if it is killed; one that is stopped adds it
first. What cannot be added now is added later, and an addition of which the answer was lost is not
made twice: it is repeated under the same token, by which DynamoDB knows it for ten minutes.

Source: Amazon DynamoDB API Reference, ``TransactWriteItems``, ``ClientRequestToken``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media_api.aws import error_code
from media_api.logs import log
from media_api.store import batch_get
from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.usage import Usage, usage_update
from media_platform.contract.views import view_keys, view_update, views_of

FLUSH_SECONDS = 5
"""Time between two additions, and most of what a killed process loses."""

LAST_SECONDS = 3
"""Longest wait for the last addition of a process that is stopped."""

_MOST_COUNTERS = 25
"""Videos of one transaction: two processes that meet in one of them both try again."""


@dataclass(frozen=True)
class _Batch:
    token: str
    views: dict[tuple[str, str], int]


class Views:
    """Counts the views of this process, and knows the sum of all.

    It needs ``dynamodb:UpdateItem`` and ``dynamodb:BatchGetItem`` on the table.

    Args:
        client: A DynamoDB client of the region.
        table_name: The table.
        region: The region, whose counters it adds to.
        regions: All regions that count.
    """

    def __init__(
        self, client: Any, table_name: str, *, region: str, regions: Sequence[str]
    ) -> None:
        self._client = client
        self._table_name = table_name
        self._region = region
        self._regions = regions
        # Each process keeps to a shard of its own, as far as there are enough.
        self._number = random.randrange(table.SHARDS)  # noqa: S311
        self._counted: Counter[tuple[str, str]] = Counter()
        self._sending: _Batch | None = None
        self._lock = asyncio.Lock()

    def count(self, tenant: str, video_id: str) -> None:
        """Count a view, of a video and of its tenant."""
        self._counted[tenant, video_id] += 1

    async def total(self, video_id: str) -> int:
        """Return how often a video was viewed, as far as it was added; regions lag by seconds.

        Raises:
            TimeoutError: If the table is too busy to tell.
        """
        keys = [key.to_wire() for key in view_keys(video_id, self._regions)]
        items, missing = await batch_get(self._client, self._table_name, keys)
        if missing:
            raise TimeoutError(f"{missing} of {len(keys)} counters of views were not read")
        return sum(map(views_of, items))

    @asynccontextmanager
    async def adding(self) -> AsyncIterator[None]:
        """Add what is counted meanwhile: every few seconds, and in the end."""
        task = asyncio.create_task(self._add_now_and_then())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.flush()
            log.info("views_left", views=self._left())

    def _left(self) -> int:
        sending = self._sending.views.values() if self._sending else ()
        return self._counted.total() + sum(sending)

    async def _add_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Add what was counted; what cannot be added now is kept for the next time."""
        async with self._lock:
            while self._sending or self._counted:
                if not await self._send(self._sending or self._next_batch()):
                    return

    def _next_batch(self) -> _Batch:
        views = dict(self._counted.most_common(_MOST_COUNTERS))
        for counted in views:
            del self._counted[counted]
        self._sending = _Batch(new_id(), views)
        return self._sending

    async def _send(self, batch: _Batch) -> bool:
        of_tenants: Counter[str] = Counter()
        writes = []
        where: Any = {"region": self._region, "number": self._number}
        for (tenant, video_id), views in batch.views.items():
            of_tenants[tenant] += views
            writes.append(view_update(self._table_name, video_id, views=views, **where))
        for tenant, views in of_tenants.items():
            writes.append(
                usage_update(self._table_name, tenant=tenant, more=Usage(views=views), **where)
            )
        try:
            await self._client.transact_write_items(
                TransactItems=writes, ClientRequestToken=batch.token
            )
        except ClientError as error:
            if error_code(error) == "TransactionCanceledException":
                # Nothing of it was added, so it may go into another batch.
                self._counted.update(batch.views)
                self._sending = None
            log.warning("views_not_added", videos=len(batch.views), error=str(error))
            return False
        except (BotoCoreError, TimeoutError, OSError) as error:
            log.warning("views_not_added", videos=len(batch.views), error=repr(error))
            return False
        self._sending = None
        return True
