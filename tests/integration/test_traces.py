"""What is told of a video while it is made: a trace from the API to its last chunk, logs, metrics.

The API, the upload intake and two workers run as they do in a stage; a collector takes their spans.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from api_stage import Person, documented_permissions, send
from emulator import ACCOUNT, REGION, Emulator, allow, running_emulator
from span_collector import Collector, Received, running_collector
from waiting import eventually
from worker_stage import (
    EXPRESS_QUEUE,
    RAW,
    TABLE,
    Stage,
    WorkerProcess,
    make_clip,
    make_stage,
    moving_picture,
)

from media_platform.assets import Service
from media_platform.contract import metrics, table
from media_platform.contract.environment import UploadIntakeEnvironment
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import END, SOUND
from media_platform.contract.scanning import scanners_to_json
from media_platform.contract.tracing import TraceContext
from media_platform.contract.video import Video, VideoStatus
from tests.unit.api.api_issuer import serving_issuer
from tests.unit.api.api_process import api_environment, running_api

INTAKE = "intake"
SECONDS, CHUNKS = 26, 4
"""One chunk of 4 s, two of 8 s, and one of 6 s."""
SHORT_SECONDS, SHORT_CHUNKS = 10, 2

LEASE = 5

CLIENT = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
UNSAMPLED = TraceContext("5bf92f3577b34da6a3ce929d0e0e4736", "10f067aa0ba902b7", sampled=False)

ONCE_A_RUN = (
    metrics.QUEUE_WAIT_SECONDS,
    metrics.TIME_TO_PLAYABLE_SECONDS,
    metrics.TIME_TO_READY_SECONDS,
    metrics.JOBS_COMPLETED,
    metrics.CPU_SECONDS,
)
NO_LINES_OF_A_JOB = {"worker started", "worker stopped", "the service may rest"}


@dataclass(frozen=True)
class Told:
    """What was told until everything had ended.

    Attributes:
        stage: The stage.
        collector: What was received of spans.
        workers: The workers, which have ended.
        api_log: The log of the API.
        traced: The video of a client that traces.
        unsampled: That of one that traces and does not record.
        untraced: That of one whose ``traceparent`` is none.
        repeated: A job of which every message came twice.
    """

    stage: Stage
    collector: Collector
    workers: tuple[WorkerProcess, ...]
    api_log: str
    traced: Video
    unsampled: Video
    untraced: Video
    repeated: TranscodeJob

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the workers logged, metrics left out."""
        return [line for worker in self.workers for line in worker.log() if "_aws" not in line]

    def metrics(self, video_id: str) -> list[dict[str, Any]]:
        """Return the lines with metrics of a video."""
        lines = [line for worker in self.workers for line in worker.log() if "_aws" in line]
        return [line for line in lines if line["video_id"] == video_id]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    clips = tmp_path_factory.mktemp("clip")
    long, short = (
        make_clip(clips / f"{seconds}.mp4", *moving_picture(seconds, "160x90")).read_bytes()
        for seconds in (SECONDS, SHORT_SECONDS)
    )
    with ExitStack() as stack:
        emulator = stack.enter_context(running_emulator(tmp_path_factory.mktemp("emulator")))
        collector = stack.enter_context(running_collector())
        issuer = stack.enter_context(serving_issuer())
        stage = make_stage(emulator, tmp_path_factory.mktemp("workers"))
        # A message that comes while another has the part waits for the lease, and no longer.
        short_leases = replace(stage.environment, visibility_timeout_seconds=LEASE)
        stage = replace(stage, environment=short_leases)
        deploy_intake(emulator, stage)
        tracing = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        workers = tuple(
            start_worker(stack, stage, {**tracing, "OTEL_RESOURCE_ATTRIBUTES": name})
            for name in ("service.instance.id=a", "service.instance.id=b")
        )
        for worker in workers:
            worker.wait_for("worker started")
        environment = api_environment(
            home_region=REGION, token_jwks_url=issuer.url, upload_max_bytes=len(long)
        )
        role = emulator.role("api", "ecs-tasks.amazonaws.com", documented_permissions(environment))
        with running_api(
            environment,
            {
                **assumed(emulator, role),
                **tracing,
                "AWS_ENDPOINT_URL": emulator.endpoint,
            },
            tmp_path_factory.mktemp("api"),
        ) as api:
            ada = Person(api, "ada", "acme", issuer.user("ada", "acme", "editor"))
            assert ada.call("GET", "/api/videos?limit=1&owner=me").status == 200
            assert api.call("GET", "/health/live").status == 200
            traced = upload(emulator, ada, long, str(CLIENT))
            # While one worker begins with it, the other has nothing else to do than its chunks.
            ready(stage, traced.video_id)
            unsampled, untraced = (
                upload(emulator, ada, short, traceparent)
                for traceparent in (str(UNSAMPLED), "00-nothing-of-use-01")
            )
            api_log = api.log_file
        repeated = stage.upload(short)
        for _ in range(2):
            stage.send(repeated)
        for video in (unsampled, untraced):
            ready(stage, video.video_id)
        ready(stage, repeated.video_id)
        eventually(lambda: not stage.left(), "no message is left")
        stage.send(repeated)
        eventually(lambda: not stage.left(), "the late repeat is gone")
        for worker in workers:
            worker.terminate()
            assert worker.process.wait(10) == 0
        yield Told(
            stage,
            collector,
            workers,
            api_log.read_text(),
            *(ready(stage, video.video_id) for video in (traced, unsampled, untraced)),
            repeated,
        )
        assert emulator.denied() == []


