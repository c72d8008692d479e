"""An idle worker lets its service rest, and takes that back when there is something to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from emulator import Emulator, running_emulator

from media_worker.ecs_service import Resting, TaskProtection

CLUSTER, SERVICE = "workers", "worker"
TARGET = f"service/{CLUSTER}/{SERVICE}"
DIMENSION = "ecs:service:DesiredCount"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        ecs = emulator.client("ecs")
        ecs.create_cluster(clusterName=CLUSTER)
        ecs.register_task_definition(
            family="worker", containerDefinitions=[{"name": "worker", "image": "worker"}]
        )
        ecs.create_service(
            cluster=CLUSTER, serviceName=SERVICE, taskDefinition="worker", desiredCount=0
        )
        yield emulator


def raise_minimum(client: Any) -> None:
    """Do what the upload intake does when there is something to do."""
    client.register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=TARGET,
        ScalableDimension=DIMENSION,
        MinCapacity=1,
        MaxCapacity=3,
    )


def capacity(client: Any) -> tuple[int, int]:
    (target,) = client.describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[TARGET], ScalableDimension=DIMENSION
    )["ScalableTargets"]
    return target["MinCapacity"], target["MaxCapacity"]


@pytest.fixture
def agent() -> Iterator[tuple[str, list[bool]]]:
    """The part of the ECS agent that protects tasks, and what it was asked for."""
    asked: list[bool] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            assert self.path == "/task-protection/v1/state"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(json.loads(body)["ProtectionEnabled"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def resting(emulator: Emulator, agent: tuple[str, list[bool]], *, idle_seconds: int) -> Resting:
    client = emulator.client("application-autoscaling")
    return Resting(client, TARGET, idle_seconds, TaskProtection(agent[0]))


def test_minimum_is_lowered_and_raised_again_for_the_next_message(
    emulator: Emulator, agent: tuple[str, list[bool]]
) -> None:
    client = emulator.client("application-autoscaling")
    raise_minimum(client)
    rests = resting(emulator, agent, idle_seconds=0)
    rests.idle()
    assert capacity(client) == (0, 3)
    rests.busy()
    assert capacity(client) == (1, 3)
    rests.idle()
    assert capacity(client) == (0, 3)


def test_worker_that_lowered_nothing_raises_nothing(
    emulator: Emulator, agent: tuple[str, list[bool]]
) -> None:
    client = emulator.client("application-autoscaling")
    raise_minimum(client)
    rests = resting(emulator, agent, idle_seconds=0)
    rests.idle()
    client.register_scalable_target(
        ServiceNamespace="ecs", ResourceId=TARGET, ScalableDimension=DIMENSION, MinCapacity=2
    )
    resting(emulator, agent, idle_seconds=0).busy()
    assert capacity(client) == (2, 3)


def test_task_is_protected_until_it_has_looked_once_more(
    emulator: Emulator, agent: tuple[str, list[bool]]
) -> None:
    """A message that came while the minimum was lowered finds a worker that is not stopped."""
    raise_minimum(emulator.client("application-autoscaling"))
    rests = resting(emulator, agent, idle_seconds=0)
    rests.idle()
    assert agent[1] == [True]
    rests.idle()
    assert agent[1][:2] == [True, False]


def test_minimum_stays_until_the_queue_was_empty_for_long_enough(
    emulator: Emulator, agent: tuple[str, list[bool]]
) -> None:
    client = emulator.client("application-autoscaling")
    raise_minimum(client)
    resting(emulator, agent, idle_seconds=3600).idle()
    assert capacity(client) == (1, 3)
    assert agent[1] == []
