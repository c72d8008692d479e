"""Queues as the platform wants them: encrypted, TLS only, and nothing lost at their end."""

from __future__ import annotations

from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._durations import duration

RETENTION = timedelta(days=14)
"""The longest that SQS keeps a message, so that a failure can wait for a person."""

_MINUTE = timedelta(minutes=1)


def job_queue(
    scope: Construct,
    construct_id: str,
    *,
    visibility_timeout: cdk.Duration,
    dead_letter_queue: sqs.IQueue,
    max_receive_count: int,
    max_age: timedelta,
    late: str,
) -> sqs.Queue:
    """Return a queue of jobs, with an alarm that one waits for too long.

    Args:
        scope: Parent.
        construct_id: Id in it.
        visibility_timeout: Time after which a job that nobody holds on to is seen again.
        dead_letter_queue: Where a job goes that was received too often.
        max_receive_count: Receives of one job before it goes there.
        max_age: Age of the oldest job that is as it should be.
        late: What is the matter if it is older, and what to do about it.
    """
    queue = sqs.Queue(
        scope,
        construct_id,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=duration(RETENTION),
        receive_message_wait_time=cdk.Duration.seconds(20),
        visibility_timeout=visibility_timeout,
        dead_letter_queue=sqs.DeadLetterQueue(
            queue=dead_letter_queue, max_receive_count=max_receive_count
        ),
    )
    accept(queue, Accepted.QUEUE_KEY)
    OperatorAlarm(
        queue,
        "Old",
        metric=queue.metric_approximate_age_of_oldest_message(
            statistic="Maximum", period=duration(_MINUTE)
        ),
        above=max_age.total_seconds(),
        periods=5,
        description=late,
    )
    return queue


def dead_letter_queue(
    scope: Construct, construct_id: str, *, what: str, of_calls: bool = False
) -> sqs.Queue:
    """Return a queue for what failed, with an alarm that it is not empty.

    Args:
        scope: Parent.
        construct_id: Id in it.
        what: What fails, for the description of the alarm, e.g. ``transcode jobs``.
        of_calls: Whether it gets calls and notifications only, and nothing of a queue.
    """
    queue = sqs.Queue(
        scope,
        construct_id,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=duration(RETENTION),
    )
    accept(queue, Accepted.QUEUE_KEY)
    if of_calls:
        accept(queue, Accepted.DEAD_LETTERS)
    OperatorAlarm(
        queue,
        "NotEmpty",
        metric=queue.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=duration(_MINUTE)
        ),
        above=0,
        description=f"There are {what} that failed for good and wait for a decision",
    )
    return queue
