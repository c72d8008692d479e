"""In which deployments a region joins, whatever of it and of others is there, and what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from media_platform.contract.outputs import StackPart, StoreOutput, stack_name
from mediactl.environment import AwsEnvironment
from mediactl.errors import NOT_FOUND, USAGE, CommandError
from mediactl.regions.membership import Regions, deploying_by_hand

HOME, SECOND, THIRD = REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")


class Deployed(AwsEnvironment):
    """A stage of which AWS says what a test says.

    Args:
        stores: Regions that have their store.
        replicas: Regions in which the table is.
        media: Regions that have their services.
        hours: Age of the replicas.
    """

    def __init__(
        self,
        stores: tuple[str, ...] = (),
        replicas: tuple[str, ...] = (),
        media: tuple[str, ...] = (),
        *,
        hours: float = 48,
    ) -> None:
        super().__init__("prod", stage="prod", regions=REGIONS, app=Path("nowhere"))
        self._has = {StackPart.STORE: {HOME, *stores}, StackPart.MEDIA: {HOME, *media}}
        self._replicas = replicas
        self._made = datetime.now(UTC) - timedelta(hours=hours)

    def stack(self, name: str, region: str) -> dict[str, Any] | None:
        for part, regions in self._has.items():
            if name == stack_name("prod", part) and region in regions:
                output = {"OutputKey": StoreOutput.TABLE_NAME.value, "OutputValue": "videos"}
                return {"StackName": name, "StackStatus": "CREATE_COMPLETE", "Outputs": [output]}
        return None

    def _make_client(self, service: str, region: str) -> Any:
        del service, region
        return self

    def describe_table(self, **_: Any) -> dict[str, Any]:
        return {
            "Table": {
                "Replicas": [{"RegionName": region} for region in (HOME, *self._replicas)],
                "CreationDateTime": self._made,
                "ItemCount": 12,
                "TableSizeBytes": 3_000_000_000,
            }
        }


@pytest.mark.parametrize(
    ("stores", "replicas", "media", "state", "phases"),
    [
        ((), (), (), "absent", [(SECOND, THIRD), (THIRD,)]),
        ((SECOND,), (), (), "joining", [(THIRD,)]),
        ((SECOND,), (SECOND,), (), "joining", [(THIRD,)]),
        ((SECOND,), (SECOND,), (SECOND,), "member", []),
        # Another one, whose deployment was interrupted, keeps its replica.
        ((THIRD,), (THIRD,), (), "absent", [(SECOND,), ()]),
        ((THIRD,), (THIRD,), (THIRD,), "absent", [(SECOND,), ()]),
    ],
)
def test_a_region_joins_and_nothing_is_taken_from_others(
    stores: tuple[str, ...],
    replicas: tuple[str, ...],
    media: tuple[str, ...],
    state: str,
    phases: list[tuple[str, ...]],
) -> None:
    regions = Regions(Deployed(stores, replicas, media))
    assert regions.state(SECOND) == state
    assert regions.phases(SECOND) == phases
    plan = regions.to_add(SECOND)
    assert [step.done for step in plan.steps[1:3]] == [state != "absent", state == "member"]
    commands = [step.command for step in plan.steps]
    assert commands[3] == f"mediactl region replicate {SECOND} -e prod"
    assert all(deploying_by_hand("prod", phase) in commands for phase in phases)


def test_a_plan_says_what_to_think_of() -> None:
    notes = "\n".join(Regions(Deployed()).to_add(SECOND).notes)
    assert "12 items of 3.0 GB" in notes
    assert f"for 24 hours after it {HOME} cannot leave the table" in notes
    joined = ((SECOND,), (SECOND,), (SECOND,))
    (note,) = Regions(Deployed(*joined, hours=23)).to_add(SECOND).notes
    assert f"UTC {HOME} cannot leave the table" in note
    assert Regions(Deployed(*joined, hours=25)).to_add(SECOND).notes == []


def test_a_region_that_the_stage_is_not_to_have_is_told() -> None:
    regions = Regions(Deployed())
    for refused in (regions.phases, regions.require_leavable):
        with pytest.raises(CommandError, match="'prod' has no region 'us-west-2', but") as error:
            refused("us-west-2")
        assert error.value.exit_code == USAGE
    with pytest.raises(CommandError, match=f"{SECOND} is no part of prod") as error:
        regions.require_leavable(SECOND)
    assert error.value.exit_code == NOT_FOUND
