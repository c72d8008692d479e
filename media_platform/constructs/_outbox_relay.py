"""From the table stream to subscribers: the relay Lambda and the topic of domain events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept, accept_wildcards
from media_platform.constructs._access_logs import log_objects
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._deploy_resource import (
    DeployResource,
    deploy_function,
    deploy_resource,
)
from media_platform.constructs._durations import duration
from media_platform.constructs._private_bucket import private_bucket
from media_platform.constructs._python_function import python_function
from media_platform.constructs._queues import dead_letter_queue
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table
from media_platform.contract.environment import OutboxRelayEnvironment
from media_platform.contract.events import EventType

_BATCH = 100
_RETRIES = 10
_LATE = timedelta(minutes=1)
"""Age of an event that somebody should look at."""

_FAILURES_EXPIRY = timedelta(days=30)


class OutboxRelay(Construct):
    """Publishes the events of this region, at least once and in no order.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store whose table it follows.
        event_retention: Time that a published event stays in the table.
        removal_policy: What happens to kept failures when they leave the template.

    Attributes:
        topic: SNS topic of domain events.
        environment: Settings of the function.
        function: The Lambda function.
        failures: Bucket with the stream records that could not be published, for 30 days.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        event_retention: cdk.Duration,
        removal_policy: cdk.RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(
            self,
            "Topic",
            enforce_ssl=True,
            master_key=kms.Alias.from_alias_name(self, "TopicKey", "alias/aws/sns"),
        )
        self.failures = private_bucket(
            self,
            "Failures",
            noncurrent_expiry=cdk.Duration.days(1),
            expiry=duration(_FAILURES_EXPIRY),
            # What the relay may do with the key for the sake of the table is enough.
            encryption_key=store.encryption_key,
            removal_policy=removal_policy,
        )
        accept(self.failures, Accepted.FAILURE_COPIES)
        log_objects(self.failures, store.access_log_bucket, prefix="outbox-failures")
        self.environment = OutboxRelayEnvironment(
            home_region=cdk.Stack.of(self).region,
            table_name=store.table.table_name,
            topic_arn=self.topic.topic_arn,
            retention_days=int(event_retention.to_days()),
        )
        self.function = python_function(
            self,
            "Relay",
            service=Service.OUTBOX_RELAY,
            handler="outbox_relay.handler.handle",
            description="Publishes domain events from the table stream",
            timeout=cdk.Duration.seconds(60),
            failures=Accepted.FAILURES_AT_SOURCE,
            environment=self.environment.to_variables(),
        )
        stream_arn = store.table_stream_arn or self._look_up_stream(store)
        self._grant(store, stream_arn)
        mapping = lambda_.EventSourceMapping(
            self,
            "Stream",
            target=self.function,
            event_source_arn=stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=_BATCH,
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            retry_attempts=_RETRIES,
            filters=[
                {"pattern": json.dumps(pattern)}
                for pattern in (stream_filter(cdk.Stack.of(self).region), TAKEN_VIDEOS)
            ],
        )
        # The destination of the L2 would grant reading and deleting, too.
        resource = cast("lambda_.CfnEventSourceMapping", mapping.node.default_child)
        resource.destination_config = lambda_.CfnEventSourceMapping.DestinationConfigProperty(
            on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(
                destination=self.failures.bucket_arn
            )
        )
        OperatorAlarm(
            self,
            "Late",
            metric=self.metric_delay(),
            above=_LATE / timedelta(milliseconds=1),
            periods=5,
            description="Events wait to be published; read the log of the relay",
        )
        # Lambda refuses a mapping whose role lacks the stream or the destination.
        mapping.node.add_dependency(self.function.grant_principal)

    def metric_delay(self) -> cloudwatch.IMetric:
        """Return how long events wait for it (milliseconds, largest within a minute)."""
        return self.function.metric(
            "IteratorAge", statistic="Maximum", period=cdk.Duration.minutes(1)
        )

    def subscribe_queue(self, queue: sqs.IQueue) -> sns.Subscription:
        """Send all events to a queue."""
        return subscribe_queue(self, self.topic, queue)

    def subscribe_function(
        self, function: lambda_.IFunction, *, event_types: Sequence[EventType]
    ) -> sns.Subscription:
        """Let a function be called with events, for what has to be done at once.

        Args:
            function: The function; what it does not do is left to a sweep.
            event_types: Events that it gets.
        """
        return self.topic.add_subscription(
            subscriptions.LambdaSubscription(function, filter_policy=_only(event_types))
        )

    def _look_up_stream(self, store: VideoStoreBase) -> str:
        """Return the stream of a replica, which the template of its region cannot name."""
        function = deploy_function(self, "StreamLookup", resource=DeployResource.REPLICA_STREAM)
        store.grant_use_table(function, actions=["dynamodb:DescribeTable"])
        looked_up = deploy_resource(
            self,
            "ReplicaStream",
            resource=DeployResource.REPLICA_STREAM,
            function=function,
            properties={"TableName": store.table.table_name},
        )
        return looked_up.get_att_string("StreamArn")

    def _grant(self, store: VideoStoreBase, stream_arn: str) -> None:
        store.grant_use_table(self.function, actions=["dynamodb:Query", "dynamodb:UpdateItem"])
        for actions, resource in (
            (
                ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
                stream_arn,
            ),
            (["dynamodb:ListStreams"], "*"),
            (["sns:Publish"], self.topic.topic_arn),
            (["s3:ListBucket"], self.failures.bucket_arn),
            (["s3:PutObject"], self.failures.arn_for_objects("*")),
        ):
            iam.Grant.add_to_principal(
                grantee=self.function, actions=actions, resource_arns=[resource]
            )
        accept_wildcards(self.function, Accepted.STREAMS, "*")
        accept_wildcards(self.function, Accepted.KEPT_FAILURES, self.failures.arn_for_objects("*"))


def subscribe_queue(
    scope: Construct,
    topic: sns.ITopic,
    queue: sqs.IQueue,
    *,
    event_types: Sequence[EventType] | None = None,
) -> sns.Subscription:
    """Send events of a topic to a queue.

    Args:
        scope: Parent of the queue of those that it did not take.
        topic: The topic.
        queue: The queue.
        event_types: Events that it gets. Default: all.
    """
    return topic.add_subscription(
        subscriptions.SqsSubscription(
            queue,
            raw_message_delivery=True,
            filter_policy=None if event_types is None else _only(event_types),
            dead_letter_queue=dead_letter_queue(
                Construct(scope, f"Subscription{queue.node.addr}"),
                "DeadLetters",
                what="events for a subscriber",
                of_calls=True,
            ),
        )
    )


def stream_filter(region: str) -> dict[str, object]:
    """Return the pattern of the stream records that concern a relay: new events of its region."""
    return {
        "eventName": ["INSERT"],
        "dynamodb": {
            "Keys": {table.SORT_KEY: {"S": [{"prefix": table.EVENT_SORT_PREFIX}]}},
            "NewImage": {"region": {"S": [region]}},
        },
    }


TAKEN_VIDEOS: dict[str, object] = {
    "eventName": ["MODIFY"],
    "dynamodb": {
        "Keys": {table.SORT_KEY: {"S": [table.video_key("").sk]}},
        "OldImage": {"epoch": {"N": [{"anything-but": ["0"]}]}},
    },
}
"""The pattern of the changes of videos that were taken over, which a lost region may write over."""


def _only(event_types: Sequence[EventType]) -> dict[str, sns.SubscriptionFilter]:
    names = [event_type.value for event_type in event_types]
    return {"event_type": sns.SubscriptionFilter.string_filter(allowlist=names)}
