"""Webhooks: the endpoints of a tenant, what is delivered to them, and how it is signed.

An endpoint belongs to a tenant and may be changed in every region; of two changes at the same
time in two regions the later one stands. A delivery belongs to the region that published its
event: nothing is written to it elsewhere while it is PENDING.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.events import SCHEMA_VERSION
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item, to_wire
from media_platform.contract.times import timestamp

MAX_WEBHOOKS = 10
"""Most endpoints of a tenant."""

MAX_SECRETS = 3
"""Most secrets of an endpoint that are valid at a time; another change drops the oldest."""

SECRET_GRACE = timedelta(hours=24)
"""Time for which a secret that was replaced still signs."""

RETRY_FOR = timedelta(hours=24)
"""Time from the event, or from the request for another delivery, after which one is given up."""

KEPT_FOR = timedelta(days=30)
"""Time for which deliveries stay in the table."""

MAX_ATTEMPTS_KEPT = 50
"""Most attempts that a delivery remembers, the last ones; those of 24 hours are fewer."""

RESPONSE_MAX_CHARACTERS = 1024
"""Most characters of the answer of an endpoint that are kept with an attempt."""

SIGNATURE_HEADER = "Webhook-Signature"
ID_HEADER = "Webhook-Id"
ATTEMPT_HEADER = "Webhook-Attempt"

TEST_EVENT = "WebhookTest"
"""Type of the event that only an endpoint itself gets, when it is tested."""

DUE_KIND = "WEBHOOK"
"""Kind of the deliveries in the index of due work."""

_SECRET_PREFIX = "whsec_"  # noqa: S105  what secrets begin with, so that scanners find them
_SECRET_BYTES = 32


class DisabledReason(StrEnum):
    """Why the platform stopped sending to an endpoint."""

    GONE = "gone"
    """It answered 410 Gone."""

    FAILING = "failing"
    """It took nothing for days."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret that an endpoint shares with the platform.

    Attributes:
        value: The secret; as UTF-8 it is the key of the signature.
        expires_at: Time from which on it signs no more. Default: never, it is the present one.
    """

    value: str = field(repr=False)
    expires_at: str | None = None

    @classmethod
    def new(cls) -> Self:
        """Return a new secret of 256 random bits."""
        return cls(value=_SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES))


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An endpoint of a tenant.

    Attributes:
        webhook_id: Unique id.
        tenant: The tenant whose events it gets.
        url: Where they are sent.
        created_at: Time at which it was registered.
        created_by: User who registered it (``sub`` of the token).
        updated_at: Time of the last change.
        enabled_at: Time since which it is enabled; failures before count no more.
        secrets: The present secret first, then those that it replaced and that still sign.
        event_types: Types of the events that it gets. Default: all.
        description: Description, for people.
        enabled: Whether anything is sent.
        disabled_reason: Why the platform disabled it, if it did.
        version: Rises by one with every change; a change is made on the condition that it is still
            the one that was read.
    """

    webhook_id: str
    tenant: str
    url: str
    created_at: str
    created_by: str
    updated_at: str
    enabled_at: str
    secrets: tuple[Secret, ...] = field(repr=False)
    event_types: tuple[str, ...] = ()
    description: str = ""
    enabled: bool = True
    disabled_reason: DisabledReason | None = None
    version: int = 1

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values["secrets"] = tuple(
            Secret(value=secret["value"], expires_at=secret.get("expires_at"))
            for secret in values["secrets"]
        )
        values["event_types"] = tuple(values.get("event_types", ()))
        if values.get("disabled_reason") is not None:
            values["disabled_reason"] = DisabledReason(values["disabled_reason"])
        return cls(**values)

    def to_item(self) -> WireItem:
        """Return the wire item."""
        key = table.webhook_key(self.tenant, self.webhook_id)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})

    def wants(self, event_type: str) -> bool:
        """Tell whether it gets events of a type."""
        return self.enabled and (not self.event_types or event_type in self.event_types)

    def valid_secrets(self, now: datetime) -> tuple[Secret, ...]:
        """Return the secrets that sign, the present one first."""
        at = timestamp(now)
        return tuple(s for s in self.secrets if s.expires_at is None or s.expires_at > at)

    def with_new_secret(self, now: datetime) -> Self:
        """Return it with a new secret; the present one still signs for a day."""
        ends = timestamp(now + SECRET_GRACE)
        former = [
            secret if secret.expires_at is not None else replace(secret, expires_at=ends)
            for secret in self.valid_secrets(now)
        ]
        return replace(self, secrets=(Secret.new(), *former)[:MAX_SECRETS])


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt to deliver an event.

    Attributes:
        number: From 1, as the endpoint was told.
        started_at: Time at which it began.
        milliseconds: How long it took.
        status_code: HTTP status of the answer, ``None`` if there was none.
        error: Why there was none, in words; ``None`` if there was one.
        response: The beginning of the answer.
        retry_after_seconds: When the endpoint asked to be tried again, if it did.
    """

    number: int
    started_at: str
    milliseconds: int
    status_code: int | None = None
    error: str | None = None
    response: str = ""
    retry_after_seconds: int | None = None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took the event: only 2xx says so."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004

    @property
    def fault(self) -> str:
        """Why the endpoint did not take the event, in words."""
        return self.error or f"it answered {self.status_code}"


@dataclass(frozen=True, kw_only=True)
class Health:
    """How an endpoint has done, one item a region.

    Attributes:
        delivered_at: Time at which it took something last.
        failed_at: Time at which it did not take something last.
        failure: Why it did not.
        failures: Attempts in a row that failed, up to now.
        failing_since: Time of the first of them.
    """

    delivered_at: str | None = None
    failed_at: str | None = None
    failure: str | None = None
    failures: int = 0
    failing_since: str | None = None

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        return cls(**{f.name: stored[f.name] for f in fields(cls) if f.name in stored})

    def __add__(self, other: Health) -> Health:
        """Return the health in two regions together."""
        latest = max(self, other, key=lambda one: one.failed_at or "")
        since = [one.failing_since for one in (self, other) if one.failing_since]
        return Health(
            delivered_at=max(self.delivered_at or "", other.delivered_at or "") or None,
            failed_at=latest.failed_at,
            failure=latest.failure,
            failures=self.failures + other.failures,
            failing_since=min(since, default=None),
        )


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event on its way to an endpoint.

    Attributes:
        tenant: Tenant of both.
        webhook_id: The endpoint.
        event_id: The event; together with the endpoint it is unique.
        event_type: Its type.
        event: The event as it is sent, JSON.
        region: Region that delivers it.
        created_at: Time at which the event came, or at which another delivery was asked for.
        next_attempt_at: Time of the next attempt; while one is made, the time after which it counts
            as lost. ``None`` once it is no longer PENDING.
        due_at: Time at which the schedule looks after it, should no message do so.
        status: Where it stands.
        leased: Whether an attempt is being made.
        failure: Why no further attempt is made, if it FAILED.
        attempt_count: Attempts that were begun.
        attempts: The attempts that ended, oldest first, at most the last 50.
    """

    tenant: str
    webhook_id: str
    event_id: str
    event_type: str
    event: str
    region: str
    created_at: str
    next_attempt_at: str | None
    due_at: str | None
    status: DeliveryStatus = DeliveryStatus.PENDING
    leased: bool = False
    failure: str | None = None
    attempt_count: int = 0
    attempts: tuple[Attempt, ...] = ()

    @property
    def gives_up_at(self) -> datetime:
        """Time after which no further attempt is made."""
        return datetime.fromisoformat(self.created_at) + RETRY_FOR

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = {"next_attempt_at": None, "due_at": None, **from_item(item)}
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values["status"] = DeliveryStatus(values["status"])
        names = [f.name for f in fields(Attempt)]
        values["attempts"] = tuple(
            Attempt(**{name: attempt[name] for name in names if name in attempt})
            for attempt in values.get("attempts", ())
        )
        return cls(**values)

    @classmethod
    def new(
        cls,
        webhook: Webhook,
        *,
        event_id: str,
        event_type: str,
        event: str,
        region: str,
        now: datetime,
        due_at: datetime,
    ) -> Self:
        """Return the delivery of an event to an endpoint, of which no attempt was made.

        Args:
            webhook: The endpoint.
            event_id: The event.
            event_type: Its type.
            event: The event, JSON.
            region: Region that delivers it.
            now: The present time.
            due_at: When the schedule is to look after it.
        """
        return cls(
            tenant=webhook.tenant,
            webhook_id=webhook.webhook_id,
            event_id=event_id,
            event_type=event_type,
            event=event,
            region=region,
            created_at=timestamp(now),
            next_attempt_at=timestamp(now),
            due_at=timestamp(due_at),
        )

    def again(self, *, region: str, now: datetime) -> Self:
        """Return it as it is when it was asked for once more: due now, for another 24 hours."""
        return replace(
            self,
            region=region,
            created_at=timestamp(now),
            next_attempt_at=timestamp(now),
            due_at=timestamp(now),
            status=DeliveryStatus.PENDING,
            leased=False,
            failure=None,
        )

    def ended(self, status: DeliveryStatus, failure: str | None = None) -> Self:
        """Return it as it is when no further attempt is made."""
        return replace(
            self,
            status=status,
            failure=failure,
            leased=False,
            next_attempt_at=None,
            due_at=None,
        )

    def to_item(self) -> WireItem:
        """Return the wire item, with the keys of the indexes in which the delivery stands."""
        key = table.webhook_delivery_key(self.tenant, self.webhook_id, self.event_id)
        status = self.status.value
        kept_until = datetime.fromisoformat(self.created_at) + KEPT_FOR
        keys = {
            table.WEBHOOK_DELIVERIES.partition_key: table.webhook_deliveries(
                self.tenant, self.webhook_id, status
            )
        }
        if self.status is DeliveryStatus.PENDING:
            keys[table.DUE.partition_key] = table.due(DUE_KIND, self.region, self.event_id)
        return to_item(
            {
                table.PARTITION_KEY: key.pk,
                table.SORT_KEY: key.sk,
                table.TTL_ATTRIBUTE: int(kept_until.timestamp()),
                **asdict(self),
                **keys,
            }
        )


