"""Health checks of targets, as the load balancer makes them."""

from __future__ import annotations

import time

import aiohttp

from mediactl.local.edge.listener import HealthCheck
from mediactl.local.runner.tasks import Task

FIRST_CHECKS_SECONDS = 0.2
"""Interval until a new target is healthy; a load balancer checks a new target at once as well."""


async def check_once(session: aiohttp.ClientSession, check: HealthCheck, task: Task) -> bool:
    """Return whether a target answers its health check."""
    timeout = aiohttp.ClientTimeout(total=check.timeout_seconds)
    url = f"http://127.0.0.1:{task.port}{check.path}"
    try:
        async with session.get(url, timeout=timeout, allow_redirects=False) as answer:
            return check.accepts(answer.status)
    except (aiohttp.ClientError, TimeoutError):
        return False


def interval(check: HealthCheck, task: Task) -> float:
    """Return the seconds until a task is checked again."""
    return check.interval_seconds if task.healthy else FIRST_CHECKS_SECONDS


def note(check: HealthCheck, task: Task, *, passed: bool) -> None:
    """Note the result of a check.

    A new target is in service after one answer; one in service leaves after as many failures in a
    row as the target group says, and comes back with the next answer.
    """
    if passed:
        task.failed_checks = 0
        task.healthy = True
        return
    task.failed_checks += 1
    if task.healthy and task.failed_checks >= check.unhealthy_threshold:
        task.healthy = False


def should_replace(task: Task, *, now: float | None = None) -> bool:
    """Return whether ECS replaces a task: it was in service and is no more, after its grace."""
    lived = (time.monotonic() if now is None else now) - task.started
    return task.healthy is False and lived > task.service.grace_seconds
