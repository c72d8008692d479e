"""Events on their way from the table to subscribers, through the deployed function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulator import (
    ACCOUNT,
    OTHER_REGION,
    REGION,
    Emulator,
    FunctionError,
    allow,
    running_emulator,
)
from waiting import eventually
from worker_wire import Call, Wire, wire_to

from media_platform.assets import Service
from media_platform.contract import table
from media_platform.contract.environment import OutboxRelayEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent, EventType
from media_platform.contract.ids import first_of, new_id
from media_platform.contract.items import from_item
from media_platform.contract.takeover import VERSION_STEP, Takeover, take_over
from media_platform.contract.video import Video, VideoStatus, change
from mediactl.local.recorded_calls import read_calls
from outbox_relay.aws import Outbox
from tests.sample_videos import sample_video

FUNCTION = "relay"
SWEEP = "sweep"
TABLE = "videos"
TOPIC = "domain-events"
QUEUE = "subscriber"
FILTERED_QUEUE = "subscriber-of-ready"
DEAD_LETTERS = "unpublishable"
RETENTION_DAYS = 7
RETRIES = 2


@dataclass(frozen=True)
class Stage:
    """The table in two regions, and for each a relay, a topic and a subscriber.

    Attributes:
        emulator: The emulator.
        wire: What the functions of the home region publish through.
    """

    emulator: Emulator
    wire: Wire
    received: list[tuple[str, DomainEvent, dict[str, Any]]] = field(default_factory=list)

    def write(self, event: DomainEvent, region: str = REGION, *, body: str | None = None) -> None:
        """Write an outbox item in a region, as a service there does."""
        item = event.to_outbox_item()
        if body is not None:
            item[OUTBOX_BODY] = {"S": body}
        self.emulator.client("dynamodb", region).put_item(TableName=TABLE, Item=item)

    def delete(self, event: DomainEvent) -> None:
        """Delete an outbox item, as its time to live does."""
        self.emulator.client("dynamodb").delete_item(
            TableName=TABLE, Key=table.event_key(event.video_id, event.event_id).to_wire()
        )

    def item(self, event: DomainEvent, region: str = REGION) -> dict[str, Any]:
        """Return an outbox item, empty if there is none."""
        answer = self.emulator.client("dynamodb", region).get_item(
            TableName=TABLE,
            Key=table.event_key(event.video_id, event.event_id).to_wire(),
            ConsistentRead=True,
        )
        return from_item(answer.get("Item", {}))

    def deliveries(self, event: DomainEvent, queue: str = QUEUE) -> list[dict[str, Any]]:
        """Return the message attributes of every delivery of an event so far."""
        for region in (REGION, OTHER_REGION):
            for name in (QUEUE, FILTERED_QUEUE):
                client = self.emulator.client("sqs", region)
                url = client.get_queue_url(QueueName=name)["QueueUrl"]
                answer = client.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
                )
                for message in answer.get("Messages", ()):
                    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    self.received.append(
                        (
                            f"{region}/{name}",
                            DomainEvent.from_json(message["Body"]),
                            message.get("MessageAttributes", {}),
                        )
                    )
        place = queue if "/" in queue else f"{REGION}/{queue}"
        return [found[2] for found in self.received if found[:2] == (place, event)]

    def records(self, chosen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the chosen records of the stream as Lambda passes them on."""
        records = self.emulator.stream_records(TABLE)
        return {"Records": [record for record in records if chosen(record)]}

    def looked_for_takeovers(self) -> int:
        """Return how often the functions of the home region read which regions were taken over."""
        return sum(
            (call.action, call.region, call.resource.endswith(f"table/{TABLE}"))
            == ("dynamodb:Query", REGION, True)
            for call in read_calls(self.emulator.calls_file)
        )

    def dead_letters(self) -> list[dict[str, Any]]:
        """Take what the event source mapping gave up."""
        url = self.emulator.client("sqs").get_queue_url(QueueName=DEAD_LETTERS)["QueueUrl"]
        return [json.loads(message["Body"]) for message in self.emulator.messages(url)]


