"""What is taken for a job, and which job is taken for which video."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from media_platform.contract.ids import new_id
from media_platform.contract.jobs import DEAD_LETTER_REASON, Profile, Quality, TranscodeJob
from media_platform.contract.scanning import Scan
from media_platform.contract.video import Video, VideoStatus
from media_worker.claims import why_settled
from media_worker.job_queue import JobQueue, Message, NotAJobError, read_job

JOB = TranscodeJob(
    video_id=new_id(),
    run_id=new_id(),
    tenant="acme",
    bucket="raw",
    key="raw/acme/ada/film.mp4",
    version_id="1",
    size_bytes=1,
    queued_at="2026-01-01T00:00:00.000Z",
)

VIDEO = Video(
    video_id=JOB.video_id,
    tenant=JOB.tenant,
    owner="ada",
    raw_key=JOB.key,
    raw_version_id=JOB.version_id,
    current_run=JOB.run_id,
    status=VideoStatus.UPLOADED,
    home_region="eu-central-1",
    title="Film",
    file_name="film.mp4",
    content_type="video/mp4",
    size_bytes=1,
    created_at=JOB.queued_at,
    updated_at=JOB.queued_at,
)


def body(**changes: Any) -> str:
    return json.dumps({**asdict(JOB), **changes})


def test_job_is_read_as_it_was_sent() -> None:
    assert read_job(JOB.to_json()) == JOB
    assert read_job(body(later="version")) == JOB
    high = replace(JOB, profile=Profile.UP_TO_720, quality=Quality.HIGH)
    assert read_job(high.to_json()) == high


def test_job_of_a_version_without_profile_and_quality_is_a_usual_one() -> None:
    old = asdict(JOB)
    del old["profile"], old["quality"]
    assert read_job(json.dumps(old)) == JOB


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[" * 50_000, id="nested without end"),
        pytest.param("[]", id="a list"),
        pytest.param("9" * 5000, id="a number without end"),
        pytest.param(body(video_id=["a"]), id="a list as a name"),
        pytest.param(body(video_id="../film"), id="no identifier"),
        pytest.param(body(run_id=""), id="an empty identifier"),
        pytest.param(body(queued_at=None), id="no time"),
        pytest.param(body(size_bytes="1"), id="a text as a number"),
        pytest.param(body(size_bytes=True), id="a truth as a number"),
        pytest.param(body(profile="8k"), id="no profile"),
        pytest.param(body(quality=None), id="no quality"),
        pytest.param(body(key="\ud800"), id="half a character"),
    ],
)
def test_what_is_no_job_is_known_as_such(text: str) -> None:
    with pytest.raises(NotAJobError) as raised:
        read_job(text)
    assert str(raised.value)


def test_reason_of_a_dead_letter_can_be_sent() -> None:
    client = boto3.client("sqs", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    expected = {
        "QueueUrl": "dead",
        "MessageBody": "body",
        "MessageAttributes": {
            DEAD_LETTER_REASON: {"DataType": "String", "StringValue": "a \ufffd b \ufffd"}
        },
    }
    with Stubber(client) as stub:
        stub.add_response("send_message", {}, expected)
        JobQueue(client, "queue", "dead").dead_letter(Message("body", "r"), "a \0 b \ud800")
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "forged",
    [replace(JOB, tenant="evil"), replace(JOB, key="raw/evil/eve/film.mp4")],
    ids=["tenant", "key"],
)
def test_job_of_another_tenant_or_upload_is_not_done(forged: TranscodeJob) -> None:
    why = why_settled(VIDEO, forged)
    assert why is not None
    assert "another" in why


@pytest.mark.parametrize("scan", [Scan.WAITING, Scan.REFUSED, Scan.CLEAN, None])
def test_job_starts_nothing_that_no_scan_let_pass(scan: Scan | None) -> None:
    why = why_settled(replace(VIDEO, scan=scan), JOB)
    assert (why is None) == (scan in {Scan.CLEAN, None})


@pytest.mark.parametrize("part", ["start", "video#00012", "sound"])
def test_part_of_a_job_is_read(part: str) -> None:
    assert read_job(body(part=part)).part == part
    assert read_job(JOB.for_part(part).to_json()) == replace(JOB, part=part)


def test_job_without_a_part_starts_a_run() -> None:
    content = asdict(JOB)
    del content["part"]
    assert read_job(json.dumps(content)).part == "start"
    with pytest.raises(NotAJobError, match="part"):
        read_job(body(part=3))


@pytest.fixture
def sqs() -> Iterator[tuple[JobQueue, Stubber]]:
    client = boto3.client("sqs", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        yield JobQueue(client, "queue", "dead"), stub
        stub.assert_no_pending_responses()


def test_chunks_are_sent_in_the_group_of_their_tenant(sqs: tuple[JobQueue, Stubber]) -> None:
    queue, stub = sqs
    expected = {"QueueUrl": "queue", "MessageBody": JOB.to_json(), "MessageGroupId": "acme"}
    stub.add_response("send_message", {}, {**expected, "DelaySeconds": 0, "MessageAttributes": ANY})
    queue.send(JOB)
    reason = {DEAD_LETTER_REASON: {"DataType": "String", "StringValue": "a fault"}}
    stub.add_response(
        "send_message", {}, {**expected, "DelaySeconds": 7, "MessageAttributes": reason}
    )
    queue.send(JOB, delay_seconds=7, reason="a fault")


@pytest.mark.parametrize("reason", [None, "a fault"])
def test_received_message_says_why_it_was_a_dead_letter(
    sqs: tuple[JobQueue, Stubber], reason: str | None
) -> None:
    queue, stub = sqs
    message: dict[str, Any] = {"Body": "body", "ReceiptHandle": "handle", "MessageId": "id"}
    if reason:
        value = {"DataType": "String", "StringValue": reason}
        message["MessageAttributes"] = {DEAD_LETTER_REASON: value}
    stub.add_response("receive_message", {"Messages": [message]}, None)
    received = queue.receive(wait_seconds=0, hide_seconds=10)
    assert received is not None
    assert (received.body, received.receipt, received.message_id, received.reason) == (
        "body",
        "handle",
        "id",
        reason,
    )
    stub.add_response("receive_message", {}, None)
    assert queue.receive(wait_seconds=0, hide_seconds=10) is None


def test_message_is_hidden_as_long_as_sqs_allows(sqs: tuple[JobQueue, Stubber]) -> None:
    queue, stub = sqs
    for seconds, hidden in [(0, 0), (60, 60), (100_000, 43_200)]:
        stub.add_response(
            "change_message_visibility",
            {},
            {"QueueUrl": "queue", "ReceiptHandle": "r", "VisibilityTimeout": hidden},
        )
        queue.hide(Message("body", "r"), seconds)
