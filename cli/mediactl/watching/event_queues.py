"""Queues that get the domain events of an environment while a command runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from media_platform.contract.events import DomainEvent
from media_platform.contract.outputs import MediaOutput
from mediactl.interrupts import uninterrupted
from mediactl.temporary import TemporaryName

if TYPE_CHECKING:
    from mediactl.environment import Environment

RETENTION_SECONDS = 3600
"""Time after which SQS drops what nobody received."""

_MOST_MESSAGES = 10
_REMEMBERED = 10_000
"""Events by which repeats are known."""


@dataclass
class EventQueues:
    """A queue in every region, each subscribed to the topic of its region.

    SNS and SQS promise no order and repeat themselves, so events may come twice and late; those
    of the moment in which a subscription begins may be missed.

    Attributes:
        environment: Where.
        name: Name of the queues.
        regions: Regions whose events they get.
        tenant: Tenant whose events they get. Default: those of all.
    """

    environment: Environment
    name: TemporaryName
    regions: Sequence[str]
    tenant: str | None = None
    _open: list[tuple[Any, str]] = field(default_factory=list, init=False)
    _subscriptions: dict[str, str] = field(default_factory=dict, init=False)

    @contextlib.contextmanager
    def subscribed(self) -> Iterator[None]:
        """Have the queues while the block runs."""
        try:
            self.subscribe()
            yield
        finally:
            with uninterrupted():
                self.remove()

    def subscribe(self) -> None:
        """Make the queues; :meth:`remove` is to be called in the end, also if this fails."""
        for region in self.regions:
            self._subscribe(region)

    def remove(self) -> None:
        """Remove what there is of the queues, in all regions, also if one fails."""
        with contextlib.ExitStack() as stack:
            for region in self.regions:
                stack.callback(self._unsubscribe, region)

    def _subscribe(self, region: str) -> None:
        sqs, sns = self.environment.client("sqs", region), self.environment.client("sns", region)
        topic = self.environment.output(MediaOutput.TOPIC_ARN, region)
        queue = _queue_arn(topic, str(self.name))
        attributes = {
            "MessageRetentionPeriod": str(RETENTION_SECONDS),
            "SqsManagedSseEnabled": "true",
            "Policy": _admits(topic, queue),
        }
        url = sqs.create_queue(QueueName=str(self.name), Attributes=attributes)["QueueUrl"]
        options = {"RawMessageDelivery": "true"}
        if self.tenant is not None:
            options["FilterPolicy"] = json.dumps({"tenant": [self.tenant]})
        self._subscriptions[region] = sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=queue,
            Attributes=options,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        self._open.append((sqs, url))

    def _unsubscribe(self, region: str) -> None:
        """Remove what there is of the queue of a region."""
        sqs = self.environment.client("sqs", region)
        name = str(self.name)
        known = self._subscriptions.get(region)
        if known is not None:
            self.environment.client("sns", region).unsubscribe(SubscriptionArn=known)
        else:
            _remove_subscriptions(self.environment, region, name.__eq__)
        with contextlib.suppress(sqs.exceptions.QueueDoesNotExist):
            sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def receive(self, *, wait_seconds: int = 1) -> list[DomainEvent]:
        """Return events that came, in no order; what is no event is dropped.

        Args:
            wait_seconds: Longest wait in each region, 0 to 20.
        """
        found: list[DomainEvent] = []
        for sqs, url in self._open:
            answer = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=_MOST_MESSAGES, WaitTimeSeconds=wait_seconds
            )
            messages = answer.get("Messages", [])
            for message in messages:
                with contextlib.suppress(ValueError):
                    found.append(DomainEvent.from_json(message["Body"]))
            if messages:
                entries = [
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        return found

    def events(self) -> Iterator[DomainEvent]:
        """Yield events as they are published, each once, without end."""
        seen: dict[str, None] = {}
        while True:
            for event in self.receive():
                if event.event_id not in seen:
                    seen[event.event_id] = None
                    yield event
            while len(seen) > _REMEMBERED:
                del seen[next(iter(seen))]


def remove_outlived(
    environment: Environment, name: TemporaryName, regions: Sequence[str]
) -> list[str]:
    """Remove queues and subscriptions that commands left which were killed.

    Args:
        environment: Where.
        name: A name of the same kind and stage.
        regions: Regions in which to look.

    Returns:
        Names of what was removed.
    """
    removed: set[str] = set()
    for region in regions:
        removed |= _remove_subscriptions(environment, region, name.outlives)
        sqs = environment.client("sqs", region)
        pages = sqs.get_paginator("list_queues").paginate(
            QueueNamePrefix=name.prefix, PaginationConfig={"PageSize": 1000}
        )
        for url in (one for page in pages for one in page.get("QueueUrls", [])):
            queue = url.rpartition("/")[2]
            if name.outlives(queue):
                with contextlib.suppress(sqs.exceptions.QueueDoesNotExist):
                    sqs.delete_queue(QueueUrl=url)
                removed.add(queue)
    return sorted(removed)


def _remove_subscriptions(
    environment: Environment, region: str, doomed: Callable[[str], bool]
) -> set[str]:
    """Remove the subscriptions of queues whose names are ``doomed``, and return those names."""
    sns = environment.client("sns", region)
    topic = environment.output(MediaOutput.TOPIC_ARN, region)
    removed: set[str] = set()
    for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic):
        for subscription in page["Subscriptions"]:
            queue = subscription["Endpoint"].rpartition(":")[2]
            if doomed(queue):
                sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
                removed.add(queue)
    return removed


def _queue_arn(topic_arn: str, name: str) -> str:
    """Return the ARN that a queue of that name has beside the topic."""
    _, partition, _, region, account, _ = topic_arn.split(":", 5)
    return f"arn:{partition}:sqs:{region}:{account}:{name}"


def _admits(topic_arn: str, queue_arn: str) -> str:
    """Return the policy of a queue to which one topic alone may send."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": queue_arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
                }
            ],
        }
    )
