"""The resource ARN of a call, where MiniStack's authorization knows less than AWS does.

Without the right ARN a grant on one resource is refused, and only a wildcard would pass.
Source: Service Authorization Reference, the pages of Amazon ECS, Amazon ECR and AWS Application
Auto Scaling.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ministack.core import iam_actions

from .scalable_targets import ScalableTargets, ScalingError, target_key

Resolver = Callable[[str, dict[str, Any], str, str], "str | None"]
"""Takes the action, the request, region and account; ``None`` leaves the call to MiniStack."""

_SERVICE_ACTIONS = {"UpdateService": "service", "DeleteService": "service"}
_TASK_ACTIONS = {
    "DescribeTasks": "tasks",
    "GetTaskProtection": "tasks",
    "StopTask": "task",
    "UpdateTaskProtection": "tasks",
}


def install(targets: ScalableTargets) -> None:
    """Resolve the ARNs of the services named in this module."""
    resolvers: dict[str, Resolver] = {
        "application-autoscaling": _scalable_target(targets),
        "ecr": _repository,
        "ecs": _service_or_task,
    }
    extract: Callable[..., str] = iam_actions.extract_resource_arn

    def extract_resource_arn(  # noqa: PLR0917 - the signature is MiniStack's
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
        region: str,
        account_id: str,
    ) -> str:
        resolver = resolvers.get(service)
        if resolver is not None:
            action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
            found = resolver(action, _json(body), region, account_id)
            if found is not None:
                return found
        return extract(service, method, path, headers, body, query_params, region, account_id)

    iam_actions.extract_resource_arn = extract_resource_arn


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _scalable_target(targets: ScalableTargets) -> Resolver:
    """Name the scalable target; one that does not exist yet is decided on a wildcard id."""

    def resolve(action: str, request: dict[str, Any], region: str, account: str) -> str:
        if action.startswith("Describe"):
            return "*"
        try:
            _, resource_id, _ = target_key(request)
        except ScalingError:
            resource_id = ""
        for target in targets.targets((account, region), {"ResourceIds": [resource_id]}):
            return str(target["ScalableTargetARN"])
        return f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/*"

    return resolve


def _repository(_action: str, request: dict[str, Any], region: str, account: str) -> str | None:
    names = request.get("repositoryNames") or [request.get("repositoryName")]
    return f"arn:aws:ecr:{region}:{account}:repository/{names[0]}" if names[0] else None


def _service_or_task(action: str, request: dict[str, Any], region: str, account: str) -> str | None:
    cluster = str(request.get("cluster") or "default").rsplit("/", 1)[-1]
    if action in _SERVICE_ACTIONS or action == "DescribeServices":
        references = request.get("services") or [request.get("service")]
        kind = "service"
    elif action in _TASK_ACTIONS:
        references = request.get(_TASK_ACTIONS[action]) or [None]
        kind = "task"
    else:
        return None
    reference = references if isinstance(references, str) else references[0]
    if not reference:
        return None
    if str(reference).startswith("arn:"):
        return str(reference)
    return f"arn:aws:ecs:{region}:{account}:{kind}/{cluster}/{reference}"
