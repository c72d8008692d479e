"""What a page of a list reads of the table, whatever the owner has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from harness.api_servers import TENANT, stored_video
from harness.stage import REGION, TABLE, running_stage
from media_api.aws import open_services
from media_api.store import VideoList, VideoTable
from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.video import Video, VideoStatus

PAGE = 50
_BATCH = 25


def _videos(count: int) -> Iterator[Video]:
    """Return videos of one owner: deleted, PRIVATE and failed ones among them."""
    video, _ = stored_video()
    for number in range(count):
        status = (VideoStatus.READY, VideoStatus.FAILED, VideoStatus.DELETED)[number % 10 // 8]
        yield replace(video, video_id=new_id(), status=status)


class _Seen:
    """A client that keeps what was read of the table."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reads: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def query(self, **request: Any) -> Any:
        answer = await self._client.query(**request)
        self.reads.append((answer["ScannedCount"], answer["Count"]))
        return answer


def pages_read(count: int) -> dict[str, tuple[int, int]]:
    """Return items read and items listed by a page of each list of an owner, by list.

    Args:
        count: Videos of the owner.
    """
    with running_stage() as stage, _environment(stage.endpoint):
        return asyncio.run(_pages_read(count))


async def _pages_read(count: int) -> dict[str, tuple[int, int]]:
    owner = "user-0"
    async with open_services(REGION, "dynamodb") as (client,):
        requests: list[Any] = []
        for video in _videos(count):
            items = [video.to_item(), *video.tag_items().values()]
            requests += [{"PutRequest": {"Item": item}} for item in items]
        for start in range(0, len(requests), _BATCH):
            await client.batch_write_item(RequestItems={TABLE: requests[start : start + _BATCH]})
        ready = VideoStatus.READY.value
        lists = {
            "of the tenant": VideoList(table.TENANT_VIDEOS, table.tenant_videos(TENANT)),
            "of the tenant, READY": VideoList(
                table.TENANT_STATUS_VIDEOS, table.tenant_status_videos(TENANT, ready)
            ),
            "of the owner": VideoList(table.OWNER_VIDEOS, table.owner_videos(TENANT, owner)),
            "of the owner, READY": VideoList(
                table.OWNER_STATUS_VIDEOS, table.owner_status_videos(TENANT, owner, ready)
            ),
            "of a tag": VideoList(table.TAG_VIDEOS, table.tag_videos(TENANT, "boats"), "boats"),
        }
        found = {}
        for title, videos in lists.items():
            seen = _Seen(client)
            await VideoTable(seen, TABLE).page(videos, limit=PAGE, after=None)
            found[title] = (
                sum(scanned for scanned, _ in seen.reads),
                sum(listed for _, listed in seen.reads),
            )
        return found


@contextmanager
def _environment(url: str) -> Iterator[None]:
    mine = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
