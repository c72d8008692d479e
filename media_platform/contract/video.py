"""A video: its states, how it is stored, and how it changes.

Every change raises ``version`` by one and is written on the condition that the version is still the
one that was read; the event that tells of it goes into the same transaction. So whoever decides on
stale data loses the race, reads again and decides again, and no event is lost or invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import (
    TransactItem,
    WireItem,
    from_item,
    to_item,
    to_wire,
)
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.object_keys import region_of_key, thumbnail_of_key
from media_platform.contract.scanning import Scan
from media_platform.contract.times import timestamp
from media_platform.contract.usage import Usage, usage_update


class VideoStatus(StrEnum):
    """Where a video stands."""

    PENDING = "PENDING"
    UPLOADED = "UPLOADED"
    PROCESSING = "PROCESSING"
    READY = "READY"
    FAILED = "FAILED"
    DELETED = "DELETED"


class Visibility(StrEnum):
    """Who may play a video."""

    PUBLIC = "PUBLIC"
    TENANT = "TENANT"
    PRIVATE = "PRIVATE"


class Duplicates(StrEnum):
    """What becomes of a file that the tenant has already."""

    REFUSE = "refuse"
    KEEP = "keep"


TRANSITIONS: dict[VideoStatus, frozenset[VideoStatus]] = {
    VideoStatus.PENDING: frozenset({VideoStatus.UPLOADED, VideoStatus.FAILED, VideoStatus.DELETED}),
    VideoStatus.UPLOADED: frozenset(
        {VideoStatus.PROCESSING, VideoStatus.FAILED, VideoStatus.DELETED}
    ),
    VideoStatus.PROCESSING: frozenset(
        {VideoStatus.UPLOADED, VideoStatus.READY, VideoStatus.FAILED, VideoStatus.DELETED}
    ),
    VideoStatus.READY: frozenset({VideoStatus.DELETED}),
    VideoStatus.FAILED: frozenset(
        {VideoStatus.UPLOADED, VideoStatus.PROCESSING, VideoStatus.DELETED}
    ),
    VideoStatus.DELETED: frozenset(
        {VideoStatus.PENDING, VideoStatus.UPLOADED, VideoStatus.READY, VideoStatus.FAILED}
    ),
}
"""The statuses that may follow each status.

A region that takes a video over takes it from PROCESSING to UPLOADED, with a run of its own. A
redriven job takes FAILED to PROCESSING again, and a request for another run to UPLOADED. A video
that is restored becomes what it was; one whose run was ended by the deletion becomes UPLOADED, with
a new run.
"""

_COUNTED = {
    VideoStatus.PENDING: "uploads",
    VideoStatus.READY: "ready",
    VideoStatus.FAILED: "failed",
    VideoStatus.DELETED: "deleted",
}
"""Fields of ``usage.Usage`` that count the videos of a status.