def an_event(
    event_type: EventType = EventType.VIDEO_CREATED, *, region: str = REGION, **data: Any
) -> DomainEvent:
    return DomainEvent(
        event_id=new_id(),
        event_type=event_type,
        video_id=new_id(),
        tenant="acme",
        region=region,
        sequence=1,
        occurred_at="2026-11-21T09:00:00.000Z",
        data=data,
    )


def an_old_event(*, age: timedelta = timedelta(hours=1)) -> DomainEvent:
    """Return an event that was written some time ago, as its id says."""
    begun = first_of(datetime.now(UTC) - age)
    return replace(an_event(), event_id=begun + new_id()[len(begun) :])


def of(event: DomainEvent) -> Callable[[dict[str, Any]], bool]:
    """Return what picks the stream records of an event."""
    sort_key = table.event_key(event.video_id, event.event_id).sk
    return lambda record: bool(record["dynamodb"]["Keys"]["sk"]["S"] == sort_key)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with (
        running_emulator(tmp_path_factory.mktemp("emulator")) as emulator,
        wire_to(emulator.endpoint) as wire,
    ):
        emulator.table(TABLE, replicas=[OTHER_REGION])
        _make_functions(emulator, REGION, {"AWS_ENDPOINT_URL_SNS": wire.url})
        _make_functions(emulator, OTHER_REGION, {})
        yield Stage(emulator, wire)
        assert emulator.denied() == [], "the documented grants are enough"


def _make_functions(emulator: Emulator, region: str, endpoints: dict[str, str]) -> None:
    topic_arn = _make_topic(emulator, region)
    sqs = emulator.client("sqs", region)
    sqs.create_queue(QueueName=DEAD_LETTERS)
    dead_letters_arn = f"arn:aws:sqs:{region}:{ACCOUNT}:{DEAD_LETTERS}"
    stream_arn = eventually(
        lambda: emulator.stream(TABLE, region), "the replica has a stream of its own"
    )
    environment = OutboxRelayEnvironment(
        home_region=region, table_name=TABLE, topic_arn=topic_arn, retention_days=RETENTION_DAYS
    )
    emulator.function(
        FUNCTION,
        Service.OUTBOX_RELAY,
        "outbox_relay.handler.handle",
        [
            allow(
                ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
                stream_arn,
            ),
            allow(["dynamodb:ListStreams"], "*"),
            allow(
                ["dynamodb:Query", "dynamodb:UpdateItem"],
                f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{TABLE}",
            ),
            allow(["sns:Publish"], topic_arn),
        ],
        environment={**environment.to_variables(), **endpoints},
        region=region,
    )
    table_arn = f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{TABLE}"
    emulator.function(
        SWEEP,
        Service.OUTBOX_RELAY,
        "outbox_relay.sweep.handle",
        [
            allow(["dynamodb:Query"], f"{table_arn}/index/{table.UNPUBLISHED.name}"),
            allow(["dynamodb:Query", "dynamodb:UpdateItem"], table_arn),
            allow(["sns:Publish"], topic_arn),
        ],
        environment={**environment.to_variables(), **endpoints},
        region=region,
        timeout_seconds=300,
    )
    pattern = {
        "eventName": ["INSERT"],
        "dynamodb": {
            "Keys": {"sk": {"S": [{"prefix": table.EVENT_SORT_PREFIX}]}},
            "NewImage": {"region": {"S": [region]}},
        },
    }
    emulator.client("lambda", region).create_event_source_mapping(
        FunctionName=FUNCTION,
        EventSourceArn=stream_arn,
        StartingPosition="TRIM_HORIZON",
        BatchSize=100,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=RETRIES,
        DestinationConfig={"OnFailure": {"Destination": dead_letters_arn}},
        FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]},
    )


