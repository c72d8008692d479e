"""Data access: webhook endpoints and deliveries in the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from media_api.audit import log_entry
from media_api.aws import error_code
from media_platform.contract import table
from media_platform.contract.audit import AuditEntry, audit_write
from media_platform.contract.items import TransactItem, from_item, to_wire
from media_platform.contract.webhooks import Delivery, DeliveryStatus, Health, Webhook


class StaleWebhookError(Exception):
    """An endpoint or a delivery was changed since it was read; read it again and decide again."""


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of a tenant, as the last write left them.

    Attributes:
        webhooks: The endpoints, oldest first.
        revision: Rises with every endpoint that is added; 0 if there never was one.
    """

    webhooks: list[Webhook]
    revision: int


@dataclass(frozen=True)
class DeliveryList:
    """A list of deliveries.

    Attributes:
        webhook: The endpoint.
        status: Only those with this status. Default: all.
    """

    webhook: Webhook
    status: DeliveryStatus | None

    def __str__(self) -> str:
        """Return what tells the list from all others."""
        partition = table.webhook_partition(self.webhook.tenant, self.webhook.webhook_id)
        return f"deliveries {partition} {self.status or ''}"


class WebhookTable:
    """The table, as far as webhooks need it.

    Args:
        client: A DynamoDB client of this region.
        table_name: The table.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self.name = table_name

    async def endpoints(self, tenant: str) -> Endpoints:
        """Return all endpoints of a tenant; they are few."""
        limit_key = table.webhook_limit_key(tenant)
        answer = await self._client.query(
            TableName=self.name,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={
                ":pk": {"S": limit_key.pk},
                # Both the endpoints and the item that counts them begin with it.
                ":sk": {"S": table.WEBHOOK_PREFIX.rstrip("#")},
            },
        )
        webhooks, revision = [], 0
        for item in answer["Items"]:
            if item[table.SORT_KEY]["S"] == limit_key.sk:
                revision = int(from_item(item)["revision"])
            else:
                webhooks.append(Webhook.from_item(item))
        return Endpoints(webhooks, revision)

    async def webhook(self, tenant: str, webhook_id: str) -> Webhook | None:
        """Return an endpoint of a tenant, or ``None`` if there is none."""
        item = await self._get(table.webhook_key(tenant, webhook_id))
        return Webhook.from_item(item) if item else None

    async def health(self, webhook: Webhook) -> Health:
        """Return how an endpoint has done, in all regions together."""
        answer = await self._client.query(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={
                ":pk": {"S": table.webhook_partition(webhook.tenant, webhook.webhook_id)},
                ":sk": {"S": table.WEBHOOK_HEALTH_PREFIX},
            },
        )
        return sum(map(Health.from_item, answer["Items"]), Health())

    async def delivery(self, webhook: Webhook, event_id: str) -> Delivery | None:
        """Return a delivery to an endpoint, or ``None`` if there is none."""
        item = await self._get(
            table.webhook_delivery_key(webhook.tenant, webhook.webhook_id, event_id)
        )
        return Delivery.from_item(item) if item else None

    async def deliveries(
        self, listed: DeliveryList, *, limit: int, after: str | None
    ) -> tuple[list[Delivery], bool]:
        """Return a page of deliveries, those of the newest events first, and whether more may come.

        Args:
            listed: The list.
            limit: Most deliveries of the page.
            after: Event behind which the page starts. Default: the newest.
        """
        webhook, status = listed.webhook, listed.status
        partition = table.webhook_partition(webhook.tenant, webhook.webhook_id)
        query: dict[str, Any] = {
            "TableName": self.name,
            "ScanIndexForward": False,
            "Limit": limit,
        }
        start = None
        if after is not None:
            key = table.webhook_delivery_key(webhook.tenant, webhook.webhook_id, after)
            start = key.to_wire()
        if status is None:
            query["KeyConditionExpression"] = "pk = :pk AND begins_with(sk, :sk)"
            query["ExpressionAttributeValues"] = {
                ":pk": {"S": partition},
                ":sk": {"S": table.WEBHOOK_DELIVERY_PREFIX},
            }
        else:
            index = table.WEBHOOK_DELIVERIES
            of_status = table.webhook_deliveries(webhook.tenant, webhook.webhook_id, status.value)
            query["IndexName"] = index.name
            query["KeyConditionExpression"] = "#partition = :partition"
            query["ExpressionAttributeNames"] = {"#partition": index.partition_key}
            query["ExpressionAttributeValues"] = {":partition": {"S": of_status}}
            if start is not None and after is not None:
                start[index.partition_key] = {"S": of_status}
                start[index.sort_key] = {"S": after}
        if start is not None:
            query["ExclusiveStartKey"] = start
        answer = await self._client.query(**query)
        found = [Delivery.from_item(item) for item in answer["Items"]]
        return found, "LastEvaluatedKey" in answer

    async def write(self, writes: Iterable[TransactItem], entry: AuditEntry) -> None:
        """Write a change and its audit entry, all or nothing.

        Raises:
            StaleWebhookError: If something of it was changed since it was read.
        """
        actions = [*writes, audit_write(self.name, entry)]
        try:
            await self._client.transact_write_items(TransactItems=actions)
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            codes = {reason.get("Code") for reason in reasons}
            if error_code(error) == "TransactionCanceledException" and codes & {
                "ConditionalCheckFailed",
                "TransactionConflict",
            }:
                raise StaleWebhookError from error
            raise
        log_entry(entry)

    def added(self, webhook: Webhook, known: Endpoints) -> list[TransactItem]:
        """Return what adds an endpoint, if no other was added since ``known`` was read."""
        raised: dict[str, Any] = {
            "TableName": self.name,
            "Key": table.webhook_limit_key(webhook.tenant).to_wire(),
            "UpdateExpression": "SET #revision = :raised",
            "ConditionExpression": "attribute_not_exists(#revision)",
            "ExpressionAttributeNames": {"#revision": "revision"},
            "ExpressionAttributeValues": {":raised": to_wire(known.revision + 1)},
        }
        if known.revision:
            raised["ConditionExpression"] = "#revision = :read"
            raised["ExpressionAttributeValues"][":read"] = to_wire(known.revision)
        put = {
            "TableName": self.name,
            "Item": webhook.to_item(),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        return [{"Put": put}, {"Update": raised}]

    def changed(self, after: Webhook, before: Webhook) -> TransactItem:
        """Return what changes an endpoint, if it is still as it was read."""
        return {
            "Put": {"TableName": self.name, "Item": after.to_item(), **_if_still_as(before)},
        }

    def deleted(self, before: Webhook) -> TransactItem:
        """Return what deletes an endpoint, if it is still as it was read."""
        key = table.webhook_key(before.tenant, before.webhook_id).to_wire()
        return {"Delete": {"TableName": self.name, "Key": key, **_if_still_as(before)}}

    async def _get(self, key: table.Key) -> dict[str, Any] | None:
        answer = await self._client.get_item(
            TableName=self.name, Key=key.to_wire(), ConsistentRead=True
        )
        item: dict[str, Any] | None = answer.get("Item")
        return item


def _if_still_as(before: Webhook) -> dict[str, Any]:
    return {
        "ConditionExpression": "#version = :read",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":read": to_wire(before.version)},
    }
