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
from conftest import Stages, Synth
from infra_templates import Template, flat, some_role

from media_platform.constructs import TranscodePipeline, VideoStore
from media_platform.constructs._fargate_task import SCRATCH_PATH
from media_platform.constructs._worker_service import ScalingStep, scaling_steps
from media_platform.contract.events import EventType


def pipeline(stack: cdk.Stack, **arguments: Any) -> TranscodePipeline:
    store = VideoStore(stack, "Store")
    return TranscodePipeline(stack, "Transcode", store=store, stage="test", **arguments)


def container(made: Template) -> dict[str, Any]:
    (definition,) = made.only("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return dict(definition)


def variables(made: Template) -> dict[str, str]:
    return {v["Name"]: flat(v["Value"]) for v in container(made)["Environment"]}


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
            worker_cpu_units=1024,
            worker_memory_mebibytes=2048,
            worker_scratch_gibibytes=30,
            on_demand_weight=0,
            visibility_timeout=cdk.Duration.seconds(15),
            max_failures=5,
            max_duration=cdk.Duration.minutes(10),
            max_pixels=1000,
            upload_max=cdk.Size.mebibytes(1),
            idle=cdk.Duration.seconds(7),
            event_retention=cdk.Duration.days(2),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    made = synth(build)
    assert len(made.resources("AWS::ECS::Cluster")) == 1
    task = made.only("AWS::ECS::TaskDefinition")
    assert (task["Cpu"], task["Memory"]) == ("1024", "2048")
    assert task["EphemeralStorage"] == {"SizeInGiB": 30}
    assert made.only("AWS::ECS::Service")["CapacityProviderStrategy"][1]["Weight"] == 0
    expected = {
        "VISIBILITY_TIMEOUT_SECONDS": "15",
        "MAX_FAILURES": "5",
        "MAX_DURATION_SECONDS": "600",
        "MAX_PIXELS": "1000",
        "IDLE_SECONDS": "7",
    }
    assert expected.items() <= variables(made).items()
    functions = made.resources("AWS::Lambda::Function").values()
    environments = [f["Properties"]["Environment"]["Variables"] for f in functions]
    assert {e["UPLOAD_MAX_BYTES"] for e in environments if "UPLOAD_MAX_BYTES" in e} == {"1048576"}
    assert {e["RETENTION_DAYS"] for e in environments if "RETENTION_DAYS" in e} == {"2"}
    bucket = made.resources("AWS::S3::Bucket")["TranscodeOutboxFailuresAC096A7F"]
    assert bucket["DeletionPolicy"] == "Delete"


def test_jobs_are_kept_safe(synth: Synth) -> None:
    made = synth(pipeline)
    queues = {name: q["Properties"] for name, q in made.resources("AWS::SQS::Queue").items()}
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 86_400
    jobs = queues["TranscodeJobs32644D74"]
    assert jobs["VisibilityTimeout"] == 120
    assert jobs["ReceiveMessageWaitTimeSeconds"] == 20
    assert jobs["RedrivePolicy"]["maxReceiveCount"] == 100
    assert flat(jobs["RedrivePolicy"]["deadLetterTargetArn"]) == "<TranscodeDeadLetters.Arn>"
    assert len(made.resources("AWS::SQS::QueuePolicy")) == len(queues)


def test_uploads_under_raw_reach_the_intake(synth: Synth) -> None:
    made = synth(pipeline)
    rule = made.only("AWS::Events::Rule")
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
    retries = made.only("AWS::Lambda::EventInvokeConfig")
    assert retries["MaximumRetryAttempts"] == 2
    assert flat(retries["DestinationConfig"]["OnFailure"]["Destination"]) == (
        "<TranscodeUploadsDeadLetters.Arn>"
    )


def test_events_of_this_region_reach_the_relay(synth: Synth) -> None:
    mapping = synth(pipeline).only("AWS::Lambda::EventSourceMapping")
    assert flat(mapping["EventSourceArn"]) == "<StoreTable.StreamArn>"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] == 10
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert flat(mapping["DestinationConfig"]["OnFailure"]["Destination"]) == (
        "<TranscodeOutboxFailures.Arn>"
    )
    (pattern,) = mapping["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {
            "Keys": {"sk": {"S": [{"prefix": "EVENT#"}]}},
            "NewImage": {"region": {"S": ["us-east-1"]}},
        },
    }


