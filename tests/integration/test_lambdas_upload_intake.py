"""An upload on its way from S3 to the queue, through the deployed function and its own role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from emulator import ACCOUNT, REGION, Emulator, FunctionError, allow, running_emulator
from waiting import eventually

from media_platform.assets import Service
from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.environment import UploadIntakeEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent, EventType
from media_platform.contract.ids import is_id, new_id
from media_platform.contract.items import from_item
from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.object_keys import RawKey
from media_platform.contract.video import Video, VideoStatus

FUNCTION = "intake"
BUCKET = "raw-uploads"
TABLE = "videos"
QUEUE = "express-jobs"
CLUSTER = "workers"
SERVICE = "worker"
QUEUE_URL_PATH = f"{ACCOUNT}/{QUEUE}"
MAX_BYTES = 1000
TENANTS = ("acme", "umbrella")
CONTENT = b"not really a film"


@dataclass(frozen=True)
class Stage:
    """What the function touches, and how tests look at it."""

    emulator: Emulator
    queue_url: str

    def create(self, **changes: Any) -> Video:
        """Create a video that waits for its upload."""
        video_id = new_id()
        tenant = str(changes.get("tenant", "acme"))
        key = RawKey(tenant=tenant, user="ada", video_id=video_id, extension="mp4")
        now = videos.timestamp()
        values: dict[str, Any] = {
            "video_id": video_id,
            "tenant": "acme",
            "owner": "ada",
            "home_region": REGION,
            "title": "Title",
            "file_name": "a film.mp4",
            "content_type": "video/mp4",
            "size_bytes": len(CONTENT),
            "raw_key": str(key),
            "created_at": now,
            "updated_at": now,
        }
        created = videos.create(TABLE, Video(**{**values, **changes}))
        self.emulator.client("dynamodb").transact_write_items(TransactItems=created.writes)
        return created.video

    def upload(self, key: str, content: bytes = CONTENT, *, content_type: str = "video/mp4") -> str:
        """Put an object as a client does, and return its version."""
        answer = self.emulator.client("s3").put_object(
            Bucket=BUCKET, Key=key, Body=content, ContentType=content_type
        )
        return str(answer["VersionId"])

    def event(self, key: str, version_id: str, **changes: Any) -> dict[str, Any]:
        """Return the event that EventBridge sends for an object version."""
        return {
            "version": "0",
            "id": "b7a8d6a2-1d1e-4d4e-9a7e-111111111111",
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": ACCOUNT,
            "time": "2026-11-21T09:00:00Z",
            "region": REGION,
            "resources": [f"arn:aws:s3:::{BUCKET}"],
            "detail": {
                "version": "0",
                "bucket": {"name": BUCKET},
                "object": {"key": key, "size": len(CONTENT), "version-id": version_id},
                "reason": "PutObject",
            },
            **changes,
        }

    def invoke(self, key: str, version_id: str) -> str:
        """Invoke the function with an event and return the outcome."""
        answer = self.emulator.invoke(FUNCTION, self.event(key, version_id))
        return str(answer["outcome"])

    def video(self, video_id: str) -> Video:
        """Read a video."""
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=table.video_key(video_id).to_wire(), ConsistentRead=True
        )
        return Video.from_item(answer["Item"])

    def change(self, video: Video, **changes: Any) -> Video:
        """Change a video as another service would."""
        change = videos.change(TABLE, video, region=REGION, **changes)
        self.emulator.client("dynamodb").transact_write_items(TransactItems=change.writes)
        return change.video

    def events(self, video_id: str) -> list[DomainEvent]:
        """Return the events of a video in their order."""
        answer = self.emulator.client("dynamodb").query(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={
                ":pk": {"S": table.video_partition(video_id)},
                ":sk": {"S": table.EVENT_SORT_PREFIX},
            },
        )
        found = [DomainEvent.from_json(from_item(i)[OUTBOX_BODY]) for i in answer["Items"]]
        return sorted(found, key=lambda event: event.sequence)

    def jobs(self, video_id: str) -> list[TranscodeJob]:
        """Take the jobs of a video out of the queue."""
        found = [TranscodeJob.from_json(m["Body"]) for m in self.emulator.messages(self.queue_url)]
        return [job for job in found if job.video_id == video_id]

    @property
    def desired_count(self) -> int:
        """How many workers are wanted."""
        answer = self.emulator.client("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])
        return int(answer["services"][0]["desiredCount"])

    @property
    def min_capacity(self) -> int:
        """The floor of the scaling."""
        answer = self.emulator.client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[f"service/{CLUSTER}/{SERVICE}"]
        )
        return int(answer["ScalableTargets"][0]["MinCapacity"])

    def rest(self) -> None:
        """Let the worker service stand at zero, as an idle worker leaves it."""
        self.register_target(minimum=0)
        self.emulator.client("ecs").update_service(cluster=CLUSTER, service=SERVICE, desiredCount=0)
        assert (self.min_capacity, self.desired_count) == (0, 0)

    def register_target(self, *, minimum: int) -> None:
        """Register the worker service for scaling."""
        self.emulator.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{CLUSTER}/{SERVICE}",
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=minimum,
            MaxCapacity=4,
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        queue_url = emulator.client("sqs").create_queue(QueueName=QUEUE)["QueueUrl"]
        found = Stage(emulator, queue_url)
        table_arn = emulator.table(TABLE)
        _make_bucket(emulator)
        _make_service(emulator)
        found.register_target(minimum=0)
        environment = UploadIntakeEnvironment(
            home_region=REGION,
            table_name=TABLE,
            express_queue_url=queue_url,
            upload_max_bytes=MAX_BYTES,
            worker_cluster=CLUSTER,
            worker_service=SERVICE,
        )
        function_arn = emulator.function(
            FUNCTION,
            Service.UPLOAD_INTAKE,
            "upload_intake.handler.handle",
            [
                allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], table_arn),
                allow(["s3:GetObjectVersion"], f"arn:aws:s3:::{BUCKET}/raw/*"),
                allow(["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
                allow(["sqs:SendMessage"], f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}"),
                allow(
                    ["application-autoscaling:RegisterScalableTarget"],
                    f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/*",
                ),
                allow(
                    ["ecs:DescribeServices", "ecs:UpdateService"],
                    f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{CLUSTER}/{SERVICE}",
                ),
            ],
            environment=environment.to_variables(),
        )
        _make_rule(emulator, function_arn)
        yield found
        assert emulator.denied() == [], "the documented grants are enough"


def _make_bucket(emulator: Emulator) -> None:
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )


def _make_service(emulator: Emulator) -> None:
    ecs = emulator.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    ecs.register_task_definition(
        family="worker", containerDefinitions=[{"name": "worker", "image": "worker", "memory": 64}]
    )
    ecs.create_service(
        cluster=CLUSTER, serviceName=SERVICE, taskDefinition="worker", desiredCount=0
    )


def _make_rule(emulator: Emulator, function_arn: str) -> None:
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [BUCKET]}, "object": {"key": [{"prefix": "raw/"}]}},
    }
    events = emulator.client("events")
    rule = events.put_rule(Name="uploads", EventPattern=json.dumps(pattern))
    emulator.client("lambda").add_permission(
        FunctionName=FUNCTION,
        StatementId="events",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule["RuleArn"],
    )
    events.put_targets(Rule="uploads", Targets=[{"Id": "1", "Arn": function_arn}])


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
        uploaded_at=videos.timestamp(),
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
        uploaded_at=videos.timestamp(),
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
