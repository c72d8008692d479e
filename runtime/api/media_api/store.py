"""Data access: videos and runs in the table."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from media_api.audit import log_entry
from media_api.aws import error_code
from media_platform.contract import duplicates, table
from media_platform.contract.audit import AuditEntry, audit_write
from media_platform.contract.items import TransactItem, WireItem, to_wire
from media_platform.contract.purge import Purge
from media_platform.contract.run import DOWNLOAD_PREFIX, Part, Run
from media_platform.contract.thumbnails import Thumbnail
from media_platform.contract.upload import UploadSession
from media_platform.contract.video import Change, Video

_BATCH_KEYS = 100
"""Most keys of one ``BatchGetItem`` call (Amazon DynamoDB quotas)."""

_BATCH_ROUNDS = 5
_BATCH_PAUSE_SECONDS = 0.05


class StaleVideoError(Exception):
    """A video was changed since it was read; read it again and decide again."""


@dataclass(frozen=True)
class VideoList:
    """A list that an index keeps.

    Attributes:
        index: The index.
        partition: The partition of the index that is the list.
        tag: The tag whose items make the list. Default: videos themselves do.
    """

    index: table.Index
    partition: str
    tag: str | None = None

    def has(self, video: Video) -> bool:
        """Tell whether a video is in the list of a tag; an index may lag behind what it is now."""
        return self.tag is not None and self.partition == video.tag_keys().get(self.tag)

    def key_of(self, video_id: str) -> dict[str, dict[str, str]]:
        """Return the whole key of the entry of a video."""
        key = table.tag_key(video_id, self.tag) if self.tag else table.video_key(video_id)
        return {
            **key.to_wire(),
            self.index.partition_key: {"S": self.partition},
            self.index.sort_key: {"S": video_id},
        }

    def __str__(self) -> str:
        """Return what tells the list from all others."""
        return f"{self.index.name} {self.partition}"


@dataclass(frozen=True)
class Page:
    """A page of a list.

    Attributes:
        videos: The videos, newest first.
        last_id: Id behind which another page may follow, which may turn out empty. ``None`` at
            the end.
    """

    videos: list[Video]
    last_id: str | None

    @property
    def has_more(self) -> bool:
        """Whether another page may follow."""
        return self.last_id is not None


async def batch_get(
    client: Any, table_name: str, keys: Sequence[dict[str, dict[str, str]]]
) -> tuple[list[WireItem], int]:
    """Return items by their keys, and how many of them the table is too busy to look for.

    Args:
        client: A DynamoDB client.
        table_name: The table.
        keys: The keys, in wire format.
    """
    items: list[WireItem] = []
    missing = 0
    for start in range(0, len(keys), _BATCH_KEYS):
        rest = list(keys[start : start + _BATCH_KEYS])
        for attempt in range(_BATCH_ROUNDS):
            if not rest:
                break
            if attempt:
                await asyncio.sleep(_BATCH_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311
            answer = await client.batch_get_item(RequestItems={table_name: {"Keys": rest}})
            items += answer["Responses"].get(table_name, [])
            rest = answer.get("UnprocessedKeys", {}).get(table_name, {}).get("Keys", [])
        missing += len(rest)
    return items, missing


class VideoTable:
    """The table, as far as the API needs it.

    Args:
        client: A DynamoDB client of the home region.
        table_name: The table.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self.name = table_name

    async def video(self, video_id: str) -> Video | None:
        """Return a video as the last write left it, or ``None`` if there is none."""
        answer = await self._client.get_item(
            TableName=self.name, Key=table.video_key(video_id).to_wire(), ConsistentRead=True
        )
        item = answer.get("Item")
        return Video.from_item(item) if item else None

    async def session(self, video_id: str) -> UploadSession | None:
        """Return the upload of a video that waits for its file, or ``None`` if there is none."""
        item = await self._item(table.upload_key(video_id))
        return UploadSession.from_item(item) if item else None

    async def guarded(self, keys: Iterable[table.Key]) -> dict[table.Key, str | None]:
        """Return the video that each guard of a content names, ``None`` where there is none."""
        listed = list(keys)
        items = await asyncio.gather(*(self._item(key) for key in listed))
        return dict(zip(listed, map(duplicates.guarded_video, items), strict=True))

    async def _item(self, key: table.Key) -> dict[str, Any] | None:
        answer = await self._client.get_item(
            TableName=self.name, Key=key.to_wire(), ConsistentRead=True
        )
        item: dict[str, Any] | None = answer.get("Item")
        return item

    async def run(self, video_id: str, run_id: str) -> Run | None:
        """Return a run, or ``None`` if no worker took it yet."""
        answer = await self._client.get_item(
            TableName=self.name,
            Key=table.run_key(video_id, run_id).to_wire(),
            ConsistentRead=True,  # what is kept of it must not be older than the last write
        )
        item = answer.get("Item")
        return Run.from_item(item) if item else None

    async def runs(self, videos: Iterable[Video]) -> dict[str, Run]:
        """Return the current and the next runs of at most 100 videos, by run id.

        Runs that the table is too busy to return are left out: they only refine what the videos
        say themselves.
        """
        keys = [
            table.run_key(video.video_id, run_id).to_wire()
            for video in videos
            for run_id in (video.current_run, video.next_run)
            if run_id
        ]
        items, _ = await batch_get(self._client, self.name, keys)
        return {run.run_id: run for run in map(Run.from_item, items)}

    async def page(self, videos: VideoList, *, limit: int, after: str | None) -> Page:
        """Return a page of a list, newest first.

        Args:
            videos: The list.
            limit: Most videos of the page.
            after: Id of the video behind which the page starts. Default: the newest.
        """
        index = videos.index
        query: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#partition = :partition",
            "ExpressionAttributeNames": {"#partition": index.partition_key},
            "ExpressionAttributeValues": {":partition": {"S": videos.partition}},
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if after is not None:
            query["ExclusiveStartKey"] = videos.key_of(after)
        answer = await self._client.query(**query)
        items = answer["Items"]
        has_more = "LastEvaluatedKey" in answer and bool(items)
        last_id = items[-1][index.sort_key]["S"] if has_more else None
        if videos.tag is None:
            return Page([Video.from_item(item) for item in items], last_id)
        tagged = await self._videos([item[index.sort_key]["S"] for item in items])
        return Page([video for video in tagged if videos.has(video)], last_id)

    async def _videos(self, video_ids: list[str]) -> list[Video]:
        """Return at most 100 videos in the order of their ids; what is gone is left out.

        Raises:
            TimeoutError: If the table is too busy to return all of them.
        """
        keys = [table.video_key(video_id).to_wire() for video_id in video_ids]
        items, missing = await batch_get(self._client, self.name, keys)
        if missing:
            raise TimeoutError(f"the table did not return {missing} of {len(keys)} videos")
        found = {video.video_id: video for video in map(Video.from_item, items)}
        return [found[video_id] for video_id in video_ids if video_id in found]

    async def part(self, video_id: str, run_id: str, name: str) -> Part | None:
        """Return a part of a run as the last write left it, or ``None`` if there is none."""
        item = await self._item(table.part_key(video_id, run_id, name))
        return Part.from_item(item) if item else None

    async def downloads(self, video_id: str, run_id: str) -> list[Part]:
        """Return the parts of a run that make downloads; there are as many as renditions."""
        first = table.part_key(video_id, run_id, DOWNLOAD_PREFIX)
        answer = await self._client.query(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :first)",
            ExpressionAttributeValues={":pk": {"S": first.pk}, ":first": {"S": first.sk}},
            ConsistentRead=True,
        )
        return [Part.from_item(item) for item in answer["Items"]]

    def part_put(self, part: Part, *, before: Part | None) -> TransactItem:
        """Return the write of a part, unless it is not what it was any more.

        Args:
            part: The part.
            before: What it was. ``None``: there was none.
        """
        put: dict[str, Any] = {"TableName": self.name, "Item": part.to_item()}
        if before is None:
            return {"Put": {**put, "ConditionExpression": "attribute_not_exists(pk)"}}
        return {
            "Put": {
                **put,
                "ConditionExpression": "attempt = :attempt AND done = :done",
                "ExpressionAttributeValues": {
                    ":attempt": to_wire(before.attempt),
                    ":done": to_wire(before.done),
                },
            }
        }

    async def purge(self, video_id: str) -> Purge | None:
        """Return the note that a whole video is to be purged, if there is one."""
        item = await self._item(table.purge_key(video_id))
        return Purge.from_item(item) if item else None

    async def thumbnail(self, video_id: str) -> Thumbnail | None:
        """Return the last request for a thumbnail of a video."""
        answer = await self._client.get_item(
            TableName=self.name, Key=table.thumbnail_key(video_id).to_wire(), ConsistentRead=True
        )
        item = answer.get("Item")
        return Thumbnail.from_item(item) if item else None

    def thumbnail_put(self, request: Thumbnail) -> TransactItem:
        """Return the write of a request for a thumbnail, unless there is a later one."""
        return {
            "Put": {
                "TableName": self.name,
                "Item": request.to_item(),
                "ConditionExpression": "attribute_not_exists(pk) OR thumbnail_id <= :this",
                "ExpressionAttributeValues": {":this": {"S": request.thumbnail_id}},
            }
        }

    async def write(self, change: Change, entry: AuditEntry, *more: TransactItem) -> None:
        """Write a change, its event, its audit entry and what else belongs to it, all or nothing.

        Args:
            change: The change.
            entry: Tells who makes it.
            *more: Other actions of the same transaction.

        Raises:
            StaleVideoError: If the video, or what else is written, was changed since it was read.
        """
        try:
            await self._client.transact_write_items(
                TransactItems=[*change.writes, *more, audit_write(self.name, entry)]
            )
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            codes = {reason.get("Code") for reason in reasons}
            if error_code(error) == "TransactionCanceledException" and codes & {
                "ConditionalCheckFailed",
                "TransactionConflict",
            }:
                raise StaleVideoError(change.video.video_id) from error
            raise
        log_entry(entry)

    async def ping(self) -> None:
        """Read a key that nobody writes, to see that the table answers."""
        key = table.Key("HEALTH", "READY").to_wire()
        await self._client.get_item(TableName=self.name, Key=key)
