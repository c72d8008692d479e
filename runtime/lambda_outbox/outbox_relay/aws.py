"""Access to the topic and to the outbox; every call is bounded in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from media_platform.contract.ids import first_of
from media_platform.contract.table import (
    EVENT_SORT_PREFIX,
    PARTITION_KEY,
    TTL_ATTRIBUTE,
    UNPUBLISHED,
    Key,
    unpublished_of_shard,
)
from media_platform.contract.takeover import Takeover, list_takeovers, restored
from media_platform.contract.video import Video
from outbox_relay.stream import OutboxRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryInputTypeDef
    from mypy_boto3_sns import SNSClient

CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 5},
)
"""Seconds and attempts: a call ends well before the timeout of the function does."""


class Topic:
    """The topic of domain events.

    Args:
        arn: The topic.
    """

    def __init__(self, arn: str) -> None:
        self._client: SNSClient = boto3.client("sns", config=CLIENT_CONFIG)
        self._arn = arn

    def publish(self, records: Sequence[OutboxRecord]) -> dict[int, str]:
        """Publish up to ten events in one call.

        Returns:
            Why a record was not taken, by its place among ``records``.
        """
        answer = self._client.publish_batch(
            TopicArn=self._arn,
            PublishBatchRequestEntries=[
                {
                    "Id": str(place),
                    "Message": record.event.to_json(),
                    "MessageAttributes": {
                        name: {
                            "DataType": attribute["DataType"],
                            "StringValue": attribute["StringValue"],
                        }
                        for name, attribute in record.event.message_attributes().items()
                    },
                }
                for place, record in enumerate(records)
            ],
        )
        return {
            int(entry["Id"]): f"{entry['Code']}: {entry.get('Message', '')}"
            for entry in answer.get("Failed", ())
        }


class Outbox:
    """The outbox items of the table.

    Args:
        table_name: The table.
    """

    def __init__(self, table_name: str) -> None:
        self._client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
        self._table_name = table_name

    def mark_published(self, key: Key, *, expires_at: int) -> None:
        """Take an event out of the index of unpublished ones and let it expire.

        An item that was purged meanwhile stays purged.

        Args:
            key: Key of the event.
            expires_at: Unix seconds from which it may vanish.
        """
        try:
            self._client.update_item(
                TableName=self._table_name,
                Key=key.to_wire(),
                UpdateExpression="REMOVE #unpublished SET #expires_at = :expires_at",
                ConditionExpression="attribute_exists(#pk)",
                ExpressionAttributeNames={
                    "#unpublished": UNPUBLISHED.partition_key,
                    "#expires_at": TTL_ATTRIBUTE,
                    "#pk": PARTITION_KEY,
                },
                ExpressionAttributeValues={":expires_at": {"N": str(expires_at)}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return

    def takeovers(self) -> list[Takeover]:
        """Return which region has taken over which."""
        answer = self._client.query(**list_takeovers(self._table_name))
        return [Takeover.from_item(item) for item in answer["Items"]]

    def restore(self, before: Video, now: Video, *, region: str) -> bool:
        """Put back what a region wrote over that was taken over; tell whether there was anything.

        The lost region may have written more since: then the video is put back over that.

        Args:
            before: The video before it was changed here.
            now: The video after it.
            region: This region.
        """
        while write := restored(self._table_name, before, now, region=region):
            try:
                self._client.update_item(
                    ReturnValuesOnConditionCheckFailure="ALL_OLD", **write["Update"]
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                item: Any = error.response.get("Item")
                if item is None:
                    return False
                now = Video.from_item(item)
            else:
                return True
        return False

    def waiting(self, region: str, shard: int, *, before: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield the items of one shard that were written before a time, oldest first.

        Args:
            region: Region that wrote them.
            shard: The shard.
            before: The time.
        """
        request: QueryInputTypeDef = {
            "TableName": self._table_name,
            "IndexName": UNPUBLISHED.name,
            "KeyConditionExpression": "#unpublished = :shard AND #sk < :first",
            "ExpressionAttributeNames": {
                "#unpublished": UNPUBLISHED.partition_key,
                "#sk": UNPUBLISHED.sort_key,
            },
            "ExpressionAttributeValues": {
                ":shard": {"S": unpublished_of_shard(region, shard)},
                ":first": {"S": EVENT_SORT_PREFIX + first_of(before)},
            },
        }
        while True:
            answer = self._client.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}
