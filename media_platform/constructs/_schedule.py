"""A Lambda function that is called every so often, and what becomes of turns that fail."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct


def call_on_schedule(
    scope: Construct,
    function: lambda_.Function,
    *,
    interval: cdk.Duration,
    description: str,
    dead_letter_queue: sqs.IQueue,
    max_event_age: cdk.Duration,
    retries: int = 0,
) -> events.Rule:
    """Return the EventBridge rule that calls ``function`` as long as the stack is there.

    Args:
        scope: Parent.
        function: What is called.
        interval: Time between two turns, whole minutes.
        description: What it looks for, in one line.
        dead_letter_queue: Where turns go that could not be called or that failed.
        max_event_age: Age after which a turn is not called any more: the next ones do its work.
        retries: How often a turn that failed is called again, 0 to 2. Default: not at all, the
            next turn is the retry.
    """
    lambda_.EventInvokeConfig(
        scope,
        "Retries",
        function=function,
        retry_attempts=retries,
        max_event_age=max_event_age,
        on_failure=destinations.SqsDestination(dead_letter_queue),
    )
    return events.Rule(
        scope,
        "Schedule",
        description=description,
        schedule=events.Schedule.rate(interval),
        targets=[
            targets.LambdaFunction(
                function,
                dead_letter_queue=dead_letter_queue,
                max_event_age=max_event_age,
            )
        ],
    )