def deploy_intake(emulator: Emulator, stage: Stage) -> None:
    """Deploy the function that takes uploads in, and a worker service for it to wake."""
    ecs = emulator.client("ecs")
    ecs.create_cluster(clusterName="workers")
    ecs.register_task_definition(
        family="worker", containerDefinitions=[{"name": "worker", "image": "worker", "memory": 64}]
    )
    ecs.create_service(
        cluster="workers", serviceName="worker", taskDefinition="worker", desiredCount=1
    )
    emulator.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId="service/workers/worker",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=1,
        MaxCapacity=4,
    )
    environment = UploadIntakeEnvironment(
        home_region=REGION,
        table_name=TABLE,
        express_queue_url=stage.environment.express_queue_url,
        queue_url=stage.environment.queue_url,
        upload_max_bytes=10_000_000,
        worker_cluster="workers",
        worker_service="worker",
        scanners=scanners_to_json({}),
        raw_bucket=RAW,
    )
    account = f"{REGION}:{ACCOUNT}"
    emulator.function(
        INTAKE,
        Service.UPLOAD_INTAKE,
        "upload_intake.handler.handle",
        [
            allow(
                [
                    "dynamodb:DeleteItem",
                    "dynamodb:GetItem",
                    "dynamodb:PutItem",
                    "dynamodb:UpdateItem",
                ],
                f"arn:aws:dynamodb:{account}:table/{TABLE}",
            ),
            allow(["s3:GetObjectVersion"], f"arn:aws:s3:::{RAW}/raw/*"),
            allow(["sqs:SendMessage"], f"arn:aws:sqs:{account}:{EXPRESS_QUEUE}"),
            allow(["application-autoscaling:RegisterScalableTarget"], "*"),
            allow(["ecs:DescribeServices", "ecs:UpdateService"], "*"),
        ],
        environment=environment.to_variables(),
    )


def start_worker(stack: ExitStack, stage: Stage, more: dict[str, str]) -> WorkerProcess:
    """Start a worker with more variables than its own; in the end it is killed."""
    log_file = stage.folder / f"{more['OTEL_RESOURCE_ATTRIBUTES'][-1]}.log"
    worker = stage.start({**stage.environment.to_variables(), **more}, log_file)
    stack.callback(worker.kill)
    return worker


