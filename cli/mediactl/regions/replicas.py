"""Where the table of a stage is, as DynamoDB tells: its home region, and its replicas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from media_platform.contract.outputs import StackPart, StoreOutput, stack_name
from mediactl.environment import Environment, outputs_of

REPLICA_REST = timedelta(hours=24)
"""How long the region from which a replica was added has to stay in the table (DynamoDB Developer
Guide, "Global tables: how it works")."""


def replica_regions(environment: Environment) -> set[str]:
    """Return the regions beside the home region in which the table is; none if there is none."""
    found = (described_table(environment) or {}).get("Replicas", [])
    return {str(one["RegionName"]) for one in found} - {environment.home_region}


def rest_until(environment: Environment, region: str) -> datetime | None:
    """Return until when the home region has to stay because of a replica, if it has to."""
    described = described_table(environment, region)
    if described is None:
        return None
    made_at: datetime = described["CreationDateTime"]
    until = made_at.astimezone(UTC) + REPLICA_REST
    return until if until > datetime.now(UTC) else None


def described_table(environment: Environment, region: str | None = None) -> dict[str, Any] | None:
    """Return what DynamoDB says of the table now, ``None`` if it is not there.

    Args:
        environment: The environment.
        region: Region of the replica. Default: the home region.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    stack = environment.stack(
        stack_name(environment.stage, StackPart.STORE), environment.home_region
    )
    # Read anew, and not kept: whoever deploys asks before and after.
    name = outputs_of(stack or {}).get(StoreOutput.TABLE_NAME)
    if name is None:
        return None
    try:
        answer = environment.client("dynamodb", region).describe_table(TableName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise
    described: dict[str, Any] = answer["Table"]
    return described
