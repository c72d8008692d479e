"""Copies of objects are made later, with the version id of the original, and are told of.

MiniStack copies while an object is being written, to one bucket, and gives the copy another version
id. On S3 the original is ``PENDING`` until its copies are there and ``COMPLETED`` then; a copy is a
``REPLICA``, is not copied any further, has the same version id, and makes an event in its bucket.

Source: Amazon S3 User Guide, "What does Amazon S3 replicate?", "Getting replication status
information".
"""

from __future__ import annotations

import contextvars
import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ministack.core.responses import get_account_id, request_scope
from ministack.services import s3

from .links import Links

STATUS = "replication_status"


class ObjectReplication:
    """Carries copies of objects to the buckets that rules of replication name.

    Args:
        links: The ways between regions.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def install(self) -> None:
        """Take the place of MiniStack's replication."""
        s3._maybe_replicate = self._written  # noqa: SLF001
        s3._maybe_replicate_delete_marker = self._marked  # noqa: SLF001

    def _written(
        self, bucket: str, key: str, record: dict[str, Any], data: Any, tags: Any = None
    ) -> None:
        """Send a copy of an object to every bucket to which a rule copies it."""
        self._send(bucket, key, record, data, tags)

    def copy_existing(
        self, bucket: str, statuses: Collection[str], copied: Callable[[], None]
    ) -> int:
        """Send copies of the objects of a bucket that rules copy, however old these are.

        Args:
            bucket: The bucket.
            statuses: Statuses of replication of which an object has one; ``NONE`` says that no rule
                copied it yet.
            copied: Called for each object once all its copies have arrived.

        Returns:
            How many objects are sent.
        """
        found = s3._buckets[bucket]["objects"].items()  # noqa: SLF001
        return sum(
            self._send(
                bucket,
                key,
                record,
                s3._read_body(bucket, key, record),  # noqa: SLF001
                s3._object_tags.get((bucket, key, record["version_id"])),  # noqa: SLF001
                copied,
            )
            for key, record in list(found)
            if (record.get(STATUS) or "NONE") in statuses
        )

    def _send(  # noqa: PLR0917 - what makes a copy
        self,
        bucket: str,
        key: str,
        record: dict[str, Any],
        data: Any,
        tags: Any,
        arrived: Callable[[], None] = lambda: None,
    ) -> bool:
        """Send copies of an object; return whether a rule copies it."""
        targets = self._targets(bucket, key, tags or {})
        if not targets:
            return False
        record[STATUS] = "PENDING"
        left = set(targets)
        account, source = get_account_id(), _region_of(bucket)

        def copied(destination: str) -> None:
            with request_scope(account, _region_of(destination)):
                self._take(destination, key, record, data, tags)
            left.discard(destination)
            if not left:
                with request_scope(account, source):
                    _complete(bucket, key, record)
                arrived()

        for destination in targets:
            self._links.send(source, _region_of(destination), partial(copied, destination))
        return True

    def _marked(self, bucket: str, key: str) -> None:
        """Send a delete marker to the buckets whose rules copy markers."""
        account, source = get_account_id(), _region_of(bucket)

        def mark(destination: str) -> None:
            with request_scope(account, _region_of(destination)):
                held = s3._buckets[destination]["objects"]  # noqa: SLF001
                s3._record_delete_marker(destination, key, held.get(key))  # noqa: SLF001
                held.pop(key, None)

        for destination in self._targets(bucket, key, {}, markers=True):
            self._links.send(source, _region_of(destination), partial(mark, destination))

    def _targets(
        self, bucket: str, key: str, tags: dict[str, str], *, markers: bool = False
    ) -> list[str]:
        """Return the buckets of all rules that an object or its delete marker meets."""
        configuration = s3._bucket_replication.get(bucket)  # noqa: SLF001
        if not configuration or s3._bucket_versioning.get(bucket) != "Enabled":  # noqa: SLF001
            return []
        found = []
        for rule in configuration.get("Rules", []):
            wanted = s3._replication_rule_tags(rule)  # noqa: SLF001
            copies_markers = (rule.get("DeleteMarkerReplication") or {}).get("Status") == "Enabled"
            if (
                rule.get("Status") == "Enabled"
                and key.startswith(s3._replication_rule_prefix(rule))  # noqa: SLF001
                and all(tags.get(name) == value for name, value in wanted.items())
                and (copies_markers or not markers)
            ):
                target = s3._replication_destination(  # noqa: SLF001
                    bucket, key, rule, configuration.get("Role", "")
                )
                if target is not None:
                    found.append(str(target[0]))
        return found

    def _take(self, bucket: str, key: str, record: dict[str, Any], data: Any, tags: Any) -> None:
        """Write a copy. An object that is newer here stays the one that a read without id finds."""
        held = s3._buckets[bucket]["objects"]  # noqa: SLF001
        version = record["version_id"]
        if any(v["version_id"] == version for v in s3._object_versions.get((bucket, key), ())):  # noqa: SLF001
            return
        replica = copy.deepcopy(record)
        replica[STATUS] = "REPLICA"
        prior = held.get(key)
        held[key] = replica
        s3._record_object_version(bucket, key, prior, replica, data)  # noqa: SLF001
        replica["version_id"] = version
        s3._object_versions[bucket, key][-1]["version_id"] = version  # noqa: SLF001
        if tags:
            s3._object_tags[bucket, key, version] = dict(tags)  # noqa: SLF001
        contextvars.copy_context().run(
            s3._fire_s3_event_async,  # noqa: SLF001
            bucket,
            key,
            "s3:ObjectCreated:Put",
            size=replica["size"],
            etag=replica["etag"],
            version_id=version,
        )


def _complete(bucket: str, key: str, record: dict[str, Any]) -> None:
    record[STATUS] = "COMPLETED"
    for version in s3._object_versions.get((bucket, key), ()):  # noqa: SLF001
        if version["version_id"] == record["version_id"]:
            version[STATUS] = "COMPLETED"


def _region_of(bucket: str) -> str:
    return str(s3._notification_bucket_region(bucket))  # noqa: SLF001
