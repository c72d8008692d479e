"""What a stage consists of, read from its synthesized templates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from mediactl.deploying.assembly import AssemblyStack

SERVICE = "AWS::ECS::Service"
TASK = "AWS::ECS::TaskDefinition"
TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
ALARM = "AWS::CloudWatch::Alarm"

_WORKER_COMMAND = "media_worker"
"""Module that the containers of workers run."""


@dataclass(frozen=True)
class Resource:
    """One resource of a template.

    Attributes:
        stack: Path of its stack in the app.
        region: Region of the stack.
        name: Logical id.
        type: Type of CloudFormation.
        properties: Its properties; what is only known once it is deployed is a table.
    """

    stack: str
    region: str
    name: str
    type: str
    properties: Mapping[str, Any]

    def number(self, name: str, default: float) -> float:
        """Return a property that is a number or a text of one."""
        value = self.properties.get(name, default)
        return default if isinstance(value, dict) else float(value)


@dataclass(frozen=True)
class TaskService:
    """A service of ECS with its task.

    Attributes:
        resource: The service.
        cpus: Virtual CPUs of a task.
        gb: Memory of a task, GB.
        storage_gb: Disk of a task, GB.
        arm: Whether it runs on ARM.
        least: Tasks that always run.
        most: Tasks that may run.
        spot: Share of the tasks that runs on Spot.
        has_address: Whether each task has a public IPv4 address.
        command: What its first container runs.
        variables: Environment of that container, as far as it is known.
        steps: How many tasks so many messages ask for: least number of messages, and tasks.
        target_requests: Requests a minute that a task is to get; 0 if it is not scaled by them.
    """

    resource: Resource
    cpus: float
    gb: float
    storage_gb: float
    arm: bool
    least: float
    most: float
    spot: float
    has_address: bool
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[tuple[float, float], ...] = ()
    target_requests: float = 0

    @property
    def region(self) -> str:
        """Its region."""
        return self.resource.region

    @property
    def is_worker(self) -> bool:
        """Whether its tasks transcode."""
        return _WORKER_COMMAND in self.command

    def tasks_for(self, messages: float) -> float:
        """Return the tasks that so many messages ask for."""
        asked = [tasks for least, tasks in self.steps if messages >= least]
        return max(1.0, min(max(asked, default=1.0), self.most))


class Stage:
    """The resources of all stacks of a stage.

    Args:
        stacks: Its stacks.
    """

    def __init__(self, stacks: Iterable[AssemblyStack]) -> None:
        self.resources = [
            resource
            for stack in stacks
            for resource in _resources(stack.id, stack.region, stack.template)
        ]

    @classmethod
    def of_template(cls, stack: str, region: str, template: Mapping[str, Any]) -> Self:
        """Return what one template has."""
        stage = cls([])
        stage.resources = _resources(stack, region, template)
        return stage

    def of(self, *types: str, region: str | None = None) -> list[Resource]:
        """Return the resources of some types, of one region or of all."""
        return [
            resource
            for resource in self.resources
            if resource.type in types and region in {None, resource.region}
        ]

    @cached_property
    def regions(self) -> list[str]:
        """Regions that take uploads and requests, as they are deployed; all if none does."""
        busy = {resource.region for resource in self.of(SERVICE)}
        every = dict.fromkeys(resource.region for resource in self.resources)
        return [region for region in every if region in busy or not busy]

    @property
    def share(self) -> float:
        """What a region gets of the workload: as much as any other."""
        return 1 / max(1, len(self.regions))

    @cached_property
    def services(self) -> list[TaskService]:
        """The services of ECS."""
        return [self._service(resource) for resource in self.of(SERVICE)]

    @cached_property
    def worker(self) -> TaskService | None:
        """Service of the workers; those of all regions are alike."""
        return next((service for service in self.services if service.is_worker), None)

    def _service(self, service: Resource) -> TaskService:
        task = self._named(TASK, service, "TaskDefinition")
        target = self._scaled_by(TARGET, service)
        policies = [] if target is None else self._policies(target)
        container = (task.properties.get("ContainerDefinitions") or [{}])[0] if task else {}
        least = service.number("DesiredCount", 1)
        most = least
        if target is not None:
            least = max(least, target.number("MinCapacity", least))
            most = target.number("MaxCapacity", least)
        network = service.properties.get("NetworkConfiguration", {}).get("AwsvpcConfiguration", {})
        platform = task.properties.get("RuntimePlatform", {}) if task else {}
        storage = task.properties.get("EphemeralStorage", {}) if task else {}
        return TaskService(
            resource=service,
            cpus=(task.number("Cpu", 1024) if task else 1024) / 1024,
            gb=(task.number("Memory", 2048) if task else 2048) / 1024,
            storage_gb=float(storage.get("SizeInGiB", 0)),
            arm=platform.get("CpuArchitecture") == "ARM64",
            least=least,
            most=most,
            spot=_spot_share(service),
            has_address=network.get("AssignPublicIp") == "ENABLED",
            command=tuple(str(word) for word in container.get("Command", ())),
            variables=_variables(container),
            steps=self._steps(policies),
            target_requests=_target_requests(policies),
        )

    def _named(self, kind: str, resource: Resource, name: str) -> Resource | None:
        """Return the resource of the same stack that a property refers to."""
        wanted = references(resource.properties.get(name))
        return next(
            (one for one in self.of(kind) if one.stack == resource.stack and one.name in wanted),
            None,
        )

    def _scaled_by(self, kind: str, service: Resource) -> Resource | None:
        """Return what scales a service: the target whose resource id is made of its name."""
        for target in self.of(kind):
            wanted = references(target.properties.get("ResourceId"))
            if target.stack == service.stack and service.name in wanted:
                return target
        return None

    def _policies(self, target: Resource) -> list[Resource]:
        return [
            policy
            for policy in self.of(POLICY)
            if policy.stack == target.stack
            and target.name in references(policy.properties.get("ScalingTargetId"))
        ]

    def _steps(self, policies: list[Resource]) -> tuple[tuple[float, float], ...]:
        """Return how many tasks so many messages ask for, from the alarms of step policies."""
        steps = []
        for policy in policies:
            scaling = policy.properties.get("StepScalingPolicyConfiguration", {})
            alarm = next(
                (
                    alarm
                    for alarm in self.of(ALARM)
                    if alarm.stack == policy.stack
                    and policy.name in references(alarm.properties.get("AlarmActions"))
                ),
                None,
            )
            if alarm is None or scaling.get("AdjustmentType") != "ExactCapacity":
                continue
            threshold = alarm.number("Threshold", 0)
            for step in scaling.get("StepAdjustments", ()):
                if "MetricIntervalLowerBound" in step:
                    least = threshold + float(step["MetricIntervalLowerBound"])
                    steps.append((least, float(step["ScalingAdjustment"])))
        return tuple(sorted(steps))


def _resources(stack: str, region: str, template: Mapping[str, Any]) -> list[Resource]:
    return [
        Resource(stack, region, name, made["Type"], made.get("Properties") or {})
        for name, made in template.get("Resources", {}).items()
    ]


def references(value: Any) -> set[str]:
    """Return the logical ids that a value refers to, however deep."""
    if isinstance(value, dict):
        found = set()
        if isinstance(value.get("Ref"), str):
            found.add(value["Ref"])
        attribute = value.get("Fn::GetAtt")
        if isinstance(attribute, list):
            found.add(str(attribute[0]))
        return found.union(*(references(one) for one in value.values()))
    if isinstance(value, list):
        return set[str]().union(*(references(one) for one in value))
    return set()


def ladder_of(worker: TaskService | None) -> list[tuple[int, float]]:
    """Return the rungs that workers encode: short side, and kilobits per second at most."""
    text = worker.variables.get("LADDER") if worker else None
    if text is None:
        return []
    return [(rung["short_side"], float(rung["peak_kilobits"])) for rung in json.loads(text)]


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    return {
        one["Name"]: one["Value"]
        for one in container.get("Environment", ())
        if isinstance(one["Value"], str)
    }


def _spot_share(service: Resource) -> float:
    strategy = service.properties.get("CapacityProviderStrategy", [])
    weights = {one["CapacityProvider"]: float(one.get("Weight", 0)) for one in strategy}
    total = sum(weights.values())
    return weights.get("FARGATE_SPOT", 0) / total if total else 0.0


def _target_requests(policies: list[Resource]) -> float:
    for policy in policies:
        tracking = policy.properties.get("TargetTrackingScalingPolicyConfiguration", {})
        metric = tracking.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
        if metric == "ALBRequestCountPerTarget":
            return float(tracking["TargetValue"])
    return 0.0
