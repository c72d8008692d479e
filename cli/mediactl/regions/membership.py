"""What regions a stage is to have and has, and how one joins or leaves.

A region joins in two deployments, since AWS needs the other side first
(``docs/decisions/regions-join.md``), and leaves in the reverse order. What is done already is read
from what is deployed, so that whatever was interrupted is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from media_platform.contract import table
from media_platform.contract.delivery import delivery_parameter_name
from media_platform.contract.outputs import StackPart, StoreOutput, stack_name
from mediactl.asking import MissingRegion, ask_regions
from mediactl.deploying.cdk import destroying
from mediactl.deploying.deployment import deploy
from mediactl.deploying.destruction import Left, left_behind
from mediactl.deploying.phases import phases, waiting_regions
from mediactl.deploying.stage import TOOLKIT, CdkStage
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, REFUSED, USAGE, CommandError
from mediactl.options import Consent
from mediactl.regions.replicas import described_table, replica_regions, rest_until


class RegionState(StrEnum):
    """How far a region is a part of its stage."""

    HOME = "home"
    MEMBER = "member"
    JOINING = "joining"
    ABSENT = "absent"


@dataclass(frozen=True)
class Step:
    """Something that has to be done.

    Attributes:
        what: What, and how long it takes.
        command: The command that does it, ``None`` if a person does it otherwise.
        done: Whether it is done.
    """

    what: str
    command: str | None = None
    done: bool = False


@dataclass(frozen=True)
class RegionPlan:
    """What there is of a region, and what is to be done.

    Attributes:
        region: The region.
        state: ``home``, ``member``, ``joining`` or ``absent``.
        steps: What makes it a member, or takes it away, in order.
        notes: What is to be thought of.
    """

    region: str
    state: str
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """Plans for regions of an environment.

    Attributes:
        environment: The environment.
        regions: A plan for each region.
        missing_regions: Regions that do not answer.
    """

    environment: str
    regions: list[RegionPlan]
    missing_regions: list[MissingRegion] = field(default_factory=list)


class Regions:
    """The regions of an environment.

    Args:
        environment: The environment.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.home = environment.home_region

    @property
    def wanted(self) -> tuple[str, ...]:
        """Regions that the stage is to have."""
        return self._environment.stage_regions

    def state(self, region: str) -> RegionState:
        """Return how far a region is a part of the stage."""
        if region == self.home:
            return RegionState.HOME
        if not self._environment.stands(StackPart.STORE, region):
            return RegionState.ABSENT
        if region in replica_regions(self._environment) and self._environment.stands(
            StackPart.MEDIA, region
        ):
            return RegionState.MEMBER
        return RegionState.JOINING

    def phases(self, region: str) -> list[tuple[str, ...]]:
        """Return which regions are ``joining`` in each deployment that makes one a member.

        Raises:
            CommandError: If the stage is not to have the region.
        """
        self._require_wanted(
            region,
            hint="add it to `regions` of the stage in cdk.json, with its availability zones and a"
            " network of its own",
        )
        if self.state(region) in {RegionState.HOME, RegionState.MEMBER}:
            return []
        return phases(self._environment, [region])

    def to_add(self, region: str) -> RegionPlan:
        """Return what makes a region a member.

        Raises:
            CommandError: As :meth:`phases`.
        """
        turns, state = self.phases(region), self.state(region)
        if state is RegionState.HOME:
            return RegionPlan(region, state.value)
        name, stage = self._environment.name, self._environment.stage
        steps = [
            Step(
                "the CDK is bootstrapped there",
                f"mediactl bootstrap -e {name}",
                done=self._is_bootstrapped(region),
            ),
            Step(
                "its store is made, which copies to the regions that are there; nothing else"
                " changes (minutes)",
                deploying_by_hand(stage, waiting_regions(self._environment) or [region]),
                done=state is not RegionState.ABSENT,
            ),
            Step(
                "the table gets a replica there (DynamoDB copies all items, minutes to hours by"
                " their number), buckets are copied to it, its services start, viewers near it are"
                " sent there",
                deploying_by_hand(stage, turns[-1] if turns else []),
                done=state is RegionState.MEMBER,
            ),
            Step(
                "what is older than the region is copied there (hours, by its size); until then it"
                " is played from the region that made it",
                f"mediactl region replicate {region} -e {name}",
            ),
        ]
        return RegionPlan(region, state.value, steps, self._notes(region, state))

    def _notes(self, region: str, state: RegionState) -> list[str]:
        """Return what is to be thought of before a region joins, and after."""
        if state is RegionState.MEMBER:
            rest = rest_until(self._environment, region)
            if rest is None:
                return []
            return [f"until {rest:%Y-%m-%d %H:%M} UTC {self.home} cannot leave the table: {_REST}"]
        described = described_table(self._environment) or {}
        items = described.get("ItemCount", 0)
        gigabytes = described.get("TableSizeBytes", 0) / 1e9
        counted = f"{items} items of {gigabytes:.1f} GB in all, as counted within six hours"
        jobs = "a job of S3 Batch Operations costs 0.25 USD and 1.00 USD a million objects"
        estimate = f"`mediactl estimate {self._environment.stage}` tells"
        return [
            f"the table has {counted}; each is written once more, and so is every later write",
            f"files and media are stored once more, and cost their way there once; {jobs}",
            f"load balancer, network, alarms and tasks cost what they do in the first: {estimate}",
            f"for 24 hours after it {self.home} cannot leave the table: {_REST}",
        ]

    def plan(self, names: Sequence[str]) -> Plan:
        """Return what makes regions members.

        Raises:
            CommandError: If the stage is not to have one of them.
        """
        # The home region is asked for each; without it nothing is known of any.
        replica_regions(self._environment)
        found = ask_regions(self._environment, names, self.to_add)
        return Plan(self._environment.name, list(found.by_region.values()), found.missing)

    def require_leavable(self, region: str) -> None:
        """Check that a region can leave the stage.

        Raises:
            CommandError: If it cannot.
        """
        name = self._environment.name
        self._require_wanted(
            region, hint="a region stays in `regions` of the stage in cdk.json until it is gone"
        )
        if region == self.home:
            raise CommandError(
                f"{region} is the home region, where the users are and which others join",
                hint=f"`mediactl destroy -e {name}` takes all regions down",
                exit_code=REFUSED,
            )
        if self.state(region) is RegionState.ABSENT:
            raise CommandError(
                f"{region} is no part of {name}",
                hint="take it out of `regions` of the stage in cdk.json",
                exit_code=NOT_FOUND,
            )
        at_home, made_there = self.videos_of(region)
        if at_home:
            raise CommandError(
                f"{len(at_home)} videos are at home in {region}, such as {at_home[0]}",
                hint=f"make another region their home: `mediactl region takeover {region}"
                f" --by {self.home} -e {name}`",
                exit_code=REFUSED,
            )
        if made_there:
            raise CommandError(
                f"the media of {len(made_there)} videos were made in {region}, such as those of"
                f" {made_there[0]}, and are delivered under its name",
                hint="have them made again: `mediactl videos transcode VIDEO`",
                exit_code=REFUSED,
            )

    def videos_of(self, region: str) -> tuple[list[str], list[str]]:
        """Return the videos that are at home in a region, and others whose media were made there.

        No index lists them.
        """
        at_home: list[str] = []
        made_there: list[str] = []
        pages = (
            self._environment.client("dynamodb")
            .get_paginator("scan")
            .paginate(
                TableName=self._environment.output(StoreOutput.TABLE_NAME),
                FilterExpression="#sk = :video AND (#home = :region OR #run = :region)",
                ExpressionAttributeNames={
                    "#sk": table.SORT_KEY,
                    "#home": "home_region",
                    "#run": "run_region",
                },
                ExpressionAttributeValues={
                    ":video": {"S": table.video_key("").sk},
                    ":region": {"S": region},
                },
                ConsistentRead=True,
            )
        )
        for page in pages:
            for item in page["Items"]:
                found = at_home if item["home_region"]["S"] == region else made_there
                found.append(str(item["video_id"]["S"]))
        return at_home, made_there

    def unprotect(self, region: str) -> None:
        """Let the replica of the table in a region be deleted, which a stage with data forbids."""
        if region not in replica_regions(self._environment):
            return
        client = self._environment.client("dynamodb", region)
        name = self._environment.output(StoreOutput.TABLE_NAME)
        if client.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
            client.update_table(TableName=name, DeletionProtectionEnabled=False)
            client.get_waiter("table_exists").wait(TableName=name)

    def forget_delivery(self, region: str) -> None:
        """Remove the delivery document of a region that nobody serves any more.

        The Edge stack no longer may: its right went with the region.
        """
        ssm = self._environment.client("ssm", region)
        with suppress(ssm.exceptions.ParameterNotFound):
            ssm.delete_parameter(Name=delivery_parameter_name(self._environment.stage))

    def _require_wanted(self, region: str, *, hint: str) -> None:
        if region not in self.wanted:
            raise CommandError(
                f"stage {self._environment.stage!r} has no region {region!r}, but "
                f"{', '.join(self.wanted)}",
                hint=hint,
                exit_code=USAGE,
            )

    def _is_bootstrapped(self, region: str) -> bool:
        return self._environment.stack(TOOLKIT, region) is not None


