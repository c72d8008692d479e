"""Access to scanners: what they are asked, what they said, and what became of what they refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from media_platform.contract import table
from media_platform.contract.scanning import (
    QUARANTINE_TAG,
    QUARANTINE_VALUE,
    ScannerQueues,
    ScanRequest,
    Verdict,
    Verdicts,
    verdict_update,
)
from media_platform.contract.times import timestamp
from media_platform.contract.tracing import TraceContext
from media_platform.contract.video import Video
from upload_intake.aws import CLIENT_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_NOT_FOUND = 404


class Scans:
    """The queues of the scanners, and their verdicts in the table.

    Args:
        table_name: The table.
    """

    def __init__(self, table_name: str) -> None:
        self._sqs: SQSClient = boto3.client("sqs", config=CLIENT_CONFIG)
        self._dynamodb: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
        self._table_name = table_name

    def request(
        self, request: ScanRequest, queues: ScannerQueues, trace: TraceContext | None
    ) -> None:
        """Ask a scanner; the tenant is the message group, as it is for jobs."""
        attributes: dict[str, Any] = {}
        if trace is not None:
            attributes["MessageAttributes"] = trace.message_attributes()
            attributes["MessageSystemAttributes"] = trace.system_attributes()
        self._sqs.send_message(
            QueueUrl=queues.requests_url,
            MessageBody=request.to_json(),
            MessageGroupId=request.tenant,
            **attributes,
        )

    def verdicts(self, video: Video) -> Verdicts:
        """Return what scanners said of the file for which the current run waits."""
        if video.current_run is None:
            return Verdicts({})
        answer = self._dynamodb.get_item(
            TableName=self._table_name,
            Key=table.scan_key(video.video_id, video.current_run).to_wire(),
            ConsistentRead=True,
        )
        return Verdicts.from_item(answer.get("Item"))

    def record(self, verdict: Verdict) -> None:
        """Keep a verdict, unless its scanner said so or worse before."""
        update = verdict_update(self._table_name, verdict, at=timestamp())
        try:
            self._dynamodb.update_item(**update)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return


class Quarantine:
    """What was refused: nobody reads it but whom the policy of the bucket names.

    Args:
        bucket: The raw bucket.
    """

    def __init__(self, bucket: str) -> None:
        self._client: S3Client = boto3.client("s3", config=CLIENT_CONFIG)
        self._bucket = bucket

    def put(self, key: str, version_id: str) -> bool:
        """Tag a version; return whether it is still there."""
        try:
            self._client.put_object_tagging(
                Bucket=self._bucket,
                Key=key,
                VersionId=version_id,
                Tagging={"TagSet": [{"Key": QUARANTINE_TAG, "Value": QUARANTINE_VALUE}]},
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == _NOT_FOUND:
                return False
            raise
        return True
