"""Audit entries: who changed what, written in the transaction of the change.

A change without an entry, or an entry without its change, cannot be. Entries tell which fields were
changed and never their values. They stand by tenant and day, in shards, newest last, and vanish
after :data:`RETENTION_DAYS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import TransactItem, WireItem, from_item, to_item

RETENTION_DAYS = 400
"""Days for which entries are kept: a year, and the time in which it is looked at."""


class AuditAction(StrEnum):
    """What was done."""

    VIDEO_CREATED = "video.created"
    VIDEO_UPDATED = "video.updated"
    VIDEO_DELETED = "video.deleted"
    VIDEO_PURGED = "video.purged"
    UPLOAD_ABORTED = "upload.aborted"
    VIDEO_RESTORED = "video.restored"
    VIDEO_TRANSCODED = "video.transcoded"
    VIDEO_CANCELLED = "video.cancelled"
    VIDEO_READ = "video.read"
    VIDEOS_LISTED = "videos.listed"
    USERS_LISTED = "users.listed"
    USER_READ = "user.read"
    USER_CREATED = "user.created"
    USER_GROUPS_CHANGED = "user.groups_changed"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    USER_SIGNED_OUT = "user.signed_out"
    STATS_READ = "stats.read"
    TENANTS_LISTED = "tenants.listed"
    TENANT_READ = "tenant.read"
    TENANT_CREATED = "tenant.created"
    QUOTA_CHANGED = "quota.changed"
    BUDGET_CHANGED = "budget.changed"
    BUDGET_LIFTED = "budget.lifted"
    DEAD_LETTERS_READ = "dead_letters.read"
    DEAD_LETTER_REDRIVEN = "dead_letter.redriven"
    AUDIT_READ = "audit.read"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_UPDATED = "webhook.updated"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105  the name of an action
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_REDELIVERED = "webhook.redelivered"
    THUMBNAIL_CHOSEN = "thumbnail.chosen"
    THUMBNAIL_REMOVED = "thumbnail.removed"
    DOWNLOAD_REQUESTED = "download.requested"


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did.

    Attributes:
        entry_id: Unique id; entries sort by it.
        at: Time (RFC 3339, UTC).
        tenant: Tenant whose data it was done to.
        actor: User who did it; the ARN of who did it with AWS credentials and without the API.
        actor_tenant: Tenant of the user; another one if an operator did it. Empty without the API.
        actor_groups: Groups of the user, sorted.
        action: What was done.
        request_id: Id of the request, as log lines carry it. Empty without the API.
        trace_id: Trace of the request. Empty without the API.
        video_id: The video it was done to, if it was one.
        subject: What else it was done to, e.g. the id of a webhook.
        changed: Names of the fields that were changed, sorted.
    """

    entry_id: str
    at: str
    tenant: str
    actor: str
    actor_tenant: str
    actor_groups: tuple[str, ...]
    action: AuditAction
    request_id: str
    trace_id: str
    video_id: str | None = None
    subject: str | None = None
    changed: tuple[str, ...] = ()

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read it from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        for name in ("actor_groups", "changed"):
            values[name] = tuple(values[name])
        return cls(**{**values, "action": AuditAction(values["action"])})

    def to_item(self) -> WireItem:
        """Return the wire item."""
        ends = datetime.fromisoformat(self.at) + timedelta(days=RETENTION_DAYS)
        partition = table.audit_partition(self.tenant, self.at[:10], table.shard(self.entry_id))
        return to_item(
            {
                table.PARTITION_KEY: partition,
                table.SORT_KEY: self.entry_id,
                table.TTL_ATTRIBUTE: int(ends.timestamp()),
                **asdict(self),
            }
        )


def audit_write(table_name: str, entry: AuditEntry) -> TransactItem:
    """Return the action that writes ``entry``, as a part of the transaction of what it tells of."""
    return {"Put": {"TableName": table_name, "Item": entry.to_item()}}
