"""The admin service: users, tenants, any video, dead letters and the audit trail."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from admin_stage import (
    ADMIN_ROLE,
    DEAD_LETTERS,
    OPERATORS,
    QUEUES,
    Account,
    AdminStage,
    documented_permissions,
    running_admin_stage,
)
from api_stage import Person
from emulator import OTHER_REGION
from waiting import eventually

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import DEAD_LETTER_REASON, EXPRESS, JOBS, START, TranscodeJob
from media_platform.contract.purge import Purge
from media_platform.contract.times import timestamp
from media_platform.contract.tracing import TRACEPARENT, TraceContext
from media_platform.contract.usage import Usage, usage_update
from media_platform.contract.video import Failure, VideoStatus
from mediactl.local.recorded_calls import read_calls


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdminStage]:
    collected = {getattr(item, "originalname", "") for item in request.session.items}
    with running_admin_stage(tmp_path_factory.mktemp("admin")) as stage:
        yield stage
        assert stage.emulator.denied() == []
        calls = read_calls(stage.emulator.calls_file)
        used = {call.action for call in calls if call.role == ADMIN_ROLE}
        granted = {
            action
            for statement in documented_permissions(stage.environment)
            for action in statement["Action"]
        }
        assert used <= granted
        # Some of the tests alone need not use all of it.
        if collected >= {name for name in globals() if name.startswith("test_")}:
            assert used == granted


@pytest.fixture
def tenant() -> str:
    """A tenant of which no other test knows."""
    return f"tenant-{new_id()}"


@pytest.fixture
def root(stage: AdminStage, tenant: str) -> Account:
    return stage.account(tenant)


@pytest.fixture
def eve(stage: AdminStage) -> Account:
    return stage.account(f"other-{new_id()}")


@pytest.fixture
def operator(stage: AdminStage) -> Account:
    return stage.account(OPERATORS)


@pytest.fixture
def ada(stage: AdminStage, tenant: str) -> Person:
    return stage.stage.person("ada", tenant)


def listed(person: Account, path: str, what: str, *, limit: int) -> list[dict[str, Any]]:
    """Return everything of all pages of a list."""
    found: list[dict[str, Any]] = []
    mark = "&" if "?" in path else "?"
    cursor = ""
    while True:
        page = person.get(f"{path}{mark}limit={limit}{cursor}")
        assert len(page[what]) <= limit
        found += page[what]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def actions(person: Account, query: str = "") -> list[str]:
    """Return what the audit trail of today tells, oldest first."""
    entries = listed(person, f"/audit?day={timestamp()[:10]}{query}", "entries", limit=7)
    return [entry["action"] for entry in reversed(entries)]


def problem(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json["type"].rpartition(":")[2]


# Users.


def test_a_user_is_created_in_the_tenant_of_the_administrator(
    stage: AdminStage, root: Account, tenant: str
) -> None:
    email = f"{new_id()}@example.com"
    answer = root.call("POST", "/users", body={"email": email, "groups": ["editor", "viewer"]})
    assert answer.status == 201, answer.content
    user = answer.json["user"]
    assert answer.json["temporary_password"] is None
    assert (user["tenant"], user["email"], user["enabled"]) == (tenant, email, True)
    assert (user["groups"], user["status"]) == (["editor", "viewer"], "FORCE_CHANGE_PASSWORD")
    assert root.call("GET", answer.headers["Location"].removeprefix("/api/admin")).json == user
    stored = stage.emulator.client("cognito-idp").admin_get_user(
        UserPoolId=stage.environment.user_pool_id, Username=user["username"]
    )
    attributes = {a["Name"]: a["Value"] for a in stored["UserAttributes"]}
    assert attributes["custom:tenant"] == tenant
    assert attributes["email_verified"] == "true"


def test_a_first_password_is_told_once_where_nobody_is_invited(root: Account) -> None:
    body = {"email": f"{new_id()}@example.com", "invite": False}
    answer = root.call("POST", "/users", body=body)
    assert len(answer.json["temporary_password"]) >= 12
    assert "password" not in root.call("GET", f"/users/{answer.json['user']['username']}").json
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_repeated_creation_makes_one_user(root: Account, eve: Account) -> None:
    body = {"email": f"{new_id()}@example.com", "invite": False}
    key = {"Idempotency-Key": new_id()}

    def create(_: int) -> Any:
        return root.call("POST", "/users", body=body, headers=key)

    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(create, range(4)), create(4)]
    assert {answer.status for answer in answers} == {201}, [a.content for a in answers]
    assert len({answer.json["user"]["username"] for answer in answers}) == 1
    assert [a.json["temporary_password"] is None for a in answers].count(False) == 1
    assert [a.headers.get("Idempotency-Replayed") for a in answers].count(None) == 1
    other = {**body, "email": f"{new_id()}@example.com"}
    answer = root.call("POST", "/users", body=other, headers=key)
    assert problem(answer) == (422, "idempotency-key-reused")
    assert problem(eve.call("POST", "/users", body=body, headers=key)) == (409, "user-exists")
    assert actions(root, "&action=user.created") == ["user.created"]


def test_an_address_is_that_of_one_user(root: Account, eve: Account) -> None:
    body = {"email": f"{new_id()}@example.com"}
    assert root.call("POST", "/users", body=body).status == 201
    for other in (root, eve):
        assert problem(other.call("POST", "/users", body=body)) == (409, "user-exists")


@pytest.mark.parametrize(
    "change",
    [{"email": "nobody"}, {"groups": ["owner"]}, {"tenant": "a/b"}, {"name": " "}, {"role": "x"}],
)
def test_what_cannot_be_a_user_is_refused(root: Account, change: dict[str, Any]) -> None:
    body = {"email": f"{new_id()}@example.com", **change}
    assert problem(root.call("POST", "/users", body=body)) == (422, "invalid-request")


@pytest.mark.parametrize("limit", [1, 2, 60])
def test_a_list_has_the_users_of_the_tenant_alone(
    stage: AdminStage, root: Account, eve: Account, tenant: str, limit: int
) -> None:
    others = {stage.account(tenant, "viewer").username for _ in range(3)}
    found = listed(root, "/users", "users", limit=limit)
    assert sorted(user["username"] for user in found) == sorted({root.username, *others})
    assert {user["tenant"] for user in found} == {tenant}
    assert eve.username not in {user["username"] for user in found}
    assert {tuple(user["groups"]) for user in found} == {("admin",), ("viewer",)}


def test_a_user_is_found_by_address_and_id_in_the_own_tenant_only(
    root: Account, eve: Account
) -> None:
    for query in (f"email={root.email}", f"user_id={root.user}"):
        (found,) = listed(root, f"/users?{query}", "users", limit=60)
        assert found["username"] == root.username
        assert listed(eve, f"/users?{query}", "users", limit=60) == []
    assert root.call("GET", "/users?email=a%22%20or%20%22&limit=1").status == 200
    assert root.call("GET", "/users?email=a&user_id=b").status == 422


def test_a_cursor_of_another_list_is_refused(root: Account, eve: Account) -> None:
    cursor = root.get("/users?limit=1")["next_cursor"]
    if cursor is not None:
        assert problem(eve.call("GET", f"/users?cursor={cursor}")) == (400, "invalid-cursor")
    assert problem(root.call("GET", "/users?cursor=nonsense")) == (400, "invalid-cursor")


def test_a_user_of_another_tenant_is_as_none(root: Account, eve: Account) -> None:
    routes = (
        ("GET", "", None),
        ("PUT", "/groups", {"groups": []}),
        ("POST", "/disable", None),
        ("POST", "/enable", None),
        ("POST", "/sign-out", None),
    )
    for method, path, body in routes:
        bodies = []
        for username in (root.username, new_id()):
            answer = eve.call(method, f"/users/{username}{path}", body=body)
            assert problem(answer) == (404, "user-not-found")
            bodies.append({**answer.json, "instance": None, "request_id": None})
        assert bodies[0] == bodies[1]
    assert problem(eve.call("GET", f"/users?tenant={root.tenant}")) == (403, "forbidden")
    new = {"email": f"{new_id()}@example.com", "tenant": root.tenant}
    assert problem(eve.call("POST", "/users", body=new)) == (403, "forbidden")


def test_an_operator_administers_every_tenant(operator: Account, root: Account) -> None:
    found = listed(operator, f"/users?tenant={root.tenant}", "users", limit=60)
    assert [user["username"] for user in found] == [root.username]
    body = {"email": f"{new_id()}@example.com", "tenant": root.tenant, "groups": ["admin"]}
    assert operator.call("POST", "/users", body=body).json["user"]["tenant"] == root.tenant
    assert operator.call("POST", f"/users/{root.username}/disable").json["enabled"] is False


def test_only_administrators_of_the_operators_tenant_are_operators(stage: AdminStage) -> None:
    editor = stage.account(OPERATORS, "editor")
    assert problem(editor.call("GET", "/tenants")) == (403, "forbidden")


def test_groups_are_exactly_those_that_were_put(
    stage: AdminStage, root: Account, tenant: str
) -> None:
    user = stage.account(tenant, "viewer")
    for groups in (["admin", "editor"], ["editor"], [], ["viewer"], ["viewer"]):
        answer = root.call("PUT", f"/users/{user.username}/groups", body={"groups": groups})
        assert answer.status == 200, answer.content
        assert answer.json["groups"] == groups
        assert root.get(f"/users/{user.username}")["groups"] == groups


def test_a_disabled_user_signs_in_again_once_enabled(
    stage: AdminStage, root: Account, tenant: str
) -> None:
    user = stage.account(tenant, "viewer")
    for _ in range(2):
        assert root.call("POST", f"/users/{user.username}/disable").json["enabled"] is False
    assert root.get(f"/users/{user.username}")["enabled"] is False
    assert root.call("POST", f"/users/{user.username}/enable").json["enabled"] is True
    assert root.call("POST", f"/users/{user.username}/sign-out").status == 200


def test_nobody_takes_administration_from_himself(
    stage: AdminStage, root: Account, tenant: str
) -> None:
    stage.account(tenant)
    path = f"/users/{root.username}"
    assert problem(root.call("POST", f"{path}/disable")) == (409, "own-account")
    answer = root.call("PUT", f"{path}/groups", body={"groups": ["editor"]})
    assert problem(answer) == (409, "own-account")
    both = {"groups": ["admin", "editor"]}
    assert root.call("PUT", f"{path}/groups", body=both).status == 200
    assert root.get(path)["groups"] == ["admin", "editor"]


def test_the_last_administrator_of_a_tenant_stays(operator: Account, root: Account) -> None:
    path = f"/users/{root.username}"
    assert problem(operator.call("POST", f"{path}/disable")) == (409, "last-admin")
    answer = operator.call("PUT", f"{path}/groups", body={"groups": ["viewer"]})
    assert problem(answer) == (409, "last-admin")
    assert root.get(path)["groups"] == ["admin"]


def test_a_disabled_administrator_is_not_the_other_one(
    stage: AdminStage, operator: Account, root: Account, tenant: str
) -> None:
    other = stage.account(tenant)
    assert root.call("POST", f"/users/{other.username}/disable").status == 200
    assert problem(operator.call("POST", f"/users/{root.username}/disable")) == (409, "last-admin")


def test_administrators_who_remove_each_other_leave_one(stage: AdminStage, tenant: str) -> None:
    admins = [stage.account(tenant) for _ in range(4)]

    def remove_next(number: int) -> int:
        victim = admins[(number + 1) % len(admins)]
        return admins[number].call("POST", f"/users/{victim.username}/disable").status

    with ThreadPoolExecutor(len(admins)) as pool:
        statuses = list(pool.map(remove_next, range(len(admins))))
    assert set(statuses) <= {200, 409}
    users = listed(admins[0], "/users", "users", limit=60)
    assert [user["enabled"] for user in users].count(True) == 4 - statuses.count(200) >= 1


# Tenants.


def test_tenants_are_listed_by_name(operator: Account) -> None:
    prefix = f"zz-{new_id()}"
    names = [f"{prefix}-{n}" for n in "cab"]
    for name in [*names, names[0]]:
        answer = operator.call("POST", "/tenants", body={"tenant": name})
        assert answer.status == 201, answer.content

    def all_listed() -> bool:
        found = [t["tenant"] for t in listed(operator, "/tenants", "tenants", limit=2)]
        assert found == sorted(found)
        assert len(found) == len(set(found))
        return [name for name in found if name.startswith(prefix)] == sorted(names)

    eventually(all_listed, "the tenants are listed")


def test_a_tenant_is_listed_with_its_first_user(operator: Account, root: Account) -> None:
    assert operator.call("GET", f"/tenants/{root.tenant}").status == 404
    assert root.get(f"/tenants/{root.tenant}")["first_seen_at"] is None
    root.call("POST", "/users", body={"email": f"{new_id()}@example.com"})
    assert operator.get(f"/tenants/{root.tenant}")["first_seen_at"] is not None


def test_a_quota_is_set_and_use_is_summed_over_regions(
    stage: AdminStage, operator: Account, root: Account, eve: Account
) -> None:
    quota = {"videos": 10, "stored_bytes": 10**12, "uploads": 0}
    path = f"/tenants/{root.tenant}"
    assert root.get(path)["quota"] is None
    answer = operator.call("PUT", f"{path}/quota", body=quota)
    assert (answer.status, answer.json["quota"]) == (200, quota)
    for region in (stage.environment.home_region, OTHER_REGION):
        update = usage_update(
            stage.environment.table_name,
            tenant=root.tenant,
            region=region,
            more=Usage(videos=2, stored_bytes=5),
        )
        stage.emulator.client("dynamodb").update_item(**update["Update"])
    found = root.get(path)
    assert found["usage"] == {"videos": 4, "stored_bytes": 10, "uploads": 0}
    assert found["regions"].keys() == {stage.environment.home_region, OTHER_REGION}
    assert found["quota"] == quota
    assert problem(eve.call("GET", path)) == (404, "tenant-not-found")
    assert problem(root.call("PUT", f"{path}/quota", body=quota)) == (403, "forbidden")
    negative = {**quota, "videos": -1}
    assert problem(operator.call("PUT", f"{path}/quota", body=negative)) == (422, "invalid-request")


def test_numbers_are_those_of_every_change(
    stage: AdminStage, ada: Person, root: Account, eve: Account, operator: Account
) -> None:
    # Nobody created the tenant: it is there from its first video on.
    assert operator.call("GET", f"/tenants/{root.tenant}").status == 404
    waiting, on_its_way, ready, failed, deleted, restored = (ada.new_video() for _ in range(6))
    assert operator.get(f"/tenants/{root.tenant}")["first_seen_at"] is not None
    before = operator.get("/stats")
    change = stage.stage.change
    for video_id in (on_its_way, ready, failed, restored):
        change(video_id, status=VideoStatus.UPLOADED)
        change(video_id, status=VideoStatus.PROCESSING)
    for video_id in (ready, restored):
        change(video_id, status=VideoStatus.READY)
    change(failed, status=VideoStatus.FAILED)
    for video_id in (deleted, restored):
        assert ada.call("DELETE", f"/api/videos/{video_id}").status == 204
    assert ada.call("POST", f"/api/videos/{restored}/restore").status == 200
    stored = root.get(f"/videos/{waiting}")["size_bytes"] * 6
    for region in (stage.environment.home_region, OTHER_REGION):
        update = usage_update(
            stage.environment.table_name,
            tenant=root.tenant,
            region=region,
            number=3,
            more=Usage(views=4),
        )
        stage.emulator.client("dynamodb").update_item(**update["Update"])

    found = root.get("/stats")
    assert found == {
        "tenant": root.tenant,
        "tenants": 1,
        "videos": {
            "total": 6,
            "pending": 1,
            "in_flight": 1,
            "ready": 2,
            "failed": 1,
            "deleted": 1,
        },
        "stored_bytes": stored,
        "views": 8,
    }
    assert operator.get(f"/stats?tenant={root.tenant}") == found
    assert problem(eve.call("GET", f"/stats?tenant={root.tenant}")) == (403, "forbidden")
    # The use of regions is told by region, whatever items it stands in.
    regions = root.get(f"/tenants/{root.tenant}")["regions"]
    assert regions.keys() == {stage.environment.home_region, OTHER_REGION}

    after = operator.get("/stats")
    assert (after["tenant"], after["tenants"]) == (None, before["tenants"])
    assert {name: after["videos"][name] - before["videos"][name] for name in after["videos"]} == {
        "total": 0,
        "pending": -5,
        "in_flight": 1,
        "ready": 2,
        "failed": 1,
        "deleted": 1,
    }
    assert after["views"] - before["views"] == 8


# Videos.


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_private_and_shared_videos_are_one_list(ada: Person, root: Account, limit: int) -> None:
    created = [
        ada.new_video(visibility=visibility)
        for visibility in ("TENANT", "PRIVATE", "PUBLIC", "PRIVATE", "PRIVATE", "TENANT")
    ]
    for query in ("", "?status=PENDING", "?owner=ada", "?owner=ada&status=PENDING"):
        found = listed(root, f"/videos{query}", "videos", limit=limit)
        assert [video["video_id"] for video in found] == created[::-1]
    assert listed(root, "/videos?owner=bob", "videos", limit=limit) == []


def test_deleted_videos_are_listed_as_such(ada: Person, root: Account) -> None:
    kept, *deleted = [
        ada.new_video(visibility=visibility) for visibility in ("TENANT", "TENANT", "PRIVATE")
    ]
    for video_id in deleted:
        assert ada.call("DELETE", f"/api/videos/{video_id}").status == 204
    assert [v["video_id"] for v in listed(root, "/videos", "videos", limit=2)] == [kept]
    found = listed(root, "/videos?status=DELETED", "videos", limit=1)
    assert [video["video_id"] for video in found] == deleted[::-1]
    assert root.get(f"/videos/{deleted[0]}")["deleted_at"] is not None


def test_failed_videos_are_listed_with_their_reason(
    stage: AdminStage, ada: Person, root: Account
) -> None:
    failure = Failure(code="not_a_video", message="The file is not a video.")
    for visibility in ("TENANT", "PRIVATE"):
        video_id = ada.new_video(visibility=visibility)
        stage.stage.change(video_id, status=VideoStatus.FAILED, failure=failure)
    found = listed(root, "/videos?status=FAILED", "videos", limit=50)
    reason = {"code": "not_a_video", "message": "The file is not a video."}
    assert [video["failure"] for video in found] == [reason, reason]


def test_videos_of_another_tenant_are_for_operators(
    ada: Person, root: Account, eve: Account, operator: Account
) -> None:
    video_id = ada.new_video(visibility="PRIVATE")
    assert root.get(f"/videos/{video_id}")["visibility"] == "PRIVATE"
    for method in ("GET", "DELETE"):
        assert problem(eve.call(method, f"/videos/{video_id}")) == (404, "video-not-found")
    assert listed(eve, "/videos", "videos", limit=50) == []
    assert problem(eve.call("GET", f"/videos?tenant={root.tenant}")) == (403, "forbidden")
    found = listed(operator, f"/videos?tenant={root.tenant}", "videos", limit=50)
    assert [video["video_id"] for video in found] == [video_id]
    cursor = root.get("/videos?limit=1")["next_cursor"]
    ada.new_video()
    if cursor is not None:
        assert problem(eve.call("GET", f"/videos?cursor={cursor}")) == (400, "invalid-cursor")


def test_progress_is_that_of_the_current_run(stage: AdminStage, ada: Person, root: Account) -> None:
    video_id = ada.new_video(visibility="PRIVATE")
    keys = stage.stage.start_run(video_id, progress=40)
    (found,) = listed(root, "/videos", "videos", limit=50)
    assert (found["progress"], found["current_run"]) == (40, keys.run_id)
    assert root.get(f"/videos/{video_id}") == found


def test_a_video_is_deleted_once_whoever_owns_it(
    stage: AdminStage, ada: Person, root: Account
) -> None:
    video_id = ada.new_video(visibility="PRIVATE")
    stage.stage.change(video_id, tags=("harbour", "night"))
    answers = []
    for _ in range(2):
        answer = root.call("DELETE", f"/videos/{video_id}")
        assert answer.status == 202
        answers.append(answer.json)
    assert answers[0] == answers[1]
    video = stage.stage.video(video_id)
    assert (video.status, video.deleted_by) == (VideoStatus.DELETED, root.user)
    note = purge_of(stage, video_id)
    assert note == Purge(
        video_id=video_id,
        tenant=root.tenant,
        region=stage.environment.home_region,
        due_at=answers[0]["purge_from"],
        raw_key=video.raw_key,
    )
    assert note.due_at <= timestamp() < answers[0]["expected_by"]
    refused = ada.call("POST", f"/api/videos/{video_id}/restore")
    assert problem(refused) == (409, "not-restorable")
    types = [event.event_type for event in stage.stage.events(video_id)]
    assert types == [EventType.VIDEO_CREATED, EventType.VIDEO_DELETED]
    assert actions(root, f"&video={video_id}&action=video.purged") == ["video.purged"]


def test_a_video_that_could_still_be_restored_is_purged_at_once(
    stage: AdminStage, ada: Person, root: Account
) -> None:
    video_id = ada.new_video()
    assert ada.call("DELETE", f"/api/videos/{video_id}").status == 204
    later = purge_of(stage, video_id)
    purge_from = root.call("DELETE", f"/videos/{video_id}").json["purge_from"]
    assert later is not None
    assert later.due_at > purge_from
    note = purge_of(stage, video_id)
    assert note is not None
    assert note.due_at == purge_from
    assert ada.call("POST", f"/api/videos/{video_id}/restore").status == 409
    types = [event.event_type for event in stage.stage.events(video_id)]
    assert types == [EventType.VIDEO_CREATED, EventType.VIDEO_DELETED]


def purge_of(stage: AdminStage, video_id: str) -> Purge | None:
    item = stage.stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name,
        Key=table.purge_key(video_id).to_wire(),
        ConsistentRead=True,
    )
    return Purge.from_item(item["Item"]) if "Item" in item else None


# Jobs.


def a_job(**changes: Any) -> TranscodeJob:
    values = {
        "video_id": new_id(),
        "run_id": new_id(),
        "tenant": "acme",
        "bucket": "raw",
        "key": "raw/acme/ada/x.mp4",
        "version_id": "v1",
        "size_bytes": 1,
        "queued_at": timestamp(),
    }
    return TranscodeJob(**{**values, **changes})


def test_work_in_hand_is_counted(stage: AdminStage, ada: Person, operator: Account) -> None:
    before = operator.get("/jobs")
    video_id = ada.new_video()
    stage.stage.change(video_id, status=VideoStatus.UPLOADED)

    def counted() -> bool:
        found = operator.get("/jobs")
        return bool(
            found["videos_in_flight"] == before["videos_in_flight"] + 1
            and found["events_unpublished"] > before["events_unpublished"]
        )

    eventually(counted, "the video is in flight and its event is to be published")
    assert [queue["name"] for queue in before["queues"]] == list(QUEUES)
    assert [queue["name"] for queue in before["dead_letters"]] == list(DEAD_LETTERS)


def test_what_failed_elsewhere_is_seen_and_stays(stage: AdminStage, operator: Account) -> None:
    queue = "webhook-deliveries"
    message_id = stage.dead_letter('{"webhook_id": "w"}', queue=queue)
    for _ in range(2):
        (letter,) = operator.get(f"/jobs/dead-letters?queue={queue}")["dead_letters"]
        assert (letter["message_id"], letter["job"]) == (message_id, None)
        assert letter["body"] == '{"webhook_id": "w"}'
    depths = {one["name"]: one["visible"] for one in operator.get("/jobs")["dead_letters"]}
    assert depths[queue] == 1
    answer = operator.call("POST", f"/jobs/dead-letters/{message_id}/redrive")
    assert problem(answer) == (404, "dead-letter-not-found")
    refused = operator.call("GET", "/jobs/dead-letters?queue=nothing")
    assert problem(refused) == (422, "invalid-request")
    assert f"{JOBS}, {queue}" in refused.json["detail"]


@pytest.mark.parametrize(("part", "queue"), [(START, EXPRESS), ("video-0001", JOBS)])
def test_a_dead_letter_is_seen_and_goes_back_where_it_came_from(
    stage: AdminStage, operator: Account, part: str, queue: str
) -> None:
    job, trace = a_job(part=part), str(TraceContext.new())
    sent = {DEAD_LETTER_REASON: "the disk was full", TRACEPARENT: trace}
    message_id = stage.dead_letter(job.to_json(), **sent)
    for _ in range(2):
        letters = operator.get("/jobs/dead-letters?limit=100")["dead_letters"]
        (letter,) = [one for one in letters if one["message_id"] == message_id]
        assert (letter["reason"], letter["job"]["video_id"]) == ("the disk was full", job.video_id)
    path = f"/jobs/dead-letters/{message_id}/redrive"
    assert operator.call("POST", path).status == 200
    assert problem(operator.call("POST", path)) == (404, "dead-letter-not-found")
    (message,) = stage.emulator.messages(stage.environment.queue_urls[queue])
    assert TranscodeJob.from_json(message["Body"]) == job
    found = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert found == sent


def test_a_job_that_no_worker_gave_up_gets_a_reason(stage: AdminStage, operator: Account) -> None:
    """SQS itself moves jobs that were received too often, without one."""
    message_id = stage.dead_letter(a_job().to_json())
    assert operator.call("POST", f"/jobs/dead-letters/{message_id}/redrive").status == 200
    (message,) = stage.emulator.messages(stage.environment.queue_urls[EXPRESS])
    assert message["MessageAttributes"][DEAD_LETTER_REASON]["StringValue"]


def test_what_is_no_job_stays(stage: AdminStage, operator: Account) -> None:
    message_id = stage.dead_letter("hello")
    answer = operator.call("POST", f"/jobs/dead-letters/{message_id}/redrive")
    assert problem(answer) == (409, "not-redrivable")
    letters = operator.get("/jobs/dead-letters?limit=100")["dead_letters"]
    (letter,) = [one for one in letters if one["message_id"] == message_id]
    assert (letter["job"], letter["body"]) == (None, "hello")


# The audit trail.


def test_reads_of_other_peoples_data_and_changes_leave_entries(
    stage: AdminStage, ada: Person, root: Account, tenant: str
) -> None:
    user = stage.account(tenant, "viewer")
    video_id = ada.new_video()
    root.get("/users")
    root.get(f"/users/{user.username}")
    root.call("PUT", f"/users/{user.username}/groups", body={"groups": ["editor"]})
    for what in ("disable", "enable", "sign-out"):
        root.call("POST", f"/users/{user.username}/{what}")
    root.get("/videos")
    root.get(f"/videos/{video_id}")
    assert actions(root, f"&actor={root.user}")[:8] == [
        "users.listed",
        "user.read",
        "user.groups_changed",
        "user.disabled",
        "user.enabled",
        "user.signed_out",
        "videos.listed",
        "video.read",
    ]
    assert actions(root, f"&video={video_id}") == ["video.created", "video.read"]
    assert actions(root, "&action=audit.read")


def test_what_an_operator_does_stands_in_the_trail_of_the_tenant(
    operator: Account, root: Account, eve: Account
) -> None:
    operator.get(f"/users?tenant={root.tenant}")
    day = timestamp()[:10]
    (entry,) = root.get(f"/audit?day={day}&action=users.listed")["entries"]
    assert (entry["actor"], entry["actor_tenant"]) == (operator.user, OPERATORS)
    assert problem(eve.call("GET", f"/audit?day={day}&tenant={root.tenant}")) == (403, "forbidden")
    cursor = root.get(f"/audit?day={day}&limit=1")["next_cursor"]
    answer = eve.call("GET", f"/audit?day={day}&cursor={cursor}")
    assert problem(answer) == (400, "invalid-cursor")
    for other in ("yesterday", "0", "1764028800", f"{day}T00:00:00Z"):
        assert root.call("GET", f"/audit?day={other}").status == 422


# What it shares with the API.


def test_it_describes_itself_and_drains_like_the_api(stage: AdminStage) -> None:
    description = stage.admin.call("GET", "/api/admin/openapi.json").json
    assert description["info"]["title"] == "media-platform admin"
    assert all(path.startswith(("/api/admin/", "/health/")) for path in description["paths"])
    assert stage.admin.call("GET", "/health/ready").status == 200
    unknown = stage.admin.call("GET", "/api/admin/nothing")
    assert unknown.status == 404
    assert "/api/admin/openapi.json" in unknown.json["detail"]
    assert unknown.headers["X-Content-Type-Options"] == "nosniff"
