"""Changing videos, alone and against others, and finding them by their tags."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from api_stage import Answer, Person, Stage, running_stage
from emulator import STRANGE_REGION
from waiting import eventually
from worker_wire import wire_to

from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.video import VideoStatus

ALL = {
    "title": "Harbour",
    "description": "From the pier.\nTwice.",
    "tags": ["sea"],
    "visibility": "PRIVATE",
    "rules": {"referrers": ["example.com"], "ipv4_ranges": ["192.0.2.0/24"], "max_seconds": 60},
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-changes")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


def patch(person: Person, video_id: str, body: Any, **headers: str) -> Answer:
    sent = {"Content-Type": "application/merge-patch+json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return person.call(
        "PATCH", f"/api/videos/{video_id}", body=json.dumps(body).encode(), headers=sent
    )


def test_a_put_replaces_everything(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video(tags=["old"], description="old")
    answer = ada.call("PUT", f"/api/videos/{video_id}", body=ALL)
    assert answer.status == 200, answer.content
    again = ada.call("GET", f"/api/videos/{video_id}")
    assert answer.json == again.json
    assert answer.headers["ETag"] == again.headers["ETag"]
    assert {name: answer.json[name] for name in ALL} == ALL
    _, updated = stage.events(video_id)
    assert (updated.event_type, updated.sequence) == (EventType.VIDEO_UPDATED, 2)
    assert updated.data == {"updated_by": "ada", "changed": ALL}


@pytest.mark.parametrize("missing", ALL)
def test_a_put_without_a_field_changes_nothing(ada: Person, missing: str) -> None:
    video_id = ada.new_video()
    body = {name: value for name, value in ALL.items() if name != missing}
    answer = ada.call("PUT", f"/api/videos/{video_id}", body=body)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == [f"body.{missing}"]
    assert ada.call("GET", f"/api/videos/{video_id}").json["version"] == 1


@pytest.mark.parametrize(
    ("body", "become"),
    [
        ({"title": "B"}, {"title": "B"}),
        ({"description": None}, {"description": ""}),
        ({"tags": [" Sea ", "sea", "Étoile"]}, {"tags": ["sea", "étoile"]}),
        ({"tags": None}, {"tags": []}),
        ({"rules": None}, {"rules": None}),
        ({"rules": {"max_seconds": 90}}, {"rules": {**ALL["rules"], "max_seconds": 90}}),  # type: ignore[dict-item]
        ({"rules": {"referrers": None}}, {"rules": {**ALL["rules"], "referrers": []}}),  # type: ignore[dict-item]
        (
            {"rules": {"referrers": None, "ipv4_ranges": None, "max_seconds": None}},
            {"rules": None},
        ),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json"])
def test_a_patch_changes_what_it_names(
    stage: Stage, ada: Person, body: Any, become: dict[str, Any], content_type: str
) -> None:
    video_id = ada.new_video()
    ada.call("PUT", f"/api/videos/{video_id}", body={**ALL, "visibility": "TENANT"})
    before = ada.call("GET", f"/api/videos/{video_id}").json
    answer = patch(ada, video_id, body, Content_Type=content_type)
    assert answer.status == 200, answer.content
    ignored = {"version": 3, "updated_at": answer.json["updated_at"]}
    assert answer.json == {**before, **become, **ignored}
    assert stage.events(video_id)[-1].data["changed"] == become


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": None}, "body.title"),
        ({"visibility": None}, "body.visibility"),
        ({"title": " "}, "body.title"),
        ({"status": "READY"}, "body.status"),
        ({"rules": {"referrers": ["https://example.com/"]}}, "body.rules.referrers.0"),
        ({"rules": {"ipv4_ranges": ["192.0.2.1/24"]}}, "body.rules.ipv4_ranges.0"),
        ({"rules": {"ipv4_ranges": ["::/0"]}}, "body.rules.ipv4_ranges.0"),
        ({"rules": {"max_seconds": 0}}, "body.rules.max_seconds"),
        ({"rules": []}, "body.rules"),
        ([], "body"),
        ("title", "body"),
    ],
)
def test_a_refused_patch_changes_nothing(ada: Person, body: Any, field: str) -> None:
    video_id = ada.new_video()
    answer = patch(ada, video_id, body)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert ada.call("GET", f"/api/videos/{video_id}").json["version"] == 1


def test_what_changes_nothing_is_no_change(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video(tags=["sea"])
    before = ada.call("GET", f"/api/videos/{video_id}")
    for body in ({}, {"title": before.json["title"]}, {"tags": ["SEA"]}, {"rules": {}}):
        answer = patch(ada, video_id, body)
        assert (answer.status, answer.json) == (200, before.json)
        assert answer.headers["ETag"] == before.headers["ETag"]
    assert [event.sequence for event in stage.events(video_id)] == [1]


def test_progress_does_not_invalidate_what_was_read(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    stage.start_run(video_id, progress=10)
    read = ada.call("GET", f"/api/videos/{video_id}").headers["ETag"]
    run_id = stage.video(video_id).current_run
    stage.emulator.client("dynamodb").update_item(
        TableName=stage.environment.table_name,
        Key={"pk": {"S": f"VIDEO#{video_id}"}, "sk": {"S": f"RUN#{run_id}#STATE"}},
        UpdateExpression="SET progress = :more",
        ExpressionAttributeValues={":more": {"N": "50"}},
    )
    eventually(
        lambda: ada.call("GET", f"/api/videos/{video_id}").headers["ETag"] != read,
        "the progress shows",
    )
    answer = patch(ada, video_id, {"title": "B"}, If_Match=read)
    assert (answer.status, answer.json["title"], answer.json["progress"]) == (200, "B", 50)


def test_what_was_changed_meanwhile_is_not_overwritten(ada: Person) -> None:
    video_id = ada.new_video()
    read = ada.call("GET", f"/api/videos/{video_id}").headers["ETag"]
    now = patch(ada, video_id, {"title": "B"}, If_Match=read).headers["ETag"]
    for method, body in (("PATCH", {"title": "C"}), ("PUT", ALL)):
        answer = ada.call(method, f"/api/videos/{video_id}", body=body, headers={"If-Match": read})
        assert (answer.status, answer.json["type"][-19:]) == (412, "precondition-failed")
        assert answer.headers["ETag"] == now
    assert ada.call("GET", f"/api/videos/{video_id}").headers["ETag"] == now


@pytest.mark.parametrize("known", ["*", '"1"', '"9-0f", "1-ab"'])
def test_what_if_match_may_be(ada: Person, known: str) -> None:
    video_id = ada.new_video()
    assert patch(ada, video_id, {"title": "B"}, If_Match=known).status == 200
    again = patch(ada, video_id, {"title": "C"}, If_Match=known).status
    assert again == (200 if known == "*" else 412)


def test_who_may_change(stage: Stage, ada: Person) -> None:
    shared, private = ada.new_video(), ada.new_video(visibility="PRIVATE")
    bob = stage.person("bob", ada.tenant)
    root = stage.person("root", ada.tenant, "admin")
    eve = stage.person("eve", f"other-{new_id()}", "admin")
    for person, video_id, status in (
        (bob, shared, 403),
        (root, shared, 200),
        (bob, private, 404),
        (root, private, 404),
        (eve, shared, 404),
    ):
        assert patch(person, video_id, {"title": "mine"}).status == status
        expected = status if status != 200 else 200
        put = person.call("PUT", f"/api/videos/{video_id}", body={**ALL, "visibility": "TENANT"})
        assert put.status == expected
    assert bob.call("GET", f"/api/videos/{shared}").json["rules"] is None
    assert root.call("GET", f"/api/videos/{shared}").json["rules"] == ALL["rules"]


def test_what_is_deleted_or_elsewhere_is_not_changed(stage: Stage, ada: Person) -> None:
    gone, elsewhere = ada.new_video(), ada.new_video()
    ada.call("DELETE", f"/api/videos/{gone}")
    assert patch(ada, gone, {"title": "B"}).status == 404
    stage.change(elsewhere, home_region=STRANGE_REGION)
    assert patch(ada, elsewhere, {"title": "B"}).status == 409


def test_no_change_of_many_clients_is_lost(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    start = threading.Barrier(20)

    def add(number: int) -> None:
        start.wait()
        while True:
            read = ada.call("GET", f"/api/videos/{video_id}")
            tags = [*read.json["tags"], f"t{number}"]
            status = patch(ada, video_id, {"tags": tags}, If_Match=read.headers["ETag"]).status
            if status == 200:
                return
            assert status in {409, 412}

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(add, range(20)))
    assert set(stage.video(video_id).tags) == {f"t{number}" for number in range(20)}
    assert [event.sequence for event in stage.events(video_id)] == list(range(1, 22))
    for number in range(20):
        assert ada.listed(f"tag=t{number}") == [video_id]


def test_fields_that_different_people_change_do_not_disturb_each_other(
    stage: Stage, ada: Person
) -> None:
    video_id = ada.new_video()
    bodies: list[Any] = [{"title": "B"}, {"description": "C"}, {"tags": ["d"]}]

    def change(body: Any) -> None:
        while patch(ada, video_id, body).status != 200:
            pass

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(change, bodies))
    video = stage.video(video_id)
    assert (video.title, video.description, video.tags) == ("B", "C", ("d",))
    assert [event.sequence for event in stage.events(video_id)] == [1, 2, 3, 4]


def test_videos_are_found_by_what_their_tags_are_now(stage: Stage, ada: Person) -> None:
    bob = stage.person("bob", ada.tenant)
    first, second = (ada.new_video(tags=["Sea", "2026"]) for _ in range(2))
    private = ada.new_video(tags=["sea"], visibility="PRIVATE")
    for tag in ("sea", "SEA", "%20sea%20"):
        assert ada.listed(f"tag={tag}") == bob.listed(f"tag={tag}") == [second, first]
    assert ada.listed("owner=me&visibility=PRIVATE&tag=sea") == [private]
    assert bob.listed("owner=me&visibility=PRIVATE&tag=sea") == []
    patch(ada, private, {"visibility": "TENANT"})
    patch(ada, first, {"tags": ["2026"]})
    ada.call("DELETE", f"/api/videos/{second}")
    assert bob.listed("tag=sea") == [private]
    assert bob.listed("tag=2026") == [first]
    assert ada.listed("owner=me&visibility=PRIVATE&tag=sea") == []
    assert stage.person("eve", f"other-{new_id()}").listed("tag=2026") == []


def test_pages_of_a_tag(ada: Person) -> None:
    created = [ada.new_video(tags=["sea", "other"]) for _ in range(7)]
    for limit in (1, 3, 7, 100):
        assert ada.listed(f"tag=sea&limit={limit}") == created[::-1]
    cursor = ada.call("GET", "/api/videos?tag=sea&limit=1").json["next_cursor"]
    assert ada.call("GET", f"/api/videos?tag=other&cursor={cursor}").status == 400
    assert ada.call("GET", f"/api/videos?cursor={cursor}").status == 400


def test_an_entry_that_lags_behind_shows_nothing(stage: Stage, ada: Person) -> None:
    """What an index still says of a video that is not shared any more."""
    private = ada.new_video(tags=["sea"], visibility="PRIVATE")
    item = stage.video(private).tag_items()["sea"]
    item["tag_key"] = {"S": f"TENANT#{ada.tenant}#TAG#sea"}
    stage.emulator.client("dynamodb").put_item(TableName=stage.environment.table_name, Item=item)
    assert stage.person("bob", ada.tenant).listed("tag=sea") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=5",
        "limit=5&status=PENDING",
        "limit=5&owner=me",
        "limit=5&owner=me&status=PENDING",
        "limit=5&tag=sea",
        "limit=5&owner=me&visibility=PRIVATE&tag=sea",
    ],
)
def test_a_list_reads_what_it_returns(stage: Stage, ada: Person, query: str) -> None:
    for _ in range(6):
        ada.new_video(tags=["sea"])
        ada.new_video(tags=["sea"], visibility="PRIVATE")
    stage.change(ada.new_video(tags=["sky"]), status=VideoStatus.DELETED)
    with wire_to(stage.emulator.endpoint) as wire, stage.other_process(wire.url) as watched:
        answer = watched.person("ada", ada.tenant).call("GET", f"/api/videos?{query}")
        assert len(answer.json["videos"]) == 5
        (call,) = [call for call in wire.calls if call.operation == "Query"]
        assert "FilterExpression" not in json.loads(call.text)
        read = json.loads(call.answer)
        assert (read["Count"], read["ScannedCount"]) == (5, 5)
