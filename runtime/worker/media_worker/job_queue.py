"""The queues of jobs, and keeping a received one while it is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract.ids import is_id
from media_platform.contract.jobs import DEAD_LETTER_REASON, Profile, Quality, TranscodeJob
from media_platform.contract.tracing import TRACEPARENT, TraceContext
from media_worker.cancellation import Cancellation
from media_worker.faults import StoppedError
from media_worker.threads import make_thread

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageSystemAttributeValueTypeDef,
    )

POLL_SECONDS = 20
"""Longest wait of a receive call that SQS offers."""

MAX_HIDE_SECONDS = 43_200
"""Longest visibility timeout of SQS: 12 hours."""

_REASON_CHARACTERS = 1000


class _Attributes(TypedDict, total=False):
    """Arguments of ``SendMessage``."""

    MessageAttributes: dict[str, MessageAttributeValueTypeDef]
    MessageSystemAttributes: dict[Literal["AWSTraceHeader"], MessageSystemAttributeValueTypeDef]


@dataclass(frozen=True)
class Message:
    """A received message.

    Attributes:
        body: The body.
        receipt: Handle of this delivery.
        message_id: Names the message; the same with every delivery.
        reason: Why it failed before, if an operator took it back from the dead-letter queue.
        sent_at: Unix seconds at which it was sent, if the queue tells.
        trace: The trace that it is part of, if it carries one.
    """

    body: str
    receipt: str
    message_id: str = ""
    reason: str | None = None
    sent_at: float | None = None
    trace: TraceContext | None = None


class NotAJobError(ValueError):
    """The body of a message is no transcode job, now or later."""


def read_job(body: str) -> TranscodeJob:
    """Read the body of a message.

    Raises:
        NotAJobError: If it is no transcode job, whatever it is instead: no message may end the
            worker that reads it, or come back for ever.
    """
    try:
        job = TranscodeJob.from_json(body)
        _check(job)
    except Exception as error:
        raise NotAJobError(f"{type(error).__name__}: {error}") from error
    return job


def _check(job: TranscodeJob) -> None:
    """Make sure that the fields are what they are declared as.

    Raises:
        ValueError: If one is not.
    """
    for name, value in asdict(job).items():
        kind = int if name == "size_bytes" else str
        if type(value) not in {kind, Profile, Quality}:  # the last two are checked by then
            raise ValueError(f"{name} is not of type {kind.__name__}")
        if isinstance(value, str):
            value.encode()  # JSON can name halves of characters, which nothing else takes
    for name in ("video_id", "run_id"):
        if not is_id(getattr(job, name)):
            raise ValueError(f"{name} is not an identifier")


class JobQueue:
    """A queue of a region and its dead-letter queue.

    Args:
        client: Client for the region.
        queue_url: The queue.
        dead_letter_queue_url: Where jobs go that failed too often.
    """

    def __init__(self, client: SQSClient, queue_url: str, dead_letter_queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url
        self._dead_letter_queue_url = dead_letter_queue_url

    def receive(self, *, wait_seconds: int, hide_seconds: int) -> Message | None:
        """Wait for a message; it is hidden from others for ``hide_seconds``."""
        answer = self._client.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=hide_seconds,
            MessageAttributeNames=[DEAD_LETTER_REASON, TRACEPARENT],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        for message in answer.get("Messages", []):
            attributes = message.get("MessageAttributes", {})
            reason, trace = attributes.get(DEAD_LETTER_REASON), attributes.get(TRACEPARENT)
            sent = message.get("Attributes", {}).get("SentTimestamp", "")
            return Message(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                message_id=message["MessageId"],
                reason=None if reason is None else reason.get("StringValue", ""),
                sent_at=int(sent) / 1000 if sent.isdecimal() else None,
                trace=None if trace is None else TraceContext.parse(trace.get("StringValue")),
            )
        return None

    def send(
        self,
        job: TranscodeJob,
        *,
        delay_seconds: int = 0,
        reason: str | None = None,
        trace: TraceContext | None = None,
    ) -> None:
        """Send a job; those of one tenant do not hold up those of others.

        Args:
            job: The job.
            delay_seconds: Time until it can be received.
            reason: Why it failed before, of a job that an operator took back. Default: it did not.
            trace: What the work on it continues. Default: nothing.

        Source: Amazon SQS Developer Guide, "Amazon SQS fair queues".
        """
        self._client.send_message(
            QueueUrl=self._queue_url,
            MessageBody=job.to_json(),
            MessageGroupId=job.tenant,
            DelaySeconds=delay_seconds,
            **_attributes(reason, trace),
        )

    def hide(self, message: Message, seconds: int) -> None:
        """Hide a message for ``seconds`` from now; 0 gives it back at once."""
        self._client.change_message_visibility(
            QueueUrl=self._queue_url,
            ReceiptHandle=message.receipt,
            VisibilityTimeout=min(MAX_HIDE_SECONDS, seconds),
        )

    def delete(self, message: Message) -> None:
        """Remove a message for good."""
        # The handle is invalid if an earlier try did it already, though its answer was lost.
        with suppress(self._client.exceptions.ReceiptHandleIsInvalid):
            self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message.receipt)

    def dead_letter(self, message: Message, reason: str) -> None:
        """Put a copy of a message, with the reason, where people look after it."""
        self._client.send_message(
            QueueUrl=self._dead_letter_queue_url,
            MessageBody=message.body,
            **_attributes(reason, message.trace),
        )


def _attributes(reason: str | None, trace: TraceContext | None) -> _Attributes:
    """Return what is sent beside the body of a message."""
    ours: dict[str, Any] = {} if trace is None else trace.message_attributes()
    if reason is not None:
        text = _printable(reason)[:_REASON_CHARACTERS] or "unknown"
        ours[DEAD_LETTER_REASON] = {"DataType": "String", "StringValue": text}
    if trace is None:
        return {"MessageAttributes": ours}
    system: dict[Any, Any] = trace.system_attributes()
    return {"MessageAttributes": ours, "MessageSystemAttributes": system}


def _printable(text: str) -> str:
    """Replace what SQS does not take: it refuses control characters and lone surrogates."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


class Heartbeat:
    """Keeps something alive from a thread of its own while the ``with`` block runs.

    Args:
        beats: What is done at each beat; the first :class:`StoppedError` stops the job, other
            errors of AWS are logged and the next beat tries again.
        interval_seconds: Time between beats.
        cancellation: Stops the job.
    """

    def __init__(
        self,
        *beats: Callable[[], None],
        interval_seconds: float,
        cancellation: Cancellation,
    ) -> None:
        self._beats = beats
        self._interval = interval_seconds
        self._cancellation = cancellation
        self._end = threading.Event()
        self._thread = make_thread("heartbeat", self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        # A beat under way must not hide a message again that is given back after this.
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            for beat in self._beats:
                try:
                    beat()
                except StoppedError as error:
                    self._cancellation.fail(error)
                    return
                except (BotoCoreError, ClientError, OSError) as error:
                    structlog.get_logger().warning("heartbeat failed", error=str(error))
