"""What is done on request: downloads, another transcoding, a VMAF sample, a bound per tenant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import pytest
from emulator import REGION
from waiting import eventually
from worker_outcome import assert_complete, decode, stored_run
from worker_stage import MEDIA, TABLE, Stage, make_clip, moving_picture
from worker_wire import wire_to

from media_platform.contract import metrics
from media_platform.contract.budget import lifted_item
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.run import Part, RunStatus, download_part
from media_platform.contract.spend import Spend
from media_platform.contract.times import timestamp
from media_platform.contract.video import VideoStatus
from media_worker.download import disposition

SECONDS = 20


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    return shared_stage.with_own_queues()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, *moving_picture(SECONDS)).read_bytes()


def test_download_has_every_frame_and_its_index_first(
    stage: Stage, clip: bytes, tmp_path: Path
) -> None:
    with stage.worker() as worker:
        job = stage.upload(clip)
        stage.send(job)
        stage.finished(job)
        download = job.for_part(download_part(180))
        part = Part(video_id=job.video_id, run_id=job.run_id, name=download.part, attempt=0)
        stage.put(part)
        stage.send(download)
        stage.send(download)
        eventually(lambda: stored_run(stage, job).downloads == (180,), "the download is noted")
        eventually(lambda: not stage.left(), "the messages are deleted")
        assert sum(line.get("message") == "download made" for line in worker.log()) == 1
    stored = stage.emulator.client("s3").get_object(Bucket=MEDIA, Key=stage.keys(job).download(180))
    assert stored["ContentType"] == "video/mp4"
    assert stored["ContentDisposition"] == disposition(stage.video(job).file_name, 180)
    assert (made := stage.parts(job)[download.part]).done
    assert made.attempt == 1
    file = tmp_path / "download.mp4"
    file.write_bytes(stored["Body"].read())
    assert file.read_bytes().index(b"moov") < file.read_bytes().index(b"mdat")
    with av.open(file) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        frames = list(container.decode(video))
        assert len(frames) == SECONDS * 25
        assert frames[0].pts == 0
        assert sound.duration is not None
        assert sound.time_base is not None
        assert abs(float(sound.duration * sound.time_base) - SECONDS) < 0.05


def test_download_that_is_given_up_is_told_and_made_when_asked_again(
    stage: Stage, clip: bytes
) -> None:
    with wire_to(stage.emulator.endpoint) as wire, stage.worker(wire=wire, max_failures=1):
        job = stage.upload(clip)
        stage.send(job)
        before = stage.finished(job)
        download = job.for_part(download_part(180))
        wire.refuse = lambda call: call.puts("180p.mp4")
        stage.send(download)
        eventually(lambda: not stage.left(), "the message is deleted")
        ((letter, _),) = stage.letters()
        assert letter == download
        failed = stage.parts(job)[download.part]
        assert failed.failure is not None
        assert (failed.failure.code, failed.done) == ("processing_failed", False)
        assert stage.video(job) == before
        assert stored_run(stage, job).status is RunStatus.COMPLETE

        wire.refuse = lambda _: False
        stage.put(replace(failed, failures=0, failure=None, lease_until=0))
        stage.send(download)
        eventually(lambda: stage.parts(job)[download.part].done, "the download is made")
    made = stage.parts(job)[download.part]
    assert (made.failure, made.attempt) == (None, failed.attempt + 1)


def test_download_of_what_is_not_there_is_dropped(stage: Stage, clip: bytes) -> None:
    with stage.worker() as worker:
        job = stage.upload(clip)
        stage.send(job.for_part(download_part(180)))
        eventually(lambda: not stage.left(), "the message is deleted")
        assert "not ready" in worker.wait_for("nothing to do")["why"]
        stage.send(job)
        stage.finished(job)
        stage.send(job.for_part(download_part(1080)))
        eventually(lambda: not stage.left(), "the message is deleted")
    assert stored_run(stage, job).downloads == ()


def test_another_transcoding_disturbs_no_viewer(stage: Stage, clip: bytes) -> None:
    with stage.worker():
        job = stage.upload(clip)
        stage.send(job)
        stage.finished(job)
        before = set(stage.objects(job))
        again = stage.transcode_again(job)
        stage.send(again)
        eventually(lambda: stage.run(again) is not None, "the second run has begun")
        video = stage.video(job)
        if stored_run(stage, again).status is RunStatus.RUNNING:
            assert (video.status, video.current_run) == (VideoStatus.READY, job.run_id)
        eventually(lambda: stage.video(job).current_run == again.run_id, "the runs are switched")
        eventually(lambda: not stage.left(), "the messages are deleted")
    video = stage.video(job)
    assert (video.status, video.next_run) == (VideoStatus.READY, None)
    assert set(stage.objects(job)) == before
    assert decode(stage.download(again) / "v180/playlist.m3u8") == SECONDS * 25
    purge = stage.purge(job)
    assert purge is not None
    assert (purge.run_id, purge.tenant, purge.region) == (job.run_id, "acme", REGION)
    assert purge.due_at > timestamp()


def test_another_transcoding_that_fails_leaves_what_viewers_have(stage: Stage, clip: bytes) -> None:
    with stage.worker():
        job = stage.upload(clip)
        stage.send(job)
        stage.finished(job)
    with stage.worker(max_duration_seconds=SECONDS // 2):
        again = stage.transcode_again(job)
        stage.send(again)
        eventually(
            lambda: (run := stage.run(again)) and run.status is RunStatus.FAILED, "the run fails"
        )
    video = stage.video(job)
    assert (video.status, video.current_run) == (VideoStatus.READY, job.run_id)
    assert (video.next_run, video.failure) == (None, None)
    last = stage.events(job)[-1]
    assert (last.event_type.value, last.data["code"]) == ("VideoUpdated", "too_long")


@pytest.fixture(scope="module")
def large_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("large") / "clip.mp4"
    return make_clip(path, *moving_picture(1, "1280x720", 10)).read_bytes()


@pytest.mark.parametrize(
    ("profile", "heights"),
    [
        (Profile.AUTO, [720, 480, 360]),
        (Profile.UP_TO_1080, [720, 480, 360]),
        (Profile.UP_TO_720, [720, 480, 360]),
        (Profile.UP_TO_480, [480, 360]),
        (Profile.UP_TO_360, [360]),
    ],
)
def test_run_has_the_rungs_of_its_profile(
    stage: Stage, large_clip: bytes, profile: Profile, heights: list[int]
) -> None:
    with stage.worker():
        job = replace(stage.upload(large_clip), profile=profile)
        stage.send(job)
        # libavformat reads a manifest of a single segment again and again.
        folder = assert_complete(stage, job, frames=10, rate=10, every_list=False)
    assert [one.height for one in stored_run(stage, job).renditions] == heights
    assert {path.name for path in folder.glob("v*")} == {f"v{height}" for height in heights}


def test_high_quality_takes_more_bits_in_every_chunk(stage: Stage, clip: bytes) -> None:
    with stage.worker():
        job = stage.upload(clip)
        stage.send(job)
        assert_complete(stage, job, frames=SECONDS * 25)
        high = replace(stage.transcode_again(job), quality=Quality.HIGH)
        stage.send(high)
        assert_complete(stage, high, frames=SECONDS * 25)
    usual, better = (
        {
            key.rpartition("/")[2]: head["ContentLength"]
            for key, head in stage.objects(one).items()
            if key.startswith("v180/") and key.endswith(".m4s")
        }
        for one in (job, high)
    )
    assert usual.keys() == better.keys()
    assert all(better[name] > size for name, size in usual.items())
    (before,), (after,) = (stored_run(stage, one).renditions for one in (job, high))
    assert after.bandwidth == before.bandwidth * 3 // 2


def test_quality_is_measured_if_asked_for(stage: Stage, clip: bytes) -> None:
    with stage.worker(measure_quality=1):
        job = stage.upload(clip)
        stage.send(job)
        assert stage.finished(job).status is VideoStatus.READY
    quality = stored_run(stage, job).quality
    assert quality is not None
    assert set(quality) == {"180"}
    assert 60 < quality["180"] <= 100


def test_tenant_gets_no_more_than_its_slots(stage: Stage, tmp_path: Path) -> None:
    # Each chunk that finds no slot costs a wait of its own, so there are few.
    clip = make_clip(tmp_path / "clip.mp4", *moving_picture(9)).read_bytes()
    with stage.worker(max_tenant_parts=1), stage.worker(max_tenant_parts=1):
        jobs = [stage.upload(clip) for _ in range(2)]
        for job in jobs:
            stage.send(job)
        most = 0

        def all_ready() -> bool:
            nonlocal most
            held = [
                part
                for job in jobs
                for part in stage.parts(job).values()
                if part.lease_until and not part.done and part.name.startswith("video#")
            ]
            most = max(most, len(held))
            return all(stage.video(job).status is VideoStatus.READY for job in jobs)

        eventually(all_ready, "both videos are ready")
        assert most == 1


def test_what_a_tenant_may_not_begin_today_waits_and_costs_no_retries(
    stage: Stage, clip: bytes
) -> None:
    tenant = f"spender-{new_id()[-12:]}"
    first, second = (stage.upload(clip, tenant=tenant) for _ in range(2))
    dynamodb = stage.emulator.client("dynamodb")
    with stage.worker(max_tenant_daily_cpu_seconds=1) as worker:
        stage.send(first)
        # What has begun goes on to its end, although it takes all of the budget.
        assert stage.finished(first).status is VideoStatus.READY
        run = stored_run(stage, first)
        spend = Spend.expected(run, tenant=tenant, region=REGION, megapixels=1000)
        dynamodb.put_item(TableName=TABLE, Item=spend.to_item())
        stage.send(second)
        eventually(lambda: stage.video(second).held_back, "the video waits")
        eventually(lambda: stage.left() == 0, "no message is left in the queue")
        assert stage.letters() == []
        (told,) = [line for line in worker.log() if metrics.TRANSCODES_HELD_BACK in line]
        assert told[metrics.TRANSCODES_HELD_BACK] == 1

        dynamodb.put_item(TableName=TABLE, Item=lifted_item(tenant, at=timestamp()))
        stage.send(second)
        video = stage.finished(second)
        assert (video.status, video.held_back) == (VideoStatus.READY, None)
