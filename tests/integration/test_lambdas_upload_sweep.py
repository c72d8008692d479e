"""Uploads and jobs that were left, through the deployed sweep and its own role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from emulator import OTHER_REGION, FunctionError
from intake_stage import (
    BUCKET,
    CONTENT,
    TABLE,
    Stage,
    local_sweeper,
    running_stage,
    stored_time,
    sweep_environment,
)
from waiting import eventually

from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.budget import HELD_BACK, lifted_item
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.run import Run, RunStatus
from media_platform.contract.spend import Spend
from media_platform.contract.times import timestamp
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES, UploadKind
from media_platform.contract.video import Video, VideoStatus
from upload_intake import sweeper

OVERDUE = timedelta(minutes=-1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("emulator")) as found:
        yield found


@pytest.fixture
def deaf(stage: Stage) -> Iterator[None]:
    """No event of S3 arrives while it lasts."""
    events = stage.emulator.client("events")
    events.disable_rule(Name="uploads")
    yield
    events.enable_rule(Name="uploads")


def begin_parts(stage: Stage, key: str) -> str:
    """Begin an upload in parts and send the first."""
    s3 = stage.emulator.client("s3")
    answer = s3.create_multipart_upload(
        Bucket=BUCKET, Key=key, ContentType="video/mp4", ChecksumAlgorithm="SHA256"
    )
    upload_id = str(answer["UploadId"])
    s3.upload_part(
        Bucket=BUCKET,
        Key=key,
        UploadId=upload_id,
        PartNumber=1,
        Body=CONTENT,
        ChecksumAlgorithm="SHA256",
    )
    return upload_id


def aged(stage: Stage, video: Video, age: timedelta) -> Video:
    """Store a video as one that did not change for some time."""
    old = replace(video, updated_at=stored_time(datetime.now(UTC) - age))
    stage.put(old.to_item())
    return old


def uploaded(stage: Stage, age: timedelta) -> Video:
    """Store a video that was taken in some time ago, and whose job nobody has."""
    video = stage.change(
        stage.create(),
        status=VideoStatus.UPLOADED,
        raw_version_id="v1",
        current_run=new_id(),
        uploaded_at=timestamp(),
    )
    return aged(stage, video, age)


def test_there_is_nothing_to_do(stage: Stage) -> None:
    assert stage.sweep() == {}


@pytest.mark.usefixtures("deaf")
def test_an_upload_whose_event_was_lost_is_taken_in(stage: Stage) -> None:
    video = stage.create()
    stage.open_upload(video, due=OVERDUE)
    version_id = stage.upload(video.raw_key)
    assert stage.sweep() == {"taken_in": 1}
    after = stage.video(video.video_id)
    assert (after.status, after.raw_version_id) == (VideoStatus.UPLOADED, version_id)
    assert [job.run_id for job in stage.jobs(video.video_id)] == [after.current_run]
    assert stage.session(video.video_id) is None
    assert stage.sweep() == {}


def test_an_upload_that_is_still_allowed_is_left_alone(stage: Stage) -> None:
    video = stage.create()
    session = stage.open_upload(video)
    upload_id = begin_parts(stage, video.raw_key)
    stage.put(replace(session, upload_id=upload_id).to_item())
    assert stage.sweep() == {}
    assert stage.video(video.video_id) == video
    assert stage.unfinished(video.raw_key) == [upload_id]
    stage.emulator.client("s3").abort_multipart_upload(
        Bucket=BUCKET, Key=video.raw_key, UploadId=upload_id
    )


@pytest.mark.usefixtures("deaf")
def test_a_file_that_never_came_fails_its_video(stage: Stage) -> None:
    video = stage.create()
    session = stage.open_upload(video, due=OVERDUE)
    assert stage.sweep() == {"abandoned": 1}
    after = stage.video(video.video_id)
    assert after.status is VideoStatus.FAILED
    assert after.failure is not None
    assert after.failure.code == "upload_abandoned"
    failed = stage.events(video.video_id)[-1]
    assert failed.event_type is EventType.VIDEO_FAILED
    assert failed.data == {"code": "upload_abandoned", "message": after.failure.message}
    assert stage.sweep() == {}, "it is looked at once more a day later"

    stage.upload(video.raw_key)
    late = stage.session(video.video_id)
    assert late is not None
    assert late.due_at > session.due_at
    stage.put(replace(late, due_at=session.due_at).to_item())
    assert stage.sweep() == {"cleared": 1}
    assert stage.versions(video.raw_key) == []
    assert stage.session(video.video_id) is None
    assert stage.video(video.video_id) == after


def test_an_upload_in_parts_ends_with_it(stage: Stage) -> None:
    video = stage.create(size_bytes=SINGLE_PUT_MAX_BYTES + 1)
    upload_id = begin_parts(stage, video.raw_key)
    session = stage.open_upload(video, due=OVERDUE, upload_id=upload_id)
    assert session.kind is UploadKind.MULTIPART
    assert stage.sweep() == {"abandoned": 1}
    assert stage.unfinished(video.raw_key) == []
    assert stage.video(video.video_id).status is VideoStatus.FAILED


@pytest.mark.usefixtures("deaf")
def test_what_arrives_for_a_video_that_no_longer_waits_is_deleted(stage: Stage) -> None:
    video = stage.create()
    stage.open_upload(video, due=OVERDUE)
    stage.change(video, status=VideoStatus.FAILED, failure=videos.Failure(code="c", message="m"))
    stage.upload(video.raw_key)
    assert stage.sweep() == {"cleared": 1}
    assert stage.versions(video.raw_key) == []
    assert stage.session(video.video_id) is None


@pytest.mark.usefixtures("deaf")
def test_what_arrives_for_a_video_that_is_gone_is_deleted(stage: Stage) -> None:
    video = stage.create()
    stage.open_upload(video, due=OVERDUE)
    stage.upload(video.raw_key)
    stage.emulator.client("dynamodb").delete_item(
        TableName=TABLE, Key=table.video_key(video.video_id).to_wire()
    )
    assert stage.sweep() == {"cleared": 1}
    assert stage.versions(video.raw_key) == []


@pytest.mark.usefixtures("deaf")
def test_a_video_deleted_while_it_waited_cannot_wait_again(stage: Stage) -> None:
    video = stage.create()
    stage.open_upload(video, due=OVERDUE)
    stage.upload(video.raw_key)
    stage.change(video, status=VideoStatus.DELETED, deleted_from=VideoStatus.PENDING)
    assert stage.sweep() == {"cleared": 1}
    after = stage.video(video.video_id)
    assert (after.status, after.deleted_from) == (VideoStatus.DELETED, VideoStatus.FAILED)
    assert after.failure is not None
    assert stage.versions(video.raw_key) == []


def test_a_file_that_was_taken_in_is_kept(stage: Stage) -> None:
    """The session of an earlier release may outlive the intake; the file is the video's."""
    video = stage.create()
    version_id = stage.upload(video.raw_key)
    eventually(lambda: stage.jobs(video.video_id), "the upload is in")
    stage.open_upload(video, due=OVERDUE)
    assert stage.sweep() == {"cleared": 1}
    assert stage.versions(video.raw_key) == [version_id]
    assert stage.session(video.video_id) is None


