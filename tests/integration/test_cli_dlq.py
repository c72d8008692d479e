"""``mediactl dlq`` on the plane of the session, and what it does to queues in every state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Mediactl
from conftest import RunningPlane
from emulator import REGION
from sample_videos import sample_video
from waiting import eventually
from worker_stage import TABLE, Stage

from media_platform.contract import video as videos
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import DEAD_LETTER_REASON, TranscodeJob
from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput
from media_platform.contract.run import video_part
from media_platform.contract.video import VideoStatus
from mediactl.asking import Answers
from mediactl.environment import Environment
from mediactl.errors import DEGRADED, NOT_FOUND, REFUSED, USAGE, CommandError
from mediactl.watching.dead_letters import Box, Outcome, boxes, held_letter, list_letters

REASON = {DEAD_LETTER_REASON: {"DataType": "String", "StringValue": "ffmpeg broke \x09 twice"}}
NEVER = threading.Event()


def job(**changes: Any) -> TranscodeJob:
    values: dict[str, Any] = {
        "video_id": new_id(),
        "run_id": new_id(),
        "tenant": "acme",
        "bucket": "b",
        "key": "k",
        "version_id": "v",
        "size_bytes": 1,
        "queued_at": "2026-01-01T00:00:00.000Z",
    }
    return TranscodeJob(**{**values, **changes})


class QueuesOfAStage(Environment):
    """An environment that has the queues and the table of a stage of tests, and no more."""

    def __init__(self, stage: Stage) -> None:
        super().__init__("queues", protected=False, app=Path())
        self._emulator = stage.emulator
        queues = stage.environment
        self._said = {
            MediaOutput.QUEUE_URLS: {
                "express": queues.express_queue_url,
                "jobs": queues.queue_url,
            },
            MediaOutput.DEAD_LETTER_QUEUE_URLS: {"jobs": queues.dead_letter_queue_url},
        }

    stage = "queues"
    regions = (REGION,)
    base_url = ""

    def _make_client(self, service: str, region: str) -> Any:
        del region
        return self._emulator.client(service)

    def outputs(self, part: StackPart, region: str | None = None) -> dict[str, str]:
        del part, region
        said = {name.value: json.dumps(urls) for name, urls in self._said.items()}
        return {**said, StoreOutput.TABLE_NAME.value: TABLE}


class Letters:
    """The dead letters of a stage that nobody else touches."""

    def __init__(self, stage: Stage) -> None:
        self.sqs = stage.emulator.client("sqs")
        self.dead = stage.environment.dead_letter_queue_url
        self.express, self.jobs = stage.queue_urls
        self.environment = QueuesOfAStage(stage)

    @property
    def box(self) -> Box:
        (box,) = boxes(self.environment, [REGION], []).by_region[REGION]
        return box

    @property
    def places(self) -> Answers[list[Box]]:
        return Answers({REGION: [self.box]})

    def put(self, *bodies: str, **more: Any) -> list[str]:
        return [
            self.sqs.send_message(QueueUrl=self.dead, MessageBody=body, **more)["MessageId"]
            for body in bodies
        ]

    def fill(self, number: int) -> None:
        body = job(part=video_part(1)).to_json()
        for start in range(0, number, 10):
            self.sqs.send_message_batch(
                QueueUrl=self.dead,
                Entries=[
                    {"Id": str(n), "MessageBody": body}
                    for n in range(start, min(number, start + 10))
                ],
            )

    def visible(self, queue: str | None = None) -> int:
        names = ["ApproximateNumberOfMessages"]
        answer = self.sqs.get_queue_attributes(QueueUrl=queue or self.dead, AttributeNames=names)
        return int(answer["Attributes"][names[0]])

    def received(self, queue: str) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages


@pytest.fixture
def letters(shared_stage: Stage) -> Letters:
    return Letters(shared_stage.with_own_queues())


def redrive_all(box: Box) -> Outcome:
    outcome = Outcome()
    box.all_of(box.redrive, outcome, lambda _: None)
    return outcome


def test_a_letter_shows_its_reason_and_its_video_as_it_is_now(
    letters: Letters, shared_stage: Stage
) -> None:
    run_id = new_id()
    video = sample_video(status=VideoStatus.FAILED, current_run=run_id)
    shared_stage.emulator.client("dynamodb").put_item(TableName=TABLE, Item=video.to_item())
    here = job(video_id=video.video_id, run_id=run_id)
    letters.put(here.to_json(), MessageAttributes=REASON)
    letters.put(replace(here, run_id=new_id()).to_json(), job(part="end").to_json())
    first, other_run, gone = list_letters(letters.places, 100).letters
    assert first.reason == "ffmpeg broke \x09 twice"
    assert first.video is not None
    assert (first.video.status, first.video.home_region) == ("FAILED", "eu-central-1")
    assert (first.video.run_counts, first.goes_to) == (True, "express")
    assert other_run.video is not None
    assert other_run.video.run_counts is False
    assert gone.video is not None
    assert (gone.video.status, gone.goes_to) == (None, "jobs")


@pytest.mark.parametrize(
    "body",
    [
        "rubbish",
        "[]",
        "5",
        "null",
        '{"part": "start"}',
        "[" * 2000,
        '{"requestContext": {}}',
        "\u2028",
    ],
)
def test_whatever_stands_in_a_queue_is_listed_and_stays(letters: Letters, body: str) -> None:
    (message_id,) = letters.put(body)
    (letter,) = list_letters(letters.places, 100).letters
    assert (letter.body, letter.goes_to) == (body, None)
    assert redrive_all(letters.box).left.keys() == {message_id}
    assert letters.visible() == 1


def test_a_job_goes_back_with_all_that_it_carries(letters: Letters) -> None:
    start, part = job(), job(part=video_part(3))
    more = {**REASON, "traceparent": {"DataType": "String", "StringValue": "00-a-b-01"}}
    ids = letters.put(start.to_json(), MessageAttributes=more)
    ids += letters.put(part.to_json())
    assert sorted(redrive_all(letters.box).done) == sorted(ids)
    assert letters.visible() == 0
    (to_express,) = letters.received(letters.express)
    (to_jobs,) = letters.received(letters.jobs)
    assert TranscodeJob.from_json(to_express["Body"]) == start
    assert {n: v["StringValue"] for n, v in to_express["MessageAttributes"].items()} == {
        n: v["StringValue"] for n, v in more.items()
    }
    # A reason is what tells workers that an operator wants it.
    assert to_jobs["MessageAttributes"][DEAD_LETTER_REASON]["StringValue"]


def test_a_message_that_sqs_moved_goes_back_to_the_queue_it_came_from(letters: Letters) -> None:
    names = ["QueueArn"]
    arn = letters.sqs.get_queue_attributes(QueueUrl=letters.dead, AttributeNames=names)
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1}
    letters.sqs.set_queue_attributes(
        QueueUrl=letters.jobs, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    letters.sqs.send_message(QueueUrl=letters.jobs, MessageBody=job(part="end").to_json())
    for _ in range(2):
        letters.sqs.receive_message(QueueUrl=letters.jobs, VisibilityTimeout=0)
    (letter,) = list_letters(letters.places, 100).letters
    assert (letter.goes_to, letter.what) == ("jobs", "transcode job end")
    redrive_all(letters.box)
    assert (letters.visible(), letters.visible(letters.jobs)) == (0, 1)


def test_more_than_a_thousand_are_found_by_id_listed_and_redriven(letters: Letters) -> None:
    letters.fill(1_200)
    (last,) = letters.put(job().to_json())
    with held_letter(letters.places, last) as (_, message):
        assert message["MessageId"] == last
    found = list_letters(letters.places, 50)
    assert (len(found.letters), found.unseen) == (50, 1_151)
    assert letters.visible() == 1_201
    told: list[int] = []
    outcome = Outcome()
    letters.box.all_of(letters.box.redrive, outcome, told.append)
    assert (len({*outcome.done}), outcome.left, sum(told)) == (1_201, {}, 1_201)
    assert letters.visible() == 0
    assert letters.visible(letters.jobs) == 1_200


def test_two_who_look_at_once_see_all_between_them_and_take_nothing(letters: Letters) -> None:
    letters.fill(60)
    seen: list[list[str]] = []

    def look() -> None:
        seen.append([one.message_id for one in list_letters(letters.places, 100).letters])

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert len({*seen[0], *seen[1]}) == 60
    assert letters.visible() == 60


def test_who_finds_less_than_there_is_is_told(letters: Letters) -> None:
    letters.fill(3)
    first = letters.sqs.receive_message(QueueUrl=letters.dead, VisibilityTimeout=60)["Messages"]
    found = list_letters(letters.places, 100)
    assert (len(found.letters), found.unseen) == (2, 1)
    with (
        pytest.raises(CommandError, match="somebody looks at it") as raised,
        held_letter(letters.places, first[0]["MessageId"]),
    ):
        pass
    assert raised.value.exit_code == NOT_FOUND


def test_a_message_that_vanishes_meanwhile_does_no_harm(letters: Letters) -> None:
    (message_id,) = letters.put(job().to_json())
    with held_letter(letters.places, message_id) as (box, message):
        letters.sqs.delete_message(QueueUrl=letters.dead, ReceiptHandle=message["ReceiptHandle"])
        outcome = Outcome()
        box.redrive([message], outcome)
    assert letters.visible() == 0


def test_ctrl_c_gives_back_what_was_seen_and_ends_between_messages(letters: Letters) -> None:
    letters.fill(35)
    box = letters.box

    def act(messages: Sequence[dict[str, Any]], outcome: Outcome) -> None:
        signal.raise_signal(signal.SIGINT)  # a person presses it while messages are on their way
        box.redrive(messages, outcome)

    outcome = Outcome()
    with pytest.raises(KeyboardInterrupt):
        box.all_of(act, outcome, lambda _: None)
    done = len(outcome.done)
    assert 0 < done < 35
    assert (letters.visible(), letters.visible(letters.jobs)) == (35 - done, done)


def test_what_fails_again_meanwhile_is_left_or_it_would_never_end(letters: Letters) -> None:
    letters.fill(1)
    box = letters.box
    rounds = Counter[str]()

    def act(messages: Sequence[dict[str, Any]], outcome: Outcome) -> None:
        rounds.update(message["MessageId"] for message in messages)
        box.redrive(messages, outcome)
        letters.fill(1)

    box.all_of(act, Outcome(), lambda _: None)
    assert rounds.total() >= 1
    assert letters.visible() == 1


# --- the commands ---------------------------------------------------------------------------


@pytest.fixture
def purges(plane: RunningPlane, outputs: dict[str, str]) -> Iterator[str]:
    """URL of a queue of dead letters that is empty before and after."""
    url = json.loads(outputs[MediaOutput.DEAD_LETTER_QUEUE_URLS])["purges"]
    plane.client("sqs").purge_queue(QueueUrl=url)
    yield url
    plane.client("sqs").purge_queue(QueueUrl=url)


def put(plane: RunningPlane, queue: str, body: str) -> str:
    message = plane.client("sqs").send_message(QueueUrl=queue, MessageBody=body)
    return str(message["MessageId"])


def test_the_commands_list_show_and_drop(
    mediactl: Mediactl, plane: RunningPlane, purges: str
) -> None:
    message_id = put(plane, purges, '{"a": "\x1b[31mred"}'.replace("\x1b", "\u009b"))
    listed = mediactl("dlq", "list", "--queue", "purges", "--json").json
    assert [one["message_id"] for one in listed["letters"]] == [message_id]
    shown = mediactl("dlq", "show", message_id)
    assert message_id in shown.stdout
    assert "\u009b" not in shown.stdout
    left = mediactl("dlq", "redrive", message_id)
    assert left.exit_code == DEGRADED
    assert f"{message_id} stays" in left.stdout
    refused = mediactl("dlq", "drop", message_id)
    assert (refused.exit_code, "--yes" in refused.stderr) == (REFUSED, True)
    would = mediactl("dlq", "drop", message_id, "--dry-run", "--json").json
    assert (would["done"], would["left"]) == ([message_id], {})
    assert mediactl("dlq", "drop", message_id, "--yes", "--json").json["done"] == [message_id]
    gone = mediactl("dlq", "show", message_id)
    assert (gone.exit_code, message_id in gone.stderr) == (NOT_FOUND, True)


def test_a_look_that_is_interrupted_gives_back_what_it_took(
    mediactl: Mediactl, plane: RunningPlane, purges: str
) -> None:
    sqs = plane.client("sqs")
    for _ in range(30):
        entries = [{"Id": str(n), "MessageBody": "x"} for n in range(10)]
        sqs.send_message_batch(QueueUrl=purges, Entries=entries)
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

    def counts() -> tuple[int, ...]:
        found = sqs.get_queue_attributes(QueueUrl=purges, AttributeNames=[*names])["Attributes"]
        return tuple(int(found[name]) for name in names)

    with subprocess.Popen(
        mediactl.program("dlq", "list", "--queue", "purges", "--limit", "1000"),
        env={**os.environ, **mediactl.variables()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        eventually(lambda: counts()[1] or process.poll() is not None, "it holds some")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors
    assert counts() == (300, 0)


def test_all_of_a_queue_is_dropped_with_consent_and_its_name_alone(
    mediactl: Mediactl, as_in_aws: Mediactl, plane: RunningPlane, purges: str
) -> None:
    for number in range(12):
        put(plane, purges, str(number))
    everything = ("dlq", "drop", "--all")
    assert mediactl(*everything, "--yes").exit_code == USAGE
    chosen = (*everything, "--queue", "purges")
    protected = as_in_aws(*chosen, "-e", "one-region", "--yes")
    assert (protected.exit_code, "--confirm one-region" in protected.stderr) == (REFUSED, True)
    assert len(mediactl(*chosen, "--dry-run", "--json").json["done"]) == 12
    done = as_in_aws(*chosen, "-e", "one-region", "--confirm", "one-region", "--json").json
    assert len(done["done"]) == 12
    assert mediactl("dlq", "list", "--queue", "purges").stdout == "no dead letters\n"


def test_an_upload_that_could_not_be_taken_in_is_called_for_again(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    """The real way: Lambda tries, gives up, and tells of it in its destination."""
    name = next(
        one["FunctionName"]
        for page in plane.client("lambda").get_paginator("list_functions").paginate()
        for one in page["Functions"]
        if "UploadsIntake" in one["FunctionName"]
    )
    video_id = new_id()
    event = {"detail": {"object": {"key": f"raw/acme/ada/{video_id}.mp4"}}}
    plane.client("lambda").invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode()
    )

    def letters() -> list[dict[str, Any]]:
        listed = mediactl("dlq", "list", "--queue", "uploads", "--json").json["letters"]
        return [one for one in listed if (one["video"] or {}).get("video_id") == video_id]

    (letter,) = eventually(letters, "the call stands among the dead letters")
    assert (letter["goes_to"], letter["video"]["status"]) == ("uploads-intake", None)
    assert "not ('aws.s3', 'Object Created')" in letter["reason"]
    answer = mediactl("dlq", "redrive", letter["message_id"], "--json")
    assert (answer.json["done"], answer.json["left"]) == ([letter["message_id"]], {})
    (again,) = eventually(letters, "it failed once more")
    assert again["message_id"] != letter["message_id"]
    assert mediactl("dlq", "drop", again["message_id"], "--yes").exit_code == 0


def test_a_call_of_another_function_is_not_made(
    mediactl: Mediactl, plane: RunningPlane, purges: str
) -> None:
    arn = f"arn:aws:lambda:{plane.region}:000000000000:function:of-somebody-else"
    call = {"requestContext": {"functionArn": f"{arn}:$LATEST"}, "requestPayload": {}}
    message_id = put(plane, purges, json.dumps(call))
    answer = mediactl("dlq", "redrive", "--all", "--queue", "purges", "--json")
    assert answer.exit_code == DEGRADED
    assert "no function of this stage" in json.loads(answer.stdout)["left"][message_id]


def test_an_event_that_a_subscriber_did_not_get_is_to_be_replayed(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    created = videos.create("t", sample_video()).event
    assert created is not None
    policies = [
        plane.client("sns").get_subscription_attributes(SubscriptionArn=one["SubscriptionArn"])
        for one in plane.client("sns").list_subscriptions_by_topic(
            TopicArn=outputs[MediaOutput.TOPIC_ARN]
        )["Subscriptions"]
        if "WebhooksEvents" in one["Endpoint"]
    ]
    arn = json.loads(policies[0]["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"]
    name = arn.rpartition(":")[2]
    url = plane.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
    message_id = put(plane, url, created.to_json())
    answer = mediactl("dlq", "redrive", message_id, "--queue", "subscriptions", "--json")
    assert answer.exit_code == DEGRADED
    reason = json.loads(answer.stdout)["left"][message_id]
    assert f"mediactl events replay {created.video_id}" in reason
    assert mediactl("dlq", "drop", message_id, "--yes").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["redrive"],
        ["redrive", "--all", "an-id"],
        ["list", "--queue", "nobodys"],
        ["list", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_what_is_asked_wrongly_is_told(mediactl: Mediactl, words: list[str]) -> None:
    answer = mediactl("dlq", *words)
    assert (answer.exit_code, answer.stdout) == (USAGE, "")
