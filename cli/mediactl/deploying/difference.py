"""What a deployment would change of what is deployed, and whether data would be lost by that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from media_platform.contract.outputs import StackPart, stack_name
from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.changes import StackChange, resource_changes, section_changes
from mediactl.deploying.stage import CdkStage
from mediactl.environment import CLOUDFRONT_REGION, Environment, is_made
from mediactl.options import Consent


@dataclass(frozen=True)
class Difference:
    """What a deployment would change.

    Attributes:
        environment: The environment.
        differs: Whether it would change anything.
        loses: Whether it would replace or remove what holds data.
        stacks: Every stack.
    """

    environment: str
    differs: bool
    loses: bool
    stacks: list[StackChange]


def difference(stage: CdkStage) -> Difference:
    """Synthesize the stage of an environment, and return what a deployment would change."""
    changes = stack_changes(stage, stage.synthesize())
    return Difference(
        stage.environment.name,
        differs=any(one.change != "none" for one in changes),
        loses=any(resource.loses for one in changes for resource in one.resources),
        stacks=changes,
    )


def stack_changes(stage: CdkStage, stacks: Sequence[AssemblyStack]) -> list[StackChange]:
    """Return what a deployment of stacks would change, also stacks that the app lost."""
    found = []
    for stack in stacks:
        deployed = None
        if is_made(stage.environment.stack_status(stack.name, stack.region)):
            deployed = stage.template(stack.name, stack.region)
        resources = resource_changes(
            deployed or {}, stack.template, account=stage.account, region=stack.region
        )
        sections = section_changes(deployed, stack.template) if deployed else []
        change: Literal["new", "changed", "none"] = "none"
        if deployed is None:
            change = "new"
        elif resources or sections:
            change = "changed"
        found.append(StackChange(stack.name, stack.region, change, resources, sections))
    lost = lost_stacks(stage, stacks)
    return [*found, *(StackChange(name, region, "left") for name, region in lost)]


def lost_stacks(stage: CdkStage, stacks: Sequence[AssemblyStack]) -> list[tuple[str, str]]:
    """Return name and region of stacks that are deployed, and that the app has no more.

    Args:
        stage: The stage.
        stacks: Stacks of the app.
    """
    known = {(stack.name, stack.region) for stack in stacks}
    return [
        (name, region)
        for name, region in places(stage.environment)
        if (name, region) not in known and stage.template(name, region) is not None
    ]


def places(environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield name and region of every stack that the stage may have."""
    regions = list(dict.fromkeys([*environment.regions, *environment.stage_regions]))
    for part in (StackPart.EDGE, StackPart.MEDIA, StackPart.STORE):
        for region in regions:
            yield stack_name(environment.stage, part), region
    if CLOUDFRONT_REGION not in regions:
        yield stack_name(environment.stage, StackPart.EDGE), CLOUDFRONT_REGION


def require_consent(
    environment: Environment, changes: Sequence[StackChange], consent: Consent
) -> None:
    """Check that a deployment loses no data, or that the person agreed.

    Raises:
        CommandError: If it would, and the person did not.
    """
    lost = [
        f"{resource.path} ({', '.join([resource.type, *resource.properties])})"
        for stack in changes
        for resource in stack.resources
        if resource.loses
    ]
    if lost:
        consent.require(environment, f"replace or remove {'; '.join(lost)} with what they hold")
