"""The Application Auto Scaling API over HTTP, with IAM enforced as for every other service.

Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS
Application Auto Scaling".
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core import iam_actions, router
from ministack.core.responses import (
    error_response_json,
    get_account_id,
    get_region,
    json_response,
)
from ministack.services import ecs

from .scalable_targets import ScalableTargets, ScalingError, Scope

logger = logging.getLogger("mediactl.autoscaling")

SERVICE = "application-autoscaling"
TARGET_PREFIX = "AnyScaleFrontendService"

Response = tuple[int, dict[str, str], bytes]


class EcsCapacity:
    """The desired count of ECS services in the account and region of the current request."""

    def read(self, resource_id: str) -> int | None:
        """Return the desired count, ``None`` when there is no such active service."""
        service = ecs._services.get(resource_id.removeprefix("service/"))  # noqa: SLF001
        if service is None or service.get("status") != "ACTIVE":
            return None
        return int(service["desiredCount"])

    def write(self, resource_id: str, desired: int) -> None:
        """Set the desired count, as Application Auto Scaling does by its service-linked role."""
        _, cluster, name = resource_id.split("/")
        logger.info("%s to %d", resource_id, desired)
        ecs._update_service(  # noqa: SLF001
            {"cluster": cluster, "service": name, "desiredCount": desired}
        )


def install(targets: ScalableTargets) -> None:
    """Teach MiniStack's router, its IAM and its dispatcher the service."""
    router.SERVICE_PATTERNS[SERVICE] = {
        "target_prefixes": [TARGET_PREFIX],
        "host_patterns": [r"application-autoscaling\."],
        "credential_scope": SERVICE,
    }
    iam_actions.SERVICE_TO_IAM_NAMESPACE[SERVICE] = SERVICE
    operations = _operations(targets)

    async def handle(
        _method: str, _path: str, headers: dict[str, str], body: bytes, _query: dict[str, Any]
    ) -> Response:
        action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        operation = operations.get(action)
        if operation is None:
            return _error("UnknownOperationException", f"not in the local plane: {action}")
        try:
            answer = operation((get_account_id(), get_region()), json.loads(body or b"{}"))
        except ScalingError as error:
            return _error(error.code, str(error))
        response: Response = json_response(answer)
        return response

    app.SERVICE_HANDLERS[SERVICE] = handle


def _operations(
    targets: ScalableTargets,
) -> dict[str, Callable[[Scope, dict[str, Any]], dict[str, Any]]]:
    def register(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        return {"ScalableTargetARN": targets.register(scope, request)["ScalableTargetARN"]}

    def deregister(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        targets.deregister(scope, request)
        return {}

    def describe_targets(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        return {"ScalableTargets": targets.targets(scope, request)}

    def put_policy(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        policy = targets.put_policy(scope, request)
        return {"PolicyARN": policy["PolicyARN"], "Alarms": policy["Alarms"]}

    def describe_policies(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        return {"ScalingPolicies": targets.policies(scope, request)}

    def delete_policy(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
        targets.delete_policy(scope, request)
        return {}

    return {
        "RegisterScalableTarget": register,
        "DeregisterScalableTarget": deregister,
        "DescribeScalableTargets": describe_targets,
        "PutScalingPolicy": put_policy,
        "DescribeScalingPolicies": describe_policies,
        "DeleteScalingPolicy": delete_policy,
    }


def _error(code: str, message: str) -> Response:
    response: Response = error_response_json(
        code, message, 400, content_type="application/x-amz-json-1.1"
    )
    return response
