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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emulator import ACCOUNT, REGION, Emulator, allow
from waiting import eventually
from worker_wire import Wire

from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.environment import WorkerEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.ids import new_id
from media_platform.contract.items import TransactItem, from_item
from media_platform.contract.jobs import DEAD_LETTER_REASON, START, TranscodeJob
from media_platform.contract.ladder import DEFAULT_LADDER, ladder_to_json
from media_platform.contract.object_keys import RawKey, RunKeys
from media_platform.contract.purge import Purge
from media_platform.contract.run import Part, Run, RunStatus
from media_platform.contract.thumbnails import Thumbnail
from media_platform.contract.times import timestamp
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


def segments_of(playlist: str) -> list[str]:
    """Return the segments that a playlist lists."""
    return [line for line in playlist.splitlines() if line.endswith(".m4s")]


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

    def with_own_queues(self) -> Stage:
        """Return the stage with new queues, to which no poll of a killed worker listens yet."""
        sqs, suffix = self.emulator.client("sqs"), secrets.token_hex(4)
        express, jobs, dead = (
            sqs.create_queue(QueueName=f"{name}-{suffix}")["QueueUrl"]
            for name in (EXPRESS_QUEUE, QUEUE, DEAD_LETTERS)
        )
        environment = replace(
            self.environment,
            queue_url=jobs,
            express_queue_url=express,
            dead_letter_queue_url=dead,
        )
        return replace(self, environment=environment)

    @property
    def queue_urls(self) -> tuple[str, str]:
        return self.environment.express_queue_url, self.environment.queue_url

    def upload(self, body: bytes, extension: str = "mp4", tenant: str = "acme") -> TranscodeJob:
        """Put a source into the raw bucket, with its video, as the upload intake leaves them."""
        video_id, run_id = new_id(), new_id()
        key = str(RawKey(tenant=tenant, user="ada", video_id=video_id, extension=extension))
        put = self.emulator.client("s3").put_object(Bucket=RAW, Key=key, Body=body)
        now = timestamp()
        video = Video(
            video_id=video_id,
            tenant=tenant,
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
            tenant=tenant,
            bucket=RAW,
            key=key,
            version_id=put["VersionId"],
            size_bytes=len(body),
            queued_at=now,
        )

    def transcode_again(self, job: TranscodeJob) -> TranscodeJob:
        """Let a READY video wait for another run; return its job."""
        again = replace(job, run_id=new_id(), queued_at=timestamp())
        self.edit(job, next_run=again.run_id)
        return again

    def edit(self, job: TranscodeJob, *further: TransactItem, **changes: Any) -> Video:
        """Change a video as the API does, and whatever else in the same transaction."""
        made = videos.change(TABLE, self.video(job), region=REGION, **changes)
        writes: list[Any] = [*made.writes, *further]
        self.emulator.client("dynamodb").transact_write_items(TransactItems=writes)
        return made.video

    def purge(self, job: TranscodeJob) -> Purge | None:
        """Return the note that the run of a job is to be purged, if there is one."""
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=table.purge_key(job.video_id, job.run_id).to_wire()
        )
        return Purge.from_item(answer["Item"]) if "Item" in answer else None

    def send(self, job: TranscodeJob, *, reason: str | None = None) -> None:
        """Send a job: one that starts a run as the intake does, any other as workers do.

        Args:
            job: The job.
            reason: Why it failed before, of a job that an operator takes back. Default: it did not.
        """
        express, jobs = self.queue_urls
        attribute = {"DataType": "String", "StringValue": str(reason)}
        self.emulator.client("sqs").send_message(
            QueueUrl=express if job.part == START and reason is None else jobs,
            MessageBody=job.to_json(),
            MessageAttributes={} if reason is None else {DEAD_LETTER_REASON: attribute},
        )

    def video(self, job: TranscodeJob) -> Video:
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=table.video_key(job.video_id).to_wire(), ConsistentRead=True
        )
        return Video.from_item(answer["Item"])

    def put(self, item: Run | Part | Thumbnail) -> None:
        """Write a run, a part or a request as it is given."""
        self.emulator.client("dynamodb").put_item(TableName=TABLE, Item=item.to_item())

    def hold(self, job: TranscodeJob, name: str, *, lease_seconds: int) -> Part:
        """Hold a part of a run as a worker would from which nobody hears again."""
        until = int(time.time()) + lease_seconds
        part = Part(video_id=job.video_id, run_id=job.run_id, name=name, lease_until=until)
        self.put(part)
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
        """Return the video once the run has ended and no message is left."""

        def look() -> bool:
            run = self.run(job)
            return run is not None and run.status in {RunStatus.COMPLETE, RunStatus.FAILED}

        eventually(look, "the run has ended")
        eventually(lambda: not self.left(), "every message is deleted")
        return self.video(job)

    def playlist(self, job: TranscodeJob, track: str) -> str:
        """Return a playlist as it is now, nothing if there is none."""
        s3 = self.emulator.client("s3")
        try:
            answer = s3.get_object(Bucket=MEDIA, Key=self.keys(job).playlist(track))
        except s3.exceptions.NoSuchKey:
            return ""
        return str(answer["Body"].read().decode())

    def versions(self, job: TranscodeJob, track: str) -> list[str]:
        """Return every version of a playlist, in the order in which they were written."""
        s3, key = self.emulator.client("s3"), self.keys(job).playlist(track)
        found = s3.list_object_versions(Bucket=MEDIA, Prefix=key)["Versions"]
        # The newest comes first.
        return [
            s3.get_object(Bucket=MEDIA, Key=key, VersionId=version["VersionId"])["Body"]
            .read()
            .decode()
            for version in reversed(found)
        ]

    def tags(self, job: TranscodeJob, name: str) -> dict[str, str]:
        """Return the tags of an object of a run."""
        answer = self.emulator.client("s3").get_object_tagging(
            Bucket=MEDIA, Key=f"{self.keys(job).prefix}{name}"
        )
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def letters(self) -> list[tuple[TranscodeJob | str, str]]:
        """Take the dead letters: the job of each, or its text, and why it failed."""
        found: list[tuple[TranscodeJob | str, str]] = []
        for letter in self.emulator.messages(self.environment.dead_letter_queue_url):
            reason = letter["MessageAttributes"][DEAD_LETTER_REASON]["StringValue"]
            try:
                found.append((TranscodeJob.from_json(letter["Body"]), reason))
            except ValueError:
                found.append((letter["Body"], reason))
        return found

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
        folder, s3, prefix = (
            Path(tempfile.mkdtemp(dir=self.folder)),
            self.emulator.client("s3"),
            self.keys(job).prefix,
        )
        for entry in s3.list_objects_v2(Bucket=MEDIA, Prefix=prefix).get("Contents", []):
            target = folder / entry["Key"].removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(s3.get_object(Bucket=MEDIA, Key=entry["Key"])["Body"].read())
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
        return segments_of(self.playlist(job, track))

    def start(
        self,
        variables: Mapping[str, str],
        log_file: Path,
        wire: Wire | None = None,
        processor: int | None = None,
    ) -> WorkerProcess:
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
                    "AWS_ENDPOINT_URL": wire.url if wire else self.emulator.endpoint,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "TMPDIR": str(self.folder),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=None  # noqa: PLW1509 - it calls the kernel, and nothing else
                if processor is None
                else lambda: os.sched_setaffinity(0, {processor}),
            )
        return WorkerProcess(process, log_file)

    @contextmanager
    def worker(
        self, *, wire: Wire | None = None, processor: int | None = None, **changes: Any
    ) -> Iterator[WorkerProcess]:
        """Run a worker process; whatever it is at the end of the block, it is killed.

        Args:
            wire: What it takes for AWS. Default: the emulator itself.
            processor: The only processor that it may use. Default: any.
            **changes: Variables of its environment.
        """
        variables = replace(self.environment, **changes).to_variables()
        log_file = Path(tempfile.mkstemp(dir=self.folder, suffix=".log")[1])
        worker = self.start(variables, log_file, wire, processor)
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
        return next((line for line in self.log() if line.get("message") == event), None)

    def wait_for(self, event: str) -> dict[str, Any]:
        return eventually(lambda: self.said(event), f"{event!r} in the log")

    def children(self) -> set[int]:
        """Return the ids of its child processes."""
        path = Path(f"/proc/{self.process.pid}/task")
        found: set[int] = set()
        for task in path.iterdir():
            with suppress(FileNotFoundError):  # the thread has ended
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
    queues = {
        name: sqs.create_queue(QueueName=name)["QueueUrl"]
        for name in (QUEUE, EXPRESS_QUEUE, DEAD_LETTERS)
    }
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
            allow(["s3:GetObject"], f"arn:aws:s3:::{RAW}/thumbnails/*"),
            allow(
                ["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"],
                *(f"arn:aws:s3:::{bucket}/media/*" for bucket in media_buckets),
            ),
            allow(
                ["s3:ListBucket"], *(f"arn:aws:s3:::{bucket}" for bucket in (RAW, *media_buckets))
            ),
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
        stands_for="TranscodeWorkersTaskTaskRole",
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
            max_tenant_daily_cpu_seconds=0,
            chunk_seconds=8,
            chunks_in_flight=2,
            ladder=ladder_to_json(DEFAULT_LADDER),
            measure_quality=0,
            old_run_seconds=86_400,
            scalable_target="service/workers/worker",
            idle_seconds=3600,
        ),
    )
