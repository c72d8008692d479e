"""What becomes of old runs and deleted videos: a schedule, the Lambda, and what it may delete."""

from __future__ import annotations

from datetime import timedelta

import aws_cdk as cdk
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._durations import duration
from media_platform.constructs._python_function import python_function
from media_platform.constructs._queues import dead_letter_queue
from media_platform.constructs._schedule import call_on_schedule
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table
from media_platform.contract.environment import RunPurgeEnvironment
from media_platform.contract.purge import TURN_TIME

_RETRIES = 2
_MAX_EVENT_AGE = timedelta(hours=1)
"""A turn that comes later is one too many: the next ones do its work."""


class RunPurge(Construct):
    """Deletes runs that were replaced and videos that were deleted, once their time is over.

    Every region has one, since deletions of versions are not replicated.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store of this region.
        interval: Time between two turns, whole minutes.

    Attributes:
        interval: Time between two turns.
        function: The Lambda function.
        rule: The EventBridge rule that calls it.
        dead_letter_queue: Turns after which runs remain that could not be deleted.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        interval: cdk.Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        self.interval = interval
        environment = RunPurgeEnvironment(
            home_region=cdk.Stack.of(self).region,
            table_name=store.table.table_name,
            media_bucket=store.media_bucket.bucket_name,
            raw_bucket=store.raw_bucket.bucket_name,
        )
        self.dead_letter_queue = dead_letter_queue(
            self, "DeadLetters", what="purges of runs", of_calls=True
        )
        self.function = python_function(
            self,
            "Purge",
            service=Service.RUN_PURGE,
            handler="purge.handler.handle",
            description="Deletes runs that were replaced and videos that were deleted",
            timeout=duration(TURN_TIME),
            failures=Accepted.FAILURES_TO_QUEUE,
            environment=environment.to_variables(),
        )
        store.grant_use_table(
            self.function,
            actions=[
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ],
            indexes=[table.DUE],
        )
        store.grant_purge_published(self.function)
        store.grant_purge_uploads(self.function)
        accept_wildcards(
            self.function,
            Accepted.PURGED_OBJECTS,
            store.media_objects_arn,
            store.raw_objects_arn,
        )
        self.rule = call_on_schedule(
            self,
            self.function,
            interval=interval,
            description="Looks for runs that were replaced and videos that were deleted",
            dead_letter_queue=self.dead_letter_queue,
            max_event_age=duration(_MAX_EVENT_AGE),
            retries=_RETRIES,
        )
