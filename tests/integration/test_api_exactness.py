"""The API dies at every step of a change, and changes race: nothing is lost, nothing invented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3
from api_stage import Person, Stage, running_stage
from worker_wire import Call, Wire, wire_to

from media_platform.contract import table
from media_platform.contract.audit import AuditEntry
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.video import Video, VideoStatus, timestamp

PATIENT_TRIES = 50
"""Times that a client tries again who is told that the video keeps changing."""

Request = Callable[[Person, str], Any]

REQUESTS: dict[str, tuple[VideoStatus, Request, EventType]] = {
    "delete": (
        VideoStatus.READY,
        lambda person, video_id: person.call("DELETE", f"/api/videos/{video_id}"),
        EventType.VIDEO_DELETED,
    ),
    "restore": (
        VideoStatus.DELETED,
        lambda person, video_id: post(person, video_id, "restore"),
        EventType.VIDEO_RESTORED,
    ),
    "transcode": (
        VideoStatus.READY,
        lambda person, video_id: post(person, video_id, "transcode"),
        EventType.VIDEO_UPDATED,
    ),
    "update": (
        VideoStatus.READY,
        lambda person, video_id: person.call(
            "PATCH", f"/api/videos/{video_id}", body={"title": "B", "tags": ["new"]}
        ),
        EventType.VIDEO_UPDATED,
    ),
}
"""What the video is before, the request, and the event that tells of it."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-exactness")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


def post(person: Person, video_id: str, what: str) -> Any:
    return person.call(
        "POST", f"/api/videos/{video_id}/{what}", body={}, headers={"Idempotency-Key": "k"}
    )


def stand(stage: Stage, person: Person, status: VideoStatus) -> str:
    """Create a video that is READY, or DELETED after that, and return its id."""
    video_id = person.new_video(tags=["old"])
    run = {"raw_version_id": "v1", "current_run": new_id()}
    stage.change(video_id, status=VideoStatus.UPLOADED, **run)
    for step in (VideoStatus.PROCESSING, VideoStatus.READY):
        stage.change(video_id, status=step)
    if status is VideoStatus.DELETED:
        assert person.call("DELETE", f"/api/videos/{video_id}").status == 204
    return video_id


def everything(stage: Stage, video_id: str) -> dict[str, Any]:
    """Return all items of a video by their sort keys."""
    items = stage.emulator.client("dynamodb").query(
        TableName=stage.environment.table_name,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": table.video_partition(video_id)}},
        ConsistentRead=True,
    )["Items"]
    return {item["sk"]["S"]: item for item in items}


def audited(stage: Stage, video_id: str, tenant: str) -> list[AuditEntry]:
    """Return what the audit trail says of a video."""
    found = []
    for number in range(table.SHARDS):
        items = stage.emulator.client("dynamodb").query(
            TableName=stage.environment.table_name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={
                ":pk": {"S": table.audit_partition(tenant, timestamp()[:10], number)}
            },
        )["Items"]
        found += [AuditEntry.from_item(item) for item in items]
    return [entry for entry in found if entry.video_id == video_id]


def check_whole(stage: Stage, video_id: str) -> Video:
    """Check that a video, its tags, its purge and its events tell the same; return the video."""
    items = everything(stage, video_id)
    video = Video.from_item(items["META"])
    tags = {sk.removeprefix("TAG#") for sk in items if sk.startswith("TAG#")}
    assert tags == set(video.tag_items())
    is_deleted = video.status is VideoStatus.DELETED
    assert (table.purge_key(video_id).sk in items) is is_deleted
    assert bool(video.deleted_at) is bool(video.restorable_until) is is_deleted
    sequences = [event.sequence for event in stage.events(video_id)]
    assert len(set(sequences)) == len(sequences), "no event twice"
    assert max(sequences) <= video.version
    return video


def die_at(stage: Stage, person: Person, look: Any, request: Request, video_id: str) -> None:
    """Let an API die while a call of it is held; nobody gets an answer."""
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.other_process(wire.url) as dying,
        ThreadPoolExecutor(1) as pool,
    ):
        trap = look(wire)
        unanswered = pool.submit(request, dying.person(person.user, person.tenant), video_id)
        trap.wait()
        dying.api.process.kill()
        with pytest.raises(urllib3.exceptions.HTTPError):
            unanswered.result()


