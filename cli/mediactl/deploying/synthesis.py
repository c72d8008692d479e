"""What the app of an environment synthesizes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mediactl.deploying.stage import CdkStage
from mediactl.environment import Environment


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


def synthesize(
    environment: Environment, *, say: Callable[[str], None], validate: bool = False
) -> Synthesis:
    """Write the templates of an environment.

    Args:
        environment: The environment.
        say: Tells the person a line.
        validate: Whether rule packs and the schemas of CloudFormation are asked, too.

    Raises:
        CommandError: If it cannot be synthesized.
    """
    stage = CdkStage(environment, say)
    stacks = [
        SynthesizedStack(
            one.id, one.name, one.region, len(one.template["Resources"]), str(one.file)
        )
        for one in stage.synthesize(rules=validate, schemas=validate)
    ]
    return Synthesis(environment.name, str(stage.assembly), stacks)
