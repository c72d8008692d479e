"""What checks make of what they see."""

from __future__ import annotations

import email.utils
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber

from mediactl.checking import deployed_stage, machine
from mediactl.checking.account import clock
from mediactl.checking.deployed_stage import certificate_finding, drift_findings
from mediactl.checking.doctor import diagnose
from mediactl.checking.findings import Finding
from mediactl.checking.quotas import (
    ON_DEMAND,
    QUOTAS,
    SPOT,
    FargateNeed,
    Told,
    count_finding,
    fargate_finding,
    fargate_needs,
    lambda_finding,
)
from mediactl.deploying.assembly import AssemblyStack
from mediactl.environment import AwsEnvironment, LocalEnvironment
from mediactl.local.state import write_json

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("minutes", "state"), [(0, "ok"), (2, "warn"), (-2, "warn"), (6, "fail"), (-6, "fail")]
)
def test_a_clock_that_is_off_is_told_before_aws_refuses_its_signatures(
    minutes: int, state: str
) -> None:
    now = datetime.now(UTC)
    date = email.utils.format_datetime(now + timedelta(minutes=minutes), usegmt=True)
    found = clock({"ResponseMetadata": {"HTTPHeaders": {"date": date}}})
    assert found.state == state
    assert (found.fix is None) == (state == "ok")


def test_an_answer_without_a_date_says_nothing_of_the_clock() -> None:
    assert clock({"ResponseMetadata": {"HTTPHeaders": {}}}).state == "skipped"


@pytest.mark.parametrize(
    ("status", "days", "state"),
    [("ISSUED", 200, "ok"), ("ISSUED", 20, "warn"), ("ISSUED", -1, "fail")],
)
def test_a_certificate_that_was_not_renewed_is_told(status: str, days: int, state: str) -> None:
    certificate = {
        "DomainName": "media.example.com",
        "Status": status,
        "NotAfter": NOW + timedelta(days=days),
    }
    found = certificate_finding(certificate, "us-east-1")
    assert (found.state, found.region) == (state, "us-east-1")
    assert "media.example.com" in found.seen


def test_a_certificate_that_waits_is_told_with_the_record_that_is_missing() -> None:
    record = {"Name": "_x.media.example.com.", "Type": "CNAME", "Value": "_y.acm.aws."}
    certificate = {
        "DomainName": "media.example.com",
        "Status": "PENDING_VALIDATION",
        "DomainValidationOptions": [{"ResourceRecord": record}],
    }
    found = certificate_finding(certificate, "us-east-1")
    assert found.state == "fail"
    assert "_x.media.example.com. CNAME _y.acm.aws." in str(found.fix)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others in which programs are looked for."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def found(check: str) -> Finding:
    """Return what a check finds of a plane that never was, offline."""
    environment = LocalEnvironment("local", state_dir=Path(".local"), app=Path.cwd())
    diagnosis = diagnose(environment, say=lambda _: None, offline=True)
    (one,) = [one for one in diagnosis.findings if one.check == check]
    return one


@pytest.mark.parametrize(
    ("version", "state"), [("v18.1.0", "fail"), ("v20.9.0", "warn"), ("v24.0.0", "ok")]
)
def test_a_node_that_is_too_old_is_told(tools: Path, version: str, state: str) -> None:
    program(tools / "node", f"echo {version}")
    node = found("Node")
    assert (node.state, version in node.seen) == (state, True)
    assert (node.fix is None) == (state == "ok")


def test_a_tool_that_fails_or_is_another_version_is_told(tools: Path) -> None:
    installed = Path("node_modules/.bin/cdk")
    installed.parent.mkdir(parents=True)
    program(installed, "echo '3.0.0 (build 1)'")
    assert (found("CDK CLI").state, found("CDK CLI").fix) == ("fail", "npm ci")
    program(installed, "exit 7")
    assert "fails with status 7" in found("CDK CLI").seen


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("disk").state == "ok"
    monkeypatch.setattr(machine, "DISK_WARNS_BYTES", 2**60)
    assert found("disk").state == "warn"
    monkeypatch.setattr(machine, "DISK_FAILS_BYTES", 2**60)
    assert (found("disk").state, "make room" in str(found("disk").fix)) == ("fail", True)


def test_a_port_that_another_took_is_told() -> None:
    Path(".local").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write_json(
            Path(".local/emulator.json"), {"port": port, "edge_port": 1, "control_token": "x"}
        )
        ports = found("ports")
    assert (ports.state, str(port) in ports.seen) == ("warn", True)


