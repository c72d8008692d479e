"""Videos through the running API, on an emulator that enforces the grants of its role."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
from api_stage import RENDITION, UPLOAD_MAX_BYTES, Person, Stage, running_stage, send
from emulator import OTHER_REGION, REGION, STRANGE_REGION
from waiting import eventually

from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.object_keys import RawKey
from media_platform.contract.run import Run
from media_platform.contract.video import Failure, VideoStatus, Visibility
from tests.unit.api.api_process import Answer

CONTENT = b"not really a film"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-videos")) as stage:
        yield stage
        denied = {(call["action"], call["resource"]) for call in stage.emulator.denied()}
        assert {action for action, _ in denied} <= {"s3:GetObject"}, denied
        assert all("raw-uploads/raw/" in resource for _, resource in denied), denied


@pytest.fixture
def tenant() -> str:
    """A tenant of which no other test knows."""
    return f"tenant-{new_id()}"


@pytest.fixture
def ada(stage: Stage, tenant: str) -> Person:
    return stage.person("ada", tenant)


@pytest.fixture
def bob(stage: Stage, tenant: str) -> Person:
    return stage.person("bob", tenant, "viewer")


@pytest.fixture
def root(stage: Stage, tenant: str) -> Person:
    return stage.person("root", tenant, "admin")


@pytest.fixture
def eve(stage: Stage) -> Person:
    return stage.person("eve", f"other-{new_id()}", "admin")


def test_a_new_video_and_its_event_are_written_together(stage: Stage, ada: Person) -> None:
    created = ada.create(title="Harbour", size_bytes=17, visibility="PRIVATE")["video"]
    video = stage.video(created["video_id"])
    assert (video.tenant, video.owner, video.home_region) == (ada.tenant, "ada", REGION)
    assert (video.status, video.visibility) == (VideoStatus.PENDING, Visibility.PRIVATE)
    assert video.raw_key == str(RawKey(ada.tenant, "ada", video.video_id, "mp4"))
    (event,) = stage.events(video.video_id)
    assert (event.event_type, event.sequence) == (EventType.VIDEO_CREATED, 1)
    assert (event.tenant, event.region) == (ada.tenant, REGION)


def test_the_answer_is_the_video_and_says_where_it_is(ada: Person) -> None:
    body = {"title": "A", "file_name": "b.webm", "content_type": "video/webm", "size_bytes": 5}
    answer = ada.call("POST", "/api/videos", body=body)
    video = answer.json["video"]
    assert answer.headers["Location"] == f"/api/videos/{video['video_id']}"
    assert ada.call("GET", answer.headers["Location"]).json == video
    assert video["status"] == "PENDING"
    assert (video["playable"], video["progress"], video["renditions"]) == (False, 0, [])
    assert (video["visibility"], video["failure"], video["version"]) == ("TENANT", None, 1)


@pytest.mark.parametrize(
    "file_name",
    ["a b + c%20.mp4", "Überraschung ß 影片 🎬.mp4", "../../etc/passwd", 'x"y\\z\n.mp4', "x" * 255],
)
def test_any_file_name_is_kept_and_uploaded(stage: Stage, ada: Person, file_name: str) -> None:
    created = ada.create(file_name=file_name, title=file_name[:200])
    upload = created["upload"]
    assert send("PUT", upload["url"], body=CONTENT, headers=upload["headers"]) == 200
    video = ada.call("GET", f"/api/videos/{created['video']['video_id']}").json
    assert (video["file_name"], video["title"]) == (file_name, file_name[:200])
    stored = stage.emulator.client("s3").head_object(
        Bucket=stage.environment.raw_bucket, Key=stage.video(video["video_id"]).raw_key
    )
    assert (stored["ContentLength"], stored["ContentType"]) == (len(CONTENT), "video/mp4")


def test_the_headers_of_the_upload_are_the_signed_ones(ada: Person) -> None:
    upload = ada.create(content_type="video/quicktime", size_bytes=17)["upload"]
    assert upload["method"] == "PUT"
    assert upload["headers"] == {
        "Content-Type": "video/quicktime",
        "Content-Length": "17",
        "If-None-Match": "*",
    }
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in upload["url"]
    signed = "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match"
    assert signed in upload["url"]


@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        ({"Content-Type": "text/html"}, {403}),
        ({"Content-Type": None}, {403}),
        ({"If-None-Match": None}, {403}),
        ({"If-None-Match": '"etag"'}, {403}),
    ],
)
def test_s3_refuses_other_headers(
    ada: Person, change: dict[str, str | None], statuses: set[int]
) -> None:
    upload = ada.create()["upload"]
    wanted = {**upload["headers"], **change}
    headers = {name: value for name, value in wanted.items() if value is not None}
    assert send("PUT", upload["url"], body=CONTENT, headers=headers) in statuses
    assert send("PUT", upload["url"], body=CONTENT, headers=upload["headers"]) == 200


@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1], b""])
def test_s3_refuses_another_length(ada: Person, content: bytes) -> None:
    upload = ada.create()["upload"]
    headers = {**upload["headers"], "Content-Length": str(len(content))}
    assert send("PUT", upload["url"], body=content, headers=headers) in {400, 403}


def test_s3_refuses_a_second_upload(ada: Person) -> None:
    upload = ada.create()["upload"]
    assert send("PUT", upload["url"], body=CONTENT, headers=upload["headers"]) == 200
    assert send("PUT", upload["url"], body=CONTENT, headers=upload["headers"]) == 412


def test_an_upload_url_opens_nothing_else(ada: Person) -> None:
    """The one test whose calls the role is denied: with its own URL, by its own grants."""
    first, second = ada.create()["upload"], ada.create()["upload"]
    other_key = second["url"].partition("?")[0] + "?" + first["url"].partition("?")[2]
    assert send("PUT", other_key, body=CONTENT, headers=first["headers"]) == 403
    assert send("GET", first["url"]) == 403


def test_the_largest_upload_and_one_byte_more(ada: Person) -> None:
    body = {"title": "A", "file_name": "b.mp4", "content_type": "video/mp4"}
    largest = {**body, "size_bytes": UPLOAD_MAX_BYTES}
    assert ada.call("POST", "/api/videos", body=largest).status == 201
    too_large = {**body, "size_bytes": UPLOAD_MAX_BYTES + 1}
    assert ada.call("POST", "/api/videos", body=too_large).status == 422


def test_a_list_has_every_video_once_newest_first(ada: Person) -> None:
    created = [ada.new_video() for _ in range(7)]
    for limit in (1, 3, 7, 100):
        assert ada.listed(f"limit={limit}") == created[::-1]


def test_a_page_has_fifty_videos_unless_told_otherwise(ada: Person) -> None:
    for _ in range(51):
        ada.new_video()
    first = ada.call("GET", "/api/videos").json
    assert len(first["videos"]) == 50
    second = ada.call("GET", f"/api/videos?cursor={first['next_cursor']}").json
    assert (len(second["videos"]), second["next_cursor"]) == (1, None)


def test_videos_that_come_and_go_do_not_disturb_a_cursor(ada: Person) -> None:
    created = [ada.new_video() for _ in range(6)]
    page = ada.call("GET", "/api/videos?limit=2").json
    assert [video["video_id"] for video in page["videos"]] == [created[5], created[4]]
    ada.new_video()
    for gone in (created[4], created[3]):
        assert ada.call("DELETE", f"/api/videos/{gone}").status == 204
    rest = ada.listed(f"limit=2&cursor={page['next_cursor']}")
    assert rest[:3] == [created[2], created[1], created[0]]


def test_a_status_lists_only_its_own(stage: Stage, ada: Person) -> None:
    pending, failed = ada.new_video(), ada.new_video()
    stage.change(failed, status=VideoStatus.FAILED, failure=Failure(code="c", message="m"))
    for owner in ("", "&owner=me"):
        assert ada.listed(f"status=PENDING{owner}") == [pending]
        assert ada.listed(f"status=FAILED{owner}") == [failed]
        assert ada.listed(f"status=READY{owner}") == []
    (video,) = ada.call("GET", "/api/videos?status=FAILED").json["videos"]
    assert video["failure"] == {"code": "c", "message": "m"}


def test_private_videos_are_their_owners_alone(ada: Person, bob: Person, root: Person) -> None:
    shared, private = ada.new_video(), ada.new_video(visibility="PRIVATE")
    assert ada.listed() == bob.listed() == root.listed() == [shared]
    assert ada.listed("owner=me") == [private, shared]
    assert ada.listed("owner=me&status=PENDING") == [private, shared]
    assert bob.listed("owner=me") == []
    assert ada.call("GET", f"/api/videos/{private}").status == 200
    for other in (bob, root):
        assert other.call("GET", f"/api/videos/{private}").status == 404
        assert other.call("GET", f"/api/videos/{private}/playback").status == 404
        assert other.call("DELETE", f"/api/videos/{private}").status == 404


def test_another_tenant_cannot_tell_a_video_from_none(ada: Person, eve: Person) -> None:
    mine, unknown = ada.new_video(), new_id()
    for method, path in (("GET", ""), ("GET", "/playback"), ("DELETE", "")):
        bodies = []
        for video_id in (mine, unknown, "not-an-id"):
            answer = eve.call(method, f"/api/videos/{video_id}{path}")
            assert answer.status == 404
            bodies.append({**answer.json, "instance": None, "request_id": None})
        assert bodies[0] == bodies[1] == bodies[2]
    assert eve.listed() == eve.listed("owner=me") == []


def test_the_same_user_name_in_another_tenant_is_another_user(stage: Stage, ada: Person) -> None:
    ada.new_video(visibility="PRIVATE")
    namesake = stage.person("ada", f"other-{new_id()}")
    assert namesake.listed("owner=me") == []


def test_a_cursor_opens_only_the_list_it_came_from(ada: Person, eve: Person) -> None:
    for _ in range(2):
        ada.new_video()
        eve.new_video()
    cursor = ada.call("GET", "/api/videos?limit=1").json["next_cursor"]
    for person, query in ((eve, ""), (ada, "owner=me&"), (ada, "status=PENDING&")):
        answer = person.call("GET", f"/api/videos?{query}cursor={cursor}")
        assert answer.status == 400
        assert answer.json["type"].endswith(":invalid-cursor")
    assert ada.call("GET", f"/api/videos?limit=1&cursor={cursor}").status == 200


def test_progress_is_that_of_the_current_run(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    keys = stage.start_run(video_id, progress=40)
    one = ada.call("GET", f"/api/videos/{video_id}").json
    (listed,) = ada.call("GET", "/api/videos").json["videos"]
    assert one == listed
    assert (one["status"], one["progress"], one["playable"]) == ("PROCESSING", 40, False)
    assert one["renditions"] == [asdict(RENDITION)]
    assert keys.run_id not in ada.call("GET", f"/api/videos/{video_id}").content.decode()


def test_a_ready_video_is_complete(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    stage.start_run(video_id, progress=99, playable_at="2026-01-01T00:00:00.000Z")
    stage.change(video_id, status=VideoStatus.READY, duration_seconds=2.5, width=1280, height=720)
    video = ada.call("GET", f"/api/videos/{video_id}").json
    assert (video["status"], video["progress"], video["playable"]) == ("READY", 100, True)
    assert (video["duration_seconds"], video["width"], video["height"]) == (2.5, 1280, 720)


def test_pollers_are_told_when_nothing_changed(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    path = f"/api/videos/{video_id}"
    keys = stage.start_run(video_id, progress=10)
    tag = ada.call("GET", path).headers["ETag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = ada.call("GET", path, headers={"If-None-Match": known})
        assert (answer.status, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    run = Run.from_item(
        stage.emulator.client("dynamodb").get_item(
            TableName=stage.environment.table_name,
            Key={"pk": {"S": f"VIDEO#{video_id}"}, "sk": {"S": f"RUN#{keys.run_id}#STATE"}},
        )["Item"]
    )
    stage.put_run(replace(run, progress=11))

    def changed() -> Answer | None:
        answer = ada.call("GET", path, headers={"If-None-Match": tag})
        return answer if answer.status != 304 else None

    answer = eventually(changed, "what a worker wrote shows")
    assert (answer.status, answer.json["progress"]) == (200, 11)


def test_a_deleted_video_is_gone_and_told_of_once(stage: Stage, ada: Person, bob: Person) -> None:
    video_id = ada.new_video()
    for _ in range(2):
        assert ada.call("DELETE", f"/api/videos/{video_id}").status == 204
    assert ada.call("GET", f"/api/videos/{video_id}").status == 404
    assert ada.call("GET", f"/api/videos/{video_id}/playback").status == 404
    assert bob.call("DELETE", f"/api/videos/{video_id}").status == 404
    assert ada.listed() == ada.listed("owner=me") == []
    assert ada.listed("owner=me&status=DELETED") == [video_id]
    created, deleted = stage.events(video_id)
    assert (created.event_type, deleted.event_type) == (
        EventType.VIDEO_CREATED,
        EventType.VIDEO_DELETED,
    )
    assert (deleted.sequence, deleted.data) == (2, {"deleted_by": "ada"})
    assert stage.video(video_id).deleted_at


def test_who_may_delete(stage: Stage, ada: Person, bob: Person, root: Person, eve: Person) -> None:
    mine, hers = ada.new_video(), ada.new_video()
    refused = bob.call("DELETE", f"/api/videos/{mine}")
    assert (refused.status, refused.json["type"][-9:]) == (403, "forbidden")
    assert "only its owner and users in the group admin" in refused.json["detail"]
    assert eve.call("DELETE", f"/api/videos/{mine}").status == 404
    assert stage.video(mine).status is VideoStatus.PENDING
    assert root.call("DELETE", f"/api/videos/{hers}").status == 204


def test_many_deletes_at_once_are_one(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: ada.call("DELETE", f"/api/videos/{video_id}").status, range(8))
        )
    assert set(answers) <= {204, 409}
    assert 204 in answers
    assert [event.sequence for event in stage.events(video_id)] == [1, 2]


def test_a_delete_survives_changes_made_meanwhile(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    enough = threading.Event()

    def keep_changing() -> None:
        dynamodb = stage.emulator.client("dynamodb")
        for _ in range(30):
            with contextlib.suppress(dynamodb.exceptions.ClientError):  # lost races
                stage.change(video_id, title="changed")
            if enough.is_set() or stage.video(video_id).status is VideoStatus.DELETED:
                return

    thread = threading.Thread(target=keep_changing)
    thread.start()
    statuses = []
    while 204 not in statuses and len(statuses) < 20:
        statuses.append(ada.call("DELETE", f"/api/videos/{video_id}").status)
    enough.set()
    thread.join()
    assert statuses[-1] == 204
    assert stage.video(video_id).status is VideoStatus.DELETED
    events = stage.events(video_id)
    assert [event.event_type for event in events] == [
        EventType.VIDEO_CREATED,
        EventType.VIDEO_DELETED,
    ]


def test_for_strangers_no_other_region_is_asked_whose_silence_would_tell_of_a_video(
    stage: Stage, ada: Person, tenant: str
) -> None:
    hidden = ada.new_video(visibility="PRIVATE")
    stage.change(hidden, home_region=OTHER_REGION)
    for stranger in (stage.person("eve", "elsewhere", "admin"), stage.person("bob", tenant)):
        answers = [
            stranger.call("DELETE", f"/api/videos/{video_id}") for video_id in (hidden, new_id())
        ]
        assert [answer.status for answer in answers] == [404, 404]


def test_a_video_at_home_elsewhere_is_not_changed_here(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    before = replace(stage.video(video_id), home_region=STRANGE_REGION)
    stage.replace(before)
    answer = ada.call("DELETE", f"/api/videos/{video_id}")
    assert (answer.status, answer.json["type"][-17:]) == (409, "other-home-region")
    assert STRANGE_REGION in answer.json["detail"]
    assert stage.video(video_id) == before
    assert ada.call("GET", f"/api/videos/{video_id}").status == 200


def test_the_service_is_ready(stage: Stage) -> None:
    assert stage.api.call("GET", "/health/ready").json == {"status": "ok"}


TOLD_TO_ANYONE = {
    "video_id",
    "status",
    "title",
    "description",
    "tags",
    "visibility",
    "version",
    "created_at",
    "updated_at",
    "duration_seconds",
    "width",
    "height",
    "playable",
    "progress",
    "renditions",
}


def test_a_public_video_is_seen_by_anyone_and_told_in_part(
    stage: Stage, ada: Person, bob: Person, eve: Person
) -> None:
    video_id = ada.new_video(visibility="PUBLIC", file_name="ada's secret.mp4")
    stage.change(
        video_id, status=VideoStatus.FAILED, failure=Failure(code="c", message="ada's secret")
    )
    path = f"/api/videos/{video_id}"
    known = bob.call("GET", path).json
    assert (known["owner"], known["failure"]["code"]) == ("ada", "c")
    for answer in (stage.api.call("GET", path), eve.call("GET", path)):
        assert answer.status == 200
        assert answer.json.keys() == TOLD_TO_ANYONE
        assert answer.json.items() <= known.items()
        assert b"secret" not in answer.content
        tag = answer.headers["ETag"]
        assert stage.api.call("GET", path, headers={"If-None-Match": tag}).status == 304
    assert eve.call("DELETE", path).status == 404
    assert stage.api.call("DELETE", path).status == 401


def test_what_is_not_public_is_unknown_to_anyone(stage: Stage, ada: Person) -> None:
    deleted = ada.new_video(visibility="PUBLIC")
    assert ada.call("DELETE", f"/api/videos/{deleted}").status == 204
    hidden = [ada.new_video(), ada.new_video(visibility="PRIVATE"), deleted, new_id(), "x"]
    for route in ("", "/playback"):
        answers = [stage.api.call("GET", f"/api/videos/{video_id}{route}") for video_id in hidden]
        assert {answer.status for answer in answers} == {404}
        assert len({answer.json["detail"] for answer in answers}) == 1


def test_a_token_that_is_sent_has_to_be_valid_even_where_none_is_needed(
    stage: Stage, ada: Person
) -> None:
    video_id = ada.new_video(visibility="PUBLIC")
    expired = stage.issuer.token(sub="ada", tenant=ada.tenant, exp=1)
    for header in (f"Bearer {expired}", "Bearer x", "Bearer", "Basic YTpi", ""):
        for route in ("", "/playback"):
            answer = stage.api.call(
                "GET", f"/api/videos/{video_id}{route}", headers={"Authorization": header}
            )
            assert answer.status == 401, header
            assert "WWW-Authenticate" in answer.headers
    stateless = stage.issuer.token(sub="ada", tenant=None)
    assert stage.api.call("GET", f"/api/videos/{video_id}", token=stateless).status == 403


def test_others_find_public_videos_by_their_id_alone(
    stage: Stage, ada: Person, eve: Person
) -> None:
    ada.new_video(visibility="PUBLIC")
    assert eve.listed() == []
    assert stage.api.call("GET", "/api/videos").status == 401
