"""Calls that take effect although their answer is lost: a worker knows what it wrote for its own.

A client tries again when an answer does not come, and a conditional write is refused the second
time, since the first one has changed what the condition is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
from botocore.config import Config
from emulator import REGION, running_emulator
from faulty_aws import Fault, FaultPlan, FaultyAws, faulty_aws
from waiting import eventually
from worker_stage import MEDIA, TABLE, Stage, make_clip, make_stage, moving_picture

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import SOUND, Part, Span, video_part
from media_platform.contract.video import VideoStatus
from media_worker.claims import Busy
from media_worker.faults import StoppedError
from media_worker.held import HeldPart
from media_worker.job_queue import JobQueue
from media_worker.objects import ObjectChangedError, S3ObjectStore, Upload
from media_worker.runs import RunLedger

CHUNK = video_part(1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))


@pytest.fixture
def proxy(stage: Stage) -> Iterator[FaultyAws]:
    with faulty_aws(stage.emulator.endpoint, FaultPlan(), seed=1) as made:
        yield made


@pytest.fixture
def session(stage: Stage) -> boto3.session.Session:
    return boto3.session.Session("test", "test", region_name=REGION)


@pytest.fixture
def ledger(session: boto3.session.Session, proxy: FaultyAws) -> RunLedger:
    client = session.client("dynamodb", endpoint_url=proxy.endpoint, config=retrying())
    return RunLedger(client, TABLE, REGION, lease_seconds=60)


@pytest.fixture
def store(session: boto3.session.Session, proxy: FaultyAws) -> S3ObjectStore:
    return S3ObjectStore(
        session.client("s3", endpoint_url=proxy.endpoint, config=retrying()), MEDIA
    )


@pytest.fixture
def job(stage: Stage) -> TranscodeJob:
    return stage.upload(b"film")


def retrying() -> Config:
    return Config(retries={"mode": "standard", "total_max_attempts": 3})


def hold(ledger: RunLedger, job: TranscodeJob, name: str = CHUNK) -> HeldPart:
    held = ledger.claim(job, name)
    assert isinstance(held, HeldPart)
    return held


def upload(text: str) -> Upload:
    return Upload(key="media/list.m3u8", body=text.encode(), content_type="text/plain")


def stored(stage: Stage, job: TranscodeJob, name: str = CHUNK) -> Part:
    return stage.parts(job)[name]


def test_part_that_was_taken_unheard_is_held(
    stage: Stage, ledger: RunLedger, proxy: FaultyAws, job: TranscodeJob
) -> None:
    proxy.strike("PutItem", Fault.LOST)
    held = hold(ledger, job)
    assert held.attempt == 1
    assert held.part == stored(stage, job)
    assert isinstance(ledger.claim(job, CHUNK), Busy)


def test_part_that_was_taken_over_unheard_is_held_once(
    stage: Stage, ledger: RunLedger, proxy: FaultyAws, job: TranscodeJob
) -> None:
    hold(ledger, job).release()
    proxy.strike("UpdateItem", Fault.LOST)
    held = hold(ledger, job)
    assert held.attempt == 2
    assert held.part == stored(stage, job)
    assert isinstance(ledger.claim(job, CHUNK), Busy)


def test_part_that_was_completed_unheard_is_complete(
    stage: Stage, ledger: RunLedger, proxy: FaultyAws, job: TranscodeJob
) -> None:
    held = hold(ledger, job)
    held.record(segments=1, samples=100, key_frames=[(((0, 7), (50, 9)),)])
    proxy.strike("UpdateItem", Fault.LOST)
    held.record(
        segments=2,
        samples=150,
        key_frames=[(((0, 7), (50, 9)),), (((0, 8),),)],
        done=True,
        lease_until=0,
        cpu_seconds=1.25,
    )
    part = stored(stage, job)
    assert part == held.part
    assert (part.done, part.spans, part.samples) == (True, (Span(attempt=1, segments=3),), 250)


def test_sound_that_was_opened_again_unheard_is_held(
    stage: Stage, ledger: RunLedger, proxy: FaultyAws, job: TranscodeJob
) -> None:
    first = hold(ledger, job, SOUND)
    first.record(segments=2, samples=384_000, done=True, lease_until=0)
    proxy.strike("UpdateItem", Fault.LOST)
    spans = (Span(attempt=1, segments=1),)
    again = ledger.reopen(job, first.part, frames=100, spans=spans, samples=192_000)
    assert again is not None
    assert again.part == stored(stage, job, SOUND)
    assert (again.attempt, again.part.done) == (2, False)


def test_part_of_another_worker_is_not_taken_for_ours(
    stage: Stage, ledger: RunLedger, proxy: FaultyAws, job: TranscodeJob
) -> None:
    first = hold(ledger, job)
    first.release()
    second = hold(ledger, job)
    proxy.strike("UpdateItem", Fault.LOST)
    second.record(segments=1, samples=100)
    with pytest.raises(StoppedError):
        first.record(segments=1, samples=100)
    assert stored(stage, job) == second.part


def test_write_that_arrives_late_takes_no_segment_back(
    stage: Stage, ledger: RunLedger, job: TranscodeJob
) -> None:
    held = hold(ledger, job)
    before = held.part
    held.record(segments=1, samples=100)
    early = held.part
    held.record(segments=1, samples=100)
    assert not ledger.write_part(before, early)
    assert stored(stage, job) == held.part


def test_playlist_that_was_replaced_unheard_is_ours(store: S3ObjectStore, proxy: FaultyAws) -> None:
    proxy.strike("PUT /", Fault.LOST)
    etag = store.replace(upload("one"), None)
    proxy.strike("PUT /", Fault.LOST)
    later = store.replace(upload("one, two"), etag)
    found = store.get("media/list.m3u8")
    assert found is not None
    assert (found.etag, found.body) == (later, b"one, two")


def test_refusal_is_understood_though_its_text_is_cut(
    store: S3ObjectStore, proxy: FaultyAws
) -> None:
    store.put(upload("one"))
    proxy.strike("PUT /", Fault.CUT)
    with pytest.raises(ObjectChangedError):
        store.replace(upload("two"), None)


def test_object_is_read_again_when_the_connection_breaks_in_it(
    store: S3ObjectStore, proxy: FaultyAws
) -> None:
    store.put(upload("some text"))
    proxy.strike("GET /", Fault.CUT)
    found = store.get("media/list.m3u8")
    assert found is not None
    assert found.body == b"some text"


def test_message_that_was_deleted_unheard_is_gone(
    stage: Stage, session: boto3.session.Session, proxy: FaultyAws, job: TranscodeJob
) -> None:
    client = session.client("sqs", endpoint_url=proxy.endpoint, config=retrying())
    jobs = JobQueue(client, stage.environment.queue_url, stage.environment.dead_letter_queue_url)
    jobs.send(job)
    message = jobs.receive(wait_seconds=5, hide_seconds=60)
    assert message is not None
    proxy.strike("DeleteMessage", Fault.LOST)
    jobs.delete(message)
    assert stage.left() == 0


def test_messages_that_come_twice_do_not_multiply(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each chunk lets the next one into the queue: every repetition would do so as well."""
    chunks = 11
    clip = make_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4", *moving_picture(4 * chunks, "128x72", 10)
    )
    plan = FaultPlan(twice_within_seconds=1)
    with faulty_aws(stage.emulator.endpoint, plan, seed=1) as proxy:
        cut_off = replace(stage, emulator=replace(stage.emulator, endpoint=proxy.endpoint))
        with cut_off.worker(chunk_seconds=4, visibility_timeout_seconds=6):
            job = stage.upload(clip.read_bytes())
            stage.send(job)
            stage.send(job)
            assert stage.finished(job).status is VideoStatus.READY
            eventually(lambda: proxy.repeated == proxy.sent, "the last message has come twice")
            eventually(lambda: not stage.left(), "the messages are deleted")
        assert proxy.sent == chunks - 1


def test_queue_that_does_not_answer_costs_no_lease(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The message comes back meanwhile: whoever gets it leaves the part to the one who has it."""
    clip = make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", *moving_picture(40, "1280x720"))
    with faulty_aws(stage.emulator.endpoint, FaultPlan(), seed=1) as proxy:
        cut_off = replace(stage, emulator=replace(stage.emulator, endpoint=proxy.endpoint))
        settings = {"visibility_timeout_seconds": 6, "chunk_seconds": 600}
        job = stage.upload(clip.read_bytes())
        stage.send(job)
        with cut_off.worker(**settings) as first:
            eventually(lambda: CHUNK in stage.parts(job), "the long chunk is taken")
            for _ in range(2):
                proxy.strike("ChangeMessageVisibility", Fault.STALLED)
            with stage.worker(**settings):
                assert stage.finished(job).status is VideoStatus.READY
            assert first.said("gave up") is None
    assert {part.attempt for part in stage.parts(job).values()} == {1}
