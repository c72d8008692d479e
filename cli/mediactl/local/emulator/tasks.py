"""Tasks of ECS services, which the process runner runs.

MiniStack would start containers, or without Docker pretend that tasks run. Here the runner owns
the tasks: it reports them (:meth:`RunnerTasks.sync`), and MiniStack answers describe calls from
what was reported. Running counts are therefore counts of live processes.
"""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

from ministack.core.responses import (
    error_response_json,
    get_account_id,
    json_response,
    request_scope,
)
from ministack.services import ecs
from ministack.services.cloudformation import provisioners

Response = tuple[int, dict[str, str], bytes]

MAX_PROTECTION_MINUTES = 2880
DEFAULT_PROTECTION_MINUTES = 120
KEPT_STOPPED_TASKS = 50
"""Stopped tasks that stay visible per account and region; ECS keeps them for an hour."""


class RunnerTasks:
    """The tasks that the process runner reported."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def install(self) -> None:
        """Take task keeping away from MiniStack."""
        ecs._reconcile_service_tasks = lambda cluster, key: ecs._refresh_service_state(  # noqa: SLF001
            cluster, f"service:{key.partition('/')[2]}"
        )
        # Targets are the runner's processes; MiniStack would register container addresses.
        ecs._sync_service_targets = lambda _cluster, _service: None  # noqa: SLF001
        ecs._maybe_mark_stopped = lambda *_args, **_options: None  # noqa: SLF001
        for name, handler in (
            ("StopTask", self.stop_task),
            ("UpdateTaskProtection", self.update_protection),
            ("GetTaskProtection", self.get_protection),
        ):
            ecs._ACTION_MAP[name] = handler  # noqa: SLF001
        _keep_container_fields()

    def sync(self, reported: list[dict[str, Any]]) -> dict[str, Any]:
        """Take in all tasks as the runner knows them, and answer what it has to know.

        Args:
            reported: Live tasks, and those that stopped since the last call, as DescribeTasks
                answers them.

        Returns:
            ``services``: all services as DescribeServices answers them;
            ``stop``: ARNs of tasks that a caller of StopTask wants stopped;
            ``protected``: ARNs of tasks under scale-in protection.
        """
        answer: dict[str, Any] = {"services": [], "stop": [], "protected": []}
        by_region: dict[str, list[dict[str, Any]]] = {}
        for task in reported:
            by_region.setdefault(_region(task["taskArn"]), []).append(task)
        regions = {region for _, region, _ in list(ecs._services._data)}  # noqa: SLF001
        with self._lock:
            for region in sorted(regions | by_region.keys()):
                with request_scope(get_account_id(), region):
                    self._take_in(by_region.get(region, []))
                    self._count()
                    self._tell(answer)
        return answer

    def _take_in(self, reported: list[dict[str, Any]]) -> None:
        for task in reported:
            known = ecs._tasks.get(task["taskArn"])  # noqa: SLF001
            if known is None:
                ecs._tasks[task["taskArn"]] = self._new_record(task)  # noqa: SLF001
            elif known["desiredStatus"] == "STOPPED":
                known.update({**task, "desiredStatus": "STOPPED"})
            else:
                known.update(task)
        live = {task["taskArn"] for task in reported if task["lastStatus"] != "STOPPED"}
        for arn, task in list(ecs._tasks.items()):  # noqa: SLF001
            if arn not in live and task["lastStatus"] != "STOPPED":
                # The runner that ran it was killed, and its processes with it.
                task.update(lastStatus="STOPPED", desiredStatus="STOPPED")
        self._drop_oldest_stopped()

    def _tell(self, answer: dict[str, Any]) -> None:
        answer["services"] += [
            ecs._sanitize(service)  # noqa: SLF001
            for service in list(ecs._services.values())  # noqa: SLF001
            if service["status"] == "ACTIVE"
        ]
        for arn, task in list(ecs._tasks.items()):  # noqa: SLF001
            if task["lastStatus"] != "STOPPED":
                if task["desiredStatus"] == "STOPPED":
                    answer["stop"].append(arn)
                if _protected_until(task) is not None:
                    answer["protected"].append(arn)

    def stop_task(self, request: dict[str, Any]) -> Response:
        """Answer StopTask: the runner stops the process when it reports next."""
        task = self._find(request.get("task", ""))
        if task is None:
            return _answer(
                error_response_json(
                    "InvalidParameterException", "The referenced task was not found.", 400
                )
            )
        task["desiredStatus"] = "STOPPED"
        task["stoppedReason"] = request.get("reason", "Task stopped by user")
        return _answer(json_response({"task": ecs._sanitize(task)}))  # noqa: SLF001

    def update_protection(self, request: dict[str, Any]) -> Response:
        """Answer UpdateTaskProtection."""
        enabled = bool(request.get("protectionEnabled"))
        minutes = request.get("expiresInMinutes")
        minutes = DEFAULT_PROTECTION_MINUTES if minutes is None else int(minutes)
        if enabled and not 1 <= minutes <= MAX_PROTECTION_MINUTES:
            return _answer(
                error_response_json(
                    "InvalidParameterException",
                    f"expiresInMinutes must be between 1 and {MAX_PROTECTION_MINUTES}: {minutes}",
                    400,
                )
            )
        until = None
        if enabled:
            until = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
        return self._each(request, lambda task: task.update(_protected_until=until))

    def get_protection(self, request: dict[str, Any]) -> Response:
        """Answer GetTaskProtection."""
        return self._each(request, lambda _: None)

    def _each(self, request: dict[str, Any], apply: Any) -> Response:
        protected, failures = [], []
        for reference in request.get("tasks", []):
            task = self._find(reference)
            if task is None or task["lastStatus"] == "STOPPED":
                failures.append({"arn": reference, "reason": "TASK_NOT_VALID"})
                continue
            apply(task)
            until = _protected_until(task)
            entry: dict[str, Any] = {
                "taskArn": task["taskArn"],
                "protectionEnabled": until is not None,
            }
            if until is not None:
                entry["expirationDate"] = until.timestamp()
            protected.append(entry)
        return _answer(json_response({"protectedTasks": protected, "failures": failures}))

    def _find(self, reference: str) -> dict[str, Any] | None:
        for arn, task in ecs._tasks.items():  # noqa: SLF001
            if reference in (arn, arn.rsplit("/", 1)[-1]):
                found: dict[str, Any] = task
                return found
        return None

    def _new_record(self, task: dict[str, Any]) -> dict[str, Any]:
        return {
            "attachments": [],
            "connectivity": "CONNECTED",
            "containers": [],
            "desiredStatus": "RUNNING",
            "overrides": {"containerOverrides": []},
            "startedBy": "",
            "tags": [],
            "version": 1,
            **task,
        }

    def _drop_oldest_stopped(self) -> None:
        stopped = [
            arn
            for arn, task in ecs._tasks.items()  # noqa: SLF001
            if task["lastStatus"] == "STOPPED"
        ]
        for arn in stopped[:-KEPT_STOPPED_TASKS]:
            del ecs._tasks[arn]  # noqa: SLF001

    def _count(self) -> None:
        for key, service in list(ecs._services.items()):  # noqa: SLF001
            cluster, _, name = key.partition("/")
            ecs._refresh_service_state(cluster, f"service:{name}")  # noqa: SLF001
            primary = ecs._primary_deployment(service)  # noqa: SLF001
            if primary is None:
                continue
            running = sum(
                1
                for task in ecs._tasks.values()  # noqa: SLF001
                if task.get("group") == f"service:{name}"
                and task["clusterArn"] == service["clusterArn"]
                and task["lastStatus"] == "RUNNING"
                and task["taskDefinitionArn"] == primary["taskDefinition"]
            )
            if running >= service["desiredCount"]:
                primary["rolloutState"] = "COMPLETED"


def _region(arn: str) -> str:
    return arn.split(":")[3]


def _keep_container_fields() -> None:
    """Write nested container fields as the ECS API does.

    MiniStack's CloudFormation handler leaves them in the template's spelling, and
    DescribeTaskDefinition then answers them empty: secrets without name and source.
    """
    normalize = provisioners._normalize_container_defs  # noqa: SLF001

    def normalize_container_defs(definitions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        containers: list[dict[str, Any]] = normalize(definitions)
        for container in containers:
            for field in ("secrets", "dependsOn", "ulimits", "healthCheck", "linuxParameters"):
                if field in container:
                    container[field] = provisioners._pascal_to_camel(container[field])  # noqa: SLF001
        return containers

    provisioners._normalize_container_defs = normalize_container_defs  # noqa: SLF001


def _protected_until(task: dict[str, Any]) -> dt.datetime | None:
    until: dt.datetime | None = task.get("_protected_until")
    if until is None or until <= dt.datetime.now(dt.UTC):
        return None
    return until


def _answer(response: Any) -> Response:
    answer: Response = response
    return answer
