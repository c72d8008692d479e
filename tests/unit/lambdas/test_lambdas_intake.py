"""What the intake decides about an upload."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract.ids import new_id
from media_platform.contract.jobs import Profile, Quality, TranscodeJob
from media_platform.contract.object_keys import RawKey
from media_platform.contract.video import Video, VideoStatus
from upload_intake.decision import (
    PATIENCE,
    Step,
    StoredObject,
    fault,
    job_of,
    next_step,
    run_to_start,
    sends_again,
)
from upload_intake.s3_event import UploadedObject

HOME = "eu-central-1"
MAX_BYTES = 10_000


def a_video(**changes: Any) -> Video:
    video_id = new_id()
    key = RawKey(tenant="acme", user="user-1", video_id=video_id, extension="mp4")
    video = Video(
        video_id=video_id,
        tenant="acme",
        owner="user-1",
        home_region=HOME,
        title="Title",
        file_name="my film (1)+ü.mp4",
        content_type="video/mp4",
        size_bytes=1000,
        raw_key=str(key),
        created_at="2026-01-01T00:00:00.000Z",
        updated_at="2026-01-01T00:00:00.000Z",
    )
    return replace(video, **changes)


def step_of(video: Video | None, *, key: str | None = None, version: str = "v1") -> Step:
    text = key or (video.raw_key if video else f"raw/acme/user-1/{new_id()}.mp4")
    uploaded = UploadedObject(bucket="raw", key=text, version_id=version)
    return next_step(video, key=RawKey.parse(text), uploaded=uploaded, home_region=HOME)


def s3_event(**detail: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-11-21T09:00:00Z",
        "region": HOME,
        "resources": ["arn:aws:s3:::raw"],
        "detail": {
            "version": "0",
            "bucket": {"name": "raw"},
            "object": {"key": "raw/a b+c%20ü.mp4", "size": 5, "version-id": "v1"},
            "reason": "PutObject",
            **detail,
        },
    }


def test_the_key_of_an_event_is_taken_as_it_is() -> None:
    uploaded = UploadedObject.from_event(s3_event())
    assert uploaded == UploadedObject(bucket="raw", key="raw/a b+c%20ü.mp4", version_id="v1")


@pytest.mark.parametrize("version", [{}, {"version-id": ""}])
def test_a_bucket_without_versions_is_an_error_that_names_it(
    version: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match="'raw' keeps no versions"):
        UploadedObject.from_event(s3_event(object={"key": "raw/x", "size": 5, **version}))


def test_other_events_are_an_error() -> None:
    with pytest.raises(ValueError, match="'Object Deleted'"):
        UploadedObject.from_event({**s3_event(), "detail-type": "Object Deleted"})


def test_a_pending_video_is_judged() -> None:
    assert step_of(a_video()) is Step.JUDGE


def test_an_unknown_video_is_dropped() -> None:
    assert step_of(None) is Step.UNKNOWN_VIDEO


def test_a_copy_in_another_region_is_left_to_the_home_region() -> None:
    assert step_of(a_video(home_region="us-east-1")) is Step.OTHER_HOME_REGION


@pytest.mark.parametrize(
    "form", ["raw/other/user-1/{}.mp4", "raw/acme/user-2/{}.mp4", "raw/acme/user-1/{}.mov"]
)
def test_only_the_key_that_the_video_was_given_counts(form: str) -> None:
    video = a_video()
    assert step_of(video, key=form.format(video.video_id)) is Step.NOT_THE_KEY_OF_THE_VIDEO


@pytest.mark.parametrize("status", [s for s in VideoStatus if s is not VideoStatus.PENDING])
def test_only_the_pinned_version_counts(status: VideoStatus) -> None:
    assert step_of(a_video(status=status, raw_version_id="v0")) is Step.OTHER_VERSION


@pytest.mark.parametrize("status", [s for s in VideoStatus if s is not VideoStatus.PENDING])
def test_the_job_is_sent_again_until_a_worker_took_it(status: VideoStatus) -> None:
    expected = Step.SEND_AGAIN if status is VideoStatus.UPLOADED else Step.ALREADY_TAKEN
    assert step_of(a_video(status=status, raw_version_id="v1")) is expected


def test_a_deleted_pending_video_is_not_taken_in() -> None:
    assert step_of(a_video(status=VideoStatus.DELETED)) is Step.OTHER_VERSION


@pytest.mark.parametrize(
    ("size", "content_type", "code"),
    [
        (1000, "video/mp4", None),
        (1000, "Video/MP4; codecs=avc1", None),
        (0, "video/mp4", "empty_file"),
        (999, "video/mp4", "wrong_size"),
        (1001, "video/mp4", "wrong_size"),
        (MAX_BYTES + 1, "video/mp4", "too_large"),
        (1000, "text/plain", "wrong_type"),
        (1000, "", "wrong_type"),
        (1000, "video/mp40", "wrong_type"),
    ],
)
def test_an_upload_is_refused_for_what_differs(
    size: int, content_type: str, code: str | None
) -> None:
    stored = StoredObject(size_bytes=size, content_type=content_type)
    failure = fault(a_video(), stored, max_bytes=MAX_BYTES)
    assert (failure and failure.code) == code


def test_the_limit_itself_is_allowed() -> None:
    stored = StoredObject(size_bytes=MAX_BYTES, content_type="video/mp4")
    assert fault(a_video(size_bytes=MAX_BYTES), stored, max_bytes=MAX_BYTES) is None


@given(size=st.integers(0, 2 * MAX_BYTES), content_type=st.text(max_size=3000))
def test_refusals_are_one_sentence_for_a_person(size: int, content_type: str) -> None:
    failure = fault(
        a_video(), StoredObject(size_bytes=size, content_type=content_type), max_bytes=MAX_BYTES
    )
    if failure is not None:
        assert failure.message.startswith("The ")
        assert failure.message.endswith(".")
        assert len(failure.message) < 300


def test_every_repeat_of_a_job_is_equal() -> None:
    run_id = new_id()
    video = a_video(
        status=VideoStatus.UPLOADED,
        raw_version_id="v1",
        current_run=run_id,
        uploaded_at="2026-01-01T00:00:05.000Z",
    )
    job = job_of(video, "raw")
    assert job == job_of(Video.from_item(video.to_item()), "raw")
    assert job == TranscodeJob(
        video_id=video.video_id,
        run_id=run_id,
        tenant="acme",
        bucket="raw",
        key=video.raw_key,
        version_id="v1",
        size_bytes=1000,
        queued_at="2026-01-01T00:00:05.000Z",
    )
    chosen = replace(video, profile=Profile.UP_TO_720, quality=Quality.HIGH)
    assert job_of(chosen, "raw") == replace(job, profile=Profile.UP_TO_720, quality=Quality.HIGH)


def test_there_is_no_job_without_a_version() -> None:
    with pytest.raises(ValueError, match="PENDING without a version or a run"):
        job_of(a_video(), "raw")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (VideoStatus.UPLOADED, "current"),
        (VideoStatus.READY, "next"),
        (VideoStatus.PENDING, None),
        (VideoStatus.PROCESSING, None),
        (VideoStatus.FAILED, None),
        (VideoStatus.DELETED, None),
    ],
)
def test_which_run_waits_for_a_worker(status: VideoStatus, expected: str | None) -> None:
    assert run_to_start(a_video(status=status, current_run="current", next_run="next")) == expected


@given(
    st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(hours=1)),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(minutes=1)),
)
def test_a_job_is_sent_again_in_ever_longer_pauses(interval: timedelta, first: timedelta) -> None:
    """Turns every ``interval`` for ten days: each doubling of the wait has its own, and no more."""
    turns = int(timedelta(days=10) / interval)
    sent = [
        first + n * interval for n in range(turns) if sends_again(first + n * interval, interval)
    ]
    assert sent
    assert all(waited >= PATIENCE for waited in sent)
    longest = first + (turns - 1) * interval
    doublings = 0
    while PATIENCE * 2 ** (doublings + 1) <= longest:
        doublings += 1
    assert len(sent) <= doublings + 1
    assert longest < 3 * (sent[-1] + interval), "it never stops"
