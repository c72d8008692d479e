"""Access to what the intake reads and writes; every call is bounded in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from media_platform.contract import duplicates, table
from media_platform.contract.budget import DayBudget, day_query
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RAW_PREFIX
from media_platform.contract.tracing import TraceContext
from media_platform.contract.upload import DUE_KIND, UploadSession
from media_platform.contract.video import Change, Video
from upload_intake.decision import StoredObject
from upload_intake.s3_event import UploadedObject

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryInputTypeDef, TransactWriteItemTypeDef
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 5},
)
"""Seconds and attempts: a call ends well before the timeout of the function does."""

_LOST_RACES = frozenset({"ConditionalCheckFailed", "TransactionConflict"})
_NOT_FOUND = 404
_NO_UPLOAD = "NoSuchUpload"


class Videos:
    """The videos in the table.

    Args:
        table_name: The table.
    """

    def __init__(self, table_name: str) -> None:
        self._client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
        self._table_name = table_name

    def read(self, video_id: str) -> Video | None:
        """Return the video as it stands now, or ``None`` if there is none."""
        item = self._item(table.video_key(video_id))
        return Video.from_item(item) if item else None

    def guards(self, keys: Sequence[table.Key]) -> dict[table.Key, str | None]:
        """Return the video that each guard of a content names now, ``None`` where there is none."""
        return {key: duplicates.guarded_video(self._item(key)) for key in keys}

    def write(self, change: Change) -> bool:
        """Write a change with its event, both or neither.

        Returns:
            False if somebody else changed the video since it was read.
        """
        try:
            self._client.transact_write_items(
                TransactItems=cast("list[TransactWriteItemTypeDef]", change.writes)
            )
        except self._client.exceptions.TransactionCanceledException as error:
            codes = {r.get("Code") for r in error.response.get("CancellationReasons", ())}
            if codes & _LOST_RACES:
                return False
            raise
        return True

    def _item(self, key: table.Key) -> Mapping[str, Any] | None:
        answer = self._client.get_item(
            TableName=self._table_name, Key=key.to_wire(), ConsistentRead=True
        )
        return answer.get("Item")


class LeftWork:
    """What stands in the indexes of work that is due or under way.

    Args:
        table_name: The table.
    """

    def __init__(self, table_name: str) -> None:
        self._client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
        self._table_name = table_name

    def due_uploads(self, region: str, shard: int, now: str) -> Iterator[Mapping[str, Any]]:
        """Yield the sessions of one shard that are due, oldest first, as they are stored.

        Args:
            region: The region.
            shard: The shard.
            now: The present time, as ``video.timestamp`` writes it.
        """
        yield from self._query(
            table.DUE, table.due_of_shard(DUE_KIND, region, shard), "#sort <= :bound", now
        )

    def in_flight(self, region: str, shard: int) -> Iterator[Mapping[str, Any]]:
        """Yield the videos of one shard that are not finished, as they are stored."""
        yield from self._query(table.IN_FLIGHT, table.in_flight_of_shard(region, shard))

    def session(self, video_id: str) -> UploadSession | None:
        """Return the session of a video as it stands now."""
        answer = self._client.get_item(
            TableName=self._table_name,
            Key=table.upload_key(video_id).to_wire(),
            ConsistentRead=True,
        )
        return UploadSession.from_item(answer["Item"]) if "Item" in answer else None

    def end_session(self, video_id: str) -> None:
        """Delete the session of a video."""
        self._client.delete_item(
            TableName=self._table_name, Key=table.upload_key(video_id).to_wire()
        )

    def has_run(self, video_id: str, run_id: str) -> bool:
        """Tell whether a worker took a run."""
        answer = self._client.get_item(
            TableName=self._table_name,
            Key=table.run_key(video_id, run_id).to_wire(),
            ConsistentRead=True,
            ProjectionExpression=table.PARTITION_KEY,
        )
        return "Item" in answer

    def budget(self, tenant: str, day: str) -> DayBudget:
        """Return what a tenant spent on a day, and whether it has a budget of its own."""
        pages = self._client.get_paginator("query").paginate(
            **day_query(self._table_name, tenant, day)
        )
        return DayBudget.from_items((item for page in pages for item in page["Items"]), day)

    def _query(
        self, index: table.Index, partition: str, condition: str = "", bound: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        request: QueryInputTypeDef = {
            "TableName": self._table_name,
            "IndexName": index.name,
            "KeyConditionExpression": "#partition = :partition",
            "ExpressionAttributeNames": {"#partition": index.partition_key},
            "ExpressionAttributeValues": {":partition": {"S": partition}},
        }
        if condition:
            request["KeyConditionExpression"] = f"#partition = :partition AND {condition}"
            request["ExpressionAttributeNames"] = {
                "#partition": index.partition_key,
                "#sort": index.sort_key,
            }
            request["ExpressionAttributeValues"] = {
                ":partition": {"S": partition},
                ":bound": {"S": bound},
            }
        while True:
            answer = self._client.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}


class Uploads:
    """The raw bucket."""

    def __init__(self) -> None:
        self._client: S3Client = boto3.client("s3", config=CLIENT_CONFIG)

    def read(self, uploaded: UploadedObject) -> StoredObject | None:
        """Return what S3 knows of this version, or ``None`` if it is gone."""
        try:
            head = self._client.head_object(
                Bucket=uploaded.bucket,
                Key=uploaded.key,
                VersionId=uploaded.version_id,
                ChecksumMode="ENABLED",
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == _NOT_FOUND:
                return None
            raise
        return StoredObject(
            size_bytes=head["ContentLength"],
            content_type=head.get("ContentType", ""),
            checksum_sha256=head.get("ChecksumSHA256"),
        )

    def versions(self, bucket: str, key: str) -> list[str]:
        """Return the versions of an object, the first one first; delete markers are none."""
        listed = self._client.list_object_versions(Bucket=bucket, Prefix=key)
        found = [entry for entry in listed.get("Versions", ()) if entry["Key"] == key]
        # S3 lists the newest first.
        return [entry["VersionId"] for entry in reversed(found)]

    def remove(self, bucket: str, key: str) -> int:
        """Delete every version of an object and its delete markers; return how many."""
        listed = self._client.list_object_versions(Bucket=bucket, Prefix=key)
        entries = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        found = [entry["VersionId"] for entry in entries if entry["Key"] == key]
        for version_id in found:
            self._client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
        return len(found)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """End an upload in parts without an object; one that is gone already stays so."""
        try:
            self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if error.response["Error"]["Code"] != _NO_UPLOAD:
                raise

    def unfinished(self, bucket: str, before: datetime) -> Iterator[tuple[str, str]]:
        """Yield key and id of the uploads in parts that were begun before a time."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Prefix=RAW_PREFIX
        )
        for page in pages:
            for upload in page.get("Uploads", ()):
                if upload["Initiated"] < before:
                    yield upload["Key"], upload["UploadId"]


