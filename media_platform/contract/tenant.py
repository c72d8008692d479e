"""A tenant as administrators list it.

Tenants are names in the tokens of users; the item only makes them listable. It is written by
whoever meets the tenant first, and writing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import from_item, to_wire


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant.

    Attributes:
        name: Its name, as tokens carry it.
        first_seen_at: Time at which it was first met (RFC 3339, UTC).
    """

    name: str
    first_seen_at: str

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        return cls(name=stored["name"], first_seen_at=stored["first_seen_at"])


def note_tenant(table_name: str, tenant: str, *, seen_at: str) -> dict[str, Any]:
    """Return the arguments of the ``UpdateItem`` call that makes a tenant listable.

    Args:
        table_name: The table.
        tenant: The tenant.
        seen_at: The present time; the earliest one is kept.
    """
    return {
        "TableName": table_name,
        "Key": table.tenant_key(tenant).to_wire(),
        "UpdateExpression": (
            "SET #name = :name, #directory = :directory, #seen = if_not_exists(#seen, :seen)"
        ),
        "ExpressionAttributeNames": {
            "#name": "name",
            "#directory": table.DIRECTORY.partition_key,
            "#seen": "first_seen_at",
        },
        "ExpressionAttributeValues": {
            ":name": to_wire(tenant),
            ":directory": to_wire(table.tenant_directory()),
            ":seen": to_wire(seen_at),
        },
    }
