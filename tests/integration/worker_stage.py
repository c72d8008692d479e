"""What worker tests share: a stage with buckets, table, queues, and workers as real processes.

Workers run with the credentials of a role that may do exactly what ``docs/transcoding.md`` lists.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emulator import ACCOUNT, REGION, Emulator, allow
from waiting import eventually

from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.environment import WorkerEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.ids import new_id
from media_platform.contract.items import from_item
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RawKey, RunKeys
from media_platform.contract.run import Part, Run, video_part
from media_platform.contract.video import Video, VideoStatus
from media_worker import ffmpeg

ROOT = Path(__file__).parents[2]
RAW = "raw-uploads"
MEDIA = "media-files"
TABLE = "videos"
QUEUE = "jobs"
EXPRESS_QUEUE = "express-jobs"
DEAD_LETTERS = "dead-letters"


def make_clip(path: Path, *arguments: str) -> Path:
    """Make a file with ffmpeg."""
    subprocess.run([ffmpeg.binary(), "-nostdin", "-v", "error", "-y", *arguments, path], check=True)
    return path


def decode(playlist: Path) -> int:
    """Decode a playlist strictly; return the frames."""
    result = subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-v", "error", "-xerror", "-i", playlist),
            *("-fps_mode", "passthrough", "-f", "framecrc", "-"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return sum(1 for line in result.stdout.splitlines() if not line.startswith("#"))


def moving_picture(seconds: float, size: str = "320x180", rate: int = 25) -> list[str]:
    """Return arguments of a clip with motion and sound."""
    return [
        *("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"),
        *("-f", "lavfi", "-i", f"sine=f=440:r=44100:d={seconds}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    ]


@dataclass(frozen=True)
class Stage:
    """Everything that a worker touches."""

    emulator: Emulator
    credentials: dict[str, str]
    folder: Path
    environment: WorkerEnvironment = field(repr=False)

    def with_own_queue(self) -> Stage:
        """Return the stage with new queues, to which no poll of a killed worker listens yet."""
        sqs, suffix = self.emulator.client("sqs"), secrets.token_hex(4)
        express, jobs = (
            sqs.create_queue(QueueName=f"{name}-{suffix}")["QueueUrl"]
            for name in (EXPRESS_QUEUE, QUEUE)
        )
        environment = replace(self.environment, queue_url=jobs, express_queue_url=express)
        return replace(self, environment=environment)

    @property
    def queue_urls(self) -> tuple[str, str]:
        return self.environment.express_queue_url, self.environment.queue_url

    def upload(self, body: bytes, extension: str = "mp4") -> TranscodeJob:
        """Put a source into the raw bucket, with its video, as the upload intake leaves them."""
        video_id, run_id = new_id(), new_id()
        key = str(RawKey(tenant="acme", user="ada", video_id=video_id, extension=extension))
        put = self.emulator.client("s3").put_object(Bucket=RAW, Key=key, Body=body)
        now = videos.timestamp()
        video = Video(
            video_id=video_id,
            tenant="acme",
            owner="ada",
            home_region=REGION,
            title="Title",
            file_name=f"film.{extension}",
            content_type="video/mp4",
            size_bytes=len(body),
            raw_key=key,
            created_at=now,
            updated_at=now,
            status=VideoStatus.UPLOADED,
            raw_version_id=put["VersionId"],
            current_run=run_id,
            uploaded_at=now,
        )
        self.emulator.client("dynamodb").put_item(TableName=TABLE, Item=video.to_item())
        return TranscodeJob(
            video_id=video_id,
            run_id=run_id,
            tenant="acme",
            bucket=RAW,
            key=key,
            version_id=put["VersionId"],
            size_bytes=len(body),
            queued_at=now,
        )

    def send(self, job: TranscodeJob) -> None:
        """Send a job as the upload intake does."""
        self.emulator.client("sqs").send_message(
            QueueUrl=self.environment.express_queue_url, MessageBody=job.to_json()
        )

    def video(self, job: TranscodeJob) -> Video:
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=table.video_key(job.video_id).to_wire(), ConsistentRead=True
        )
        return Video.from_item(answer["Item"])

    def hold(self, job: TranscodeJob, *, lease_seconds: int) -> Part:
        """Hold the first chunk of a job as another worker would."""
        part = Part(
            video_id=job.video_id,
            run_id=job.run_id,
            name=video_part(0),
            lease_until=int(time.time()) + lease_seconds,
        )
        self.emulator.client("dynamodb").put_item(TableName=TABLE, Item=part.to_item())
        return part

    def run(self, job: TranscodeJob) -> Run | None:
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE,
            Key=table.run_key(job.video_id, job.run_id).to_wire(),
            ConsistentRead=True,
        )
        return Run.from_item(answer["Item"]) if "Item" in answer else None

    def parts(self, job: TranscodeJob) -> dict[str, Part]:
        """Return the parts of the run that somebody has taken, by name."""
        answer = self.emulator.client("dynamodb").query(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :part)",
            ExpressionAttributeValues={
                ":pk": {"S": table.video_partition(job.video_id)},
                ":part": {"S": table.part_prefix(job.run_id)},
            },
            ConsistentRead=True,
        )
        parts = (Part.from_item(item) for item in answer["Items"])
        return {part.name: part for part in parts}

    def events(self, job: TranscodeJob) -> list[DomainEvent]:
        answer = self.emulator.client("dynamodb").query(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :event)",
            ExpressionAttributeValues={
                ":pk": {"S": table.video_partition(job.video_id)},
                ":event": {"S": table.EVENT_SORT_PREFIX},
            },
        )
        return [DomainEvent.from_json(from_item(item)[OUTBOX_BODY]) for item in answer["Items"]]

    def finished(self, job: TranscodeJob) -> Video:
        """Return the video once its job has ended and no message is left."""

        def look() -> Video | None:
            video = self.video(job)
            return video if video.status in {VideoStatus.READY, VideoStatus.FAILED} else None

        video = eventually(look, "the video is finished")
        eventually(lambda: not self.left(), "the message is deleted")
        return video

    def keys(self, job: TranscodeJob) -> RunKeys:
        return RunKeys(REGION, job.tenant, job.video_id, job.run_id)

    def objects(self, job: TranscodeJob) -> dict[str, dict[str, Any]]:
        """Return what was published for a run: headers by key below its prefix."""
        s3, prefix = self.emulator.client("s3"), self.keys(job).prefix
        found = s3.list_objects_v2(Bucket=MEDIA, Prefix=prefix).get("Contents", [])
        return {
            entry["Key"].removeprefix(prefix): s3.head_object(Bucket=MEDIA, Key=entry["Key"])
            for entry in found
        }

    def download(self, job: TranscodeJob) -> Path:
        """Copy what was published for a run into a folder."""
        folder, s3 = Path(tempfile.mkdtemp(dir=self.folder)), self.emulator.client("s3")
        for name in self.objects(job):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            key = f"{self.keys(job).prefix}{name}"
            target.write_bytes(s3.get_object(Bucket=MEDIA, Key=key)["Body"].read())
        return folder

    def left(self) -> int:
        """Return how many messages are in the queues, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.emulator.client("sqs")
        attributes = [
            sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            for url in self.queue_urls
        ]
        return sum(int(found[name]) for found in attributes for name in names)

    def entries(self, job: TranscodeJob, track: str) -> list[str]:
        """Return the segments that the playlist of a track lists now, none if there is none."""
        s3 = self.emulator.client("s3")
        try:
            answer = s3.get_object(Bucket=MEDIA, Key=self.keys(job).playlist(track))
        except s3.exceptions.NoSuchKey:
            return []
        lines = answer["Body"].read().decode().splitlines()
        return [line for line in lines if line.endswith(".m4s")]

    def start(self, variables: Mapping[str, str], log_file: Path) -> WorkerProcess:
        """Start a worker process with the variables of its service."""
        with log_file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "media_worker"],
                cwd=self.folder,
                env={
                    **variables,
                    **self.credentials,
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime/worker'}",
                    "AWS_ENDPOINT_URL": self.emulator.endpoint,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "TMPDIR": str(self.folder),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return WorkerProcess(process, log_file)

    @contextmanager
    def worker(self, **changes: Any) -> Iterator[WorkerProcess]:
        """Run a worker process; whatever it is at the end of the block, it is killed."""
        variables = replace(self.environment, **changes).to_variables()
        log_file = Path(tempfile.mkstemp(dir=self.folder, suffix=".log")[1])
        worker = self.start(variables, log_file)
        try:
            yield worker
        finally:
            worker.kill()


@dataclass(frozen=True)
class WorkerProcess:
    """A worker as a process."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> list[dict[str, Any]]:
        """Return what it has logged so far."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def said(self, event: str) -> dict[str, Any] | None:
        """Return the first line that tells of ``event``, if there is one."""
        return next((line for line in self.log() if line.get("event") == event), None)

    def wait_for(self, event: str) -> dict[str, Any]:
        return eventually(lambda: self.said(event), f"{event!r} in the log")

    def children(self) -> set[int]:
        """Return the ids of its child processes."""
        path = Path(f"/proc/{self.process.pid}/task")
        found: set[int] = set()
        for task in path.iterdir():
            found.update(int(pid) for pid in (task / "children").read_text().split())
        return found

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def make_stage(
    emulator: Emulator, folder: Path, *, media_buckets: Sequence[str] = (MEDIA,)
) -> Stage:
    """Create what a worker touches, and its role, which may publish to ``media_buckets``."""
    s3, sqs = emulator.client("s3"), emulator.client("sqs")
    for bucket in (RAW, MEDIA):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    table_arn = emulator.table(TABLE)
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in (QUEUE, EXPRESS_QUEUE, DEAD_LETTERS)}
    role = emulator.role(
        "worker",
        "ecs-tasks.amazonaws.com",
        [
            allow(
                [
                    *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
                    "dynamodb:Query",
                ],
                table_arn,
            ),
            allow(["s3:GetObjectVersion"], f"arn:aws:s3:::{RAW}/raw/*"),
            allow(
                ["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"],
                *(f"arn:aws:s3:::{bucket}/media/*" for bucket in media_buckets),
            ),
            allow(["s3:ListBucket"], *(f"arn:aws:s3:::{bucket}" for bucket in media_buckets)),
            allow(
                ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
                *(f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}*" for name in (QUEUE, EXPRESS_QUEUE)),
            ),
            allow(
                ["sqs:SendMessage"],
                *(f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}*" for name in (QUEUE, DEAD_LETTERS)),
            ),
            allow(["application-autoscaling:RegisterScalableTarget"], "*"),
        ],
    )
    session = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="task")
    credentials = session["Credentials"]
    return Stage(
        emulator=emulator,
        folder=folder,
        credentials={
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        },
        environment=WorkerEnvironment(
            stage="test",
            home_region=REGION,
            table_name=TABLE,
            media_bucket=MEDIA,
            express_queue_url=queues[EXPRESS_QUEUE],
            queue_url=queues[QUEUE],
            dead_letter_queue_url=queues[DEAD_LETTERS],
            visibility_timeout_seconds=60,
            max_failures=3,
            max_duration_seconds=600,
            max_pixels=4096 * 2160,
            max_frame_rate=240,
            max_tenant_parts=0,
            chunk_seconds=8,
            chunks_in_flight=2,
            measure_quality=0,
            old_run_seconds=86_400,
            scalable_target="service/workers/worker",
            idle_seconds=3600,
        ),
    )
