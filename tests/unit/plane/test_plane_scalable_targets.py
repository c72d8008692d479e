"""The store behind the Application Auto Scaling API."""

from __future__ import annotations

from typing import Any

import pytest

from mediactl.local.emulator.scalable_targets import ScalableTargets, ScalingError

SCOPE = ("000000000000", "us-east-1")
KEY = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/cluster/worker",
    "ScalableDimension": "ecs:service:DesiredCount",
}


class Services:
    """Desired counts by resource id."""

    def __init__(self) -> None:
        self.desired = {KEY["ResourceId"]: 0}

    def read(self, resource_id: str) -> int | None:
        return self.desired.get(resource_id)

    def write(self, resource_id: str, desired: int) -> None:
        self.desired[resource_id] = desired


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def targets(services: Services) -> ScalableTargets:
    made = ScalableTargets(services)
    made.register(SCOPE, {**KEY, "MinCapacity": 0, "MaxCapacity": 4})
    return made


def test_raising_the_minimum_raises_the_service_at_once(
    targets: ScalableTargets, services: Services
) -> None:
    targets.register(SCOPE, {**KEY, "MinCapacity": 2})
    assert services.desired[KEY["ResourceId"]] == 2
    targets.register(SCOPE, {**KEY, "MinCapacity": 0})
    assert services.desired[KEY["ResourceId"]] == 2


def test_lowering_the_maximum_lowers_the_service(
    targets: ScalableTargets, services: Services
) -> None:
    services.write(KEY["ResourceId"], 4)
    targets.register(SCOPE, {**KEY, "MaxCapacity": 1})
    assert services.desired[KEY["ResourceId"]] == 1


def test_only_what_is_named_changes(targets: ScalableTargets) -> None:
    before = targets.targets(SCOPE, {})[0]
    targets.register(SCOPE, {**KEY, "SuspendedState": {"DynamicScalingInSuspended": True}})
    after = targets.targets(SCOPE, {})[0]
    assert (after["MinCapacity"], after["MaxCapacity"]) == (0, 4)
    assert after["ScalableTargetARN"] == before["ScalableTargetARN"]
    assert after["SuspendedState"]["DynamicScalingInSuspended"]
    assert not after["SuspendedState"]["DynamicScalingOutSuspended"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({**KEY, "ResourceId": "service/cluster/new", "MinCapacity": 1}, "are required"),
        ({**KEY, "MinCapacity": 5}, "Maximum capacity cannot be less"),
        ({**KEY, "MinCapacity": -1}, "must not be negative"),
        ({**KEY, "ScalableDimension": "dynamodb:table:ReadCapacityUnits"}, "Unsupported"),
        ({**KEY, "ResourceId": "worker"}, "Unsupported resource id"),
        (
            {**KEY, "ResourceId": "service/cluster/gone", "MinCapacity": 0, "MaxCapacity": 1},
            "doesn't exist",
        ),
    ],
)
def test_refuses_what_aws_refuses(
    targets: ScalableTargets, services: Services, request_: dict[str, Any], text: str
) -> None:
    with pytest.raises(ScalingError, match=text) as caught:
        targets.register(SCOPE, request_)
    assert caught.value.code == "ValidationException"
    assert services.desired[KEY["ResourceId"]] == 0


def test_a_policy_keeps_its_arn_and_ends_with_its_target(targets: ScalableTargets) -> None:
    policy = {**KEY, "PolicyName": "up", "PolicyType": "StepScaling"}
    first = targets.put_policy(SCOPE, {**policy, "StepScalingPolicyConfiguration": {"Cooldown": 1}})
    second = targets.put_policy(
        SCOPE, {**policy, "StepScalingPolicyConfiguration": {"Cooldown": 2}}
    )
    assert second["PolicyARN"] == first["PolicyARN"]
    (found,) = targets.policies(SCOPE, {"PolicyNames": ["up"]})
    assert found["StepScalingPolicyConfiguration"] == {"Cooldown": 2}
    targets.deregister(SCOPE, KEY)
    assert targets.policies(SCOPE, {}) == []
    with pytest.raises(ScalingError, match="No scalable target"):
        targets.deregister(SCOPE, KEY)


def test_regions_and_accounts_are_apart(targets: ScalableTargets) -> None:
    assert targets.targets(("000000000000", "eu-west-1"), {}) == []
    assert targets.targets(("111111111111", "us-east-1"), {}) == []
    assert targets.targets(SCOPE, {"ResourceIds": ["service/cluster/other"]}) == []
    assert len(targets.targets(SCOPE, {"ServiceNamespace": "ecs"})) == 1
