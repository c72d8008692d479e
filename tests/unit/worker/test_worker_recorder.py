"""A segment counts once it is uploaded in every track of its part, and never a moment before."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import boto3
import pytest
from test_worker_publishing import JOB, KEYS, PATIENCE, MemoryStore

from media_platform.contract.run import Part, Span, video_part
from media_worker.cancellation import Cancellation
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.held import HeldPart
from media_worker.recorder import Recorder, init_name
from media_worker.runs import RunLedger
from media_worker.segments import Segment
from media_worker.uploads import Uploader

TRACKS = ("v480", "v360")
KEY_FRAMES = ((0, 3), (5, 2))
FRAMES = 100


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def init_of(level: bytes) -> bytes:
    """Return an init segment that says which codec follows."""
    description = box(b"stsd", b"avcC\x01\x64\x00", level, b"\xff")
    media = box(b"mdia", box(b"minf", box(b"stbl", description)))
    return box(b"ftyp") + box(b"moov", box(b"trak", media))


INITS = (init_of(b"\x1f"), init_of(b"\x1e"))


class MemoryLedger(RunLedger):
    """Keeps parts and inits in memory, and what was uploaded whenever something was written."""

    def __init__(self, store: MemoryStore) -> None:
        client = boto3.client(
            "dynamodb", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        super().__init__(client, "table", "eu-central-1", 60)
        self._store = store
        self.changed = threading.Condition()
        self.parts: list[Part] = []
        self.inits: dict[str, str] = {}
        self.codecs: dict[str, str] = {}
        self.stored: list[set[str]] = []
        self.refuse: Exception | None = None
        self.fenced = False

    def write_part(self, before: Part, after: Part) -> bool:  # noqa: ARG002
        if self.fenced:
            return False
        with self.changed:
            self.parts.append(after)
            self.stored.append(names(self._store))
            self.changed.notify_all()
        return True

    def note_inits(self, job: Any, inits: Any, codecs: Any) -> None:  # noqa: ARG002
        if self.refuse:
            raise self.refuse
        assert {f"{track}/{name}" for track, name in inits.items()} <= names(self._store)
        self.inits, self.codecs = {**self.inits, **inits}, {**self.codecs, **codecs}

    def wait_for(self, segments: int) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: bool(self.parts) and self.parts[-1].segments >= segments, PATIENCE
            )


def names(store: MemoryStore) -> set[str]:
    return {key.removeprefix(KEYS.prefix) for key in list(store.objects)}


class Attempt:
    """A recorder with what it needs."""

    def __init__(self, part: Part, *, first_segment: int = 0) -> None:
        self.store = MemoryStore()
        self.ledger = MemoryLedger(self.store)
        self.held = HeldPart(self.ledger, JOB, part)
        self.cancellation = Cancellation()
        self.told = threading.Semaphore(0)
        self.uploader = Uploader(self.store, self.cancellation, threads=4, max_bytes=1000)
        self.recorder = Recorder(
            self.held,
            self.ledger,
            tracks=TRACKS,
            picture=True,
            first_segment=first_segment,
            keys=KEYS,
            uploader=self.uploader,
            cancellation=self.cancellation,
            recorded=self.told.release,
        )

    def inits(self) -> None:
        for track, data in enumerate(INITS):
            self.recorder.init(track, data)

    def segments(self, *indexes: int, tracks: tuple[int, ...] = (0, 1)) -> None:
        for index in indexes:
            for track in tracks:
                self.recorder.segment(track, segment(index))


def segment(index: int, samples: int = FRAMES) -> Segment:
    return Segment(index, Fraction(samples, 25), samples, b"segments", KEY_FRAMES)


PART = Part(video_id="video", run_id="run", name=video_part(3), attempt=1)


@contextmanager
def attempt(part: Part = PART, *, first_segment: int = 0) -> Iterator[Attempt]:
    made = Attempt(part, first_segment=first_segment)
    try:
        with made.recorder:
            yield made
    finally:
        made.uploader.close()


def test_records_name_only_what_is_uploaded() -> None:
    with attempt() as made:
        made.inits()
        for index in range(4):
            made.segments(index)
            made.ledger.wait_for(index + 1)
            assert made.told.acquire(timeout=PATIENCE)
        made.recorder.finish(texts=("text0/1/a.vtt",))
    for part, stored in zip(made.ledger.parts, made.ledger.stored, strict=True):
        for index in range(part.segments):
            assert {f"{track}/1/{index:06d}.m4s" for track in TRACKS} <= stored
        assert part.samples == FRAMES * part.segments
        assert part.key_frames == ((KEY_FRAMES, KEY_FRAMES),) * part.segments
    last = made.ledger.parts[-1]
    assert (last.done, last.lease_until, last.texts) == (True, 0, ("text0/1/a.vtt",))
    assert last.spans == (Span(attempt=1, segments=4),)
    assert not any(part.done for part in made.ledger.parts[:-1])


def test_init_segments_are_named_by_what_they_say() -> None:
    with attempt() as made:
        made.inits()
        made.segments(0)
        made.recorder.finish()
    assert made.ledger.inits == {
        track: init_name(data) for track, data in zip(TRACKS, INITS, strict=True)
    }
    assert made.ledger.codecs == {"v480": "avc1.64001f", "v360": "avc1.64001e"}
    assert len(set(made.ledger.inits.values())) == 2
    assert init_name(INITS[0]) == init_name(bytes(INITS[0]))


def test_segment_waits_for_all_tracks_and_for_those_before() -> None:
    with attempt() as made:
        made.inits()
        made.segments(0, 1, 2, tracks=(0,))
        made.segments(1, 2, tracks=(1,))
        made.uploader.drain()
        assert made.ledger.parts == []
        made.segments(0, tracks=(1,))
        made.ledger.wait_for(3)
        assert [part.segments for part in made.ledger.parts] == [3]


def hold_back(made: Attempt, name: str) -> Callable[[], None]:
    go = threading.Event()

    def hold(written: str) -> None:
        if written == name:
            assert go.wait(PATIENCE)

    made.store.before_put = hold
    return go.set


def test_segment_waits_for_the_init_segments() -> None:
    with attempt() as made:
        let_go = hold_back(made, f"v360/{init_name(INITS[1])}")
        made.inits()
        made.segments(0, 1)
        assert made.ledger.parts == []
        let_go()
        made.ledger.wait_for(2)


def test_slow_upload_holds_back_what_follows() -> None:
    with attempt() as made:
        let_go = hold_back(made, "v360/1/000001.m4s")
        made.inits()
        made.segments(0, 1, 2)
        made.ledger.wait_for(1)
        assert made.ledger.parts[-1].segments == 1
        let_go()
        made.ledger.wait_for(3)


def test_who_takes_over_writes_only_what_is_missing() -> None:
    begun = replace(PART, attempt=2, spans=(Span(attempt=1, segments=2),), samples=200)
    with attempt(begun, first_segment=13) as made:
        made.inits()
        made.segments(13, 14, 15, 16)
        made.recorder.finish()
    written = {name for name in names(made.store) if name.endswith(".m4s")}
    assert written == {f"{track}/2/{index:06d}.m4s" for track in TRACKS for index in (15, 16)}
    last = made.ledger.parts[-1]
    assert last.spans == (Span(attempt=1, segments=2), Span(attempt=2, segments=2))
    assert last.samples == 400


def test_nothing_is_left_to_record_but_that_all_is_done() -> None:
    complete = replace(PART, attempt=2, spans=(Span(attempt=1, segments=2),), samples=150)
    with attempt(complete) as made:
        made.recorder.finish()
    (part,) = made.ledger.parts
    assert part.done
    assert part.spans == complete.spans
    assert made.store.writes == []


def test_stopped_job_records_nothing_more() -> None:
    with attempt() as made:
        made.inits()
        made.segments(0)
        made.ledger.wait_for(1)
        made.cancellation.cancel(StopReason.INTERRUPTED)
        with pytest.raises(StoppedError, match="interrupted"):
            made.segments(1)
        with pytest.raises(StoppedError, match="interrupted"):
            made.recorder.finish()
    assert [part.segments for part in made.ledger.parts] == [1]
    assert not made.ledger.parts[-1].done


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (TransientError("the init segment of v480 is another"), StopReason.SIBLING_FAILED),
        (StoppedError(StopReason.SETTLED), StopReason.SETTLED),
    ],
)
def test_inits_that_are_refused_end_the_job(fault: Exception, reason: StopReason) -> None:
    with attempt() as made:
        made.ledger.refuse = fault
        made.inits()
        made.segments(0)
        with pytest.raises((StoppedError, TransientError)):
            made.recorder.finish()
    assert made.ledger.parts == []
    if made.cancellation.reason is not None:
        assert made.cancellation.reason is reason


def test_part_that_was_lost_ends_the_job() -> None:
    with attempt() as made:
        made.ledger.fenced = True
        made.inits()
        made.segments(0)
        with pytest.raises(StoppedError, match="fence lost"):
            made.recorder.finish()
    assert made.ledger.parts == []


def test_upload_that_fails_ends_the_job() -> None:
    with attempt() as made:

        def refuse(name: str) -> None:
            if name.endswith("000001.m4s"):
                raise OSError("no room")

        made.store.before_put = refuse
        made.inits()
        made.segments(0)
        made.ledger.wait_for(1)
        made.recorder.segment(0, segment(1))
        with pytest.raises(StoppedError):
            made.recorder.finish()
    assert "no room" in str(made.cancellation.error)
    assert [part.segments for part in made.ledger.parts] == [1]
