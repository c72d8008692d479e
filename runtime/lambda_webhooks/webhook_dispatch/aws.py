"""Access to the table and the delivery queue; every call is bounded in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from media_platform.contract import table
from media_platform.contract.items import from_item, to_wire
from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    DUE_KIND,
    KEPT_FOR,
    Delivery,
    DeliveryJob,
    DisabledReason,
    Webhook,
    delivery_write,
)

if TYPE_CHECKING:
    from datetime import datetime

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=16,
)
"""Seconds and attempts: a call ends well before the timeout of the function does."""

SEND_ENTRIES = 10
"""Most messages of one ``SendMessageBatch`` call (Amazon SQS quotas)."""


class NotSentError(RuntimeError):
    """SQS did not take a message; whoever called tries again."""


@dataclass(frozen=True)
class Due:
    """A delivery that the schedule is to look after.

    Attributes:
        job: The delivery.
        due_at: Since when.
    """

    job: DeliveryJob
    due_at: str


class Webhooks:
    """Endpoints and deliveries in the table.

    Args:
        table_name: The table.
        region: Region whose deliveries these are.
    """

    def __init__(self, table_name: str, region: str) -> None:
        self._client: DynamoDBClient = boto3.client("dynamodb", config=CLIENT_CONFIG)
        self._table_name = table_name
        self._region = region

    def of_tenant(self, tenant: str) -> list[Webhook]:
        """Return the endpoints of a tenant, as the last write here left them."""
        key = table.webhook_key(tenant, "")
        answer = self._client.query(
            TableName=self._table_name,
            ConsistentRead=True,
            KeyConditionExpression="#pk = :pk AND begins_with(#sk, :sk)",
            ExpressionAttributeNames={"#pk": table.PARTITION_KEY, "#sk": table.SORT_KEY},
            ExpressionAttributeValues={":pk": {"S": key.pk}, ":sk": {"S": key.sk}},
        )
        return [Webhook.from_item(item) for item in answer["Items"]]

    def webhook(self, tenant: str, webhook_id: str) -> Webhook | None:
        """Return an endpoint, or ``None`` if there is none."""
        item = self._get(table.webhook_key(tenant, webhook_id))
        return Webhook.from_item(item) if item else None

    def delivery(self, job: DeliveryJob) -> Delivery | None:
        """Return a delivery, or ``None`` if there is none."""
        item = self._get(table.webhook_delivery_key(job.tenant, job.webhook_id, job.event_id))
        return Delivery.from_item(item) if item else None

    def write(self, after: Delivery, before: Delivery | None) -> bool:
        """Write a delivery.

        Returns:
            False if it is no longer as it was read.
        """
        put: Any = delivery_write(self._table_name, after, before)["Put"]
        try:
            self._client.put_item(**put)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def due(self, shard: int, now: datetime) -> Iterator[Due]:
        """Yield the deliveries of a shard that are due, oldest first."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table_name,
            IndexName=table.DUE.name,
            KeyConditionExpression="#due = :due AND #due_at <= :now",
            ProjectionExpression="tenant, webhook_id, event_id, #due_at",
            ExpressionAttributeNames={
                "#due": table.DUE.partition_key,
                "#due_at": table.DUE.sort_key,
            },
            ExpressionAttributeValues={
                ":due": {"S": table.due_of_shard(DUE_KIND, self._region, shard)},
                ":now": {"S": timestamp(now)},
            },
        )
        for page in pages:
            for item in page["Items"]:
                found = from_item(item)
                job = DeliveryJob(
                    tenant=found["tenant"],
                    webhook_id=found["webhook_id"],
                    event_id=found["event_id"],
                )
                yield Due(job, found["due_at"])

    def postpone(self, due: Due, until: datetime) -> bool:
        """Let the schedule look after a delivery later.

        Returns:
            False if somebody else did something about it meanwhile.
        """
        job = due.job
        key = table.webhook_delivery_key(job.tenant, job.webhook_id, job.event_id)
        return self._update(
            key,
            UpdateExpression="SET #due_at = :until",
            ConditionExpression="#due_at = :due_at",
            ExpressionAttributeNames={"#due_at": table.DUE.sort_key},
            ExpressionAttributeValues={
                ":until": {"S": timestamp(until)},
                ":due_at": {"S": due.due_at},
            },
        )

    def note_success(self, webhook: Webhook, now: datetime) -> None:
        """Note that an endpoint took something."""
        self._client.update_item(
            TableName=self._table_name,
            Key=self._health_key(webhook).to_wire(),
            UpdateExpression=(
                "SET delivered_at = :now, failures = :none, #expires_at = :later "
                "REMOVE failing_since"
            ),
            ExpressionAttributeNames={"#expires_at": table.TTL_ATTRIBUTE},
            ExpressionAttributeValues={**_now_and_later(now), ":none": to_wire(0)},
        )

    def note_failure(self, webhook: Webhook, fault: str, now: datetime) -> str:
        """Note why an endpoint did not take something, and return since when it does not."""
        answer = self._client.update_item(
            TableName=self._table_name,
            Key=self._health_key(webhook).to_wire(),
            UpdateExpression=(
                "SET failing_since = if_not_exists(failing_since, :now), failed_at = :now, "
                "failure = :fault, #expires_at = :later ADD failures :one"
            ),
            ExpressionAttributeNames={"#expires_at": table.TTL_ATTRIBUTE},
            ExpressionAttributeValues={
                **_now_and_later(now),
                ":fault": to_wire(fault),
                ":one": to_wire(1),
            },
            ReturnValues="ALL_NEW",
        )
        return str(from_item(answer["Attributes"])["failing_since"])

    def disable(self, webhook: Webhook, reason: DisabledReason, now: datetime) -> bool:
        """Send nothing more to an endpoint until somebody enables it.

        Returns:
            False if it was changed since it was read.
        """
        return self._update(
            table.webhook_key(webhook.tenant, webhook.webhook_id),
            UpdateExpression=(
                "SET enabled = :no, disabled_reason = :reason, updated_at = :now, "
                "#version = :version"
            ),
            ConditionExpression="#version = :read",
            ExpressionAttributeNames={"#version": "version"},
            ExpressionAttributeValues={
                ":no": to_wire(False),
                ":reason": to_wire(reason.value),
                ":now": to_wire(timestamp(now)),
                ":read": to_wire(webhook.version),
                ":version": to_wire(webhook.version + 1),
            },
        )

    def _health_key(self, webhook: Webhook) -> table.Key:
        return table.webhook_health_key(webhook.tenant, webhook.webhook_id, self._region)

    def _get(self, key: table.Key) -> Mapping[str, Any] | None:
        answer = self._client.get_item(
            TableName=self._table_name, Key=key.to_wire(), ConsistentRead=True
        )
        return answer.get("Item")

    def _update(self, key: table.Key, **update: Any) -> bool:
        try:
            self._client.update_item(TableName=self._table_name, Key=key.to_wire(), **update)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


