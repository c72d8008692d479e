"""How much is done for one tenant at a time: numbered slots, each held by one assignment.

A slot is an item with a lease, so that a worker that dies does not keep it.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from media_platform.contract import table
from media_platform.contract.items import from_item, to_wire

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RETRY_SECONDS = 15
"""When to look again after all slots of a tenant were taken."""


@dataclass(frozen=True)
class Slot:
    """A slot that is held.

    Attributes:
        tenant: The tenant.
        number: Its number.
        holder: Names whoever holds it.
    """

    tenant: str
    number: int
    holder: str


class TenantSlots:
    """The slots of all tenants of a region.

    Args:
        client: Client for the region.
        table_name: The table.
        limit: Slots of a tenant; 0 for any number.
        lease_seconds: How long a slot is held without a renewal.
    """

    def __init__(
        self, client: DynamoDBClient, table_name: str, *, limit: int, lease_seconds: int
    ) -> None:
        self._client = client
        self._table_name = table_name
        self._limit = limit
        self._lease_seconds = lease_seconds

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._limit > 0

    def take(self, tenant: str) -> Slot | None:
        """Hold a free slot; ``None`` if there is none."""
        now = int(time.time())
        leases = self._leases(tenant)
        free = [number for number in range(self._limit) if leases.get(number, 0) <= now]
        random.shuffle(free)
        for number in free:
            slot = Slot(tenant, number, secrets.token_hex(8))
            if self._write(slot, now + self._lease_seconds, "lease_until <= :now", now):
                return slot
        return None

    def renew(self, slot: Slot) -> None:
        """Hold a slot for another lease; one that was lost is not taken back."""
        now = int(time.time())
        self._write(slot, now + self._lease_seconds, "holder = :holder", now)

    def release(self, slot: Slot) -> None:
        """Let others have the slot, if it is still ours."""
        self._write(slot, 0, "holder = :holder", 0)

    def _leases(self, tenant: str) -> Mapping[int, int]:
        first, last = table.tenant_slot_key(tenant, 0), table.tenant_slot_key(tenant, 9999)
        answer = self._client.query(
            TableName=self._table_name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": first.pk},
                ":first": {"S": first.sk},
                ":last": {"S": last.sk},
            },
            ConsistentRead=True,
        )
        stored = [from_item(item) for item in answer["Items"]]
        return {
            int(one["sk"].removeprefix(table.TENANT_SLOT_PREFIX)): one["lease_until"]
            for one in stored
        }

    def _write(self, slot: Slot, lease_until: int, condition: str, now: int) -> bool:
        values: dict[str, Any] = {
            ":lease": to_wire(lease_until),
            ":holder": to_wire(slot.holder),
        }
        if ":now" in condition:
            condition = f"attribute_not_exists(lease_until) OR {condition}"
            values[":now"] = to_wire(now)
        try:
            self._client.update_item(
                TableName=self._table_name,
                Key=table.tenant_slot_key(slot.tenant, slot.number).to_wire(),
                UpdateExpression="SET lease_until = :lease, holder = :holder",
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True
