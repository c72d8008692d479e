"""Thumbnails by the API: who may choose them, what workers are told, what viewers get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from api_stage import BASE_URL, Person, Stage, running_stage, send
from emulator import REGION
from waiting import eventually

from media_platform.contract import playback, table
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import REQUESTED_PART
from media_platform.contract.object_keys import picture_key, thumbnail_key, thumbnail_of_key
from media_platform.contract.purge import Purge
from media_platform.contract.run import thumbnail_part
from media_platform.contract.thumbnails import MAX_PICTURE_BYTES, Thumbnail, ThumbnailStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import VideoStatus, Visibility
from tests.unit.api.api_keys import new_pair

PLAYABLE = "2026-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-thumbnails")) as stage:
        stage.deliver(new_pair())
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


@pytest.fixture
def film(stage: Stage, ada: Person) -> str:
    """The id of a video that can be played."""
    video_id = ada.new_video()
    stage.start_run(video_id, playable_at=PLAYABLE)
    stage.change(video_id, raw_version_id="v1", duration_seconds=20.0)
    eventually(
        lambda: ada.call("GET", f"/api/videos/{video_id}/playback").status == 200,
        "playback is granted",
    )
    return video_id


def path(video_id: str, more: str = "") -> str:
    return f"/api/videos/{video_id}/thumbnail{more}"


def stored(stage: Stage, video_id: str) -> Thumbnail | None:
    item = stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name, Key=table.thumbnail_key(video_id).to_wire()
    )
    return Thumbnail.from_item(item["Item"]) if "Item" in item else None


def purge_of(stage: Stage, video_id: str, thumbnail_id: str) -> Purge | None:
    """Return the note that a thumbnail is to be purged."""
    item = stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name,
        Key=table.purge_key(video_id, thumbnail_id).to_wire(),
        ConsistentRead=True,
    )
    return Purge.from_item(item["Item"]) if "Item" in item else None


def asked_of_workers(stage: Stage, video_id: str) -> list[str]:
    """Return the parts that events ask workers for."""
    return [
        event.data[REQUESTED_PART]
        for event in stage.events(video_id)
        if REQUESTED_PART in event.data
    ]


def test_chosen_frame_is_asked_of_the_workers(stage: Stage, ada: Person, film: str) -> None:
    before = stage.video(film)
    answer = ada.call("PUT", path(film), body={"at_seconds": 2.5})
    assert answer.status == 202
    body = answer.json
    assert (body["status"], body["at_seconds"], body["failure"]) == ("PENDING", 2.5, None)
    request = stored(stage, film)
    assert request is not None
    assert request.thumbnail_id == body["thumbnail_id"]
    assert (request.status, request.requested_by) == (ThumbnailStatus.PENDING, "ada")
    event = stage.events(film)[-1]
    assert (event.event_type, event.sequence) == (EventType.VIDEO_UPDATED, before.version + 1)
    part = thumbnail_part(request.thumbnail_id)
    assert event.data == {"updated_by": "ada", "changed": {}, REQUESTED_PART: part}
    # Until it is made, the poster is shown.
    assert not body["chosen"]
    assert "/poster.jpg?" in body["url"]
    assert ada.call("GET", path(film)).json == body


def test_later_request_is_the_one_that_is_told(stage: Stage, ada: Person, film: str) -> None:
    made(stage, film, ada.tenant)
    ids = [
        ada.call("PUT", path(film), body={"at_seconds": second}).json["thumbnail_id"]
        for second in (1, 2)
    ]
    assert ids == sorted(ids)
    # What nobody will see is purged; what viewers see, when another takes its place.
    assert purge_of(stage, film, ids[0]) is not None
    assert purge_of(stage, film, ids[1]) is None
    shown = thumbnail_of_key(str(stage.video(film).thumbnail))
    assert purge_of(stage, film, shown) is None
    assert ada.call("GET", path(film)).json["thumbnail_id"] == ids[1]
    request = stored(stage, film)
    assert request is not None
    later = replace(request, thumbnail_id="g" * 36)
    stage.emulator.client("dynamodb").put_item(
        TableName=stage.environment.table_name, Item=later.to_item()
    )
    answer = ada.call("PUT", path(film), body={"at_seconds": 3})
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (409, "changed-meanwhile")
    assert stored(stage, film) == later
    # Who was refused asked nobody for anything.
    assert asked_of_workers(stage, film) == [thumbnail_part(one) for one in ids]


def made(stage: Stage, video_id: str, tenant: str) -> str:
    """Let a worker have made a thumbnail; return its key."""
    key = thumbnail_key(REGION, tenant, video_id, new_id())
    stage.change(video_id, thumbnail=key)
    return key


def resource_of(url: str) -> str:
    """Return what the signature of a URL is about."""
    (policy,) = parse_qs(urlsplit(url).query)[playback.QUERY.policy]
    return str(json.loads(playback.decode(policy))["Statement"][0]["Resource"])


def test_thumbnail_is_signed_for_itself_alone(stage: Stage, ada: Person, film: str) -> None:
    key = made(stage, film, ada.tenant)
    body = ada.call("GET", path(film)).json
    assert body["chosen"]

    def granted_with_it() -> dict[str, Any] | None:
        # A playback may be granted by what was known a moment ago.
        answer = ada.call("GET", f"/api/videos/{film}/playback").json
        return dict(answer) if key in answer["poster_url"] else None

    granted = eventually(granted_with_it, "the thumbnail is granted")
    for url in (body["url"], granted["poster_url"]):
        assert url.startswith(f"{BASE_URL}/{key}?")
        assert resource_of(url) == f"{BASE_URL}/{key}"
    # Its signature opens no playlist.
    run = stage.video(film).current_run
    query = urlsplit(body["url"]).query
    answer = stage.api.call("GET", f"/api/videos/{film}/runs/{run}/hls/master.m3u8?{query}")
    assert answer.status == 403


def test_poster_is_shown_again(stage: Stage, ada: Person, film: str) -> None:
    made(stage, film, ada.tenant)
    before = stage.video(film)
    for _ in range(2):
        assert ada.call("DELETE", path(film)).status == 204
    video = stage.video(film)
    assert (video.thumbnail, video.version) == (None, before.version + 1)
    event = stage.events(film)[-1]
    assert event.event_type is EventType.VIDEO_UPDATED
    assert event.data == {"updated_by": "ada", "changed": {"thumbnail": None}}
    note = purge_of(stage, film, thumbnail_of_key(str(before.thumbnail)))
    assert note is not None
    assert note.due_at > timestamp()
    body = ada.call("GET", path(film)).json
    assert (body["status"], body["chosen"], "/poster.jpg?" in body["url"]) == ("NONE", False, True)


def test_removal_ends_a_request(stage: Stage, ada: Person, film: str) -> None:
    pending = ada.call("PUT", path(film), body={"at_seconds": 1}).json["thumbnail_id"]
    assert ada.call("DELETE", path(film)).status == 204
    request = stored(stage, film)
    assert request is not None
    assert (request.status, request.thumbnail_id > pending) == (ThumbnailStatus.NONE, True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"at_seconds": 1, "upload_id": new_id()},
        {"at_seconds": -1},
        {"at_seconds": 20},
        {"at_seconds": "1e999"},
        {"upload_id": "../../raw/film"},
        {"at_seconds": 1, "more": 1},
    ],
    ids=str,
)
def test_what_cannot_be_a_thumbnail_is_refused(
    stage: Stage, ada: Person, film: str, body: dict[str, Any]
) -> None:
    assert ada.call("PUT", path(film), body=body).status == 422
    assert stored(stage, film) is None


def test_video_that_cannot_be_played_has_no_frames(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    answer = ada.call("PUT", path(video_id), body={"at_seconds": 1})
    assert (answer.status, answer.json["video_status"]) == (409, "PENDING")
    assert ada.call("GET", path(video_id)).json["url"] is None
    assert stored(stage, video_id) is None


CHANGES = [
    ("PUT", "", {"at_seconds": 1}),
    ("POST", "/upload", {"content_type": "image/png", "size_bytes": 3}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "more", "body"), CHANGES)
def test_owner_and_administrators_may_choose(
    stage: Stage, ada: Person, film: str, method: str, more: str, body: dict[str, Any] | None
) -> None:
    def status(person: Person) -> int:
        return person.call(method, path(film, more), body=body).status

    bob = stage.person("bob", ada.tenant)
    assert status(bob) == 403
    assert status(stage.person("eve", "another", "admin")) == 404
    assert status(stage.person("root", ada.tenant, "admin")) < 300
    assert status(ada) < 300
    stage.change(film, visibility=Visibility.PRIVATE)
    assert status(bob) == 404
    stage.change(film, visibility=Visibility.PUBLIC)
    assert status(stage.person("eve", "another", "admin")) == 404
    stage.change(film, status=VideoStatus.DELETED)
    assert status(ada) == 404


def test_members_see_it_and_others_do_not(stage: Stage, ada: Person, film: str) -> None:
    assert stage.person("bob", ada.tenant, "viewer").call("GET", path(film)).status == 200
    stage.change(film, visibility=Visibility.PUBLIC)
    assert stage.person("eve", "another").call("GET", path(film)).status == 404
    assert stage.api.call("GET", path(film)).status == 401


def test_picture_is_uploaded_and_chosen(stage: Stage, ada: Person, film: str) -> None:
    picture = b"\x89PNG\r\n\x1a\n"
    new = {"content_type": "image/png", "size_bytes": len(picture)}
    answer = ada.call("POST", path(film, "/upload"), body=new)
    assert answer.status == 200
    upload, upload_id = answer.json, answer.json["upload_id"]
    longer = {**upload["headers"], "Content-Length": str(len(picture) + 1)}
    assert send("PUT", upload["url"], body=picture + b"!", headers=longer) == 403
    assert send("PUT", upload["url"], body=picture, headers=upload["headers"]) == 200
    assert send("PUT", upload["url"], body=picture, headers=upload["headers"]) == 412
    key = picture_key(ada.tenant, film, upload_id)
    s3 = stage.emulator.client("s3")
    body = s3.get_object(Bucket=stage.environment.raw_bucket, Key=key)["Body"].read()
    assert body == picture
    answer = ada.call("PUT", path(film), body={"upload_id": upload_id})
    assert (answer.status, answer.json["upload_id"]) == (202, upload_id)


@pytest.mark.parametrize(
    "body",
    [
        {"content_type": "image/gif", "size_bytes": 1},
        {"content_type": "image/png", "size_bytes": 0},
        {"content_type": "image/png", "size_bytes": MAX_PICTURE_BYTES + 1},
    ],
    ids=str,
)
def test_upload_of_what_is_no_picture_is_refused(
    ada: Person, film: str, body: dict[str, Any]
) -> None:
    assert ada.call("POST", path(film, "/upload"), body=body).status == 422
