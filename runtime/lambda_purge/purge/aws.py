"""Access to the table and the buckets; every call is bounded in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from media_platform.contract import table
from media_platform.contract.duplicates import guard_keys
from media_platform.contract.items import TransactItem, to_wire
from media_platform.contract.purge import Purge
from media_platform.contract.usage import Usage, usage_update
from media_platform.contract.video import Video, VideoStatus

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
    """Notes, and items of runs and videos, in the table.

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

    def waiting_event(self, video_id: str) -> str | None:
        """Return an event of a video that was not published yet, if there is one."""
        for item in self._partition(video_id, table.EVENT_SORT_PREFIX):
            if table.UNPUBLISHED.partition_key in item:
                return str(item[table.SORT_KEY]["S"])
        return None

    def delete_items(self, note: Purge) -> Iterator[int]:
        """Delete the items of the run, or all of the video but itself and the note.

        Yields after each call how many it deleted. Transactions of nothing but deletes need the
        right to delete and no other, which the cheaper ``BatchWriteItem`` does not offer.
        """
        kept = {
            table.video_key(note.video_id).sk,
            table.purge_key(note.video_id, note.run_id).sk,
        }
        prefix = table.run_prefix(note.run_id) if note.run_id is not None else ""
        keys = (
            {name: item[name] for name in (table.PARTITION_KEY, table.SORT_KEY)}
            for item in self._partition(note.video_id, prefix)
            if item[table.SORT_KEY]["S"] not in kept
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
            self._client.delete_item(TableName=self._table_name, **_unchanged(note))
        except self._client.exceptions.ConditionalCheckFailedException:
            return

    def delete_counters(self, video_id: str, region: str) -> None:
        """Delete the counters of views of a video that a region writes."""
        keys = (table.view_counter_key(video_id, region, n) for n in range(table.SHARDS))
        self._client.transact_write_items(
            TransactItems=[
                {"Delete": {"TableName": self._table_name, "Key": key.to_wire()}} for key in keys
            ]
        )

    def delete_guards(self, video: Video) -> None:
        """Delete the guards of the content of a video that name it and no other."""
        if video.checksum_sha256 is None:
            return
        for key in guard_keys(video.tenant, video.owner, video.checksum_sha256, video.size_bytes):
            with contextlib.suppress(self._client.exceptions.ConditionalCheckFailedException):
                self._client.delete_item(
                    TableName=self._table_name,
                    Key=key.to_wire(),
                    ConditionExpression="video_id = :video_id",
                    ExpressionAttributeValues={":video_id": {"S": video.video_id}},
                )

    def delete_video(self, note: Purge, video: Video, *, with_note: bool) -> bool:
        """Delete a video, and take it off the use of its tenant, all or nothing.

        Args:
            note: Its note.
            video: The video.
            with_note: Whether the note goes with it, or stays as it is.

        Returns:
            False if the video or the note was changed since it was read.
        """
        writes: list[TransactItem] = [
            {
                "Delete": {
                    "TableName": self._table_name,
                    "Key": table.video_key(video.video_id).to_wire(),
                    "ConditionExpression": "#status = :deleted AND #version = :version",
                    "ExpressionAttributeNames": {"#status": "status", "#version": "version"},
                    "ExpressionAttributeValues": {
                        ":deleted": {"S": VideoStatus.DELETED.value},
                        ":version": to_wire(video.version),
                    },
                }
            },
            usage_update(
                self._table_name,
                tenant=video.tenant,
                region=video.home_region,
                more=Usage(videos=-1, stored_bytes=-video.size_bytes, deleted=-1),
            ),
        ]
        if with_note:
            writes.append({"Delete": {"TableName": self._table_name, **_unchanged(note)}})
        try:
            self._client.transact_write_items(
                TransactItems=cast("list[TransactWriteItemTypeDef]", writes)
            )
        except self._client.exceptions.TransactionCanceledException as error:
            codes = {r.get("Code") for r in error.response.get("CancellationReasons", ())}
            if codes & {"ConditionalCheckFailed", "TransactionConflict"}:
                return False
            raise
        return True

    def _partition(self, video_id: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Yield the keys of the items of a video whose sort keys start so, and what waits."""
        condition, values = "#pk = :pk", {":pk": {"S": table.video_partition(video_id)}}
        names = {
            "#pk": table.PARTITION_KEY,
            "#sk": table.SORT_KEY,
            "#unpublished": table.UNPUBLISHED.partition_key,
        }
        if prefix:
            condition, values[":sk"] = f"{condition} AND begins_with(#sk, :sk)", {"S": prefix}
        return self._query(
            {
                "TableName": self._table_name,
                "ConsistentRead": True,
                "KeyConditionExpression": condition,
                "ProjectionExpression": "#pk, #sk, #unpublished",
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        )

    def _query(self, request: QueryInputTypeDef) -> Iterator[Mapping[str, Any]]:
        while True:
            answer = self._client.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _unchanged(note: Purge) -> dict[str, Any]:
    """Return the key of a note, on the condition that it was not written anew meanwhile."""
    return {
        "Key": table.purge_key(note.video_id, note.run_id).to_wire(),
        "ConditionExpression": "#due_at = :due_at",
        "ExpressionAttributeNames": {"#due_at": table.DUE.sort_key},
        "ExpressionAttributeValues": {":due_at": {"S": note.due_at}},
    }


class Objects:
    """A bucket of this region.

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
