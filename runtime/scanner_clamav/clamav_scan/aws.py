"""Access to the files, to the queue of requests, and to that of verdicts; bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from clamav_scan.scanner import GoneError, QuarantinedError
from media_platform.contract.scanning import (
    QUARANTINE_TAG,
    QUARANTINE_VALUE,
    ScanRequest,
    Verdict,
)
from media_platform.contract.tracing import TRACEPARENT, TraceContext

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

Answer = TypeVar("Answer")

POLL_SECONDS = 3
"""Wait of a receive call; short, since a process that is to end has to wait for it."""

_READ_ATTEMPTS = 3
"""Times that a range is asked for whose body broke off, which the SDK does not repeat."""


def client_config(region: str) -> Config:
    """Return the settings of all clients: seconds and attempts."""
    return Config(
        region_name=region,
        connect_timeout=3,
        read_timeout=30,  # above the long poll
        retries={"mode": "standard", "total_max_attempts": 4},
    )


class ObjectVersions:
    """Object versions in S3.

    Args:
        config: Settings of the client.
    """

    def __init__(self, config: Config) -> None:
        self._client: S3Client = boto3.client("s3", config=config)

    def size(self, request: ScanRequest) -> int:
        """Return the size of the version.

        Raises:
            GoneError: If the version is gone.
            QuarantinedError: If it was refused.
            botocore.exceptions.ClientError: If S3 refused for another reason.
        """
        return self._ask(
            request,
            lambda: self._client.head_object(
                Bucket=request.bucket, Key=request.key, VersionId=request.version_id
            )["ContentLength"],
        )

    def read(self, request: ScanRequest, start: int, end: int) -> bytes:
        """Return a range of the version.

        Raises:
            GoneError: If the version is gone.
            QuarantinedError: If it was refused.
            botocore.exceptions.ClientError: If S3 refused for another reason.
            botocore.exceptions.HTTPClientError: If it was not reached.
        """
        for _ in range(_READ_ATTEMPTS - 1):
            try:
                return self._ask(request, lambda: self._range(request, start, end))
            except HTTPClientError:
                continue
        return self._ask(request, lambda: self._range(request, start, end))

    def _range(self, request: ScanRequest, start: int, end: int) -> bytes:
        answer = self._client.get_object(
            Bucket=request.bucket,
            Key=request.key,
            VersionId=request.version_id,
            Range=f"bytes={start}-{end - 1}",
        )
        return answer["Body"].read()

    def _ask(self, request: ScanRequest, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            # A version that is gone, and one that is a delete marker.
            if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
                raise GoneError from error
            if status == HTTPStatus.FORBIDDEN and self._is_quarantined(request):
                raise QuarantinedError from error
            raise

    def _is_quarantined(self, request: ScanRequest) -> bool:
        answer = self._client.get_object_tagging(
            Bucket=request.bucket, Key=request.key, VersionId=request.version_id
        )
        return {"Key": QUARANTINE_TAG, "Value": QUARANTINE_VALUE} in answer["TagSet"]


@dataclass(frozen=True)
class Message:
    """A received request.

    Attributes:
        body: The body.
        receipt: Handle of this delivery.
        message_id: Names the message; the same with every delivery.
        trace: The trace that it is part of, if it carries one.
    """

    body: str
    receipt: str
    message_id: str
    trace: TraceContext | None


class Requests:
    """The queue of requests, and the queues of verdicts that they name.

    Args:
        config: Settings of the client.
        queue_url: The queue of requests.
        hide_seconds: For how long a request is hidden from others.
    """

    def __init__(self, config: Config, queue_url: str, hide_seconds: int) -> None:
        self._client: SQSClient = boto3.client("sqs", config=config)
        self._queue_url = queue_url
        self.hide_seconds = hide_seconds

    def receive(self) -> Message | None:
        """Wait for a request."""
        answer = self._client.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=POLL_SECONDS,
            VisibilityTimeout=self.hide_seconds,
            MessageAttributeNames=[TRACEPARENT],
        )
        for message in answer.get("Messages", []):
            trace = message.get("MessageAttributes", {}).get(TRACEPARENT)
            return Message(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                message_id=message["MessageId"],
                trace=None if trace is None else TraceContext.parse(trace.get("StringValue")),
            )
        return None

    def hide(self, message: Message) -> None:
        """Hide a request for longer."""
        self._set_visibility(message, self.hide_seconds)

    def give_back(self, message: Message) -> None:
        """Let another task have a request at once."""
        self._set_visibility(message, 0)

    def _set_visibility(self, message: Message, seconds: int) -> None:
        self._client.change_message_visibility(
            QueueUrl=self._queue_url, ReceiptHandle=message.receipt, VisibilityTimeout=seconds
        )

    def delete(self, message: Message) -> None:
        """Remove a request for good."""
        self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message.receipt)

    def answer(self, request: ScanRequest, verdict: Verdict, trace: TraceContext | None) -> None:
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
