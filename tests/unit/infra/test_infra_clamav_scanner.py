"""The service that asks ClamAV: always there, fed by its queue, and what it refuses."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from infra_templates import Synth, Template, flat
from test_infra_transcode_pipeline import asked_scanners, pipeline

from media_platform.constructs._fargate_task import SCRATCH_PATH

SERVICE = "TranscodeScanningMalwareClamAv"


def clamav(stack: cdk.Stack, **arguments: Any) -> None:
    pipeline(stack).add_clamav_scanner(**arguments)


@pytest.fixture(scope="module")
def minimal(synth: Synth) -> Template:
    return synth(clamav)


def made(template: Template, kind: str) -> dict[str, Any]:
    """Return the properties of the resource of a kind that belongs to the service."""
    (found,) = [
        resource["Properties"]
        for name, resource in template.resources(kind).items()
        if name.startswith(SERVICE)
    ]
    return dict(found)


def container(template: Template) -> dict[str, Any]:
    (found,) = made(template, "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return dict(found)


def variables(template: Template) -> dict[str, str]:
    return {v["Name"]: flat(v["Value"]) for v in container(template)["Environment"]}


def test_minimal_is_one_task_that_waits_for_no_spare_capacity(minimal: Template) -> None:
    service = made(minimal, "AWS::ECS::Service")
    assert service["DesiredCount"] == 1
    assert service["CapacityProviderStrategy"] == [
        {"Base": 1, "CapacityProvider": "FARGATE", "Weight": 1},
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 4},
    ]
    target = made(minimal, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    task = made(minimal, "AWS::ECS::TaskDefinition")
    assert (task["Cpu"], task["Memory"]) == ("1024", "4096")
    assert len(minimal.resources("AWS::ECS::Cluster")) == 1
    assert variables(minimal) == {
        "HOME_REGION": "us-east-1",
        "QUEUE_URL": "<TranscodeScanningMalwareRequests>",
        "VISIBILITY_TIMEOUT_SECONDS": "60",
        "MAX_SCAN_BYTES": str(2047 * 1024**2),
        "UNSCANNED": "pass",
        "SIGNATURE_MIRROR": "database.clamav.net",
    }


def test_its_container_can_write_its_scratch_volume_only(minimal: Template) -> None:
    found = container(minimal)
    assert found["Command"] == ["python", "-m", "clamav_scan"]
    assert found["ReadonlyRootFilesystem"] is True
    assert found["User"] == "10001:10001"
    assert found["MountPoints"] == [
        {"ContainerPath": SCRATCH_PATH, "ReadOnly": False, "SourceVolume": "scratch"}
    ]


def test_a_deployment_waits_until_the_new_task_has_its_signatures(minimal: Template) -> None:
    service = made(minimal, "AWS::ECS::Service")
    assert service["DeploymentConfiguration"]["MinimumHealthyPercent"] == 100
    check = container(minimal)["HealthCheck"]
    assert check["Command"] == ["CMD", "test", "-e", "/tmp/clamav-is-ready"]  # noqa: S108
    assert check["StartPeriod"] == 300


def test_everything_on(synth: Synth) -> None:
    template = synth(
        lambda stack: clamav(
            stack,
            min_tasks=2,
            max_tasks=3,
            max_scan=cdk.Size.mebibytes(1),
            unscanned="refuse",
            signature_mirror="https://mirror.example/clamav",
            cpu_units=2048,
            memory_mebibytes=8192,
        )
    )
    target = made(template, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 3)
    task = made(template, "AWS::ECS::TaskDefinition")
    assert (task["Cpu"], task["Memory"]) == ("2048", "8192")
    assert {
        "MAX_SCAN_BYTES": str(1024**2),
        "UNSCANNED": "refuse",
        "SIGNATURE_MIRROR": "https://mirror.example/clamav",
    }.items() <= variables(template).items()


def test_every_upload_must_pass_it(minimal: Template) -> None:
    for handler in ("handler", "sweep", "verdicts"):
        assert set(asked_scanners(minimal, f"upload_intake.{handler}.handle")) == {
            "content",
            "malware",
        }


def test_grants(minimal: Template) -> None:
    requests = {"<TranscodeScanningMalwareRequests.Arn>"}
    uploads = {"<StoreRawBucket.Arn>/raw/*"}
    assert minimal.grants(f"{SERVICE}TaskTaskRole") == {
        "s3:GetObjectVersion": uploads,
        "s3:GetObjectVersionTagging": uploads,
        "s3:ListBucket": {"<StoreRawBucket.Arn>"},
        "sqs:ChangeMessageVisibility": requests,
        "sqs:DeleteMessage": requests,
        "sqs:GetQueueAttributes": requests,
        "sqs:ReceiveMessage": requests,
        "sqs:SendMessage": {"<TranscodeScanningMalwareVerdicts.Arn>"},
    }


def test_more_tasks_come_for_every_twenty_requests(minimal: Template) -> None:
    steps = [
        (
            alarm["Properties"]["Threshold"] + step.get("MetricIntervalLowerBound", 0),
            step["ScalingAdjustment"],
        )
        for name, policy in minimal.resources("AWS::ApplicationAutoScaling::ScalingPolicy").items()
        if name.startswith(SERVICE)
        for alarm in minimal.resources("AWS::CloudWatch::Alarm").values()
        if alarm["Properties"].get("AlarmActions") == [{"Ref": name}]
        for step in policy["Properties"]["StepScalingPolicyConfiguration"]["StepAdjustments"]
        if alarm["Properties"]["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    ]
    assert steps == [(39.5, 2), (59.5, 3), (79.5, 4)]


def test_uploads_that_wait_are_told(minimal: Template) -> None:
    (alarm,) = [
        found["Properties"]
        for name, found in minimal.resources("AWS::CloudWatch::Alarm").items()
        if name.startswith("TranscodeScanningMalwareRequestsOld")
    ]
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert flat(alarm["Dimensions"][0]["Value"]) == "<TranscodeScanningMalwareRequests.QueueName>"
    assert alarm["Threshold"] == 900


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"min_tasks": 0}, "min_tasks is 0, allowed are 1 to 4; a scanner that stands at zero"),
        ({"min_tasks": 5}, "min_tasks is 5, allowed are 1 to 4; "),
        ({"max_tasks": 1001}, "max_tasks is 1001, allowed are 1 to 1000; "),
        ({"max_scan": cdk.Size.gibibytes(2)}, "max_scan in bytes is 2147483648, allowed are 1 to"),
        ({"unscanned": "maybe"}, "unscanned is 'maybe', allowed are pass, refuse; "),
    ],
)
def test_what_it_refuses(stack: cdk.Stack, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        clamav(stack, **arguments)


def test_there_is_one_at_most(stack: cdk.Stack) -> None:
    made = pipeline(stack)
    made.add_clamav_scanner()
    with pytest.raises(ValueError, match="there is a scanner 'malware' already"):
        made.add_clamav_scanner()


def test_signatures_come_from_within_a_network_without_internet(stack: cdk.Stack) -> None:
    problem = (
        "signature_mirror is missing, but network is 'endpoints', from where database.clamav.net "
        "cannot be reached; name a mirror within the network"
    )
    with pytest.raises(ValueError, match=f"^{problem} "):
        pipeline(stack, network="endpoints").add_clamav_scanner()