_REST = "DynamoDB keeps the region from which a replica was added for a day"


def deploying_by_hand(stage: str, joining: Sequence[str]) -> str:
    """Return the command by which a person does a deployment without mediactl.

    Args:
        stage: The stage.
        joining: Regions that get their store and nothing else yet.
    """
    held = f" -c joining={','.join(joining)}" if joining else ""
    return f"npx cdk deploy --all -c stage={stage}{held}"


@dataclass(frozen=True)
class Added:
    """How a region became a member, or would.

    Attributes:
        environment: The environment.
        region: The region.
        commands: Commands that do the same by hand, in order; none if it was a member.
    """

    environment: str
    region: str
    commands: list[str]


def join(
    environment: Environment,
    region: str,
    say: Callable[[str], None],
    *,
    consent: Consent,
    dry_run: bool,
) -> Added:
    """Make a region a member of its stage.

    Args:
        environment: The environment.
        region: The region.
        say: Tells the person a line.
        consent: What the person said to the loss of data that a deployment may bring.
        dry_run: Whether nothing is done.

    Raises:
        CommandError: If the stage is not to have the region, or a deployment fails.
    """
    from mediactl.regions.takeover import RegionStore  # noqa: PLC0415 - imports botocore

    turns = Regions(environment).phases(region)
    commands = [deploying_by_hand(environment.stage, joining) for joining in turns]
    if turns and not dry_run:
        for number, joining in enumerate(turns, 1):
            say(f"deployment {number} of {len(turns)}: {commands[number - 1]}")
            _deploy(environment, joining, consent, say)
        RegionStore(environment, environment.home_region).readmit(region)
    return Added(environment.name, region, commands)


