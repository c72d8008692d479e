"""What to start and what to stop: the decisions of the ECS service scheduler, without effects.

Source: Amazon ECS Developer Guide, "Deployment strategies" and "Task scale-in protection".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mediactl.local.runner.specs import ServiceSpec

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
STABLE_SECONDS = 60.0
"""Life after which a crash counts as the first one again."""


@dataclass(frozen=True)
class TaskView:
    """What the scheduler knows of a task that is not being stopped.

    Attributes:
        task_id: Its id.
        task_definition: ARN of its task definition.
        healthy: Whether it runs and, behind a load balancer, passes health checks.
        protected: Whether it is under scale-in protection.
        started: When it was started; a greater number is later.
    """

    task_id: str
    task_definition: str
    healthy: bool
    protected: bool
    started: float


@dataclass(frozen=True)
class Decision:
    """What has to be done.

    Attributes:
        start: Number of tasks to start from the current task definition.
        stop: Ids of tasks to stop.
    """

    start: int = 0
    stop: tuple[str, ...] = ()


def decide(service: ServiceSpec, tasks: Sequence[TaskView]) -> Decision:
    """Decide for one service.

    A task of an older definition is replaced within the bounds of the deployment configuration. A
    protected task is never stopped for scale-in or deployment; it counts while it lives.
    """
    current = [task for task in tasks if task.task_definition == service.task_definition]
    outdated = [task for task in tasks if task.task_definition != service.task_definition]
    if not outdated:
        missing = service.desired - len(current)
        if missing >= 0:
            return Decision(start=missing)
        return Decision(stop=_least_useful(current, -missing))
    return _roll(service, current, outdated)


def _roll(
    service: ServiceSpec, current: Sequence[TaskView], outdated: Sequence[TaskView]
) -> Decision:
    most = math.floor(service.desired * service.maximum_percent / 100)
    least = math.ceil(service.desired * service.minimum_healthy_percent / 100)
    total = len(current) + len(outdated)
    start = max(0, min(service.desired - len(current), most - total))
    spare = sum(task.healthy for task in (*current, *outdated)) - least
    stop: list[str] = []
    for task in sorted(outdated, key=lambda task: (task.healthy, task.started)):
        if task.protected:
            continue
        if not task.healthy:
            stop.append(task.task_id)
        elif spare > 0:
            stop.append(task.task_id)
            spare -= 1
    surplus = len(current) - service.desired
    if surplus > 0:
        stop += _least_useful(current, surplus)
    return Decision(start=start, stop=tuple(stop))


def _least_useful(tasks: Sequence[TaskView], count: int) -> tuple[str, ...]:
    """Return tasks to give up: unhealthy ones first, then the youngest; never protected ones."""
    free = [task for task in tasks if not task.protected]
    free.sort(key=lambda task: (task.healthy, -task.started))
    return tuple(task.task_id for task in free[:count])


@dataclass
class Restarts:
    """When a service whose tasks keep ending may start the next one.

    Attributes:
        failures: Tasks that ended by themselves in a row.
        not_before: Time before which no task is started.
    """

    failures: int = 0
    not_before: float = 0.0

    def ended(self, *, lived_seconds: float, now: float) -> float:
        """Note that a task ended by itself and return the delay before the next one."""
        self.failures = 1 if lived_seconds >= STABLE_SECONDS else self.failures + 1
        delay = float(FIRST_RESTART_SECONDS * 2 ** min(self.failures - 1, 16))
        delay = min(delay, LONGEST_RESTART_SECONDS)
        self.not_before = now + delay
        return delay
