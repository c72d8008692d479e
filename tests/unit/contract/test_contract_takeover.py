"""A takeover: who is home afterwards, what begins anew, and what stands when both have written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from media_platform.contract import table
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.ids import new_id
from media_platform.contract.items import from_item
from media_platform.contract.object_keys import thumbnail_key
from media_platform.contract.purge import Purge
from media_platform.contract.takeover import (
    VERSION_STEP,
    Takeover,
    may_be_taken,
    restored,
    take_over,
)
from media_platform.contract.video import Change, Video, VideoStatus, change
from tests.sample_videos import sample_video

LOST, OTHER = "us-east-1", "eu-west-1"


def a_video(**changes: Any) -> Video:
    values = {"home_region": LOST, "title": "A", "version": 7, "current_run": new_id()}
    return sample_video(**{**values, **changes})


def notes(taken: Change) -> list[Purge]:
    items = [write["Put"]["Item"] for write in taken.writes if "Put" in write]
    return [Purge.from_item(item) for item in items if item["sk"]["S"].startswith("PURGE#")]


@pytest.mark.parametrize("status", [VideoStatus.UPLOADED, VideoStatus.PROCESSING])
def test_what_is_in_the_works_begins_anew(status: VideoStatus) -> None:
    video = a_video(status=status)
    taken = take_over("table", video, region=OTHER)
    after = taken.video
    assert (after.home_region, after.epoch, after.status) == (OTHER, 1, VideoStatus.UPLOADED)
    assert after.current_run not in {None, video.current_run}
    assert after.media_region == OTHER
    assert from_item(after.to_item())[table.IN_FLIGHT.partition_key].startswith(f"INFLIGHT#{OTHER}")
    (note,) = notes(taken)
    assert (note.run_id, note.region) == (video.current_run, LOST)


def test_what_viewers_have_stays_where_it_lies() -> None:
    video = a_video(status=VideoStatus.READY, next_run=new_id())
    taken = take_over("table", video, region=OTHER)
    assert (taken.video.home_region, taken.video.media_region) == (OTHER, LOST)
    assert taken.video.current_run == video.current_run
    assert taken.video.next_run not in {None, video.next_run}
    assert [note.run_id for note in notes(taken)] == [video.next_run]

    another = change("table", taken.video, region=OTHER, current_run=new_id()).video
    assert another.media_region == OTHER, "a run that is made later lies at home"


def test_a_thumbnail_is_purged_where_it_lies() -> None:
    thumbnail = new_id()
    video = a_video(status=VideoStatus.READY)
    video = replace(video, thumbnail=thumbnail_key(LOST, "acme", video.video_id, thumbnail))
    taken = take_over("table", video, region=OTHER).video
    assert taken.region_of(thumbnail) == taken.region_of(str(taken.current_run)) == LOST
    assert taken.region_of(new_id()) == OTHER


def test_the_event_comes_after_all_that_the_lost_region_may_still_tell() -> None:
    video = a_video(status=VideoStatus.READY)
    taken = take_over("table", video, region=OTHER)
    (told,) = [
        DomainEvent.from_json(from_item(write["Put"]["Item"])[OUTBOX_BODY])
        for write in taken.writes
        if "Put" in write and write["Put"]["Item"]["sk"]["S"].startswith("EVENT#")
    ]
    assert (told.region, told.sequence) == (OTHER, video.version + VERSION_STEP)


def test_a_video_that_goes_back_lies_at_home_again() -> None:
    video = a_video(status=VideoStatus.READY)
    taken = take_over("table", video, region=OTHER).video
    back = take_over("table", taken, region=LOST).video
    assert (back.home_region, back.media_region, back.epoch) == (LOST, LOST, 2)
    assert back.former_regions == (OTHER,)


def test_an_upload_under_way_is_left_where_it_goes_to() -> None:
    assert [status for status in VideoStatus if not may_be_taken(a_video(status=status))] == [
        VideoStatus.PENDING
    ]


def test_a_write_over_a_takeover_is_put_right() -> None:
    taken = take_over("table", a_video(status=VideoStatus.READY), region=OTHER).video
    late = replace(taken, home_region=LOST, epoch=0, version=9, title="Late", run_region=None)
    write = restored("table", taken, late, region=OTHER)
    assert write is not None
    values = write["Update"]["ExpressionAttributeValues"]
    assert (values[":read_version"], values[":read_epoch"]) == ({"N": "9"}, {"N": "0"})
    assert (values[":title"], values[":epoch"], values[":home_region"]) == (
        {"S": "A"},
        {"N": "1"},
        {"S": OTHER},
    )
    assert int(values[":version"]["N"]) > taken.version


def test_only_who_took_over_puts_it_right_and_nothing_else() -> None:
    taken = take_over("table", a_video(status=VideoStatus.READY), region=OTHER).video
    late = replace(taken, epoch=0)
    assert restored("table", taken, late, region=LOST) is None
    assert restored("table", late, taken, region=OTHER) is None
    assert restored("table", taken, replace(taken, version=9999), region=OTHER) is None


def test_a_takeover_that_was_repeated_over_a_late_write_does_not_stand() -> None:
    first = take_over("table", a_video(status=VideoStatus.READY), region=OTHER).video
    deleted = change("table", first, region=OTHER, status=VideoStatus.DELETED).video
    late = replace(first, home_region=LOST, epoch=0, version=9, taken_version=None)
    again = take_over("table", late, region=OTHER).video
    write = restored("table", deleted, again, region=OTHER)
    assert write is not None
    values = write["Update"]["ExpressionAttributeValues"]
    assert values[":status"] == {"S": "DELETED"}
    assert int(values[":version"]["N"]) > max(deleted.version, again.version)
    assert restored("table", again, deleted, region=OTHER) is None, "the first one stays"


def test_a_takeover_is_stored() -> None:
    begun = Takeover(lost=LOST, by=OTHER, begun_at="2026-01-01T00:00:00.000Z")
    item = begun.to_item()
    assert (item["pk"], item["sk"]) == ({"S": "REGIONS"}, {"S": f"TAKEOVER#{LOST}"})
    assert Takeover.from_item(item) == begun
