"""The transcode workers: a Fargate service that stands at zero until a job wakes it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._alarms import OperatorAlarm, watch_memory
from media_platform.constructs._durations import duration
from media_platform.constructs._fargate_task import fargate_service, fargate_task
from media_platform.constructs._media_cluster import AwsEndpoint
from media_platform.constructs._metrics import platform_metric
from media_platform.constructs._tracing import Tracing
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import metrics
from media_platform.contract.environment import WorkerEnvironment
from media_platform.contract.ladder import LadderRung, ladder_to_json

_STOP_TIMEOUT = timedelta(seconds=120)
_PERIOD = timedelta(minutes=1)
_EMPTY_MINUTES = 3
_FAILURE_PERIOD = timedelta(minutes=15)
_FAILED_PERCENT = 20
_FEW = 3
"""Fewer failures than this in a period say something of uploads, not of workers."""

_ONE_EACH = 4
"""Workers that come for one message each; beyond them, each comes for two."""

_FURTHER_STEPS = 15
"""Steps beyond :data:`_ONE_EACH` and the one of zero; a policy holds twenty in all."""

_BELOW = "LessThanOrEqualToThreshold"


@dataclass(frozen=True)
class ScalingStep:
    """Number of workers for a backlog.

    Attributes:
        backlog: Messages, visible and in flight, from which on it holds.
        workers: Number of workers.
    """

    backlog: int
    workers: int


def served_by(workers: int) -> int:
    """Return how many messages a number of workers serves, in flight and waiting.

    The first four workers come for one message each. Beyond them each gets two: the second takes
    some 15 seconds (16 of 1080p on four processors), and another worker would need a minute to
    start, and be paid for three more until it goes.

    Scaling in takes no worker that is needed. Of ``F`` in flight and ``V`` waiting messages
    ``(F + V) / 2`` workers are left, at least; those in flight are protected, and ``V <= F`` means
    that the others suffice for all that wait. With ``V > F`` there are more than before.
    """
    return workers if workers < _ONE_EACH else 2 * workers


def scaling_steps(
    max_workers: int, *, served: Callable[[int], int] = served_by
) -> list[ScalingStep]:
    """Return how many workers serve how many messages.

    A policy holds twenty steps at most. Up to four workers each number has one, and beyond them
    every step has the same share more than the one before: 18 % for 50 workers, so that hardly any
    comes for whom there is no message.

    Source: Application Auto Scaling User Guide, "Step scaling policies" and its quotas.

    Args:
        max_workers: Most workers.
        served: How many messages a number of workers serves. Default: :func:`served_by`.
    """
    counts = {workers for workers in range(1, _ONE_EACH + 1) if workers < max_workers}
    growth = (max_workers / _ONE_EACH) ** (1 / _FURTHER_STEPS)
    if growth > 1:
        counts |= {round(_ONE_EACH * growth**step) for step in range(1, _FURTHER_STEPS)}
    steps = [ScalingStep(0, 0)]
    backlog = 1
    for workers in sorted({*counts, max_workers}):
        steps.append(ScalingStep(backlog, workers))
        backlog = served(workers) + 1
    return steps


def scaling_intervals(
    max_workers: int, *, served: Callable[[int], int] = served_by
) -> list[scaling.ScalingInterval]:
    """Return :func:`scaling_steps` as a scaling policy takes them; arguments are the same.

    Both alarms of a policy include their threshold, so edges lie between whole numbers of messages:
    at an edge of 1, one message would call for one worker and for none.
    """
    steps = scaling_steps(max_workers, served=served)
    return [
        scaling.ScalingInterval(
            lower=step.backlog - 0.5 if step.backlog else None,
            upper=following.backlog - 0.5 if following else None,
            change=step.workers,
        )
        for step, following in zip(steps, [*steps[1:], None], strict=True)
    ]


class WorkerService(Construct):
    """The service, its task, its scaling, and who may wake it and let it rest.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage.
        cluster: Cluster that it runs in; ``FARGATE`` and ``FARGATE_SPOT`` must be its providers.
        store: Store that it reads and publishes to.
        express_queue: Queue of the jobs that start a run, which it looks at first.
        job_queue: Queue of the jobs of all further parts, to which it sends them, too.
        dead_letter_queue: Where it puts jobs that failed too often.
        visibility_timeout: Visibility of a job, which it renews at a third.
        max_workers: Most workers at a time.
        max_failures: Transient failures of a part of a run before the run is given up.
        max_duration: Longest video.
        max_pixels: Most pixels of a source frame.
        max_frame_rate: Most frames per second of a source.
        max_tenant_parts: Most parts that are worked on for one tenant at a time; 0 for any number.
        max_tenant_daily_cpu_seconds: Processor time of a tenant's transcodes of a day; 0 for any.
        chunk_duration: Length of a chunk of the picture.
        chunks_in_flight: Most chunks of one video in the queue at a time.
        ladder: The renditions that are made, highest first.
        measure_quality: Whether a VMAF sample of every rendition is taken.
        old_run_grace: Time that a run that was replaced is kept.
        idle: Time without a job after which a worker lets the service rest.
        image: Image that it runs instead of the one that is built.
        cpu_units: 1024 for one virtual CPU.
        memory_mebibytes: Memory.
        scratch_gibibytes: Disk.
        on_demand_weight: Share of workers that are not Spot, per four that are.
        tracing: Where their spans go. Default: nowhere.

    Attributes:
        cluster: The cluster.
        service: The ECS service.
        task: Its task definition.
        scaling: Its scalable target.
        service_name: Its physical name.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str,
        cluster: ecs.ICluster,
        store: VideoStoreBase,
        express_queue: sqs.Queue,
        job_queue: sqs.Queue,
        dead_letter_queue: sqs.Queue,
        visibility_timeout: cdk.Duration,
        max_workers: int,
        max_failures: int,
        max_duration: cdk.Duration,
        max_pixels: int,
        max_frame_rate: int,
        max_tenant_parts: int,
        max_tenant_daily_cpu_seconds: int,
        chunk_duration: cdk.Duration,
        chunks_in_flight: int,
        ladder: Sequence[LadderRung],
        measure_quality: bool,
        old_run_grace: cdk.Duration,
        idle: cdk.Duration,
        image: ecs.ContainerImage | None,
        cpu_units: int,
        memory_mebibytes: int,
        scratch_gibibytes: int | None,
        on_demand_weight: int,
        tracing: Tracing | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.cluster = cluster
        # The task definition has to name its own service, which CloudFormation knows only after
        # the task definition: hence a physical name, made from the path and so stable.
        self.service_name = cdk.Names.unique_resource_name(
            self, max_length=64, separator="-", allowed_special_characters="-"
        )
        environment = WorkerEnvironment(
            stage=stage,
            home_region=cdk.Stack.of(self).region,
            table_name=store.table.table_name,
            media_bucket=store.media_bucket.bucket_name,
            express_queue_url=express_queue.queue_url,
            queue_url=job_queue.queue_url,
            dead_letter_queue_url=dead_letter_queue.queue_url,
            visibility_timeout_seconds=int(visibility_timeout.to_seconds()),
            max_failures=max_failures,
            max_duration_seconds=int(max_duration.to_seconds()),
            max_pixels=max_pixels,
            max_frame_rate=max_frame_rate,
            max_tenant_parts=max_tenant_parts,
            max_tenant_daily_cpu_seconds=max_tenant_daily_cpu_seconds,
            chunk_seconds=int(chunk_duration.to_seconds()),
            chunks_in_flight=chunks_in_flight,
            ladder=ladder_to_json(ladder),
            measure_quality=int(measure_quality),
            old_run_seconds=int(old_run_grace.to_seconds()),
            scalable_target=f"service/{cluster.cluster_name}/{self.service_name}",
            idle_seconds=int(idle.to_seconds()),
        )
        self.task = fargate_task(
            self,
            "Task",
            service=Service.WORKER,
            image=image,
            command=["python", "-m", "media_worker"],
            environment=environment.to_variables(),
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            scratch_gibibytes=scratch_gibibytes,
            stop_timeout=duration(_STOP_TIMEOUT),
            tracing=tracing,
        )
        self.service = fargate_service(
            self,
            service_name=self.service_name,
            cluster=cluster,
            task=self.task,
            # What protects it from scaling in is asked of the agent of its task.
            calls=[AwsEndpoint.SQS, AwsEndpoint.APPLICATION_AUTOSCALING],
            desired_count=0,
            # A worker that is replaced hands its job back, so none has to stay for a deployment.
            min_healthy_percent=0,
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(capacity_provider="FARGATE_SPOT", weight=4),
                ecs.CapacityProviderStrategy(capacity_provider="FARGATE", weight=on_demand_weight),
            ],
            tracing=tracing,
        )
        self.scaling = self.service.auto_scale_task_count(min_capacity=0, max_capacity=max_workers)
        self._scale(backlog_metric(express_queue, job_queue), max_workers)
        self._grant(store, (express_queue, job_queue), job_queue, dead_letter_queue)
        self._watch(stage)
        if max_tenant_daily_cpu_seconds:
            self._watch_budgets(stage)

    def grant_wake(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` raise the least number of workers and start the first.

        Registering a scalable target checks the caller's permissions on the service, too.

        Source: Application Auto Scaling User Guide, "Identity-based policy examples".
        """
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["application-autoscaling:RegisterScalableTarget"],
            resource_arns=[self.scalable_targets_arn],
            # The ids of targets are random, so it is these keys that keep other services out.
            conditions={
                "StringEqualsIfExists": {
                    "application-autoscaling:service-namespace": "ecs",
                    "application-autoscaling:scalable-dimension": "ecs:service:DesiredCount",
                }
            },
        )
        return _add(grantee, ["ecs:DescribeServices", "ecs:UpdateService"], self._service_arn)

    def grant_rest(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` lower the least number of workers to zero again."""
        return self.grant_wake(grantee)

    @functools.cached_property
    def _service_arn(self) -> str:
        return self._ecs_arn("service", self.service_name)

    @functools.cached_property
    def scalable_targets_arn(self) -> str:
        """ARN of the scalable target."""
        # The id of a scalable target is not known to CloudFormation.
        return cdk.Stack.of(self).format_arn(
            service="application-autoscaling", resource="scalable-target", resource_name="*"
        )

    def _ecs_arn(self, resource: str, name: str) -> str:
        return cdk.Stack.of(self).format_arn(
            service="ecs", resource=resource, resource_name=f"{self.cluster.cluster_name}/{name}"
        )

    def _scale(self, backlog: cloudwatch.IMetric, max_workers: int) -> None:
        """Follow the backlog; from zero on, the intake wakes the service, since metrics lag.

        Going to zero takes several empty minutes in a row: counts of SQS are approximate, and a
        message that passes from one state to another may be in neither for a moment.
        """
        self.scaling.scale_on_metric(
            "Backlog",
            metric=backlog,
            adjustment_type=scaling.AdjustmentType.EXACT_CAPACITY,
            cooldown=duration(_PERIOD),
            evaluation_periods=1,
            scaling_steps=scaling_intervals(max_workers),
        )
        for part in self.scaling.node.find_all():
            # The L2 gives both alarms of a policy the same number of periods.
            if isinstance(part, cloudwatch.CfnAlarm) and part.comparison_operator == _BELOW:
                part.evaluation_periods = part.datapoints_to_alarm = _EMPTY_MINUTES

    def _watch(self, stage: str) -> None:
        watch_memory(self, self.service, what="the workers")
        failed, completed = (
            platform_metric(stage, name, period=duration(_FAILURE_PERIOD))
            for name in (metrics.JOBS_FAILED, metrics.JOBS_COMPLETED)
        )
        OperatorAlarm(
            self,
            "VideosFail",
            metric=cloudwatch.MathExpression(
                label="Videos that fail in per cent",
                expression=f"IF(failed >= {_FEW}, 100 * failed / (failed + FILL(completed, 0)), 0)",
                period=duration(_FAILURE_PERIOD),
                using_metrics={"failed": failed, "completed": completed},
            ),
            above=_FAILED_PERCENT,
            description=f"More than {_FAILED_PERCENT} % of the videos fail; the log of the workers "
            "says why",
        )

    def _watch_budgets(self, stage: str) -> None:
        OperatorAlarm(
            self,
            "VideosHeldBack",
            metric=platform_metric(
                stage, metrics.TRANSCODES_HELD_BACK, period=duration(_FAILURE_PERIOD)
            ),
            above=0,
            description="Videos wait since their tenant spent its processor time of the day; "
            "`mediactl costs breaker` names it, and `mediactl costs lift` lets it go on",
        )

    def _grant(
        self,
        store: VideoStoreBase,
        received: Sequence[sqs.IQueue],
        job_queue: sqs.IQueue,
        dead_letter_queue: sqs.IQueue,
    ) -> None:
        role = self.task.task_role
        store.grant_use_table(
            role,
            actions=[
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ],
        )
        store.grant_read_uploads(role)
        store.grant_read_pictures(role)
        store.grant_publish(role)
        store.grant_read_published(role)
        _add(
            role,
            ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"],
            *(queue.queue_arn for queue in received),
        )
        _add(role, ["sqs:SendMessage"], job_queue.queue_arn, dead_letter_queue.queue_arn)
        _add(role, ["ecs:UpdateTaskProtection"], self._ecs_arn("task", "*"))
        self.grant_rest(role)
        accept_wildcards(
            role,
            Accepted.WORKER_OBJECTS,
            store.raw_objects_arn,
            store.pictures_arn,
            store.media_objects_arn,
            self._ecs_arn("task", "*"),
            self.scalable_targets_arn,
        )


def backlog_metric(*queues: sqs.IQueue) -> cloudwatch.MathExpression:
    """Return the messages that wait or are worked on, as the largest number within a minute.

    It has no value in a minute in which one of the parts has none: a number that is too small
    would take workers that are busy. Workers look at all queues, so their metrics come and go
    together.
    """
    parts = [
        metric
        for queue in queues
        for metric in (
            queue.metric_approximate_number_of_messages_visible(
                statistic="Maximum", period=duration(_PERIOD)
            ),
            queue.metric_approximate_number_of_messages_not_visible(
                statistic="Maximum", period=duration(_PERIOD)
            ),
        )
    ]
    named = {f"m{number}": metric for number, metric in enumerate(parts, start=1)}
    return cloudwatch.MathExpression(
        label="Backlog", expression="+".join(named), period=duration(_PERIOD), using_metrics=named
    )


def _add(grantee: iam.IGrantable, actions: list[str], *resources: str) -> iam.Grant:
    return iam.Grant.add_to_principal(
        grantee=grantee, actions=actions, resource_arns=list(resources)
    )
