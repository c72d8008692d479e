"""What may be done with webhooks: endpoints, their secrets, and what was delivered to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from media_api import cursors
from media_api.audit import Cause
from media_api.idempotency import Done, Idempotency, KeyedRequest
from media_api.problems import Kind, Problem, invalid
from media_api.tokens import Caller
from media_api.webhook_models import DeliveryQuery, NewWebhook, WebhookChanges
from media_api.webhook_store import DeliveryList, StaleWebhookError, WebhookTable
from media_platform.contract.audit import AuditAction
from media_platform.contract.ids import is_id, new_id
from media_platform.contract.times import timestamp
from media_platform.contract.webhook_urls import Network, RefusedUrlError, parse_url
from media_platform.contract.webhooks import (
    MAX_WEBHOOKS,
    TEST_EVENT,
    Delivery,
    DeliveryStatus,
    Health,
    Secret,
    Webhook,
    delivery_write,
    event_of_test,
)

_WRITE_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class WithSecret:
    """An endpoint that got a secret.

    Attributes:
        webhook: The endpoint.
        replayed: Whether an earlier request with the same key gave it the secret.
    """

    webhook: Webhook
    replayed: bool

    @property
    def secret(self) -> str:
        """The present secret."""
        return self.webhook.secrets[0].value


@dataclass(frozen=True)
class Asked:
    """A delivery that was asked for.

    Attributes:
        delivery: The delivery.
        replayed: Whether an earlier request with the same key asked for it.
    """

    delivery: Delivery
    replayed: bool


@dataclass(frozen=True)
class DeliveryPage:
    """A page of deliveries.

    Attributes:
        deliveries: The deliveries, those of the newest events first.
        next_cursor: Cursor of the next page, if there may be one.
    """

    deliveries: list[Delivery]
    next_cursor: str | None


class Webhooks:
    """The webhooks of all tenants, each caller seeing its own tenant's.

    Args:
        table: The table.
        idempotency: Knows what requests with a key did.
        region: This region.
        allowed_networks: Networks that may be sent to although they are not public.
    """

    def __init__(
        self,
        table: WebhookTable,
        idempotency: Idempotency,
        *,
        region: str,
        allowed_networks: tuple[Network, ...],
    ) -> None:
        self._table = table
        self._idempotency = idempotency
        self._region = region
        self._allowed_networks = allowed_networks

    async def create(self, cause: Cause, new: NewWebhook, keyed: KeyedRequest | None) -> WithSecret:
        """Register an endpoint.

        Raises:
            Problem: If nothing may be sent to the URL, the tenant has as many endpoints as it may,
                or the key was used for another request.
        """
        caller = cause.caller
        self._check_url(new.url)
        now = timestamp()
        webhook = Webhook(
            webhook_id=new_id(),
            tenant=caller.tenant,
            url=new.url,
            event_types=tuple(member.value for member in new.event_types),
            description=new.description,
            created_at=now,
            created_by=caller.user,
            updated_at=now,
            enabled_at=now,
            secrets=(Secret.new(),),
        )
        record = self._idempotency.record(keyed, Done(reference=webhook.webhook_id, status=201))
        entry = cause.entry(AuditAction.WEBHOOK_CREATED, subject=webhook.webhook_id)
        async for _ in _attempts():
            done = await self._idempotency.done_by(keyed)
            if done is not None:
                return WithSecret(await self.get(caller, done.reference), replayed=True)
            known = await self._table.endpoints(caller.tenant)
            if len(known.webhooks) >= MAX_WEBHOOKS:
                raise Problem(
                    Kind.WEBHOOK_LIMIT,
                    f"tenant {caller.tenant} has {len(known.webhooks)} webhooks, allowed are "
                    f"{MAX_WEBHOOKS}; delete one, or let one endpoint take more types of events",
                )
            try:
                await self._table.write([*self._table.added(webhook, known), *record], entry)
            except StaleWebhookError:
                continue
            return WithSecret(webhook, replayed=False)
        raise _changed_meanwhile(f"the webhooks of tenant {caller.tenant}")

    async def list(self, caller: Caller) -> list[Webhook]:
        """Return all endpoints of the caller's tenant, oldest first."""
        return (await self._table.endpoints(caller.tenant)).webhooks

    async def health(self, webhook: Webhook) -> Health:
        """Return how an endpoint has done."""
        return await self._table.health(webhook)

    async def get(self, caller: Caller, webhook_id: str) -> Webhook:
        """Return an endpoint of the caller's tenant.

        Raises:
            Problem: If there is none.
        """
        found = None
        if is_id(webhook_id):
            found = await self._table.webhook(caller.tenant, webhook_id)
        if found is None:
            raise Problem(
                Kind.WEBHOOK_NOT_FOUND,
                "the tenant has no webhook with this id; check the id in the path, or list the "
                "webhooks at /api/webhooks",
            )
        return found

    async def change(self, cause: Cause, webhook_id: str, changes: WebhookChanges) -> Webhook:
        """Change an endpoint.

        One that is enabled again begins anew: failures from before do not count.

        Raises:
            Problem: If there is none, nothing may be sent to the URL, or it keeps changing.
        """
        given: dict[str, Any] = {
            name: getattr(changes, name) for name in sorted(changes.model_fields_set)
        }
        if "url" in given:
            self._check_url(given["url"])
        if "event_types" in given:
            given["event_types"] = tuple(member.value for member in given["event_types"])

        def decide(webhook: Webhook) -> Webhook:
            more: dict[str, Any] = {}
            if "enabled" in given and (given["enabled"] or webhook.enabled):
                more = {"disabled_reason": None}
                if not webhook.enabled:
                    more["enabled_at"] = timestamp()
            return replace(webhook, **given, **more)

        entry = cause.entry(AuditAction.WEBHOOK_UPDATED, subject=webhook_id, changed=sorted(given))
        async for _ in _attempts():
            before = await self.get(cause.caller, webhook_id)
            decided = decide(before)
            if decided == before:
                return before
            after = _next_version(decided)
            try:
                await self._table.write([self._table.changed(after, before)], entry)
            except StaleWebhookError:
                continue
            return after
        raise _changed_meanwhile(f"webhook {webhook_id}")

    async def delete(self, cause: Cause, webhook_id: str) -> None:
        """Delete an endpoint; what waits for it is given up.

        Raises:
            Problem: If there is none, or it keeps changing.
        """
        entry = cause.entry(AuditAction.WEBHOOK_DELETED, subject=webhook_id)
        async for _ in _attempts():
            before = await self.get(cause.caller, webhook_id)
            try:
                await self._table.write([self._table.deleted(before)], entry)
            except StaleWebhookError:
                continue
            return
        raise _changed_meanwhile(f"webhook {webhook_id}")

    async def rotate_secret(
        self, cause: Cause, webhook_id: str, keyed: KeyedRequest | None
    ) -> WithSecret:
        """Give an endpoint a new secret; the present one still signs for a day.

        Raises:
            Problem: If there is none, it keeps changing, or the key was used for another request.
        """
        record = self._idempotency.record(keyed, Done(reference=webhook_id, status=200))
        entry = cause.entry(AuditAction.WEBHOOK_SECRET_ROTATED, subject=webhook_id)
        async for _ in _attempts():
            done = await self._idempotency.done_by(keyed)
            before = await self.get(cause.caller, webhook_id)
            if done is not None:
                return WithSecret(before, replayed=True)
            after = _next_version(before.with_new_secret(datetime.now(UTC)))
            try:
                await self._table.write([self._table.changed(after, before), *record], entry)
            except StaleWebhookError:
                continue
            return WithSecret(after, replayed=False)
        raise _changed_meanwhile(f"webhook {webhook_id}")

    async def test(self, cause: Cause, webhook_id: str, keyed: KeyedRequest | None) -> Asked:
        """Have an event sent that tests an endpoint.

        Raises:
            Problem: If there is none, it is disabled, or the key was used for another request.
        """
        now, event_id = datetime.now(UTC), new_id()

        def decide(webhook: Webhook, _found: Delivery | None) -> Delivery:
            return Delivery.new(
                webhook,
                event_id=event_id,
                event_type=TEST_EVENT,
                event=event_of_test(webhook, event_id=event_id, region=self._region, now=now),
                region=self._region,
                now=now,
                due_at=now,
            )

        return await self._ask(
            cause,
            webhook_id,
            event_id,
            keyed=keyed,
            action=AuditAction.WEBHOOK_TESTED,
            decide=decide,
        )

    async def redeliver(
        self, cause: Cause, webhook_id: str, event_id: str, keyed: KeyedRequest | None
    ) -> Asked:
        """Have an event sent again, whatever became of it.

        One that is being sent at this moment stays as it is.

        Raises:
            Problem: If there is no such endpoint or delivery, the endpoint is disabled, another
                region is still at it, or the key was used for another request.
        """

        def decide(_webhook: Webhook, found: Delivery | None) -> Delivery:
            if found is None:
                raise _no_delivery()
            if found.status is DeliveryStatus.PENDING:
                if found.region != self._region:
                    raise Problem(
                        Kind.OTHER_REGION,
                        f"event {event_id} is being delivered by {found.region}, and this is "
                        f"{self._region}; send the request there",
                    )
                if found.leased:
                    return found
            return found.again(region=self._region, now=datetime.now(UTC))

        if not is_id(event_id):
            raise _no_delivery()
        return await self._ask(
            cause,
            webhook_id,
            event_id,
            keyed=keyed,
            action=AuditAction.WEBHOOK_REDELIVERED,
            decide=decide,
        )

    async def deliveries(
        self, caller: Caller, webhook_id: str, query: DeliveryQuery
    ) -> DeliveryPage:
        """Return a page of what was, or is to be, delivered to an endpoint.

        Raises:
            Problem: If there is no such endpoint, or the cursor does not belong to the list.
        """
        listed = DeliveryList(await self.get(caller, webhook_id), query.status)
        after = cursors.start_of_page(str(listed), query.cursor)
        found, has_more = await self._table.deliveries(listed, limit=query.limit, after=after)
        cursor = None
        if has_more and found:
            cursor = cursors.encode(str(listed), found[-1].event_id)
        return DeliveryPage(found, cursor)

    async def _ask(
        self,
        cause: Cause,
        webhook_id: str,
        event_id: str,
        *,
        keyed: KeyedRequest | None,
        action: AuditAction,
        decide: Callable[[Webhook, Delivery | None], Delivery],
    ) -> Asked:
        """Make a delivery due; the schedule of the dispatcher has it sent."""
        record = self._idempotency.record(keyed, Done(reference=event_id, status=202))
        entry = cause.entry(action, subject=webhook_id)
        async for _ in _attempts():
            done = await self._idempotency.done_by(keyed)
            webhook = await self.get(cause.caller, webhook_id)
            before = await self._table.delivery(webhook, done.reference if done else event_id)
            if done is not None:
                if before is None:
                    raise _no_delivery()
                return Asked(before, replayed=True)
            if not webhook.enabled:
                raise Problem(
                    Kind.WEBHOOK_DISABLED,
                    f"webhook {webhook_id} is disabled, so that nothing is sent to it; "
                    "enable it first",
                )
            after = decide(webhook, before)
            writes = [delivery_write(self._table.name, after, before), *record]
            try:
                await self._table.write(writes, entry)
            except StaleWebhookError:
                continue
            return Asked(after, replayed=False)
        raise _changed_meanwhile(f"the delivery of event {event_id}")

    def _check_url(self, url: str) -> None:
        try:
            parse_url(url, self._allowed_networks)
        except RefusedUrlError as error:
            raise invalid("body.url", str(error)) from None


async def _attempts() -> AsyncIterator[int]:
    """Count the attempts at a write that others may be faster with, after a pause each but one."""
    for attempt in range(_WRITE_ATTEMPTS):
        if attempt:
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311
        yield attempt


def _next_version(webhook: Webhook) -> Webhook:
    return replace(webhook, version=webhook.version + 1, updated_at=timestamp())


def _changed_meanwhile(what: str) -> Problem:
    return Problem(
        Kind.CHANGED_MEANWHILE,
        f"{what} was changed by others {_WRITE_ATTEMPTS} times in a row; try again",
    )


def _no_delivery() -> Problem:
    return Problem(
        Kind.DELIVERY_NOT_FOUND,
        "the webhook has no delivery of this event; check the id in the path, or list the "
        "deliveries of the webhook",
    )
