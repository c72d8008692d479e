"""Webhooks through the running API: endpoints, secrets, and what is delivered to them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_stage import Person, Stage, running_stage
from emulator import OTHER_REGION, REGION

from media_platform.contract import table
from media_platform.contract.audit import AuditAction, AuditEntry
from media_platform.contract.ids import new_id
from media_platform.contract.items import to_item
from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    MAX_WEBHOOKS,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Health,
    Webhook,
)

URL = "https://hooks.example.com/videos"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-webhooks")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def root(stage: Stage) -> Person:
    """An administrator of a tenant of which no other test knows."""
    return stage.person("root", f"tenant-{new_id()}", "admin")


@pytest.fixture
def eve(stage: Stage) -> Person:
    return stage.person("eve", f"other-{new_id()}", "admin")


def create(person: Person, *, key: str | None = None, **changes: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"url": URL, **changes}
    return person.call("POST", "/api/webhooks", body=body, headers=headers)


def made(person: Person, **changes: Any) -> str:
    answer = create(person, **changes)
    assert answer.status == 201, answer.content
    return str(answer.json["webhook"]["webhook_id"])


def stored(stage: Stage, person: Person, webhook_id: str) -> Webhook:
    key = table.webhook_key(person.tenant, webhook_id)
    return Webhook.from_item(item(stage, key))


def item(stage: Stage, key: table.Key) -> Any:
    return stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name, Key=key.to_wire(), ConsistentRead=True
    )["Item"]


def put(stage: Stage, what: Webhook | Delivery) -> None:
    stage.emulator.client("dynamodb").put_item(
        TableName=stage.environment.table_name, Item=what.to_item()
    )


def delivered(stage: Stage, webhook: Webhook, **changes: Any) -> Delivery:
    """Store a delivery."""
    now = datetime.now(UTC)
    delivery = Delivery.new(
        webhook,
        event_id=new_id(),
        event_type="VideoReady",
        event='{"event_type":"VideoReady"}',
        region=REGION,
        now=now - timedelta(hours=1),
        due_at=now + timedelta(hours=1),
    )
    delivery = replace(delivery, **changes)
    put(stage, delivery)
    return delivery


def audited(stage: Stage, person: Person) -> list[AuditEntry]:
    """Return the entries of a tenant of today and yesterday, oldest first."""
    client = stage.emulator.client("dynamodb")
    found = []
    for day in (datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)):
        for number in range(table.SHARDS):
            partition = table.audit_partition(person.tenant, f"{day:%Y-%m-%d}", number)
            found += client.query(
                TableName=stage.environment.table_name,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": partition}},
            )["Items"]
    entries = [AuditEntry.from_item(one) for one in found]
    return sorted(entries, key=lambda entry: entry.entry_id)


def test_an_endpoint_is_registered_and_its_secret_shown_once(stage: Stage, root: Person) -> None:
    answer = create(root, event_types=["VideoReady", "VideoFailed", "VideoReady"], description="a")
    body = answer.json["webhook"]
    assert answer.headers["Location"] == f"/api/webhooks/{body['webhook_id']}"
    assert (body["url"], body["event_types"], body["description"]) == (
        URL,
        ["VideoFailed", "VideoReady"],
        "a",
    )
    assert (body["enabled"], body["disabled_reason"], body["secrets"]) == (True, None, 1)
    webhook = stored(stage, root, body["webhook_id"])
    assert answer.json["secret"] == webhook.secrets[0].value
    assert answer.json["secret"].startswith("whsec_")
    for path in ("", f"/{webhook.webhook_id}"):
        shown = root.call("GET", f"/api/webhooks{path}")
        assert shown.status == 200
        assert answer.json["secret"] not in shown.content.decode()
    assert root.call("GET", f"/api/webhooks/{webhook.webhook_id}").json == body
    assert root.call("GET", "/api/webhooks").json == {"webhooks": [body]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url": "http://hooks.example.com/"}, "body.url: it is no https URL"),
        ({"url": "https://127.0.0.1/"}, "not a public address"),
        ({"url": "https://169.254.169.254/"}, "not a public address"),
        ({"url": "https://u:p@hooks.example.com/"}, "user or a password"),
        ({"url": "https://hooks.example.com:22/"}, "port is 22"),
        ({"url": "https://hooks.example.com/" + "a" * 2048}, "2048"),
        ({"event_types": ["WebhookTest"]}, "body.event_types"),
        ({"event_types": ["VideoReady"] * 50}, "body.event_types"),
        ({"description": "x" * 201}, "body.description"),
        ({"secret": "mine"}, "no such field"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused(
    root: Person, changes: dict[str, Any], why: str
) -> None:
    answer = create(root, **changes)
    assert answer.status == 422
    assert why in answer.json["detail"]
    webhook_id = made(root)
    changed = root.call("PATCH", f"/api/webhooks/{webhook_id}", body=changes)
    assert (changed.status, why in changed.json["detail"]) == (422, True)


@pytest.mark.parametrize("group", ["viewer", "editor"])
def test_others_than_administrators_are_refused(stage: Stage, root: Person, group: str) -> None:
    webhook_id = made(root)
    person = stage.person("ada", root.tenant, group)
    path = f"/api/webhooks/{webhook_id}"
    for method, target in (
        ("POST", "/api/webhooks"),
        ("GET", "/api/webhooks"),
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/rotate-secret"),
        ("POST", f"{path}/test"),
        ("GET", f"{path}/deliveries"),
        ("POST", f"{path}/deliveries/{new_id()}/redeliver"),
    ):
        answer = person.call(method, target, body={} if method != "GET" else None)
        assert (answer.status, answer.json["type"][-9:]) == (403, "forbidden")


def test_another_tenant_cannot_tell_a_webhook_from_none(
    stage: Stage, root: Person, eve: Person
) -> None:
    mine = made(root)
    event_id = delivered(stage, stored(stage, root, mine)).event_id
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate-secret"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", f"/deliveries/{event_id}/redeliver"),
    ):
        bodies = []
        for webhook_id in (mine, new_id(), "not-an-id"):
            body = {} if method == "PATCH" else None
            answer = eve.call(method, f"/api/webhooks/{webhook_id}{path}", body=body)
            assert answer.status == 404
            bodies.append({**answer.json, "instance": None, "request_id": None})
        assert bodies[0] == bodies[1] == bodies[2]
    assert eve.call("GET", "/api/webhooks").json == {"webhooks": []}


def test_a_tenant_has_at_most_ten(root: Person, eve: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: create(root), range(MAX_WEBHOOKS + 4)))
    while 201 in {answer.status for answer in answers[-1:]} or len(listed(root)) < MAX_WEBHOOKS:
        answers.append(create(root))
    refused = create(root)
    assert (refused.status, refused.json["type"][-13:]) == (409, "webhook-limit")
    assert "allowed are 10; delete one" in refused.json["detail"]
    assert len(listed(root)) == MAX_WEBHOOKS
    assert create(eve).status == 201
    assert root.call("DELETE", f"/api/webhooks/{listed(root)[0]}").status == 204
    assert create(root).status == 201


def listed(person: Person) -> list[str]:
    found = person.call("GET", "/api/webhooks").json["webhooks"]
    return [webhook["webhook_id"] for webhook in found]


def test_a_change_keeps_what_is_not_given(stage: Stage, root: Person) -> None:
    webhook_id = made(root, event_types=["VideoReady"], description="a")
    before = stored(stage, root, webhook_id)
    path = f"/api/webhooks/{webhook_id}"
    answer = root.call("PATCH", path, body={"description": "b"})
    assert (answer.json["description"], answer.json["event_types"]) == ("b", ["VideoReady"])
    assert root.call("PATCH", path, body={"event_types": []}).json["event_types"] == []
    after = stored(stage, root, webhook_id)
    assert after.version == before.version + 2
    assert after.secrets == before.secrets
    assert root.call("PATCH", path, body={}).status == 200
    assert stored(stage, root, webhook_id) == after, "nothing was changed"


def test_the_health_of_an_endpoint_is_that_of_all_regions(stage: Stage, root: Person) -> None:
    webhook_id = made(root)
    path = f"/api/webhooks/{webhook_id}"
    healthy = {
        "last_success_at": None,
        "last_failure_at": None,
        "last_failure": None,
        "consecutive_failures": 0,
        "failing_since": None,
    }
    assert root.call("GET", path).json["health"] == healthy
    days = [f"2026-11-2{day}T00:00:00.000Z" for day in range(6)]
    for region, health in (
        (REGION, Health(delivered_at=days[0], failed_at=days[5], failure="it answered 500")),
        (OTHER_REGION, Health(delivered_at=days[1], failed_at=days[4], failure="no answer")),
    ):
        counted = replace(health, failures=2, failing_since=days[3])
        key = table.webhook_health_key(root.tenant, webhook_id, region)
        item = to_item({"pk": key.pk, "sk": key.sk, **asdict(counted)})
        stage.emulator.client("dynamodb").put_item(
            TableName=stage.environment.table_name, Item=item
        )
    ill = {
        "last_success_at": days[1],
        "last_failure_at": days[5],
        "last_failure": "it answered 500",
        "consecutive_failures": 4,
        "failing_since": days[3],
    }
    assert root.call("GET", path).json["health"] == ill
    (listed,) = root.call("GET", "/api/webhooks").json["webhooks"]
    assert listed["health"] == ill


def test_an_endpoint_that_was_disabled_begins_anew(stage: Stage, root: Person) -> None:
    webhook_id = made(root)
    path = f"/api/webhooks/{webhook_id}"
    webhook = stored(stage, root, webhook_id)
    put(stage, replace(webhook, enabled=False, disabled_reason=DisabledReason.FAILING))
    shown = root.call("GET", path).json
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    refused = root.call("POST", f"{path}/test")
    assert (refused.status, refused.json["type"][-16:]) == (409, "webhook-disabled")
    enabled = root.call("PATCH", path, body={"enabled": True}).json
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
    assert stored(stage, root, webhook_id).enabled_at > webhook.enabled_at
    assert root.call("PATCH", path, body={"enabled": False}).json["disabled_reason"] is None


def test_a_new_secret_leaves_the_old_one_for_a_day(stage: Stage, root: Person) -> None:
    first = create(root).json
    path = f"/api/webhooks/{first['webhook']['webhook_id']}"
    second = root.call("POST", f"{path}/rotate-secret").json
    assert second["secret"] != first["secret"]
    assert second["webhook"]["secrets"] == 2
    webhook = stored(stage, root, first["webhook"]["webhook_id"])
    assert [secret.value for secret in webhook.secrets] == [second["secret"], first["secret"]]
    ends = datetime.fromisoformat(str(webhook.secrets[1].expires_at)) - datetime.now(UTC)
    assert timedelta(hours=23) < ends <= timedelta(hours=24)


def test_changes_that_race_are_all_made(stage: Stage, root: Person) -> None:
    webhook_id = made(root)
    path = f"/api/webhooks/{webhook_id}"

    def change(number: int) -> int:
        if number % 2:
            return root.call("POST", f"{path}/rotate-secret").status
        return root.call("PATCH", path, body={"description": str(number)}).status

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(change, range(8)))
    assert set(statuses) <= {200, 409}
    assert stored(stage, root, webhook_id).version == 1 + statuses.count(200)


def test_a_deleted_endpoint_is_gone(root: Person) -> None:
    webhook_id = made(root)
    path = f"/api/webhooks/{webhook_id}"
    assert root.call("DELETE", path).status == 204
    for method in ("GET", "DELETE"):
        answer = root.call(method, path)
        assert (answer.status, answer.json["type"][-17:]) == (404, "webhook-not-found")
    assert listed(root) == []


def test_a_test_is_a_delivery_that_is_due(stage: Stage, root: Person) -> None:
    webhook_id = made(root, event_types=["VideoReady"])
    answer = root.call("POST", f"/api/webhooks/{webhook_id}/test")
    assert (answer.status, answer.json["status"]) == (202, "PENDING")
    assert answer.json["event"]["event_type"] == "WebhookTest"
    assert answer.json["event"]["data"] == {"webhook_id": webhook_id}
    event_id = answer.json["event_id"]
    key = table.webhook_delivery_key(root.tenant, webhook_id, event_id)
    found = item(stage, key)
    assert found["due_key"]["S"] == table.due("WEBHOOK", REGION, event_id)
    assert Delivery.from_item(found).due_at == answer.json["next_attempt_at"]
    (shown,) = deliveries(root, webhook_id)
    assert shown == answer.json


def deliveries(person: Person, webhook_id: str, query: str = "limit=2") -> list[dict[str, Any]]:
    """Return the deliveries of all pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        path = f"/api/webhooks/{webhook_id}/deliveries?{query}{cursor}"
        answer = person.call("GET", path)
        assert answer.status == 200, answer.content
        found += answer.json["deliveries"]
        if answer.json["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json['next_cursor']}"


def test_deliveries_are_listed_newest_first_and_by_status(stage: Stage, root: Person) -> None:
    webhook_id = made(root)
    webhook = stored(stage, root, webhook_id)
    ids = [delivered(stage, webhook).event_id for _ in range(5)]
    failed = [delivered(stage, webhook).ended(DeliveryStatus.FAILED, "why") for _ in range(3)]
    for one in failed:
        put(stage, one)
    failed_ids = [one.event_id for one in failed]
    everything = [one["event_id"] for one in deliveries(root, webhook_id)]
    assert everything == [*ids, *failed_ids][::-1]
    by_status = deliveries(root, webhook_id, "limit=2&status=FAILED")
    assert [one["event_id"] for one in by_status] == failed_ids[::-1]
    assert {one["failure"] for one in by_status} == {"why"}
    assert len(deliveries(root, webhook_id, "status=PENDING")) == 5
    assert deliveries(root, webhook_id, "status=DELIVERED") == []
    other = made(root)
    assert deliveries(root, other) == []
    page = root.call("GET", f"/api/webhooks/{webhook_id}/deliveries?limit=1").json
    for path in (f"{other}/deliveries?", f"{webhook_id}/deliveries?status=FAILED&"):
        answer = root.call("GET", f"/api/webhooks/{path}cursor={page['next_cursor']}")
        assert (answer.status, answer.json["type"][-14:]) == (400, "invalid-cursor")


@pytest.mark.parametrize("status", [DeliveryStatus.DELIVERED, DeliveryStatus.FAILED])
def test_what_ended_is_sent_again(stage: Stage, root: Person, status: DeliveryStatus) -> None:
    webhook_id = made(root)
    ended = delivered(
        stage, stored(stage, root, webhook_id), attempt_count=7, region=OTHER_REGION
    ).ended(status)
    put(stage, ended)
    path = f"/api/webhooks/{webhook_id}/deliveries/{ended.event_id}/redeliver"
    answer = root.call("POST", path)
    assert (answer.status, answer.json["status"]) == (202, "PENDING")
    key = table.webhook_delivery_key(root.tenant, webhook_id, ended.event_id)
    found = Delivery.from_item(item(stage, key))
    assert (found.region, found.attempt_count) == (REGION, 7)
    assert found.due_at == found.created_at > ended.created_at, "for another 24 hours"
    (shown,) = deliveries(root, webhook_id, "status=PENDING")
    assert shown["event_id"] == ended.event_id
    assert deliveries(root, webhook_id, f"status={status}") == []


def test_what_waits_is_sent_at_once_and_what_is_being_sent_is_left_alone(
    stage: Stage, root: Person
) -> None:
    webhook_id = made(root)
    webhook = stored(stage, root, webhook_id)
    later = timestamp(datetime.now(UTC) + timedelta(minutes=50))
    waiting = delivered(stage, webhook, next_attempt_at=later, due_at=later, attempt_count=6)
    leased = delivered(stage, webhook, next_attempt_at=later, due_at=later, leased=True)
    elsewhere = delivered(stage, webhook, region=OTHER_REGION)
    path = f"/api/webhooks/{webhook_id}/deliveries"
    at_once = root.call("POST", f"{path}/{waiting.event_id}/redeliver").json
    assert at_once["next_attempt_at"] < later
    same = root.call("POST", f"{path}/{leased.event_id}/redeliver")
    assert (same.status, same.json["next_attempt_at"]) == (202, later)
    refused = root.call("POST", f"{path}/{elsewhere.event_id}/redeliver")
    assert (refused.status, refused.json["type"][-17:]) == (409, "other-home-region")
    for unknown in (new_id(), "not-an-id"):
        answer = root.call("POST", f"{path}/{unknown}/redeliver")
        assert (answer.status, answer.json["type"][-18:]) == (404, "delivery-not-found")


def test_repeats_do_nothing_twice(stage: Stage, root: Person) -> None:
    first, again = create(root, key="a"), create(root, key="a")
    assert first.json == again.json
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    webhook_id = first.json["webhook"]["webhook_id"]
    assert listed(root) == [webhook_id]
    path = f"/api/webhooks/{webhook_id}"

    def post(suffix: str, key: str) -> Any:
        return root.call("POST", path + suffix, headers={"Idempotency-Key": key})

    assert post("/rotate-secret", "b").json == post("/rotate-secret", "b").json
    assert len(stored(stage, root, webhook_id).secrets) == 2
    assert post("/test", "c").json == post("/test", "c").json
    (tested,) = deliveries(root, webhook_id)
    redeliver = f"/deliveries/{tested['event_id']}/redeliver"
    assert post(redeliver, "d").json == post(redeliver, "d").json
    reused = post("/test", "d")
    assert (reused.status, reused.json["type"][-22:]) == (422, "idempotency-key-reused")
    assert create(root, key="a", description="other").status == 422


def test_repeats_at_once_make_one_endpoint(root: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: create(root, key="k"), range(4)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert len({a.json["secret"] for a in answers if a.status == 201}) == 1
    assert len(listed(root)) == 1


def test_every_change_is_audited_without_values(stage: Stage, root: Person) -> None:
    made_one = create(root).json
    webhook_id = made_one["webhook"]["webhook_id"]
    path = f"/api/webhooks/{webhook_id}"
    root.call("PATCH", path, body={"url": f"{URL}?token=hidden", "enabled": True})
    rotated = root.call("POST", f"{path}/rotate-secret").json
    event_id = root.call("POST", f"{path}/test").json["event_id"]
    root.call("POST", f"{path}/deliveries/{event_id}/redeliver")
    root.call("DELETE", path)
    entries = audited(stage, root)
    assert [entry.action for entry in entries] == [
        AuditAction.WEBHOOK_CREATED,
        AuditAction.WEBHOOK_UPDATED,
        AuditAction.WEBHOOK_SECRET_ROTATED,
        AuditAction.WEBHOOK_TESTED,
        AuditAction.WEBHOOK_REDELIVERED,
        AuditAction.WEBHOOK_DELETED,
    ]
    assert {(entry.actor, entry.subject) for entry in entries} == {("root", webhook_id)}
    assert entries[1].changed == ("enabled", "url")
    log = stage.api.log_file.read_text()
    for secret in (made_one["secret"], rotated["secret"], "token=hidden"):
        assert secret not in str(entries) + log