A video of any other status is on its way; that it goes on there changes no counter, so that a
tenant whose videos go through the pipeline all at once meets there as seldom as can be.
"""

UNSCANNED_STATUSES = frozenset({VideoStatus.UPLOADED, VideoStatus.FAILED, VideoStatus.DELETED})
"""What a video may be while its file is not known to be clean."""

REFUSED_STATUSES = frozenset({VideoStatus.FAILED, VideoStatus.DELETED})
"""What a video may be whose file a scanner refused; no request and no restoring leads out."""

IN_FLIGHT_STATUSES = frozenset({VideoStatus.UPLOADED, VideoStatus.PROCESSING})


class TransitionError(ValueError):
    """A video cannot go from its status to the one that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a video failed.

    Attributes:
        code: Stable code for programs, e.g. ``not_a_video``.
        message: One sentence for the person who uploaded it.
    """

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class PlaybackRules:
    """What a playback must satisfy, beside the visibility.

    Attributes:
        referrers: Hosts of the pages that may ask for it, as ``example.com`` or ``*.example.com``.
            Default: any.
        ipv4_ranges: Ranges of addresses (CIDR) that may play it. Default: any.
        max_seconds: Longest life of a signature. Default: what the stage says.
    """

    referrers: tuple[str, ...] = ()
    ipv4_ranges: tuple[str, ...] = ()
    max_seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video as the table holds it under ``META``.

    Attributes:
        video_id: Unique id.
        tenant: Tenant it belongs to.
        owner: User who created it (the ``sub`` of the token).
        home_region: The one region that changes it.
        title: Title, shown to people.
        file_name: Name of the file at the uploader's, for people only.
        content_type: Declared content type, one of ``media_types.EXTENSIONS``.
        size_bytes: Declared size.
        raw_key: Key of the upload in the raw bucket.
        created_at: Time of creation.
        updated_at: Time of the last change.
        status: Where it stands.
        visibility: Who may play it.
        version: Rises by one with every change; lock, ``ETag`` and event sequence.
        epoch: Rises when another region takes the video over.
        raw_version_id: The one object version that is judged and transcoded, once uploaded.
        current_run: The run that is, or becomes, what viewers see, once uploaded.
        next_run: The run that replaces it once complete, while a READY video is transcoded again.
        duration_seconds: Length, once known.
        width: Width of the source in pixels as displayed, once known.
        height: Height of the source in pixels as displayed, once known.
        failure: Why it failed, if it did.
        uploaded_at: Time at which the upload was taken in.
        ready_at: Time at which it became READY.
        deleted_at: Time at which it was deleted.
        deleted_by: User who deleted it.
        deleted_from: What it was when it was deleted, and becomes again when it is restored.
        restorable_until: Time until which it may be restored, once deleted.
        traceparent: Trace of the request that created it, which its transcoding continues.
        description: Description, shown to people.
        tags: Its tags, sorted, each once.
        duplicates: What becomes of it if the tenant has the file already.
        duplicate_of: The video that has the same file, if it was refused for that.
        checksum_sha256: SHA-256 of the file as S3 computed it: base64, or for a multipart upload
            the composite ``<base64>-<parts>``, once uploaded.
        profile: Ladder of the run that was asked for last (:class:`jobs.Profile`).
        quality: Quality of that run (:class:`jobs.Quality`).
        thumbnail: Key in the media bucket of a chosen thumbnail. Default: the poster of the run.
        rules: What a playback must satisfy. Default: nothing.
        scan: Where the scan of the pinned version stands. Default: none was asked for.
        run_region: Region that made the current run, which is part of the keys of its objects.
            Default: the home region.
        taken_version: Version that the region read which took the video over. Default: none did.
        former_regions: Regions that were home to it, under which objects of it may lie. Default:
            none.
        held_back: Why no worker may begin with the run that was asked for (``budget.HELD_BACK``).
            Default: one may.
    """

    video_id: str
    tenant: str
    owner: str
    home_region: str
    title: str
    file_name: str
    content_type: str
    size_bytes: int
    raw_key: str
    created_at: str
    updated_at: str
    status: VideoStatus = VideoStatus.PENDING
    visibility: Visibility = Visibility.TENANT
    version: int = 1
    epoch: int = 0
    raw_version_id: str | None = None
    current_run: str | None = None
    next_run: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    failure: Failure | None = None
    uploaded_at: str | None = None
    ready_at: str | None = None
    deleted_at: str | None = None
    deleted_by: str | None = None
    deleted_from: VideoStatus | None = None
    restorable_until: str | None = None
    traceparent: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    duplicates: Duplicates = Duplicates.REFUSE
    duplicate_of: str | None = None
    checksum_sha256: str | None = None
    profile: Profile = Profile.AUTO
    quality: Quality = Quality.STANDARD
    thumbnail: str | None = None
    rules: PlaybackRules | None = None
    scan: Scan | None = None
    run_region: str | None = None
    taken_version: int | None = None
    former_regions: tuple[str, ...] | None = None
    held_back: str | None = None

    @property
    def media_region(self) -> str:
        """The region in the keys of the current run."""
        return self.run_region or self.home_region

    def region_of(self, run_id: str) -> str:
        """Return the region in the keys of a run or a thumbnail."""
        if self.thumbnail is not None and thumbnail_of_key(self.thumbnail) == run_id:
            return region_of_key(self.thumbnail)
        return self.media_region if run_id == self.current_run else self.home_region

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read a video from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        for name, kind in _ENUMS.items():
            if values.get(name) is not None:
                values[name] = kind(values[name])
        values["tags"] = tuple(values.get("tags", ()))
        if values.get("former_regions") is not None:
            values["former_regions"] = tuple(values["former_regions"])
        if values.get("rules"):
            rules = values["rules"]
            values["rules"] = PlaybackRules(
                referrers=tuple(rules.get("referrers", ())),
                ipv4_ranges=tuple(rules.get("ipv4_ranges", ())),
                max_seconds=rules.get("max_seconds"),
            )
        if values.get("failure"):
            failure = values["failure"]
            values["failure"] = Failure(**{f.name: failure[f.name] for f in fields(Failure)})
        return cls(**values)

    def to_item(self) -> WireItem:
        """Return the wire item, with the keys of every index in which the video stands."""
        key = table.video_key(self.video_id)
        return to_item(
            {
                table.PARTITION_KEY: key.pk,
                table.SORT_KEY: key.sk,
                **asdict(self),
                **self._index_keys(),
            }
        )

    def _index_keys(self) -> dict[str, str]:
        status = self.status.value
        keys = {
            table.OWNER_STATUS_VIDEOS.partition_key: table.owner_status_videos(
                self.tenant, self.owner, status
            )
        }
        shared = self.visibility is not Visibility.PRIVATE
        listed = table.tenant_status_videos
        if self.status is VideoStatus.DELETED or not shared:
            listed = table.tenant_hidden_status_videos
        keys[table.TENANT_STATUS_VIDEOS.partition_key] = listed(self.tenant, status)
        if self.status is VideoStatus.DELETED:
            return keys
        keys[table.OWNER_VIDEOS.partition_key] = table.owner_videos(self.tenant, self.owner)
        tenant_list = table.tenant_videos if shared else table.tenant_private_videos
        keys[table.TENANT_VIDEOS.partition_key] = tenant_list(self.tenant)
        if self.status in IN_FLIGHT_STATUSES or self.next_run is not None:
            keys[table.IN_FLIGHT.partition_key] = table.in_flight(self.home_region, self.video_id)
        return keys

    def tag_items(self) -> dict[str, WireItem]:
        """Return the items by which the video is found by its tags, by tag.

        Tags of DELETED videos have none; those of PRIVATE ones stand apart, so that a list of what
        the tenant shares needs no filter.
        """
        items = {}
        for tag, partition in self.tag_keys().items():
            key = table.tag_key(self.video_id, tag)
            items[tag] = to_item(
                {
                    table.PARTITION_KEY: key.pk,
                    table.SORT_KEY: key.sk,
                    table.TAG_VIDEOS.partition_key: partition,
                    table.TAG_VIDEOS.sort_key: self.video_id,
                }
            )
        return items

    def tag_keys(self) -> dict[str, str]:
        """Return the partition of ``TAG_VIDEOS`` in which the video stands, by tag."""
        if self.status is VideoStatus.DELETED:
            return {}
        owner = self.owner if self.visibility is Visibility.PRIVATE else None
        return {tag: table.tag_videos(self.tenant, tag, owner=owner) for tag in self.tags}