def test_the_stream_of_a_replica_is_looked_up(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        store = VideoStore(stack, "Store", imported_table_name="videos")
        TranscodePipeline(stack, "Transcode", store=store, stage="test")

    made = synth(build)
    lookup = made.only("Custom::ReplicaStream")
    assert lookup["TableName"] == "videos"
    mapping = made.only("AWS::Lambda::EventSourceMapping")
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
        "dynamodb:UpdateItem": {"<StoreTable.Arn>"},
        "s3:ListBucket": {"<StoreRawBucket.Arn>", "<StoreMediaBucket.Arn>"},
        "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "s3:GetObject": {"<StoreMediaBucket.Arn>/media/*"},
        "s3:PutObject": {"<StoreMediaBucket.Arn>/media/*"},
        "sqs:ChangeMessageVisibility": {"<TranscodeJobs.Arn>"},
        "sqs:DeleteMessage": {"<TranscodeJobs.Arn>"},
        "sqs:ReceiveMessage": {"<TranscodeJobs.Arn>"},
        "sqs:SendMessage": {"<TranscodeDeadLetters.Arn>"},
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
        "dynamodb:GetItem": {TABLE},
        "dynamodb:PutItem": {TABLE},
        "dynamodb:UpdateItem": {TABLE},
        "s3:ListBucket": {"<StoreRawBucket.Arn>"},
        "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
        "sqs:SendMessage": {"<TranscodeJobs.Arn>", "<TranscodeUploadsDeadLetters.Arn>"},
        "sqs:GetQueueAttributes": {"<TranscodeUploadsDeadLetters.Arn>"},
        "sqs:GetQueueUrl": {"<TranscodeUploadsDeadLetters.Arn>"},
        "ecs:DescribeServices": {service_arn},
        "ecs:UpdateService": {service_arn},
        "application-autoscaling:RegisterScalableTarget": TARGETS,
    }


def test_grants_of_the_relay(synth: Synth) -> None:
    stream = "<StoreTable.StreamArn>"
    assert synth(pipeline).grants("TranscodeOutboxRelayRole") == {
        **{action: {"<TranscodeOutboxRelayLogs.Arn>"} for action in LOGS},
        "dynamodb:UpdateItem": {TABLE},
        "dynamodb:DescribeStream": {stream},
        "dynamodb:GetRecords": {stream},
        "dynamodb:GetShardIterator": {stream},
        "dynamodb:ListStreams": {"*"},
        "sns:Publish": {"<TranscodeOutboxTopic>"},
        "s3:ListBucket": {"<TranscodeOutboxFailures.Arn>"},
        "s3:PutObject": {"<TranscodeOutboxFailures.Arn>/*"},
    }


def test_waking_reaches_services_of_ecs_only(synth: Synth) -> None:
    made = synth(lambda stack: pipeline(stack).workers.grant_wake(some_role(stack)))
    conditions = [
        statement["Condition"]
        for policy in made.resources("AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "application-autoscaling:RegisterScalableTarget"
    ]
    assert len(conditions) == 3
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
    }
    assert set(subscriptions) == {"<All.Arn>", "<Ready.Arn>"}
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
        (made.metric_relay_delay(), "IteratorAge"),
    ):
        config = metric.to_metric_config().metric_stat
        assert config is not None
        assert (config.metric_name, config.statistic) == (name, "Maximum")
    math = made.metric_backlog().to_metric_config().math_expression
    assert math is not None
    assert math.expression == "m1+m2"


def test_every_dead_letter_queue_has_its_alarm(synth: Synth) -> None:
    made = synth(pipeline)
    watched = {
        flat(alarm["Properties"]["Dimensions"][0]["Value"])
        for alarm in made.resources("AWS::CloudWatch::Alarm").values()
        if "Dimensions" in alarm["Properties"]
    }
    assert watched == {
        "<TranscodeDeadLetters.QueueName>",
        "<TranscodeUploadsDeadLetters.QueueName>",
    }


# --- scaling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_workers", [1, 2, 3, 10, 50, 1000])
def test_scaling_never_takes_a_busy_worker(max_workers: int) -> None:
    steps = scaling_steps(max_workers)
    assert len(steps) <= 20
    assert steps[0] == ScalingStep(0, 0)
    for backlog in range(1, max_workers + 5):
        workers = [step.workers for step in steps if step.backlog <= backlog][-1]
        assert min(backlog, max_workers) <= workers <= max_workers


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
        if "Metrics" not in properties:
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
            {"upload_max": cdk.Size.gibibytes(6)},
            (
                "upload_max in bytes is 6442450944, allowed are 1 to 5368709120; a single PUT "
                "takes no more (path: Test/Transcode)"
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
            {"max_workers": 0},
            (
                "max_workers is 0, allowed are 1 to 1000; split the load over regions (path: "
                "Test/Transcode/Workers)"
            ),
        ),
    ],
)
def test_errors(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pipeline(stack, **arguments)


@pytest.mark.parametrize("name", ["", "Prod", "a-b", "x" * 17, "größe"])
def test_a_stage_must_fit_into_names(stack: cdk.Stack, name: str) -> None:
    message = (
        f"stage is {name!r}, allowed are 1 to 16 lower-case letters and digits; shorten it "
        "(path: Test/Transcode)"
    )
    store = VideoStore(stack, "Store")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TranscodePipeline(stack, "Transcode", store=store, stage=name)