def assumed(emulator: Emulator, role: str) -> dict[str, str]:
    """Return the variables with the credentials of a role."""
    session = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="task")
    credentials = session["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def upload(emulator: Emulator, person: Person, content: bytes, traceparent: str) -> Video:
    """Create a video with a request that carries ``traceparent``, and upload its file."""
    body = {
        "title": "A film",
        "file_name": "film.mp4",
        "content_type": "video/mp4",
        "size_bytes": len(content),
    }
    answer = person.call("POST", "/api/videos", body=body, headers={"traceparent": traceparent})
    assert answer.status == 201, answer.content
    target = answer.json["upload"]
    assert send("PUT", target["url"], body=content, headers=target["headers"]) == 200
    item = emulator.client("dynamodb").get_item(
        TableName=TABLE, Key=table.video_key(answer.json["video"]["video_id"]).to_wire()
    )["Item"]
    video = Video.from_item(item)
    head = emulator.client("s3").head_object(Bucket=RAW, Key=video.raw_key)
    event = {
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {
            "bucket": {"name": RAW},
            "object": {
                "key": video.raw_key,
                "size": len(content),
                "version-id": head["VersionId"],
            },
        },
    }
    assert emulator.invoke(INTAKE, event) == {"outcome": "accepted"}
    return video


def ready(stage: Stage, video_id: str) -> Video:
    """Return the video once it is READY."""

    def look() -> Video | None:
        item = stage.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=table.video_key(video_id).to_wire(), ConsistentRead=True
        )["Item"]
        video = Video.from_item(item)
        return video if video.status is VideoStatus.READY else None

    return eventually(look, f"video {video_id} is ready")


def below(spans: list[Received], parent: Received) -> Counter[str]:
    """Return the names of the spans below another one."""
    return Counter(span.name for span in spans if span.parent == parent.span_id)


def named(spans: list[Received], name: str) -> Received:
    """Return the one span of a name."""
    (span,) = [span for span in spans if span.name == name]
    return span


def test_one_trace_leads_from_the_request_of_the_client_to_the_last_chunk(told: Told) -> None:
    spans = told.collector.trace(CLIENT.trace_id)
    request, start = named(spans, "POST /api/videos"), named(spans, "transcode start")
    chunks = [named(spans, f"transcode video#{number:05}") for number in range(1, CHUNKS)]

    assert (request.service, request.kind) == ("media-api", "SPAN_KIND_SERVER")
    assert request.parent == CLIENT.span_id
    assert start.parent == request.span_id
    assert {chunk.parent for chunk in chunks} == {start.span_id}
    for message in (start, *chunks):
        assert (message.service, message.kind) == ("media-worker", "SPAN_KIND_CONSUMER")
        assert message.attributes["media.video_id"] == told.traced.video_id
        assert message.attributes["media.outcome"] == "done"
        assert not message.failed
    assert below(spans, start) - Counter(["end"]) == Counter(
        ["plan", "encode", "sound", *(chunk.name for chunk in chunks)]
    )
    for chunk in chunks:
        assert below(spans, chunk) - Counter(["end"]) == Counter(["encode"])
    end = named(spans, "end")
    assert end.parent in {start.span_id, *(chunk.span_id for chunk in chunks)}
    calls = [span for span in spans if span.kind == "SPAN_KIND_CLIENT"]
    assert len(spans) - len(calls) == 1 + CHUNKS + CHUNKS + len(("plan", "sound", "end"))


def test_calls_to_aws_have_spans_below_their_request(told: Told) -> None:
    spans = told.collector.trace(CLIENT.trace_id)
    request = named(spans, "POST /api/videos")
    write = named(spans, "DynamoDB.TransactWriteItems")
    assert (write.service, write.kind) == ("media-api", "SPAN_KIND_CLIENT")
    assert write.parent == request.span_id
    assert request.start <= write.start <= write.end <= request.end
    assert write.attributes["rpc.system"] == "aws-api"
    assert not write.failed


