"""Changes of a global table reach its replicas later, item by item, and the last writer wins.

MiniStack changes all replicas in the same moment, which no two regions do. Here every write gets
the time and the region at which it was made; a replica takes it over if it is later than what made
its own item. Of two writes of one item in two regions, the later one stands in both in the end, as
a whole: conditions and transactions hold in their own region only.

Source: Amazon DynamoDB Developer Guide, "Global tables: How it works", multi-Region eventual
consistency, "Conflict resolution".
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import dynamodb

from .links import Links

Item = dict[str, Any]
Table = dict[str, Any]
Stamp = tuple[int, str]
"""When an item was written (Unix nanoseconds) and where, which decides between equal times."""

_NO_SORT_KEY = "__no_sort__"


class TableReplication:
    """Carries changes between the replicas of tables.

    Args:
        links: The ways between regions.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._stamps: dict[tuple[str, str, str, str, str], Stamp] = {}

    def install(self) -> None:
        """Take the place of MiniStack's replication."""
        dynamodb._replicate_write = self._written  # noqa: SLF001
        copy_items: Callable[[str, Table, str], None] = dynamodb._create_replica  # noqa: SLF001

        def create_replica(name: str, table: Table, region: str) -> None:
            copy_items(name, table, region)
            self._copy_stamps(name, region)

        dynamodb._create_replica = create_replica  # noqa: SLF001

    def _copy_stamps(self, name: str, region: str) -> None:
        """Say when the items of a new replica were written, which is not when it was made."""
        account, here = get_account_id(), get_region()
        copied = {
            (account, region, name, pk, sk): stamp
            for (_, source, table, pk, sk), stamp in self._stamps.items()
            if (source, table) == (here, name)
        }
        self._stamps.update(copied)

    def _written(self, table: Table, _event: str, old: Item | None, new: Item | None) -> None:
        """Send a write of this region to all others."""
        regions = dynamodb._replica_group(table)  # noqa: SLF001
        item = old if new is None else new
        if not regions or item is None:
            return
        account, here, name = get_account_id(), get_region(), str(table["TableName"])
        pk, sk = _key_values(table, item)
        place = (account, here, name, pk, sk)
        before = self._stamps.get(place, (0, ""))
        stamp = (max(time.time_ns(), before[0] + 1), here)
        self._stamps[place] = stamp
        image = copy.deepcopy(new)
        for region in regions:
            if region != here:
                take = partial(self._take, account, region, name, (pk, sk), image, stamp)
                self._links.send(here, region, take)

    def _take(  # noqa: PLR0917 - what makes a change
        self,
        account: str,
        region: str,
        name: str,
        key: tuple[str, str],
        image: Item | None,
        stamp: Stamp,
    ) -> None:
        """Apply a write of another region, unless what is here is later."""
        place = (account, region, name, *key)
        if stamp <= self._stamps.get(place, (0, "")):
            return
        with request_scope(account, region):
            replica = dynamodb._tables.get(name)  # noqa: SLF001
            if replica is None:
                return
            self._stamps[place] = stamp
            previous = replica["items"].get(key[0], {}).get(key[1])
            if image is None:
                if previous is None:
                    return
                dynamodb._remove_item(replica, *key)  # noqa: SLF001
                event = "REMOVE"
            else:
                dynamodb._set_item(replica, *key, copy.deepcopy(image))  # noqa: SLF001
                event = "INSERT" if previous is None else "MODIFY"
            dynamodb._emit_stream_event(  # noqa: SLF001
                name, event, previous, copy.deepcopy(image), replicate=False
            )


def _key_values(table: Table, item: Item) -> tuple[str, str]:
    """Return the key under which MiniStack keeps an item."""
    pk = dynamodb._extract_key_val(item.get(table["pk_name"]))  # noqa: SLF001
    if not table["sk_name"]:
        return pk, _NO_SORT_KEY
    return pk, dynamodb._extract_key_val(item.get(table["sk_name"]))  # noqa: SLF001
