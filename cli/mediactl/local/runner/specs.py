"""What is deployed: services and task definitions, as far as the runner acts on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_STOP_SECONDS = 30
"""Time between SIGTERM and SIGKILL when the task definition names none, as on ECS."""


@dataclass(frozen=True)
class TargetGroupUse:
    """That tasks of a service are targets of a load balancer.

    Attributes:
        arn: Target group.
        container_port: Port of the container that it sends requests to.
    """

    arn: str
    container_port: int


@dataclass(frozen=True)
class ServiceSpec:
    """A service.

    Attributes:
        arn: Its ARN.
        name: Its name.
        cluster_arn: Its cluster.
        task_definition: ARN of the task definition that its tasks should have.
        desired: Number of tasks that should run.
        minimum_healthy_percent: Share of ``desired`` that stays healthy in a deployment.
        maximum_percent: Share of ``desired`` that may exist in a deployment.
        target_groups: Load balancing.
        grace_seconds: Time after the start of a task in which health checks do not replace it.
    """

    arn: str
    name: str
    cluster_arn: str
    task_definition: str
    desired: int
    minimum_healthy_percent: int = 100
    maximum_percent: int = 200
    target_groups: tuple[TargetGroupUse, ...] = ()
    grace_seconds: int = 0

    @property
    def region(self) -> str:
        """Region of the service."""
        return self.arn.split(":")[3]


@dataclass(frozen=True)
class SecretSource:
    """A variable whose value stands in Secrets Manager or in the parameter store.

    Attributes:
        name: The variable.
        value_from: Where its value is, as the task definition says.
    """

    name: str
    value_from: str


@dataclass(frozen=True)
class TaskSpec:
    """A task definition with its one container.

    Attributes:
        arn: Its ARN.
        family: Its family.
        image_tag: Tag of the image, which is the hash of the asset that it was built from.
        container: Name of the container.
        command: Command, as deployed.
        environment: Environment, as deployed.
        secrets: Variables whose values stand elsewhere.
        container_port: Port that the container listens on, ``None`` when it listens on none.
        stop_seconds: Time between SIGTERM and SIGKILL.
        task_role: ARN of the role that the code acts with, or ``""``.
        execution_role: ARN of the role that ECS reads secrets with, or ``""``.
        cpu: CPU units of the task, as deployed.
        memory: Memory of the task in MiB, as deployed.
    """

    arn: str
    family: str
    image_tag: str
    container: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: tuple[SecretSource, ...]
    container_port: int | None
    stop_seconds: int
    task_role: str
    execution_role: str
    cpu: str = ""
    memory: str = ""
    region: str = field(default="")


def service_spec(service: Mapping[str, Any]) -> ServiceSpec:
    """Read a service as DescribeServices answers it."""
    deployment = service.get("deploymentConfiguration") or {}
    return ServiceSpec(
        arn=service["serviceArn"],
        name=service["serviceName"],
        cluster_arn=service["clusterArn"],
        task_definition=service["taskDefinition"],
        desired=int(service["desiredCount"]),
        minimum_healthy_percent=int(deployment.get("minimumHealthyPercent", 100)),
        maximum_percent=int(deployment.get("maximumPercent", 200)),
        target_groups=tuple(
            TargetGroupUse(group["targetGroupArn"], int(group["containerPort"]))
            for group in service.get("loadBalancers") or []
            if group.get("targetGroupArn")
        ),
        grace_seconds=int(service.get("healthCheckGracePeriodSeconds") or 0),
    )


def task_spec(definition: Mapping[str, Any]) -> TaskSpec:
    """Read a task definition as DescribeTaskDefinition answers it.

    Containers that a task can do without are left out: their images come from elsewhere.

    Raises:
        ValueError: If it has several others, or one without an explicit command.
    """
    arn = str(definition["taskDefinitionArn"])
    containers = [one for one in definition["containerDefinitions"] if one.get("essential", True)]
    if len(containers) != 1:
        raise ValueError(
            f"task definition {arn} has {len(containers)} essential containers; the local plane "
            "runs tasks of one"
        )
    container = containers[0]
    command = [*(container.get("entryPoint") or []), *(container.get("command") or [])]
    if not command:
        raise ValueError(
            f"container {container['name']!r} of {arn} has no command; name it in the task "
            "definition, since no image is built here that could hold one"
        )
    ports = container.get("portMappings") or []
    return TaskSpec(
        arn=arn,
        family=definition["family"],
        image_tag=str(container["image"]).rpartition(":")[2],
        container=container["name"],
        command=tuple(command),
        environment={entry["name"]: entry["value"] for entry in container.get("environment") or []},
        secrets=tuple(
            SecretSource(entry["name"], entry["valueFrom"])
            for entry in container.get("secrets") or []
        ),
        container_port=int(ports[0]["containerPort"]) if ports else None,
        stop_seconds=int(container.get("stopTimeout") or DEFAULT_STOP_SECONDS),
        task_role=definition.get("taskRoleArn") or "",
        execution_role=definition.get("executionRoleArn") or "",
        cpu=str(definition.get("cpu", "")),
        memory=str(definition.get("memory", "")),
        region=arn.split(":")[3],
    )
