"""What may be deleted of a run that was replaced, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_api import decisions
from media_platform.contract.ids import new_id
from media_platform.contract.object_keys import thumbnail_key
from media_platform.contract.purge import Purge
from media_platform.contract.video import VideoStatus
from purge.decision import (
    SETTLE,
    UnsafeNoteError,
    home_of,
    is_in_use,
    items_may_go,
    note_may_go,
    prefixes_of,
    upload_of,
)
from tests.sample_videos import sample_video

HOME = "eu-central-1"
DUE = datetime(2026, 11, 21, 9, 0, 0, 123_000, tzinfo=UTC)


def a_note(**changes: Any) -> Purge:
    note = Purge(
        video_id=new_id(),
        run_id=new_id(),
        tenant="acme",
        region=HOME,
        due_at="2026-11-21T09:00:00.123Z",
    )
    return replace(note, **changes)


def test_of_a_video_that_was_taken_over_all_goes_that_any_home_made() -> None:
    note = a_note(run_id=None)
    taken = sample_video(home_region="us-east-1", former_regions=(HOME, "us-west-2"))
    assert prefixes_of(note, taken) == [
        f"media/{region}/acme/{note.video_id}/" for region in (HOME, "us-east-1", "us-west-2")
    ]


def test_a_note_names_every_former_home_of_a_video_whose_items_went_at_once() -> None:
    video = sample_video(
        video_id=new_id(), status=VideoStatus.READY, home_region=HOME, former_regions=("us-east-1",)
    )
    step = decisions.purge(video, user="op", table_name="table")
    (note,) = [Purge.from_item(write["Put"]["Item"]) for write in step.writes]
    assert prefixes_of(note, None) == prefixes_of(note, video)
    assert prefixes_of(note, None) == [
        f"media/{region}/acme/{video.video_id}/" for region in (HOME, "us-east-1")
    ]
    with pytest.raises(UnsafeNoteError, match="malformed"):
        prefixes_of(replace(note, former_regions=("a/b",)), None)


def test_the_prefix_holds_one_run() -> None:
    note = a_note()
    prefix = f"media/{HOME}/acme/{note.video_id}/{note.run_id}/"
    assert prefixes_of(note, sample_video()) == prefixes_of(note, None) == [prefix]


@pytest.mark.parametrize("field", ["video_id", "run_id", "tenant", "region"])
@pytest.mark.parametrize("value", ["", "/", "..", "a/b", "*", f"{new_id()}/"])
def test_a_note_that_could_mean_more_than_one_run_deletes_nothing(field: str, value: str) -> None:
    with pytest.raises(UnsafeNoteError, match="malformed"):
        prefixes_of(a_note(**{field: value}), None)


@given(st.text(), st.text())
def test_ids_are_ids_and_nothing_else(video_id: str, run_id: str) -> None:
    with pytest.raises(UnsafeNoteError):
        prefixes_of(a_note(video_id=video_id, run_id=run_id), None)


def test_a_note_does_not_reach_another_tenant() -> None:
    with pytest.raises(UnsafeNoteError, match="'acme', but the video of 'umbrella'"):
        prefixes_of(a_note(), sample_video(tenant="umbrella"))


def test_without_a_run_all_of_the_video_is_meant() -> None:
    note = a_note(run_id=None)
    assert prefixes_of(note, None) == [f"media/{HOME}/acme/{note.video_id}/"]


def test_the_upload_is_that_of_the_video() -> None:
    video_id = new_id()
    mine = f"raw/acme/ada/{video_id}.mp4"
    note = a_note(video_id=video_id, run_id=None)
    assert upload_of(note, sample_video(video_id=video_id, raw_key=mine)) == mine
    assert upload_of(note, None) is None
    assert upload_of(replace(note, raw_key=mine), None) == mine
    for other in (
        f"raw/acme/ada/{new_id()}.mp4",
        f"raw/umbrella/ada/{video_id}.mp4",
        "raw/acme/ada/",
        "",
    ):
        with pytest.raises(UnsafeNoteError):
            upload_of(note, sample_video(video_id=video_id, raw_key=other))
        with pytest.raises(UnsafeNoteError):
            upload_of(replace(note, raw_key=other), None)


@pytest.mark.parametrize("status", VideoStatus)
def test_a_video_that_was_restored_is_in_use(status: VideoStatus) -> None:
    note = a_note(run_id=None)
    assert is_in_use(note, sample_video(status=status)) is (status is not VideoStatus.DELETED)
    assert not is_in_use(note, None)


def test_what_viewers_see_or_will_see_is_in_use() -> None:
    note = a_note()
    assert is_in_use(note, sample_video(current_run=note.run_id))
    assert is_in_use(note, sample_video(current_run=new_id(), next_run=note.run_id))
    assert not is_in_use(note, sample_video(current_run=new_id(), next_run=new_id()))
    assert not is_in_use(note, sample_video())
    assert not is_in_use(note, None)
    key = thumbnail_key(HOME, "acme", note.video_id, str(note.run_id))
    (prefix,) = prefixes_of(note, None)
    assert key.startswith(prefix)
    assert is_in_use(note, sample_video(thumbnail=key))
    assert not is_in_use(a_note(), sample_video(thumbnail=key))


def test_a_region_that_took_the_video_over_is_its_home() -> None:
    assert home_of(a_note(), sample_video(home_region="us-east-1")) == "us-east-1"
    assert home_of(a_note(), None) == HOME


def test_items_stand_until_every_region_had_its_turn() -> None:
    note = a_note()
    assert timedelta(days=1) <= SETTLE
    assert not items_may_go(note, DUE + SETTLE - timedelta(milliseconds=1))
    assert items_may_go(note, DUE + SETTLE)


def test_items_that_go_at_once_leave_the_note() -> None:
    note = a_note(raw_key="raw/acme/ada/x.mp4")
    assert items_may_go(note, DUE)
    assert not note_may_go(note, DUE + SETTLE - timedelta(milliseconds=1))
    assert note_may_go(note, DUE + SETTLE)


def test_a_time_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="soon"):
        items_may_go(a_note(due_at="soon"), DUE)
