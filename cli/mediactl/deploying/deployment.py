"""Deploying the app of an environment: what stands around the CDK CLI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mediactl.checking.reach import Reached
from mediactl.checking.smoke import SmokeReport
from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.bootstrap import check_bootstrap
from mediactl.deploying.cdk import deploying
from mediactl.deploying.difference import require_consent, stack_changes
from mediactl.deploying.phases import phases
from mediactl.deploying.settled import check_settled
from mediactl.deploying.stage import CHANGES, CdkStage
from mediactl.environment import Environment, LocalEnvironment, outputs_of
from mediactl.errors import NOT_FOUND, CommandError
from mediactl.options import Consent


@dataclass(frozen=True)
class DeployedStack:
    """A stack after a deployment.

    Attributes:
        stack: Name of the stack.
        region: Its region.
        status: Its status in CloudFormation.
        outputs: Its outputs by name.
    """

    stack: str
    region: str
    status: str
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """What a deployment did, or would do.

    Attributes:
        environment: The environment.
        commands: Commands of the CDK CLI that were run, or would be.
        stacks: The stacks afterwards.
        reached: Whether the services answer afterwards.
        smoke: How the main job went afterwards, if it was to be run.
    """

    environment: str
    commands: list[str]
    stacks: list[DeployedStack] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    smoke: SmokeReport | None = None

    @property
    def problems(self) -> list[str]:
        """What does not work although it is deployed."""
        failed = (
            [step for step in self.smoke.steps if step.result == "failed"] if self.smoke else []
        )
        return [
            *(f"{one.name} ({one.url}: {one.seen})" for one in self.reached if not one.ok),
            *(f"{step.name}: {step.detail}" for step in failed),
        ]


def deploy(
    environment: Environment,
    *,
    consent: Consent,
    say: Callable[[str], None],
    joining: Sequence[str] | None = None,
    only: Sequence[str] = (),
    dry_run: bool = False,
) -> Deployment:
    """Deploy the app of an environment, in as many deployments as its regions need.

    Args:
        environment: The environment. One on this machine is brought up, and has all its regions in
            one deployment.
        consent: What the person said to the loss of data.
        say: Tells the person a line.
        joining: Regions that get their store and nothing else. Default: what is missing is found
            out, and every region is a member in the end.
        only: Ids of the stacks that are meant, with those they need. Default: all.
        dry_run: Whether to return what would be done, and change nothing.

    Raises:
        CommandError: If something is not ready for it, data would be lost without consent, or it
            fails; the text names what failed first.
    """
    stage = CdkStage(environment, say, folder=CHANGES)
    name = environment.name
    if isinstance(environment, LocalEnvironment):
        command = f"mediactl local up -e {name}"
        if dry_run:
            return Deployment(name, [command])
        environment.plane().up()
        return Deployment(name, [command], _deployed(environment, environment.plane().stacks()))
    # What has nothing to join is deployed, too.
    turns = (phases(environment) or [()]) if joining is None else [tuple(joining)]
    commands = [
        stage.command(arguments)
        for turn in turns
        for arguments in (stage.synthesizing(turn, rules=True), deploying(stage.assembly, only))
    ]
    stacks: list[AssemblyStack] = []
    for number, turn in enumerate(turns, 1):
        if len(turns) > 1:
            waiting = f": {', '.join(turn)} with a store only" if turn else ": every region"
            say(f"deployment {number} of {len(turns)}{waiting}")
        stacks = stage.synthesize(turn, rules=True)
        _check_known(stacks, only)
        check_settled(environment, stacks)
        check_bootstrap(environment, stacks)
        require_consent(environment, stack_changes(stage, stacks), consent)
        if dry_run:
            return Deployment(name, commands)
        stage.deploy(stacks, only)
    return Deployment(name, commands, _deployed(environment, stacks))


def _deployed(environment: Environment, stacks: Sequence[AssemblyStack]) -> list[DeployedStack]:
    """Return status and outputs of stacks."""
    described = ((stack, environment.stack(stack.name, stack.region)) for stack in stacks)
    return [
        DeployedStack(stack.name, stack.region, found["StackStatus"], outputs_of(found))
        for stack, found in described
        if found is not None
    ]


def _check_known(stacks: Sequence[AssemblyStack], only: Sequence[str]) -> None:
    known = [stack.id for stack in stacks]
    for stack in only:
        if stack not in known:
            raise CommandError(
                f"the app has no stack {stack!r}",
                hint=f"its stacks are {', '.join(known)}",
                exit_code=NOT_FOUND,
            )
