"""Bodies of requests and answers about webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from media_api.models import PAGE_DEFAULT_VIDEOS, PAGE_MAX_VIDEOS
from media_platform.contract.events import EventType
from media_platform.contract.webhook_urls import URL_MAX_CHARACTERS
from media_platform.contract.webhooks import (
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Health,
    Webhook,
)

DESCRIPTION_MAX_CHARACTERS = 200


def _each_once(types: list[EventType]) -> list[EventType]:
    return sorted(set(types))


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_MAX_CHARACTERS,
        examples=["https://hooks.example.com/videos"],
        json_schema_extra={"pattern": "^https?://[!-~]+$"},
    ),
]
EventTypes = Annotated[
    list[EventType], Field(max_length=len(EventType)), AfterValidator(_each_once)
]
Description = Annotated[str, Field(max_length=DESCRIPTION_MAX_CHARACTERS)]


class NewWebhook(BaseModel):
    """An endpoint to be registered.

    Attributes:
        url: Where events are sent.
        event_types: Types of the events that it gets. Default: all, also those to come.
        description: Description, for people.
    """

    model_config = ConfigDict(extra="forbid")

    url: Url
    event_types: EventTypes = []
    description: Description = ""


def _no_defaults(schema: dict[str, Any]) -> None:
    """Take the defaults out of a schema: what is left out stays as it is."""
    for field in schema["properties"].values():
        field.pop("default")


class WebhookChanges(BaseModel):
    """What is to be changed of an endpoint; what is left out stays.

    Attributes:
        url: Where events are sent.
        event_types: Types of the events that it gets; an empty list for all.
        description: Description, for people.
        enabled: Whether anything is sent.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra=_no_defaults)

    url: Url = ""
    event_types: EventTypes = []
    description: Description = ""
    enabled: Annotated[bool, Field(strict=True)] = True


class DeliveryQuery(BaseModel):
    """Which deliveries to list.

    Attributes:
        limit: Most deliveries of the page.
        cursor: ``next_cursor`` of the page before. Default: the first page.
        status: Only deliveries with this status.
    """

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX_VIDEOS)] = PAGE_DEFAULT_VIDEOS
    cursor: Annotated[str, Field(max_length=200)] | None = None
    status: DeliveryStatus | None = None


class HealthBody(BaseModel):
    """How an endpoint has done, in all regions together.

    Attributes:
        last_success_at: Time at which it took something last, within 30 days.
        last_failure_at: Time at which it did not take something last.
        last_failure: Why it did not, in words.
        consecutive_failures: Attempts in a row that failed, up to now.
        failing_since: Time of the first of them.
    """

    last_success_at: str | None
    last_failure_at: str | None
    last_failure: str | None
    consecutive_failures: int
    failing_since: str | None


class WebhookBody(BaseModel):
    """An endpoint.

    Attributes:
        webhook_id: Its id.
        url: Where events are sent.
        event_types: Types of the events that it gets; empty for all.
        description: Description, for people.
        enabled: Whether anything is sent.
        disabled_reason: Why the platform disabled it, if it did: ``gone`` after an answer 410,
            ``failing`` after days without a success.
        health: How it has done.
        secrets: How many secrets sign now; more than one while one is being replaced.
        created_at: Time at which it was registered.
        created_by: User who registered it.
        updated_at: Time of the last change.
    """

    webhook_id: str
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    disabled_reason: DisabledReason | None
    health: HealthBody
    secrets: int
    created_at: str
    created_by: str
    updated_at: str


class WebhookSecretBody(BaseModel):
    """An endpoint and its new secret.

    Attributes:
        webhook: The endpoint.
        secret: The secret, which is not shown again.
    """

    webhook: WebhookBody
    secret: str


class WebhooksBody(BaseModel):
    """All endpoints of a tenant.

    Attributes:
        webhooks: The endpoints, oldest first.
    """

    webhooks: list[WebhookBody]


class AttemptBody(BaseModel):
    """One attempt to deliver an event.

    Attributes:
        number: From 1.
        started_at: Time at which it began.
        milliseconds: How long it took.
        status_code: HTTP status of the answer; ``null`` if there was none.
        error: Why there was none.
        response: The beginning of the answer.
        retry_after_seconds: When the endpoint asked to be tried again, if it did.
    """

    number: int
    started_at: str
    milliseconds: int
    status_code: int | None
    error: str | None
    response: str
    retry_after_seconds: int | None


class DeliveryBody(BaseModel):
    """An event on its way to an endpoint.

    Attributes:
        event_id: The event.
        event_type: Its type.
        status: Where the delivery stands.
        created_at: Time at which the event came, or at which it was last asked for again.
        next_attempt_at: Time of the next attempt, while it is PENDING.
        failure: Why no further attempt is made, if it FAILED.
        attempt_count: Attempts that were begun.
        attempts: The last attempts that ended, oldest first.
        event: The event as it is sent.
    """

    event_id: str
    event_type: str
    status: DeliveryStatus
    created_at: str
    next_attempt_at: str | None
    failure: str | None
    attempt_count: int
    attempts: list[AttemptBody]
    event: dict[str, Any]


class DeliveriesBody(BaseModel):
    """A page of deliveries.

    Attributes:
        deliveries: The deliveries, those of the newest events first.
        next_cursor: ``cursor`` of the next page; ``null`` on the last one.
    """

    deliveries: list[DeliveryBody]
    next_cursor: str | None


def webhook_body(webhook: Webhook, health: Health) -> WebhookBody:
    """Return an endpoint as clients see it: without its secrets."""
    return WebhookBody(
        webhook_id=webhook.webhook_id,
        url=webhook.url,
        event_types=list(webhook.event_types),
        description=webhook.description,
        enabled=webhook.enabled,
        disabled_reason=webhook.disabled_reason,
        health=HealthBody(
            last_success_at=health.delivered_at,
            last_failure_at=health.failed_at,
            last_failure=health.failure,
            consecutive_failures=health.failures,
            failing_since=health.failing_since,
        ),
        secrets=len(webhook.valid_secrets(datetime.now(UTC))),
        created_at=webhook.created_at,
        created_by=webhook.created_by,
        updated_at=webhook.updated_at,
    )


def delivery_body(delivery: Delivery) -> DeliveryBody:
    """Return a delivery as clients see it."""
    return DeliveryBody(
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        status=delivery.status,
        created_at=delivery.created_at,
        next_attempt_at=delivery.next_attempt_at,
        failure=delivery.failure,
        attempt_count=delivery.attempt_count,
        attempts=[
            AttemptBody(
                number=attempt.number,
                started_at=attempt.started_at,
                milliseconds=attempt.milliseconds,
                status_code=attempt.status_code,
                error=attempt.error,
                response=attempt.response,
                retry_after_seconds=attempt.retry_after_seconds,
            )
            for attempt in delivery.attempts
        ],
        event=json.loads(delivery.event),
    )
