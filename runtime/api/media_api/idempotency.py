"""Requests that are sent twice: a repeat gets the answer of the first, and nothing is done again.

A client that never saw an answer cannot know whether its request was done. It sends it again with
the same ``Idempotency-Key``. What the first one did is recorded in the transaction that did it, so
that there is no moment at which one of the two is there without the other; of requests that come at
the same time one wins, and the others find its record. The record holds what the answer is made of
again, and nothing that opens anything: URLs are signed anew.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Header, Request

from media_api.access import caller_of
from media_api.problems import Kind, Problem
from media_platform.contract import table
from media_platform.contract.items import TransactItem, from_item, to_item, to_wire

KEY_MAX_CHARACTERS = 255
LIFETIME_SECONDS = 24 * 3600
"""Time for which a key is remembered."""

REPLAYED = {"Idempotency-Replayed": "true"}
"""Header of an answer that was given before."""


@dataclass(frozen=True)
class KeyedRequest:
    """A request with an ``Idempotency-Key``.

    Attributes:
        key: Where its record stands; every user of every tenant has keys of his own.
        fingerprint: Hash of method, path and body.
    """

    key: table.Key
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a request did.

    Attributes:
        reference: Id of what it made or changed.
        status: Status of its answer.
    """

    reference: str
    status: int


async def _keyed_request(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=KEY_MAX_CHARACTERS,
            pattern=r"^[\x21-\x7e]*$",
            description="Chosen by the client; a repeat of the request with the same key gets the "
            "answer of the first one. Visible ASCII",
        ),
    ] = None,
) -> KeyedRequest | None:
    if key is None:
        return None
    caller = caller_of(request)
    content = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    content.update(await request.body())
    return KeyedRequest(table.idempotency_key(caller.tenant, caller.user, key), content.hexdigest())


Keyed: TypeAlias = Annotated[KeyedRequest | None, Depends(_keyed_request)]
"""Parameter of a handler that writes: the request, if it has a key."""


class Idempotency:
    """The records in the table.

    Args:
        client: A DynamoDB client of the home region.
        table_name: The table.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    async def done_by(self, request: KeyedRequest | None) -> Done | None:
        """Return what an earlier request with the same key did, or ``None`` if there was none.

        Raises:
            Problem: If that was another request.
        """
        if request is None:
            return None
        answer = await self._client.get_item(
            TableName=self._table_name, Key=request.key.to_wire(), ConsistentRead=True
        )
        record = from_item(answer.get("Item", {}))
        # The table may keep what has expired for days.
        if not record or record[table.TTL_ATTRIBUTE] <= time.time():
            return None
        if record["fingerprint"] != request.fingerprint:
            raise Problem(
                Kind.KEY_REUSED,
                "the Idempotency-Key was used for another request within "
                f"{LIFETIME_SECONDS // 3600} hours; repeat that one with the same method, path "
                "and body, or send this one with a new key",
            )
        return Done(reference=record["reference"], status=record["status"])

    def record(self, request: KeyedRequest | None, done: Done) -> list[TransactItem]:
        """Return what records a request, to be added to the transaction that does it.

        The transaction fails if a request with the same key was faster.
        """
        if request is None:
            return []
        now = int(time.time())
        item = to_item(
            {
                table.PARTITION_KEY: request.key.pk,
                table.SORT_KEY: request.key.sk,
                "fingerprint": request.fingerprint,
                "reference": done.reference,
                "status": done.status,
                table.TTL_ATTRIBUTE: now + LIFETIME_SECONDS,
            }
        )
        return [
            {
                "Put": {
                    "TableName": self._table_name,
                    "Item": item,
                    "ConditionExpression": "attribute_not_exists(#pk) OR #expires_at <= :now",
                    "ExpressionAttributeNames": {
                        "#pk": table.PARTITION_KEY,
                        "#expires_at": table.TTL_ATTRIBUTE,
                    },
                    "ExpressionAttributeValues": {":now": to_wire(now)},
                }
            }
        ]
