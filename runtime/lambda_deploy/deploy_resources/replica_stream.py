"""``Custom::ReplicaStream``: the stream of a table's replica in this region.

Handler ``deploy_resources.replica_stream.handle``; no environment; timeout 120 s, and the custom
resource with ``ServiceTimeout`` 180. Property ``TableName``; attribute ``StreamArn``. The ARN ends
in the time at which the replica was made, which CloudFormation does not know in other regions.

The role needs exactly this, beside writing its own logs:

- the table in this region: ``dynamodb:DescribeTable``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3

from deploy_resources.custom_resource import (
    CLIENT_CONFIG,
    CustomResourceError,
    Request,
    Result,
    serve,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def handle(event: Mapping[str, Any], _context: object) -> None:
    """Answer one request of CloudFormation."""
    serve(event, fulfil)


def fulfil(request: Request) -> Result:
    """Look the stream up.

    Raises:
        CustomResourceError: If the table is not here or has no stream.
    """
    if request.is_delete:
        return Result(physical_id=request.physical_id or "")
    table_name = request.text("TableName")
    client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
    region = client.meta.region_name
    try:
        described = client.describe_table(TableName=table_name)
    except client.exceptions.ResourceNotFoundException:
        raise CustomResourceError(
            f"there is no table {table_name!r} in {region}; deploy its replica there first"
        ) from None
    stream = described["Table"].get("LatestStreamArn")
    if not stream:
        raise CustomResourceError(
            f"table {table_name!r} has no stream in {region}; give the table a stream"
        )
    return Result(physical_id=f"replica-stream/{table_name}", attributes={"StreamArn": stream})
