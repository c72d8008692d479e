"""The scanner that asks ClamAV: a Fargate service of which one task is always there."""

from __future__ import annotations

from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._alarms import watch_memory
from media_platform.constructs._checks import check_range, in_bytes, reject
from media_platform.constructs._fargate_task import SCRATCH_PATH, fargate_service, fargate_task
from media_platform.constructs._media_cluster import AwsEndpoint, MediaCluster, Network
from media_platform.constructs._scanning import Scanner
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs._worker_service import backlog_metric, scaling_intervals
from media_platform.contract.environment import CLAMAV_READY_FILE, ClamAvScannerEnvironment
from media_platform.contract.scanning import Unscanned

CLAMAV_VISIBILITY = timedelta(minutes=1)
"""Visibility of its requests: a task that dies is noticed that soon, those alive renew it."""

CLAMAV_MOST_MEBIBYTES = 2047
"""ClamAV looks at no file of 2 GiB or more (clamd.conf(5), ``MaxFileSize``)."""

_MIRROR = "database.clamav.net"
_BACKLOG_PER_TASK = 20
"""Requests that a task works off in half a minute, when files have some ten megabytes."""


class ClamAvScanner(Construct):
    """ClamAV as a service that judges every upload; made by ``add_clamav_scanner``.

    Attributes:
        scanner: Its queues.
        service: The ECS service.
        task: Its task definition.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        scanner: Scanner,
        store: VideoStoreBase,
        cluster: ecs.ICluster,
        min_tasks: int,
        max_tasks: int,
        max_scan: cdk.Size,
        unscanned: str,
        signature_mirror: str | None,
        cpu_units: int,
        memory_mebibytes: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self._check(min_tasks, max_tasks, max_scan, unscanned)
        if (
            signature_mirror is None
            and isinstance(cluster, MediaCluster)
            and cluster.network is Network.ENDPOINTS
        ):
            raise reject(
                self,
                f"signature_mirror is missing, but network is 'endpoints', from where {_MIRROR} "
                "cannot be reached; name a mirror within the network",
            )
        self.scanner = scanner
        environment = ClamAvScannerEnvironment(
            home_region=cdk.Stack.of(self).region,
            queue_url=scanner.queue.queue_url,
            visibility_timeout_seconds=int(CLAMAV_VISIBILITY.total_seconds()),
            max_scan_bytes=int(max_scan.to_bytes()),
            unscanned=Unscanned(unscanned),
            signature_mirror=signature_mirror or _MIRROR,
        )
        self.task = fargate_task(
            self,
            "Task",
            service=Service.CLAMAV_SCANNER,
            command=["python", "-m", "clamav_scan"],
            environment=environment.to_variables(),
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            stop_timeout=cdk.Duration.seconds(30),
            # The old task stays until the new one has its signatures.
            health_check=ecs.HealthCheck(
                command=["CMD", "test", "-e", f"{SCRATCH_PATH}/{CLAMAV_READY_FILE}"],
                interval=cdk.Duration.seconds(10),
                timeout=cdk.Duration.seconds(5),
                retries=10,
                start_period=cdk.Duration.seconds(300),
            ),
        )
        self.service = fargate_service(
            self,
            cluster=cluster,
            task=self.task,
            calls=[AwsEndpoint.SQS],
            desired_count=min_tasks,
            capacity_provider_strategies=[
                # Every upload waits for the first, so it does not depend on spare capacity.
                ecs.CapacityProviderStrategy(capacity_provider="FARGATE", base=1, weight=1),
                ecs.CapacityProviderStrategy(capacity_provider="FARGATE_SPOT", weight=4),
            ],
        )
        self._scale(min_tasks, max_tasks)
        watch_memory(self, self.service, what="ClamAV")
        scanner.grant_scan(self.task.task_role)
        accept_wildcards(self.task.task_role, Accepted.JUDGED_UPLOADS, store.raw_objects_arn)

    def _check(self, min_tasks: int, max_tasks: int, max_scan: cdk.Size, unscanned: str) -> None:
        check_range(
            self,
            "min_tasks",
            min_tasks,
            (1, max_tasks),
            "a scanner that stands at zero lets the first upload wait for two minutes",
        )
        check_range(self, "max_tasks", max_tasks, (1, 1000), "split the load over regions")
        check_range(
            self,
            "max_scan in bytes",
            in_bytes(self, "max_scan", max_scan),
            (1, CLAMAV_MOST_MEBIBYTES * 2**20),
            "ClamAV looks at no larger file",
        )
        if unscanned not in set(Unscanned):
            raise reject(
                self,
                f"unscanned is {unscanned!r}, allowed are {', '.join(Unscanned)}; say what becomes "
                "of files that ClamAV does not scan",
            )

    def _scale(self, min_tasks: int, max_tasks: int) -> None:
        """Follow the backlog; a task that goes while it is busy gives its files back."""
        target = self.service.auto_scale_task_count(min_capacity=min_tasks, max_capacity=max_tasks)
        target.scale_on_metric(
            "Backlog",
            metric=backlog_metric(self.scanner.queue),
            adjustment_type=scaling.AdjustmentType.EXACT_CAPACITY,
            cooldown=cdk.Duration.minutes(1),
            evaluation_periods=2,
            scaling_steps=scaling_intervals(max_tasks, served=_served_by),
        )


def _served_by(tasks: int) -> int:
    """Return how many requests a number of tasks serves: another comes for twenty of its own."""
    return _BACKLOG_PER_TASK * (tasks + 1) - 1
