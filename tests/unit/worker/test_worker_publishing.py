"""What players see while a run is published: by whom, in which order, and never less again."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
from test_worker_planning import SOURCE

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RunKeys
from media_platform.contract.run import SOUND, Part, Rendition, Run, RunStatus, Span, video_part
from media_worker.cancellation import Cancellation
from media_worker.faults import StoppedError, StopReason
from media_worker.objects import FINISHED, GROWING, ObjectChangedError, StoredObject, Upload
from media_worker.planning import make_plan
from media_worker.playlists import (
    Alternative,
    Entry,
    count_entries,
    master_playlist,
    media_playlist,
)
from media_worker.publisher import Listing, Publisher
from media_worker.runs import RunLedger
from media_worker.uploads import Uploader

KEYS = RunKeys("eu-central-1", "acme", "video", "run")
JOB = TranscodeJob(
    video_id="video",
    run_id="run",
    tenant="acme",
    bucket="raw",
    key="raw/acme/ada/film.mp4",
    version_id="1",
    size_bytes=1,
    queued_at="2026-01-01T00:00:00.000Z",
)
PLAN = make_plan(replace(SOURCE, width=854, height=480), 8)
"""A minute at 25 frames a second, in chunks of two segments after a first one of one."""

CHUNKS = len(PLAN.chunks)
LENGTHS = [
    -(-((chunk.end or 1500) - chunk.start) // PLAN.grid.segment_frames) for chunk in PLAN.chunks
]
SEGMENTS = sum(LENGTHS)
VIDEO_LISTS = ("v480/playlist.m3u8", "v360/playlist.m3u8")
LISTS = (*VIDEO_LISTS, "audio/playlist.m3u8")
PATIENCE = 10


class MemoryStore:
    """A bucket in memory that keeps every write, and can hold writes back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.objects: dict[str, Upload] = {}
        self.writes: list[tuple[str, Upload]] = []
        self.before_put: Callable[[str], object] = lambda _: None

    def put(self, upload: Upload) -> None:
        name = upload.key.removeprefix(KEYS.prefix)
        self.before_put(name)
        with self._lock:
            self._put(name, upload)

    def replace(self, upload: Upload, etag: str | None) -> str:
        name = upload.key.removeprefix(KEYS.prefix)
        self.before_put(name)
        with self._lock:
            stored = self.get(upload.key)
            if (stored.etag if stored else None) != etag:
                raise ObjectChangedError(upload.key)
            self._put(name, upload)
        return hashlib.sha256(upload.body).hexdigest()

    def get(self, key: str) -> StoredObject | None:
        upload = self.objects.get(key)
        if upload is None:
            return None
        return StoredObject(upload.body, hashlib.sha256(upload.body).hexdigest())

    def read(self, key: str, start: int, end: int) -> bytes:
        return self.objects[key].body[start:end]

    def sizes(self, prefix: str) -> dict[str, int]:
        return {k: len(u.body) for k, u in self.objects.items() if k.startswith(prefix)}

    def upload(self, upload: Upload, file: Path) -> None:
        self.put(replace(upload, body=file.read_bytes()))

    def text(self, name: str) -> str:
        upload = self.objects.get(f"{KEYS.prefix}{name}")
        return upload.body.decode() if upload else ""

    def versions(self, name: str) -> list[str]:
        return [upload.body.decode() for written, upload in self.writes if written == name]

    def listed(self, name: str) -> list[str]:
        return [line for line in self.text(name).splitlines() if line.endswith(".m4s")]

    def _put(self, name: str, upload: Upload) -> None:
        self.writes.append((name, upload))
        self.objects[upload.key] = upload


