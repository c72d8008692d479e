"""Whether transcodes of a tenant may begin today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from media_platform.contract.budget import DayBudget, day_query
from media_platform.contract.times import timestamp

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class TenantBudgets:
    """The budgets of all tenants.

    Args:
        client: Client for the region.
        table_name: The table.
        limit_cpu_seconds: Processor time of a tenant's transcodes of a day, where an operator gave
            it no other; 0 for any, and then no other holds.
    """

    def __init__(self, client: DynamoDBClient, table_name: str, *, limit_cpu_seconds: int) -> None:
        self._client = client
        self._table_name = table_name
        self._limit = limit_cpu_seconds

    def allows(self, tenant: str) -> bool:
        """Tell whether a transcode of a tenant may begin; asks nobody where there is no limit."""
        if not self._limit:
            return True
        day = timestamp()[:10]
        pages = self._client.get_paginator("query").paginate(
            **day_query(self._table_name, tenant, day)
        )
        spent = DayBudget.from_items((item for page in pages for item in page["Items"]), day)
        return not spent.is_spent(self._limit)
