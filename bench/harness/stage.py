"""A stage on an emulator of its own, and workers as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psutil
from botocore.config import Config

from harness import ROOT
from harness.figures import stop_on_sigterm
from harness.front import Front, running_front
from harness.repeated import VirtualFile
from media_platform.contract import table
from media_platform.contract.environment import WorkerEnvironment
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.ladder import DEFAULT_LADDER, ladder_to_json
from media_platform.contract.object_keys import RawKey, RunKeys
from media_platform.contract.run import Run, RunStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus
from mediactl.local import processes
from mediactl.local.emulator_process import emulator_record, start_emulator
from mediactl.local.state import DEFAULT_FOLDER, StateFolder

REGION = "eu-central-1"
RAW, MEDIA, TABLE = "raw-uploads", "media-files", "videos"
PATIENCE_SECONDS = 3600
_LOOK_SECONDS = 0.05

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Return what ``look`` finds as soon as it finds something.

    Raises:
        SystemExit: If it does not in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(_LOOK_SECONDS)
    raise SystemExit(f"{what}: not within {seconds:.0f} s")


def cores() -> list[int]:
    """Return the processors that may be used.

    Raises:
        SystemExit: If processes cannot be held on processors here, or there is one only.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    found = sorted(affinity(0)) if affinity else []
    if len(found) < 2:
        raise SystemExit("two processors are needed, and Linux, which holds processes on them")
    return found