class MemoryLedger(RunLedger):
    """A run and its parts in memory; what they mean is decided by the real ledger."""

    def __init__(self) -> None:
        client = boto3.client(
            "dynamodb", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        super().__init__(client, "table", "eu-central-1", 60)
        self.stored = Run(
            video_id="video",
            run_id="run",
            status=RunStatus.RUNNING,
            started_at="now",
            plan="{}",
            chunks=CHUNKS,
            inits={track: f"init-{track}.mp4" for track in ("v480", "v360", "audio")},
            codecs={"v480": "avc1.64001f", "v360": "avc1.64001e", "audio": "mp4a.40.2"},
        )
        self.parts: dict[str, Part] = {}
        self.before_turn: Callable[[], object] = lambda: None

    def run(self, job: TranscodeJob) -> Run | None:  # noqa: ARG002
        return self.stored

    def part(self, job: TranscodeJob, name: str) -> Part | None:  # noqa: ARG002
        return self.parts.get(name)

    def _chunk_page(self, job: TranscodeJob, start: int, end: int) -> list[Part]:  # noqa: ARG002
        names = [video_part(number) for number in range(start, end)]
        return [self.parts[name] for name in names if name in self.parts][:16]

    def take_turn(self, job: TranscodeJob, run: Run) -> Run | None:  # noqa: ARG002
        self.before_turn()
        if self.stored.published_at != run.published_at:
            return None
        self.stored = replace(self.stored, published_at=run.published_at + 1)
        return self.stored

    def note(self, job: TranscodeJob, run: Run, **values: Any) -> bool:  # noqa: ARG002
        if self.stored.published_at != run.published_at:
            return False
        values["renditions"] = (
            tuple(Rendition(**one) for one in values.get("renditions", ()))
            or self.stored.renditions
        )
        self.stored = replace(self.stored, **values)
        return True

    def chunk(self, number: int, *attempts: int, done: bool = True) -> None:
        """Write down a chunk, whose segments were made by ``attempts``."""
        self._set(video_part(number), attempts, done=done)

    def sound(self, *attempts: int, done: bool = False) -> None:
        self._set(SOUND, attempts, done=done)

    def _set(self, name: str, attempts: tuple[int, ...], *, done: bool) -> None:
        spans = tuple(Span(attempt=attempt, segments=1) for attempt in attempts)
        self.parts[name] = Part(video_id="video", run_id="run", name=name, spans=spans, done=done)


class Stand:
    """A run that is published, and as many publishers as there are workers."""

    def __init__(self, publishers: int = 1) -> None:
        self.store, self.ledger = MemoryStore(), MemoryLedger()
        self.playable: list[str] = []
        self.publishers = [
            Publisher(
                plan=PLAN,
                job=JOB,
                keys=KEYS,
                store=self.store,
                ledger=self.ledger,
                interval_seconds=0,
                playable=lambda: self.playable.append("yes"),
            )
            for _ in range(publishers)
        ]

    def advance(self, publisher: int = 0) -> None:
        self.publishers[publisher].advance()

    def lengths(self, name: str = VIDEO_LISTS[0]) -> list[int]:
        return [count_entries(text) for text in self.store.versions(name)]


def uris(*attempts: int) -> list[str]:
    return [f"{attempt}/{index:06d}.m4s" for index, attempt in enumerate(attempts)]


# -- what is listed --------------------------------------------------------------------------------


def test_nothing_is_published_before_every_track_has_a_segment() -> None:
    stand = Stand()
    stand.advance()
    stand.ledger.chunk(0, 1)
    stand.advance()
    stand.ledger.sound()
    stand.advance()
    assert stand.store.writes == []
    assert stand.ledger.stored.playable_at is None


def test_order_lets_players_start_only_with_what_is_there() -> None:
    stand = Stand()
    stand.ledger.chunk(0, 1, done=False)
    stand.ledger.sound(1, 1)
    stand.advance()
    names = [name for name, _ in stand.store.writes]
    assert sorted(names[:-1]) == sorted(LISTS)
    assert names[-1] == "master.m3u8"
    for name in LISTS:
        assert stand.store.listed(name) == uris(1)
        assert f'URI="init-{name.partition("/")[0]}.mp4"' in stand.store.text(name)
    assert "SUBTITLES" not in stand.store.text("master.m3u8")
    run = stand.ledger.stored
    assert run.playable_at is not None
    assert stand.playable == ["yes"]
    assert [(r.height, r.frames, r.codecs) for r in run.renditions] == [
        (480, 100, "avc1.64001f"),
        (360, 100, "avc1.64001e"),
    ]


def test_what_grows_is_not_final() -> None:
    stand = Stand()
    stand.ledger.chunk(0, 1)
    stand.ledger.sound(1, 1)
    stand.advance()
    assert {(u.cache_control, u.final) for _, u in stand.store.writes} == {(GROWING, False)}


def test_chunks_that_overtake_wait_for_those_before() -> None:
    stand = Stand()
    stand.ledger.sound(*[1] * SEGMENTS)
    stand.ledger.chunk(0, 1)
    stand.ledger.chunk(2, 1, 1)
    stand.ledger.chunk(3, 1, 1)
    stand.advance()
    assert stand.store.listed(VIDEO_LISTS[0]) == uris(1)
    stand.ledger.chunk(1, 1, done=False)
    stand.advance()
    assert stand.store.listed(VIDEO_LISTS[0]) == uris(1, 1)
    stand.ledger.chunk(1, 1, 3)
    stand.advance()
    assert stand.store.listed(VIDEO_LISTS[0]) == uris(1, 1, 3, 1, 1, 1, 1)
    assert stand.ledger.stored.joined == 4


def test_sound_is_listed_up_to_the_picture_and_not_to_its_end() -> None:
    stand = Stand()
    stand.ledger.chunk(0, 1)
    stand.ledger.chunk(1, 1, 1)
    listed = []
    for count in range(1, 6):
        stand.ledger.sound(*[1] * count, done=count == 5)
        stand.advance()
        listed.append(len(stand.store.listed("audio/playlist.m3u8")))
    assert listed == [0, 1, 2, 3, 3]


def test_last_segment_waits_for_the_end() -> None:
    """Its length is an estimate until then, and so is the end of the sound."""
    stand = Stand()
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    for number, length in enumerate(LENGTHS):
        stand.ledger.chunk(number, *[1] * length, done=number < CHUNKS - 1)
    stand.advance()
    assert [len(stand.store.listed(name)) for name in LISTS] == [SEGMENTS - 1] * 3
    stand.ledger.chunk(CHUNKS - 1, *[1] * LENGTHS[-1])
    stand.advance()
    assert [len(stand.store.listed(name)) for name in LISTS] == [SEGMENTS - 1] * 3
    assert stand.ledger.stored.progress < 100


def test_every_step_only_adds() -> None:
    stand = Stand()
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    progress = []
    for number, length in enumerate(LENGTHS):
        for count in range(1, length + 1):
            for done in (False, True):
                stand.ledger.chunk(number, *[1] * count, done=done and count == length)
                stand.advance()
                progress.append((stand.ledger.stored.progress, stand.ledger.stored.renditions))
    for name in LISTS:
        for before, after in pairwise(stand.store.versions(name)):
            assert after.startswith(before)
            assert after != before
            assert "ENDLIST" not in after
    percents = [percent for percent, _ in progress]
    assert percents == sorted(percents)
    frames = [renditions[0].frames for _, renditions in progress]
    assert frames == sorted(frames)
    assert stand.playable == ["yes"]


# -- who lists it ----------------------------------------------------------------------------------


def test_many_publishers_write_one_list() -> None:
    stand = Stand(publishers=3)
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    turn = 0
    for number, length in enumerate(LENGTHS):
        for count in range(1, length + 1):
            stand.ledger.chunk(number, *[1] * count, done=count == length)
            stand.advance(turn % 3)
            turn += 1
    for name in LISTS:
        texts = stand.store.versions(name)
        assert all(after.startswith(before) for before, after in pairwise(texts))
        assert count_entries(texts[-1]) == SEGMENTS - 1
    assert stand.playable == ["yes"]


def test_nobody_publishes_out_of_turn() -> None:
    stand = Stand(publishers=2)
    stand.ledger.sound(1, 1)
    stand.ledger.chunk(0, 1)
    stand.ledger.before_turn = once(lambda: stand.advance(1))
    stand.advance(0)
    assert len(stand.store.writes) == len(LISTS) + 1
    assert stand.playable == ["yes"]


def once(action: Callable[[], object]) -> Callable[[], None]:
    left = [action]

    def act() -> None:
        while left:
            left.pop()()

    return act


def test_late_publisher_takes_nothing_back() -> None:
    """It has its turn, and is overtaken before it writes."""
    stand = Stand(publishers=2)
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    stand.ledger.chunk(0, 1)
    behind = threading.Event()
    reached = threading.Event()

    def hold(_: str) -> None:
        if threading.current_thread() is not threading.main_thread() and not overtaking.is_set():
            reached.set()
            assert behind.wait(PATIENCE)

    overtaking = threading.Event()
    stand.store.before_put = hold
    late = threading.Thread(target=stand.advance, args=(0,))
    late.start()
    assert reached.wait(PATIENCE)
    overtaking.set()
    stand.ledger.chunk(1, 1, 2)
    stand.advance(1)
    written = [stand.store.text(name) for name in (*LISTS, "master.m3u8")]
    run = stand.ledger.stored
    behind.set()
    late.join(PATIENCE)
    assert [stand.store.text(name) for name in (*LISTS, "master.m3u8")] == written
    assert stand.ledger.stored == run
    assert stand.playable == ["yes"]


def test_init_segments_are_those_that_stand_when_the_turn_comes() -> None:
    """The run may have been read before a part was begun that is listed."""
    stand = Stand()
    stand.ledger.chunk(0, 1)
    inits = stand.ledger.stored.inits
    stand.ledger.stored = replace(stand.ledger.stored, inits={})

    def note() -> None:
        stand.ledger.stored = replace(stand.ledger.stored, inits=inits)

    stand.ledger.sound(1, 1)
    stand.ledger.before_turn = note
    stand.advance()
    assert 'URI="init-audio.mp4"' in stand.store.text("audio/playlist.m3u8")


def test_lists_are_not_written_more_often_than_allowed() -> None:
    stand = Stand()
    publisher = Publisher(
        plan=PLAN,
        job=JOB,
        keys=KEYS,
        store=stand.store,
        ledger=stand.ledger,
        interval_seconds=3600,
        playable=lambda: None,
    )
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    stand.ledger.chunk(0, 1)
    publisher.advance()
    stand.ledger.stored = replace(stand.ledger.stored, published_at=int(time.time() * 1000))
    stand.ledger.chunk(1, 1, 1)
    assert publisher.advance().joined == 2
    publisher.recorded()
    assert stand.lengths() == [1]
    stand.ledger.stored = replace(stand.ledger.stored, published_at=1)
    publisher.recorded()
    assert stand.lengths() == [1, 3]


def test_run_that_has_ended_is_not_published() -> None:
    stand = Stand()
    stand.ledger.chunk(0, 1)
    stand.ledger.sound(1, 1)
    stand.ledger.stored = replace(stand.ledger.stored, status=RunStatus.FAILED)
    for publish in (stand.publishers[0].advance, stand.publishers[0].recorded):
        with pytest.raises(StoppedError, match="ended"):
            publish()
    assert stand.store.writes == []


# -- the end ---------------------------------------------------------------------------------------

COMPLETE = Listing(picture=(1,) * SEGMENTS, frames=1490, sound=(1,) * SEGMENTS, samples=1490 * 1920)


def finish(stand: Stand, publisher: int = 0, listing: Listing = COMPLETE) -> None:
    stand.publishers[publisher].finish(stand.ledger.stored, listing, "#EXTM3U\n#all\n")


def test_end_is_written_over_what_stands() -> None:
    stand = Stand(publishers=2)
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    for number, length in enumerate(LENGTHS):
        stand.ledger.chunk(number, *[1] * length)
        stand.advance(0)
    finish(stand, 1)
    for name in LISTS:
        before, text = stand.store.versions(name)[-2:]
        assert text.startswith(before)
        assert text.endswith("#EXT-X-ENDLIST\n")
        assert len(stand.store.listed(name)) == SEGMENTS
    # 1490 frames are fourteen segments of 100, and 3.6 seconds.
    assert "#EXTINF:3.600000,\n" in stand.store.text(VIDEO_LISTS[0])
    assert stand.store.text("master.m3u8") == "#EXTM3U\n#all\n"
    for name in (*LISTS, "master.m3u8"):
        last = stand.store.objects[f"{KEYS.prefix}{name}"]
        assert (last.cache_control, last.final) == (FINISHED, True)


def test_end_comes_again_with_the_same() -> None:
    """A worker that comes after one that died in the end does it all again."""
    stand = Stand(publishers=2)
    finish(stand, 0)
    before = {name: stand.store.text(name) for name in LISTS}
    finish(stand, 1)
    assert {name: stand.store.text(name) for name in LISTS} == before


def test_list_that_has_ended_does_not_grow_again() -> None:
    stand = Stand(publishers=2)
    stand.ledger.sound(*[1] * SEGMENTS, done=True)
    for number, length in enumerate(LENGTHS):
        stand.ledger.chunk(number, *[1] * length)
    finish(stand, 0)
    before = {name: stand.store.text(name) for name in LISTS}
    stand.advance(1)
    assert {name: stand.store.text(name) for name in LISTS} == before


def test_video_that_becomes_playable_with_its_end() -> None:
    stand = Stand()
    finish(stand)
    assert stand.ledger.stored.playable_at is not None
    assert stand.playable == ["yes"]
    finish(stand)
    assert stand.playable == ["yes"]


def test_failed_upload_ends_the_job() -> None:
    store = MemoryStore()

    def refuse(name: str) -> None:
        raise OSError(f"no room for {name}")

    store.before_put = refuse
    cancellation = Cancellation()
    uploader = Uploader(store, cancellation, threads=2, max_bytes=1000)
    uploader.submit(Upload(key="k", body=b"b", content_type="x"), lambda: None)
    with pytest.raises(StoppedError):
        uploader.drain()
    uploader.close()
    assert cancellation.reason is StopReason.SIBLING_FAILED
    assert "no room" in str(cancellation.error)


def test_waiting_uploads_hold_the_encoder_back() -> None:
    """At any time no more than the allowed bytes wait, however fast the encoder is."""
    store = MemoryStore()
    submitted, most = threading.Semaphore(0), []

    def hold(_: str) -> None:
        # Two fit; a third could only be submitted once this one is written.
        most.append(submitted.acquire(timeout=PATIENCE))

    store.before_put = hold
    uploader = Uploader(store, Cancellation(), threads=1, max_bytes=100)
    for number in range(6):
        uploader.submit(Upload(key=str(number), body=b"b" * 40, content_type="x"), lambda: None)
        assert number - len(store.writes) < 2
        submitted.release()
    uploader.drain()
    assert len(store.writes) == 6
    assert all(most)
    uploader.close()


def test_stopped_job_does_not_wait_for_uploads() -> None:
    store = MemoryStore()
    go = threading.Event()
    store.before_put = lambda _: go.wait(PATIENCE)
    cancellation = Cancellation()
    uploader = Uploader(store, cancellation, threads=1, max_bytes=10)
    upload = Upload(key="k", body=b"b" * 10, content_type="x")
    uploader.submit(upload, lambda: None)
    threading.Timer(0.05, cancellation.cancel, [StopReason.INTERRUPTED]).start()
    with pytest.raises(StoppedError, match="interrupted"):
        uploader.submit(upload, lambda: None)
    go.set()
    uploader.close()


def test_media_playlist_text() -> None:
    text = media_playlist(
        [Entry("1/000000.m4s", Fraction(4004, 1000)), Entry("1/000001.m4s", Fraction(1, 3))],
        init_uri="1/init.mp4",
        target_duration=4,
        ended=True,
    )
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0",
        '#EXT-X-MAP:URI="1/init.mp4"',
        "#EXTINF:4.004000,",
        "1/000000.m4s",
        "#EXTINF:0.333333,",
        "1/000001.m4s",
        "#EXT-X-ENDLIST",
    ]


