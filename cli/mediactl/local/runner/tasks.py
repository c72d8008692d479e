"""One task: a process with exactly the environment that ECS would give it."""

from __future__ import annotations

import datetime as dt
import secrets
import shutil
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from media_platform.contract.environment import LISTEN_ADDRESS
from mediactl.local import ports, processes
from mediactl.local.processes import ProcessRecord
from mediactl.local.runner.images import Image
from mediactl.local.runner.specs import ServiceSpec, TaskSpec
from mediactl.local.state import StateFolder

RECORD_PREFIX = "task-"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class TaskState(StrEnum):
    """Where a task stands; the names are those of ECS."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DEACTIVATING = "DEACTIVATING"
    STOPPED = "STOPPED"


@dataclass
class Task:
    """A task and its process.

    Attributes:
        spec: Its task definition.
        service: The service it belongs to, as it was when the task was started.
        task_id: Its id.
        agent_token: Secret with which its process asks for role credentials.
        port: Port on 127.0.0.1 that stands for its container port, if it has one.
        state: Where it stands.
        record: Its process, once started.
        healthy: What the last health checks said; ``None`` before the first answer, and for tasks
            that are checked by nobody.
        failed_checks: Health checks in a row that failed.
        protected: Whether it is under scale-in protection.
        requests: Requests that the edge is passing to it now.
        created: Wall clock time of its creation.
        started: Monotonic time of its start.
        stop_reason: Why it ends.
        exit_code: Exit code of the process, once it ended.
    """

    spec: TaskSpec
    service: ServiceSpec
    task_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    agent_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    port: int | None = None
    state: TaskState = TaskState.PENDING
    record: ProcessRecord | None = None
    healthy: bool | None = None
    failed_checks: int = 0
    protected: bool = False
    requests: int = 0
    created: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    started: float = field(default_factory=time.monotonic)
    stop_reason: str = ""
    exit_code: int | None = None

    @property
    def arn(self) -> str:
        """ARN of the task."""
        cluster = self.service.cluster_arn.rpartition("/")[2]
        return self.service.cluster_arn.replace(
            f":cluster/{cluster}", f":task/{cluster}/{self.task_id}"
        )

    @property
    def is_ready(self) -> bool:
        """Whether it does its work: it runs, and behind a load balancer it is healthy."""
        if self.state is not TaskState.RUNNING:
            return False
        return bool(self.healthy) if self.service.target_groups else True

    def to_ecs(self) -> dict[str, Any]:
        """Return the task as DescribeTasks answers it."""
        health = {None: "UNKNOWN", True: "HEALTHY", False: "UNHEALTHY"}[self.healthy]
        container = {
            "name": self.spec.container,
            "lastStatus": self.state,
            "taskArn": self.arn,
            "exitCode": self.exit_code,
            "healthStatus": health,
        }
        return {
            "taskArn": self.arn,
            "clusterArn": self.service.cluster_arn,
            "taskDefinitionArn": self.spec.arn,
            "group": f"service:{self.service.name}",
            "launchType": "FARGATE",
            "lastStatus": self.state,
            "healthStatus": health,
            "cpu": self.spec.cpu,
            "memory": self.spec.memory,
            "createdAt": self.created.timestamp(),
            "stoppedReason": self.stop_reason,
            "containers": [container],
        }


def task_environment(
    task: Task,
    image: Image,
    *,
    secret_values: Mapping[str, str],
    emulator_url: str,
    agent_url: str,
    scratch: Path,
) -> dict[str, str]:
    """Return the whole environment of a task's process.

    It is what the image sets, the deployed environment and secrets, and what ECS injects. Locally
    the AWS endpoint and the address to listen on come on top, because tasks share one machine.
    Nothing of the person's own environment is in it.
    """
    injected = {
        "PATH": f"{image.venv / 'bin'}:{SYSTEM_PATH}",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "AWS_REGION": task.spec.region,
        "AWS_DEFAULT_REGION": task.spec.region,
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_ENDPOINT_URL": emulator_url,
        "ECS_AGENT_URI": f"{agent_url}/api/{task.task_id}",
        "ECS_CONTAINER_METADATA_URI_V4": f"{agent_url}/v4/{task.task_id}",
    }
    if task.spec.task_role:
        injected["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = (
            f"{agent_url}/v2/credentials/{task.task_id}"
        )
        injected["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = task.agent_token
    if task.port is not None:
        injected[LISTEN_ADDRESS] = f"{ports.LOOPBACK}:{task.port}"
    return {**image.environment, **task.spec.environment, **secret_values, **injected}


def launch(
    state: StateFolder,
    task: Task,
    image: Image,
    *,
    secret_values: Mapping[str, str],
    emulator_url: str,
    agent_url: str,
) -> None:
    """Start the process of a task. It ends with the calling process, also by SIGKILL."""
    scratch = state.scratch / f"task-{task.task_id}"
    scratch.mkdir(parents=True, exist_ok=True)
    if task.spec.container_port is not None:
        task.port = ports.free_ports(1)[0]
    environment = task_environment(
        task,
        image,
        secret_values=secret_values,
        emulator_url=emulator_url,
        agent_url=agent_url,
        scratch=scratch,
    )
    task.started = time.monotonic()
    program = shutil.which(task.spec.command[0], path=environment["PATH"])
    task.record = processes.start(
        state.processes,
        f"{RECORD_PREFIX}{task.task_id}",
        [program or task.spec.command[0], *task.spec.command[1:]],
        environment=environment,
        log=state.service_log_file(task.service.name, task.service.region),
        working_folder=image.folder,
        end_with_parent=True,
    )
    task.state = TaskState.RUNNING


def has_ended(task: Task) -> bool:
    """Return whether the process of a task has ended, and keep its exit code."""
    if task.record is None or processes.is_running(task.record):
        return False
    status = processes.exit_status(task.record)
    if status is not None:
        # A process that a signal ended has 128 + signal as its exit code in a container.
        task.exit_code = 128 - status if status < 0 else status
    return True


def terminate(task: Task) -> None:
    """Ask the process of a task to end."""
    if task.record is not None:
        processes.signal_leader(task.record, signal.SIGTERM)


def clean_up(state: StateFolder, task: Task) -> None:
    """Kill what is left of a task and remove its traces."""
    if task.record is not None:
        processes.stop(state.processes, [task.record], grace_seconds=0)
    shutil.rmtree(state.scratch / f"task-{task.task_id}", ignore_errors=True)
    task.state = TaskState.STOPPED