def test_uploads_of_another_region_are_left_to_it(stage: Stage) -> None:
    video = stage.create(home_region=OTHER_REGION)
    session = stage.open_upload(video, due=OVERDUE)
    assert stage.sweep() == {}
    assert stage.session(video.video_id) == session


def test_parts_that_were_just_begun_may_belong_to_a_video_that_is_being_written(
    stage: Stage,
) -> None:
    unknown = f"raw/acme/ada/{new_id()}.mp4"
    upload_id = begin_parts(stage, unknown)
    assert stage.sweep() == {}
    assert stage.unfinished(unknown) == [upload_id]


def test_parts_of_no_video_are_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour later; the sweep runs in this process, since the emulator has the time of now."""
    unknown, known = f"raw/acme/ada/{new_id()}.mp4", stage.create()
    begin_parts(stage, unknown)
    kept = begin_parts(stage, known.raw_key)
    stage.open_upload(known, upload_id=kept)
    monkeypatch.setattr(sweeper, "BEGINNING", -timedelta(hours=1))
    counted = stage.local_sweeper(monkeypatch).turn(lambda: True)
    assert counted["aborted"] >= 1
    assert stage.unfinished(unknown) == []
    assert stage.unfinished(known.raw_key) == [kept]


def test_a_lost_job_is_sent_again_and_a_worker_woken(stage: Stage) -> None:
    stage.rest()
    video = uploaded(stage, timedelta(minutes=6))
    assert stage.sweep() == {"sent_again": 1}
    (job,) = stage.jobs(video.video_id)
    assert (job.run_id, job.version_id) == (video.current_run, "v1")
    assert stage.desired_count == 1
    assert stage.video(video.video_id) == video
    stage.change(video, status=VideoStatus.DELETED)


def test_a_job_that_waits_for_its_turn_is_not_sent_again_every_time(stage: Stage) -> None:
    waiting = [uploaded(stage, timedelta(minutes=m)) for m in (1, 16, 36)]
    assert stage.sweep() == {}
    for video in waiting:
        stage.change(video, status=VideoStatus.DELETED)


def test_a_run_that_a_worker_took_is_left_to_it(stage: Stage) -> None:
    video = uploaded(stage, timedelta(minutes=6))
    run = Run(
        video_id=video.video_id,
        run_id=video.current_run or "",
        status=RunStatus.RUNNING,
        started_at=timestamp(),
    )
    stage.put(run.to_item())
    assert stage.sweep() == {}
    stage.change(video, status=VideoStatus.DELETED)


def test_the_job_of_another_run_of_a_ready_video_is_sent_again(stage: Stage) -> None:
    video = uploaded(stage, timedelta(0))
    for status in (VideoStatus.PROCESSING, VideoStatus.READY):
        video = stage.change(video, status=status)
    video = stage.change(video, next_run=new_id(), profile=Profile.UP_TO_480, quality=Quality.HIGH)
    aged(stage, video, timedelta(minutes=6))
    assert stage.sweep() == {"sent_again": 1}
    (job,) = stage.jobs(video.video_id)
    assert (job.run_id, job.profile, job.quality) == (
        video.next_run,
        Profile.UP_TO_480,
        Quality.HIGH,
    )
    stage.change(stage.video(video.video_id), status=VideoStatus.DELETED, next_run=None)


@pytest.mark.usefixtures("deaf")
def test_one_that_cannot_be_read_does_not_stop_the_others(stage: Stage) -> None:
    broken, video = stage.create(), stage.create()
    item = stage.open_upload(broken, due=OVERDUE).to_item()
    del item["kind"]
    stage.put(item)
    stage.open_upload(video, due=OVERDUE)
    with pytest.raises(FunctionError, match="1 of 2 pieces of work"):
        stage.sweep()
    assert stage.video(video.video_id).status is VideoStatus.FAILED
    stage.emulator.client("dynamodb").delete_item(
        TableName=TABLE, Key=table.upload_key(broken.video_id).to_wire()
    )


def held_back(stage: Stage, cpu_seconds: float, *, day: str) -> Video:
    """Store a video that waits for its tenant's budget, and what the tenant spent on a day."""
    video = stage.change(uploaded(stage, timedelta(0)), held_back=HELD_BACK)
    spend = Spend(
        tenant=video.tenant,
        video_id=new_id(),
        run_id=new_id(),
        region=video.home_region,
        day=day,
        status=RunStatus.COMPLETE,
        cpu_seconds=cpu_seconds,
    )
    stage.put(spend.to_item())
    return video


