"""A Fargate service that answers HTTP: its task, how it is deployed, and how it scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._alarms import OperatorAlarm, watch_memory
from media_platform.constructs._checks import check_range, reject
from media_platform.constructs._durations import duration
from media_platform.constructs._fargate_task import fargate_service, fargate_task
from media_platform.constructs._media_cluster import AwsEndpoint
from media_platform.constructs._tracing import Tracing
from media_platform.contract.environment import API_PORT

_STOP_TIMEOUT = timedelta(seconds=30)
_HEALTH_CHECK_GRACE_PERIOD = timedelta(seconds=30)
_TARGET_PERCENT = 60
"""Use of a task that scaling aims at: what is left is for the minutes that a new one takes."""

_REQUESTS_PER_SECOND = 1400
"""Reads that a virtual CPU answers when each goes to the table, the slowest that clients do often
(``uncached_read_cpu`` of ``bench/api.py``); from memory it answers more than four times as many."""

_BUSY_PERCENT = 80
_MOST_REQUESTS = 10_000_000


class HttpService(Construct):
    """A service of the API's image that is never at zero.

    Old tasks stay until new ones are healthy, a deployment whose tasks are not is taken back, and
    tasks come and go with the CPU they use and the requests they get. When a zone has more than
    its share of them, they are spread again.

    Args:
        scope: Parent.
        construct_id: Id in it.
        cluster: Cluster that it runs in.
        name: Name of the container and of its log streams.
        command: What the container runs.
        environment: Its variables, complete.
        calls: The services of AWS that it calls, without S3 and DynamoDB.
        min_tasks: Fewest tasks.
        max_tasks: Most tasks.
        cpu_units: 1024 for one virtual CPU.
        memory_mebibytes: Memory.
        requests_per_minute: Requests of a task beyond which there are more tasks. Default: 60 % of
            what a task of its size bears.
        tracing: Where its spans go. Default: nowhere.

    Attributes:
        service: The ECS service.
        task: Its task definition.
        scaling: Its scalable target.

    Raises:
        ValueError: If the numbers of tasks contradict each other.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: ecs.ICluster,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        calls: Sequence[AwsEndpoint],
        min_tasks: int,
        max_tasks: int,
        cpu_units: int,
        memory_mebibytes: int,
        requests_per_minute: int | None,
        tracing: Tracing | None,
    ) -> None:
        super().__init__(scope, construct_id)
        if not 1 <= min_tasks <= max_tasks:
            raise reject(
                self,
                f"min_tasks is {min_tasks} and max_tasks {max_tasks}, allowed is "
                "1 <= min_tasks <= max_tasks; a service at zero answers nobody",
            )
        if requests_per_minute is not None:
            check_range(
                self,
                "requests_per_minute",
                requests_per_minute,
                (1, _MOST_REQUESTS),
                "it is what one task gets before there is another",
            )
        self.task = fargate_task(
            self,
            "Task",
            service=Service.API,
            name=name,
            command=command,
            environment=environment,
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            port=API_PORT,
            stop_timeout=duration(_STOP_TIMEOUT),
            tracing=tracing,
        )
        self.service = fargate_service(
            self,
            cluster=cluster,
            task=self.task,
            calls=calls,
            desired_count=min_tasks,
            health_check_grace_period=duration(_HEALTH_CHECK_GRACE_PERIOD),
            spread_again=True,
            tracing=tracing,
        )
        self.scaling = self.service.auto_scale_task_count(
            min_capacity=min_tasks, max_capacity=max_tasks
        )
        self.scaling.scale_on_cpu_utilization("Cpu", target_utilization_percent=_TARGET_PERCENT)
        self._requests_per_minute = requests_per_minute or _requests_per_minute(cpu_units)
        OperatorAlarm(
            self,
            "ProcessorBusy",
            metric=self.service.metric_cpu_utilization(),
            above=_BUSY_PERCENT,
            periods=3,
            description=f"Tasks of {name} are busy beyond {_BUSY_PERCENT} %; allow more max_tasks",
        )
        watch_memory(self, self.service, what=name)

    def scale_on_requests(self, targets: elbv2.ApplicationTargetGroup) -> None:
        """Have more tasks when each gets more requests than it should.

        CPU alone tells late of tasks that wait for others, and is smoothed over minutes.

        Args:
            targets: Its tasks, as the load balancer knows them.
        """
        self.scaling.scale_on_request_count(
            "Requests", requests_per_target=self._requests_per_minute, target_group=targets
        )


def _requests_per_minute(cpu_units: int) -> int:
    return cpu_units * _REQUESTS_PER_SECOND * 60 * _TARGET_PERCENT // (1024 * 100)