@dataclass(frozen=True)
class Removed:
    """How a region left its stage, or would.

    Attributes:
        environment: The environment.
        region: The region.
        commands: Commands that do the same by hand, in order.
        left: What stays of its stacks.
    """

    environment: str
    region: str
    commands: list[str]
    left: list[Left]


def leave(
    environment: Environment,
    region: str,
    *,
    consent: Consent,
    say: Callable[[str], None],
    dry_run: bool,
) -> Removed:
    """Take a region away from its stage: it joins in reverse.

    Its services go first, then its replica and the rules that copy to it, then its store. Whatever
    was interrupted is gone on with.

    Args:
        environment: The environment.
        region: The region.
        consent: What the person said to it.
        say: Tells the person a line.
        dry_run: Whether nothing is done.

    Raises:
        CommandError: If videos need the region, it is the home region or none of the stage, the
            person did not agree, or a deployment fails.
    """
    regions = Regions(environment)
    regions.require_leavable(region)
    if not dry_run:
        consent.require(environment, f"take {region} away, with every copy that it holds")
    stage = CdkStage(environment, say)
    stacks = {
        (stack.name, stack.region): stack
        for stack in stage.synthesize()
        if stage.template(stack.name, stack.region) is not None
    }
    media, store = (
        stacks.get((stack_name(environment.stage, part), region))
        for part in (StackPart.MEDIA, StackPart.STORE)
    )
    joining = [*(one for one in waiting_regions(environment) if one != region), region]
    parts = [one for one in (media, store) if one is not None]
    destructions = [
        stage.command(destroying(stage.assembly, [one.id], alone=True)) for one in parts
    ]
    deployment = deploying_by_hand(environment.stage, joining)
    commands = [*destructions[:-1], deployment, *destructions[-1:]]
    done = Removed(environment.name, region, commands, left_behind(stage, parts))
    if dry_run:
        return done
    if media is not None:
        say(f"the services of {region} go")
        stage.destroy([media], [media.id], alone=True)
        # Until they were gone, somebody may have sent a video there.
        regions.require_leavable(region)
    say(f"nothing is copied to {region} any more")
    regions.unprotect(region)
    _deploy(environment, joining, consent, say)
    regions.forget_delivery(region)
    if store is not None:
        say(f"the store of {region} goes")
        stage.destroy([store], [store.id], alone=True)
    return done


def _deploy(
    environment: Environment, joining: Sequence[str], consent: Consent, say: Callable[[str], None]
) -> None:
    """Deploy a stage, of which some regions are joining."""
    if environment.is_local:
        environment.plane().up(joining=joining)
        return
    deploy(environment, consent=consent, say=say, joining=joining)