@contextmanager
def held_on(processors: Collection[int] | None) -> Iterator[None]:
    """Start processes on some processors only, within the block; ``None`` for all."""
    if processors is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class WorkerProcess:
    """A worker as a process."""

    process: subprocess.Popen[bytes]
    log_file: Path
    scratch: Path

    def log(self) -> list[dict[str, Any]]:
        """Return what it has logged so far."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def has_started(self) -> bool:
        """Tell whether it takes messages.

        Raises:
            SystemExit: If it has ended instead; the text is the end of its log.
        """
        if self.process.poll() is not None:
            raise SystemExit(f"the worker ended:\n{self.log_file.read_text()[-2000:]}")
        return any(line.get("message") == "worker started" for line in self.log())

    def events(self, job: TranscodeJob, name: str) -> list[dict[str, Any]]:
        """Return the lines of a job that tell of an event; ``time`` is in Unix seconds."""
        return [
            {**line, "time": datetime.fromisoformat(line["time"]).timestamp()}
            for line in self.log()
            if line.get("message") == name and line.get("run_id") == job.run_id
        ]

    def peak_resident(self) -> int:
        """Return the most memory, in bytes, that the process itself had in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def scratch_bytes(self) -> int:
        """Return the bytes in its scratch folder, with files that are open but deleted."""
        total = 0
        for folder, _, names in os.walk(self.scratch):
            for name in names:
                try:
                    total += Path(folder, name).lstat().st_blocks * 512
                except FileNotFoundError:
                    continue
        process = psutil.Process(self.process.pid)
        for one in (process, *process.children(recursive=True)):
            try:
                handles = list(Path(f"/proc/{one.pid}/fd").iterdir())
                for handle in handles:
                    target = str(handle.readlink())
                    if target.endswith(" (deleted)") and target.startswith(str(self.scratch)):
                        total += handle.stat().st_size
            except OSError:
                continue
        return total

    def cpu_seconds(self) -> float:
        """Return the processor time of the process itself, without its children."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Stage:
    """Everything that workers touch.

    Attributes:
        endpoint: The emulator.
        front: The server in front of it.
        credentials: Environment variables of the worker's role.
        environment: Variables of the worker's service.
        folder: For files.
        emulator_pid: Process id of the emulator.
    """

    endpoint: str
    front: Front
    credentials: dict[str, str]
    environment: WorkerEnvironment = field(repr=False)
    folder: Path
    emulator_pid: int

    def with_own_queues(self) -> Stage:
        """Return the stage with new queues, to which no worker that has gone still listens."""
        sqs, suffix = self.client("sqs"), new_id()
        express, jobs = (
            sqs.create_queue(QueueName=f"{name}-{suffix}")["QueueUrl"]
            for name in ("express", "jobs")
        )
        environment = replace(self.environment, express_queue_url=express, queue_url=jobs)
        return replace(self, environment=environment)

    def client(self, service: str) -> Any:
        """Return a client with every right."""
        return _client(self.endpoint, service)

    def upload(self, source: bytes | VirtualFile) -> TranscodeJob:
        """Put a source where uploads lie, with its video, as the upload intake leaves them."""
        video_id, run_id, now = new_id(), new_id(), timestamp()
        key = str(RawKey(tenant="acme", user="ada", video_id=video_id, extension="mp4"))
        if isinstance(source, VirtualFile):
            self.front.hold(RAW, key, source)
            version, size = "registered", source.size
        else:
            put = self.client("s3").put_object(Bucket=RAW, Key=key, Body=source)
            version, size = put["VersionId"], len(source)
        video = Video(
            video_id=video_id,
            tenant="acme",
            owner="ada",
            home_region=REGION,
            title="Title",
            file_name="film.mp4",
            content_type="video/mp4",
            size_bytes=size,
            raw_key=key,
            created_at=now,
            updated_at=now,
            status=VideoStatus.UPLOADED,
            raw_version_id=version,
            current_run=run_id,
            uploaded_at=now,
        )
        self.client("dynamodb").put_item(TableName=TABLE, Item=video.to_item())
        return TranscodeJob(
            video_id=video_id,
            run_id=run_id,
            tenant="acme",
            bucket=RAW,
            key=key,
            version_id=version,
            size_bytes=size,
            queued_at=now,
        )

    def send(self, job: TranscodeJob) -> float:
        """Send a job as the upload intake does; return the time in Unix seconds."""
        express = job.part == "start"
        url = self.environment.express_queue_url if express else self.environment.queue_url
        now = time.time()
        self.client("sqs").send_message(QueueUrl=url, MessageBody=job.to_json())
        return now

    def video(self, job: TranscodeJob) -> Video:
        """Return the video of a job as it is now."""
        return Video.from_item(self._item(table.video_key(job.video_id)))

    def run(self, job: TranscodeJob) -> Run | None:
        """Return the run of a job as it is now, if there is one."""
        item = self._item(table.run_key(job.video_id, job.run_id))
        return Run.from_item(item) if item else None

    def items(self, job: TranscodeJob) -> list[dict[str, Any]]:
        """Return all items of the video of a job."""
        answer = self.client("dynamodb").query(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": table.video_partition(job.video_id)}},
            ConsistentRead=True,
        )
        found: list[dict[str, Any]] = answer["Items"]
        return found

    def finished(self, job: TranscodeJob) -> float:
        """Wait until a video is READY; return the time in Unix seconds.

        Raises:
            SystemExit: If it failed.
        """

        def look() -> Video | None:
            video = self.video(job)
            return video if video.status in {VideoStatus.READY, VideoStatus.FAILED} else None

        video = wait_for(look, "the video is READY")
        if video.status is not VideoStatus.READY or video.ready_at is None:
            raise SystemExit(f"the video failed: {video.failure}")
        return datetime.fromisoformat(video.ready_at).timestamp()

    def playable(self, job: TranscodeJob) -> float:
        """Wait until a video can be played; return the time in Unix seconds."""

        def look() -> str | None:
            run = self.run(job)
            return run.playable_at if run else None

        at = wait_for(look, "the video is playable")
        keys = RunKeys(REGION, job.tenant, job.video_id, job.run_id)
        self.client("s3").head_object(Bucket=MEDIA, Key=keys.master_playlist)
        return datetime.fromisoformat(at).timestamp()

    def abandon(self, job: TranscodeJob) -> None:
        """Delete a video that is being worked on, and wait until nobody works on it any more."""
        dynamodb = self.client("dynamodb")
        for key, status in (
            (table.run_key(job.video_id, job.run_id), RunStatus.CANCELLED),
            (table.video_key(job.video_id), VideoStatus.DELETED),
        ):
            dynamodb.update_item(
                TableName=TABLE,
                Key=key.to_wire(),
                UpdateExpression="SET #status = :status",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":status": {"S": status.value}},
            )
        self.settled()

    def settled(self) -> None:
        """Wait until no message is left."""
        wait_for(lambda: not self._left(), "the queues are empty", seconds=300)

    def cpu_seconds(self) -> float:
        """Return the processor time of the emulator."""
        times = psutil.Process(self.emulator_pid).cpu_times()
        return float(times.user + times.system)

    def _left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs, total = self.client("sqs"), 0
        for url in (self.environment.express_queue_url, self.environment.queue_url):
            found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            total += sum(int(found[name]) for name in names)
        return total

    def _item(self, key: table.Key) -> dict[str, Any]:
        answer = self.client("dynamodb").get_item(
            TableName=TABLE, Key=key.to_wire(), ConsistentRead=True
        )
        found: dict[str, Any] = answer.get("Item", {})
        return found

    @contextmanager
    def workers(
        self,
        on: list[Collection[int] | None],
        *,
        large: bool = False,
        counted: bool = False,
        **changes: Any,
    ) -> Iterator[list[WorkerProcess]]:
        """Run workers, one for each set of processors, until the block ends.

        Args:
            on: The processors of each; ``None`` for all.
            large: Whether sources are read from the server in front.
            counted: Whether it counts all calls.
            **changes: Fields of the environment that are other than the pipeline's defaults.
        """
        environment = replace(self.environment, **changes)
        s3 = self.front.endpoint if large or counted else self.endpoint
        others = self.front.endpoint if counted else self.endpoint
        with ExitStack() as stack:
            started = [self._start(environment, some, s3, others) for some in on]
            for worker in started:
                stack.callback(worker.stop)
            for worker in started:
                wait_for(worker.has_started, "a worker starts", seconds=60)
            time.sleep(0.5)  # both are in their first poll
            yield started

    def _start(
        self, environment: WorkerEnvironment, on: Collection[int] | None, s3: str, others: str
    ) -> WorkerProcess:
        scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix="worker-"))
        log_file = Path(tempfile.mkstemp(dir=self.folder, suffix=".log")[1])
        with held_on(on), log_file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "media_worker"],
                cwd=scratch,
                env={
                    **environment.to_variables(),
                    **self.credentials,
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime/worker'}",
                    "AWS_ENDPOINT_URL": others,
                    "AWS_ENDPOINT_URL_S3": s3,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "TMPDIR": str(scratch),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return WorkerProcess(process, log_file, scratch)


def _client(endpoint: str, service: str) -> Any:
    key = (endpoint, service)
    if key not in _clients:
        make: Any = boto3.client
        _clients[key] = make(
            service,
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the emulator's own
            config=Config(s3={"addressing_style": "path"}),
        )
    return _clients[key]


_clients: dict[tuple[str, str], Any] = {}


@contextmanager
def running_stage() -> Iterator[Stage]:
    """Start an emulator with what workers need, and stop it in the end, also on SIGTERM."""
    stop_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        state = StateFolder(folder / "emulator")
        state.venvs = ROOT / DEFAULT_FOLDER / "venvs"
        state.create()
        started = start_emulator(state)
        record = emulator_record(state)
        try:
            with running_front(started.url.removeprefix("http://")) as front:
                yield _make(started.url, front, folder, record.pid if record else 0)
        finally:
            processes.stop(state.processes, processes.records(state.processes), grace_seconds=5)


def _make(endpoint: str, front: Front, folder: Path, emulator_pid: int) -> Stage:
    s3, sqs = _client(endpoint, "s3"), _client(endpoint, "sqs")
    for bucket in (RAW, MEDIA):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    _make_table(_client(endpoint, "dynamodb"))
    express, jobs, dead = (
        sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("express", "jobs", "dead")
    )
    iam = _client(endpoint, "iam")
    role = iam.create_role(
        RoleName="worker",
        AssumeRolePolicyDocument=_policy(
            Principal={"Service": "ecs-tasks.amazonaws.com"}, Action="sts:AssumeRole"
        ),
    )
    iam.put_role_policy(
        RoleName="worker", PolicyName="all", PolicyDocument=_policy(Action="*", Resource="*")
    )
    credentials = _client(endpoint, "sts").assume_role(
        RoleArn=role["Role"]["Arn"], RoleSessionName="task", DurationSeconds=43_200
    )["Credentials"]
    return Stage(
        endpoint=endpoint,
        front=front,
        credentials={
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        },
        environment=WorkerEnvironment(
            stage="bench",
            home_region=REGION,
            table_name=TABLE,
            media_bucket=MEDIA,
            express_queue_url=express,
            queue_url=jobs,
            dead_letter_queue_url=dead,
            visibility_timeout_seconds=15,
            max_failures=3,
            max_duration_seconds=4 * 3600,
            max_pixels=3840 * 2160,
            max_frame_rate=240,
            max_tenant_parts=0,
            max_tenant_daily_cpu_seconds=0,
            chunk_seconds=16,
            chunks_in_flight=10,
            ladder=ladder_to_json(DEFAULT_LADDER),
            measure_quality=0,
            old_run_seconds=86_400,
            scalable_target="service/workers/worker",
            idle_seconds=36_000,
        ),
        folder=folder,
        emulator_pid=emulator_pid,
    )


def _make_table(dynamodb: Any) -> None:
    keys = {key for index in table.INDEXES for key in (index.partition_key, index.sort_key)}
    keys |= {table.PARTITION_KEY, table.SORT_KEY}

    def schema(partition: str, sort: str) -> list[dict[str, str]]:
        return [
            {"AttributeName": partition, "KeyType": "HASH"},
            {"AttributeName": sort, "KeyType": "RANGE"},
        ]

    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in sorted(keys)],
        KeySchema=schema(table.PARTITION_KEY, table.SORT_KEY),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index.name,
                "KeySchema": schema(index.partition_key, index.sort_key),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in table.INDEXES
        ],
    )


def _policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})
