"""Webhooks of a tenant, for its administrators: endpoints, secrets, deliveries."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from media_api.access import ADMIN, RuledRoute, allow, caller_of
from media_api.answers import json_answer
from media_api.audit import cause_of
from media_api.idempotency import REPLAYED, Keyed
from media_api.openapi import problems
from media_api.problems import Kind
from media_api.webhook_models import (
    DeliveriesBody,
    DeliveryBody,
    DeliveryQuery,
    NewWebhook,
    WebhookBody,
    WebhookChanges,
    WebhooksBody,
    WebhookSecretBody,
    delivery_body,
    webhook_body,
)
from media_api.webhooks import Asked, Webhooks, WithSecret
from media_platform.contract.webhooks import Webhook

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], route_class=RuledRoute)

WebhookId = Annotated[str, Path(description="Id of the webhook")]
EventId = Annotated[str, Path(description="Id of the event")]


@router.post(
    "",
    operation_id="createWebhook",
    status_code=201,
    response_model=WebhookSecretBody,
    responses=problems(
        Kind.MALFORMED_REQUEST,
        Kind.WEBHOOK_NOT_FOUND,
        Kind.WEBHOOK_LIMIT,
        Kind.CHANGED_MEANWHILE,
        Kind.TOO_LARGE,
        Kind.INVALID,
        Kind.KEY_REUSED,
    ),
)
@allow(ADMIN)
async def create_webhook(request: Request, new: NewWebhook, keyed: Keyed) -> Response:
    """Register an endpoint and get its secret."""
    made = await _webhooks(request).create(cause_of(request), new, keyed)
    return await _with_secret(
        request, made, 201, {"Location": f"/api/webhooks/{made.webhook.webhook_id}"}
    )


@router.get("", operation_id="listWebhooks", response_model=WebhooksBody)
@allow(ADMIN)
async def list_webhooks(request: Request) -> Response:
    """List all endpoints of the tenant, oldest first."""
    found = await _webhooks(request).list(caller_of(request))
    bodies = await asyncio.gather(*(_body(request, webhook) for webhook in found))
    body = WebhooksBody(webhooks=bodies)
    return json_answer(body)


@router.get(
    "/{webhook_id}",
    operation_id="getWebhook",
    response_model=WebhookBody,
    responses=problems(Kind.WEBHOOK_NOT_FOUND),
)
@allow(ADMIN)
async def get_webhook(request: Request, webhook_id: WebhookId) -> Response:
    """Get an endpoint."""
    found = await _webhooks(request).get(caller_of(request), webhook_id)
    return json_answer(await _body(request, found))


@router.patch(
    "/{webhook_id}",
    operation_id="changeWebhook",
    response_model=WebhookBody,
    responses=problems(
        Kind.MALFORMED_REQUEST,
        Kind.WEBHOOK_NOT_FOUND,
        Kind.CHANGED_MEANWHILE,
        Kind.TOO_LARGE,
        Kind.INVALID,
    ),
)
@allow(ADMIN)
async def change_webhook(
    request: Request, webhook_id: WebhookId, changes: WebhookChanges
) -> Response:
    """Change what is given of an endpoint."""
    after = await _webhooks(request).change(cause_of(request), webhook_id, changes)
    return json_answer(await _body(request, after))


@router.delete(
    "/{webhook_id}",
    operation_id="deleteWebhook",
    status_code=204,
    response_class=Response,
    responses=problems(Kind.WEBHOOK_NOT_FOUND, Kind.CHANGED_MEANWHILE),
)
@allow(ADMIN)
async def delete_webhook(request: Request, webhook_id: WebhookId) -> Response:
    """Delete an endpoint; what waits for it is given up."""
    await _webhooks(request).delete(cause_of(request), webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/rotate-secret",
    operation_id="rotateWebhookSecret",
    response_model=WebhookSecretBody,
    responses=problems(
        Kind.WEBHOOK_NOT_FOUND, Kind.CHANGED_MEANWHILE, Kind.INVALID, Kind.KEY_REUSED
    ),
)
@allow(ADMIN)
async def rotate_webhook_secret(request: Request, webhook_id: WebhookId, keyed: Keyed) -> Response:
    """Replace the secret of an endpoint; the present one still signs for 24 hours."""
    made = await _webhooks(request).rotate_secret(cause_of(request), webhook_id, keyed)
    return await _with_secret(request, made, 200)


@router.post(
    "/{webhook_id}/test",
    operation_id="testWebhook",
    status_code=202,
    response_model=DeliveryBody,
    responses=problems(
        Kind.WEBHOOK_NOT_FOUND,
        Kind.DELIVERY_NOT_FOUND,
        Kind.WEBHOOK_DISABLED,
        Kind.CHANGED_MEANWHILE,
        Kind.INVALID,
        Kind.KEY_REUSED,
    ),
)
@allow(ADMIN)
async def test_webhook(request: Request, webhook_id: WebhookId, keyed: Keyed) -> Response:
    """Send a WebhookTest event to an endpoint, within a minute."""
    return _asked(await _webhooks(request).test(cause_of(request), webhook_id, keyed))


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="listWebhookDeliveries",
    response_model=DeliveriesBody,
    responses=problems(Kind.INVALID_CURSOR, Kind.WEBHOOK_NOT_FOUND, Kind.INVALID),
)
@allow(ADMIN)
async def list_webhook_deliveries(
    request: Request, webhook_id: WebhookId, query: Annotated[DeliveryQuery, Query()]
) -> Response:
    """List what was or is to be delivered, the newest events first."""
    page = await _webhooks(request).deliveries(caller_of(request), webhook_id, query)
    body = DeliveriesBody(
        deliveries=[delivery_body(delivery) for delivery in page.deliveries],
        next_cursor=page.next_cursor,
    )
    return json_answer(body)


@router.post(
    "/{webhook_id}/deliveries/{event_id}/redeliver",
    operation_id="redeliverWebhookEvent",
    status_code=202,
    response_model=DeliveryBody,
    responses=problems(
        Kind.WEBHOOK_NOT_FOUND,
        Kind.DELIVERY_NOT_FOUND,
        Kind.WEBHOOK_DISABLED,
        Kind.OTHER_REGION,
        Kind.CHANGED_MEANWHILE,
        Kind.INVALID,
        Kind.KEY_REUSED,
    ),
)
@allow(ADMIN)
async def redeliver_webhook_event(
    request: Request, webhook_id: WebhookId, event_id: EventId, keyed: Keyed
) -> Response:
    """Send an event again, within a minute, whatever became of it before."""
    webhooks = _webhooks(request)
    return _asked(await webhooks.redeliver(cause_of(request), webhook_id, event_id, keyed))


def _webhooks(request: Request) -> Webhooks:
    webhooks: Webhooks = request.app.state.webhooks
    return webhooks


async def _body(request: Request, webhook: Webhook) -> WebhookBody:
    return webhook_body(webhook, await _webhooks(request).health(webhook))


async def _with_secret(
    request: Request, made: WithSecret, status: int, headers: dict[str, str] | None = None
) -> Response:
    body = WebhookSecretBody(webhook=await _body(request, made.webhook), secret=made.secret)
    return json_answer(
        body, status=status, headers={**(headers or {}), **(REPLAYED if made.replayed else {})}
    )


def _asked(asked: Asked) -> Response:
    return json_answer(
        delivery_body(asked.delivery), status=202, headers=REPLAYED if asked.replayed else None
    )