def _make_topic(emulator: Emulator, region: str) -> str:
    """Create the topic with two subscribers; what is there already is left alone."""
    sns, sqs = emulator.client("sns", region), emulator.client("sqs", region)
    topic_arn = str(sns.create_topic(Name=TOPIC)["TopicArn"])
    for queue, attributes in (
        (QUEUE, {}),
        (FILTERED_QUEUE, {"FilterPolicy": json.dumps({"event_type": ["VideoReady"]})}),
    ):
        queue_arn = f"arn:aws:sqs:{region}:{ACCOUNT}:{queue}"
        policy = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            },
        }
        sqs.create_queue(QueueName=queue, Attributes={"Policy": json.dumps(policy)})
        sns.subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=queue_arn,
            Attributes={"RawMessageDelivery": "true", **attributes},
        )
    return topic_arn


def test_subscribers_receive_an_event_as_the_contract_says(stage: Stage) -> None:
    event = an_event(title="Zoë's film & co", size_bytes=17)
    stage.write(event)
    (attributes,) = eventually(lambda: stage.deliveries(event), "the event arrives")
    assert {name: a["StringValue"] for name, a in attributes.items()} == {
        "event_type": "VideoCreated",
        "tenant": "acme",
    }


def test_a_published_event_leaves_the_index_and_expires(stage: Stage) -> None:
    event = an_event()
    stage.write(event)
    item = eventually(
        lambda: found if "expires_at" in (found := stage.item(event)) else None, "it is marked"
    )
    assert table.UNPUBLISHED.partition_key not in item
    kept = item["expires_at"] - time.time()
    assert (RETENTION_DAYS - 1) * 86_400 < kept <= RETENTION_DAYS * 86_400
    assert DomainEvent.from_json(item[OUTBOX_BODY]) == event


def test_subscribers_can_filter_by_type(stage: Stage) -> None:
    created, ready = an_event(), an_event(EventType.VIDEO_READY)
    stage.write(created)
    stage.write(ready)
    eventually(lambda: stage.deliveries(ready, FILTERED_QUEUE), "the event arrives")
    eventually(lambda: stage.deliveries(created), "the other arrives at the other queue")
    assert stage.deliveries(created, FILTERED_QUEUE) == []


def test_every_event_is_published_by_the_region_that_wrote_it(stage: Stage) -> None:
    here, there = an_event(), an_event(region=OTHER_REGION)
    stage.write(here)
    stage.write(there, OTHER_REGION)
    eventually(lambda: stage.item(here, OTHER_REGION), "the event is replicated there")
    eventually(lambda: stage.item(there), "the event is replicated here")
    eventually(lambda: stage.deliveries(here), "it is published here")
    eventually(lambda: stage.deliveries(there, f"{OTHER_REGION}/{QUEUE}"), "and there")

    # Even if the filter of the mapping let it through.
    answer = stage.emulator.invoke(FUNCTION, stage.records(of(there)))
    assert answer == {"batchItemFailures": []}
    assert stage.deliveries(there) == []
    assert stage.deliveries(here, f"{OTHER_REGION}/{QUEUE}") == []


def test_the_end_of_an_event_is_no_event(stage: Stage) -> None:
    event = an_event()
    stage.write(event)
    eventually(lambda: "expires_at" in stage.item(event), "it is marked")
    stage.delete(event)
    records = stage.records(lambda r: of(event)(r) and r["eventName"] != "INSERT")
    assert {record["eventName"] for record in records["Records"]} == {"MODIFY", "REMOVE"}
    before = len(eventually(lambda: stage.deliveries(event), "the event arrived"))
    assert stage.emulator.invoke(FUNCTION, records) == {"batchItemFailures": []}
    assert len(stage.deliveries(event)) == before
    assert stage.item(event) == {}


def test_a_batch_that_comes_twice_is_published_again_under_the_same_id(stage: Stage) -> None:
    event = an_event()
    stage.write(event)
    eventually(lambda: "expires_at" in stage.item(event), "it is marked")
    assert stage.emulator.invoke(FUNCTION, stage.records(of(event))) == {"batchItemFailures": []}
    eventually(lambda: len(stage.deliveries(event)) == 2, "the repeat arrives")