class DeliveryQueue:
    """The queue of deliveries.

    Args:
        queue_url: The queue.
    """

    def __init__(self, queue_url: str) -> None:
        self._client: SQSClient = boto3.client("sqs", config=CLIENT_CONFIG)
        self._queue_url = queue_url

    def send(self, jobs: Iterable[DeliveryJob], *, delay_seconds: int = 0) -> None:
        """Put deliveries into the queue.

        The endpoint is the message group: SQS then hands out the messages of a slow endpoint, which
        has many in flight, behind those of the others, of its own tenant, too. A tenant has few
        endpoints, so this is fair to tenants as well.

        Source: Amazon SQS Developer Guide, "Amazon SQS fair queues".

        Raises:
            NotSentError: If one of them was not taken.
        """
        waiting = list(jobs)
        for start in range(0, len(waiting), SEND_ENTRIES):
            entries: list[dict[str, Any]] = [
                {
                    "Id": str(place),
                    "MessageBody": job.to_json(),
                    "MessageGroupId": job.webhook_id,
                    "DelaySeconds": delay_seconds,
                }
                for place, job in enumerate(waiting[start : start + SEND_ENTRIES])
            ]
            answer = self._client.send_message_batch(
                QueueUrl=self._queue_url,
                Entries=cast("list[SendMessageBatchRequestEntryTypeDef]", entries),
            )
            failed = answer.get("Failed", [])
            if failed:
                raise NotSentError(
                    f"{len(failed)} of {len(entries)} messages were not taken, first: "
                    f"{failed[0]['Code']}: {failed[0].get('Message', '')}"
                )


def _now_and_later(now: datetime) -> dict[str, Any]:
    return {
        ":now": to_wire(timestamp(now)),
        ":later": to_wire(int((now + KEPT_FOR).timestamp())),
    }
