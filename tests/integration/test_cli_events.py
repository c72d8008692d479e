"""``mediactl events`` on the plane of the session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from command_line import Mediactl
from conftest import RunningPlane
from sample_videos import sample_video
from waiting import eventually

from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.events import REPLAYED_AT
from media_platform.contract.ids import new_id
from media_platform.contract.outputs import MediaOutput, StoreOutput
from media_platform.contract.video import Video
from mediactl.commands.events import KIND
from mediactl.environment import load_environment
from mediactl.errors import DEGRADED, REFUSED, TERMINATED, USAGE
from mediactl.temporary import TemporaryName
from mediactl.watching.event_queues import EventQueues

TAILS = f"mediactl-{KIND}-"
"""How the names of queues of tails begin."""


@contextmanager
def created_video(plane: RunningPlane, outputs: dict[str, str]) -> Iterator[Video]:
    """A video whose creation was published."""
    table_name, dynamodb = outputs[StoreOutput.TABLE_NAME], plane.client("dynamodb")
    created = videos.create(table_name, sample_video(home_region=plane.region))
    dynamodb.transact_write_items(TransactItems=created.writes)
    assert created.event is not None
    key = table.event_key(created.video.video_id, created.event.event_id).to_wire()

    def is_published() -> bool:
        item = dynamodb.get_item(TableName=table_name, Key=key)["Item"]
        return table.UNPUBLISHED.partition_key not in item

    eventually(is_published, "the relay published the event")
    yield created.video
    for gone in (key, table.video_key(created.video.video_id).to_wire()):
        dynamodb.delete_item(TableName=table_name, Key=gone)


@contextmanager
def subscriber(plane: RunningPlane, outputs: dict[str, str]) -> Iterator[str]:
    """URL of a queue that gets what the topic publishes."""
    sqs, sns = plane.client("sqs"), plane.client("sns")
    url = sqs.create_queue(QueueName=f"subscriber-{new_id()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=outputs[MediaOutput.TOPIC_ARN],
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
    )["SubscriptionArn"]
    try:
        yield url
    finally:
        sns.unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=url)


def tails(plane: RunningPlane, outputs: dict[str, str]) -> list[str]:
    """Names of what tails left: queues and subscriptions."""
    queues = plane.client("sqs").list_queues(QueueNamePrefix=TAILS).get("QueueUrls", [])
    topic = outputs[MediaOutput.TOPIC_ARN]
    subscriptions = plane.client("sns").list_subscriptions_by_topic(TopicArn=topic)
    ends = [one["Endpoint"] for one in subscriptions["Subscriptions"]]
    return [*queues, *(end for end in ends if TAILS in end)]


def test_events_of_a_video_are_read_from_its_beginning(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with created_video(plane, outputs) as video:
        words = ("events", "tail", "--video", video.video_id, "--count", "1")
        (event,) = mediactl(*words, "--json").json_lines
        assert (event["event_type"], event["video_id"]) == ("VideoCreated", video.video_id)
        shown = mediactl(*words).stdout
        assert shown.split()[1:3] == ["VideoCreated", video.video_id]
    assert tails(plane, outputs) == []


def test_whatever_is_published_is_seen_as_long_as_the_tail_is_there(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with subprocess.Popen(
        mediactl.program("events", "tail", "--type", "VideoCreated", "--json"),
        env={**os.environ, **mediactl.variables()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "is subscribed in" in process.stderr.readline()
        assert len(tails(plane, outputs)) == 2
        with created_video(plane, outputs) as video:
            seen: set[str] = set()
            while video.video_id not in seen:
                seen.add(json.loads(process.stdout.readline())["video_id"])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert tails(plane, outputs) == []


def test_a_tail_that_was_killed_is_cleaned_up_after_by_a_later_one(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with mediactl.settings():
        environment = load_environment("local")
    left = TemporaryName.make(KIND, environment.stage, seconds=-1)
    EventQueues(environment, left, environment.regions).subscribe()
    assert len(tails(plane, outputs)) == 2
    with subprocess.Popen(
        mediactl.program("events", "tail"),
        env={**os.environ, **mediactl.variables()},
        stderr=subprocess.PIPE,
        text=True,
    ) as later:
        assert later.stderr is not None
        assert "is subscribed in" in later.stderr.readline()
        assert all(str(left) not in name for name in tails(plane, outputs))
        later.send_signal(signal.SIGTERM)
        assert later.wait(60) == TERMINATED
    assert tails(plane, outputs) == []


def test_a_replay_publishes_the_same_event_again_and_says_that_it_does(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with created_video(plane, outputs) as video, subscriber(plane, outputs) as url:
        words = ("events", "replay", video.video_id)
        would = mediactl(*words, "--dry-run", "--json").json
        assert mediactl(*words).exit_code == REFUSED
        done = mediactl(*words, "--yes", "--json").json
        assert done == would
        (event,) = done["events"]
        sqs = plane.client("sqs")

        def messages_of_it() -> list[dict[str, Any]]:
            answer = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])
            found: list[dict[str, Any]] = answer.get("Messages", [])
            return [one for one in found if video.video_id in one["Body"]]

        messages = eventually(messages_of_it, "the event came once more")
        assert [json.loads(one["Body"]) for one in messages] == [event]
        attributes = messages[0]["MessageAttributes"]
        assert attributes.keys() == {"event_type", "tenant", REPLAYED_AT}


def test_events_of_a_time_are_found_in_the_whole_table(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    before = datetime.now(UTC).isoformat()
    with created_video(plane, outputs) as video:
        words = ("events", "replay", "--dry-run", "--json", "--since")
        found = mediactl(*words, before).json["events"]
        assert video.video_id in {one["video_id"] for one in found}
        for more in (("--to", before), ("--type", "VideoDeleted")):
            events = mediactl(*words, before, *more).json["events"]
            assert video.video_id not in {one["video_id"] for one in events}


def test_what_the_relay_has_still_to_publish_is_left_to_it(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    table_name, dynamodb = outputs[StoreOutput.TABLE_NAME], plane.client("dynamodb")
    with created_video(plane, outputs) as video:
        event = mediactl("events", "replay", video.video_id, "--dry-run", "--json").json["events"][
            0
        ]
        key = table.event_key(video.video_id, event["event_id"]).to_wire()
        dynamodb.update_item(
            TableName=table_name,
            Key=key,
            UpdateExpression="SET unpublished_key = :nowhere",
            ExpressionAttributeValues={":nowhere": {"S": "UNPUBLISHED#nowhere#0"}},
        )
        answer = mediactl("events", "replay", video.video_id, "--dry-run", "--json")
        assert answer.exit_code == DEGRADED
        assert list(json.loads(answer.stdout)["left"]) == [event["event_id"]]


@pytest.mark.parametrize(
    "words",
    [
        ["tail", "--since", "1h"],
        ["tail", "--type", "VideoInvented"],
        ["replay"],
        ["replay", "no-id"],
        ["replay", "01a2163c-3759-7cd7-89d5-4bfdefeef015", "--since", "1h"],
    ],
    ids=" ".join,
)
def test_what_is_asked_wrongly_is_told(mediactl: Mediactl, words: list[str]) -> None:
    answer = mediactl("events", *words)
    assert (answer.exit_code, answer.stdout) == (USAGE, "")
