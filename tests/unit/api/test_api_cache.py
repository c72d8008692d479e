from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from media_api.cache import LEASE_SECONDS, CoherentTable, VideoCache, holding
from media_platform.contract import table
from media_platform.contract import video as contract
from media_platform.contract.ids import new_id
from tests.sample_videos import sample_video

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Answers each read when it is told to."""

    def __init__(self) -> None:
        self.reads: asyncio.Queue[asyncio.Future[str | None]] = asyncio.Queue()

    async def load(self) -> str | None:
        read: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.reads.put_nowait(read)
        return await read


def returning(value: str | None) -> Callable[[], Awaitable[str | None]]:
    async def load() -> str | None:
        return value

    return load


async def unread() -> str | None:
    raise AssertionError("it is kept, and was read again")


async def test_a_view_is_kept_from_the_moment_it_was_asked_for() -> None:
    clock, source = Clock(), Source()
    cache: VideoCache[str] = VideoCache(10, clock=clock)
    reading = asyncio.ensure_future(cache.get("v", source.load))
    read = await source.reads.get()
    clock.now += 7
    read.set_result("old")
    assert await reading == "old"
    assert await cache.get("v", unread) == "old"
    clock.now += 3
    assert await cache.get("v", returning("new")) == "new"
    assert (cache.counts.hits, cache.counts.misses) == (1, 2)


async def test_what_is_asked_for_until_the_end_of_its_lease_is_read_again_meanwhile() -> None:
    clock, source = Clock(), Source()
    cache: VideoCache[str] = VideoCache(10, clock=clock)
    await cache.get("v", returning("old"))
    clock.now += 8
    assert await cache.get("v", source.load) == "old"
    read = await source.reads.get()
    clock.now += 1
    assert await cache.get("v", unread) == "old"
    read.set_result("new")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Its own lease began when it was asked for.
    assert await cache.get("v", unread) == "new"
    clock.now += 7
    assert await cache.get("v", returning("newer")) == "new"
    clock.now += 2
    assert await cache.get("v", unread) == "newer"
    assert (cache.counts.hits, cache.counts.misses) == (5, 3)


async def test_a_read_that_a_write_overtakes_replaces_nothing() -> None:
    clock, source = Clock(), Source()
    cache: VideoCache[str] = VideoCache(10, clock=clock)
    await cache.get("v", returning("old"))
    clock.now += 8
    await cache.get("v", source.load)
    read = await source.reads.get()
    async with cache.writing(["v"]):
        pass
    assert await cache.get("v", returning("written")) == "written"
    read.set_result("old")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await cache.get("v", unread) == "written"


@pytest.mark.parametrize("answer", [None, ValueError("the table is away")])
async def test_a_renewal_that_finds_nothing_counts_at_once_and_one_that_fails_does_not(
    answer: Any,
) -> None:
    clock, source = Clock(), Source()
    cache: VideoCache[str] = VideoCache(10, clock=clock)
    await cache.get("v", returning("old"))
    clock.now += 8
    await cache.get("v", source.load)
    read = await source.reads.get()
    if isinstance(answer, ValueError):
        read.set_exception(answer)
    else:
        read.set_result(answer)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await cache.get("v", returning("new")) == ("old" if answer else "new")


async def test_who_comes_after_the_lease_shares_the_read_that_renews_it() -> None:
    clock, source = Clock(), Source()
    cache: VideoCache[str] = VideoCache(10, clock=clock)
    await cache.get("v", returning("old"))
    clock.now += 8
    await cache.get("v", source.load)
    read = await source.reads.get()
    clock.now += 9
    late = asyncio.ensure_future(cache.get("v", unread))
    await asyncio.sleep(0)
    clock.now += 1
    later = asyncio.ensure_future(cache.get("v", source.load))
    (await source.reads.get()).set_result("newer")
    read.set_result("new")
    assert await asyncio.gather(late, later) == ["new", "newer"]
    assert await cache.get("v", unread) == "newer"


async def test_readers_share_one_read_while_its_lease_lasts() -> None:
    clock, source = Clock(), Source()
    cache: VideoCache[str] = VideoCache(10, clock=clock)
    readers = [asyncio.ensure_future(cache.get("v", source.load)) for _ in range(3)]
    read = await source.reads.get()
    readers[0].cancel()
    clock.now += 10
    late = asyncio.ensure_future(cache.get("v", source.load))
    (await source.reads.get()).set_result("new")
    read.set_result("old")
    assert await asyncio.gather(*readers[1:], late) == ["old", "old", "new"]
    assert await cache.get("v", unread) == "new"


@pytest.mark.parametrize("answer", [None, ValueError("the table is away")])
async def test_what_is_not_there_and_what_failed_is_not_kept(answer: Any) -> None:
    source = Source()
    cache: VideoCache[str] = VideoCache()
    reading = asyncio.ensure_future(cache.get("v", source.load))
    read = await source.reads.get()
    if isinstance(answer, ValueError):
        read.set_exception(answer)
        with pytest.raises(ValueError, match="away"):
            await reading
    else:
        read.set_result(answer)
        assert await reading is None
    assert await cache.get("v", returning("there")) == "there"


async def test_what_is_read_during_a_write_is_not_kept() -> None:
    source = Source()
    cache: VideoCache[str] = VideoCache(1000)
    await cache.get("v", returning("before"))
    early = asyncio.ensure_future(cache.get("w", source.load))
    read = await source.reads.get()
    async with cache.writing(["v", "w"]):
        assert await cache.get("v", returning("during")) == "during"
        assert await cache.get("w", returning("during")) == "during"
    read.set_result("early")
    assert await early == "early"
    assert await cache.get("v", returning("after")) == "after"
    assert await cache.get("w", returning("after")) == "after"
    assert await cache.get("w", unread) == "after"


async def test_of_two_writes_at_a_time_the_last_to_end_counts() -> None:
    cache: VideoCache[str] = VideoCache(1000)
    async with cache.writing(["v"]):
        async with cache.writing(["v"]):
            pass
        await cache.get("v", returning("between"))
    assert await cache.get("v", returning("after")) == "after"


async def test_memory_is_bounded() -> None:
    cache: VideoCache[str] = VideoCache(1000)
    for number in range(10_000):
        await cache.get(str(number), returning("x"))
    assert len(cache._entries) <= 4096
    assert await cache.get("9999", unread) == "x"


async def test_nothing_is_kept_without_a_lease() -> None:
    cache: VideoCache[str] = VideoCache(0)
    await cache.get("v", returning("old"))
    assert await cache.get("v", returning("new")) == "new"


class Written:
    """A client of the table that tells what the cache keeps while it writes."""

    def __init__(self, cache: VideoCache[str]) -> None:
        self._cache = cache
        self.seen: list[set[str]] = []

    async def get_item(self, **_request: Any) -> str:
        return "read"

    async def _write(self, **_request: Any) -> None:
        self.seen.append(set(self._cache._writes))

    put_item = update_item = delete_item = transact_write_items = batch_write_item = _write


async def test_every_way_to_write_a_video_is_noticed() -> None:
    cache: VideoCache[str] = VideoCache()
    written = Written(cache)
    client = CoherentTable(written, cache)
    video = sample_video()
    own = {video.video_id}
    key = table.video_key(video.video_id).to_wire()
    change = contract.change("videos", video, region="eu-central-1", title="Another")
    await client.transact_write_items(TransactItems=change.writes)
    await client.update_item(TableName="videos", Key=key)
    await client.delete_item(TableName="videos", Key=key)
    await client.put_item(TableName="videos", Item=video.to_item())
    await client.delete_item(
        TableName="videos", Key=table.run_key(video.video_id, new_id()).to_wire()
    )
    request = {"DeleteRequest": {"Key": key}}
    await client.batch_write_item(RequestItems={"videos": [request]})
    assert written.seen == [own] * 6
    assert await client.get_item() == "read"


async def test_only_what_may_be_kept_is_held_for() -> None:
    cache: VideoCache[str] = VideoCache()
    written = Written(cache)
    client = CoherentTable(written, cache)
    hold = holding()
    video = sample_video()
    await client.transact_write_items(TransactItems=contract.create("videos", video).writes)
    await client.put_item(Item={**table.upload_key(video.video_id).to_wire()})
    await client.put_item(Item={**table.quota_key("acme").to_wire()})
    assert written.seen == [set()] * 3
    assert hold._until == 0

    before = asyncio.get_running_loop().time()
    await asyncio.create_task(client.delete_item(Key=table.video_key(video.video_id).to_wire()))
    assert hold._until >= before + LEASE_SECONDS
    await hold.over()
    assert asyncio.get_running_loop().time() >= before + LEASE_SECONDS


@pytest.mark.parametrize("seed", range(5))
async def test_no_reader_of_any_process_sees_what_was_before_a_write_that_was_answered(
    seed: int,
) -> None:
    """Two processes, their readers and writers, and a table that takes its time."""
    dice = random.Random(seed)  # noqa: S311 - a seed makes a failure come again
    lease = 0.01
    stored = dict.fromkeys("abc", 0)
    answered = dict.fromkeys("abc", 0)
    processes = [VideoCache[int](lease) for _ in range(2)]
    reads = 0

    async def pause() -> None:
        await asyncio.sleep(dice.choice([0, 0, 0.001, 0.004]))

    async def load(video_id: str) -> int:
        await pause()
        version = stored[video_id]
        await pause()
        return version + 1

    async def read() -> None:
        nonlocal reads
        for _ in range(200):
            video_id = dice.choice("abc")
            least = answered[video_id]
            found = await dice.choice(processes).get(video_id, lambda: load(video_id))  # noqa: B023
            assert found is not None
            assert found - 1 >= least
            reads += 1
            await pause()

    async def write() -> None:
        for _ in range(40):
            video_id = dice.choice("abc")
            hold = holding()
            async with dice.choice(processes).writing([video_id]):
                await pause()
                stored[video_id] += 1
                version = stored[video_id]
                await pause()
            await hold.over()
            answered[video_id] = max(answered[video_id], version)
            await pause()

    await asyncio.gather(*(read() for _ in range(8)), *(write() for _ in range(3)))
    assert sum(stored.values()) == 120
    assert sum(cache.counts.hits for cache in processes) > 0