def test_a_video_that_waits_for_the_budget_of_its_tenant_begins_on_the_next_day(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = replace(sweep_environment(stage.queue_url, {}), max_tenant_daily_cpu_seconds=100)
    sweep = local_sweeper(stage.emulator, environment, monkeypatch)
    today = timestamp()[:10]
    video = held_back(stage, 100.0, day=today)
    aged(stage, video, timedelta(minutes=6))
    assert sweep.turn(lambda: True)["sent_again"] == 0
    assert stage.jobs(video.video_id) == []
    assert stage.video(video.video_id).held_back == HELD_BACK

    stage.put(lifted_item(video.tenant, at=timestamp()))
    assert sweep.turn(lambda: True)["sent_again"] == 1
    (job,) = stage.jobs(video.video_id)
    assert job.run_id == video.current_run
    assert stage.video(video.video_id).held_back is None
    # From then on it is one that waits for a worker, and is not sent again at once.
    assert sweep.turn(lambda: True)["sent_again"] == 0
    stage.change(stage.video(video.video_id), status=VideoStatus.DELETED)


def test_without_a_budget_none_waits(stage: Stage) -> None:
    video = held_back(stage, 1e6, day=timestamp()[:10])
    assert stage.sweep() == {"sent_again": 1}
    assert stage.video(video.video_id).held_back is None
    stage.change(stage.video(video.video_id), status=VideoStatus.DELETED)
