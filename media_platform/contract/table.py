"""The one table: key schema, indexes, and how every key is made.

All indexes exist from the first deploy, since CloudFormation adds one per update. Their keys
combine the filters that lists offer, so that no list needs a filter expression; attributes that an
item does not have keep it out of an index.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTITION_KEY = "pk"
SORT_KEY = "sk"
TTL_ATTRIBUTE = "expires_at"
"""Time after which an item may vanish, in Unix seconds."""

SHARDS = 8
"""Partitions over which a sparse index spreads items that would otherwise share one key."""


@dataclass(frozen=True)
class Index:
    """A global secondary index; both keys are strings and all attributes are projected.

    Attributes:
        name: Name of the index.
        partition_key: Attribute that is its partition key.
        sort_key: Attribute that is its sort key.
    """

    name: str
    partition_key: str
    sort_key: str


TENANT_VIDEOS = Index("tenant-videos", "tenant_key", "video_id")
"""What a tenant shares, newest first; PRIVATE videos stand under a key of their own."""

TENANT_STATUS_VIDEOS = Index("tenant-status-videos", "tenant_status_key", "video_id")
"""The same by status; what is not shared, and DELETED videos, stand under keys of their own."""

OWNER_VIDEOS = Index("owner-videos", "owner_key", "video_id")
"""All videos of a user."""

OWNER_STATUS_VIDEOS = Index("owner-status-videos", "owner_status_key", "video_id")
"""The same by status, DELETED videos, too."""

TAG_VIDEOS = Index("tag-videos", "tag_key", "video_id")
"""Tag items by tenant and tag."""

IN_FLIGHT = Index("in-flight", "in_flight_key", "video_id")
"""Videos that are neither finished nor failed, by region and shard."""

UNPUBLISHED = Index("unpublished", "unpublished_key", "sk")
"""Outbox events that were not published yet, by region and shard, oldest first."""

DUE = Index("due", "due_key", "due_at")
"""Work that is due at a time (sweeps, purges, webhook retries), by kind, region and shard."""

DIRECTORY = Index("directory", "directory_key", "pk")
"""Items of which an administrator wants the whole list, such as tenants."""

WEBHOOK_DELIVERIES = Index("webhook-deliveries", "delivery_status_key", "event_id")
"""Deliveries of a webhook endpoint by their status, in the order of their events."""

INDEXES: tuple[Index, ...] = (
    TENANT_VIDEOS,
    TENANT_STATUS_VIDEOS,
    OWNER_VIDEOS,
    OWNER_STATUS_VIDEOS,
    TAG_VIDEOS,
    IN_FLIGHT,
    UNPUBLISHED,
    DUE,
    DIRECTORY,
    WEBHOOK_DELIVERIES,
)


@dataclass(frozen=True)
class Key:
    """The primary key of an item."""

    pk: str
    sk: str

    def to_wire(self) -> dict[str, dict[str, str]]:
        """Return the key as the DynamoDB API takes it."""
        return {PARTITION_KEY: {"S": self.pk}, SORT_KEY: {"S": self.sk}}


def shard(identifier: str) -> int:
    """Return the shard of an identifier of :mod:`media_platform.contract.ids`."""
    return int(identifier[-2:], 16) % SHARDS


def video_partition(video_id: str) -> str:
    """Return the partition of everything that belongs to a video."""
    return f"VIDEO#{video_id}"


def video_key(video_id: str) -> Key:
    """Return the key of a video."""
    return Key(video_partition(video_id), "META")


def thumbnail_key(video_id: str) -> Key:
    """Return the key of the last request for a thumbnail of a video."""
    return Key(video_partition(video_id), "THUMBNAIL")


def run_key(video_id: str, run_id: str) -> Key:
    """Return the key of a run; what belongs to the run sorts behind it."""
    return Key(video_partition(video_id), f"RUN#{run_id}#STATE")


def part_key(video_id: str, run_id: str, name: str) -> Key:
    """Return the key of a part of a run (``run.Part``)."""
    return Key(video_partition(video_id), f"{part_prefix(run_id)}{name}")


def run_prefix(run_id: str) -> str:
    """Return the start of the sort keys of everything that belongs to a run."""
    return f"RUN#{run_id}#"


def part_prefix(run_id: str) -> str:
    """Return the start of the sort keys of all parts of a run."""
    return f"RUN#{run_id}#PART#"


EVENT_SORT_PREFIX = "EVENT#"
"""Start of the sort key of outbox events, by which the relay picks them from the stream."""


def event_key(video_id: str, event_id: str) -> Key:
    """Return the key of an outbox event."""
    return Key(video_partition(video_id), f"{EVENT_SORT_PREFIX}{event_id}")


def scan_key(video_id: str, run_id: str) -> Key:
    """Return the key of what scanners said of the file for which a run waits."""
    return Key(video_partition(video_id), f"SCAN#{run_id}")


def tag_key(video_id: str, tag: str) -> Key:
    """Return the key of a tag of a video."""
    return Key(video_partition(video_id), f"TAG#{tag}")


def idempotency_key(tenant: str, user: str, key: str) -> Key:
    """Return the key under which the answer to a repeated request is kept."""
    return Key(f"TENANT#{tenant}#USER#{user}", f"IDEMPOTENCY#{key}")


def upload_key(video_id: str) -> Key:
    """Return the key of the upload of a video, while its file is still to come."""
    return Key(video_partition(video_id), "UPLOAD")


def duplicate_guard_key(
    tenant: str, checksum: str, size_bytes: int, *, owner: str | None = None
) -> Key:
    """Return the key under which a tenant's first video with some content is found.

    Args:
        tenant: The tenant.
        checksum: SHA-256 of the content.
        size_bytes: Its size.
        owner: User who alone looks there. Default: the whole tenant does.
    """
    sort_key = "GUARD" if owner is None else f"GUARD#{owner}"
    return Key(f"TENANT#{tenant}#SHA256#{checksum}#{size_bytes}", sort_key)


def takeovers() -> str:
    """Return the partition of the takeovers of regions."""
    return "REGIONS"


def takeover_key(region: str) -> Key:
    """Return the key under which stands who took a region over."""
    return Key(takeovers(), f"TAKEOVER#{region}")


def tenant_key(tenant: str) -> Key:
    """Return the key of a tenant, which stands in :data:`DIRECTORY`."""
    return Key(f"TENANT#{tenant}", "TENANT")


def tenant_admins_key(tenant: str) -> Key:
    """Return the key of the lease that whoever takes an administrator from a tenant holds."""
    return Key(f"TENANT#{tenant}", "ADMINS")


def quota_key(tenant: str) -> Key:
    """Return the key of what a tenant may use."""
    return Key(f"TENANT#{tenant}", "QUOTA")


USAGE_PREFIX = "USAGE#"
"""Start of the sort key of what a tenant uses, by region."""


def usage_key(tenant: str, region: str, number: int | None = None) -> Key:
    """Return the key of what a tenant uses in a region.

    Args:
        tenant: The tenant.
        region: The region.
        number: Shard of what is added to too often for one item, from 0. Default: the item of
            everything else.
    """
    part = "" if number is None else f"#{number}"
    return Key(f"TENANT#{tenant}", f"{USAGE_PREFIX}{region}{part}")


def spend_partition(tenant: str) -> str:
    """Return the partition of what transcoding took for a tenant, oldest day first."""
    return f"TENANT#{tenant}#SPEND"


def spend_key(tenant: str, day: str, video_id: str, run_id: str) -> Key:
    """Return the key of what a run took.

    Args:
        tenant: The tenant.
        day: Day on which it began (``2026-11-26``, UTC).
        video_id: The video.
        run_id: The run.
    """
    return Key(spend_partition(tenant), f"{day}#RUN#{video_id}#{run_id}")


def spend_lifted_key(tenant: str, day: str) -> Key:
    """Return the key under which the budget breaker is lifted for a day."""
    return Key(spend_partition(tenant), f"{day}#LIFTED")


def spend_budget_key(tenant: str) -> Key:
    """Return the key of a budget of the tenant's own; it sorts behind all days."""
    return Key(spend_partition(tenant), "BUDGET")