def test_an_event_that_was_purged_meanwhile_is_not_made_again(stage: Stage) -> None:
    event = an_event()
    stage.write(event)
    eventually(lambda: "expires_at" in stage.item(event), "it is marked")
    stage.delete(event)
    assert stage.emulator.invoke(FUNCTION, stage.records(of(event))) == {"batchItemFailures": []}
    assert stage.item(event) == {}


def test_a_topic_that_is_away_loses_no_event(stage: Stage) -> None:
    sns = stage.emulator.client("sns")
    topic_arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"
    event = an_event()
    sns.delete_topic(TopicArn=topic_arn)
    try:
        stage.write(event)
        (record,) = eventually(
            lambda: stage.records(of(event))["Records"], "the event is in the stream"
        )
        answer = stage.emulator.invoke(FUNCTION, {"Records": [record]})
        number = record["dynamodb"]["SequenceNumber"]
        assert answer == {"batchItemFailures": [{"itemIdentifier": number}]}
        assert table.UNPUBLISHED.partition_key in stage.item(event)
    finally:
        _make_topic(stage.emulator, REGION)
    # Lambda tries again by itself, too, unless it has done so too often by now.
    assert stage.emulator.invoke(FUNCTION, {"Records": [record]}) == {"batchItemFailures": []}
    eventually(lambda: stage.deliveries(event), "the retry published it")
    eventually(lambda: "expires_at" in stage.item(event), "and marked it")


def test_poison_holds_nobody_up_and_is_not_swallowed(stage: Stage) -> None:
    before, poison, behind = an_event(), an_event(), an_event()
    stage.write(before)
    stage.write(poison, body="{}")
    stage.write(behind)

    eventually(lambda: stage.deliveries(before), "what came before is published")
    (letter,) = eventually(stage.dead_letters, "the poison goes to the failure destination")
    (record,) = stage.records(of(poison))["Records"]
    number = record["dynamodb"]["SequenceNumber"]
    assert letter["DDBStreamBatchInfo"]["startSequenceNumber"] == number
    eventually(lambda: stage.deliveries(behind), "what came behind is published")
    assert table.UNPUBLISHED.partition_key in stage.item(poison), "it stays to be looked at"
    stage.delete(poison)


