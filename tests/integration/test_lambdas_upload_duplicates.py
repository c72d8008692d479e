"""Files that a tenant has already, through the deployed intake and its own role."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from intake_stage import BUCKET, FUNCTION, Stage, running_stage
from waiting import eventually

from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.video import Duplicates, Failure, Video, VideoStatus, Visibility

PRIVATE = Visibility.PRIVATE


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("emulator")) as found:
        yield found


@pytest.fixture
def content() -> bytes:
    """A file that no other test uploads."""
    return f"not really a film {new_id()}".encode()


def uploaded(stage: Stage, content: bytes, **changes: Any) -> Video:
    """Create a video, upload its file and return it once the intake judged it."""
    video = stage.create(size_bytes=len(content), **changes)
    stage.upload(video.raw_key, content, with_checksum=True)

    def judged() -> Video | None:
        now = stage.video(video.video_id)
        return now if now.status is not VideoStatus.PENDING else None

    return eventually(judged, "the upload is judged")


def test_the_checksum_of_s3_is_recorded(stage: Stage, content: bytes) -> None:
    video = uploaded(stage, content)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert (video.status, video.checksum_sha256) == (VideoStatus.UPLOADED, digest)


def test_the_composite_checksum_of_parts_is_recorded_and_compared(stage: Stage) -> None:
    content = new_id().encode()
    digest = hashlib.sha256(hashlib.sha256(content).digest()).digest()

    def in_parts() -> Video:
        video = stage.create(size_bytes=len(content))
        s3 = stage.emulator.client("s3")
        key = {"Bucket": BUCKET, "Key": video.raw_key}
        begun = s3.create_multipart_upload(
            **key, ContentType="video/mp4", ChecksumAlgorithm="SHA256"
        )
        key["UploadId"] = begun["UploadId"]
        part = s3.upload_part(**key, PartNumber=1, Body=content, ChecksumAlgorithm="SHA256")
        listed = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
        s3.complete_multipart_upload(**key, MultipartUpload={"Parts": [listed]})
        return eventually(
            lambda: (now := stage.video(video.video_id)).status is not VideoStatus.PENDING and now,
            "the upload is judged",
        )

    first, second = in_parts(), in_parts()
    assert first.status is VideoStatus.UPLOADED
    assert first.checksum_sha256 == f"{base64.b64encode(digest).decode()}-1"
    assert second.duplicate_of == first.video_id


def test_a_second_upload_of_a_file_names_the_first(stage: Stage, content: bytes) -> None:
    first = uploaded(stage, content)
    second = uploaded(stage, content)
    assert (first.status, second.status) == (VideoStatus.UPLOADED, VideoStatus.FAILED)
    assert second.duplicate_of == first.video_id
    assert second.failure is not None
    assert second.failure.code == "duplicate"
    assert first.video_id in second.failure.message
    failed = stage.events(second.video_id)[-1]
    assert failed.event_type is EventType.VIDEO_FAILED
    assert failed.data == {
        "code": "duplicate",
        "message": second.failure.message,
        "duplicate_of": first.video_id,
    }
    assert not stage.jobs(second.video_id)


def test_a_duplicate_that_is_wanted_is_kept(stage: Stage, content: bytes) -> None:
    first = uploaded(stage, content)
    kept = uploaded(stage, content, duplicates=Duplicates.KEEP)
    assert (kept.status, kept.duplicate_of) == (VideoStatus.UPLOADED, None)
    assert uploaded(stage, content).duplicate_of == first.video_id, "the first one still guards it"


def test_other_tenants_have_files_of_their_own(stage: Stage, content: bytes) -> None:
    uploaded(stage, content)
    assert uploaded(stage, content, tenant="umbrella").status is VideoStatus.UPLOADED


@pytest.mark.parametrize("status", [VideoStatus.FAILED, VideoStatus.DELETED])
def test_a_video_that_is_no_more_makes_room(
    stage: Stage, content: bytes, status: VideoStatus
) -> None:
    first = uploaded(stage, content)
    stage.change(first, status=status, failure=Failure(code="c", message="m"))
    second = uploaded(stage, content)
    assert second.status is VideoStatus.UPLOADED
    assert uploaded(stage, content).duplicate_of == second.video_id


def test_a_private_video_of_another_is_not_given_away(stage: Stage, content: bytes) -> None:
    """``bob`` learns nothing of what ``ada`` keeps to herself, and each is told of his own."""
    of_ada = uploaded(stage, content, visibility=PRIVATE)
    of_bob = uploaded(stage, content, visibility=PRIVATE, owner="bob")
    assert (of_ada.status, of_bob.status) == (VideoStatus.UPLOADED, VideoStatus.UPLOADED)
    assert uploaded(stage, content, owner="bob").duplicate_of == of_bob.video_id
    assert uploaded(stage, content).duplicate_of == of_ada.video_id
    shared = uploaded(stage, content, owner="cleo")
    assert shared.status is VideoStatus.UPLOADED
    assert uploaded(stage, content, owner="dora").duplicate_of == shared.video_id


def test_what_became_private_is_not_given_away(stage: Stage, content: bytes) -> None:
    first = uploaded(stage, content)
    stage.change(first, visibility=PRIVATE)
    assert uploaded(stage, content, owner="bob").status is VideoStatus.UPLOADED


def test_of_equal_files_that_arrive_together_one_is_taken(stage: Stage, content: bytes) -> None:
    created = [stage.create(size_bytes=len(content)) for _ in range(6)]
    client = stage.emulator.client("lambda")
    for video in created:
        version_id = stage.upload(video.raw_key, content, with_checksum=True)
        event = json.dumps(stage.event(video.raw_key, version_id)).encode()
        client.invoke(FunctionName=FUNCTION, InvocationType="Event", Payload=event)

    def judged() -> list[Video] | None:
        now = [stage.video(video.video_id) for video in created]
        return now if all(video.status is not VideoStatus.PENDING for video in now) else None

    judged_videos = eventually(judged, "all are judged")
    (taken,) = [v for v in judged_videos if v.status is VideoStatus.UPLOADED]
    assert {v.duplicate_of for v in judged_videos if v is not taken} == {taken.video_id}