RENDITION = Rendition(height=360, width=640, frames=1, bandwidth=800_000, codecs="avc1.64001e")


@pytest.mark.parametrize("audio", [True, False])
def test_master_playlist_text(audio: bool) -> None:
    main = Alternative(track="audio", name='the "main"', language="de", default=True)
    text = master_playlist(
        [RENDITION],
        frame_rate=Fraction(30000, 1001),
        sounds=[main] if audio else [],
        audio_bandwidth=160_000,
    )
    stream = next(line for line in text.splitlines() if line.startswith("#EXT-X-STREAM-INF"))
    if audio:
        assert 'NAME="the main",LANGUAGE="de",DEFAULT=YES' in text
        assert 'URI="audio/playlist.m3u8"' in text
        assert "BANDWIDTH=960000" in stream
        assert 'CODECS="avc1.64001e,mp4a.40.2",AUDIO="sound"' in stream
    else:
        assert "AUDIO" not in text
        assert "BANDWIDTH=800000" in stream
        assert 'CODECS="avc1.64001e"' in stream
    assert "RESOLUTION=640x360,FRAME-RATE=29.970" in stream
    assert text.splitlines()[-1] == "v360/playlist.m3u8"


def test_master_playlist_names_forced_subtitles() -> None:
    forced = Alternative(track="text0", name="signs", language=None, forced=True)
    text = master_playlist(
        [RENDITION], frame_rate=Fraction(25), sounds=[], audio_bandwidth=0, texts=[forced]
    )
    assert (
        'TYPE=SUBTITLES,GROUP-ID="text",NAME="signs",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES' in text
    )
    assert 'CODECS="avc1.64001e",SUBTITLES="text"' in text
