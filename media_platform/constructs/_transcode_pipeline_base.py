"""What every pipeline offers: its queues, its events, and who may do what with them."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.constructs._outbox_relay import subscribe_queue
from media_platform.constructs._worker_service import backlog_metric
from media_platform.contract.events import EventType


class TranscodePipelineBase(Construct):
    """What a pipeline offers, whether it was made here or elsewhere.

    Attributes:
        express_queue: Queue of the jobs that start a run; workers look there first.
        job_queue: Queue of the jobs of all further parts.
        dead_letter_queue: Jobs that failed for good.
        topic: SNS topic of domain events.
    """

    _subscriptions: Construct
    """What holds the queues of events that a subscriber did not take."""

    express_queue: sqs.IQueue
    job_queue: sqs.IQueue
    dead_letter_queue: sqs.IQueue
    topic: sns.ITopic

    def subscribe_queue(
        self, queue: sqs.IQueue, *, event_types: Sequence[EventType] | None = None
    ) -> sns.Subscription:
        """Send domain events to a queue, each message an event as the contract says.

        Events come at least once and in any order: drop repeats by ``event_id`` and order by
        ``sequence``.

        Args:
            queue: The queue; it must not be encrypted with a key that SNS may not use.
            event_types: Events that it gets. Default: all.
        """
        return subscribe_queue(self._subscriptions, self.topic, queue, event_types=event_types)

    def grant_redrive(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` look at jobs that failed for good, and put them back or drop them."""
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["sqs:SendMessage"],
            resource_arns=[self.express_queue.queue_arn, self.job_queue.queue_arn],
        )
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
            resource_arns=[self.dead_letter_queue.queue_arn],
        )

    def metric_backlog(self) -> cloudwatch.IMetric:
        """Return the jobs of both queues that wait or are worked on (count, largest a minute)."""
        return backlog_metric(self.express_queue, self.job_queue)

    def metric_dead_letters(self) -> cloudwatch.IMetric:
        """Return the jobs that failed for good (count, largest within a minute)."""
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=cdk.Duration.minutes(1)
        )
