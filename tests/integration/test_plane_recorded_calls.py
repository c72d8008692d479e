"""Every call that a role made is allowed by what its template grants, and none was refused."""

from __future__ import annotations

import fnmatch
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import RunningPlane
from journey import sign_in

from mediactl.commands.demo import Platform
from mediactl.local.deploy import assembly_stacks
from mediactl.local.recorded_calls import RecordedCall


@pytest.fixture(scope="module")
def calls(plane: RunningPlane, platform: Platform, film: bytes) -> list[RecordedCall]:
    """What roles of the stage did in this session, at least for one video from upload to play."""
    person = sign_in(platform, "recorded", tenant="recorded")
    video = person.when(person.upload(film), "READY")
    person.client.playback(video["video_id"])
    person.request("DELETE", f"/api/videos/{video['video_id']}")
    # The roles of the CDK itself come from its bootstrap stack, which is not ours.
    return [call for call in plane.calls() if not call.role.startswith("cdk-")]


def statements(role: dict[str, Any], policies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for policy in (*role.get("Policies", []), *policies):
        yield from policy["PolicyDocument"]["Statement"]


@pytest.fixture(scope="module")
def granted(plane: RunningPlane) -> dict[str, set[str]]:
    """Patterns of actions that the templates grant, by the name of the deployed role."""
    found: dict[str, set[str]] = defaultdict(set)
    for stack in assembly_stacks(plane.plane.state.assembly):
        client = plane.client("cloudformation", stack["region"])
        template = client.get_template(StackName=stack["name"])["TemplateBody"]
        if isinstance(template, str):
            template = json.loads(template)
        resources = template["Resources"]
        answer = client.describe_stack_resources(StackName=stack["name"])["StackResources"]
        names = {entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in answer}
        for logical_id, resource in resources.items():
            if resource["Type"] != "AWS::IAM::Role":
                continue
            attached = [
                other["Properties"]
                for other in resources.values()
                if other["Type"] == "AWS::IAM::Policy"
                and {"Ref": logical_id} in other["Properties"].get("Roles", [])
            ]
            for statement in statements(resource["Properties"], attached):
                if statement["Effect"] == "Allow":
                    actions = statement["Action"]
                    found[names[logical_id]] |= set(
                        [actions] if isinstance(actions, str) else actions
                    )
    return found


def test_nothing_was_refused(calls: list[RecordedCall]) -> None:
    assert sorted({(c.role, c.action, c.resource) for c in calls if not c.allowed}) == []


@pytest.mark.parametrize(
    "action",
    [
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "s3:GetObjectVersion",
        "s3:PutObject",
        "sns:Publish",
        "sqs:DeleteMessage",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "ssm:GetParameter",
        "secretsmanager:GetSecretValue",
        "application-autoscaling:RegisterScalableTarget",
        "ecs:UpdateTaskProtection",
    ],
)
def test_the_record_holds_what_the_main_path_does(calls: list[RecordedCall], action: str) -> None:
    assert action in {call.action for call in calls}


def test_every_call_is_granted_in_the_template_of_its_role(
    calls: list[RecordedCall], granted: dict[str, set[str]]
) -> None:
    always = {"sts:GetCallerIdentity"}
    missing = {
        (call.role, call.action)
        for call in calls
        if call.action not in always
        and not any(
            fnmatch.fnmatchcase(call.action, pattern) for pattern in granted.get(call.role, ())
        )
    }
    assert sorted(missing) == []
    assert {call.role for call in calls} <= granted.keys()
