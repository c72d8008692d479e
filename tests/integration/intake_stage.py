"""What tests of the upload intake share: its table, bucket, queue and service, and its functions.

Each function has a role that may do exactly what its module documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulator import ACCOUNT, REGION, Emulator, Statement, allow, running_emulator
from waiting import eventually

from media_platform.assets import Service
from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.environment import UploadIntakeEnvironment, UploadSweepEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.ids import new_id
from media_platform.contract.items import WireItem, from_item
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RawKey
from media_platform.contract.scanning import ScannerQueues, scanners_to_json
from media_platform.contract.times import timestamp
from media_platform.contract.upload import UploadSession
from media_platform.contract.video import Video
from upload_intake.aws import LeftWork
from upload_intake.intake import Intake
from upload_intake.sweeper import Sweeper

FUNCTION = "intake"
SWEEP = "sweep"
BUCKET = "raw-uploads"
TABLE = "videos"
QUEUE = "express-jobs"
JOB_QUEUE = "jobs"
CLUSTER = "workers"
SERVICE = "worker"
MAX_BYTES = 1000
INTERVAL_MINUTES = 5
CONTENT = b"not really a film"
FORBIDDEN = "raw/forbidden/"
"""Start of keys that a test lets nobody read."""


def stored_time(time: datetime) -> str:
    """Return a time as it is stored."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Stage:
    """What the function touches, and how tests look at it."""

    emulator: Emulator
    queue_url: str
    scanners: Mapping[str, ScannerQueues] = field(default_factory=dict)

    def create(self, **changes: Any) -> Video:
        """Create a video that waits for its upload."""
        video_id = new_id()
        tenant = str(changes.get("tenant", "acme"))
        owner = str(changes.get("owner", "ada"))
        key = RawKey(tenant=tenant, user=owner, video_id=video_id, extension="mp4")
        now = timestamp()
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

    def open_upload(
        self, video: Video, *, due: timedelta = timedelta(hours=1), **changes: Any
    ) -> UploadSession:
        """Store the session of a video whose file is still to come.

        Args:
            video: The video.
            due: Time from now at which it is due.
            **changes: Other values of its fields.
        """
        now = datetime.now(UTC)
        session = UploadSession.begin(
            video_id=video.video_id,
            region=video.home_region,
            raw_key=video.raw_key,
            size_bytes=video.size_bytes,
            now=now,
            url_time=timedelta(hours=1),
        )
        session = replace(session, due_at=stored_time(now + due), **changes)
        self.put(session.to_item())
        return session

    def put(self, item: WireItem) -> None:
        """Store an item as another part of the platform would."""
        self.emulator.client("dynamodb").put_item(TableName=TABLE, Item=item)

    def session(self, video_id: str) -> UploadSession | None:
        """Read the session of a video."""
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=table.upload_key(video_id).to_wire(), ConsistentRead=True
        )
        return UploadSession.from_item(answer["Item"]) if "Item" in answer else None

    def sweep(self) -> dict[str, int]:
        """Invoke the sweep, and return what it counted, without zeros."""
        counted = self.emulator.invoke(SWEEP, {})
        return {outcome: number for outcome, number in counted.items() if number}

    def local_sweeper(self, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
        """Return a sweep that runs in this process, with every right."""
        environment = sweep_environment(self.queue_url, self.scanners)
        return local_sweeper(self.emulator, environment, monkeypatch)

    def versions(self, key: str) -> list[str]:
        """Return everything that the bucket has under a key, delete markers, too."""
        listed = self.emulator.client("s3").list_object_versions(Bucket=BUCKET, Prefix=key)
        entries = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        return [entry["VersionId"] for entry in entries]

    def unfinished(self, key: str) -> list[str]:
        """Return the uploads in parts of a key."""
        listed = self.emulator.client("s3").list_multipart_uploads(Bucket=BUCKET, Prefix=key)
        return [upload["UploadId"] for upload in listed.get("Uploads", ())]

    def upload(
        self,
        key: str,
        content: bytes = CONTENT,
        *,
        content_type: str = "video/mp4",
        with_checksum: bool = False,
    ) -> str:
        """Put an object as a client does, and return its version."""
        checksum = {"ChecksumAlgorithm": "SHA256"} if with_checksum else {}
        answer = self.emulator.client("s3").put_object(
            Bucket=BUCKET, Key=key, Body=content, ContentType=content_type, **checksum
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
        """Take the jobs of a video out of the express queue."""
        return self._jobs(video_id, self.queue_url)

    def further_jobs(self, video_id: str) -> list[TranscodeJob]:
        """Take the jobs of a video out of the queue of those that start no run."""
        return self._jobs(video_id, job_queue_url(self.queue_url))

    def _jobs(self, video_id: str, queue_url: str) -> list[TranscodeJob]:
        found = [TranscodeJob.from_json(m["Body"]) for m in self.emulator.messages(queue_url)]
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
        """Let the worker service stand at zero, as an idle worker leaves it.

        An event of an upload before may still be on its way and wake it.
        """
        ecs = self.emulator.client("ecs")

        def stands() -> bool:
            self.register_target(minimum=0)
            ecs.update_service(cluster=CLUSTER, service=SERVICE, desiredCount=0)
            return (self.min_capacity, self.desired_count) == (0, 0)

        eventually(stands, "the worker service stands at zero")

    def register_target(self, *, minimum: int) -> None:
        """Register the worker service for scaling."""
        _register_target(self.emulator, minimum=minimum)


def job_queue_url(express_queue_url: str) -> str:
    """Return the URL of the queue of jobs that start no run."""
    return f"{express_queue_url.rpartition('/')[0]}/{JOB_QUEUE}"


def requests_queue(scanner: str) -> str:
    """Return the name of the queue that a scanner reads."""
    return f"{scanner}-requests"


def verdicts_queue(scanner: str) -> str:
    """Return the name of the queue that a scanner answers into."""
    return f"{scanner}-verdicts"


def local_sweeper(
    emulator: Emulator, environment: UploadSweepEnvironment, monkeypatch: pytest.MonkeyPatch
) -> Sweeper:
    """Return a sweep that runs in this process, with every right.

    Args:
        emulator: Where it looks.
        environment: Its variables.
        monkeypatch: Sets what its clients read.
    """
    for name, value in {
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    return Sweeper(
        environment=environment,
        intake=Intake.connect(environment),
        left=LeftWork(environment.table_name),
    )


def intake_environment(
    queue_url: str, scanners: Mapping[str, ScannerQueues]
) -> UploadIntakeEnvironment:
    """Return the variables of the intake."""
    return UploadIntakeEnvironment(
        home_region=REGION,
        table_name=TABLE,
        express_queue_url=queue_url,
        queue_url=job_queue_url(queue_url),
        upload_max_bytes=MAX_BYTES,
        worker_cluster=CLUSTER,
        worker_service=SERVICE,
        scanners=scanners_to_json(scanners),
        raw_bucket=BUCKET,
    )


def sweep_environment(
    queue_url: str, scanners: Mapping[str, ScannerQueues]
) -> UploadSweepEnvironment:
    """Return the variables of the sweep."""
    return UploadSweepEnvironment(
        **vars(intake_environment(queue_url, scanners)),
        interval_minutes=INTERVAL_MINUTES,
        max_tenant_daily_cpu_seconds=0,
    )


@contextmanager
def running_stage(folder: Path, *, scanners: Sequence[str] = ()) -> Iterator[Stage]:
    """Start an emulator with the functions and what they touch.

    Args:
        folder: Empty folder for its state and its log.
        scanners: Names of the scanners that are asked; their queues are there, and nobody else.
    """
    with running_emulator(folder) as emulator:
        sqs = emulator.client("sqs")
        queue_url, _ = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in (QUEUE, JOB_QUEUE))
        found = Stage(
            emulator,
            queue_url,
            {
                name: ScannerQueues(
                    requests_url=sqs.create_queue(QueueName=requests_queue(name))["QueueUrl"],
                    verdicts_url=sqs.create_queue(QueueName=verdicts_queue(name))["QueueUrl"],
                )
                for name in scanners
            },
        )
        table_arn = emulator.table(TABLE)
        _make_bucket(emulator)
        make_service(emulator)
        environment = intake_environment(queue_url, found.scanners)
        function_arn = emulator.function(
            FUNCTION,
            Service.UPLOAD_INTAKE,
            "upload_intake.handler.handle",
            _intake_permissions(table_arn, scanners),
            environment=environment.to_variables(),
        )
        emulator.function(
            SWEEP,
            Service.UPLOAD_INTAKE,
            "upload_intake.sweep.handle",
            [*_intake_permissions(table_arn, scanners), *_sweep_permissions(table_arn)],
            environment=sweep_environment(queue_url, found.scanners).to_variables(),
            timeout_seconds=300,
        )
        _make_rule(emulator, function_arn)
        yield found
        denied = [call for call in emulator.denied() if FORBIDDEN not in call["resource"]]
        assert denied == [], "the documented grants are enough"


def _intake_permissions(table_arn: str, scanners: Sequence[str]) -> Sequence[Statement]:
    """Return what ``upload_intake.handler`` documents."""
    return [
        allow(
            [
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
            ],
            table_arn,
        ),
        allow(["s3:GetObjectVersion"], f"arn:aws:s3:::{BUCKET}/raw/*"),
        allow(["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
        allow(
            ["sqs:SendMessage"],
            *(
                f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
                for name in (QUEUE, JOB_QUEUE, *(requests_queue(scanner) for scanner in scanners))
            ),
        ),
        allow(
            ["application-autoscaling:RegisterScalableTarget"],
            f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/*",
        ),
        allow(
            ["ecs:DescribeServices", "ecs:UpdateService"],
            f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{CLUSTER}/{SERVICE}",
        ),
    ]


def _sweep_permissions(table_arn: str) -> Sequence[Statement]:
    """Return what ``upload_intake.sweep`` documents beside that."""
    indexes = (table.DUE, table.IN_FLIGHT)
    return [
        allow(["dynamodb:Query"], *(f"{table_arn}/index/{index.name}" for index in indexes)),
        allow(["s3:ListBucketVersions", "s3:ListBucketMultipartUploads"], f"arn:aws:s3:::{BUCKET}"),
        allow(
            ["s3:DeleteObjectVersion", "s3:AbortMultipartUpload"], f"arn:aws:s3:::{BUCKET}/raw/*"
        ),
    ]


def _make_bucket(emulator: Emulator) -> None:
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )


def make_service(emulator: Emulator) -> None:
    """Create the worker service, at rest."""
    ecs = emulator.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    ecs.register_task_definition(
        family="worker", containerDefinitions=[{"name": "worker", "image": "worker", "memory": 64}]
    )
    ecs.create_service(
        cluster=CLUSTER, serviceName=SERVICE, taskDefinition="worker", desiredCount=0
    )
    _register_target(emulator, minimum=0)


def _register_target(emulator: Emulator, *, minimum: int) -> None:
    emulator.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{CLUSTER}/{SERVICE}",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=minimum,
        MaxCapacity=4,
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
