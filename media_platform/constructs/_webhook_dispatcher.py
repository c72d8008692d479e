"""From domain events to the endpoints of tenants: two queues, three functions, one schedule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted
from media_platform.constructs._durations import duration
from media_platform.constructs._outbox_relay import OutboxRelay
from media_platform.constructs._python_function import python_function
from media_platform.constructs._queues import dead_letter_queue, job_queue
from media_platform.constructs._schedule import call_on_schedule
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table
from media_platform.contract.environment import WebhookEnvironment
from media_platform.contract.webhook_urls import join_networks

_TIMEOUT = timedelta(seconds=60)
_VISIBILITY = timedelta(seconds=6 * 60)
"""Six times the timeout (AWS Lambda Developer Guide, "Creating an SQS event source mapping")."""

_BATCH = 10
"""Attempts that one instance of the function makes side by side."""

_EVENT_RECEIVES = 50
"""Tries of an event before it is a dead letter: five hours, longer than a table is away."""

_DELIVERY_RECEIVES = 5
"""The same of a delivery, which the schedule sends again whatever becomes of its message."""

_LATE = timedelta(minutes=15)
"""Age of an event or a delivery that somebody should look at."""

_TURN = timedelta(minutes=1)
_MAX_TURN_AGE = timedelta(minutes=5)


class WebhookDispatcher(Construct):
    """Sends the events of this region to the webhook endpoints of their tenants.

    An event becomes one message for every endpoint, so that none waits for another. No function is
    in a VPC: what they are told to reach is the internet, and nothing private is in their reach.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage.
        store: Store of this region.
        relay: What publishes the events.
        allowed_networks: Networks (CIDR) that may be sent to although they are not public.
        max_concurrency: Most batches of ten attempts at a time, 2 to 1000.

    Attributes:
        events: Queue of the events that come from the topic.
        deliveries: Queue of the deliveries, one message for every endpoint.
        fan_out: The function that makes deliveries from events.
        deliver: The function that sends requests.
        turn: The function that looks after deliveries that are due, every minute.
        rule: The EventBridge rule that calls it.
        dead_letter_queue: Events of which no deliveries could be made.
        delivery_dead_letter_queue: Messages of deliveries, and turns, that failed; the table keeps
            what they are about, and later turns go on with it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str,
        store: VideoStoreBase,
        relay: OutboxRelay,
        allowed_networks: Sequence[str],
        max_concurrency: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.dead_letter_queue = dead_letter_queue(self, "DeadLetters", what="events for webhooks")
        self.delivery_dead_letter_queue = dead_letter_queue(
            self, "DeliveryDeadLetters", what="deliveries of webhooks"
        )
        self.events = job_queue(
            self,
            "Events",
            visibility_timeout=duration(_VISIBILITY),
            dead_letter_queue=self.dead_letter_queue,
            max_receive_count=_EVENT_RECEIVES,
            max_age=_LATE,
            late="Events wait to become webhooks; read the log of the function that fans them out",
        )
        self.deliveries = job_queue(
            self,
            "Deliveries",
            visibility_timeout=duration(_VISIBILITY),
            dead_letter_queue=self.delivery_dead_letter_queue,
            max_receive_count=_DELIVERY_RECEIVES,
            max_age=_LATE,
            late="Webhooks wait to be sent; slow endpoints may need more max_webhook_batches",
        )
        relay.subscribe_queue(self.events)
        environment = WebhookEnvironment(
            stage=stage,
            home_region=cdk.Stack.of(self).region,
            table_name=store.table.table_name,
            delivery_queue_url=self.deliveries.queue_url,
            allowed_networks=join_networks(allowed_networks),
        )
        self.fan_out = self._function(
            "FanOut", "fan_out", "Makes deliveries", environment, Accepted.FAILURES_AT_SOURCE
        )
        self.deliver = self._function(
            "Deliver", "deliver", "Sends webhooks", environment, Accepted.FAILURES_AT_SOURCE
        )
        self.turn = self._function(
            "Turn",
            "turn",
            "Sends deliveries that are due",
            environment,
            Accepted.FAILURES_TO_QUEUE,
        )
        store.grant_use_table(self.fan_out, actions=["dynamodb:PutItem", "dynamodb:Query"])
        store.grant_use_table(
            self.deliver,
            actions=["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
        )
        store.grant_use_table(self.turn, actions=["dynamodb:UpdateItem"], indexes=[table.DUE])
        self._consume(self.fan_out, self.events, max_concurrency=None)
        self._consume(self.deliver, self.deliveries, max_concurrency=max_concurrency)
        self.rule = call_on_schedule(
            self,
            self.turn,
            interval=duration(_TURN),
            description="Looks after deliveries of webhooks that are due",
            dead_letter_queue=self.delivery_dead_letter_queue,
            max_event_age=duration(_MAX_TURN_AGE),
        )

    def _function(
        self,
        construct_id: str,
        handler: str,
        description: str,
        environment: WebhookEnvironment,
        failures: Accepted,
    ) -> lambda_.Function:
        function = python_function(
            self,
            construct_id,
            service=Service.WEBHOOKS,
            handler=f"webhook_dispatch.handler.{handler}",
            description=description,
            timeout=duration(_TIMEOUT),
            failures=failures,
            environment=environment.to_variables(),
        )
        iam.Grant.add_to_principal(
            grantee=function,
            actions=["sqs:SendMessage"],
            resource_arns=[self.deliveries.queue_arn],
        )
        return function

    def _consume(
        self, function: lambda_.Function, queue: sqs.Queue, *, max_concurrency: int | None
    ) -> None:
        function.add_event_source(
            event_sources.SqsEventSource(
                queue,
                batch_size=_BATCH,
                report_batch_item_failures=True,
                max_concurrency=max_concurrency,
            )
        )
