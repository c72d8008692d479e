"""Access to the files that are judged, and to the queue of verdicts; bounded in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from content_scan.scanner import GoneError, QuarantinedError
from media_platform.contract.scanning import (
    QUARANTINE_TAG,
    QUARANTINE_VALUE,
    ScanRequest,
    Verdict,
)
from media_platform.contract.tracing import TraceContext

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
)
"""Seconds and attempts: what takes longer comes again through the queue."""

_NOT_FOUND, _METHOD_NOT_ALLOWED = 404, 405
"""Answers for a version that is gone, and for one that is a delete marker."""

_FORBIDDEN = 403


class ObjectVersions:
    """Object versions in S3."""

    def __init__(self) -> None:
        self._client: S3Client = boto3.client("s3", config=CLIENT_CONFIG)

    def read(self, request: ScanRequest, start: int, end: int) -> tuple[bytes, int]:
        """Return a range of the version, and the size of the whole.

        Raises:
            GoneError: If the version is gone.
            QuarantinedError: If another scanner refused it.
            botocore.exceptions.ClientError: If S3 refused or was not reached.
        """
        try:
            answer = self._client.get_object(
                Bucket=request.bucket,
                Key=request.key,
                VersionId=request.version_id,
                Range=f"bytes={start}-{end - 1}",
            )
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status in {_NOT_FOUND, _METHOD_NOT_ALLOWED}:
                raise GoneError from error
            if status == _FORBIDDEN and self._is_quarantined(request):
                raise QuarantinedError from error
            raise
        size = answer["ContentRange"].rpartition("/")[2]
        return answer["Body"].read(), int(size)

    def _is_quarantined(self, request: ScanRequest) -> bool:
        answer = self._client.get_object_tagging(
            Bucket=request.bucket, Key=request.key, VersionId=request.version_id
        )
        return {"Key": QUARANTINE_TAG, "Value": QUARANTINE_VALUE} in answer["TagSet"]


class Answers:
    """The queue of verdicts that a request names."""

    def __init__(self) -> None:
        self._client: SQSClient = boto3.client("sqs", config=CLIENT_CONFIG)

    def send(self, request: ScanRequest, verdict: Verdict, trace: TraceContext | None) -> None:
        """Send a verdict, with the trace that the request is part of."""
        attributes: dict[str, Any] = {}
        if trace is not None:
            attributes["MessageAttributes"] = trace.message_attributes()
            attributes["MessageSystemAttributes"] = trace.system_attributes()
        self._client.send_message(
            QueueUrl=request.answer_to,
            MessageBody=verdict.to_json(),
            MessageGroupId=request.tenant,
            **attributes,
        )
