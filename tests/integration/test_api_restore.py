"""Deleting, restoring, transcoding again and cancelling, through the running API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from api_stage import RENDITION, Person, Stage, running_stage
from emulator import STRANGE_REGION

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.purge import GIVEN_UP_TIME, RESTORE_MARGIN, Purge
from media_platform.contract.run import Run, RunStatus
from media_platform.contract.scanning import Scan
from media_platform.contract.times import timestamp
from media_platform.contract.video import Failure, Video, VideoStatus

RESTORE_TIME = timedelta(days=30)
RUN_STATUSES = [VideoStatus.UPLOADED, VideoStatus.PROCESSING]
BROKEN = Failure(code="processing_failed", message="m")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-restore")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


def stand(stage: Stage, person: Person, status: VideoStatus, **changes: Any) -> str:
    """Create a video that stands somewhere, and return its id."""
    video_id = person.new_video(tags=["sea"])
    if status is VideoStatus.PENDING:
        return video_id
    values = {"raw_version_id": "v1", "current_run": new_id(), **changes}
    for step in {
        VideoStatus.UPLOADED: [VideoStatus.UPLOADED],
        VideoStatus.PROCESSING: [VideoStatus.UPLOADED, VideoStatus.PROCESSING],
        VideoStatus.READY: [VideoStatus.UPLOADED, VideoStatus.PROCESSING, VideoStatus.READY],
        VideoStatus.FAILED: [VideoStatus.FAILED],
    }[status]:
        stage.change(video_id, status=step, **values)
    return video_id


def note(stage: Stage, video_id: str, run_id: str | None = None) -> Purge | None:
    """Return the note that a video, or a run of it, is to be purged."""
    item = (
        stage.emulator.client("dynamodb")
        .get_item(
            TableName=stage.environment.table_name,
            Key=table.purge_key(video_id, run_id).to_wire(),
        )
        .get("Item")
    )
    return Purge.from_item(item) if item else None


def seconds_between(early: str, late: str) -> float:
    return (datetime.fromisoformat(late) - datetime.fromisoformat(early)).total_seconds()


def in_flight(stage: Stage, video: Video) -> bool:
    item = video.to_item()
    return table.IN_FLIGHT.partition_key in item


def act(person: Person, video_id: str, what: str, **options: Any) -> Any:
    return person.call("POST", f"/api/videos/{video_id}/{what}", **options)


@pytest.mark.parametrize("status", [VideoStatus.PENDING, VideoStatus.READY, VideoStatus.FAILED])
def test_what_was_at_rest_is_what_it_was(stage: Stage, ada: Person, status: VideoStatus) -> None:
    video_id = stand(stage, ada, status)
    before = stage.video(video_id)
    path = f"/api/videos/{video_id}"
    assert ada.call("DELETE", path).status == 204
    deleted = stage.video(video_id)
    assert (deleted.deleted_by, deleted.deleted_from) == ("ada", status)
    assert ada.listed("tag=sea") == []
    found = note(stage, video_id)
    assert found is not None
    assert (found.run_id, found.tenant, found.region) == (None, ada.tenant, before.home_region)
    assert deleted.deleted_at
    assert deleted.restorable_until
    kept = seconds_between(deleted.deleted_at, deleted.restorable_until)
    assert kept == RESTORE_TIME.total_seconds()
    margin = seconds_between(deleted.restorable_until, found.due_at)
    assert abs(margin - RESTORE_MARGIN.total_seconds()) < 1
    (listed,) = ada.call("GET", "/api/videos?owner=me&status=DELETED").json["videos"]
    assert listed["deleted_at"] == deleted.deleted_at
    assert listed["restorable_until"] == deleted.restorable_until

    answer = act(ada, video_id, "restore")
    assert answer.status == 200, answer.content
    assert answer.headers["ETag"] == ada.call("GET", path).headers["ETag"]
    after = stage.video(video_id)
    told = {"version": before.version + 2, "updated_at": after.updated_at}
    assert vars(after) == {**vars(before), **told}
    assert note(stage, video_id) is None
    assert ada.listed("tag=sea") == [video_id]
    *_, deletion, restoring = stage.events(video_id)
    assert (deletion.event_type, restoring.event_type) == (
        EventType.VIDEO_DELETED,
        EventType.VIDEO_RESTORED,
    )
    assert restoring.sequence == deletion.sequence + 1 == after.version
    assert restoring.data == {"restored_by": "ada", "status": status.value}


@pytest.mark.parametrize("status", RUN_STATUSES)
def test_a_run_that_the_deletion_ended_begins_anew(
    stage: Stage, ada: Person, status: VideoStatus
) -> None:
    video_id = stand(stage, ada, status)
    ended = stage.video(video_id).current_run
    ada.call("DELETE", f"/api/videos/{video_id}")
    assert act(ada, video_id, "restore").json["status"] == "UPLOADED"
    video = stage.video(video_id)
    assert video.current_run not in {None, ended}
    assert in_flight(stage, video), "a sweep sends its job if nobody else does"
    found = note(stage, video_id, ended)
    assert found is not None
    assert seconds_between(timestamp(), found.due_at) <= GIVEN_UP_TIME.total_seconds()


def test_a_next_run_begins_anew(stage: Stage, ada: Person) -> None:
    ended = new_id()
    video_id = stand(stage, ada, VideoStatus.READY, next_run=ended)
    current = stage.video(video_id).current_run
    ada.call("DELETE", f"/api/videos/{video_id}")
    assert act(ada, video_id, "restore").json["status"] == "READY"
    video = stage.video(video_id)
    assert video.current_run == current
    assert video.next_run not in {None, ended}
    assert note(stage, video_id, ended) is not None


def test_restoring_what_is_not_deleted_changes_nothing(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    assert act(ada, video_id, "restore").json["version"] == 1
    assert len(stage.events(video_id)) == 1


def test_a_video_is_restored_at_home_alone(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    path = f"/api/videos/{video_id}"
    assert ada.call("DELETE", path).status == 204
    before = replace(stage.video(video_id), home_region=STRANGE_REGION)
    stage.replace(before)
    answer = act(ada, video_id, "restore")
    assert (answer.status, answer.json["type"][-17:]) == (409, "other-home-region")
    assert ada.call("DELETE", path).status == 204
    assert stage.video(video_id) == before


def test_restoring_ends(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    ada.call("DELETE", f"/api/videos/{video_id}")
    stage.change(video_id, restorable_until=timestamp())
    before = stage.video(video_id)
    answer = act(ada, video_id, "restore")
    assert (answer.status, answer.json["type"][-14:]) == (409, "not-restorable")
    assert before.restorable_until
    assert before.restorable_until in answer.json["detail"]
    assert stage.video(video_id) == before
    assert note(stage, video_id) is not None
    stage.emulator.client("dynamodb").delete_item(
        TableName=stage.environment.table_name, Key=table.video_key(video_id).to_wire()
    )
    assert act(ada, video_id, "restore").status == 404


def test_who_may_restore(stage: Stage, ada: Person) -> None:
    shared, private = ada.new_video(), ada.new_video(visibility="PRIVATE")
    for video_id in (shared, private):
        ada.call("DELETE", f"/api/videos/{video_id}")
    root = stage.person("root", ada.tenant, "admin")
    for other in (
        stage.person("bob", ada.tenant),
        stage.person("eve", f"other-{new_id()}", "admin"),
    ):
        assert act(other, shared, "restore").status == 404
    assert act(root, private, "restore").status == 404
    assert act(root, shared, "restore").status == 200
    assert act(ada, private, "restore").status == 200


def test_a_file_that_was_refused_does_not_come_back_by_restoring(stage: Stage, ada: Person) -> None:
    refused = Failure(code="infected", message="m")
    video_id = stand(stage, ada, VideoStatus.FAILED, scan=Scan.REFUSED, failure=refused)
    ada.call("DELETE", f"/api/videos/{video_id}")
    assert act(ada, video_id, "restore").json["status"] == "FAILED"
    answer = act(ada, video_id, "transcode", body={})
    assert (answer.status, answer.json["type"][-16:]) == (409, "not-transcodable")


def test_a_ready_video_is_transcoded_again(stage: Stage, ada: Person) -> None:
    video_id = stand(stage, ada, VideoStatus.READY)
    before = stage.video(video_id)
    answer = act(ada, video_id, "transcode", body={"profile": "720p", "quality": "high"})
    assert answer.status == 202, answer.content
    body = answer.json
    assert (body["status"], body["playable"], body["progress"]) == ("READY", True, 100)
    assert (body["profile"], body["quality"]) == ("720p", "high")
    assert body["next_run"] == {"progress": 0, "renditions": []}
    video = stage.video(video_id)
    assert video.current_run == before.current_run
    assert (video.profile, video.quality) == (Profile.UP_TO_720, Quality.HIGH)
    assert in_flight(stage, video)
    event = stage.events(video_id)[-1]
    assert (event.event_type, event.sequence) == (EventType.VIDEO_UPDATED, video.version)
    assert event.data["run_id"] == video.next_run
    assert video.next_run
    stage.put_run(
        Run(
            video_id=video_id,
            run_id=video.next_run,
            status=RunStatus.RUNNING,
            started_at=timestamp(),
            progress=30,
            renditions=(RENDITION,),
        )
    )
    one = ada.call("GET", f"/api/videos/{video_id}").json
    assert one["next_run"]["progress"] == 30
    assert one["next_run"]["renditions"][0]["height"] == RENDITION.height
    (listed,) = ada.call("GET", "/api/videos").json["videos"]
    assert listed == one

    again = act(ada, video_id, "transcode", body={})
    assert (again.json["profile"], again.json["quality"]) == ("720p", "high"), "as asked last"
    assert stage.video(video_id).next_run != video.next_run
    assert note(stage, video_id, video.next_run) is not None


def test_a_failed_video_is_tried_again(stage: Stage, ada: Person) -> None:
    video_id = stand(stage, ada, VideoStatus.FAILED, failure=BROKEN)
    ended = stage.video(video_id).current_run
    answer = act(ada, video_id, "transcode", body={})
    assert (answer.status, answer.json["status"], answer.json["failure"]) == (202, "UPLOADED", None)
    assert stage.video(video_id).current_run not in {None, ended}
    assert note(stage, video_id, ended) is not None


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (VideoStatus.PENDING, {}),
        (VideoStatus.UPLOADED, {}),
        (VideoStatus.PROCESSING, {}),
        (VideoStatus.FAILED, {"failure": Failure(code="not_a_video", message="m")}),
        (VideoStatus.FAILED, {"failure": BROKEN, "raw_version_id": None}),
    ],
)
def test_what_cannot_be_transcoded_again(
    stage: Stage, ada: Person, status: VideoStatus, changes: dict[str, Any]
) -> None:
    video_id = stand(stage, ada, status, **changes)
    before = stage.video(video_id)
    answer = act(ada, video_id, "transcode", body={})
    assert (answer.status, answer.json["type"][-16:]) == (409, "not-transcodable")
    assert answer.json["video_status"] == status.value
    assert stage.video(video_id) == before


@pytest.mark.parametrize("body", [{"profile": "9000p"}, {"quality": "best"}, {"speed": 1}])
def test_an_unknown_profile_is_refused(stage: Stage, ada: Person, body: Any) -> None:
    video_id = stand(stage, ada, VideoStatus.READY)
    assert act(ada, video_id, "transcode", body=body).status == 422
    assert stage.video(video_id).next_run is None


@pytest.mark.parametrize("status", RUN_STATUSES)
def test_a_first_run_that_is_cancelled_fails(
    stage: Stage, ada: Person, status: VideoStatus
) -> None:
    video_id = stand(stage, ada, status)
    ended = stage.video(video_id).current_run
    answer = act(ada, video_id, "transcode/cancel")
    assert answer.status == 200, answer.content
    assert (answer.json["status"], answer.json["failure"]["code"]) == ("FAILED", "cancelled")
    video = stage.video(video_id)
    assert video.current_run is None
    assert not in_flight(stage, video)
    assert note(stage, video_id, ended) is not None
    assert stage.events(video_id)[-1].event_type is EventType.VIDEO_FAILED
    assert act(ada, video_id, "transcode", body={}).json["status"] == "UPLOADED"


def test_a_next_run_that_is_cancelled_leaves_what_viewers_have(stage: Stage, ada: Person) -> None:
    video_id = stand(stage, ada, VideoStatus.READY)
    current = stage.video(video_id).current_run
    act(ada, video_id, "transcode", body={})
    ended = stage.video(video_id).next_run
    answer = act(ada, video_id, "transcode/cancel")
    assert (answer.status, answer.json["status"], answer.json["next_run"]) == (200, "READY", None)
    video = stage.video(video_id)
    assert (video.current_run, video.next_run) == (current, None)
    assert not in_flight(stage, video)
    assert note(stage, video_id, ended) is not None


@pytest.mark.parametrize("status", [VideoStatus.PENDING, VideoStatus.READY, VideoStatus.FAILED])
def test_there_is_nothing_to_cancel(stage: Stage, ada: Person, status: VideoStatus) -> None:
    video_id = stand(stage, ada, status)
    answer = act(ada, video_id, "transcode/cancel")
    assert (answer.status, answer.json["type"][-15:]) == (409, "not-transcoding")


@pytest.mark.parametrize("what", ["transcode", "transcode/cancel"])
def test_who_may_transcode(stage: Stage, ada: Person, what: str) -> None:
    video_id = stand(stage, ada, VideoStatus.READY, next_run=new_id())
    for person, status in (
        (stage.person("bob", ada.tenant), 403),
        (stage.person("ada", ada.tenant, "viewer"), 403),
        (stage.person("eve", f"other-{new_id()}", "admin"), 404),
    ):
        assert act(person, video_id, what, body={}).status == status
    assert act(stage.person("root", ada.tenant, "admin"), video_id, what, body={}).status < 300


@pytest.mark.parametrize("what", ["restore", "transcode", "transcode/cancel"])
def test_a_repeat_does_nothing_again(stage: Stage, ada: Person, what: str) -> None:
    video_id = stand(stage, ada, VideoStatus.READY, next_run=new_id())
    if what == "restore":
        ada.call("DELETE", f"/api/videos/{video_id}")
    headers = {"Idempotency-Key": "k"}
    first = act(ada, video_id, what, body={}, headers=headers)
    before = stage.video(video_id)
    again = act(ada, video_id, what, body={}, headers=headers)
    assert (again.status, again.json) == (first.status, first.json)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert stage.video(video_id) == before
    other = act(ada, ada.new_video(), what, body={}, headers=headers)
    assert (other.status, other.json["type"][-22:]) == (422, "idempotency-key-reused")
