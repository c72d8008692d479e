"""A Fargate service that answers HTTP: its task, how it is deployed, and how it scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._alarms import OperatorAlarm, watch_memory
from media_platform.constructs._checks import reject
from media_platform.constructs._fargate_task import fargate_service, fargate_task
from media_platform.constructs._media_cluster import AwsEndpoint
from media_platform.contract.environment import API_PORT

_STOP_TIMEOUT = cdk.Duration.seconds(30)
_HEALTH_CHECK_GRACE_PERIOD = cdk.Duration.seconds(30)
_CPU_TARGET_PERCENT = 60
_BUSY_PERCENT = 80


class HttpService(Construct):
    """A service of the API's image that is never at zero.

    Old tasks stay until new ones are healthy, a deployment whose tasks are not is taken back, and
    tasks come and go with the CPU they use.

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

    Attributes:
        service: The ECS service.
        task: Its task definition.

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
    ) -> None:
        super().__init__(scope, construct_id)
        if not 1 <= min_tasks <= max_tasks:
            raise reject(
                self,
                f"min_tasks is {min_tasks} and max_tasks {max_tasks}, allowed is "
                "1 <= min_tasks <= max_tasks; a service at zero answers nobody",
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
            stop_timeout=_STOP_TIMEOUT,
        )
        self.service = fargate_service(
            self,
            cluster=cluster,
            task=self.task,
            calls=calls,
            desired_count=min_tasks,
            health_check_grace_period=_HEALTH_CHECK_GRACE_PERIOD,
        )
        scaling = self.service.auto_scale_task_count(min_capacity=min_tasks, max_capacity=max_tasks)
        scaling.scale_on_cpu_utilization("Cpu", target_utilization_percent=_CPU_TARGET_PERCENT)
        OperatorAlarm(
            self,
            "ProcessorBusy",
            metric=self.service.metric_cpu_utilization(),
            above=_BUSY_PERCENT,
            periods=3,
            description=f"Tasks of {name} are busy beyond {_BUSY_PERCENT} %; allow more max_tasks",
        )
        watch_memory(self, self.service, what=name)
