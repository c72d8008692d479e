"""An idle worker lets its service rest, once for each time of rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from emulator import Emulator, running_emulator

from media_worker.ecs_service import Resting

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


def test_minimum_is_lowered_once_for_each_rest(emulator: Emulator) -> None:
    client = emulator.client("application-autoscaling")
    raise_minimum(client)
    resting = Resting(client, TARGET, idle_seconds=0)
    resting.idle()
    assert capacity(client) == (0, 3)

    raise_minimum(client)
    resting.idle()
    assert capacity(client) == (1, 3)
    resting.busy()
    resting.idle()
    assert capacity(client) == (0, 3)


def test_minimum_stays_until_the_queue_was_empty_for_long_enough(emulator: Emulator) -> None:
    client = emulator.client("application-autoscaling")
    raise_minimum(client)
    Resting(client, TARGET, idle_seconds=3600).idle()
    assert capacity(client) == (1, 3)
