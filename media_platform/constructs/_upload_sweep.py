"""What was left of uploads and jobs: a schedule, the Lambda that looks after it, what it may do."""

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
from media_platform.constructs._upload_intake import UploadIntake
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table
from media_platform.contract.environment import UploadSweepEnvironment

_TIMEOUT = timedelta(minutes=5)
_MAX_EVENT_AGE = timedelta(hours=1)


class UploadSweep(Construct):
    """Finds uploads that nobody finished and runs that no worker took.

    Every region has one, for the videos that are at home there.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store of this region.
        intake: What takes uploads in; it does what the intake should have done.
        interval: Time between two turns, whole minutes.
        max_tenant_daily_cpu_seconds: As the workers have it; 0 for any.

    Attributes:
        function: The Lambda function.
        rule: The EventBridge rule that calls it.
        dead_letter_queue: Turns after which something was left that could not be looked after.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        intake: UploadIntake,
        interval: cdk.Duration,
        max_tenant_daily_cpu_seconds: int,
    ) -> None:
        super().__init__(scope, construct_id)
        environment = UploadSweepEnvironment(
            **vars(intake.environment),
            interval_minutes=int(interval.to_minutes()),
            max_tenant_daily_cpu_seconds=max_tenant_daily_cpu_seconds,
        )
        self.dead_letter_queue = dead_letter_queue(
            self, "DeadLetters", what="sweeps of uploads", of_calls=True
        )
        self.function = python_function(
            self,
            "Sweep",
            service=Service.UPLOAD_INTAKE,
            handler="upload_intake.sweep.handle",
            description="Looks after uploads and jobs that were left",
            timeout=duration(_TIMEOUT),
            failures=Accepted.FAILURES_TO_QUEUE,
            environment=environment.to_variables(),
        )
        intake.grant_take_in(self.function, indexes=[table.DUE, table.IN_FLIGHT])
        store.grant_clear_uploads(self.function)
        if max_tenant_daily_cpu_seconds:
            store.grant_use_table(self.function, actions=["dynamodb:Query"])
        accept_wildcards(
            self.function,
            Accepted.LEFT_UPLOADS,
            store.raw_objects_arn,
            intake.workers.scalable_targets_arn,
        )
        self.rule = call_on_schedule(
            self,
            self.function,
            interval=interval,
            description="Looks for uploads and jobs that were left",
            dead_letter_queue=self.dead_letter_queue,
            max_event_age=duration(_MAX_EVENT_AGE),
        )
