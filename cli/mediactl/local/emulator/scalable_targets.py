"""Scalable targets and scaling policies: one store for the API and for CloudFormation.

Names of fields are those of the Application Auto Scaling API, so that records are answers.
Source: Application Auto Scaling API Reference, RegisterScalableTarget and PutScalingPolicy.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

ECS_NAMESPACE = "ecs"
ECS_DIMENSION = "ecs:service:DesiredCount"

Scope = tuple[str, str]
"""Account and region."""

TargetKey = tuple[str, str, str]
"""Service namespace, resource id and scalable dimension."""


class ScalingError(Exception):
    """A call that the API refuses.

    Attributes:
        code: Error code of the API.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ServiceCapacity(Protocol):
    """The capacity that a scalable target moves: the desired count of an ECS service."""

    def read(self, resource_id: str) -> int | None:
        """Return the desired count, ``None`` when there is no such service."""

    def write(self, resource_id: str, desired: int) -> None:
        """Set the desired count."""


class ScalableTargets:
    """The scalable targets and policies of all accounts and regions.

    Invariant: after a target was registered, the capacity of its service lies within
    ``MinCapacity`` and ``MaxCapacity``, unless scaling that way is suspended.
    """

    def __init__(self, capacity: ServiceCapacity, *, now: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._now = now
        self._lock = threading.RLock()
        self._targets: dict[Scope, dict[TargetKey, dict[str, Any]]] = {}
        self._policies: dict[Scope, dict[tuple[TargetKey, str], dict[str, Any]]] = {}

    def register(self, scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        """Register or change a target, and move the service into its bounds.

        Only what the request names is changed of a target that exists.

        Raises:
            ScalingError: If the request is not valid or the service does not exist.
        """
        key = target_key(request)
        with self._lock:
            known = self._targets.get(scope, {}).get(key)
            if known is None and not {"MinCapacity", "MaxCapacity"} <= request.keys():
                raise ScalingError(
                    "ValidationException",
                    "MinCapacity and MaxCapacity are required to register a new scalable target",
                )
            if self._capacity.read(key[1]) is None:
                raise ScalingError("ValidationException", f"ECS service doesn't exist: {key[1]}")
            target = dict(known or self._new_target(scope, key, request))
            for name in ("MinCapacity", "MaxCapacity"):
                if request.get(name) is not None:
                    target[name] = _whole_number(name, request[name])
            if target["MinCapacity"] > target["MaxCapacity"]:
                raise ScalingError(
                    "ValidationException",
                    f"Maximum capacity cannot be less than minimum capacity: "
                    f"{target['MaxCapacity']} < {target['MinCapacity']}",
                )
            target["SuspendedState"] |= request.get("SuspendedState") or {}
            self._targets.setdefault(scope, {})[key] = target
            self._move_into_bounds(key[1], target)
            return dict(target)

    def deregister(self, scope: Scope, request: dict[str, Any]) -> None:
        """Forget a target and its policies.

        Raises:
            ScalingError: If it does not exist.
        """
        key = target_key(request)
        with self._lock:
            if self._targets.get(scope, {}).pop(key, None) is None:
                raise ScalingError("ObjectNotFoundException", _no_target(key))
            policies = self._policies.get(scope, {})
            for policy_key in [found for found in policies if found[0] == key]:
                del policies[policy_key]

    def targets(self, scope: Scope, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the targets that match the filters of DescribeScalableTargets."""
        with self._lock:
            return [
                dict(target)
                for target in self._targets.get(scope, {}).values()
                if _matches(target, request, "ResourceIds", "ResourceId")
            ]

    def put_policy(self, scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        """Create or change a policy of a target.

        Raises:
            ScalingError: If the target does not exist.
        """
        key = target_key(request)
        with self._lock:
            if key not in self._targets.get(scope, {}):
                raise ScalingError("ObjectNotFoundException", _no_target(key))
            policies = self._policies.setdefault(scope, {})
            name = str(request["PolicyName"])
            account, region = scope
            policy = policies.get((key, name)) or {
                "PolicyARN": (
                    f"arn:aws:autoscaling:{region}:{account}:scalingPolicy:{uuid.uuid4()}"
                    f":resource/{key[0]}/{key[1]}:policyName/{name}"
                ),
                "PolicyName": name,
                "ServiceNamespace": key[0],
                "ResourceId": key[1],
                "ScalableDimension": key[2],
                "Alarms": [],
                "CreationTime": self._now(),
            }
            policy["PolicyType"] = request.get("PolicyType") or "StepScaling"
            for name_of_part in (
                "StepScalingPolicyConfiguration",
                "TargetTrackingScalingPolicyConfiguration",
            ):
                policy.pop(name_of_part, None)
                if request.get(name_of_part) is not None:
                    policy[name_of_part] = request[name_of_part]
            policies[(key, name)] = policy
            return dict(policy)

    def delete_policy(self, scope: Scope, request: dict[str, Any]) -> None:
        """Delete a policy.

        Raises:
            ScalingError: If it does not exist.
        """
        key = target_key(request)
        with self._lock:
            found = self._policies.get(scope, {}).pop((key, str(request["PolicyName"])), None)
        if found is None:
            raise ScalingError(
                "ObjectNotFoundException",
                f"No scaling policy found for name: {request['PolicyName']}",
            )

    def policies(self, scope: Scope, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the policies that match the filters of DescribeScalingPolicies."""
        with self._lock:
            return [
                dict(policy)
                for policy in self._policies.get(scope, {}).values()
                if _matches(policy, request, "PolicyNames", "PolicyName")
                and request.get("ResourceId") in (None, policy["ResourceId"])
            ]

    def _new_target(self, scope: Scope, key: TargetKey, request: dict[str, Any]) -> dict[str, Any]:
        account, region = scope
        return {
            "ServiceNamespace": key[0],
            "ResourceId": key[1],
            "ScalableDimension": key[2],
            "RoleARN": request.get("RoleARN")
            or f"arn:aws:iam::{account}:role/aws-service-role/"
            "ecs.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_ECSService",
            "CreationTime": self._now(),
            "SuspendedState": {
                "DynamicScalingInSuspended": False,
                "DynamicScalingOutSuspended": False,
                "ScheduledScalingSuspended": False,
            },
            "ScalableTargetARN": (
                f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/"
                f"{uuid.uuid4().hex[:28]}"
            ),
        }

    def _move_into_bounds(self, resource_id: str, target: dict[str, Any]) -> None:
        desired = self._capacity.read(resource_id)
        if desired is None:
            return
        bounded = min(max(desired, target["MinCapacity"]), target["MaxCapacity"])
        if bounded != desired:
            self._capacity.write(resource_id, bounded)


def target_key(request: dict[str, Any]) -> TargetKey:
    """Return the key of the target that a request names.

    Raises:
        ScalingError: If it is not the desired count of an ECS service, the only kind known here.
    """
    namespace = str(request.get("ServiceNamespace", ""))
    dimension = str(request.get("ScalableDimension", ""))
    resource_id = str(request.get("ResourceId", ""))
    if namespace != ECS_NAMESPACE or dimension != ECS_DIMENSION:
        raise ScalingError(
            "ValidationException",
            f"Unsupported service namespace, resource type or scalable dimension: "
            f"{namespace!r}, {dimension!r}; the local plane knows {ECS_DIMENSION}",
        )
    parts = resource_id.split("/")
    if len(parts) != len(("service", "cluster", "name")) or parts[0] != "service":
        raise ScalingError(
            "ValidationException",
            f"Unsupported resource id {resource_id!r}; it is service/<cluster>/<service>",
        )
    return namespace, resource_id, dimension


def _whole_number(name: str, value: Any) -> int:
    number = int(value)
    if number < 0:
        raise ScalingError("ValidationException", f"{name} must not be negative: {number}")
    return number


def _matches(record: dict[str, Any], request: dict[str, Any], list_name: str, field: str) -> bool:
    wanted = request.get(list_name)
    if wanted and record[field] not in wanted:
        return False
    return all(
        request.get(name) in (None, record[name])
        for name in ("ServiceNamespace", "ScalableDimension")
    )


def _no_target(key: TargetKey) -> str:
    return (
        f"No scalable target found for service namespace: {key[0]}, resource ID: {key[1]}, "
        f"scalable dimension: {key[2]}"
    )
