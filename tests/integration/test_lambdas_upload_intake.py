"""An upload on its way from S3 to the queue, through the deployed function and its own role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from emulator import REGION, FunctionError
from intake_stage import (
    BUCKET,
    CLUSTER,
    CONTENT,
    FUNCTION,
    MAX_BYTES,
    QUEUE,
    SERVICE,
    Stage,
    running_stage,
)
from waiting import eventually

from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import is_id, new_id
from media_platform.contract.jobs import REQUESTED_PART, START, TranscodeJob
from media_platform.contract.run import download_part
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus

TENANTS = ("acme", "umbrella")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("emulator")) as found:
        yield found


def test_an_upload_becomes_a_job_and_wakes_a_worker(stage: Stage) -> None:
    stage.rest()
    video = stage.create()
    version_id = stage.upload(video.raw_key)

    (job,) = eventually(lambda: stage.jobs(video.video_id), "the job is in the queue")
    after = stage.video(video.video_id)
    assert after.status is VideoStatus.UPLOADED
    assert after.raw_version_id == version_id
    assert after.current_run is not None
    assert is_id(after.current_run)
    assert after.uploaded_at is not None
    assert job == TranscodeJob(
        video_id=video.video_id,
        run_id=after.current_run,
        tenant="acme",
        bucket=BUCKET,
        key=video.raw_key,
        version_id=version_id,
        size_bytes=len(CONTENT),
        queued_at=after.uploaded_at,
        part=START,
    )
    eventually(lambda: stage.desired_count == 1, "a worker is wanted")
    assert stage.min_capacity == 1, "an alarm's step to zero may not undo it"

    created, uploaded = stage.events(video.video_id)
    assert created.event_type is EventType.VIDEO_CREATED
    assert (uploaded.event_type, uploaded.sequence) == (EventType.VIDEO_UPLOADED, 2)
    assert uploaded.data == {
        "run_id": after.current_run,
        "content_type": "video/mp4",
        "size_bytes": len(CONTENT),
    }


def test_a_standard_queue_takes_the_tenant_as_message_group(stage: Stage) -> None:
    """What is in flight of one tenant holds back neither that tenant nor another."""
    videos_of = {tenant: [stage.create(tenant=tenant) for _ in range(2)] for tenant in TENANTS}
    for video in (video for listed in videos_of.values() for video in listed):
        stage.upload(video.raw_key)
    sqs = stage.emulator.client("sqs")
    groups: dict[str, str] = {}

    def receive_all() -> bool:
        answer = sqs.receive_message(
            QueueUrl=stage.queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=60,
            MessageSystemAttributeNames=["MessageGroupId"],
        )
        for message in answer.get("Messages", ()):
            job = TranscodeJob.from_json(message["Body"])
            groups[job.video_id] = message["Attributes"]["MessageGroupId"]
        return expected.items() <= groups.items()

    expected = {video.video_id: tenant for tenant, found in videos_of.items() for video in found}
    eventually(receive_all, "all jobs are in flight at the same time")


def test_repeats_of_an_event_change_nothing_and_send_the_same_job(stage: Stage) -> None:
    video = stage.create()
    version_id = stage.upload(video.raw_key)
    eventually(
        lambda: stage.video(video.video_id).status is VideoStatus.UPLOADED, "the upload is in"
    )
    first = stage.video(video.video_id)
    outcomes = [stage.invoke(video.raw_key, version_id) for _ in range(3)]
    assert outcomes == ["sent_again"] * 3
    assert stage.video(video.video_id) == first
    assert len(stage.events(video.video_id)) == 2
    jobs = eventually(lambda: stage.jobs(video.video_id), "jobs are in the queue")
    assert len(set(jobs)) == 1


def test_a_job_that_a_crash_lost_is_sent_by_the_retry(stage: Stage) -> None:
    stage.rest()
    video = stage.create()
    # As the crash between the transaction and the send left it.
    version_id = "crash"
    stage.change(
        video,
        status=VideoStatus.UPLOADED,
        raw_version_id=version_id,
        current_run=new_id(),
        uploaded_at=timestamp(),
    )
    assert stage.jobs(video.video_id) == []
    assert stage.invoke(video.raw_key, version_id) == "sent_again"
    assert len(stage.jobs(video.video_id)) == 1
    assert stage.desired_count == 1


def test_a_queue_that_is_away_loses_no_job(stage: Stage) -> None:
    video = stage.create()
    sqs = stage.emulator.client("sqs")
    sqs.delete_queue(QueueUrl=stage.queue_url)
    try:
        version_id = stage.upload(video.raw_key)
        eventually(
            lambda: stage.video(video.video_id).status is VideoStatus.UPLOADED, "the upload is in"
        )
        with pytest.raises(FunctionError, match="NonExistentQueue"):
            stage.invoke(video.raw_key, version_id)
    finally:
        sqs.create_queue(QueueName=QUEUE)
    # Lambda's own retries of the event of S3 find the queue again.
    (job, *_) = eventually(lambda: stage.jobs(video.video_id), "the retry sent the job")
    assert job.run_id == stage.video(video.video_id).current_run
    assert len(stage.events(video.video_id)) == 2


def test_a_worker_service_that_is_away_is_an_error_after_the_job_was_sent(stage: Stage) -> None:
    video = stage.create()
    scaling = stage.emulator.client("application-autoscaling")
    scaling.deregister_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{CLUSTER}/{SERVICE}",
        ScalableDimension="ecs:service:DesiredCount",
    )
    try:
        version_id = stage.upload(video.raw_key)
        with pytest.raises(FunctionError, match="RegisterScalableTarget"):
            stage.invoke(video.raw_key, version_id)
        assert eventually(lambda: stage.jobs(video.video_id), "the job was sent all the same")
    finally:
        stage.register_target(minimum=0)
    stage.emulator.client("ecs").update_service(cluster=CLUSTER, service=SERVICE, desiredCount=0)
    assert stage.invoke(video.raw_key, version_id) == "sent_again"
    assert stage.desired_count == 1


def test_a_larger_number_of_workers_is_left_alone(stage: Stage) -> None:
    stage.emulator.client("ecs").update_service(cluster=CLUSTER, service=SERVICE, desiredCount=3)
    video = stage.create()
    stage.upload(video.raw_key)
    eventually(lambda: stage.jobs(video.video_id), "the job is in the queue")
    eventually(lambda: stage.min_capacity == 1, "the worker was woken")
    assert stage.desired_count == 3


@pytest.mark.parametrize(
    ("content", "content_type", "declared", "code"),
    [
        pytest.param(b"", "video/mp4", 17, "empty_file", id="empty"),
        pytest.param(b"short", "video/mp4", 17, "wrong_size", id="wrong size"),
        pytest.param(b"x" * (MAX_BYTES + 1), "video/mp4", MAX_BYTES + 1, "too_large", id="large"),
        pytest.param(CONTENT, "text/html", len(CONTENT), "wrong_type", id="wrong type"),
    ],
)
def test_an_upload_that_is_not_what_was_announced_fails_with_a_reason(
    stage: Stage, content: bytes, content_type: str, declared: int, code: str
) -> None:
    video = stage.create(size_bytes=declared)
    version_id = stage.upload(video.raw_key, content, content_type=content_type)
    eventually(lambda: stage.video(video.video_id).failure, "the upload is refused")
    after = stage.video(video.video_id)
    assert after.status is VideoStatus.FAILED
    assert after.failure is not None
    assert after.failure.code == code
    assert after.raw_version_id == version_id
    _, failed = stage.events(video.video_id)
    assert failed.event_type is EventType.VIDEO_FAILED
    assert failed.data == {"code": code, "message": after.failure.message}
    assert stage.invoke(video.raw_key, version_id) == "already_taken"
    assert stage.jobs(video.video_id) == []
    assert len(stage.events(video.video_id)) == 2


@pytest.mark.parametrize("status", [VideoStatus.PROCESSING, VideoStatus.DELETED])
def test_a_late_event_does_not_disturb_a_video_that_went_on(
    stage: Stage, status: VideoStatus
) -> None:
    video = stage.create()
    uploaded = stage.change(
        video,
        status=VideoStatus.UPLOADED,
        raw_version_id="v1",
        current_run=new_id(),
        uploaded_at=timestamp(),
    )
    before = stage.change(uploaded, status=status)
    assert stage.invoke(video.raw_key, "v1") == "already_taken"
    assert stage.video(video.video_id) == before
    assert stage.jobs(video.video_id) == []


def test_a_second_version_of_the_object_does_not_count(stage: Stage) -> None:
    video = stage.create()
    stage.upload(video.raw_key)
    eventually(
        lambda: stage.video(video.video_id).status is VideoStatus.UPLOADED, "the upload is in"
    )
    before = stage.video(video.video_id)
    second = stage.upload(video.raw_key)
    assert stage.invoke(video.raw_key, second) == "other_version"
    assert stage.video(video.video_id) == before


def test_a_copy_of_another_home_region_is_ignored(stage: Stage) -> None:
    video = stage.create(home_region="us-west-2")
    version_id = stage.upload(video.raw_key)
    assert stage.invoke(video.raw_key, version_id) == "other_home_region"
    assert stage.video(video.video_id).status is VideoStatus.PENDING
    assert len(stage.events(video.video_id)) == 1


def test_what_is_no_upload_of_a_video_is_dropped(stage: Stage) -> None:
    video = stage.create()
    assert stage.invoke(f"raw/acme/ada/{new_id()}.mp4", "v1") == "unknown_video"
    assert stage.invoke("raw/a b+c%20ü.mp4", "v1") == "bad_key"
    stolen = video.raw_key.replace("/acme/", "/evil/")
    assert stage.invoke(stolen, "v1") == "not_the_key_of_the_video"
    assert stage.video(video.video_id) == video


def test_an_upload_that_is_gone_again_is_dropped(stage: Stage) -> None:
    # Another key first, so that the event of S3 does not take the video in.
    video = stage.create()
    other = stage.create()
    version_id = stage.upload(other.raw_key)
    eventually(
        lambda: stage.video(other.video_id).status is VideoStatus.UPLOADED, "the other is in"
    )
    assert stage.invoke(video.raw_key, version_id) == "gone"
    assert stage.video(video.video_id) == video


def test_uploads_at_the_same_time_are_accepted_once(stage: Stage) -> None:
    video = stage.create()
    version_id = stage.upload(video.raw_key)
    client = stage.emulator.client("lambda")
    payload = json.dumps(stage.event(video.raw_key, version_id)).encode()
    for _ in range(4):
        client.invoke(FunctionName=FUNCTION, InvocationType="Event", Payload=payload)
    assert stage.invoke(video.raw_key, version_id) in {"accepted", "sent_again"}
    after = stage.video(video.video_id)
    jobs = eventually(lambda: stage.jobs(video.video_id), "jobs are in the queue")
    assert {job.run_id for job in jobs} == {after.current_run}
    assert [e.event_type for e in stage.events(video.video_id)] == [
        EventType.VIDEO_CREATED,
        EventType.VIDEO_UPLOADED,
    ]


def told(event_type: EventType, video_id: str, **data: Any) -> dict[str, Any]:
    """Return what SNS calls the function with when something happened to a video."""
    event = DomainEvent(
        event_id=new_id(),
        event_type=event_type,
        video_id=video_id,
        tenant="acme",
        region=REGION,
        sequence=9,
        occurred_at=timestamp(),
        data=data,
    )
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": event.to_json()}}]}


def uploaded_video(stage: Stage) -> Video:
    return stage.change(
        stage.create(), status=VideoStatus.UPLOADED, raw_version_id="v", current_run=new_id()
    )


def test_a_video_that_is_restored_or_transcoded_again_is_started(stage: Stage) -> None:
    restored, ready = uploaded_video(stage), uploaded_video(stage)
    for status in (VideoStatus.PROCESSING, VideoStatus.READY):
        ready = stage.change(ready, status=status)
    again = stage.change(ready, next_run=new_id())
    for video, event_type, run_id in (
        (restored, EventType.VIDEO_RESTORED, restored.current_run),
        (again, EventType.VIDEO_UPDATED, again.next_run),
    ):
        stage.rest()
        for _ in range(2):
            answer = stage.emulator.invoke(FUNCTION, told(event_type, video.video_id))
            assert answer == {"outcome": "started"}
        jobs = stage.jobs(video.video_id)
        assert {(job.run_id, job.bucket, job.part) for job in jobs} == {(run_id, BUCKET, START)}
        assert stage.desired_count == 1, "a worker is wanted"


@pytest.mark.parametrize("run_region", [None, "us-west-2"], ids=["made here", "taken over"])
def test_a_part_that_is_asked_for_becomes_a_job_and_wakes_a_worker(
    stage: Stage, run_region: str | None
) -> None:
    video = stage.change(uploaded_video(stage), run_region=run_region)
    stage.rest()
    event = told(EventType.VIDEO_UPDATED, video.video_id, **{REQUESTED_PART: download_part(720)})
    assert stage.emulator.invoke(FUNCTION, event) == {"outcome": "started"}
    (job,) = stage.further_jobs(video.video_id)
    assert job == TranscodeJob(
        video_id=video.video_id,
        run_id=str(video.current_run),
        tenant="acme",
        bucket=BUCKET,
        key=video.raw_key,
        version_id="v",
        size_bytes=len(CONTENT),
        queued_at=job.queued_at,
        part=download_part(720),
        region=run_region or REGION,
    )
    assert stage.jobs(video.video_id) == []
    assert (stage.desired_count, stage.min_capacity) == (1, 1)


def test_what_asks_for_no_run_starts_none(stage: Stage) -> None:
    pending = stage.create()
    elsewhere = stage.change(uploaded_video(stage), home_region="us-west-2")
    for video_id in (pending.video_id, elsewhere.video_id, new_id()):
        for data in ({}, {REQUESTED_PART: download_part(720)}):
            answer = stage.emulator.invoke(
                FUNCTION, told(EventType.VIDEO_UPDATED, video_id, **data)
            )
            assert answer == {"outcome": "nothing_to_start"}
        assert stage.jobs(video_id) == stage.further_jobs(video_id) == []
