"""Cloud assemblies: what ``cdk synth`` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mediactl.errors import CommandError

UNKNOWN_REGION = "unknown-region"
"""What the CDK writes for a stack that goes to whatever region the credentials name."""


@dataclass(frozen=True)
class AssemblyStack:
    """A stack of a cloud assembly.

    Attributes:
        artifact: Its name in the assembly.
        id: Its path in the app, by which the CDK CLI knows it, e.g. ``Store-us-east-1``.
        name: Its name in CloudFormation.
        region: Its region.
        file: Its template.
        needs: Artifacts that are deployed before it.
        bootstrap_version: Oldest version of the CDK bootstrap that it can be deployed with.
        bootstrap_parameter: SSM parameter that holds the version, if it needs one.
    """

    artifact: str
    id: str
    name: str
    region: str
    file: Path
    needs: tuple[str, ...] = ()
    bootstrap_version: int = 0
    bootstrap_parameter: str | None = None

    @cached_property
    def template(self) -> dict[str, Any]:
        """The template."""
        content: dict[str, Any] = json.loads(self.file.read_text())
        return content


def assembly_stacks(assembly: Path, *, default_region: str) -> list[AssemblyStack]:
    """Return the stacks of a cloud assembly and of those nested in it, in the order of deployment.

    Args:
        assembly: Its folder.
        default_region: Region of stacks that name none.
    """
    found = list(_read_stacks(assembly, default_region))
    artifacts = {stack.artifact for stack in found}
    ordered: dict[str, AssemblyStack] = {}
    while len(ordered) < len(found):
        ready = [
            stack
            for stack in found
            if stack.artifact not in ordered
            and all(need in ordered for need in stack.needs if need in artifacts)
        ]
        if not ready:
            raise CommandError(f"the stacks of {assembly} wait for each other")
        ordered |= {stack.artifact: stack for stack in ready}
    return list(ordered.values())


def _read_stacks(assembly: Path, default_region: str) -> Iterable[AssemblyStack]:
    manifest: dict[str, Any] = json.loads((assembly / "manifest.json").read_text())
    for name, artifact in manifest.get("artifacts", {}).items():
        properties = artifact.get("properties", {})
        if artifact["type"] == "cdk:cloud-assembly":
            yield from _read_stacks(assembly / properties["directoryName"], default_region)
        if artifact["type"] == "aws:cloudformation:stack":
            region = str(artifact["environment"]).rpartition("/")[2]
            yield AssemblyStack(
                artifact=name,
                id=artifact.get("displayName", name),
                name=properties.get("stackName", name),
                region=default_region if region == UNKNOWN_REGION else region,
                file=assembly / properties["templateFile"],
                needs=tuple(artifact.get("dependencies", ())),
                bootstrap_version=properties.get("requiresBootstrapStackVersion", 0),
                bootstrap_parameter=properties.get("bootstrapStackVersionSsmParameter"),
            )


def assembly_regions(stacks: Iterable[AssemblyStack]) -> list[str]:
    """Return the regions that stacks are deployed to, in their order: first what others join.

    Raises:
        CommandError: If there is no stack.
    """
    regions = list(dict.fromkeys(stack.region for stack in stacks))
    if not regions:
        raise CommandError("the app has no stack")
    return regions