_ENUMS: dict[str, type[StrEnum]] = {
    "status": VideoStatus,
    "deleted_from": VideoStatus,
    "visibility": Visibility,
    "duplicates": Duplicates,
    "profile": Profile,
    "quality": Quality,
    "scan": Scan,
}
"""Fields that hold a member of an enumeration."""


@dataclass(frozen=True)
class Change:
    """A change of a video, ready to be written.

    Attributes:
        video: The video after the change.
        event: The event that tells of it, or ``None`` for a change that nobody is told of.
        writes: The actions of one ``TransactWriteItems`` call; more may be added.
    """

    video: Video
    event: DomainEvent | None
    writes: list[TransactItem] = field(repr=False)


def create(table_name: str, video: Video) -> Change:
    """Create ``video`` together with its ``VideoCreated`` event; an existing id is not replaced."""
    put: TransactItem = {
        "Put": {
            "TableName": table_name,
            "Item": video.to_item(),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }
    data = {
        "title": video.title,
        "content_type": video.content_type,
        "size_bytes": video.size_bytes,
        "owner": video.owner,
    }
    event = _event(video, EventType.VIDEO_CREATED, video.home_region, data)
    return Change(
        video, event, [put, _put_event(table_name, event), *_tag_writes(table_name, None, video)]
    )


def change(
    table_name: str,
    video: Video,
    *,
    region: str,
    event_type: EventType | None = None,
    event_data: Mapping[str, Any] | None = None,
    version_step: int = 1,
    **changes: Any,
) -> Change:
    """Change fields of ``video`` on the condition that nobody changed it since it was read.

    Args:
        table_name: The table.
        video: The video as it was read.
        region: Region that makes the change, and will publish the event.
        event_type: Event to write with it. Default: none.
        event_data: Details of the event.
        version_step: By how much the version rises.
        **changes: New values of fields of the video.

    Raises:
        TransitionError: If ``status`` is among the changes and may not follow the present one, or
            may not be that of a video whose file waits for its scan or was refused.
    """
    status = changes.get("status", video.status)
    if status is not video.status and status not in TRANSITIONS[video.status]:
        raise TransitionError(
            f"video {video.video_id} is {video.status} and cannot become {status}"
        )
    if changes.get("current_run", video.current_run) != video.current_run:
        # Another run is made where it is at home now.
        changes.setdefault("run_region", None)
    after = replace(video, **changes, version=video.version + version_step, updated_at=timestamp())
    _check_scan(after)
    writes = [_update(table_name, video, after), *_tag_writes(table_name, video, after)]
    more = Usage(
        **{
            name: (after.status is counted) - (video.status is counted)
            for counted, name in _COUNTED.items()
        }
    )
    if more != Usage():
        writes.append(
            usage_update(table_name, tenant=video.tenant, region=after.home_region, more=more)
        )
    event = None
    if event_type is not None:
        event = _event(after, event_type, region, event_data or {})
        writes.append(_put_event(table_name, event))
    return Change(after, event, writes)


def replaced(table_name: str, now: Video, before: Video, *, version_step: int) -> TransactItem:
    """Return the write that makes a video again what it was before, with a new version.

    Args:
        table_name: The table.
        now: The video as it is.
        before: The video as it is to be.
        version_step: By how much the version rises above both.
    """
    version = max(now.version, before.version) + version_step
    return _update(table_name, now, replace(before, version=version, updated_at=timestamp()))


def _check_scan(after: Video) -> None:
    """Keep everything that follows the scan from a file that did not pass it.

    Raises:
        TransitionError: If the video would be what such a file may not be.
    """
    allowed = {Scan.WAITING: UNSCANNED_STATUSES, Scan.REFUSED: REFUSED_STATUSES}
    if after.scan in allowed and after.status not in allowed[after.scan]:
        raise TransitionError(
            f"the file of video {after.video_id} is {after.scan} by its scan, so the video cannot "
            f"become {after.status}"
        )


def _update(table_name: str, before: Video, after: Video) -> TransactItem:
    """Write the attributes that differ, so that those of newer code are left alone."""
    old, new = before.to_item(), after.to_item()
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    removed = [name for name in old if name not in new]
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in changed)
    if removed:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in removed)
    return {
        "Update": {
            "TableName": table_name,
            "Key": table.video_key(before.video_id).to_wire(),
            "UpdateExpression": expression,
            "ConditionExpression": "#version = :read_version AND #epoch = :read_epoch",
            "ExpressionAttributeNames": {
                f"#{name}": name for name in {*changed, *removed, "version", "epoch"}
            },
            "ExpressionAttributeValues": {
                **{f":{name}": value for name, value in changed.items()},
                ":read_version": to_wire(before.version),
                ":read_epoch": to_wire(before.epoch),
            },
        }
    }


def _tag_writes(table_name: str, before: Video | None, after: Video) -> list[TransactItem]:
    """Bring the tag items from what they were to what they are to be."""
    old, new = before.tag_items() if before else {}, after.tag_items()
    puts: list[TransactItem] = [
        {"Put": {"TableName": table_name, "Item": item}}
        for tag, item in new.items()
        if old.get(tag) != item
    ]
    deletes: list[TransactItem] = [
        {
            "Delete": {
                "TableName": table_name,
                "Key": table.tag_key(after.video_id, tag).to_wire(),
            }
        }
        for tag in old
        if tag not in new
    ]
    return [*puts, *deletes]


def _event(
    video: Video, event_type: EventType, region: str, data: Mapping[str, Any]
) -> DomainEvent:
    return DomainEvent(
        event_id=new_id(),
        event_type=event_type,
        video_id=video.video_id,
        tenant=video.tenant,
        region=region,
        sequence=video.version,
        occurred_at=video.updated_at,
        data=dict(data),
    )


def _put_event(table_name: str, event: DomainEvent) -> TransactItem:
    return {"Put": {"TableName": table_name, "Item": event.to_outbox_item()}}
