"""Task definitions and images: what the process of a task gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mediactl.local.edge.listener import HealthCheck
from mediactl.local.runner.health import note, should_replace
from mediactl.local.runner.images import Image, ensure_image, image_environment
from mediactl.local.runner.specs import SecretSource, service_spec, task_spec
from mediactl.local.runner.tasks import Task, TaskState, task_environment
from mediactl.local.state import StateFolder

ACCOUNT = "000000000000"
SERVICE = {
    "serviceArn": f"arn:aws:ecs:eu-west-1:{ACCOUNT}:service/cluster/api",
    "serviceName": "api",
    "clusterArn": f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/cluster",
    "taskDefinition": f"arn:aws:ecs:eu-west-1:{ACCOUNT}:task-definition/api:3",
    "desiredCount": 2,
    "deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50},
    "loadBalancers": [{"targetGroupArn": "arn:tg", "containerName": "api", "containerPort": 8080}],
    "healthCheckGracePeriodSeconds": 60,
}


def definition(**container: Any) -> dict[str, Any]:
    return {
        "taskDefinitionArn": SERVICE["taskDefinition"],
        "family": "api",
        "taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/task",
        "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [
            {
                "name": "api",
                "image": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/assets:{'ab' * 32}",
                "command": ["python", "-m", "media_api"],
                "environment": [{"name": "STAGE", "value": "local"}],
                "secrets": [{"name": "KEY", "valueFrom": "arn:secret:json:::"}],
                "portMappings": [{"containerPort": 8080, "protocol": "tcp"}],
                "stopTimeout": 110,
                **container,
            }
        ],
    }


def test_reads_what_is_deployed() -> None:
    spec = task_spec(definition())
    assert spec.image_tag == "ab" * 32
    assert spec.command == ("python", "-m", "media_api")
    assert spec.environment == {"STAGE": "local"}
    assert spec.secrets == (SecretSource("KEY", "arn:secret:json:::"),)
    assert (spec.container_port, spec.stop_seconds, spec.region) == (8080, 110, "eu-west-1")
    service = service_spec(SERVICE)
    assert (service.desired, service.maximum_percent, service.grace_seconds) == (2, 150, 60)
    assert service.target_groups[0].container_port == 8080


def test_the_default_stop_timeout_is_that_of_ecs() -> None:
    assert task_spec(definition(stopTimeout=None)).stop_seconds == 30


def test_says_what_it_cannot_run() -> None:
    with pytest.raises(ValueError, match="no command"):
        task_spec(definition(command=None))
    two = definition()
    two["containerDefinitions"] *= 2
    with pytest.raises(ValueError, match="2 essential containers"):
        task_spec(two)


def test_runs_a_task_without_what_it_can_do_without() -> None:
    traced = definition()
    collector = {"name": "collector", "image": "public.ecr.aws/collector:v1", "essential": False}
    traced["containerDefinitions"].insert(0, collector)
    assert task_spec(traced) == task_spec(definition())


def test_a_task_gets_the_deployed_environment_and_what_ecs_injects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    task = Task(spec=task_spec(definition()), service=service_spec(SERVICE), port=4321)
    image = Image(tmp_path, tmp_path / "venv", {"LANG": "C.UTF-8"})
    found = task_environment(
        task,
        image,
        secret_values={"KEY": "value"},
        emulator_url="http://127.0.0.1:1",
        agent_url="http://127.0.0.1:2",
        scratch=tmp_path / "scratch",
    )
    assert found == {
        "LANG": "C.UTF-8",
        "STAGE": "local",
        "KEY": "value",
        "PATH": f"{tmp_path}/venv/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{tmp_path}/scratch",
        "TMPDIR": f"{tmp_path}/scratch",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:2/v2/credentials/{task.task_id}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": task.agent_token,
        "ECS_AGENT_URI": f"http://127.0.0.1:2/api/{task.task_id}",
        "ECS_CONTAINER_METADATA_URI_V4": f"http://127.0.0.1:2/v4/{task.task_id}",
        "LISTEN_ADDRESS": "127.0.0.1:4321",
    }


def test_a_task_without_ports_listens_nowhere(tmp_path: Path) -> None:
    spec = task_spec(definition(portMappings=[]))
    task = Task(spec=spec, service=service_spec(SERVICE))
    image = Image(tmp_path, tmp_path, {})
    found = task_environment(
        task, image, secret_values={}, emulator_url="", agent_url="", scratch=tmp_path
    )
    assert "LISTEN_ADDRESS" not in found


def test_the_dockerfile_sets_variables(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM python:3.12 AS build\n"
        "ENV ONLY_IN_BUILD=1\n"
        "FROM python:3.12-slim\n"
        'ENV PYTHONUNBUFFERED=1 \\\n    PATH=/venv/bin:$PATH NAME="value"\n'
        "# ENV COMMENT=1\n"
    )
    assert image_environment(tmp_path) == {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "NAME": "value",
    }


def test_an_image_is_a_copy_of_its_asset(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    asset = state.assembly / "asset.abc"
    asset.mkdir(parents=True)
    (asset / "main.py").write_text("first")
    image = ensure_image(state, "abc", tmp_path / "log")
    (asset / "main.py").write_text("second")
    assert (image.folder / "main.py").read_text() == "first"
    assert (image.venv / "bin" / "python").exists()
    assert ensure_image(state, "abc", tmp_path / "log") == image
    with pytest.raises(FileNotFoundError, match="no asset other"):
        ensure_image(state, "other", tmp_path / "log")


def test_health_decides_on_traffic_and_on_replacement() -> None:
    check = HealthCheck(unhealthy_threshold=2)
    task = Task(spec=task_spec(definition()), service=service_spec(SERVICE), started=0)
    task.state = TaskState.RUNNING
    note(check, task, passed=False)
    assert task.healthy is None
    assert not task.is_ready
    note(check, task, passed=True)
    assert task.is_ready
    note(check, task, passed=False)
    assert task.is_ready
    note(check, task, passed=False)
    assert not task.is_ready
    assert not should_replace(task, now=59)
    assert should_replace(task, now=61)
    note(check, task, passed=True)
    assert task.is_ready


def test_a_task_is_named_as_on_ecs() -> None:
    task = Task(spec=task_spec(definition()), service=service_spec(SERVICE))
    assert task.arn == f"arn:aws:ecs:eu-west-1:{ACCOUNT}:task/cluster/{task.task_id}"
    shown = task.to_ecs()
    assert (shown["lastStatus"], shown["group"]) == ("PENDING", "service:api")
    assert task.agent_token not in repr(task)
