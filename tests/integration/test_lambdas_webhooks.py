"""Events on their way from the topic to the endpoints of tenants, through the deployed functions.

What is in the way of time (later attempts, attempts that count as lost) is brought about by writing
the time into the delivery and calling the turn that a schedule calls every minute.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulator import ACCOUNT, REGION, Emulator, allow, running_emulator
from waiting import eventually

from media_platform.assets import Service
from media_platform.contract import table
from media_platform.contract.environment import WebhookEnvironment
from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    Delivery,
    DeliveryJob,
    DeliveryStatus,
    DisabledReason,
    Health,
    Secret,
    Webhook,
    delivery_write,
)
from tests.unit.lambdas.test_lambdas_webhooks_document import by_python
from tests.unit.lambdas.webhook_receiver import (
    Handler,
    Received,
    Receiver,
    answer,
    hang,
    make_certificate,
    serving,
)
from webhook_dispatch.decision import claimed

TABLE = "videos"
TOPIC = "domain-events"
EVENTS = "webhook-events"
DELIVERIES = "webhook-deliveries"
HOST = "127.0.0.1"
LONG_AGO = timedelta(minutes=2)


@dataclass(frozen=True)
class Stage:
    """Topic, queues, functions and table, and a receiver for each way to speak."""

    emulator: Emulator
    receiver: Receiver
    secure_receiver: Receiver

    def endpoint(self, tenant: str, url: str, **changes: Any) -> Webhook:
        """Register an endpoint."""
        now = timestamp()
        values = {
            "webhook_id": new_id(),
            "tenant": tenant,
            "url": url,
            "created_at": now,
            "created_by": "root",
            "updated_at": now,
            "enabled_at": now,
            "secrets": (Secret.new(),),
        }
        webhook = Webhook(**{**values, **changes})
        self.put(webhook)
        return webhook

    def put(self, stored: Webhook | Delivery) -> None:
        self.emulator.client("dynamodb").put_item(TableName=TABLE, Item=stored.to_item())

    def webhook(self, webhook: Webhook) -> Webhook:
        """Return an endpoint as it is now."""
        key = table.webhook_key(webhook.tenant, webhook.webhook_id)
        return Webhook.from_item(self._get(key))

    def health(self, webhook: Webhook) -> Health:
        """Return how an endpoint has done by now."""
        key = table.webhook_health_key(webhook.tenant, webhook.webhook_id, REGION)
        return Health.from_item(self._get(key))

    def delivery(self, webhook: Webhook, event: DomainEvent) -> Delivery | None:
        """Return a delivery as it is now."""
        key = table.webhook_delivery_key(webhook.tenant, webhook.webhook_id, event.event_id)
        item = self._get(key)
        return Delivery.from_item(item) if item else None

    def ended(self, webhook: Webhook, event: DomainEvent) -> Delivery:
        """Return a delivery once it is no longer PENDING."""

        def look() -> Delivery | None:
            found = self.delivery(webhook, event)
            return found if found and found.status is not DeliveryStatus.PENDING else None

        return eventually(look, "the delivery ends")

    def failed(self, webhook: Webhook, event: DomainEvent, attempts: int) -> Delivery:
        """Return a delivery once so many attempts of it failed."""

        def look() -> Delivery | None:
            found = self.delivery(webhook, event)
            done = found and len(found.attempts) == attempts and not found.leased
            return found if done else None

        return eventually(look, f"{attempts} attempts fail")

    def bring_forward(self, delivery: Delivery) -> None:
        """Let the next attempt be due since a while, and the schedule see it."""
        past = timestamp(datetime.now(UTC) - LONG_AGO)
        changed = replace(delivery, next_attempt_at=past, due_at=past)
        put = delivery_write(TABLE, changed, delivery)["Put"]
        self.emulator.client("dynamodb").put_item(**put)
        assert self.turn() >= 1

    def turn(self) -> int:
        """Do what the schedule does every minute; return how many messages it sent."""
        return int(self.emulator.invoke("turn", {})["sent"])

    def publish(self, tenant: str, event_type: EventType = EventType.VIDEO_READY) -> DomainEvent:
        """Publish an event, as the relay does."""
        event = DomainEvent(
            event_id=new_id(),
            event_type=event_type,
            video_id=new_id(),
            tenant=tenant,
            region=REGION,
            sequence=4,
            occurred_at="2026-11-21T09:00:00.000Z",
            data={"title": "Zoë's film & co"},
        )
        self.publish_again(event)
        return event

    def publish_again(self, event: DomainEvent) -> None:
        self.emulator.client("sns").publish(
            TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}",
            Message=event.to_json(),
            MessageAttributes=event.message_attributes(),
        )

    def send(self, job: DeliveryJob, times: int = 1) -> None:
        """Put a delivery into the queue."""
        sqs = self.emulator.client("sqs")
        url = sqs.get_queue_url(QueueName=DELIVERIES)["QueueUrl"]
        for _ in range(times):
            sqs.send_message(QueueUrl=url, MessageBody=job.to_json(), MessageGroupId="g")

    def deliver(self, job: DeliveryJob) -> Any:
        """Call the function that sends, as the queue does."""
        record = {"messageId": "m", "body": job.to_json()}
        return self.emulator.invoke("deliver", {"Records": [record]})

    def _get(self, key: table.Key) -> dict[str, Any]:
        answer = self.emulator.client("dynamodb").get_item(
            TableName=TABLE, Key=key.to_wire(), ConsistentRead=True
        )
        return dict(answer.get("Item", {}))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    authority, tls = make_certificate(tmp_path_factory.mktemp("tls"), HOST)
    with (
        running_emulator(tmp_path_factory.mktemp("emulator")) as emulator,
        serving() as receiver,
        serving(tls) as secure_receiver,
    ):
        _make_functions(emulator, authority)
        yield Stage(emulator, receiver, secure_receiver)
        assert emulator.denied() == [], "the documented grants are enough"


def _make_functions(emulator: Emulator, authority: Path) -> None:
    table_arn = emulator.table(TABLE)
    sqs, sns = emulator.client("sqs"), emulator.client("sns")
    arns = {name: f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}" for name in (EVENTS, DELIVERIES)}
    topic_arn = sns.create_topic(Name=TOPIC)["TopicArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arns[EVENTS],
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    sqs.create_queue(QueueName=EVENTS, Attributes={"Policy": policy, "VisibilityTimeout": "60"})
    url = sqs.create_queue(QueueName=DELIVERIES, Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    environment = WebhookEnvironment(
        stage="test",
        home_region=REGION,
        table_name=TABLE,
        delivery_queue_url=url,
        allowed_networks="127.0.0.0/8",
    )
    consume = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    send = allow(["sqs:SendMessage"], arns[DELIVERIES])
    for name, statements in {
        "fan_out": [
            allow(["dynamodb:PutItem", "dynamodb:Query"], table_arn),
            allow(consume, arns[EVENTS]),
            send,
        ],
        "deliver": [
            allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], table_arn),
            allow(consume, arns[DELIVERIES]),
            send,
        ],
        "turn": [
            allow(["dynamodb:UpdateItem"], table_arn),
            allow(["dynamodb:Query"], f"{table_arn}/index/{table.DUE.name}"),
            send,
        ],
    }.items():
        emulator.function(
            name,
            Service.WEBHOOKS,
            f"webhook_dispatch.handler.{name}",
            statements,
            environment={**environment.to_variables(), "SSL_CERT_FILE": str(authority)},
        )
    for function, queue in (("fan_out", EVENTS), ("deliver", DELIVERIES)):
        emulator.client("lambda").create_event_source_mapping(
            FunctionName=function,
            EventSourceArn=arns[queue],
            BatchSize=10,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )
    sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=arns[EVENTS],
        Attributes={"RawMessageDelivery": "true"},
    )


@pytest.fixture
def tenant() -> str:
    """A tenant of which no other test knows."""
    return f"tenant-{new_id()}"


@pytest.fixture
def path() -> str:
    """A path that no other test uses."""
    return f"/{new_id()}"


def is_signed(webhook: Webhook, received: Received) -> bool:
    """Judge a request as the document tells receivers to."""
    signature = received.headers["Webhook-Signature"]
    return all(
        by_python(secret.value, signature, received.body)
        for secret in webhook.valid_secrets(datetime.now(UTC))
    )


def test_an_event_arrives_signed_at_every_endpoint_that_wants_it(
    stage: Stage, tenant: str, path: str
) -> None:
    """Over plain HTTP and over TLS, to an authority that the function trusts."""
    plain = stage.endpoint(tenant, stage.receiver.url(path))
    secure = stage.endpoint(tenant, stage.secure_receiver.url(path), event_types=("VideoReady",))
    other = stage.endpoint(tenant, stage.receiver.url(f"{path}/x"), event_types=("VideoFailed",))
    disabled = stage.endpoint(tenant, stage.receiver.url(f"{path}/y"), enabled=False)
    stranger = stage.endpoint(f"{tenant}-2", stage.receiver.url(f"{path}/z"))
    event = stage.publish(tenant)

    for webhook, receiver in ((plain, stage.receiver), (secure, stage.secure_receiver)):
        done = stage.ended(webhook, event)
        assert done.status is DeliveryStatus.DELIVERED
        (attempt,) = done.attempts
        assert (attempt.number, attempt.status_code, attempt.error) == (1, 200, None)
        (came,) = receiver.received(path)
        assert came.body.decode() == event.to_json()
        assert is_signed(webhook, came)
        assert came.headers["Webhook-Id"] == event.event_id
        assert came.headers["Webhook-Attempt"] == "1"
        assert came.headers["Content-Type"] == "application/json"
    for webhook in (other, disabled, stranger):
        assert stage.delivery(webhook, event) is None


def test_both_secrets_sign_while_one_is_replaced(stage: Stage, tenant: str, path: str) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    rotated = webhook.with_new_secret(datetime.now(UTC))
    stage.put(rotated)
    stage.ended(rotated, stage.publish(tenant))
    (came,) = stage.receiver.received(path)
    assert len(rotated.secrets) == 2
    assert is_signed(rotated, came)


def test_a_failing_endpoint_is_tried_until_it_takes_the_event(
    stage: Stage, tenant: str, path: str
) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    stage.receiver.tell(
        path,
        answer(500, b"it hurts"),
        answer(302, Location="/elsewhere", **{"Retry-After": "1200"}),
        answer(200),
    )
    event = stage.publish(tenant)
    # The second attempt comes by the message that waits in the queue, the third by the schedule.
    twice = stage.failed(webhook, event, 2)
    assert twice.status is DeliveryStatus.PENDING
    assert twice.next_attempt_at is not None
    last = twice.attempts[-1]
    waits = datetime.fromisoformat(twice.next_attempt_at) - datetime.fromisoformat(last.started_at)
    assert timedelta(minutes=20) <= waits < timedelta(minutes=21), "as the endpoint asked"
    ill = eventually(
        lambda: found if (found := stage.health(webhook)).failures == 2 else None,
        "both failures are noted",
    )
    assert (ill.delivered_at, ill.failure) == (None, "it answered 302")
    assert ill.failing_since is not None
    assert ill.failed_at is not None
    assert ill.failing_since < ill.failed_at
    stage.bring_forward(twice)
    done = stage.ended(webhook, event)
    assert done.status is DeliveryStatus.DELIVERED
    assert [a.status_code for a in done.attempts] == [500, 302, 200]
    assert done.attempts[0].response == "it hurts"
    came = stage.receiver.received(path)
    assert [one.headers["Webhook-Attempt"] for one in came] == ["1", "2", "3"]
    assert {one.headers["Webhook-Id"] for one in came} == {event.event_id}
    assert {one.body.decode() for one in came} == {event.to_json()}
    assert all(is_signed(webhook, one) for one in came)
    assert stage.receiver.received("/elsewhere") == []
    well = eventually(
        lambda: found if (found := stage.health(webhook)).delivered_at else None,
        "the success is noted",
    )
    # What failed last is still told.
    assert (well.failures, well.failing_since) == (0, None)
    assert (well.failed_at, well.failure) == (ill.failed_at, ill.failure)


def test_a_name_that_leads_elsewhere_than_allowed_gets_nothing(
    stage: Stage, tenant: str, path: str
) -> None:
    """The rules hold at the time of the attempt, whatever was registered."""
    urls = ["https://169.254.169.254/latest/meta-data", "http://10.0.0.1:8080/", "https://[::1]/"]
    webhooks = [stage.endpoint(tenant, url) for url in urls]
    event = stage.publish(tenant)
    for webhook in webhooks:
        (attempt,) = stage.failed(webhook, event, 1).attempts
        assert attempt.status_code is None
        assert attempt.error is not None
        assert attempt.error.startswith("nothing was sent: ")
        assert attempt.milliseconds < 1000


def test_gone_disables_the_endpoint(stage: Stage, tenant: str, path: str) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    stage.receiver.tell(path, answer(410))
    event = stage.publish(tenant)
    assert stage.ended(webhook, event).failure == "the endpoint answered 410 Gone"
    found = eventually(
        lambda: found if not (found := stage.webhook(webhook)).enabled else None, "it is disabled"
    )
    assert (found.disabled_reason, found.version) == (DisabledReason.GONE, webhook.version + 1)
    assert stage.delivery(webhook, stage.publish(tenant)) is None
    assert len(stage.receiver.received(path)) == 1


def test_an_endpoint_that_takes_nothing_for_days_is_disabled(
    stage: Stage, tenant: str, path: str
) -> None:
    ago = timestamp(datetime.now(UTC) - timedelta(days=4))
    webhook = stage.endpoint(tenant, stage.receiver.url(path), enabled_at=ago)
    stage.receiver.tell(path, answer(200), answer(500))
    health = table.webhook_health_key(tenant, webhook.webhook_id, REGION).to_wire()

    def fail_since(time: str) -> None:
        item = {**health, "failing_since": {"S": time}}
        stage.emulator.client("dynamodb").put_item(TableName=TABLE, Item=item)

    fail_since(ago)
    assert stage.ended(webhook, stage.publish(tenant)).status is DeliveryStatus.DELIVERED
    stage.failed(webhook, stage.publish(tenant), 1)
    assert stage.webhook(webhook).enabled, "it took something in between"
    fail_since(ago)
    event = stage.publish(tenant)
    found = eventually(
        lambda: found if not (found := stage.webhook(webhook)).enabled else None, "it is disabled"
    )
    assert found.disabled_reason is DisabledReason.FAILING
    stage.bring_forward(stage.failed(webhook, event, 1))
    assert stage.ended(webhook, event).failure == "the endpoint is disabled"


def test_what_waits_for_an_endpoint_that_is_deleted_is_given_up(
    stage: Stage, tenant: str, path: str
) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    stage.receiver.tell(path, answer(500))
    event = stage.publish(tenant)
    delivery = stage.failed(webhook, event, 1)
    stage.emulator.client("dynamodb").delete_item(
        TableName=TABLE, Key=table.webhook_key(tenant, webhook.webhook_id).to_wire()
    )
    stage.bring_forward(delivery)
    ended = stage.ended(webhook, event)
    assert (ended.status, ended.failure) == (DeliveryStatus.FAILED, "the endpoint was deleted")


def test_an_event_that_comes_again_is_not_delivered_again(
    stage: Stage, tenant: str, path: str
) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    event = stage.publish(tenant)
    done = stage.ended(webhook, event)
    for _ in range(3):
        stage.publish_again(event)
    stage.send(DeliveryJob.of(done), times=5)
    assert stage.deliver(DeliveryJob.of(done)) == {"batchItemFailures": []}
    stage.ended(webhook, stage.publish(tenant))
    eventually(lambda: not _waiting(stage), "the queues are empty")
    assert [one.headers["Webhook-Id"] for one in stage.receiver.received(path)].count(
        event.event_id
    ) == 1
    assert stage.delivery(webhook, event) == done


def test_many_at_once_make_one_attempt(stage: Stage, tenant: str, path: str) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    may_answer = threading.Event()

    def answer_late(handler: Handler) -> None:
        may_answer.wait(5)
        answer(200)(handler)

    stage.receiver.tell(path, answer_late)
    event = stage.publish(tenant)
    delivery = eventually(lambda: stage.delivery(webhook, event), "the delivery is made")
    job = DeliveryJob.of(delivery)
    stage.send(job, times=10)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: stage.deliver(job), range(3)))
        may_answer.set()
    assert answers == [{"batchItemFailures": []}] * 3
    assert len(stage.ended(webhook, event).attempts) == 1
    eventually(lambda: not _waiting(stage), "the queues are empty")
    assert len(stage.receiver.received(path)) == 1


def test_a_dispatcher_that_was_stopped_before_it_sent_a_message_loses_nothing(
    stage: Stage, tenant: str, path: str
) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    event_id, past = new_id(), datetime.now(UTC) - LONG_AGO
    delivery = Delivery.new(
        webhook,
        event_id=event_id,
        event_type="VideoReady",
        event="{}",
        region=REGION,
        now=past,
        due_at=past,
    )
    stage.put(delivery)
    assert stage.turn() == 1
    assert stage.turn() == 0, "it has its message; another would only fill the queue"
    eventually(lambda: stage.receiver.received(path), "it arrives")


@pytest.mark.parametrize("taken", [False, True])
def test_a_dispatcher_that_was_stopped_in_the_middle_of_an_attempt_loses_nothing(
    stage: Stage, tenant: str, path: str, taken: bool
) -> None:
    """Before the request was sent, or after the endpoint took it and before that was written."""
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    past = datetime.now(UTC) - LONG_AGO
    delivery = Delivery.new(
        webhook,
        event_id=new_id(),
        event_type="VideoReady",
        event='{"a":1}',
        region=REGION,
        now=past,
        due_at=past,
    )
    mine = claimed(delivery, datetime.now(UTC))
    stage.put(mine)
    stage.deliver(DeliveryJob.of(mine))
    assert stage.turn() == 0
    assert stage.receiver.received(path) == [], "the attempt may still be made"

    stage.put(claimed(delivery, past))
    assert stage.turn() == 1
    eventually(lambda: stage.receiver.received(path), "another attempt is made")
    (came,) = stage.receiver.received(path)
    assert came.headers["Webhook-Attempt"] == "2", "so that a receiver can tell"
    assert came.headers["Webhook-Id"] == delivery.event_id


def test_a_slow_endpoint_does_not_hold_up_others(stage: Stage, tenant: str, path: str) -> None:
    slow = stage.endpoint(tenant, stage.receiver.url(f"{path}/slow"))
    stage.receiver.tell(f"{path}/slow", hang)
    quick = stage.endpoint(tenant, stage.receiver.url(path))
    events = [stage.publish(tenant) for _ in range(5)]
    for event in events:
        assert stage.ended(quick, event).status is DeliveryStatus.DELIVERED
    for event in events:
        (attempt,) = stage.failed(slow, event, 1).attempts
        assert attempt.error == "no answer within 10 s"


def test_poison_is_reported_and_stops_nobody(stage: Stage, tenant: str, path: str) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(path))
    event = replace_event(tenant)
    records = [
        {"messageId": "bad", "body": "no event"},
        {"messageId": "good", "body": event.to_json()},
    ]
    reported = stage.emulator.invoke("fan_out", {"Records": records})
    assert reported == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert stage.ended(webhook, event).status is DeliveryStatus.DELIVERED
    reported = stage.emulator.invoke("deliver", {"Records": records[:1]})
    assert reported == {"batchItemFailures": [{"itemIdentifier": "bad"}]}


def test_nothing_secret_is_logged_or_shown(stage: Stage, tenant: str, path: str) -> None:
    webhook = stage.endpoint(tenant, stage.receiver.url(f"{path}?token=hidden"))
    event = stage.publish(tenant)
    stage.ended(webhook, event)
    log = stage.emulator.calls_file.parent / "emulator.log"
    text = "".join(file.read_text(errors="replace") for file in log.parent.glob("**/*.log"))
    assert event.event_id in text, "the log tells of the delivery"
    assert webhook.secrets[0].value not in text
    assert "token=hidden" not in text


def replace_event(tenant: str) -> DomainEvent:
    return DomainEvent(
        event_id=new_id(),
        event_type=EventType.VIDEO_READY,
        video_id=new_id(),
        tenant=tenant,
        region=REGION,
        sequence=1,
        occurred_at="2026-11-21T09:00:00.000Z",
    )


def _waiting(stage: Stage) -> int:
    """Return the messages that wait, are held back, or are being worked on."""
    sqs = stage.emulator.client("sqs")
    kinds = ("", "NotVisible")
    count = 0
    for name in (EVENTS, DELIVERIES):
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        count += sum(int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)
    return count
