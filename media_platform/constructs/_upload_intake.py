"""From an uploaded object to a job: EventBridge rule, Lambda, and what becomes of failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._durations import duration
from media_platform.constructs._python_function import python_function
from media_platform.constructs._queues import dead_letter_queue
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs._worker_service import WorkerService
from media_platform.contract import table
from media_platform.contract.environment import UploadIntakeEnvironment
from media_platform.contract.object_keys import RAW_PREFIX
from media_platform.contract.scanning import scanners_to_json

_TIMEOUT = timedelta(seconds=60)
_RETRIES = 2
_MAX_EVENT_AGE = timedelta(hours=6)


class UploadIntake(Construct):
    """Takes every upload in: validates it, pins its version, sends the job, wakes the workers.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store whose raw bucket it listens to.
        express_queue: Where the jobs go that start a run.
        job_queue: Where all others go.
        workers: Service that it wakes.
        upload_max_bytes: Largest object that is accepted.

    Attributes:
        environment: Its variables, complete.
        workers: Service that it wakes.
        function: The Lambda function.
        rule: The EventBridge rule that calls it.
        dead_letter_queue: Events that could not be delivered or taken in, to be sent again.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        express_queue: sqs.IQueue,
        job_queue: sqs.IQueue,
        workers: WorkerService,
        upload_max_bytes: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.workers = workers
        self._store, self._express_queue = store, express_queue
        self.environment = UploadIntakeEnvironment(
            home_region=cdk.Stack.of(self).region,
            table_name=store.table.table_name,
            express_queue_url=express_queue.queue_url,
            queue_url=job_queue.queue_url,
            upload_max_bytes=upload_max_bytes,
            worker_cluster=workers.cluster.cluster_name,
            worker_service=workers.service_name,
            scanners=scanners_to_json({}),
            raw_bucket=store.raw_bucket.bucket_name,
        )
        self.dead_letter_queue = dead_letter_queue(
            self, "DeadLetters", what="upload events", of_calls=True
        )
        self.function = python_function(
            self,
            "Intake",
            service=Service.UPLOAD_INTAKE,
            handler="upload_intake.handler.handle",
            description="Takes uploads in and sends transcode jobs",
            timeout=duration(_TIMEOUT),
            failures=Accepted.FAILURES_TO_QUEUE,
            environment=self.environment.to_variables(),
        )
        lambda_.EventInvokeConfig(
            self,
            "Retries",
            function=self.function,
            retry_attempts=_RETRIES,
            max_event_age=duration(_MAX_EVENT_AGE),
            on_failure=destinations.SqsDestination(self.dead_letter_queue),
        )
        self.grant_take_in(self.function)
        iam.Grant.add_to_principal(
            grantee=self.function,
            actions=["sqs:SendMessage"],
            resource_arns=[job_queue.queue_arn],
        )
        accept_wildcards(
            self.function,
            Accepted.TAKEN_IN,
            store.raw_objects_arn,
            workers.scalable_targets_arn,
        )
        self.rule = events.Rule(
            self,
            "Uploads",
            description="Objects that were uploaded to the raw bucket",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [store.raw_bucket.bucket_name]},
                    "object": {"key": [{"prefix": RAW_PREFIX}]},
                },
            ),
            targets=[
                targets.LambdaFunction(
                    self.function,
                    dead_letter_queue=self.dead_letter_queue,
                    max_event_age=duration(_MAX_EVENT_AGE),
                )
            ],
        )

    def grant_take_in(
        self, grantee: iam.IGrantable, *, indexes: Sequence[table.Index] = ()
    ) -> None:
        """Let ``grantee`` take uploads in, send their jobs and wake the workers.

        Args:
            grantee: Who.
            indexes: Indexes of the table that it may query. Default: none.
        """
        self._store.grant_use_table(
            grantee,
            actions=[
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
            ],
            indexes=indexes,
        )
        self._store.grant_read_uploads(grantee)
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["sqs:SendMessage"],
            resource_arns=[self._express_queue.queue_arn],
        )
        self.workers.grant_wake(grantee)
