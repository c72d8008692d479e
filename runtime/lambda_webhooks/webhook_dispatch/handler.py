"""The three functions that send webhooks.

Environment of all: :class:`~media_platform.contract.environment.WebhookEnvironment`. None is in a
VPC, so that nothing private is in reach.

``webhook_dispatch.handler.fan_out``, timeout 60 s, is called with batches of the queue that the
topic of domain events feeds (raw message delivery, ``ReportBatchItemFailures``). Every delivery
that it makes stands in the index of due work. Its role needs exactly this, beside writing its own
logs:

- the table in this region: ``dynamodb:Query`` and ``dynamodb:PutItem``;
- the queue of deliveries: ``sqs:SendMessage``;
- its own queue: ``sqs:ReceiveMessage``, ``sqs:DeleteMessage``, ``sqs:GetQueueAttributes``, and
  what CDK adds, ``sqs:ChangeMessageVisibility`` and ``sqs:GetQueueUrl``, used by Lambda itself.

``webhook_dispatch.handler.deliver``, timeout 60 s, is called with batches of at most ten messages
of the queue of deliveries (``ReportBatchItemFailures``), which it works on side by side. It alone
sends anything out. Its role needs:

- the table in this region: ``dynamodb:GetItem``, ``dynamodb:PutItem``, ``dynamodb:UpdateItem``;
- the queue of deliveries: ``sqs:SendMessage``, and the five of its own queue as above.

``webhook_dispatch.handler.turn``, timeout 60 s, is called every minute. Its role needs:

- the table in this region: ``dynamodb:UpdateItem``, and ``dynamodb:Query`` on its index ``due``;
- the queue of deliveries: ``sqs:SendMessage``.

Where the table has a customer managed key, each needs on that key: ``kms:Decrypt``,
``kms:Encrypt``, ``kms:GenerateDataKey*``, ``kms:ReEncrypt*``, ``kms:DescribeKey``.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract.environment import WebhookEnvironment
from media_platform.contract.events import DomainEvent
from media_platform.contract.logs import log_as_json
from media_platform.contract.webhook_urls import parse_networks
from media_platform.contract.webhooks import DeliveryJob
from webhook_dispatch.aws import DeliveryQueue, NotSentError, Webhooks
from webhook_dispatch.deliverer import Deliverer
from webhook_dispatch.fan_out import FanOut
from webhook_dispatch.sender import Sender
from webhook_dispatch.turn import Turn

_LOG = logging.getLogger(__name__)

BATCH = 10
"""Most messages of a batch, and attempts at a time in one instance of the function."""

KEPT_BACK_MILLISECONDS = 25_000
"""Time that must be left to begin a call: its attempts, with their timeouts and pauses."""

Failures = dict[str, list[dict[str, str]]]
"""A partial batch response: the messages that are to come again.

Source: AWS Lambda Developer Guide, "Reporting batch item failures", Amazon SQS.
"""


class LambdaContext(Protocol):
    """The part of the context of an invocation that is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the invocation is ended."""


def fan_out(event: Mapping[str, Any], _context: object) -> Failures:
    """Make the deliveries of the events of a batch."""
    maker = _parts().fan_out
    return _each(event["Records"], lambda body: maker.take(DomainEvent.from_json(body)))


def deliver(event: Mapping[str, Any], _context: object) -> Failures:
    """Make the attempts that the messages of a batch ask for, side by side."""
    deliverer = _parts().deliverer
    return _each(event["Records"], lambda body: deliverer.deliver(DeliveryJob.from_json(body)))


def turn(_event: object, context: LambdaContext) -> dict[str, int]:
    """Look after deliveries that are due.

    Returns:
        How many messages were sent, for whoever invokes the function by hand.

    Raises:
        NotSentError: If a message was not taken.
        botocore.exceptions.ClientError: If a service refused or was not reached.
    """
    sent = _parts().turn.take(
        lambda: context.get_remaining_time_in_millis() > KEPT_BACK_MILLISECONDS
    )
    return {"sent": sent}


def _each(records: Sequence[Mapping[str, Any]], work: Callable[[str], object]) -> Failures:
    """Do every message; what fails there does not stop the others."""

    def attempt(record: Mapping[str, Any]) -> str | None:
        try:
            work(record["body"])
        except (BotoCoreError, ClientError, NotSentError, ValueError) as error:
            message_id: str = record["messageId"]
            _LOG.exception(
                "a message was not done: %s: %s",
                type(error).__name__,
                error,
                extra={"message_id": message_id},
            )
            return message_id
        return None

    failed = [message_id for message_id in _pool().map(attempt, records) if message_id]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


class _Parts:
    """What the functions are made of, read and made once, at the cold start."""

    def __init__(self) -> None:
        log_as_json()
        environment = WebhookEnvironment.from_variables(os.environ)
        webhooks = Webhooks(environment.table_name, environment.home_region)
        queue = DeliveryQueue(environment.delivery_queue_url)
        sender = Sender(parse_networks(environment.allowed_networks))
        self.fan_out = FanOut(environment, webhooks, queue)
        self.turn = Turn(webhooks, queue)
        self.deliverer = Deliverer(environment, webhooks, queue, sender)


@functools.cache
def _parts() -> _Parts:
    return _Parts()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(BATCH, "message")
