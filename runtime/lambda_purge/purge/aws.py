"""Access to the table and the media bucket; every call is bounded in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from media_platform.contract import table
from media_platform.contract.purge import Purge
from media_platform.contract.video import Video

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryInputTypeDef, TransactWriteItemTypeDef
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
)
"""Seconds and attempts: a call ends within the time that is kept back at the end of the function.

Deleting a thousand versions takes S3 longer than other calls.
"""

DELETE_ACTIONS = 100
"""Most actions of one ``TransactWriteItems`` call (Amazon DynamoDB quotas)."""

DELETE_OBJECTS = 1000
"""Most versions of one ``DeleteObjects`` call (Amazon S3 API Reference)."""


class ObjectsRemainError(RuntimeError):
    """S3 did not delete a version; a later invocation tries again."""


class Runs:
    """Notes and items of runs in the table.

    Args:
        table_name: The table.
    """

    def __init__(self, table_name: str) -> None:
        self._client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
        self._table_name = table_name

    def due(self, shard: int, now: str) -> Iterator[Mapping[str, Any]]:
        """Yield the notes of one shard that are due, oldest first, as they are stored.

        Args:
            shard: The shard.
            now: The present time, as ``video.timestamp`` writes it.
        """
        yield from self._query(
            {
                "TableName": self._table_name,
                "IndexName": table.DUE.name,
                "KeyConditionExpression": "#due = :due AND #due_at <= :now",
                "ExpressionAttributeNames": {
                    "#due": table.DUE.partition_key,
                    "#due_at": table.DUE.sort_key,
                },
                "ExpressionAttributeValues": {
                    ":due": {"S": table.due_purges_of_shard(shard)},
                    ":now": {"S": now},
                },
            }
        )

    def video(self, video_id: str) -> Video | None:
        """Return the video as it stands now, or ``None`` if there is none."""
        answer = self._client.get_item(
            TableName=self._table_name,
            Key=table.video_key(video_id).to_wire(),
            ConsistentRead=True,
        )
        return Video.from_item(answer["Item"]) if "Item" in answer else None

    def delete_items(self, note: Purge) -> Iterator[int]:
        """Delete the items of the run; yield after each call how many it deleted.

        Transactions of nothing but deletes need the right to delete and no other, which the cheaper
        ``BatchWriteItem`` does not offer.
        """
        keys = self._query(
            {
                "TableName": self._table_name,
                "ConsistentRead": True,
                "KeyConditionExpression": "#pk = :pk AND begins_with(#sk, :sk)",
                "ProjectionExpression": "#pk, #sk",
                "ExpressionAttributeNames": {
                    "#pk": table.PARTITION_KEY,
                    "#sk": table.SORT_KEY,
                },
                "ExpressionAttributeValues": {
                    ":pk": {"S": table.video_partition(note.video_id)},
                    ":sk": {"S": table.run_prefix(note.run_id)},
                },
            }
        )
        batch: list[TransactWriteItemTypeDef] = []
        for key in keys:
            batch.append({"Delete": {"TableName": self._table_name, "Key": key}})
            if len(batch) == DELETE_ACTIONS:
                self._client.transact_write_items(TransactItems=batch)
                yield len(batch)
                batch = []
        if batch:
            self._client.transact_write_items(TransactItems=batch)
            yield len(batch)

    def delete_note(self, note: Purge) -> None:
        """Delete the note, unless it was written anew meanwhile."""
        try:
            self._client.delete_item(
                TableName=self._table_name,
                Key=table.purge_key(note.video_id, note.run_id).to_wire(),
                ConditionExpression="#due_at = :due_at",
                ExpressionAttributeNames={"#due_at": table.DUE.sort_key},
                ExpressionAttributeValues={":due_at": {"S": note.due_at}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return

    def _query(self, request: QueryInputTypeDef) -> Iterator[Mapping[str, Any]]:
        while True:
            answer = self._client.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}


class Media:
    """The media bucket of this region.

    Args:
        bucket: Its name.
    """

    def __init__(self, bucket: str) -> None:
        self._client: S3Client = boto3.client("s3", config=CLIENT_CONFIG)
        self._bucket = bucket

    def delete_versions(self, prefix: str) -> Iterator[int]:
        """Delete every version and delete marker below a prefix; yield after each call how many.

        Raises:
            ObjectsRemainError: If S3 refused one of them.
        """
        while True:
            listed = self._client.list_object_versions(
                Bucket=self._bucket, Prefix=prefix, MaxKeys=DELETE_OBJECTS
            )
            entries = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
            if not entries:
                return
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries
            ]
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
            )
            errors = answer.get("Errors", ())
            if errors:
                first = errors[0]
                raise ObjectsRemainError(
                    f"{len(errors)} of {len(objects)} versions remain, first {first.get('Key')}: "
                    f"{first.get('Code')}: {first.get('Message')}"
                )
            yield len(objects)
            if not listed["IsTruncated"]:
                return
