"""Destroying the stacks of an environment, and what stays of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.cdk import destroying
from mediactl.deploying.changes import KEPT
from mediactl.deploying.difference import lost_stacks
from mediactl.deploying.stage import CHANGES, CdkStage
from mediactl.environment import Environment, LocalEnvironment
from mediactl.errors import NOT_FOUND, CommandError
from mediactl.options import Consent
from mediactl.regions.replicas import replica_regions, rest_until


@dataclass(frozen=True)
class Left:
    """A resource that stays when its stack is destroyed.

    Attributes:
        stack: Name of the stack.
        region: Its region.
        type: Its type.
        id: Its name or id in AWS.
    """

    stack: str
    region: str
    type: str
    id: str


@dataclass(frozen=True)
class Destruction:
    """What was destroyed, or would be.

    Attributes:
        environment: The environment.
        commands: Commands of the CDK CLI that were run, or would be.
        stacks: The stacks, in the order in which they go.
        left: What stays of them.
    """

    environment: str
    commands: list[str]
    stacks: list[str]
    left: list[Left]


def destroy(
    environment: Environment, *, consent: Consent, say: Callable[[str], None], dry_run: bool = False
) -> Destruction:
    """Destroy all stacks of an environment, those that need others first.

    Args:
        environment: The environment.
        consent: What the person said to it.
        say: Tells the person a line.
        dry_run: Whether to return what would be done, and change nothing.

    Raises:
        CommandError: If nothing is deployed, somebody else changes a stack, the person did not
            agree, or it fails.
    """
    stage = CdkStage(environment, say, folder=CHANGES)
    if not dry_run:
        consent.require(environment, "destroy every stack, with all data that it does not keep")
    stacks = stage.synthesize()
    there = [stack for stack in stacks if stage.template(stack.name, stack.region) is not None]
    if not there:
        raise CommandError(
            f"no stack of {environment.name} is deployed",
            hint="check stage, regions and credentials",
            exit_code=NOT_FOUND,
        )
    done = Destruction(
        environment.name,
        [stage.command(stage.synthesizing()), stage.command(destroying(stage.assembly))],
        [f"{stack.name} in {stack.region}" for stack in reversed(there)],
        left_behind(stage, there),
    )
    for name, region in lost_stacks(stage, stacks):
        say(f"{name} in {region} is not in the app any more, and stays")
    if dry_run:
        return done
    young = young_replica(environment)
    if young is not None:
        region, old = young
        say(
            f"the replica of the table in {region} is new: DynamoDB may refuse to delete the table"
            f" until {old:%Y-%m-%d %H:%M} UTC; if so, do this again then"
        )
    stage.destroy(there)
    if isinstance(environment, LocalEnvironment):
        environment.plane().forget_deployment()
    return done


def left_behind(stage: CdkStage, stacks: Sequence[AssemblyStack]) -> list[Left]:
    """Return what stays of deployed stacks when they are destroyed."""
    found = []
    for stack in stacks:
        template = stage.template(stack.name, stack.region)
        if template is None:
            continue
        kept = {
            logical_id: resource["Type"]
            for logical_id, resource in template["Resources"].items()
            if resource.get("DeletionPolicy") in KEPT
        }
        for logical_id, physical_id in _physical_ids(stage.environment, stack):
            if logical_id in kept:
                found.append(Left(stack.name, stack.region, kept[logical_id], physical_id))
    return found


def _physical_ids(environment: Environment, stack: AssemblyStack) -> Iterator[tuple[str, str]]:
    client = environment.client("cloudformation", stack.region)
    pages = client.get_paginator("list_stack_resources").paginate(StackName=stack.name)
    for page in pages:
        for one in page["StackResourceSummaries"]:
            yield one["LogicalResourceId"], one.get("PhysicalResourceId", "")


def young_replica(environment: Environment) -> tuple[str, datetime] | None:
    """Return the youngest replica that keeps the home region in the table, and until when."""
    found = [
        (until, region)
        for region in replica_regions(environment)
        if (until := rest_until(environment, region)) is not None
    ]
    until, region = max(found, default=(None, ""))
    return (region, until) if until is not None else None
