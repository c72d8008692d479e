"""Requests that are sent twice, at once, or after the API died before it could answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from api_stage import Person, Stage, running_stage, send
from worker_wire import Call, wire_to

from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.items import to_wire

BODY = {"title": "A", "file_name": "b.mp4", "content_type": "video/mp4", "size_bytes": 5}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-idempotency")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def create(person: Person, key: str, **changes: Any) -> Any:
    return person.call("POST", "/api/videos", body={**BODY, **changes}, headers=keyed(key))


def test_a_repeat_is_answered_with_the_same_video(stage: Stage, ada: Person) -> None:
    first, again = create(ada, "k"), create(ada, "k")
    assert (first.status, again.status) == (201, 201)
    assert first.json["video"] == again.json["video"]
    assert first.headers["Location"] == again.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    video_id = first.json["video"]["video_id"]
    assert ada.listed() == [video_id]
    assert [event.sequence for event in stage.events(video_id)] == [1]


def test_the_upload_of_a_repeat_is_signed_and_works(ada: Person) -> None:
    create(ada, "k")
    upload = create(ada, "k").json["upload"]
    assert send("PUT", upload["url"], body=b"12345", headers=upload["headers"]) == 200


def test_no_url_is_kept(stage: Stage, ada: Person) -> None:
    create(ada, "k")
    item = stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name,
        Key=table.idempotency_key(ada.tenant, "ada", "k").to_wire(),
    )["Item"]
    assert "http" not in str(item)
    assert item["expires_at"]["N"].isdecimal()


@pytest.mark.parametrize("change", [{"title": "B"}, {"size_bytes": 6}, {"visibility": "PRIVATE"}])
def test_another_request_with_the_key_is_refused(ada: Person, change: dict[str, Any]) -> None:
    create(ada, "k")
    answer = create(ada, "k", **change)
    assert (answer.status, answer.json["type"][-22:]) == (422, "idempotency-key-reused")
    assert len(ada.listed()) == 1


def test_keys_are_those_of_one_user(stage: Stage, ada: Person) -> None:
    others = [stage.person("bob", ada.tenant), stage.person("ada", f"other-{new_id()}")]
    answers = [create(person, "k") for person in (ada, *others)]
    assert len({answer.json["video"]["video_id"] for answer in answers}) == 3
    assert not any("Idempotency-Replayed" in answer.headers for answer in answers)


def test_what_was_refused_may_be_corrected(ada: Person) -> None:
    assert create(ada, "k", size_bytes=10**9).status == 422
    assert create(ada, "k").status == 201


def test_a_video_that_is_gone_is_not_made_again(ada: Person) -> None:
    video_id = create(ada, "k").json["video"]["video_id"]
    assert ada.call("DELETE", f"/api/videos/{video_id}").status == 204
    assert create(ada, "k").status == 404
    assert ada.listed() == []


def test_a_key_is_forgotten_in_the_end(stage: Stage, ada: Person) -> None:
    first = create(ada, "k").json["video"]["video_id"]
    stage.emulator.client("dynamodb").update_item(
        TableName=stage.environment.table_name,
        Key=table.idempotency_key(ada.tenant, "ada", "k").to_wire(),
        UpdateExpression="SET expires_at = :past",
        ExpressionAttributeValues={":past": to_wire(1)},
    )
    second = create(ada, "k", title="B")
    assert second.status == 201
    assert second.json["video"]["video_id"] != first


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "x" * 256])
def test_a_key_is_visible_ascii(ada: Person, key: str) -> None:
    answer = create(ada, key)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == ["header.Idempotency-Key"]


def test_of_many_at_once_one_wins_and_all_get_its_video(stage: Stage, ada: Person) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(ada, "k"), range(8)))
    assert {answer.status for answer in answers} == {201}
    (video_id,) = {answer.json["video"]["video_id"] for answer in answers}
    assert ada.listed() == [video_id]
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert [event.sequence for event in stage.events(video_id)] == [1]


def test_one_is_held_while_the_other_wins(stage: Stage, ada: Person) -> None:
    """Both have looked for a record and found none; then the second is faster."""
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.other_process(wire.url) as slow,
        ThreadPoolExecutor(1) as pool,
    ):
        held = wire.before(is_transaction)
        late = pool.submit(create, slow.person("ada", ada.tenant), "k")
        held.wait()
        won = create(ada, "k")
        held.let_go()
        lost = late.result()
    assert (won.status, lost.status) == (201, 201)
    assert lost.headers["Idempotency-Replayed"] == "true"
    assert lost.json["video"] == won.json["video"]
    assert ada.listed() == [won.json["video"]["video_id"]]


def is_transaction(call: Call) -> bool:
    return call.operation == "TransactWriteItems"
