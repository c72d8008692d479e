"""What players see while a run is published, in which order, and after another attempt."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from test_worker_planning import SOURCE

from media_platform.contract.object_keys import RunKeys
from media_platform.contract.run import Rendition
from media_worker.cancellation import Cancellation
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.objects import ObjectChangedError, StoredObject, Upload
from media_worker.planning import Plan, make_plan
from media_worker.playlists import Entry, master_playlist, media_playlist, read_entries
from media_worker.publisher import Progress, Publisher
from media_worker.segments import Segment
from media_worker.uploads import Uploader

KEYS = RunKeys("eu-central-1", "acme", "video", "run")
PATIENCE = 10


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


INIT = box(b"ftyp") + box(
    b"moov",
    box(
        b"trak",
        box(
            b"mdia",
            box(b"minf", box(b"stbl", box(b"stsd", b"avcC\x01\x64\x00\x1f\xff"))),
        ),
    ),
)


class MemoryStore:
    """A bucket in memory that keeps every write, and can hold writes back."""

    def __init__(self) -> None:
        self._written = threading.Condition()
        self.objects: dict[str, bytes] = {}
        self.writes: list[str] = []
        self.versions: dict[str, list[bytes]] = {}
        self.before_put: Callable[[str], object] = lambda _: None

    def put(self, upload: Upload) -> None:
        name = upload.key.removeprefix(KEYS.prefix)
        self.before_put(name)
        with self._written:
            self.writes.append(name)
            self.versions.setdefault(name, []).append(upload.body)
            self.objects[upload.key] = upload.body
            self._written.notify_all()

    def wait_for(self, look: Callable[[], bool]) -> None:
        with self._written:
            assert self._written.wait_for(look, PATIENCE)

    def replace(self, upload: Upload, etag: str | None) -> str:
        stored = self.get(upload.key)
        if (stored.etag if stored else None) != etag:
            raise ObjectChangedError(upload.key)
        self.put(upload)
        return hashlib.sha256(upload.body).hexdigest()

    def get(self, key: str) -> StoredObject | None:
        body = self.objects.get(key)
        return None if body is None else StoredObject(body, hashlib.sha256(body).hexdigest())

    def text(self, name: str) -> str:
        return self.objects[f"{KEYS.prefix}{name}"].decode()


class Attempt:
    """A publisher with what it needs."""

    def __init__(self, store: MemoryStore, number: int = 1, plan: Plan | None = None) -> None:
        self.plan = plan or make_plan(replace(SOURCE, width=854, height=480))
        self.cancellation = Cancellation()
        self.uploader = Uploader(store, self.cancellation, threads=2, max_bytes=1000)
        self.reports: list[Progress] = []
        self.asked = threading.Event()
        self.publisher = Publisher(
            plan=self.plan,
            keys=KEYS,
            attempt=number,
            store=store,
            uploader=self.uploader,
            cancellation=self.cancellation,
            report=self.reports.append,
            still_ours=self.asked.set,
            interval_seconds=0.01,
        )
        self.publisher.start()

    @property
    def tracks(self) -> list[int | None]:
        return [*range(len(self.plan.rungs)), None]

    def init(self) -> None:
        for track in self.tracks:
            self.publisher.init(track, INIT)

    def segments(self, *indexes: int) -> None:
        for index in indexes:
            for track in self.tracks:
                self.publisher.segment(track, segment(index))

    def finish(self) -> tuple[Rendition, ...]:
        self.uploader.drain()
        try:
            return self.publisher.finish()
        finally:
            self.uploader.close()


def segment(index: int, seconds: int = 4) -> Segment:
    return Segment(index, Fraction(seconds), 25 * seconds, b"s" * 10)


def test_order_lets_players_start_only_with_what_is_there() -> None:
    store = MemoryStore()
    attempt = Attempt(store)
    attempt.init()
    attempt.segments(0)
    assert attempt.publisher.playable.wait(PATIENCE)
    first = {name: store.writes.index(name) for name in store.writes}
    for track in ("v480", "v360", "audio"):
        assert first[f"{track}/1/init.mp4"] < first[f"{track}/playlist.m3u8"]
        assert first[f"{track}/1/000000.m4s"] < first[f"{track}/playlist.m3u8"]
        assert first[f"{track}/playlist.m3u8"] < first["master.m3u8"]
    attempt.segments(1, 2)
    renditions = attempt.finish()
    assert store.writes.count("master.m3u8") == 1
    assert [(r.height, r.frames, r.codecs) for r in renditions] == [
        (480, 300, "avc1.64001f"),
        (360, 300, "avc1.64001f"),
    ]
    assert attempt.reports[-1] == Progress(100, renditions, playable=True)
    percents = [report.percent for report in attempt.reports]
    assert percents == sorted(percents)


def test_playlist_grows_and_never_changes_what_it_said() -> None:
    store = MemoryStore()
    attempt = Attempt(store)
    attempt.init()
    for index in range(5):
        attempt.segments(index)
        attempt.uploader.drain()
    attempt.finish()
    texts = [body.decode() for body in store.versions["v480/playlist.m3u8"]]
    for before, after in pairwise(texts):
        assert after.startswith(before)
    assert [text.count("#EXT-X-ENDLIST") for text in texts] == [0] * (len(texts) - 1) + [1]
    assert all("#EXT-X-PLAYLIST-TYPE:EVENT" in text for text in texts)
    assert len(read_entries(texts[-1])) == 5


def test_segments_that_overtake_wait_for_those_before() -> None:
    store = MemoryStore()
    slow = threading.Event()

    def hold(name: str) -> None:
        if name == "v480/1/000001.m4s":
            assert slow.wait(PATIENCE)

    store.before_put = hold
    attempt = Attempt(store)
    attempt.init()
    attempt.segments(0, 1, 2)
    assert attempt.publisher.playable.wait(PATIENCE)
    assert [e.uri for e in read_entries(store.text("v480/playlist.m3u8"))] == ["1/000000.m4s"]
    slow.set()
    attempt.finish()
    assert len(read_entries(store.text("v480/playlist.m3u8"))) == 3


def test_not_playable_before_every_track_is() -> None:
    attempt = Attempt(MemoryStore())
    attempt.init()
    for track in (0, 1):
        attempt.publisher.segment(track, segment(0))
    attempt.uploader.drain()
    assert attempt.reports == []
    assert not attempt.publisher.playable.is_set()
    attempt.publisher.no_audio()
    assert attempt.publisher.playable.wait(PATIENCE)
    attempt.finish()


def test_gap_is_not_published() -> None:
    attempt = Attempt(MemoryStore())
    attempt.init()
    attempt.segments(0, 2)
    with pytest.raises(TransientError, match="gap after 1 segments"):
        attempt.finish()


def test_later_attempt_never_shortens_what_viewers_have() -> None:
    store = MemoryStore()
    first = Attempt(store)
    first.init()
    first.segments(0, 1, 2)
    first.uploader.drain()
    assert first.publisher.playable.wait(PATIENCE)
    name = "v480/playlist.m3u8"
    store.wait_for(lambda: len(read_entries(store.text(name))) == 3)
    first.publisher.close()

    second = Attempt(store, number=2)
    second.init()
    for index in range(4):
        second.segments(index)
        second.uploader.drain()
    second.finish()
    lengths = [len(read_entries(body.decode())) for body in store.versions[name]]
    assert lengths == sorted(lengths)
    assert lengths[-1] == 4
    uris = [entry.uri for entry in read_entries(store.text(name))]
    assert uris == [f"2/{number:06d}.m4s" for number in range(4)]
    assert "2/init.mp4" in store.text(name)


def test_complete_playlist_of_another_attempt_is_not_reopened() -> None:
    store = MemoryStore()
    for number in (1, 2):
        attempt = Attempt(store, number)
        attempt.init()
        attempt.segments(0, 1)
        attempt.finish()
    ends = ["#EXT-X-ENDLIST" in body.decode() for body in store.versions["v480/playlist.m3u8"]]
    assert ends == sorted(ends)
    assert "2/000001.m4s" in store.text("v480/playlist.m3u8")


def test_attempt_that_was_overtaken_asks_before_it_writes_again() -> None:
    store = MemoryStore()
    attempt = Attempt(store)
    attempt.init()
    attempt.segments(0)
    assert attempt.publisher.playable.wait(PATIENCE)
    attempt.uploader.drain()
    stranger = media_playlist(
        [Entry(f"2/{n}", Fraction(4)) for n in range(9)],
        init_uri="2/init.mp4",
        target_duration=4,
        ended=False,
    )
    store.objects[KEYS.playlist("v480")] = stranger.encode()
    attempt.segments(1)
    assert attempt.asked.wait(PATIENCE)
    attempt.publisher.close()
    assert store.text("v480/playlist.m3u8") == stranger


def test_failed_upload_ends_the_job() -> None:
    store = MemoryStore()

    def refuse(name: str) -> None:
        raise OSError(f"no room for {name}")

    store.before_put = refuse
    attempt = Attempt(store)
    attempt.publisher.poster(b"image")
    with pytest.raises(StoppedError):
        attempt.uploader.drain()
    assert attempt.cancellation.reason is StopReason.SIBLING_FAILED
    assert "no room" in str(attempt.cancellation.error)


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


@pytest.mark.parametrize("audio", [160_000, None])
def test_master_playlist_text(audio: int | None) -> None:
    rendition = Rendition(height=360, width=640, frames=1, bandwidth=800_000, codecs="avc1.64001e")
    text = master_playlist([rendition], frame_rate=Fraction(30000, 1001), audio_bandwidth=audio)
    stream = next(line for line in text.splitlines() if line.startswith("#EXT-X-STREAM-INF"))
    if audio:
        assert 'URI="audio/playlist.m3u8"' in text
        assert "BANDWIDTH=960000" in stream
        assert 'CODECS="avc1.64001e,mp4a.40.2",AUDIO="audio"' in stream
    else:
        assert "AUDIO" not in text
        assert "BANDWIDTH=800000" in stream
        assert 'CODECS="avc1.64001e"' in stream
    assert "RESOLUTION=640x360,FRAME-RATE=29.970" in stream
    assert text.splitlines()[-1] == "v360/playlist.m3u8"
