"""The CDK bootstrap of the regions of an environment: whether it is there, and new enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.stage import CdkStage
from mediactl.environment import Environment
from mediactl.errors import CommandError


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
    for region, (version, needed) in bootstrap_versions(environment, stage.synthesize()).items():
        command = stage.command(stage.bootstrapping(region)) if version < needed else None
        if command is not None and not dry_run:
            say(f"bootstrapping {region}")
            stage.bootstrap(region)
        regions.append(Bootstrap(region, version, needed, command))
    return Bootstraps(environment.name, regions)


def check_bootstrap(environment: Environment, stacks: Sequence[AssemblyStack]) -> None:
    """Check that every region is ready for the CDK.

    Raises:
        CommandError: If one is not.
    """
    for region, (version, least) in bootstrap_versions(environment, stacks).items():
        if version < least:
            raise CommandError(
                f"{region} is not bootstrapped for the CDK"
                if version == 0
                else f"the CDK bootstrap of {region} has version {version}, needed is {least}",
                hint=f"run `mediactl bootstrap -e {environment.name}`",
            )


def bootstrap_versions(
    environment: Environment, stacks: Sequence[AssemblyStack]
) -> dict[str, tuple[int, int]]:
    """Return the version of the CDK bootstrap by region, 0 for none, and that it must have."""
    wanted: dict[str, tuple[str, int]] = {}
    for stack in stacks:
        if stack.bootstrap_parameter:
            least = wanted.get(stack.region, ("", 0))[1]
            wanted[stack.region] = (stack.bootstrap_parameter, max(least, stack.bootstrap_version))
    return {
        region: (_version(environment, region, parameter), least)
        for region, (parameter, least) in wanted.items()
    }


def _version(environment: Environment, region: str, parameter: str) -> int:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    try:
        found = environment.client("ssm", region).get_parameter(Name=parameter)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return 0
        raise
    return int(found["Parameter"]["Value"])
