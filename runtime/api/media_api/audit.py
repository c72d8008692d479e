"""Who changed what: entries in the table and lines in the log.

An entry is part of the transaction of its change, so neither is there without the other. The line
is written once the transaction is through: it leaves the account with the logs, the entry is what
administrators search.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from botocore.exceptions import ClientError
from fastapi import Request

from media_api import cursors
from media_api.access import caller_of
from media_api.logs import audit
from media_api.tokens import Caller
from media_platform.contract import table
from media_platform.contract.audit import AuditAction, AuditEntry, audit_write
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem
from media_platform.contract.times import timestamp
from media_platform.contract.tracing import TraceContext


@dataclass(frozen=True)
class Cause:
    """The request that causes a change.

    Attributes:
        caller: Who makes it.
        request_id: Its id.
        trace: Its trace, which what it begins continues.
    """

    caller: Caller
    request_id: str
    trace: TraceContext

    def entry(
        self,
        action: AuditAction,
        *,
        tenant: str | None = None,
        video_id: str | None = None,
        subject: str | None = None,
        changed: Iterable[str] = (),
    ) -> AuditEntry:
        """Return the entry of what the request does.

        Args:
            action: What it does.
            tenant: Tenant whose data it is done to. Default: that of the caller.
            video_id: The video it is done to. Default: none.
            subject: What else it is done to. Default: nothing.
            changed: Names of the fields that it changes; never values.
        """
        return AuditEntry(
            entry_id=new_id(),
            at=timestamp(),
            tenant=tenant or self.caller.tenant,
            actor=self.caller.user,
            actor_tenant=self.caller.tenant,
            actor_groups=tuple(sorted(self.caller.groups)),
            action=action,
            request_id=self.request_id,
            trace_id=self.trace.trace_id,
            video_id=video_id,
            subject=subject,
            changed=tuple(sorted(changed)),
        )


def cause_of(request: Request) -> Cause:
    """Return what a request causes changes as, on a route that needs a token."""
    return Cause(caller_of(request), request.scope["request_id"], request.scope["trace"])


def log_entry(entry: AuditEntry) -> None:
    """Write the log line of an entry that is in the table."""
    audit("change", **asdict(entry))


@dataclass(frozen=True)
class AuditPage:
    """A page of the entries of a day.

    Attributes:
        entries: The entries, newest first.
        next_cursor: Cursor of the next page, if there may be one.
    """

    entries: list[AuditEntry]
    next_cursor: str | None


class NotWrittenError(Exception):
    """A condition of what was to be written with an entry does not hold."""


class AuditTrail:
    """The entries of all tenants, for administrators.

    It needs ``dynamodb:Query`` and ``dynamodb:PutItem`` on the table.

    Args:
        client: A DynamoDB client.
        table_name: The table.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    async def put(self, entry: AuditEntry, *more: TransactItem) -> None:
        """Write the entry of what changes nothing here: a read, or a change of another service.

        Args:
            entry: The entry.
            *more: What is written with it, or neither is.

        Raises:
            NotWrittenError: If a condition of ``more`` does not hold.
        """
        put = audit_write(self._table_name, entry)
        try:
            if more:
                await self._client.transact_write_items(TransactItems=[put, *more])
            else:
                await self._client.put_item(**put["Put"])
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            if any(reason.get("Code") == "ConditionalCheckFailed" for reason in reasons):
                raise NotWrittenError from error
            raise
        log_entry(entry)

    async def entries(
        self, tenant: str, day: str, cursor: str | None = None, *, limit: int = 50
    ) -> AuditPage:
        """Return a page of what was done to the data of a tenant on a day, newest first.

        Entries that are written while pages are read neither repeat nor hide others.

        Args:
            tenant: The tenant.
            day: The day (``2026-11-25``, UTC).
            cursor: ``next_cursor`` of the page before. Default: the first page.
            limit: Most entries of the page.

        Raises:
            InvalidCursorError: If the cursor is not one of this tenant and day.
        """
        name = f"audit {tenant} {day}"
        after = None if cursor is None else cursors.decode(name, cursor)
        shards = await asyncio.gather(
            *(
                self._newest(table.audit_partition(tenant, day, number), after, limit)
                for number in range(table.SHARDS)
            )
        )
        # The newest of all shards are among the newest of each.
        found = sorted(
            (entry for shard in shards for entry in shard),
            key=lambda entry: entry.entry_id,
            reverse=True,
        )
        page = found[:limit]
        has_more = len(found) > limit
        return AuditPage(page, cursors.encode(name, page[-1].entry_id) if has_more else None)

    async def _newest(self, partition: str, after: str | None, limit: int) -> list[AuditEntry]:
        """Return at most one entry of a shard more than the page takes."""
        query: dict[str, Any] = {
            "TableName": self._table_name,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition}},
            "ScanIndexForward": False,
            "Limit": limit + 1,
        }
        if after is not None:
            query["KeyConditionExpression"] += " AND sk < :after"
            query["ExpressionAttributeValues"][":after"] = {"S": after}
        answer = await self._client.query(**query)
        return [AuditEntry.from_item(item) for item in answer["Items"]]