def reading(call: Call) -> bool:
    return call.operation == "GetItem" and '"META"' in call.text


def writing(call: Call) -> bool:
    return call.operation == "TransactWriteItems"


STEPS: dict[str, tuple[Callable[[Wire], Any], bool]] = {
    "before reading": (lambda wire: wire.before(reading), False),
    "behind reading": (lambda wire: wire.behind(reading), False),
    "before writing": (lambda wire: wire.before(writing), False),
    "behind writing": (lambda wire: wire.behind(writing), True),
}
"""Where the API dies, and whether the change is there then."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("what", REQUESTS)
def test_the_api_dies_and_the_client_tries_again(
    stage: Stage, ada: Person, what: str, step: str
) -> None:
    status, request, event_type = REQUESTS[what]
    look, is_done = STEPS[step]
    video_id = stand(stage, ada, status)
    before, audit_before = stage.video(video_id), audited(stage, video_id, ada.tenant)
    die_at(stage, ada, look, request, video_id)
    between = check_whole(stage, video_id)
    assert between.version == before.version + is_done

    assert request(ada, video_id).status in {200, 202, 204}
    after = check_whole(stage, video_id)
    assert after.version == before.version + 1, "done once"
    told = [event for event in stage.events(video_id) if event.sequence > before.version]
    assert [(event.event_type, event.sequence) for event in told] == [(event_type, after.version)]
    assert len(audited(stage, video_id, ada.tenant)) == len(audit_before) + 1


def test_delete_against_restore(stage: Stage, ada: Person) -> None:
    """Many of both at once: the video is whole after each round, and every change is told once."""
    video_id = stand(stage, ada, VideoStatus.READY)

    def act(number: int) -> int:
        if number % 2:
            return int(ada.call("DELETE", f"/api/videos/{video_id}").status)
        return int(ada.call("POST", f"/api/videos/{video_id}/restore").status)

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(act, range(40)))
    assert statuses <= {200, 204, 409}
    video = check_whole(stage, video_id)
    changes = [
        event for event in stage.events(video_id) if event.event_type is not EventType.VIDEO_CREATED
    ]
    kinds = [event.event_type for event in changes]
    expected = [EventType.VIDEO_DELETED, EventType.VIDEO_RESTORED]
    assert kinds == [expected[number % 2] for number in range(len(kinds))], "in turns"
    first = changes[0].sequence
    assert [event.sequence for event in changes] == list(range(first, first + len(changes)))
    assert video.version == changes[-1].sequence
    assert (video.status is VideoStatus.DELETED) is (kinds[-1] is EventType.VIDEO_DELETED)


def test_changes_against_a_delete(stage: Stage, ada: Person) -> None:
    """What was changed before a delete is kept by it, what comes later is refused."""
    video_id = stand(stage, ada, VideoStatus.READY)
    written: list[str] = []

    def change(number: int) -> None:
        tag = f"t{number}"
        for _ in range(PATIENT_TRIES):
            read = ada.call("GET", f"/api/videos/{video_id}")
            if read.status == 404:
                return
            answer = ada.call(
                "PATCH",
                f"/api/videos/{video_id}",
                body={"tags": [*read.json["tags"], tag]},
                headers={"If-Match": read.headers["ETag"]},
            )
            if answer.status == 200:
                written.append(tag)
                return
            assert answer.status in {404, 409, 412}

    def delete(_: int) -> None:
        for _ in range(PATIENT_TRIES):
            if ada.call("DELETE", f"/api/videos/{video_id}").status == 204:
                return
        raise AssertionError("the video is never deleted")

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(change, number) for number in range(5)]
        jobs.append(pool.submit(delete, 0))
        for job in jobs:
            job.result()
    video = check_whole(stage, video_id)
    assert video.status is VideoStatus.DELETED
    assert set(video.tags) == {"old", *written}
    assert ada.call("POST", f"/api/videos/{video_id}/restore").status == 200
    assert set(check_whole(stage, video_id).tag_items()) == {"old", *written}