WEBHOOK_PREFIX = "WEBHOOK#"
"""Start of the sort key of the webhook endpoints of a tenant."""


def webhook_key(tenant: str, webhook_id: str) -> Key:
    """Return the key of a webhook endpoint of a tenant."""
    return Key(f"TENANT#{tenant}", f"{WEBHOOK_PREFIX}{webhook_id}")


def webhook_limit_key(tenant: str) -> Key:
    """Return the key of the item by which two endpoints that are made at once see each other."""
    return Key(f"TENANT#{tenant}", "WEBHOOKS")


def webhook_partition(tenant: str, webhook_id: str) -> str:
    """Return the partition of what happens to a webhook endpoint."""
    return f"TENANT#{tenant}#{WEBHOOK_PREFIX}{webhook_id}"


WEBHOOK_HEALTH_PREFIX = "HEALTH#"
"""Start of the sort key of how a webhook endpoint has done, by region."""


def webhook_health_key(tenant: str, webhook_id: str, region: str) -> Key:
    """Return the key of how an endpoint does in the eyes of a region."""
    return Key(webhook_partition(tenant, webhook_id), f"{WEBHOOK_HEALTH_PREFIX}{region}")


WEBHOOK_DELIVERY_PREFIX = "DELIVERY#"
"""Start of the sort key of the deliveries to a webhook endpoint."""


def webhook_delivery_key(tenant: str, webhook_id: str, event_id: str) -> Key:
    """Return the key of the delivery of an event to an endpoint; events sort by their time."""
    return Key(webhook_partition(tenant, webhook_id), f"{WEBHOOK_DELIVERY_PREFIX}{event_id}")