def test_a_folder_without_an_app_is_told_and_the_rest_is_looked_at() -> None:
    assert (found("templates").state, "cdk.json" in found("templates").seen) == ("fail", True)
    assert found("Python").state == "ok"
    assert found("answers").state == "skipped"


def stack(**resources: Any) -> AssemblyStack:
    made = AssemblyStack("A", "A", "a", "eu-west-1", Path("A.template.json"))
    made.__dict__["template"] = {"Resources": resources}
    return made


SERVICES: dict[str, Any] = {
    "Workers": {
        "Type": "AWS::ECS::Service",
        "Properties": {
            "TaskDefinition": {"Ref": "Task"},
            "DesiredCount": 0,
            "CapacityProviderStrategy": [
                {"CapacityProvider": "FARGATE_SPOT", "Weight": 4},
                {"CapacityProvider": "FARGATE", "Weight": 1},
            ],
        },
    },
    "WorkersTarget": {
        "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
        "Properties": {
            "MinCapacity": 0,
            "MaxCapacity": 10,
            "ResourceId": {
                "Fn::Join": [
                    "",
                    ["service/", {"Ref": "C"}, "/", {"Fn::GetAtt": ["Workers", "Name"]}],
                ]
            },
        },
    },
    "Api": {
        "Type": "AWS::ECS::Service",
        "Properties": {"TaskDefinition": {"Ref": "ApiTask"}, "DesiredCount": 2},
    },
    "Task": {"Type": "AWS::ECS::TaskDefinition", "Properties": {"Cpu": "4096"}},
    "ApiTask": {"Type": "AWS::ECS::TaskDefinition", "Properties": {"Cpu": "512"}},
}


def test_processors_are_counted_from_tasks_and_how_far_they_scale() -> None:
    assert fargate_needs([stack(**SERVICES)]) == {
        SPOT: FargateNeed(0, 40),
        ON_DEMAND: FargateNeed(1, 41),
    }


@pytest.mark.parametrize(
    ("value", "state"), [(41, "ok"), (6, "warn"), (0.5, "fail"), (None, "skipped")]
)
def test_a_quota_that_holds_back_scaling_warns_and_one_that_holds_back_all_fails(
    value: float | None, state: str
) -> None:
    told = None if value is None else Told(value, "L-1")
    found = fargate_finding(ON_DEMAND, "eu-west-1", FargateNeed(1, 41), told)
    assert found.state == state
    asked = "--service-code fargate --quota-code L-1 --desired-value 41"
    assert (asked in str(found.fix)) == (state in {"warn", "fail"})


@pytest.mark.parametrize(
    ("used", "more", "value", "state"),
    [(4, 1, 5, "ok"), (5, 1, 5, "fail"), (5, 0, 5, "ok"), (1, 1, None, "skipped")],
)
def test_what_others_use_leaves_less_of_a_quota(
    used: int, more: int, value: float | None, state: str
) -> None:
    told = None if value is None else Told(value, "L-1")
    found = count_finding(QUOTAS[0], "eu-west-1", used=used, more=more, told=told)
    assert found.state == state


def test_functions_of_a_new_account_have_few_calls_at_a_time() -> None:
    limits = {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}
    assert lambda_finding(limits, "eu-west-1", 0).state == "warn"
    assert lambda_finding(limits, "eu-west-1", 5).state == "fail"
    assert lambda_finding({"ConcurrentExecutions": 1000}, "eu-west-1", 5).state == "ok"


class Drifting(AwsEnvironment):
    """A stage in AWS, of which CloudFormation says what a stub does."""

    def __init__(self) -> None:
        super().__init__("dev", stage="dev", regions=("eu-west-1",), app=Path.cwd())
        session = botocore.session.Session()
        self.cloudformation = session.create_client(
            "cloudformation", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
        )

    def _make_client(self, service: str, region: str) -> Any:
        assert (service, region) == ("cloudformation", "eu-west-1")
        return self.cloudformation


@pytest.fixture
def drifting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Drifting, Stubber]]:
    monkeypatch.setattr(deployed_stage, "DRIFT_POLL_SECONDS", 0)
    environment = Drifting()
    with Stubber(environment.cloudformation) as stub:
        yield environment, stub
        stub.assert_no_pending_responses()


def begins(stub: Stubber) -> None:
    stub.add_response(
        "detect_stack_drift", {"StackDriftDetectionId": "d-1" * 12}, {"StackName": "a"}
    )


