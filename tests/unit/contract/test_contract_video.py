"""How a video changes: transitions, the conditional write, its event and its index keys."""

from __future__ import annotations

import re
from typing import Any

import pytest

from media_platform.contract import table
from media_platform.contract.events import OUTBOX_BODY, DomainEvent, EventType
from media_platform.contract.items import from_item
from media_platform.contract.scanning import Scan
from media_platform.contract.times import timestamp
from media_platform.contract.usage import Usage, usage_update
from media_platform.contract.video import (
    IN_FLIGHT_STATUSES,
    TRANSITIONS,
    Failure,
    TransitionError,
    Video,
    VideoStatus,
    Visibility,
    change,
    create,
)
from tests.sample_videos import sample_video

HOME = "eu-central-1"
PAIRS = [(before, after) for before in VideoStatus for after in VideoStatus]
INDEX_KEYS = {i.partition_key for i in table.INDEXES}


def a_video(**changes: Any) -> Video:
    return sample_video(**{"home_region": HOME, "version": 7, "epoch": 3, **changes})


def apply(item: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Apply an update expression of SET and REMOVE as DynamoDB does."""
    names = update["ExpressionAttributeNames"]
    values = update["ExpressionAttributeValues"]
    sets, _, removes = update["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    after = dict(item)
    for assignment in sets.split(", "):
        name, value = assignment.split(" = ")
        after[names[name]] = values[value]
    for name in filter(None, removes.split(", ")):
        del after[names[name]]
    return after


def index_keys(video: Video) -> dict[str, str]:
    item = from_item(video.to_item())
    return {name: item[name] for name in INDEX_KEYS & set(item)}


def test_a_time_is_rfc_3339_in_utc_with_milliseconds() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp())


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_only_the_allowed_transitions_are_written(before: VideoStatus, after: VideoStatus) -> None:
    video = a_video(status=before)
    if after is before or after in TRANSITIONS[before]:
        assert change("table", video, region=HOME, status=after).video.status is after
    else:
        with pytest.raises(TransitionError, match=f"is {before} and cannot become {after}"):
            change("table", video, region=HOME, status=after)


@pytest.mark.parametrize(("before", "after"), PAIRS)
@pytest.mark.parametrize(
    ("scan", "allowed"),
    [
        (Scan.WAITING, {VideoStatus.UPLOADED, VideoStatus.FAILED, VideoStatus.DELETED}),
        (Scan.REFUSED, {VideoStatus.FAILED, VideoStatus.DELETED}),
        (Scan.CLEAN, set(VideoStatus)),
    ],
)
def test_nothing_leads_around_a_scan(
    scan: Scan, allowed: set[VideoStatus], before: VideoStatus, after: VideoStatus
) -> None:
    video = a_video(status=before, scan=scan)
    if after in allowed and (after is before or after in TRANSITIONS[before]):
        assert change("table", video, region=HOME, status=after).video.status is after
    else:
        with pytest.raises(TransitionError):
            change("table", video, region=HOME, status=after)


def test_every_video_that_is_not_deleted_may_be() -> None:
    assert {s for s in VideoStatus if VideoStatus.DELETED in TRANSITIONS[s]} == set(VideoStatus) - {
        VideoStatus.DELETED
    }


@pytest.mark.parametrize("visibility", Visibility)
@pytest.mark.parametrize(
    ("before", "after"), [(b, a) for b, a in PAIRS if a is b or a in TRANSITIONS[b]]
)
def test_an_update_leaves_the_item_of_the_changed_video(
    before: VideoStatus, after: VideoStatus, visibility: Visibility
) -> None:
    video = a_video(status=before, visibility=visibility, failure=Failure(code="c", message="m"))
    made = change("table", video, region=HOME, status=after, failure=None, title="New: #1")
    update = made.writes[0]["Update"]
    old = {**video.to_item(), "of_newer_code": {"S": "kept"}}
    assert apply(old, update) == {**made.video.to_item(), "of_newer_code": {"S": "kept"}}
    assert update["Key"] == table.video_key(video.video_id).to_wire()


def test_a_change_is_conditioned_on_what_was_read() -> None:
    update = change("table", a_video(), region=HOME, title="New").writes[0]["Update"]
    names, values = update["ExpressionAttributeNames"], update["ExpressionAttributeValues"]
    left, right = update["ConditionExpression"].split(" AND ")
    for condition, name, number in ((left, "version", "7"), (right, "epoch", "3")):
        attribute, value = condition.split(" = ")
        assert names[attribute] == name
        assert values[value] == {"N": number}


def test_every_name_and_value_of_an_update_is_used() -> None:
    # DynamoDB refuses a request with names or values that stand in no expression.
    video = a_video(status=VideoStatus.UPLOADED)
    update = change("table", video, region=HOME, status=VideoStatus.FAILED).writes[0]["Update"]
    text = f"{update['UpdateExpression']} {update['ConditionExpression']}"
    assert set(re.findall(r"#\w+", text)) == set(update["ExpressionAttributeNames"])
    assert set(re.findall(r":\w+", text)) == set(update["ExpressionAttributeValues"])


def test_a_takeover_is_conditioned_on_the_old_epoch() -> None:
    made = change("table", a_video(), region="us-east-1", home_region="us-east-1", epoch=4)
    assert made.video.epoch == 4
    update = made.writes[0]["Update"]
    assert update["ExpressionAttributeValues"][":read_epoch"] == {"N": "3"}
    assert update["ExpressionAttributeValues"][":epoch"] == {"N": "4"}


def test_the_event_tells_of_the_state_after_the_change() -> None:
    made = change(
        "table",
        a_video(status=VideoStatus.PROCESSING),
        region=HOME,
        event_type=EventType.VIDEO_READY,
        event_data={"run_id": "r"},
        status=VideoStatus.READY,
    )
    assert made.video.version == 8
    assert made.event is not None
    _, counted, put = made.writes
    assert counted == usage_update("table", tenant="acme", region=HOME, more=Usage(ready=1))
    item = from_item(put["Put"]["Item"])
    assert DomainEvent.from_json(item[OUTBOX_BODY]) == made.event
    assert (made.event.sequence, made.event.region) == (8, HOME)
    assert made.event.occurred_at == made.video.updated_at
    assert made.event.data == {"run_id": "r"}
    assert {put["Put"]["TableName"], made.writes[0]["Update"]["TableName"]} == {"table"}


def test_a_silent_change_raises_the_version_without_an_event() -> None:
    made = change("table", a_video(), region=HOME, title="New")
    assert (made.video.version, made.event, len(made.writes)) == (8, None, 1)


def test_a_video_is_created_once_together_with_its_event() -> None:
    video = a_video(version=1)
    put, event = create("table", video).writes
    assert put["Put"]["ConditionExpression"] == "attribute_not_exists(pk)"
    assert Video.from_item(put["Put"]["Item"]) == video
    found = DomainEvent.from_json(from_item(event["Put"]["Item"])[OUTBOX_BODY])
    assert (found.event_type, found.sequence) == (EventType.VIDEO_CREATED, 1)


@pytest.mark.parametrize("status", [s for s in VideoStatus if s is not VideoStatus.DELETED])
@pytest.mark.parametrize("visibility", Visibility)
def test_a_video_stands_in_the_lists_where_it_is_looked_for(
    status: VideoStatus, visibility: Visibility
) -> None:
    video = a_video(status=status, visibility=visibility)
    expected = {
        "owner_key": "TENANT#acme#USER#ada",
        "owner_status_key": f"TENANT#acme#USER#ada#STATUS#{status}",
    }
    if visibility is Visibility.PRIVATE:
        expected["tenant_key"] = "TENANT#acme#PRIVATE"
        expected["tenant_status_key"] = f"TENANT#acme#HIDDEN#STATUS#{status}"
    else:
        expected["tenant_key"] = "TENANT#acme"
        expected["tenant_status_key"] = f"TENANT#acme#STATUS#{status}"
    if status in {VideoStatus.UPLOADED, VideoStatus.PROCESSING}:
        expected["in_flight_key"] = f"INFLIGHT#{HOME}#{table.shard(video.video_id)}"
    assert index_keys(video) == expected


@pytest.mark.parametrize("visibility", Visibility)
def test_a_deleted_video_is_listed_as_such_to_its_owner_and_to_administrators(
    visibility: Visibility,
) -> None:
    video = a_video(status=VideoStatus.DELETED, visibility=visibility)
    assert index_keys(video) == {
        "owner_status_key": "TENANT#acme#USER#ada#STATUS#DELETED",
        "tenant_status_key": "TENANT#acme#HIDDEN#STATUS#DELETED",
    }


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_every_change_of_a_status_is_counted(before: VideoStatus, after: VideoStatus) -> None:
    if after not in TRANSITIONS[before]:
        return
    counted = {"PENDING": "uploads", "READY": "ready", "FAILED": "failed", "DELETED": "deleted"}
    writes = change("table", a_video(status=before), region=HOME, status=after).writes
    usage = [
        write["Update"]
        for write in writes
        if "Update" in write and write["Update"]["Key"] == table.usage_key("acme", HOME).to_wire()
    ]
    expected = {}
    if name := counted.get(after):
        expected[f":{name}"] = {"N": "1"}
    if name := counted.get(before):
        expected[f":{name}"] = {"N": "-1"}
    assert [update["ExpressionAttributeValues"] for update in usage] == (
        [expected] if expected else []
    )


def test_in_flight_are_the_statuses_that_wait_for_a_worker() -> None:
    assert {VideoStatus.UPLOADED, VideoStatus.PROCESSING} == IN_FLIGHT_STATUSES