def test_a_batch_is_reported_from_its_first_failure_on(stage: Stage) -> None:
    events = [an_event() for _ in range(12)]
    for number, event in enumerate(events):
        stage.write(event, body="[]" if number == 11 else None)
    wanted = {table.event_key(e.video_id, e.event_id).sk for e in events}
    batch = stage.records(
        lambda r: r["eventName"] == "INSERT" and r["dynamodb"]["Keys"]["sk"]["S"] in wanted
    )
    assert len(batch["Records"]) == 12
    answer = stage.emulator.invoke(FUNCTION, batch)
    number = batch["Records"][11]["dynamodb"]["SequenceNumber"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": number}]}
    for event in events[:11]:
        eventually(lambda event=event: stage.deliveries(event), "all before it are published")
    eventually(stage.dead_letters, "the poison is given up")
    stage.delete(events[11])


# --- what is left --------------------------------------------------------------------------------


@contextmanager
def silent(stage: Stage) -> Iterator[None]:
    """Let SNS refuse whatever is published at home."""
    stage.wire.refuse = lambda call: b"PublishBatch" in call.body
    try:
        yield
    finally:
        stage.wire.refuse = lambda _: False


def left(stage: Stage, *events: DomainEvent, body: str | None = None) -> None:
    """Write events of which the relay has given up all that it will."""
    with silent(stage):
        for event in events:
            stage.write(event, body=body)
        records = stage.records(lambda r: any(of(event)(r) for event in events))["Records"]
        (*_, last) = sorted(record["dynamodb"]["SequenceNumber"] for record in records)

        def given_up() -> bool:
            letters = [letter["DDBStreamBatchInfo"] for letter in stage.dead_letters()]
            return any(int(letter["endSequenceNumber"]) >= int(last) for letter in letters)

        eventually(given_up, "the relay gives up")


def test_events_of_a_time_without_topic_are_published_by_the_sweep(stage: Stage) -> None:
    """Longer than the relay tries; then it goes on with the next, and the sweep brings the rest."""
    lost = [an_old_event() for _ in range(3)]
    left(stage, *lost)
    with silent(stage), pytest.raises(FunctionError, match="an event was not published"):
        stage.emulator.invoke(SWEEP, {})
    for event in lost:
        assert table.UNPUBLISHED.partition_key in stage.item(event)
        assert stage.deliveries(event) == []

    later = an_event()
    stage.write(later)
    eventually(lambda: stage.deliveries(later), "the relay goes on")
    assert stage.emulator.invoke(SWEEP, {}) == {"published": 3}
    for event in lost:
        eventually(lambda event=event: stage.deliveries(event), "it is published after all")
        assert table.UNPUBLISHED.partition_key not in stage.item(event)
        assert "expires_at" in stage.item(event)
    assert stage.emulator.invoke(SWEEP, {}) == {"published": 0}
    assert [len(stage.deliveries(event)) for event in lost] == [1, 1, 1]


def test_what_the_relay_may_still_publish_is_left_to_it(stage: Stage) -> None:
    event = an_old_event(age=timedelta(minutes=1))
    left(stage, event)
    assert stage.emulator.invoke(SWEEP, {}) == {"published": 0}
    assert table.UNPUBLISHED.partition_key in stage.item(event)
    stage.delete(event)


def test_events_of_a_region_that_was_taken_over_are_published_by_the_other(stage: Stage) -> None:
    dynamodb = stage.emulator.client("dynamodb")
    takeover = Takeover(lost=REGION, by=OTHER_REGION, begun_at="2026-11-21T09:00:00.000Z")
    key = table.takeover_key(REGION).to_wire()
    event, later = an_old_event(age=timedelta(minutes=1)), an_event()
    dynamodb.put_item(TableName=TABLE, Item=takeover.to_item())
    asked = stage.looked_for_takeovers()
    try:
        stage.write(event)
        eventually(lambda: stage.item(event, OTHER_REGION), "it is replicated")
        eventually(lambda: stage.looked_for_takeovers() > asked, "the relay at home saw both")
        assert stage.emulator.invoke(SWEEP, {}) == {"published": 0}
        assert stage.emulator.invoke(SWEEP, {}, region=OTHER_REGION) == {"published": 1}
        place = f"{OTHER_REGION}/{QUEUE}"
        eventually(lambda: stage.deliveries(event, place), "the other tells of it")
        eventually(lambda: "expires_at" in stage.item(event), "it is marked at home, too")
    finally:
        dynamodb.delete_item(TableName=TABLE, Key=key)
    stage.write(later)
    eventually(lambda: stage.deliveries(later), "at home it goes on")
    assert stage.deliveries(event) == []
    assert stage.emulator.invoke(SWEEP, {}, region=OTHER_REGION) == {"published": 0}


def test_a_video_is_put_back_over_all_that_the_lost_region_wrote(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _credentials(stage.emulator.endpoint).items():
        monkeypatch.setenv(name, value)
    found = sample_video(home_region=OTHER_REGION, status=VideoStatus.READY, version=7)
    taken = take_over(TAKEN, found, region=REGION).video
    first = change(TAKEN, found, region=OTHER_REGION, title="Late").video
    second = change(TAKEN, first, region=OTHER_REGION, title="Later", tags=("x",)).video
    stage.emulator.table(TAKEN)
    dynamodb = stage.emulator.client("dynamodb")
    dynamodb.put_item(TableName=TAKEN, Item=second.to_item())

    outbox = Outbox(TAKEN)
    assert outbox.restore(taken, first, region=REGION), "the second write came before the relay"
    key = table.video_key(found.video_id).to_wire()
    item = dynamodb.get_item(TableName=TAKEN, Key=key, ConsistentRead=True)["Item"]
    stands = Video.from_item(item)
    assert stands == replace(
        taken, version=taken.version + VERSION_STEP, updated_at=stands.updated_at
    )
    assert not outbox.restore(taken, first, region=REGION), "once is enough"
    dynamodb.delete_item(TableName=TAKEN, Key=key)
    assert not outbox.restore(taken, first, region=REGION), "what was purged stays purged"


def test_poison_does_not_keep_the_sweep_from_the_others(stage: Stage) -> None:
    poison, event = an_old_event(), an_old_event()
    left(stage, poison, body="{}")
    left(stage, event)
    with pytest.raises(FunctionError, match=f"1 times .*{poison.event_id}"):
        stage.emulator.invoke(SWEEP, {})
    eventually(lambda: stage.deliveries(event), "the other is published")
    assert table.UNPUBLISHED.partition_key in stage.item(poison)
    stage.delete(poison)


# --- death ---------------------------------------------------------------------------------------

RELAY = """
import json, sys, threading
from outbox_relay.handler import handle

def run(line):
    print(json.dumps(handle(json.loads(line), None)), flush=True)

handle({"Records": []}, None)
for line in sys.stdin:
    threading.Thread(target=run, args=(line,)).start()
"""
"""The function as a process that takes a batch a line, as Lambda does one after the other."""

UNWATCHED = "unwatched-videos"
TAKEN = "taken-videos"


def _credentials(endpoint: str) -> dict[str, str]:
    """Return the variables by which clients find the emulator."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


@contextmanager
def relaying(endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """Run the relay, for the table that no mapping watches."""
    environment = OutboxRelayEnvironment(
        home_region=REGION,
        table_name=UNWATCHED,
        topic_arn=f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}",
        retention_days=RETENTION_DAYS,
    )
    with subprocess.Popen(
        [sys.executable, "-c", RELAY],
        env={
            **environment.to_variables(),
            **_credentials(endpoint),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def take(process: subprocess.Popen[str], batch: Sequence[DomainEvent]) -> None:
    """Give the relay a batch as Lambda does."""
    records = [
        {
            "eventName": "INSERT",
            "dynamodb": {
                "Keys": {name: item[name] for name in (table.PARTITION_KEY, table.SORT_KEY)},
                "NewImage": item,
                "SequenceNumber": str(number),
            },
        }
        for number, item in enumerate(event.to_outbox_item() for event in batch)
    ]
    assert process.stdin
    process.stdin.write(json.dumps({"Records": records}) + "\n")
    process.stdin.flush()


def test_the_relay_dies_within_a_batch_and_starts_again(stage: Stage) -> None:
    """Behind every call it makes: what it had not marked goes out again, under the same id."""
    stage.emulator.table(UNWATCHED)
    size, calls = 3, 4
    batches = [[an_event() for _ in range(size)] for _ in range(calls + 1)]
    client = stage.emulator.client("dynamodb")
    for event in (event for batch in batches for event in batch):
        client.put_item(TableName=UNWATCHED, Item=event.to_outbox_item())

    with wire_to(stage.emulator.endpoint) as wire, relaying(wire.url) as dying:
        for done, batch in enumerate(batches):

            def is_about(call: Call, batch: list[DomainEvent] = batch) -> bool:
                return any(event.event_id.encode() in call.body for event in batch)

            trap = wire.cut(is_about, after=done)
            take(dying, batch)
            trap.wait()
    with relaying(stage.emulator.endpoint) as again:
        for batch in batches:
            take(again, batch)
            assert again.stdout
            assert json.loads(again.stdout.readline()) == {"batchItemFailures": []}

    for done, batch in enumerate(batches):
        times = 2 if done else 1
        for event in batch:
            eventually(
                lambda event=event, times=times: len(stage.deliveries(event)) == times,
                "the event arrives",
            )
            key = table.event_key(event.video_id, event.event_id).to_wire()
            item = client.get_item(TableName=UNWATCHED, Key=key)["Item"]
            assert table.UNPUBLISHED.partition_key not in item
