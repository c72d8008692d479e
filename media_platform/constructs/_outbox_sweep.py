"""Events that nobody published: a schedule, the Lambda that publishes them, what it may do."""

from __future__ import annotations

from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted
from media_platform.constructs._durations import duration
from media_platform.constructs._outbox_relay import OutboxRelay
from media_platform.constructs._python_function import python_function
from media_platform.constructs._queues import dead_letter_queue
from media_platform.constructs._schedule import call_on_schedule
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table

_TIMEOUT = timedelta(minutes=5)
_MAX_EVENT_AGE = timedelta(hours=1)


class OutboxSweep(Construct):
    """Publishes the events of this region that the relay gave up.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store whose table has them.
        relay: What should have published them.
        interval: Time between two turns, whole minutes.

    Attributes:
        function: The Lambda function.
        rule: The EventBridge rule that calls it.
        dead_letter_queue: Turns after which events were left that could not be published.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        relay: OutboxRelay,
        interval: cdk.Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        self.dead_letter_queue = dead_letter_queue(
            self, "DeadLetters", what="sweeps of events", of_calls=True
        )
        self.function = python_function(
            self,
            "Sweep",
            service=Service.OUTBOX_RELAY,
            handler="outbox_relay.sweep.handle",
            description="Publishes domain events that were left",
            timeout=duration(_TIMEOUT),
            failures=Accepted.FAILURES_TO_QUEUE,
            environment=relay.environment.to_variables(),
        )
        store.grant_use_table(
            self.function,
            actions=["dynamodb:Query", "dynamodb:UpdateItem"],
            indexes=[table.UNPUBLISHED],
        )
        iam.Grant.add_to_principal(
            grantee=self.function, actions=["sns:Publish"], resource_arns=[relay.topic.topic_arn]
        )
        self.rule = call_on_schedule(
            self,
            self.function,
            interval=interval,
            description="Looks for events that were not published",
            dead_letter_queue=self.dead_letter_queue,
            max_event_age=duration(_MAX_EVENT_AGE),
        )
