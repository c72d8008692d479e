"""The worker's relation to the ECS service it runs in: protected while busy, resting when idle."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient

PROTECTION_MINUTES = 60
"""How long a task is protected without a renewal; a worker that hangs is not protected for ever."""

_RENEW_AFTER_SECONDS = PROTECTION_MINUTES * 60 / 3
_TIMEOUT_SECONDS = 2


class TaskProtection:
    """Scale-in protection of this task.

    Source: Amazon ECS Developer Guide, "Amazon ECS task scale-in protection endpoint".

    Args:
        agent_uri: The agent's endpoint (``ECS_AGENT_URI``), or ``None`` outside of ECS, where
            nothing is protected.
    """

    def __init__(self, agent_uri: str | None) -> None:
        self._agent_uri = agent_uri
        self._renew_at = 0.0

    def protect(self) -> None:
        """Keep the service from stopping this task; renews the protection when it is due."""
        if time.monotonic() >= self._renew_at and self._put(
            {"ProtectionEnabled": True, "ExpiresInMinutes": PROTECTION_MINUTES}
        ):
            self._renew_at = time.monotonic() + _RENEW_AFTER_SECONDS

    def unprotect(self) -> None:
        """Let the service stop this task."""
        self._renew_at = 0.0
        self._put({"ProtectionEnabled": False})

    def _put(self, state: dict[str, bool | int]) -> bool:
        if not self._agent_uri:
            return False
        request = urllib.request.Request(  # noqa: S310 - the agent's own address
            f"{self._agent_uri}/task-protection/v1/state",
            data=json.dumps(state).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310
                return True
        except (OSError, urllib.error.URLError) as error:
            structlog.get_logger().warning("task protection failed", error=str(error), **state)
            return False


class Resting:
    """Lets the service go to zero tasks once nothing is to do.

    The Lambda that takes uploads in raises the minimum to one; whoever finds the queues empty for
    long enough lowers it again, and the scaling policy of the service decides on the tasks. Until
    this worker has looked once more, it is protected: an upload that came between its last look and
    the lowering finds it still there.

    Args:
        client: Client for the region.
        scalable_target: Resource id of the service in Application Auto Scaling.
        idle_seconds: Time without a job after which the minimum is lowered; and again after as long
            a time, since a worker that raised it may have died.
        protection: Scale-in protection of the task.
    """

    def __init__(
        self,
        client: ApplicationAutoScalingClient,
        scalable_target: str,
        idle_seconds: int,
        protection: TaskProtection,
    ) -> None:
        self._client = client
        self._scalable_target = scalable_target
        self._idle_seconds = idle_seconds
        self._protection = protection
        self._idle_since = time.monotonic()
        self._lowered = False
        self._looks_again = False

    def busy(self) -> None:
        """Note that there is something to do."""
        self._idle_since = time.monotonic()
        self._looks_again = False
        if self._lowered and self._set_minimum(1):
            self._lowered = False

    def idle(self) -> None:
        """Note that a look found nothing to do."""
        if self._looks_again:
            self._looks_again = False
            self._protection.unprotect()
        if time.monotonic() - self._idle_since < self._idle_seconds:
            return
        self._idle_since = time.monotonic()
        self._protection.protect()
        self._looks_again = True
        if self._set_minimum(0):
            self._lowered = True
            structlog.get_logger().info(
                "the service may rest", scalable_target=self._scalable_target
            )

    def _set_minimum(self, tasks: int) -> bool:
        try:
            self._client.register_scalable_target(
                ServiceNamespace="ecs",
                ResourceId=self._scalable_target,
                ScalableDimension="ecs:service:DesiredCount",
                MinCapacity=tasks,
            )
        except (BotoCoreError, ClientError) as error:
            structlog.get_logger().warning(
                "the minimum of the service cannot be set", tasks=tasks, error=str(error)
            )
            return False
        return True