def webhook_deliveries(tenant: str, webhook_id: str, status: str) -> str:
    """Return the key of :data:`WEBHOOK_DELIVERIES`."""
    return f"{webhook_partition(tenant, webhook_id)}#STATUS#{status}"


def view_counter_key(video_id: str, region: str, number: int) -> Key:
    """Return the key of a counter of views.

    Each region has its own, since of two regions that add to one the last writer wins, and several,
    since one partition takes a thousand writes a second.
    """
    return Key(f"VIEWS#{video_id}#{region}#{number}", "COUNT")


def audit_partition(tenant: str, day: str, number: int) -> str:
    """Return a partition of the audit entries of a tenant.

    Args:
        tenant: The tenant.
        day: The day (``2026-11-25``, UTC).
        number: The shard, from 0.
    """
    return f"AUDIT#{tenant}#{day}#{number}"


TENANT_SLOT_PREFIX = "SLOT#"
"""Start of the sort key of the slots of a tenant."""


def tenant_slot_key(tenant: str, number: int) -> Key:
    """Return the key of one of the slots that bound how much is done for a tenant at a time."""
    return Key(f"TENANT#{tenant}", f"{TENANT_SLOT_PREFIX}{number:04d}")


def tenant_videos(tenant: str) -> str:
    """Return the key of :data:`TENANT_VIDEOS` for what a tenant shares."""
    return f"TENANT#{tenant}"


def tenant_private_videos(tenant: str) -> str:
    """Return the key of :data:`TENANT_VIDEOS` for the PRIVATE videos of a tenant."""
    return f"TENANT#{tenant}#PRIVATE"


def tenant_status_videos(tenant: str, status: str) -> str:
    """Return the key of :data:`TENANT_STATUS_VIDEOS` for what a tenant shares."""
    return f"TENANT#{tenant}#STATUS#{status}"


def tenant_hidden_status_videos(tenant: str, status: str) -> str:
    """Return the key of :data:`TENANT_STATUS_VIDEOS` for what a tenant does not share.

    Those are PRIVATE videos, and all that are DELETED; administrators alone list them.
    """
    return f"TENANT#{tenant}#HIDDEN#STATUS#{status}"


def owner_videos(tenant: str, owner: str) -> str:
    """Return the key of :data:`OWNER_VIDEOS`."""
    return f"TENANT#{tenant}#USER#{owner}"


def owner_status_videos(tenant: str, owner: str, status: str) -> str:
    """Return the key of :data:`OWNER_STATUS_VIDEOS`."""
    return f"TENANT#{tenant}#USER#{owner}#STATUS#{status}"


def in_flight(region: str, video_id: str) -> str:
    """Return the key of :data:`IN_FLIGHT`."""
    return in_flight_of_shard(region, shard(video_id))


def in_flight_of_shard(region: str, number: int) -> str:
    """Return the key of :data:`IN_FLIGHT` under which the videos of a shard stand, from 0."""
    return f"INFLIGHT#{region}#{number}"


def tag_videos(tenant: str, tag: str, *, owner: str | None = None) -> str:
    """Return the key of :data:`TAG_VIDEOS`: of what a tenant shares, or PRIVATE ones of a user."""
    if owner is not None:
        return f"TENANT#{tenant}#USER#{owner}#TAG#{tag}"
    return f"TENANT#{tenant}#TAG#{tag}"


def tenant_directory() -> str:
    """Return the key of :data:`DIRECTORY` under which the tenants stand."""
    return "TENANTS"


def due(kind: str, region: str, identifier: str) -> str:
    """Return the key of :data:`DUE` for work that one region does.

    Args:
        kind: What is to be done, in capitals, e.g. ``UPLOAD``.
        region: The region.
        identifier: Id of what it is about, which chooses the shard.
    """
    return due_of_shard(kind, region, shard(identifier))


def due_of_shard(kind: str, region: str, number: int) -> str:
    """Return the key of :data:`DUE` under which the work of a shard stands, from 0."""
    return f"DUE#{kind}#{region}#{number}"


def purge_key(video_id: str, run_id: str | None = None) -> Key:
    """Return the key of the note that a run, or by default the whole video, is to be purged."""
    return Key(video_partition(video_id), f"PURGE#{run_id or 'VIDEO'}")


def due_purges(video_id: str) -> str:
    """Return the key of :data:`DUE` for purges; every region purges, so none is part of it."""
    return due_purges_of_shard(shard(video_id))


def due_purges_of_shard(number: int) -> str:
    """Return the key of :data:`DUE` under which the purges of a shard stand, from 0."""
    return f"DUE#PURGE#{number}"


def unpublished(region: str, event_id: str) -> str:
    """Return the key of :data:`UNPUBLISHED`."""
    return unpublished_of_shard(region, shard(event_id))


def unpublished_of_shard(region: str, number: int) -> str:
    """Return the key of :data:`UNPUBLISHED` under which the events of a shard stand, from 0."""
    return f"UNPUBLISHED#{region}#{number}"
