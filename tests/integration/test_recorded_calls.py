"""Least privilege: what roles really called, against what the deployed templates grant them."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from journey import Person, sign_in
from waiting import eventually

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.ids import new_id
from media_platform.contract.purge import Purge
from media_platform.contract.run import END, Part
from media_platform.contract.video import timestamp
from media_platform.contract.webhooks import TEST_EVENT
from purge.decision import prefix_of
from tests.unit.lambdas.test_lambdas_webhooks_document import by_python
from tests.unit.lambdas.webhook_receiver import Received, Receiver, serving

DEPLOYER = "cdk-"
"""Start of the names of the roles of the CDK bootstrap, which are not ours."""

OPERATORS = "operators"
"""Tenant of the operators of the local stage, as ``cdk.json`` says."""

ACTING_ROLES = (
    "ApiTask",
    "AdminTask",
    "WorkersTask",
    "Intake",
    "ScanningContent",
    "ScanningVerdicts",
    "OutboxRelay",
    "LeftEventsSweep",
    "LeftUploadsSweep",
    "WebhooksFanOut",
    "WebhooksDeliver",
    "WebhooksTurn",
    "OldRunsPurge",
    "KeyMaker",
    "DeliveryWriter",
)
"""A part of the name of every role that acts on the main path."""


def test_every_recorded_call_is_allowed_by_its_roles_policies(
    plane: Any, platform: Any, outputs: dict[str, str], film: bytes
) -> None:
    old_run = replaced_run(plane, outputs)
    person = sign_in(platform, "grace", tenant="acme")
    with serving() as receiver:
        video_id = be_told_of_a_video(platform, receiver, person, film)
    person.client.playback(video_id)
    assert person.request("GET", "/api/videos").status == 200
    assert person.request("DELETE", f"/api/videos/{video_id}").status == 204
    administer(sign_in(platform, "opal", tenant=OPERATORS, group=ADMIN_GROUP), video_id)

    table_name, bucket = outputs["TableName"], outputs["MediaBucket"]
    eventually(
        lambda: not items_of(plane, table_name, old_run.video_id), "the schedule purges the old run"
    )
    note = table.purge_key(video_id).sk
    eventually(
        lambda: {item["sk"]["S"] for item in items_of(plane, table_name, video_id)} == {note},
        "all but the note goes of the video that was deleted for good",
    )
    for sweep in ("LeftUploadsSweep", "LeftEventsSweep"):
        eventually(
            lambda sweep=sweep: any(sweep in call.role for call in plane.calls()),
            "the schedule looks for what was left",
        )
    left = plane.client("s3").list_object_versions(Bucket=bucket, Prefix=prefix_of(old_run, None))
    assert not left.get("Versions", ())

    calls = [call for call in plane.calls() if not call.role.startswith(DEPLOYER)]
    silent = [part for part in ACTING_ROLES if not any(part in call.role for call in calls)]
    assert not silent
    granted = {role: statements_of(plane, role) for role in {call.role for call in calls}}
    uncovered = {
        (call.role, call.action, call.resource)
        for call in calls
        if not any(allows(s, call.action, call.resource) for s in granted[call.role])
    }
    assert not uncovered
    assert not [call for call in calls if not call.allowed]


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "delete_object", {"Bucket": "RawBucket", "Key": "raw/acme/ada/x.mp4"}),
        ("s3", "get_object", {"Bucket": "RawBucket", "Key": "raw/acme/ada/x.mp4"}),
        ("s3", "put_object", {"Bucket": "MediaBucket", "Key": "media/x", "Body": b""}),
        ("sqs", "receive_message", {"QueueUrl": "JobQueueUrl"}),
        ("dynamodb", "scan", {"TableName": "TableName"}),
        ("dynamodb", "delete_table", {"TableName": "TableName"}),
    ],
)
def test_what_is_not_granted_is_refused(
    plane: Any,
    outputs: dict[str, str],
    service: str,
    operation: str,
    arguments: dict[str, Any],
) -> None:
    ecs = plane.client("ecs")
    (api,) = ecs.describe_services(
        cluster=outputs["ClusterName"], services=[outputs["ApiServiceName"]]
    )["services"]
    task = ecs.describe_task_definition(taskDefinition=api["taskDefinition"])["taskDefinition"]
    session = plane.client("sts").assume_role(
        RoleArn=task["taskRoleArn"], RoleSessionName="least-privilege"
    )["Credentials"]
    client = plane.client(
        service,
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    filled = {n: outputs.get(v, v) if isinstance(v, str) else v for n, v in arguments.items()}
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**filled)
    assert refused.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}


def administer(operator: Person, video_id: str) -> None:
    """Let an operator of the stage use the admin service, which the edge finds by its paths."""
    email = f"{new_id()}@example.com"
    made = operator.request("POST", "/api/admin/users", json={"email": email, "invite": False})
    assert made.status == 201, made.data
    user = f"/api/admin/users/{made.json()['user']['username']}"
    calls = [("PUT", f"{user}/groups", {"groups": ["editor"]})]
    calls += [("POST", f"{user}/{what}", None) for what in ("disable", "enable", "sign-out")]
    reads = (
        "users",
        "tenants",
        f"tenants/{OPERATORS}",
        "videos?tenant=acme",
        f"videos/{video_id}",
        "jobs",
        "jobs/dead-letters",
        "jobs/dead-letters?queue=webhook-events",
        "stats",
        f"audit?day={timestamp()[:10]}",
        "openapi.json",
    )
    calls += [("GET", f"/api/admin/{path}", None) for path in reads]
    for method, path, body in calls:
        answer = operator.request(method, path, **({"json": body} if body else {}))
        assert answer.status == 200, (path, answer.data)
    assert operator.request("DELETE", f"/api/admin/videos/{video_id}").status == 202


def be_told_of_a_video(platform: Any, receiver: Receiver, person: Person, film: bytes) -> str:
    """Upload a film, let a webhook be told that it is READY, and return its id."""
    root = sign_in(platform, "root", tenant="acme", group=ADMIN_GROUP)
    made = root.request(
        "POST",
        "/api/webhooks",
        json={"url": receiver.url("/hook"), "event_types": [EventType.VIDEO_READY]},
    )
    assert made.status == 201, made.data
    secret, path = made.json()["secret"], made.headers["Location"]
    # Sent by the schedule, while others are sent as the events come.
    assert root.request("POST", f"{path}/test").status == 202
    video_id = str(person.when(person.upload(film), "READY")["video_id"])

    def told() -> dict[str, Received] | None:
        came = receiver.received("/hook")
        found = {json.loads(one.body)["event_type"]: one for one in came}
        return found if found.keys() == {EventType.VIDEO_READY, TEST_EVENT} else None

    came = eventually(told, "the webhook is told of the test and of the video")
    assert json.loads(came[EventType.VIDEO_READY].body)["video_id"] == video_id
    for one in came.values():
        assert by_python(secret, one.headers["Webhook-Signature"], one.body)

    def delivered() -> bool:
        listed = root.request("GET", f"{path}/deliveries?status=DELIVERED").json()["deliveries"]
        return len(listed) == len(came)

    eventually(delivered, "both are recorded")
    assert root.request("DELETE", path).status == 204
    return video_id


def replaced_run(plane: Any, outputs: dict[str, str]) -> Purge:
    """Write a run whose time is over since days, and return its note."""
    note = Purge(
        video_id=new_id(),
        run_id=new_id(),
        tenant="acme",
        region=plane.region,
        due_at="2026-01-01T00:00:00.000Z",
    )
    plane.client("s3").put_object(
        Bucket=outputs["MediaBucket"], Key=f"{prefix_of(note, None)}master.m3u8", Body=b"old"
    )
    end = Part(video_id=note.video_id, run_id=note.run_id, name=END)
    for item in (end.to_item(), note.to_item()):
        plane.client("dynamodb").put_item(TableName=outputs["TableName"], Item=item)
    return note


def items_of(plane: Any, table_name: str, video_id: str) -> list[dict[str, Any]]:
    """Return everything of a video."""
    answer = plane.client("dynamodb").query(
        TableName=table_name,
        ConsistentRead=True,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": table.video_partition(video_id)}},
    )
    return list(answer["Items"])


def statements_of(plane: Any, role: str) -> list[dict[str, Any]]:
    """Return the Allow statements of a role as CloudFormation deployed them."""
    iam = plane.client("iam")
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        documents.append(found["PolicyVersion"]["Document"])
    statements = []
    for document in documents:
        read = json.loads(document) if isinstance(document, str) else document
        statements += [s for s in read["Statement"] if s["Effect"] == "Allow"]
    return statements


def allows(statement: dict[str, Any], action: str, resource: str) -> bool:
    """Tell whether a statement covers a call; conditions are left to the emulator."""
    return matches(statement["Action"], action) and matches(statement["Resource"], resource)


def matches(patterns: str | list[str], value: str) -> bool:
    """Tell whether a value is meant by one of the patterns of a policy."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in listed)
