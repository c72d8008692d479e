"""The pipeline: intake, queue, workers, relay, and what it refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sqs as sqs
from infra_templates import Stages, Synth, Template, flat, some_role

from media_platform.constructs import ApiCluster, ImageRepository, TranscodePipeline, VideoStore
from media_platform.constructs._fargate_task import SCRATCH_PATH
from media_platform.constructs._worker_service import ScalingStep, scaling_steps
from media_platform.contract.events import STARTING_EVENTS, EventType
from media_platform.contract.ladder import DEFAULT_LADDER, LadderRung, ladder_to_json
from media_platform.contract.scanning import ScannerQueues, scanners_from_json


def pipeline(stack: cdk.Stack, **arguments: Any) -> TranscodePipeline:
    store = VideoStore(stack, "Store")
    return TranscodePipeline(stack, "Transcode", store=store, stage="test", **arguments)


def container(made: Template) -> dict[str, Any]:
    (definition,) = made.only("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return dict(definition)


def variables(made: Template) -> dict[str, str]:
    return {v["Name"]: flat(v["Value"]) for v in container(made)["Environment"]}


def schedule(made: Template, construct: str) -> dict[str, Any]:
    """Return the rule of a construct that goes by the clock."""
    (rule,) = [
        r["Properties"]
        for name, r in made.resources("AWS::Events::Rule").items()
        if "ScheduleExpression" in r["Properties"] and name.startswith(f"Transcode{construct}")
    ]
    return dict(rule)


def mappings(made: Template) -> dict[str, dict[str, Any]]:
    """Return the event source mappings by their source."""
    found = made.resources("AWS::Lambda::EventSourceMapping").values()
    return {flat(m["Properties"]["EventSourceArn"]): m["Properties"] for m in found}


def functions(made: Template) -> dict[str, dict[str, Any]]:
    """Return the functions by their handler."""
    found = made.resources("AWS::Lambda::Function").values()
    return {f["Properties"]["Handler"]: f["Properties"] for f in found}


def invocations(made: Template, construct: str) -> tuple[int, str]:
    """Return the retries of a function, and where it goes when they are used up."""
    (found,) = [
        r["Properties"]
        for name, r in made.resources("AWS::Lambda::EventInvokeConfig").items()
        if name.startswith(construct)
    ]
    destination = flat(found["DestinationConfig"]["OnFailure"]["Destination"])
    return found["MaximumRetryAttempts"], destination


def test_minimal_brings_its_own_cluster(synth: Synth) -> None:
    made = synth(pipeline)
    assert made.only("AWS::ECS::Cluster")["CapacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert len(made.resources("AWS::EC2::VPC")) == 1
    service = made.only("AWS::ECS::Service")
    assert service["DesiredCount"] == 0
    assert service["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 4},
        {"CapacityProvider": "FARGATE", "Weight": 1},
    ]
    assert "LaunchType" not in service
    target = made.only("AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 10)


def test_the_worker_container_can_write_its_scratch_volume_only(synth: Synth) -> None:
    made = synth(pipeline)
    task = made.only("AWS::ECS::TaskDefinition")
    assert task["RuntimePlatform"]["CpuArchitecture"] == "ARM64"
    worker = container(made)
    assert worker["Command"] == ["python", "-m", "media_worker"]
    assert worker["ReadonlyRootFilesystem"] is True
    assert worker["User"] == "10001:10001"
    assert worker["StopTimeout"] == 120
    assert worker["LinuxParameters"]["InitProcessEnabled"] is True
    assert worker["MountPoints"] == [
        {"ContainerPath": SCRATCH_PATH, "ReadOnly": False, "SourceVolume": "scratch"}
    ]


def test_the_worker_knows_its_own_service(synth: Synth) -> None:
    made = synth(pipeline)
    name = made.only("AWS::ECS::Service")["ServiceName"]
    assert variables(made)["SCALABLE_TARGET"] == f"service/<TranscodeCluster>/{name}"


def test_everything_on(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        cluster = ecs.Cluster(stack, "Own", vpc=ec2.Vpc(stack, "Vpc", max_azs=2))
        pipeline(
            stack,
            cluster=cluster,
            max_workers=3,
            worker_image=ecs.ContainerImage.from_registry("registry.example.com/worker:1.0.0"),
            worker_cpu_units=1024,
            worker_memory_mebibytes=2048,
            worker_scratch_gibibytes=30,
            on_demand_weight=0,
            visibility_timeout=cdk.Duration.seconds(15),
            max_failures=5,
            max_duration=cdk.Duration.minutes(10),
            max_pixels=1000,
            max_frame_rate=120,
            max_tenant_parts=4,
            max_tenant_daily_cpu_hours=1.5,
            chunk_duration=cdk.Duration.seconds(24),
            chunks_in_flight=5,
            ladder=[LadderRung(short_side=2160, peak_kilobits=20_000)],
            measure_quality=True,
            old_run_grace=cdk.Duration.hours(2),
            purge_interval=cdk.Duration.minutes(5),
            sweep_interval=cdk.Duration.minutes(3),
            upload_max=cdk.Size.mebibytes(1),
            idle=cdk.Duration.seconds(7),
            event_retention=cdk.Duration.days(2),
            webhook_allowed_networks=["127.0.0.0/8", "fd00::/8"],
            max_webhook_batches=2,
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    made = synth(build)
    assert len(made.resources("AWS::ECS::Cluster")) == 1
    task = made.only("AWS::ECS::TaskDefinition")
    assert (task["Cpu"], task["Memory"]) == ("1024", "2048")
    assert container(made)["Image"] == "registry.example.com/worker:1.0.0"
    assert task["EphemeralStorage"] == {"SizeInGiB": 30}
    assert made.only("AWS::ECS::Service")["CapacityProviderStrategy"][1]["Weight"] == 0
    expected = {
        "VISIBILITY_TIMEOUT_SECONDS": "15",
        "MAX_FAILURES": "5",
        "MAX_DURATION_SECONDS": "600",
        "MAX_PIXELS": "1000",
        "MAX_FRAME_RATE": "120",
        "MAX_TENANT_PARTS": "4",
        "MAX_TENANT_DAILY_CPU_SECONDS": "5400",
        "CHUNK_SECONDS": "24",
        "CHUNKS_IN_FLIGHT": "5",
        "LADDER": '[{"short_side": 2160, "peak_kilobits": 20000}]',
        "MEASURE_QUALITY": "1",
        "OLD_RUN_SECONDS": "7200",
        "IDLE_SECONDS": "7",
    }
    assert expected.items() <= variables(made).items()
    assert "TranscodeWorkersVideosHeldBack" in {
        name[:-8] for name in made.resources("AWS::CloudWatch::Alarm")
    }
    sweep = made.grants("TranscodeLeftUploadsSweepRole")
    assert any(on.endswith(("Table", "Table.Arn>")) for on in sweep["dynamodb:Query"])
    functions = made.resources("AWS::Lambda::Function").values()
    environments = [f["Properties"].get("Environment", {}).get("Variables", {}) for f in functions]
    assert {e["UPLOAD_MAX_BYTES"] for e in environments if "UPLOAD_MAX_BYTES" in e} == {"1048576"}
    assert {e["RETENTION_DAYS"] for e in environments if "RETENTION_DAYS" in e} == {"2"}
    assert {e["ALLOWED_NETWORKS"] for e in environments if "ALLOWED_NETWORKS" in e} == {
        "127.0.0.0/8,fd00::/8"
    }
    deliveries = mappings(made)["<TranscodeWebhooksDeliveries.Arn>"]
    assert deliveries["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert schedule(made, "OldRuns")["ScheduleExpression"] == "rate(5 minutes)"
    for left in ("LeftUploads", "LeftEvents"):
        assert schedule(made, left)["ScheduleExpression"] == "rate(3 minutes)"
    assert {e["INTERVAL_MINUTES"] for e in environments if "INTERVAL_MINUTES" in e} == {"3"}
    bucket = made.resources("AWS::S3::Bucket")["TranscodeOutboxFailuresAC096A7F"]
    assert bucket["DeletionPolicy"] == "Delete"


def test_a_network_and_images_of_ones_own(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        images = ImageRepository(stack, "Images")
        image = ecs.ContainerImage.from_ecr_repository(images.repository, "1.0.0")
        pipeline(stack, vpc=ec2.Vpc(stack, "Own", max_azs=2), worker_image=image)

    made = synth(build)
    ((network, _),) = made.resources("AWS::EC2::VPC").items()
    assert network.startswith("Own")
    assert flat(container(made)["Image"]).endswith("/<ImagesRepository>:1.0.0")
    grants = made.grants("TranscodeWorkersTaskExecutionRole")
    pulled = {action for action, on in grants.items() if on == {"<ImagesRepository.Arn>"}}
    assert pulled == {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    }


def test_defaults_of_the_worker(synth: Synth) -> None:
    expected = {
        "MAX_FRAME_RATE": "240",
        "MAX_TENANT_PARTS": "0",
        "MAX_TENANT_DAILY_CPU_SECONDS": "0",
        "CHUNK_SECONDS": "16",
        "CHUNKS_IN_FLIGHT": "10",
        "LADDER": ladder_to_json(DEFAULT_LADDER),
        "MEASURE_QUALITY": "0",
        "OLD_RUN_SECONDS": "86400",
    }
    made = synth(pipeline)
    assert expected.items() <= variables(made).items()
    assert schedule(made, "OldRuns")["ScheduleExpression"] == "rate(15 minutes)"


@pytest.mark.parametrize(("max_workers", "chunks"), [(1, "2"), (3, "3"), (1000, "1000")])
def test_one_video_can_use_all_workers(synth: Synth, max_workers: int, chunks: str) -> None:
    made = synth(lambda stack: pipeline(stack, max_workers=max_workers))
    assert variables(made)["CHUNKS_IN_FLIGHT"] == chunks


def test_uploads_go_past_the_other_jobs(synth: Synth) -> None:
    made = synth(pipeline)
    worker = variables(made)
    assert (worker["EXPRESS_QUEUE_URL"], worker["QUEUE_URL"], worker["DEAD_LETTER_QUEUE_URL"]) == (
        "<TranscodeExpressJobs>",
        "<TranscodeJobs>",
        "<TranscodeDeadLetters>",
    )
    (intake,) = [
        f["Properties"]["Environment"]["Variables"]
        for f in made.resources("AWS::Lambda::Function").values()
        if f["Properties"]["Handler"] == "upload_intake.handler.handle"
    ]
    assert flat(intake["EXPRESS_QUEUE_URL"]) == "<TranscodeExpressJobs>"
    assert flat(intake["QUEUE_URL"]) == "<TranscodeJobs>"


def test_jobs_are_kept_safe(synth: Synth) -> None:
    made = synth(pipeline)
    queues = {name: q["Properties"] for name, q in made.resources("AWS::SQS::Queue").items()}
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 86_400
    working = [queue for name, queue in queues.items() if re.match("Transcode(Express)?Jobs", name)]
    assert len(working) == 2
    for jobs in working:
        assert jobs["VisibilityTimeout"] == 120
        assert jobs["ReceiveMessageWaitTimeSeconds"] == 20
        assert jobs["RedrivePolicy"]["maxReceiveCount"] == 100
        assert flat(jobs["RedrivePolicy"]["deadLetterTargetArn"]) == "<TranscodeDeadLetters.Arn>"
    scanning = {n: q for n, q in queues.items() if re.search("(Requests|Verdicts)", n)}
    assert len(scanning) == 2
    for queue in scanning.values():
        # Six times the timeout of the function that reads it, as Lambda wants it at least.
        assert queue["VisibilityTimeout"] in {6 * 30, 6 * 60}
        assert queue["RedrivePolicy"]["maxReceiveCount"] == 5
        assert flat(queue["RedrivePolicy"]["deadLetterTargetArn"]) == (
            "<TranscodeScanningDeadLetters.Arn>"
        )
    assert len(made.resources("AWS::SQS::QueuePolicy")) == len(queues)


def test_uploads_under_raw_reach_the_intake(synth: Synth) -> None:
    made = synth(pipeline)
    (rule,) = [
        r["Properties"]
        for r in made.resources("AWS::Events::Rule").values()
        if "EventPattern" in r["Properties"]
    ]
    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": {"name": [{"Ref": "StoreRawBucket27AD9156"}]},
            "object": {"key": [{"prefix": "raw/"}]},
        },
    }
    (target,) = rule["Targets"]
    assert flat(target["DeadLetterConfig"]["Arn"]) == "<TranscodeUploadsDeadLetters.Arn>"
    assert invocations(made, "TranscodeUploads") == (2, "<TranscodeUploadsDeadLetters.Arn>")


def test_old_runs_are_looked_for_again_and_again(synth: Synth) -> None:
    made = synth(pipeline)
    rule = schedule(made, "OldRuns")
    assert rule["State"] == "ENABLED"
    (target,) = rule["Targets"]
    assert flat(target["Arn"]) == "<TranscodeOldRunsPurgeFunction.Arn>"
    assert flat(target["DeadLetterConfig"]["Arn"]) == "<TranscodeOldRunsDeadLetters.Arn>"
    assert invocations(made, "TranscodeOldRuns") == (2, "<TranscodeOldRunsDeadLetters.Arn>")


@pytest.mark.parametrize("left", ["LeftUploads", "LeftEvents"])
def test_what_was_left_is_looked_for_again_and_again(synth: Synth, left: str) -> None:
    made = synth(pipeline)
    rule = schedule(made, left)
    assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(5 minutes)")
    (target,) = rule["Targets"]
    dead_letters = f"<Transcode{left}DeadLetters.Arn>"
    assert flat(target["Arn"]) == f"<Transcode{left}SweepFunction.Arn>"
    assert flat(target["DeadLetterConfig"]["Arn"]) == dead_letters
    assert invocations(made, f"Transcode{left}") == (0, dead_letters)


def relayed(made: Template) -> dict[str, Any]:
    """Return the event source mapping of the relay."""
    mappings = made.resources("AWS::Lambda::EventSourceMapping").items()
    (mapping,) = [m["Properties"] for name, m in mappings if name.startswith("TranscodeOutbox")]
    return dict(mapping)


def test_events_of_this_region_reach_the_relay(synth: Synth) -> None:
    mapping = relayed(synth(pipeline))
    assert flat(mapping["EventSourceArn"]) == "<StoreTable.StreamArn>"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] == 10
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert flat(mapping["DestinationConfig"]["OnFailure"]["Destination"]) == (
        "<TranscodeOutboxFailures.Arn>"
    )
    events, taken = (json.loads(one["Pattern"]) for one in mapping["FilterCriteria"]["Filters"])
    assert events == {
        "eventName": ["INSERT"],
        "dynamodb": {
            "Keys": {"sk": {"S": [{"prefix": "EVENT#"}]}},
            "NewImage": {"region": {"S": ["us-east-1"]}},
        },
    }
    assert taken == {
        "eventName": ["MODIFY"],
        "dynamodb": {
            "Keys": {"sk": {"S": ["META"]}},
            "OldImage": {"epoch": {"N": [{"anything-but": ["0"]}]}},
        },
    }, "a video that was never taken over calls nobody"


def test_the_stream_of_a_replica_is_looked_up(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        store = VideoStore(stack, "Store", imported_table_name="videos")
        TranscodePipeline(stack, "Transcode", store=store, stage="test")

    made = synth(build)
    lookup = made.only("Custom::ReplicaStream")
    assert lookup["TableName"] == "videos"
    mapping = relayed(made)
    assert flat(mapping["EventSourceArn"]) == "<TranscodeOutboxReplicaStream.StreamArn>"
    assert made.grants("TranscodeOutboxStreamLookupRole")["dynamodb:DescribeTable"] == {
        "arn:aws:dynamodb:us-east-1:ACCOUNT:table/videos"
    }


TABLE = "<StoreTable.Arn>"
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
TARGETS = {"arn:aws:application-autoscaling:us-east-1:ACCOUNT:scalable-target/*"}


def test_grants_of_the_worker(stages: Stages) -> None:
    made = stages["local"]["Media-us-east-1"]
    (service,) = {
        s["Properties"]["ServiceName"]
        for s in made.resources("AWS::ECS::Service").values()
        if "ServiceName" in s["Properties"]
    }
    service_arn = f"arn:aws:ecs:us-east-1:ACCOUNT:service/<ApiCluster>/{service}"
    assert made.grants("TranscodeWorkersTaskTaskRole") == {
        "dynamodb:GetItem": {"<StoreTable.Arn>"},
        "dynamodb:PutItem": {"<StoreTable.Arn>"},
        "dynamodb:Query": {"<StoreTable.Arn>"},
        "dynamodb:UpdateItem": {"<StoreTable.Arn>"},
        "s3:ListBucket": {"<StoreRawBucket.Arn>", "<StoreMediaBucket.Arn>"},
        "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:GetObject": {
            "<StoreMediaBucket.Arn>/media/*",
            "<StoreRawBucket.Arn>/thumbnails/*",
        },
        "s3:AbortMultipartUpload": {"<StoreMediaBucket.Arn>/media/*"},
        "s3:PutObject": {"<StoreMediaBucket.Arn>/media/*"},
        "s3:PutObjectTagging": {"<StoreMediaBucket.Arn>/media/*"},
        "sqs:ChangeMessageVisibility": {"<TranscodeExpressJobs.Arn>", "<TranscodeJobs.Arn>"},
        "sqs:DeleteMessage": {"<TranscodeExpressJobs.Arn>", "<TranscodeJobs.Arn>"},
        "sqs:ReceiveMessage": {"<TranscodeExpressJobs.Arn>", "<TranscodeJobs.Arn>"},
        "sqs:SendMessage": {"<TranscodeJobs.Arn>", "<TranscodeDeadLetters.Arn>"},
        "ecs:UpdateTaskProtection": {"arn:aws:ecs:us-east-1:ACCOUNT:task/<ApiCluster>/*"},
        "ecs:DescribeServices": {service_arn},
        "ecs:UpdateService": {service_arn},
        "application-autoscaling:RegisterScalableTarget": TARGETS,
    }


def test_grants_of_the_intake(synth: Synth) -> None:
    made = synth(pipeline)
    name = made.only("AWS::ECS::Service")["ServiceName"]
    service_arn = f"arn:aws:ecs:us-east-1:ACCOUNT:service/<TranscodeCluster>/{name}"
    assert made.grants("TranscodeUploadsIntakeRole") == {
        **{action: {"<TranscodeUploadsIntakeLogs.Arn>"} for action in LOGS},
        "dynamodb:DeleteItem": {TABLE},
        "dynamodb:GetItem": {TABLE},
        "dynamodb:PutItem": {TABLE},
        "dynamodb:UpdateItem": {TABLE},
        "s3:ListBucket": {"<StoreRawBucket.Arn>"},
        "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "sqs:SendMessage": {
            "<TranscodeExpressJobs.Arn>",
            "<TranscodeJobs.Arn>",
            "<TranscodeScanningContentRequests.Arn>",
            "<TranscodeUploadsDeadLetters.Arn>",
        },
        "sqs:GetQueueAttributes": {"<TranscodeUploadsDeadLetters.Arn>"},
        "sqs:GetQueueUrl": {"<TranscodeUploadsDeadLetters.Arn>"},
        "ecs:DescribeServices": {service_arn},
        "ecs:UpdateService": {service_arn},
        "application-autoscaling:RegisterScalableTarget": TARGETS,
    }


def test_grants_of_the_sweep(synth: Synth) -> None:
    made = synth(pipeline)
    intake = made.grants("TranscodeUploadsIntakeRole")
    dead_letters = "<TranscodeLeftUploadsDeadLetters.Arn>"
    assert made.grants("TranscodeLeftUploadsSweepRole") == {
        **intake,
        **{action: {"<TranscodeLeftUploadsSweepLogs.Arn>"} for action in LOGS},
        "dynamodb:Query": {f"{TABLE}/index/due", f"{TABLE}/index/in-flight"},
        "s3:ListBucketMultipartUploads": {"<StoreRawBucket.Arn>"},
        "s3:ListBucketVersions": {"<StoreRawBucket.Arn>"},
        "s3:AbortMultipartUpload": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:DeleteObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "sqs:SendMessage": {
            "<TranscodeExpressJobs.Arn>",
            "<TranscodeScanningContentRequests.Arn>",
            dead_letters,
        },
        "sqs:GetQueueAttributes": {dead_letters},
        "sqs:GetQueueUrl": {dead_letters},
    }


def test_grants_of_the_function_that_takes_verdicts(synth: Synth) -> None:
    made = synth(pipeline)
    name = made.only("AWS::ECS::Service")["ServiceName"]
    service_arn = f"arn:aws:ecs:us-east-1:ACCOUNT:service/<TranscodeCluster>/{name}"
    verdicts = {"<TranscodeScanningContentVerdicts.Arn>"}
    assert made.grants("TranscodeScanningVerdictsRole") == {
        **{action: {"<TranscodeScanningVerdictsLogs.Arn>"} for action in LOGS},
        "dynamodb:GetItem": {TABLE},
        "dynamodb:PutItem": {TABLE},
        "dynamodb:UpdateItem": {TABLE},
        "s3:PutObjectVersionTagging": {"<StoreRawBucket.Arn>/raw/*"},
        "sqs:DeleteMessage": verdicts,
        "sqs:GetQueueAttributes": verdicts,
        "sqs:ReceiveMessage": verdicts,
        "sqs:SendMessage": {"<TranscodeExpressJobs.Arn>"},
        "ecs:DescribeServices": {service_arn},
        "ecs:UpdateService": {service_arn},
        "application-autoscaling:RegisterScalableTarget": TARGETS,
    }


def test_grants_of_the_built_in_scanner(synth: Synth) -> None:
    requests = {"<TranscodeScanningContentRequests.Arn>"}
    assert synth(pipeline).grants("TranscodeScanningContentScanRole") == {
        **{action: {"<TranscodeScanningContentScanLogs.Arn>"} for action in LOGS},
        "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:GetObjectVersionTagging": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:ListBucket": {"<StoreRawBucket.Arn>"},
        "sqs:DeleteMessage": requests,
        "sqs:GetQueueAttributes": requests,
        "sqs:ReceiveMessage": requests,
        "sqs:SendMessage": {"<TranscodeScanningContentVerdicts.Arn>"},
    }


def asked_scanners(made: Template, handler: str) -> dict[str, ScannerQueues]:
    """Return the scanners that a function knows."""
    (function,) = [
        f["Properties"]
        for f in made.resources("AWS::Lambda::Function").values()
        if f["Properties"]["Handler"] == handler
    ]
    return scanners_from_json(flat(function["Environment"]["Variables"]["SCANNERS"]))


def test_scanners_of_other_teams_are_asked_and_heard(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        made = pipeline(stack)
        made.add_scanner("legal").grant_scan(some_role(stack))
        assert set(made.scanners) == {"content", "legal"}

    made = synth(build)
    expected = {
        "content": ScannerQueues(
            requests_url="<TranscodeScanningContentRequests>",
            verdicts_url="<TranscodeScanningContentVerdicts>",
        ),
        "legal": ScannerQueues(
            requests_url="<TranscodeScanningScannerlegalRequests>",
            verdicts_url="<TranscodeScanningScannerlegalVerdicts>",
        ),
    }
    for handler in ("handler", "sweep", "verdicts"):
        assert asked_scanners(made, f"upload_intake.{handler}.handle") == expected
    for role in ("TranscodeUploadsIntakeRole", "TranscodeLeftUploadsSweepRole"):
        assert {
            "<TranscodeScanningScannerlegalRequests.Arn>",
            "<TranscodeScanningContentRequests.Arn>",
        } < made.grants(role)["sqs:SendMessage"]
    read = {
        (flat(m["Properties"]["FunctionName"]), flat(m["Properties"]["EventSourceArn"]))
        for m in made.resources("AWS::Lambda::EventSourceMapping").values()
        if m["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    }
    function = "<TranscodeScanningVerdictsFunction>"
    assert {
        (function, "<TranscodeScanningContentVerdicts.Arn>"),
        (function, "<TranscodeScanningScannerlegalVerdicts.Arn>"),
    } < read


def test_grants_of_a_scanner_of_another_team(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        pipeline(stack, scan_content=False).add_scanner("legal").grant_scan(some_role(stack))

    requests = {"<TranscodeScanningScannerlegalRequests.Arn>"}
    assert synth(build).grants("Grantee") == {
        "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:GetObjectVersionTagging": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:ListBucket": {"<StoreRawBucket.Arn>"},
        "sqs:ChangeMessageVisibility": requests,
        "sqs:DeleteMessage": requests,
        "sqs:GetQueueAttributes": requests,
        "sqs:ReceiveMessage": requests,
        "sqs:SendMessage": {"<TranscodeScanningScannerlegalVerdicts.Arn>"},
    }


def test_a_pipeline_without_scanners_starts_at_once(synth: Synth) -> None:
    made = synth(lambda stack: pipeline(stack, scan_content=False))
    assert asked_scanners(made, "upload_intake.handler.handle") == {}
    assert not [name for name in made.content["Resources"] if "Scan" in name]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Legal", "name of a scanner is 'Legal', allowed are 1 to 32"),
        ("l" * 33, "allowed are 1 to 32"),
        ("content", "there is a scanner 'content' already"),
    ],
)
def test_names_of_scanners(stack: cdk.Stack, name: str, problem: str) -> None:
    made = pipeline(stack)
    with pytest.raises(ValueError, match=problem):
        made.add_scanner(name)


def test_what_asks_for_a_run_is_told_to_the_intake(synth: Synth) -> None:
    made = synth(pipeline)
    subscriptions = [one["Properties"] for one in made.resources("AWS::SNS::Subscription").values()]
    (subscription,) = (one for one in subscriptions if one["Protocol"] == "lambda")
    assert flat(subscription["Endpoint"]) == "<TranscodeUploadsIntakeFunction.Arn>"
    assert subscription["FilterPolicy"] == {
        "event_type": [event_type.value for event_type in STARTING_EVENTS]
    }


def test_grants_of_the_purge(synth: Synth) -> None:
    made = synth(pipeline)
    assert made.grants("TranscodeOldRunsPurgeRole") == {
        **{action: {"<TranscodeOldRunsPurgeLogs.Arn>"} for action in LOGS},
        "dynamodb:DeleteItem": {TABLE},
        "dynamodb:GetItem": {TABLE},
        "dynamodb:Query": {TABLE, f"{TABLE}/index/due"},
        "dynamodb:UpdateItem": {TABLE},
        "s3:ListBucketVersions": {"<StoreMediaBucket.Arn>", "<StoreRawBucket.Arn>"},
        "s3:DeleteObjectVersion": {
            "<StoreMediaBucket.Arn>/media/*",
            "<StoreRawBucket.Arn>/raw/*",
        },
        "sqs:GetQueueAttributes": {"<TranscodeOldRunsDeadLetters.Arn>"},
        "sqs:GetQueueUrl": {"<TranscodeOldRunsDeadLetters.Arn>"},
        "sqs:SendMessage": {"<TranscodeOldRunsDeadLetters.Arn>"},
    }


def test_grants_of_the_relay(synth: Synth) -> None:
    stream = "<StoreTable.StreamArn>"
    assert synth(pipeline).grants("TranscodeOutboxRelayRole") == {
        **{action: {"<TranscodeOutboxRelayLogs.Arn>"} for action in LOGS},
        "dynamodb:Query": {TABLE},
        "dynamodb:UpdateItem": {TABLE},
        "dynamodb:DescribeStream": {stream},
        "dynamodb:GetRecords": {stream},
        "dynamodb:GetShardIterator": {stream},
        "dynamodb:ListStreams": {"*"},
        "sns:Publish": {"<TranscodeOutboxTopic>"},
        "s3:ListBucket": {"<TranscodeOutboxFailures.Arn>"},
        "s3:PutObject": {"<TranscodeOutboxFailures.Arn>/*"},
    }


def test_grants_of_the_sweep_of_events(synth: Synth) -> None:
    dead_letters = "<TranscodeLeftEventsDeadLetters.Arn>"
    assert synth(pipeline).grants("TranscodeLeftEventsSweepRole") == {
        **{action: {"<TranscodeLeftEventsSweepLogs.Arn>"} for action in LOGS},
        "dynamodb:Query": {TABLE, f"{TABLE}/index/unpublished"},
        "dynamodb:UpdateItem": {TABLE},
        "sns:Publish": {"<TranscodeOutboxTopic>"},
        "sqs:GetQueueAttributes": {dead_letters},
        "sqs:GetQueueUrl": {dead_letters},
        "sqs:SendMessage": {dead_letters},
    }


def test_webhooks_are_sent_outside_of_any_network(synth: Synth) -> None:
    made = synth(pipeline)
    found = functions(made)
    for handler in ("fan_out", "deliver", "turn"):
        function = found[f"webhook_dispatch.handler.{handler}"]
        assert "VpcConfig" not in function
        assert function["Timeout"] == 60
        variables = function["Environment"]["Variables"]
        assert flat(variables["DELIVERY_QUEUE_URL"]) == "<TranscodeWebhooksDeliveries>"
        assert variables["ALLOWED_NETWORKS"] == "none"


def test_events_and_deliveries_of_webhooks_are_kept_safe(synth: Synth) -> None:
    made = synth(pipeline)
    found = mappings(made)
    for name, receives, letters in (
        ("TranscodeWebhooksEvents", 50, "<TranscodeWebhooksDeadLetters.Arn>"),
        ("TranscodeWebhooksDeliveries", 5, "<TranscodeWebhooksDeliveryDeadLetters.Arn>"),
    ):
        (queue,) = [
            q["Properties"] for i, q in made.resources("AWS::SQS::Queue").items() if name in i
        ]
        assert queue["VisibilityTimeout"] == 6 * 60, "six times the timeout of the function"
        assert queue["RedrivePolicy"]["maxReceiveCount"] == receives
        assert flat(queue["RedrivePolicy"]["deadLetterTargetArn"]) == letters
        mapping = found[f"<{name}.Arn>"]
        assert mapping["BatchSize"] == 10
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert found["<TranscodeWebhooksDeliveries.Arn>"]["ScalingConfig"] == {"MaximumConcurrency": 20}
    rule = schedule(made, "Webhooks")
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    assert flat(rule["Targets"][0]["Arn"]) == "<TranscodeWebhooksTurnFunction.Arn>"
    assert invocations(made, "TranscodeWebhooks") == (
        0,
        "<TranscodeWebhooksDeliveryDeadLetters.Arn>",
    )


CONSUMED = {
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:ReceiveMessage",
}
"""What Lambda does with the queue of a function, as the CDK grants it."""


def test_grants_of_the_webhooks(synth: Synth) -> None:
    made = synth(pipeline)
    events, deliveries = "<TranscodeWebhooksEvents.Arn>", "<TranscodeWebhooksDeliveries.Arn>"
    letters = "<TranscodeWebhooksDeliveryDeadLetters.Arn>"
    assert made.grants("TranscodeWebhooksFanOutRole") == {
        **{action: {"<TranscodeWebhooksFanOutLogs.Arn>"} for action in LOGS},
        **{action: {events} for action in CONSUMED},
        "dynamodb:PutItem": {TABLE},
        "dynamodb:Query": {TABLE},
        "sqs:SendMessage": {deliveries},
    }
    assert made.grants("TranscodeWebhooksDeliverRole") == {
        **{action: {"<TranscodeWebhooksDeliverLogs.Arn>"} for action in LOGS},
        **{action: {deliveries} for action in CONSUMED},
        "dynamodb:GetItem": {TABLE},
        "dynamodb:PutItem": {TABLE},
        "dynamodb:UpdateItem": {TABLE},
        "sqs:SendMessage": {deliveries},
    }
    assert made.grants("TranscodeWebhooksTurnRole") == {
        **{action: {"<TranscodeWebhooksTurnLogs.Arn>"} for action in LOGS},
        "dynamodb:Query": {f"{TABLE}/index/due"},
        "dynamodb:UpdateItem": {TABLE},
        "sqs:GetQueueAttributes": {letters},
        "sqs:GetQueueUrl": {letters},
        "sqs:SendMessage": {deliveries, letters},
    }


def test_waking_reaches_services_of_ecs_only(synth: Synth) -> None:
    made = synth(lambda stack: pipeline(stack).workers.grant_wake(some_role(stack)))
    conditions = [
        statement["Condition"]
        for policy in made.resources("AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "application-autoscaling:RegisterScalableTarget"
    ]
    assert len(conditions) == 5
    for condition in conditions:
        assert condition == {
            "StringEqualsIfExists": {
                "application-autoscaling:service-namespace": "ecs",
                "application-autoscaling:scalable-dimension": "ecs:service:DesiredCount",
            }
        }


def test_a_queue_subscribes_to_some_events(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        made = pipeline(stack)
        made.subscribe_queue(sqs.Queue(stack, "All"))
        made.subscribe_queue(
            sqs.Queue(stack, "Ready"), event_types=[EventType.VIDEO_READY, EventType.VIDEO_FAILED]
        )

    made = synth(build)
    subscriptions = {
        flat(s["Properties"]["Endpoint"]): s["Properties"]
        for s in made.resources("AWS::SNS::Subscription").values()
        if s["Properties"]["Protocol"] == "sqs"
    }
    assert set(subscriptions) == {"<All.Arn>", "<Ready.Arn>", "<TranscodeWebhooksEvents.Arn>"}
    assert "FilterPolicy" not in subscriptions["<All.Arn>"]
    assert subscriptions["<Ready.Arn>"]["FilterPolicy"] == {
        "event_type": ["VideoReady", "VideoFailed"]
    }
    for properties in subscriptions.values():
        assert properties["RawMessageDelivery"] is True
        assert "deadLetterTargetArn" in properties["RedrivePolicy"]


def test_metrics(stack: cdk.Stack) -> None:
    made = pipeline(stack)
    for metric, name in (
        (made.metric_dead_letters(), "ApproximateNumberOfMessagesVisible"),
        (made.metric_webhook_backlog(), "ApproximateNumberOfMessagesVisible"),
        (made.metric_relay_delay(), "IteratorAge"),
    ):
        config = metric.to_metric_config().metric_stat
        assert config is not None
        assert (config.metric_name, config.statistic) == (name, "Maximum")
    math = made.metric_backlog().to_metric_config().math_expression
    assert math is not None
    assert math.expression == "m1+m2+m3+m4"
    parts = set()
    for part in math.using_metrics.values():
        stat = part.to_metric_config().metric_stat
        assert stat is not None
        assert stat.dimensions is not None
        (queue_name,) = stat.dimensions
        parts.add((flat(stack.resolve(queue_name.value)), stat.metric_name))
    assert parts == {
        (f"<{queue}.QueueName>", f"ApproximateNumberOfMessages{state}")
        for queue in ("TranscodeExpressJobs", "TranscodeJobs")
        for state in ("Visible", "NotVisible")
    }


def test_every_dead_letter_queue_has_its_alarm(synth: Synth) -> None:
    made = synth(pipeline)
    watched = {
        flat(alarm["Properties"]["Dimensions"][0]["Value"])
        for name, alarm in made.resources("AWS::CloudWatch::Alarm").items()
        if "NotEmpty" in name
    }
    (webhooks,) = [name for name in watched if name.startswith("<TranscodeOutboxSubscription")]
    assert watched == {
        webhooks,
        "<TranscodeDeadLetters.QueueName>",
        "<TranscodeLeftEventsDeadLetters.QueueName>",
        "<TranscodeLeftUploadsDeadLetters.QueueName>",
        "<TranscodeOldRunsDeadLetters.QueueName>",
        "<TranscodeScanningDeadLetters.QueueName>",
        "<TranscodeUploadsDeadLetters.QueueName>",
        "<TranscodeWebhooksDeadLetters.QueueName>",
        "<TranscodeWebhooksDeliveryDeadLetters.QueueName>",
    }


# --- scaling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_workers", [1, 2, 3, 10, 50, 1000])
def test_scaling_never_takes_a_worker_for_whom_there_is_work(max_workers: int) -> None:
    steps = scaling_steps(max_workers)
    assert len(steps) <= 20
    assert steps[0] == ScalingStep(0, 0)
    for backlog in range(1, 2 * max_workers + 5):
        # Those in flight are protected; at most as many wait as are left to take them.
        needed = backlog if backlog <= 4 else max(4, -(-backlog // 2))
        assert min(needed, max_workers) <= workers_of(steps, backlog) <= max_workers


@pytest.mark.parametrize(("max_workers", "too_many"), [(4, 0), (50, 0.2), (1000, 0.45)])
def test_hardly_any_worker_comes_for_nothing(max_workers: int, too_many: float) -> None:
    steps = scaling_steps(max_workers)
    for backlog in range(1, max_workers + 1):
        needed = backlog if backlog <= 4 else max(4, -(-backlog // 2))
        assert workers_of(steps, backlog) <= needed * (1 + too_many) + 1


def workers_of(steps: list[ScalingStep], backlog: int) -> int:
    return [step.workers for step in steps if step.backlog <= backlog][-1]


@pytest.mark.parametrize(
    ("backlog", "workers"), [(0, {0}), (1, {1}), (2, {2}), (3, {3}), (4, {3}), (1000, {3})]
)
def test_deployed_steps_ask_for_one_number_of_workers(
    synth: Synth, backlog: int, workers: set[int]
) -> None:
    """Follows alarms and policies as CloudWatch and Application Auto Scaling read them."""
    made = synth(lambda stack: pipeline(stack, max_workers=3))
    policies = made.resources("AWS::ApplicationAutoScaling::ScalingPolicy")
    asked = set()
    for alarm in made.resources("AWS::CloudWatch::Alarm").values():
        properties = alarm["Properties"]
        if "AlarmActions" not in properties:
            continue
        threshold = properties["Threshold"]
        below = properties["ComparisonOperator"] == "LessThanOrEqualToThreshold"
        if not (backlog <= threshold if below else backlog >= threshold):
            continue
        (action,) = properties["AlarmActions"]
        policy = policies[action["Ref"]]["Properties"]["StepScalingPolicyConfiguration"]
        assert policy["AdjustmentType"] == "ExactCapacity"
        for step in policy["StepAdjustments"]:
            lower = threshold + step.get("MetricIntervalLowerBound", float("-inf"))
            upper = threshold + step.get("MetricIntervalUpperBound", float("inf"))
            if lower <= backlog < upper:
                asked.add(step["ScalingAdjustment"])
    assert asked == workers


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"visibility_timeout": cdk.Duration.seconds(5)},
            (
                "visibility_timeout in seconds is 5, allowed are 15 to 43200; a worker renews it "
                "at a third, so shorter ones are lost to a slow call (path: Test/Transcode)"
            ),
        ),
        (
            {"max_failures": 0},
            (
                "max_failures is 0, allowed are 1 to 50; beyond that the queue's own limit of "
                "receives ends the job without a reason (path: Test/Transcode)"
            ),
        ),
        (
            {"upload_max": cdk.Size.tebibytes(6)},
            (
                "upload_max in bytes is 6597069766656, allowed are 1 to 5497558138880; an object "
                "of S3 has no more (path: Test/Transcode)"
            ),
        ),
        (
            {"event_retention": cdk.Duration.days(400)},
            (
                "event_retention in days is 400, allowed are 1 to 365; pass whole days (path: "
                "Test/Transcode)"
            ),
        ),
        (
            {"max_frame_rate": 0},
            (
                "max_frame_rate is 0, allowed are 1 to 1000; no camera of the web is faster, and "
                "files that say so are broken (path: Test/Transcode)"
            ),
        ),
        (
            {"max_tenant_parts": -1},
            (
                "max_tenant_parts is -1, allowed are 0 to 10000; pass 0 for any number, since no "
                "pipeline has more workers than that (path: Test/Transcode)"
            ),
        ),
        (
            {"max_tenant_daily_cpu_hours": -1},
            (
                "max_tenant_daily_cpu_hours is -1, allowed are 0 to 100000; pass 0 for any number, "
                "since a thousand workers do not work more in a day (path: Test/Transcode)"
            ),
        ),
        (
            {"chunk_duration": cdk.Duration.seconds(4)},
            (
                "chunk_duration in seconds is 4, allowed are 8 to 300; shorter chunks are mostly "
                "the start of an encoder, longer ones are lost with a worker (path: Test/Transcode)"
            ),
        ),
        (
            {"chunk_duration": cdk.Duration.seconds(18)},
            (
                "chunk_duration in seconds is 18, allowed are multiples of 4; a chunk is cut "
                "between segments (path: Test/Transcode)"
            ),
        ),
        (
            {"chunks_in_flight": 1},
            (
                "chunks_in_flight is 1, allowed are 2 to 1000; with fewer, workers wait for each "
                "other; with more, one video fills the queue (path: Test/Transcode)"
            ),
        ),
        (
            {"old_run_grace": cdk.Duration.days(31)},
            (
                "old_run_grace in seconds is 2678400, allowed are 1 to 2592000; who watches the "
                "old run needs some time, and objects cost money (path: Test/Transcode)"
            ),
        ),
        (
            {"purge_interval": cdk.Duration.seconds(30)},
            (
                "purge_interval in seconds is 30, allowed are 60 to 86400; EventBridge counts in "
                "minutes, and every region needs its turn within a day (path: Test/Transcode)"
            ),
        ),
        (
            {"purge_interval": cdk.Duration.seconds(90)},
            (
                "purge_interval in seconds is 90, allowed are multiples of 60; EventBridge counts "
                "in minutes (path: Test/Transcode)"
            ),
        ),
        (
            {"sweep_interval": cdk.Duration.seconds(90)},
            (
                "sweep_interval in seconds is 90, allowed are multiples of 60; EventBridge counts "
                "in minutes (path: Test/Transcode)"
            ),
        ),
        (
            {"webhook_allowed_networks": ["10.0.0.1/8"]},
            (
                "webhook_allowed_networks contains '10.0.0.1/8', allowed are networks such as "
                "10.0.0.0/8; correct it (path: Test/Transcode)"
            ),
        ),
        (
            {"max_webhook_batches": 1},
            (
                "max_webhook_batches is 1, allowed are 2 to 1000; an event source mapping takes "
                "no other concurrency (path: Test/Transcode)"
            ),
        ),
        (
            {"ladder": ()},
            (
                "ladder has 0 renditions, allowed are 1 to 8; leave it out for 1080p, 720p, 480p, "
                "360p (path: Test/Transcode)"
            ),
        ),
        (
            {
                "ladder": [
                    LadderRung(short_side=1080, peak_kilobits=2000),
                    LadderRung(short_side=720, peak_kilobits=2600),
                ]
            },
            (
                "peak_kilobits of 1080p is 2000, which is not above the 2600 of 720p; players take "
                "the lower one for the better (path: Test/Transcode)"
            ),
        ),
        (
            {"network": "vpn"},
            (
                "network is 'vpn', allowed are public, nat, endpoints; say how tasks reach AWS "
                "(path: Test/Transcode)"
            ),
        ),
        (
            {"max_workers": 0},
            (
                "max_workers is 0, allowed are 1 to 1000; split the load over regions (path: "
                "Test/Transcode)"
            ),
        ),
        (
            {"max_workers": "3"},
            (
                "max_workers is '3', allowed are 1 to 1000; pass a number that is known before "
                "deployment (path: Test/Transcode)"
            ),
        ),
        (
            {"max_failures": cdk.Token.as_number({"Ref": "Failures"})},
            (
                "max_failures is a token, allowed are 1 to 50; pass a number that is known before "
                "deployment (path: Test/Transcode)"
            ),
        ),
        (
            {"idle": cdk.Duration.millis(1500)},
            "idle is 1 second 500 millis; pass a whole number of seconds (path: Test/Transcode)",
        ),
        (
            {"idle": cdk.Duration.days(2)},
            (
                "idle in seconds is 172800, allowed are 1 to 86400; workers that never go cost "
                "money day and night (path: Test/Transcode)"
            ),
        ),
        (
            {"event_retention": cdk.Duration.seconds(cdk.Token.as_number({"Ref": "Seconds"}))},
            (
                "event_retention is known at deployment only; pass a whole number of days (path: "
                "Test/Transcode)"
            ),
        ),
        (
            {"max_duration": cdk.Duration.days(8)},
            (
                "max_duration in seconds is 691200, allowed are 1 to 604800; what plays for "
                "longer than a week is a channel, not a video (path: Test/Transcode)"
            ),
        ),
        (
            {"max_pixels": 7680 * 4320 + 1},
            (
                "max_pixels is 33177601, allowed are 1 to 33177600; a frame of 8K has no more "
                "(path: Test/Transcode)"
            ),
        ),
    ],
)
def test_errors(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pipeline(stack, **arguments)


def test_workers_of_a_new_cluster_reach_aws_as_chosen(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        own = ec2.Vpc(stack, "Own", max_azs=2, nat_gateways=0)
        pipeline(stack, vpc=own, network="endpoints")

    made = synth(build)
    placed = made.only("AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert placed["AssignPublicIp"] == "DISABLED"
    assert all(flat(subnet).startswith("<OwnIsolatedSubnet") for subnet in placed["Subnets"])
    assert {
        flat(endpoint["Properties"]["ServiceName"]).split(".", 3)[3]
        for endpoint in made.resources("AWS::EC2::VPCEndpoint").values()
    } == {"application-autoscaling", "ecr.api", "ecr.dkr", "logs", "sqs"}


@pytest.mark.parametrize("argument", ["vpc", "network"])
def test_a_cluster_that_is_given_has_its_network(stack: cdk.Stack, argument: str) -> None:
    vpc = ec2.Vpc(stack, "Own", max_azs=2)
    beside = {"vpc": vpc, "network": "public"}[argument]
    cluster = ecs.Cluster(stack, "Cluster", vpc=vpc)
    message = (
        f"{argument} is given beside cluster, which has one already; leave one of them out "
        "(path: Test/Transcode)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pipeline(stack, cluster=cluster, **{argument: beside})


@pytest.mark.parametrize("construct", [TranscodePipeline, ApiCluster])
def test_a_store_of_another_region_is_refused(construct: Any) -> None:
    app = cdk.App()
    there = cdk.Stack(app, "There", env=cdk.Environment(region="eu-west-1"))
    here = cdk.Stack(app, "Here", env=cdk.Environment(region="us-east-1"))
    message = (
        "store is in eu-west-1, but this stack is in us-east-1; pass that of this region (path: "
        "Here/It)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        construct(here, "It", store=VideoStore(there, "Store"))


@pytest.mark.parametrize("name", ["", "Prod", "a-b", "x" * 17, "größe"])
def test_a_stage_must_fit_into_names(stack: cdk.Stack, name: str) -> None:
    message = (
        f"stage is {name!r}, allowed are 1 to 16 lower-case letters and digits; shorten it "
        "(path: Test/Transcode)"
    )
    store = VideoStore(stack, "Store")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TranscodePipeline(stack, "Transcode", store=store, stage=name)