def test_spans_lie_within_the_one_above_and_say_what_was_done(told: Told) -> None:
    spans = told.collector.trace(CLIENT.trace_id)
    by_id = {span.span_id: span for span in spans}
    parts = set()
    for span in spans:
        if span.name in {"plan", "encode", "sound", "end"}:
            above = by_id[span.parent]
            assert above.process == span.process
            assert above.start <= span.start <= span.end <= above.end
            parts.add(span.attributes.get("media.part"))
    assert parts == {None, SOUND, END, *(f"video#{number:05}" for number in range(CHUNKS))}


def test_two_workers_tell_of_one_trace(told: Told) -> None:
    spans = told.collector.trace(CLIENT.trace_id)
    assert {span.process for span in spans if span.service == "media-worker"} == {"a", "b"}


def test_what_is_not_sampled_is_done_and_not_recorded(told: Told) -> None:
    assert told.unsampled.traceparent is not None
    stored = TraceContext.parse(told.unsampled.traceparent)
    assert stored is not None
    assert (stored.trace_id, stored.sampled) == (UNSAMPLED.trace_id, False)
    assert told.collector.trace(UNSAMPLED.trace_id) == []
    assert UNSAMPLED.trace_id in {line.get("trace_id") for line in told.lines}


def test_malformed_context_of_a_client_is_ignored(told: Told) -> None:
    stored = TraceContext.parse(told.untraced.traceparent)
    assert stored is not None
    request = named(told.collector.trace(stored.trace_id), "POST /api/videos")
    assert (request.parent, request.span_id) == ("", stored.span_id)


def test_job_without_a_context_begins_a_trace(told: Told) -> None:
    trace_ids = {
        span.trace_id
        for span in told.collector.spans
        if span.attributes.get("media.video_id") == told.repeated.video_id
    }
    starts = [
        span
        for span in told.collector.spans
        if span.attributes.get("media.video_id") == told.repeated.video_id
        and span.name == "transcode start"
    ]
    # Each of the three messages was sent without one.
    assert len(trace_ids) == len({span.trace_id for span in starts})
    assert {span.parent for span in starts} == {""}


def test_requests_have_spans_without_queries_and_probes_of_health_have_none(told: Told) -> None:
    api = [span for span in told.collector.spans if span.service == "media-api"]
    # The third that creates a video is not sampled.
    requests = Counter(span.name for span in api if span.kind == "SPAN_KIND_SERVER")
    assert requests == {"GET /api/videos": 1, "POST /api/videos": 2}
    query = named(api, "GET /api/videos").attributes["url.query"]
    assert query == "REDACTED"


def test_log_lines_of_all_services_name_the_trace(told: Told) -> None:
    requests = [json.loads(line) for line in told.api_log.splitlines()]
    traces = [line["trace_id"] for line in requests if line.get("route") == "/api/videos"]
    assert {CLIENT.trace_id, UNSAMPLED.trace_id} <= set(traces)
    logs = told.stage.emulator.client("logs")
    group = f"/aws/lambda/{INTAKE}"
    messages = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    taken = [json.loads(line) for text in messages for line in text.splitlines() if "{" in line]
    assert {CLIENT.trace_id, UNSAMPLED.trace_id} <= {line.get("trace_id") for line in taken}


def test_every_line_of_a_job_says_for_what_it_is(told: Told) -> None:
    traces = {
        video.video_id: TraceContext.parse(video.traceparent)
        for video in (told.traced, told.unsampled, told.untraced)
    }
    runs = {video.video_id: video.current_run for video in (told.traced, told.untraced)}
    seen: dict[str, set[str]] = {}
    for line in told.lines:
        assert {"time", "level", "logger", "message"} <= line.keys()
        if line["message"] in NO_LINES_OF_A_JOB:
            assert "video_id" not in line
            continue
        video_id = line["video_id"]
        assert line["run_id"] == runs.get(video_id, line["run_id"])
        context = traces.get(video_id)
        if context is not None:
            assert line["trace_id"] == context.trace_id
        seen.setdefault(video_id, set()).add(line["part"])
    for video_id in traces:
        count = CHUNKS if video_id == told.traced.video_id else SHORT_CHUNKS
        chunks = {f"video#{number:05}" for number in range(count)}
        assert {"start", SOUND, END, *chunks} <= seen[video_id]