def delivery_write(table_name: str, after: Delivery, before: Delivery | None) -> TransactItem:
    """Write a delivery if it is still as it was read, as a part of a transaction.

    Args:
        table_name: The table.
        after: The delivery.
        before: As it was read. ``None`` if there was none.
    """
    put: dict[str, Any] = {"TableName": table_name, "Item": after.to_item()}
    if before is None:
        put["ConditionExpression"] = "attribute_not_exists(pk)"
        return {"Put": put}
    # Status, count and time of the next attempt change with every step of a delivery.
    known = {"status": before.status.value, "attempt_count": before.attempt_count}
    conditions = [f"#{name} = :{name}" for name in known]
    names = {f"#{name}": name for name in (*known, "next_attempt_at")}
    if before.next_attempt_at is None:
        conditions.append("attribute_not_exists(#next_attempt_at)")
    else:
        conditions.append("#next_attempt_at = :next_attempt_at")
        known["next_attempt_at"] = before.next_attempt_at
    put["ConditionExpression"] = " AND ".join(conditions)
    put["ExpressionAttributeNames"] = names
    put["ExpressionAttributeValues"] = {f":{name}": to_wire(value) for name, value in known.items()}
    return {"Put": put}


@dataclass(frozen=True, kw_only=True)
class DeliveryJob:
    """A message of the delivery queue: look after this delivery; may come twice, late, or early.

    Attributes:
        tenant: Its tenant.
        webhook_id: Its endpoint.
        event_id: Its event.
    """

    tenant: str
    webhook_id: str
    event_id: str

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return the job of a delivery."""
        return cls(
            tenant=delivery.tenant, webhook_id=delivery.webhook_id, event_id=delivery.event_id
        )

    def to_json(self) -> str:
        """Return the body of the message."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DeliveryJob:
        """Read the body of a message; fields that a later version added are ignored.

        Raises:
            ValueError: If it is not a delivery job.
        """
        content = json.loads(text)
        try:
            return cls(**{f.name: content[f.name] for f in fields(cls)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a delivery job: {error}") from error


def event_of_test(webhook: Webhook, *, event_id: str, region: str, now: datetime) -> str:
    """Return the event of a test, as it is sent.

    It has the fields of every event except those that tell of a video.
    """
    return json.dumps(
        {
            "event_id": event_id,
            "event_type": TEST_EVENT,
            "tenant": webhook.tenant,
            "region": region,
            "occurred_at": timestamp(now),
            "data": {"webhook_id": webhook.webhook_id},
            "schema_version": SCHEMA_VERSION,
        },
        sort_keys=True,
        separators=(",", ":"),
    )


def sign(body: bytes, valid: Iterable[Secret], now: datetime) -> str:
    """Return the value of the signature header: ``t=<unix seconds>,v1=<hex>``, ``v1`` per secret.

    Each is the HMAC-SHA256, with the secret as key, over the time, a dot, and the body as it is
    sent. The time is part of it, so that an old request cannot be sent again later.

    Args:
        body: The body.
        valid: The secrets that sign.
        now: Time of the attempt.
    """
    seconds = int(now.timestamp())
    signed = b"%d." % seconds + body
    signatures = (
        hmac.new(secret.value.encode(), signed, hashlib.sha256).hexdigest() for secret in valid
    )
    return ",".join([f"t={seconds}", *(f"v1={signature}" for signature in signatures)])
