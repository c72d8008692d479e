"""What a stage holds of its tenants, and what must agree in it whatever died when."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from api_stage import Stage

from media_platform.contract import table
from media_platform.contract.audit import AuditEntry
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.items import WireItem, from_item
from media_platform.contract.object_keys import RAW_PREFIX
from media_platform.contract.upload import UploadSession
from media_platform.contract.usage import Usage
from media_platform.contract.video import Video, VideoStatus

Rows = Mapping[str, WireItem]
"""Items of one partition by their sort keys."""


@dataclass(frozen=True)
class Books:
    """Everything that is kept for any tenant.

    Attributes:
        partitions: The table.
        objects: Keys and versions of the files in the raw bucket.
        unfinished: Keys and ids of the uploads in parts.
    """

    partitions: Mapping[str, Rows]
    objects: frozenset[tuple[str, str]]
    unfinished: frozenset[tuple[str, str]]

    @cached_property
    def videos(self) -> list[Video]:
        """All videos."""
        return [
            Video.from_item(rows["META"]) for rows in self.partitions.values() if "META" in rows
        ]

    @cached_property
    def audited(self) -> Mapping[str, list[AuditEntry]]:
        """All audit entries, by the video they are about."""
        found: defaultdict[str, list[AuditEntry]] = defaultdict(list)
        for pk, rows in self.partitions.items():
            if pk.startswith("AUDIT#"):
                for entry in map(AuditEntry.from_item, rows.values()):
                    found[str(entry.video_id)].append(entry)
        return found

    def videos_of(self, tenant: str) -> list[Video]:
        """Return the videos of a tenant."""
        return [video for video in self.videos if video.tenant == tenant]

    def events(self, video: Video) -> list[DomainEvent]:
        """Return the events of a video by their sequence."""
        found = [
            DomainEvent.from_json(from_item(item)[OUTBOX_BODY])
            for sk, item in self._rows(video).items()
            if sk.startswith(table.EVENT_SORT_PREFIX)
        ]
        return sorted(found, key=lambda event: event.sequence)

    def session(self, video: Video) -> UploadSession | None:
        """Return the upload of a video, if it has one."""
        item = self._rows(video).get(table.upload_key(video.video_id).sk)
        return UploadSession.from_item(item) if item else None

    def check(self) -> None:
        """Check that nothing contradicts anything else, and that no row is without its video."""
        for pk, rows in self.partitions.items():
            assert not pk.startswith("VIDEO#") or "META" in rows, f"rows of no video: {list(rows)}"
        for video in self.videos:
            self._check_video(video)
        for tenant in {video.tenant for video in self.videos}:
            assert self.counted(tenant) == self.used(tenant), f"use of {tenant}"

    def check_swept(self) -> None:
        """Check also that nothing is left of uploads that came to nothing."""
        self.check()
        sessions = {session for video in self.videos if (session := self.session(video))}
        assert {(s.raw_key, s.upload_id) for s in sessions if s.upload_id} == self.unfinished
        waiting = {video.raw_key for video in self.videos if video.status is VideoStatus.PENDING}
        pinned = {(video.raw_key, video.raw_version_id) for video in self.videos}
        assert not {found for found in self.objects - pinned if found[0] not in waiting}
        assert {s.raw_key for s in sessions} <= waiting

    def used(self, tenant: str) -> Usage:
        """Return what a tenant uses, by its videos."""
        videos = self.videos_of(tenant)
        by_status = Counter(video.status for video in videos)
        return Usage(
            videos=len(videos),
            stored_bytes=sum(video.size_bytes for video in videos),
            uploads=by_status[VideoStatus.PENDING],
            ready=by_status[VideoStatus.READY],
            failed=by_status[VideoStatus.FAILED],
            deleted=by_status[VideoStatus.DELETED],
        )

    def counted(self, tenant: str) -> Usage:
        """Return what a tenant uses, as it is counted, without views, which no book tells."""
        rows = self.partitions[table.quota_key(tenant).pk]
        counted = Usage()
        for sk, item in rows.items():
            if sk.startswith(table.USAGE_PREFIX):
                counted += Usage.from_item(item)
        return replace(counted, views=0)

    def _rows(self, video: Video) -> Rows:
        return self.partitions[table.video_partition(video.video_id)]

    def _check_video(self, video: Video) -> None:
        rows = self._rows(video)
        tags = {sk: item for sk, item in rows.items() if sk.startswith("TAG#")}
        assert list(tags.values()) == list(video.tag_items().values())
        is_deleted = video.status is VideoStatus.DELETED
        assert (table.purge_key(video.video_id).sk in rows) is is_deleted
        assert bool(video.deleted_at) is bool(video.restorable_until) is is_deleted
        sequences = [event.sequence for event in self.events(video)]
        assert sequences[0] == 1, "its creation is told"
        assert len(set(sequences)) == len(sequences), "no change is told twice"
        assert sequences[-1] <= video.version, "nothing is told that did not happen"
        if video.status is VideoStatus.PENDING:
            assert self.session(video), "it can be uploaded, or found to be abandoned"


def books_of(stage: Stage) -> Books:
    """Read everything that a stage holds."""
    partitions: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    scan = stage.emulator.client("dynamodb").get_paginator("scan")
    for page in scan.paginate(TableName=stage.environment.table_name, ConsistentRead=True):
        for item in page["Items"]:
            partitions[item[table.PARTITION_KEY]["S"]][item[table.SORT_KEY]["S"]] = item
    where = {"Bucket": stage.environment.raw_bucket, "Prefix": RAW_PREFIX}
    s3 = stage.emulator.client("s3")
    versions = s3.get_paginator("list_object_versions").paginate(**where)
    uploads = s3.get_paginator("list_multipart_uploads").paginate(**where)
    return Books(
        partitions,
        frozenset((v["Key"], v["VersionId"]) for p in versions for v in p.get("Versions", ())),
        frozenset((u["Key"], u["UploadId"]) for p in uploads for u in p.get("Uploads", ())),
    )