def ends(stub: Stubber, status: str, **more: Any) -> None:
    answer = {"StackId": "a", "StackDriftDetectionId": "d-1" * 12, "DetectionStatus": status}
    stub.add_response("describe_stack_drift_detection_status", {**answer, "Timestamp": NOW, **more})


def differs(stub: Stubber, logical_id: str, *paths: str, **more: str) -> None:
    differences = [
        {
            "PropertyPath": path,
            "ExpectedValue": "30",
            "ActualValue": "60",
            "DifferenceType": "NOT_EQUAL",
        }
        for path in paths
    ]
    drift = {
        "StackId": "a",
        "LogicalResourceId": logical_id,
        "ResourceType": "AWS::SQS::Queue",
        "StackResourceDriftStatus": "MODIFIED" if paths else "DELETED",
        "PropertyDifferences": differences,
        "Timestamp": NOW,
    }
    stub.add_response("describe_stack_resource_drifts", {"StackResourceDrifts": [drift], **more})


def test_what_was_changed_by_hand_is_told_with_all_its_pages(
    drifting: tuple[Drifting, Stubber],
) -> None:
    environment, stub = drifting
    begins(stub)
    ends(stub, "DETECTION_IN_PROGRESS")
    stub.add_client_error("describe_stack_drift_detection_status", "Throttling", "Rate exceeded")
    ends(stub, "DETECTION_COMPLETE", StackDriftStatus="DRIFTED")
    differs(stub, "Jobs", "/VisibilityTimeout", "/Tags/0", NextToken="more")
    differs(stub, "Express")
    found = drift_findings(environment, stack())
    assert [(one.state, one.seen) for one in found] == [
        ("warn", "a: Jobs (AWS::SQS::Queue) is modified: /VisibilityTimeout, /Tags/0"),
        ("warn", "a: Express (AWS::SQS::Queue) is deleted"),
    ]


@pytest.mark.parametrize(
    ("status", "state", "seen"),
    [
        ("IN_SYNC", "ok", "as it was deployed"),
        ("NOT_CHECKED", "skipped", "compare none of its resources"),
        ("UNKNOWN", "skipped", "compare none of its resources"),
    ],
)
def test_a_stack_is_called_good_only_if_cloudformation_compared_it(
    drifting: tuple[Drifting, Stubber], status: str, state: str, seen: str
) -> None:
    environment, stub = drifting
    begins(stub)
    ends(stub, "DETECTION_COMPLETE", StackDriftStatus=status)
    (found,) = drift_findings(environment, stack())
    assert (found.state, seen in found.seen) == (state, True)


def test_a_comparison_that_fails_for_one_resource_tells_of_the_others(
    drifting: tuple[Drifting, Stubber],
) -> None:
    environment, stub = drifting
    begins(stub)
    ends(
        stub,
        "DETECTION_FAILED",
        StackDriftStatus="DRIFTED",
        DetectionStatusReason="Failed to detect drift on resource [Api]",
    )
    differs(stub, "Jobs", "/VisibilityTimeout")
    found = drift_findings(environment, stack())
    assert [one.state for one in found] == ["skipped", "warn"]
    assert "on resource [Api]" in found[0].seen


@pytest.mark.parametrize(
    ("code", "text", "seen"),
    [
        ("ValidationError", "Drift detection is already in progress for stack [a]", "in progress"),
        ("ValidationError", "cannot be performed on stacks in [UPDATE_IN_PROGRESS]", "cannot be"),
        ("AccessDenied", "not authorized to perform: cloudformation:DetectStackDrift", "may not"),
        ("Throttling", "Rate exceeded", "AWS throttles DetectStackDrift"),
    ],
)
def test_a_stack_that_cannot_be_compared_now_says_why(
    drifting: tuple[Drifting, Stubber], code: str, text: str, seen: str
) -> None:
    environment, stub = drifting
    stub.add_client_error("detect_stack_drift", code, text)
    (found,) = drift_findings(environment, stack())
    assert (found.state, seen in found.seen) == ("skipped", True)


def test_a_comparison_that_does_not_end_is_given_up(
    drifting: tuple[Drifting, Stubber], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, stub = drifting
    monkeypatch.setattr(deployed_stage, "DRIFT_SECONDS", 0)
    begins(stub)
    (found,) = drift_findings(environment, stack())
    assert (found.state, "not compared after" in found.seen) == ("skipped", True)
