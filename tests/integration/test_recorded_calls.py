"""Least privilege: what roles really called, against what the deployed templates grant them."""

from __future__ import annotations

import json
import time
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from journey import Person, send, sign_in
from waiting import eventually

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.ids import new_id
from media_platform.contract.purge import Purge
from media_platform.contract.run import END, Part
from media_platform.contract.times import timestamp
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES
from media_platform.contract.webhooks import TEST_EVENT
from mediactl.local.recorded_calls import RecordedCall
from purge.decision import prefixes_of
from tests.unit.lambdas.test_lambdas_webhooks_document import by_python
from tests.unit.lambdas.webhook_receiver import Received, Receiver, serving

DEPLOYER = "cdk-"
"""Start of the names of the roles of the CDK bootstrap, which are not ours."""

OPERATORS = "operators"
"""Tenant of the operators of the local stage, as ``cdk.json`` says."""

LISTED = tomllib.loads(Path(__file__).with_name("granted_calls.toml").read_text())["grants"]
"""Grants that are used by other tests or by AWS."""


@pytest.fixture(scope="module")
def roles(plane: Any) -> dict[str, list[Grant]]:
    """What every role of the stage may do."""
    listed = plane.client("iam").get_paginator("list_roles").paginate()
    names = [role["RoleName"] for page in listed for role in page["Roles"]]
    return {name: grants_of(plane, name) for name in names if not name.startswith(DEPLOYER)}


def test_calls_and_grants_are_the_same(
    plane: Any,
    platform: Any,
    outputs: dict[str, str],
    film: bytes,
    roles: dict[str, list[Grant]],
) -> None:
    """Every call is allowed by the policies, and every grant is used or listed with a reason."""
    old_run = replaced_run(plane, outputs)
    person = sign_in(platform, "grace", tenant="acme")
    with serving() as receiver:
        video_id = be_told_of_a_video(platform, receiver, person, film)
    look_at(person, video_id)
    change_picture(person, video_id)
    give_uploads_up(person)
    assert person.request("DELETE", f"/api/videos/{video_id}").status == 204
    assert person.request("POST", f"/api/videos/{video_id}/restore").status == 200
    administer(sign_in(platform, "opal", tenant=OPERATORS, group=ADMIN_GROUP), person, video_id)

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
    (prefix,) = prefixes_of(old_run, None)
    left = plane.client("s3").list_object_versions(Bucket=bucket, Prefix=prefix)
    assert not left.get("Versions", ())

    calls = [call for call in plane.calls() if not call.role.startswith(DEPLOYER)]
    uncovered = {
        (call.role, call.action, call.resource)
        for call in calls
        if not any(grant.covers(call) for grant in roles[call.role])
    }
    assert not uncovered
    assert not [call for call in calls if not call.allowed]
    unused = {
        (role, grant.action, grant.resource)
        for role, grants in roles.items()
        for grant in grants
        if not any(call.role == role and grant.covers(call) for call in calls)
        and not any(lists(entry, role, grant) for entry in LISTED)
    }
    assert not unused


def test_what_is_listed_is_granted_and_tested(roles: dict[str, list[Grant]]) -> None:
    for entry in LISTED:
        assert any(
            lists(entry, role, grant) for role, grants in roles.items() for grant in grants
        ), f"nobody is granted this any more: {entry}"
        assert entry.keys() - {"roles", "actions", "resources"} in ({"reason"}, {"test"}), entry
        if "test" in entry:
            file, _, name = entry["test"].partition("::")
            assert f"def {name}(" in Path(__file__).with_name(file).read_text(), entry["test"]


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
    begun = time.time()
    filled = {n: outputs.get(v, v) if isinstance(v, str) else v for n, v in arguments.items()}
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**filled)
    assert refused.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}
    calls = [call for call in plane.calls(since=begun) if not call.allowed]
    assert calls
    plane.refused.update((call.role, call.action, call.resource) for call in calls)


def look_at(person: Person, video_id: str) -> None:
    """Play a video without cookies, tag it, and find it in every kind of list."""
    grant = person.client.playback(video_id)
    assert send("GET", grant["signed_playlist_url"]).status == 200
    tagged = person.request("PATCH", f"/api/videos/{video_id}", json={"tags": ["sea"]})
    assert tagged.status == 200
    for query in ("", "?owner=me", "?owner=me&status=READY", "?status=READY", "?tag=sea"):
        listed = person.request("GET", f"/api/videos{query}").json()["videos"]
        assert video_id in {video["video_id"] for video in listed}, query


def change_picture(person: Person, video_id: str) -> None:
    """Upload a picture and let it be what is shown of a video."""
    picture = send("GET", person.client.playback(video_id)["poster_url"]).data
    path = f"/api/videos/{video_id}/thumbnail"
    about = {"content_type": "image/jpeg", "size_bytes": len(picture)}
    upload = person.request("POST", f"{path}/upload", json=about).json()
    assert send("PUT", upload["url"], body=picture, headers=upload["headers"]).status == 200
    chosen = person.request("PUT", path, json={"upload_id": upload["upload_id"]})
    assert chosen.status == 202, chosen.data
    eventually(lambda: person.request("GET", path).json()["chosen"], "the picture is shown")


def give_uploads_up(person: Person) -> None:
    """Begin an upload with one PUT and one in parts, look where they stand, and abort them."""
    for size_bytes in (1, SINGLE_PUT_MAX_BYTES + 1):
        about = {
            "title": "Given up",
            "file_name": "film.mp4",
            "content_type": "video/mp4",
            "size_bytes": size_bytes,
        }
        made = person.request("POST", "/api/videos", json=about)
        path = f"{made.headers['Location']}/upload"
        assert person.request("POST", f"{path}/complete").status == 409
        assert person.request("POST", f"{path}/abort").status == 200


def administer(operator: Person, person: Person, video_id: str) -> None:
    """Let an operator of the stage use the admin service, which the edge finds by its paths."""
    owner = person.client.video(video_id)["owner"]
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
        "videos?tenant=acme&status=READY",
        f"videos?tenant=acme&owner={owner}",
        f"videos?tenant=acme&owner={owner}&status=READY",
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
    (prefix,) = prefixes_of(note, None)
    plane.client("s3").put_object(
        Bucket=outputs["MediaBucket"], Key=f"{prefix}master.m3u8", Body=b"old"
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


@dataclass(frozen=True)
class Grant:
    """One action on one resource that a policy allows; both may be patterns."""

    action: str
    resource: str

    def covers(self, call: RecordedCall) -> bool:
        """Tell whether it allows a call; conditions are left to the emulator."""
        return fnmatchcase(call.action, self.action) and fnmatchcase(call.resource, self.resource)


def grants_of(plane: Any, role: str) -> list[Grant]:
    """Return what the policies of a role allow, as CloudFormation deployed them."""
    iam = plane.client("iam")
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        documents.append(found["PolicyVersion"]["Document"])
    grants = []
    for document in documents:
        read = json.loads(document) if isinstance(document, str) else document
        grants += [
            Grant(action, resource)
            for statement in read["Statement"]
            if statement["Effect"] == "Allow"
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        ]
    return grants


def listed(value: str | list[str]) -> list[str]:
    """Return what a policy names, one or several, as a list."""
    return [value] if isinstance(value, str) else value


def lists(entry: dict[str, Any], role: str, grant: Grant) -> bool:
    """Tell whether an entry of the table is about a grant of a role."""
    return all(
        any(fnmatchcase(value, pattern) for pattern in entry[name])
        for name, value in (
            ("roles", role),
            ("actions", grant.action),
            ("resources", grant.resource),
        )
    )
