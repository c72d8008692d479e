"""Deploying the CDK app of an environment, and taking it down: what surrounds the CDK CLI.

Regions join a stage in phases, since AWS needs the other side first: a region that is new gets its
store while it is named in the context ``joining``, and becomes a member with the next deployment,
one after the other (``docs/decisions/regions-join.md``). Which regions are members is read from the
table that is deployed, so that a deployment that was interrupted goes on where it stood.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from media_platform.contract.outputs import StackPart, stack_name
from mediactl.checking.reach import Reached
from mediactl.checking.smoke import SmokeReport
from mediactl.deploying.assembly import AssemblyStack, assembly_stacks
from mediactl.deploying.cdk import (
    OPTIONS,
    cdk_command,
    deploying,
    destroying,
    require_app,
    run_cdk,
    synthesizing,
)
from mediactl.deploying.changes import (
    KEPT,
    StackChange,
    resource_changes,
    section_changes,
)
from mediactl.environment import Environment, LocalEnvironment, outputs_of
from mediactl.errors import FAILED, NOT_FOUND, REFUSED, CommandError
from mediactl.local.state import StateFolder
from mediactl.options import Consent
from mediactl.regions.replicas import replica_regions, rest_until

_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
NOWHERE = "http://127.0.0.1:9"
"""Endpoint that answers nobody: a plane that is down can be synthesized, too."""

STUCK = {
    "ROLLBACK_COMPLETE": "its next deployment makes it anew; what it kept, such as buckets with"
    " a name, has to be removed before",
    "CREATE_FAILED": "delete it, then deploy again",
    "ROLLBACK_FAILED": "delete it, then deploy again",
    "DELETE_FAILED": "`mediactl destroy` goes on with it",
    "UPDATE_ROLLBACK_FAILED": "`aws cloudformation continue-update-rollback` puts it back",
}
"""What to do about a stack that is stuck, by its status."""


@dataclass(frozen=True)
class Failure:
    """What failed first in a stack; all else followed from it.

    Attributes:
        stack: Name of the stack.
        region: Its region.
        logical_id: Resource that failed.
        type: Its type.
        reason: What AWS said.
    """

    stack: str
    region: str
    logical_id: str
    type: str
    reason: str


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


@dataclass(frozen=True)
class Bootstrap:
    """The CDK bootstrap of a region.

    Attributes:
        region: The region.
        version: Its version before, 0 for none.
        needed: The version that the stage needs.
        command: Command of the CDK CLI that was run, or would be; ``None`` where it is new enough.
    """

    region: str
    version: int
    needed: int
    command: str | None


@dataclass(frozen=True)
class Bootstraps:
    """The CDK bootstrap of the regions of an environment.

    Attributes:
        environment: The environment.
        regions: Its regions.
    """

    environment: str
    regions: list[Bootstrap]


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


@dataclass(frozen=True)
class SynthesizedStack:
    """A stack that was synthesized.

    Attributes:
        id: Its path in the app.
        stack: Its name in CloudFormation.
        region: Its region.
        resources: How many resources it has.
        template: File of its template.
    """

    id: str
    stack: str
    region: str
    resources: int
    template: str


@dataclass(frozen=True)
class Synthesis:
    """What was synthesized.

    Attributes:
        environment: The environment.
        assembly: Folder of the cloud assembly.
        stacks: Its stacks, in the order of their deployment.
    """

    environment: str
    assembly: str
    stacks: list[SynthesizedStack]


class CdkStage:
    """The CDK app of an environment: synthesized, compared with what is deployed, deployed.

    Args:
        environment: The environment.
        say: Tells the person a line.
        offline: Whether nobody is asked for the account; the app gets that of the configuration,
            if there is one.

    Raises:
        CommandError: If its folder holds no app.
    """

    def __init__(
        self, environment: Environment, say: Callable[[str], None], *, offline: bool = False
    ) -> None:
        self.environment = environment
        self._say = say
        self._offline = offline
        self._app = environment.app.resolve()
        require_app(self._app)
        root = (
            StateFolder(environment.state_dir).commands
            if isinstance(environment, LocalEnvironment)
            else self._app / "cdk.out" / "mediactl" / environment.name
        )
        self.assembly = root / "assembly"
        self.log = root / "cdk.log"
        self._root = root

    @cached_property
    def account(self) -> str:
        """Account of the credentials, which is that of the environment."""
        account: str = self.environment.client("sts").get_caller_identity()["Account"]
        return account

    # --- the CDK CLI ----------------------------------------------------------------------

    def command(self, arguments: Sequence[str]) -> str:
        """Return a command of the CDK CLI as a person would type it."""
        import shlex  # noqa: PLC0415 - for --dry-run alone

        return shlex.join([*cdk_command(self._app), *arguments, *self._profile(), *OPTIONS])

    def run(
        self,
        arguments: Sequence[str],
        *,
        in_app: bool = False,
        schemas: bool = False,
        heard: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run a command of the CDK CLI.

        Args:
            arguments: The command and its arguments.
            in_app: Whether it runs in the folder of the app, which makes it synthesize.
            schemas: Whether the CDK asks the schemas of CloudFormation.
            heard: Called with every line of its output.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        run_cdk(
            self._app,
            [*arguments, *self._profile()],
            folder=self._app if in_app else self._root,
            log=self.log,
            environment={
                **self._variables(),
                "CDK_VALIDATION": "true" if schemas else "false",
            },
            heard=heard,
        )

    def _profile(self) -> list[str]:
        profile = getattr(self.environment, "profile", None)
        return ["--profile", profile] if profile else []

    def _variables(self) -> Mapping[str, str]:
        if isinstance(self.environment, LocalEnvironment):
            from mediactl.local.deploy import plane_variables  # noqa: PLC0415 - slow to import
            from mediactl.local.emulator_process import running_emulator  # noqa: PLC0415

            emulator = running_emulator(StateFolder(self.environment.state_dir))
            return plane_variables(emulator.url if emulator else NOWHERE)
        return {
            **os.environ,
            "AWS_REGION": self.environment.home_region,
        }

    def synthesizing(self, joining: Sequence[str] = (), *, rules: bool = False) -> list[str]:
        """Return the arguments that write the cloud assembly.

        Args:
            joining: Regions that get their store and nothing else yet.
            rules: Whether the rule packs of the stage are asked.
        """
        context = {"stage": self.environment.stage}
        if self._offline:
            known = getattr(self.environment, "account", None)
            context |= {"account": known} if known else {}
        elif not self.environment.is_local:
            context["account"] = self.account
        if joining:
            context["joining"] = ",".join(joining)
        if not rules:
            context["nag"] = "false"
        return synthesizing(self.assembly, context)

    def synthesize(
        self, joining: Sequence[str] = (), *, rules: bool = False, schemas: bool = False
    ) -> list[AssemblyStack]:
        """Write the cloud assembly, and return its stacks in the order of their deployment.

        Args:
            joining: Regions that get their store and nothing else yet.
            rules: Whether the rule packs of the stage are asked, which takes seconds.
            schemas: Whether the schemas of CloudFormation are asked, which takes more.

        Raises:
            CommandError: If it cannot be synthesized.
        """
        self._say("synthesizing the templates")
        self._root.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        arguments = self.synthesizing(joining, rules=rules)
        self.run(arguments, in_app=True, schemas=schemas)
        return self.stacks()

    def stacks(self) -> list[AssemblyStack]:
        """Return the stacks that were synthesized last."""
        return assembly_stacks(self.assembly, default_region=self.environment.home_region)

    # --- what is deployed -----------------------------------------------------------------

    def status(self, stack: AssemblyStack) -> str | None:
        """Return the status of a stack in CloudFormation, ``None`` if it is not deployed."""
        described = self.environment.stack(stack.name, stack.region)
        return str(described["StackStatus"]) if described else None

    def template(self, name: str, region: str) -> dict[str, Any] | None:
        """Return the template of a deployed stack, ``None`` if there is no such stack."""
        stack = self.environment.stack(name, region)
        if stack is None or stack["StackStatus"] in {"REVIEW_IN_PROGRESS", "DELETE_COMPLETE"}:
            return None
        body = self.environment.client("cloudformation", region).get_template(
            StackName=name, TemplateStage="Original"
        )["TemplateBody"]
        if isinstance(body, str):
            raise CommandError(
                f"the template of {name} in {region} is no JSON, so the CDK did not deploy it",
                hint="check the stage of the environment",
            )
        return dict(body)

    def changes(self, stacks: Sequence[AssemblyStack]) -> list[StackChange]:
        """Return what a deployment of stacks would change, also stacks that the app lost."""
        found = []
        for stack in stacks:
            deployed = self.template(stack.name, stack.region)
            resources = resource_changes(
                deployed or {}, stack.template, account=self.account, region=stack.region
            )
            sections = section_changes(deployed, stack.template) if deployed else []
            change: Literal["new", "changed", "none"] = "none"
            if deployed is None:
                change = "new"
            elif resources or sections:
                change = "changed"
            found.append(StackChange(stack.name, stack.region, change, resources, sections))
        known = {(stack.name, stack.region) for stack in stacks}
        for name, region in self._places():
            if (name, region) not in known and self.template(name, region) is not None:
                found.append(StackChange(name, region, "left"))
        return found

    def _places(self) -> Iterator[tuple[str, str]]:
        """Yield name and region of every stack that the stage may have."""
        from mediactl.environment import CLOUDFRONT_REGION  # noqa: PLC0415

        stage = self.environment.stage
        for part in (StackPart.EDGE, StackPart.MEDIA, StackPart.STORE):
            for region in self.environment.regions:
                yield stack_name(stage, part), region
        if CLOUDFRONT_REGION not in self.environment.regions:
            yield stack_name(stage, StackPart.EDGE), CLOUDFRONT_REGION

    def phases(self) -> list[tuple[str, ...]]:
        """Return which regions are joining, deployment by deployment; the last is always none.

        A region is a member once the table has a replica there. Of those that are not, one becomes
        a member with each deployment, once its store is there.
        """
        home, *others = self.environment.regions
        if not others or self.environment.is_local:
            return [()]
        store = stack_name(self.environment.stage, StackPart.STORE)
        begun = self.template(store, home) is not None
        members = replica_regions(self.environment)
        ready: list[str] = []
        fresh: list[str] = []
        for region in others:
            if region not in members:
                there = self.environment.stack(store, region) is not None
                (ready if there and begun else fresh).append(region)
        waiting = [*ready, *fresh]
        if not waiting:
            return [()]
        phases = [tuple(waiting)] if not ready else []
        return [*phases, *(tuple(waiting[number:]) for number in range(1, len(waiting) + 1))]

    def check_settled(self, stacks: Sequence[AssemblyStack]) -> None:
        """Check that nothing else changes stacks, and that none is stuck.

        Raises:
            CommandError: If one is; nothing happened then.
        """
        for stack in stacks:
            status = self.status(stack) or ""
            where = f"{stack.name} in {stack.region}"
            if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
                raise CommandError(
                    f"{where} is being changed ({status})",
                    hint="wait until that is over; "
                    f"`mediactl doctor -e {self.environment.name}` tells",
                    exit_code=REFUSED,
                )
            if status in STUCK and status != "ROLLBACK_COMPLETE":
                raise CommandError(
                    f"{where} is half deployed ({status})",
                    hint=STUCK[status],
                    exit_code=REFUSED,
                )

    # --- bootstrap ------------------------------------------------------------------------

    def bootstrap_versions(self, stacks: Sequence[AssemblyStack]) -> dict[str, tuple[int, int]]:
        """Return the version of the CDK bootstrap by region, 0 for none, and that it must have."""
        wanted: dict[str, tuple[str, int]] = {}
        for stack in stacks:
            if stack.bootstrap_parameter:
                least = wanted.get(stack.region, ("", 0))[1]
                wanted[stack.region] = (
                    stack.bootstrap_parameter,
                    max(least, stack.bootstrap_version),
                )
        return {
            region: (self._bootstrap_version(region, parameter), least)
            for region, (parameter, least) in wanted.items()
        }

    def _bootstrap_version(self, region: str, parameter: str) -> int:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

        try:
            found = self.environment.client("ssm", region).get_parameter(Name=parameter)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ParameterNotFound":
                return 0
            raise
        return int(found["Parameter"]["Value"])

    def check_bootstrap(self, stacks: Sequence[AssemblyStack]) -> None:
        """Check that every region is ready for the CDK.

        Raises:
            CommandError: If one is not.
        """
        for region, (version, least) in self.bootstrap_versions(stacks).items():
            if version < least:
                raise CommandError(
                    f"{region} is not bootstrapped for the CDK"
                    if version == 0
                    else f"the CDK bootstrap of {region} has version {version}, needed is {least}",
                    hint=f"run `mediactl bootstrap -e {self.environment.name}`",
                    exit_code=FAILED,
                )

    # --- deploy ---------------------------------------------------------------------------

    def deploy(self, stacks: Sequence[AssemblyStack], only: Sequence[str] = ()) -> None:
        """Deploy what was synthesized.

        Args:
            stacks: Its stacks.
            only: Ids of the stacks that are meant, with those they need. Default: all.

        Raises:
            CommandError: If it fails; the text names what failed first.
            KeyboardInterrupt: On Ctrl-C, after it was told what CloudFormation still does.
        """
        self._change(deploying(self.assembly, only), stacks)

    def destroy(
        self, stacks: Sequence[AssemblyStack], only: Sequence[str] = (), *, alone: bool = False
    ) -> None:
        """Destroy what was synthesized, as :meth:`deploy` deploys.

        Args:
            stacks: Its stacks.
            only: Ids of the stacks that are meant, with those that need them. Default: all.
            alone: Whether those that need them stay.
        """
        self._change(destroying(self.assembly, only, alone=alone), list(reversed(stacks)))

    def _change(self, arguments: list[str], stacks: Sequence[AssemblyStack]) -> None:
        from mediactl.deploying.progress import shown  # noqa: PLC0415 - imports rich

        since = datetime.now(UTC)
        try:
            with shown(stacks, self._say) as heard:
                self.run(arguments, heard=heard)
        except KeyboardInterrupt:
            self._say(self._told_of_interruption(stacks))
            raise
        except CommandError as error:
            raise self._failed(error, stacks, since) from None

    def _told_of_interruption(self, stacks: Sequence[AssemblyStack]) -> str:
        going = [
            f"{stack.name} in {stack.region} ({status})"
            for stack in stacks
            if (status := self.status(stack) or "").endswith("_IN_PROGRESS")
        ]
        if not going:
            return "the CDK CLI was ended; CloudFormation changes no stack"
        return (
            f"the CDK CLI was ended; CloudFormation goes on with {', '.join(going)}: "
            f"`mediactl doctor -e {self.environment.name}` tells when that is over"
        )

    def _failed(
        self, error: CommandError, stacks: Sequence[AssemblyStack], since: datetime
    ) -> CommandError:
        """Return the error of a failed deployment, with what failed first and what to do."""
        for stack in stacks:
            failure = first_failure(self.environment, stack, since)
            if failure is not None:
                status = self.status(stack) or ""
                then = STUCK.get(status) or (
                    "the stack is as it was before; mend that, and deploy again"
                    if status in _SETTLED
                    else "mend that, and do it again"
                )
                return CommandError(
                    f"{failure.logical_id} ({failure.type}) of {stack.name} in {stack.region}"
                    f" failed: {failure.reason}",
                    hint=f"{then}; the output of the CDK CLI is in {self.log}",
                )
        return error

    def deployed(self, stacks: Sequence[AssemblyStack]) -> list[DeployedStack]:
        """Return status and outputs of stacks."""
        found = []
        for stack in stacks:
            described = self.environment.stack(stack.name, stack.region)
            if described is not None:
                found.append(
                    DeployedStack(
                        stack.name, stack.region, described["StackStatus"], outputs_of(described)
                    )
                )
        return found

    # --- what destroying leaves -----------------------------------------------------------

    def left_behind(self, stacks: Sequence[AssemblyStack]) -> list[Left]:
        """Return what stays of deployed stacks when they are destroyed."""
        found = []
        for stack in stacks:
            template = self.template(stack.name, stack.region)
            if template is None:
                continue
            kept = {
                logical_id: resource["Type"]
                for logical_id, resource in template["Resources"].items()
                if resource.get("DeletionPolicy") in KEPT
            }
            for logical_id, physical_id in self._physical_ids(stack):
                if logical_id in kept:
                    found.append(Left(stack.name, stack.region, kept[logical_id], physical_id))
        return found

    def _physical_ids(self, stack: AssemblyStack) -> Iterator[tuple[str, str]]:
        client = self.environment.client("cloudformation", stack.region)
        pages = client.get_paginator("list_stack_resources").paginate(StackName=stack.name)
        for page in pages:
            for one in page["StackResourceSummaries"]:
                yield one["LogicalResourceId"], one.get("PhysicalResourceId", "")

    def young_replica(self) -> tuple[str, datetime] | None:
        """Return the youngest replica that keeps the home region in the table, and until when."""
        found = [
            (until, region)
            for region in replica_regions(self.environment)
            if (until := rest_until(self.environment, region)) is not None
        ]
        until, region = max(found, default=(None, ""))
        return (region, until) if until is not None else None


def first_failure(
    environment: Environment, stack: AssemblyStack, since: datetime
) -> Failure | None:
    """Return what failed first in a stack, ``None`` if nothing did.

    Args:
        environment: The environment.
        stack: The stack.
        since: When its deployment began; what failed before is of another.
    """
    if environment.stack(stack.name, stack.region) is None:
        return None
    client = environment.client("cloudformation", stack.region)
    failed: dict[str, Any] | None = None
    # Events come newest first; a clock may be a little wrong.
    begun = since - timedelta(seconds=5)
    for page in client.get_paginator("describe_stack_events").paginate(StackName=stack.name):
        for event in page["StackEvents"]:
            if event["Timestamp"] < begun:
                break
            reason = event.get("ResourceStatusReason", "")
            is_cause = event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason
            is_stack = event["LogicalResourceId"] == stack.name
            if is_cause and not (is_stack and failed is not None):
                failed = event
        else:
            continue
        break
    if failed is None:
        return None
    return Failure(
        stack.name,
        stack.region,
        failed["LogicalResourceId"],
        failed["ResourceType"],
        " ".join(str(failed.get("ResourceStatusReason", "no reason is told")).split()),
    )


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
    stage = CdkStage(environment, say)
    name = environment.name
    if isinstance(environment, LocalEnvironment):
        command = f"mediactl local up -e {name}"
        if dry_run:
            return Deployment(name, [command])
        environment.plane().up()
        return Deployment(name, [command], stage.deployed(environment.plane().stacks()))
    phases = stage.phases() if joining is None else [tuple(joining)]
    commands = [
        stage.command(arguments)
        for phase in phases
        for arguments in (stage.synthesizing(phase, rules=True), deploying(stage.assembly, only))
    ]
    stacks: list[AssemblyStack] = []
    for number, phase in enumerate(phases, 1):
        if len(phases) > 1:
            waiting = f": {', '.join(phase)} with a store only" if phase else ": every region"
            say(f"deployment {number} of {len(phases)}{waiting}")
        stacks = stage.synthesize(phase, rules=True)
        _check_known(stacks, only)
        stage.check_settled(stacks)
        stage.check_bootstrap(stacks)
        require_consent(environment, stage.changes(stacks), consent)
        if dry_run:
            return Deployment(name, commands)
        stage.deploy(stacks, only)
    return Deployment(name, commands, stage.deployed(stacks))


def _check_known(stacks: Sequence[AssemblyStack], only: Sequence[str]) -> None:
    known = [stack.id for stack in stacks]
    for stack in only:
        if stack not in known:
            raise CommandError(
                f"the app has no stack {stack!r}",
                hint=f"its stacks are {', '.join(known)}",
                exit_code=NOT_FOUND,
            )


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
        CommandError: If nothing is deployed, the person did not agree, or it fails.
    """
    stage = CdkStage(environment, say)
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
        stage.left_behind(there),
    )
    if dry_run:
        return done
    young = stage.young_replica()
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


def bootstrap(
    environment: Environment, *, say: Callable[[str], None], dry_run: bool = False
) -> Bootstraps:
    """Make every region of an environment ready for the CDK, where it is not.

    Args:
        environment: The environment.
        say: Tells the person a line.
        dry_run: Whether to return what would be done, and change nothing.

    Raises:
        CommandError: If the CDK CLI fails.
    """
    stage = CdkStage(environment, say)
    regions = []
    for region, (version, needed) in stage.bootstrap_versions(stage.synthesize()).items():
        arguments = ["bootstrap", f"aws://{stage.account}/{region}"]
        command = stage.command(arguments) if version < needed else None
        if command is not None and not dry_run:
            say(f"bootstrapping {region}")
            stage.run(arguments)
        regions.append(Bootstrap(region, version, needed, command))
    return Bootstraps(environment.name, regions)