class Jobs:
    """A queue of jobs.

    Args:
        queue_url: The queue.
    """

    def __init__(self, queue_url: str) -> None:
        self._client: SQSClient = boto3.client("sqs", config=CLIENT_CONFIG)
        self._queue_url = queue_url

    def send(self, job: TranscodeJob, trace: TraceContext | None) -> None:
        """Put a job into the queue, with the trace that the work on it continues.

        The tenant is the message group: SQS then hands out the messages of a tenant who has many in
        flight behind those of the others. A standard queue keeps no order within a group.

        Source: Amazon SQS Developer Guide, "Amazon SQS fair queues".
        """
        attributes: dict[str, Any] = {}
        if trace is not None:
            attributes["MessageAttributes"] = trace.message_attributes()
            attributes["MessageSystemAttributes"] = trace.system_attributes()
        self._client.send_message(
            QueueUrl=self._queue_url,
            MessageBody=job.to_json(),
            MessageGroupId=job.tenant,
            **attributes,
        )


class Workers:
    """The worker service, which stands at zero tasks while there is nothing to do.

    Args:
        cluster: Name of its ECS cluster.
        service: Its name.
    """

    def __init__(self, *, cluster: str, service: str) -> None:
        self._scaling: ApplicationAutoScalingClient = boto3.client(
            "application-autoscaling", config=CLIENT_CONFIG
        )
        self._ecs: ECSClient = boto3.client("ecs", config=CLIENT_CONFIG)
        self._cluster = cluster
        self._service = service

    def wake(self) -> None:
        """Let at least one worker run.

        The floor of the scaling comes first: an alarm that still says "nothing to do" would take a
        bare count of one back to zero. The count is then raised by hand only from zero, so that a
        larger one is never lowered.
        """
        self._scaling.register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{self._cluster}/{self._service}",
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=1,
        )
        answer = self._ecs.describe_services(cluster=self._cluster, services=[self._service])
        if any(service["desiredCount"] == 0 for service in answer["services"]):
            self._ecs.update_service(cluster=self._cluster, service=self._service, desiredCount=1)