def test_lines_about_a_part_are_those_of_its_threads(told: Told) -> None:
    """The sound is made in the same message, and at the same time, as the first chunk."""
    lines = [line for line in told.lines if line.get("video_id") == told.traced.video_id]
    assert {line["part"] for line in lines if line["message"] == "sound done"} == {SOUND}
    done = [line for line in lines if line["message"] == "chunk done"]
    assert {line["part"] for line in done} == {f"video#{line['chunk']:05}" for line in done}
    assert {line["part"] for line in lines if line["message"] == "video ready"} == {END}


def test_nothing_is_logged_that_opens_anything(told: Told) -> None:
    texts = [worker.log_file.read_text() for worker in told.workers] + [told.api_log]
    for text in texts:
        for secret in ("Signature", "X-Amz-", told.stage.credentials["AWS_SECRET_ACCESS_KEY"]):
            assert secret not in text
    for worker in told.workers:
        assert "http://127.0.0.1" not in worker.log_file.read_text()


@pytest.mark.parametrize(("video", "chunks"), [("traced", CHUNKS), ("repeated", SHORT_CHUNKS)])
def test_metrics_tell_of_every_event_once(told: Told, video: str, chunks: int) -> None:
    """Also where the message that starts the run came twice at once, and again afterwards."""
    video_id = getattr(told, video).video_id
    lines = told.metrics(video_id)
    count = Counter(name for line in lines for name in line)
    for name in ONCE_A_RUN:
        assert count[name] == 1, name
    assert count[metrics.JOBS_FAILED] == 0
    for name in (metrics.CHUNKS_COMPLETED, metrics.CHUNK_RETRIES, metrics.ENCODE_SPEED_RATIO):
        assert count[name] == chunks, name
    assert count[metrics.CHUNK_WAIT_SECONDS] == chunks - 1


def test_metrics_are_what_the_table_says(told: Told) -> None:
    job = TranscodeJob(
        video_id=told.traced.video_id,
        run_id=str(told.traced.current_run),
        tenant="acme",
        bucket="",
        key="",
        version_id="",
        size_bytes=0,
        queued_at="",
    )
    lines = told.metrics(job.video_id)
    total = Counter[str]()
    for line in lines:
        for definition in line["_aws"]["CloudWatchMetrics"]:
            total.update({one["Name"]: line[one["Name"]] for one in definition["Metrics"]})
    parts, run = told.stage.parts(job), told.stage.run(job)
    assert run is not None
    assert total[metrics.CHUNK_RETRIES] == sum(
        part.attempt - 1 for name, part in parts.items() if name.startswith("video")
    )
    assert total[metrics.CPU_SECONDS] == pytest.approx(run.cpu_seconds, abs=0.001)
    assert run.cpu_seconds == pytest.approx(
        sum(part.cpu_seconds for part in parts.values()), abs=0.001
    )
    assert all(part.cpu_seconds > 0 for part in parts.values())
    read = sum(part.bytes_in for part in parts.values())
    # Every message may read the source anew, but nothing of it twice.
    size = told.traced.size_bytes
    assert size <= read <= total[metrics.BYTES_IN] <= CHUNKS * size
    objects = told.stage.objects(job)
    segments = sum(head["ContentLength"] for name, head in objects.items() if name.endswith(".m4s"))
    assert sum(part.bytes_out for part in parts.values()) == segments
    assert total[metrics.BYTES_OUT] >= segments


def test_properties_of_metrics_are_ids(told: Told) -> None:
    for line in told.metrics(told.traced.video_id):
        assert line["Stage"] == "test"
        assert line["run_id"] == told.traced.current_run
        assert line["trace_id"] == CLIENT.trace_id
        known = {"_aws", "Stage", "video_id", "run_id", "tenant", "part", "attempt", "trace_id"}
        values = {
            one["Name"]
            for definition in line["_aws"]["CloudWatchMetrics"]
            for one in definition["Metrics"]
        }
        assert line.keys() <= known | values
