"""Synthesizing in tests, and reading templates as a person would."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from media_platform.stacks.config import StageConfig, load_stage
from media_platform.stacks.platform import build_platform
from media_platform.stacks.rule_packs import add_rule_packs

REPOSITORY = Path(__file__).resolve().parents[3]
STAGES = ("local", "dev", "prod")
REGION = "us-east-1"

Resource = dict[str, Any]


def app_context() -> dict[str, Any]:
    """Return the context that ``cdk.json`` gives the app."""
    context: dict[str, Any] = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    return context


def stage_config(stage: str, **overrides: Any) -> StageConfig:
    return load_stage(stage, app_context()["stages"], **overrides)


@dataclass(frozen=True)
class Template:
    """One template.

    Attributes:
        content: The template.
        path: Where it was written.
    """

    content: dict[str, Any]
    path: Path

    def resources(self, resource_type: str) -> dict[str, Resource]:
        """Return the resources of a type by logical id."""
        found: dict[str, Resource] = self.content.get("Resources", {})
        return {name: made for name, made in found.items() if made["Type"] == resource_type}

    def only(self, resource_type: str) -> Resource:
        """Return the properties of the one resource of a type."""
        ((_, resource),) = self.resources(resource_type).items()
        properties: Resource = resource["Properties"]
        return properties

    def grants(self, role: str) -> dict[str, set[str]]:
        """Return the allowed actions of a role with their resources.

        Args:
            role: Start of its logical id.
        """
        allowed: dict[str, set[str]] = {}
        for policy in self.resources("AWS::IAM::Policy").values():
            roles = [member.get("Ref", "") for member in policy["Properties"]["Roles"]]
            if not any(name.startswith(role) for name in roles):
                continue
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                assert statement["Effect"] == "Allow"
                for action in _listed(statement["Action"]):
                    resources = (flat(one) for one in _listed(statement["Resource"]))
                    allowed.setdefault(action, set()).update(resources)
        return allowed


Stages = dict[str, dict[str, Template]]
"""Templates by the id of their stack, by stage."""

Synth = Callable[..., Template]
"""Takes what fills a stack, and a region; returns the template."""


def flat(value: Any) -> str:  # noqa: PLR0911  one case for every intrinsic function
    """Return a value of a template as one string; logical ids and exports lose their hashes."""
    match value:
        case {"Fn::Join": [delimiter, parts]}:
            return str(delimiter).join(flat(part) for part in parts)
        case {"Fn::Sub": text}:
            return str(text)
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{_named(resource)}.{attribute}>"
        case {"Fn::ImportValue": export}:
            # ...:ExportsOutputFnGetAtt<logical id><8 hex digits><attribute><8 hex digits>
            name = str(export).rpartition(":")[2]
            name = name.removeprefix("ExportsOutput").removeprefix("FnGetAtt").removeprefix("Ref")
            return f"<{re.sub(r'[0-9A-F]{8}', '.', name).strip('.')}>"
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": "AWS::AccountId"}:
            return "ACCOUNT"
        case {"Ref": name}:
            return f"<{_named(name)}>"
    return str(value)


def _named(logical_id: str) -> str:
    return re.sub(r"[0-9A-F]{8}$", "", logical_id)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def new_app(folder: Path) -> cdk.App:
    return cdk.App(
        outdir=str(folder), context=app_context(), builtin_cloud_formation_validation=False
    )


def synthesize(
    folder: Path, build: Callable[[cdk.Stack], object], *, region: str | None = REGION
) -> Template:
    """Return the template of one stack that ``build`` fills."""
    app = new_app(folder)
    stack = cdk.Stack(app, "Test", env=cdk.Environment(region=region))
    build(stack)
    return next(iter(templates(app)))


def synthesize_stage(folder: Path, config: StageConfig, *, nag: bool = True) -> dict[str, Template]:
    """Return the templates of a stage by the id of their stack; a finding of cdk-nag raises."""
    app = new_app(folder)
    build_platform(app, config)
    if nag:
        add_rule_packs(app, config)
    return {template.path.name.partition(".")[0]: template for template in templates(app)}


def templates(app: cdk.App) -> Iterator[Template]:
    for stack in app.synth().stacks:
        yield Template(stack.template, Path(stack.template_full_path))


def advice(build: Callable[[cdk.Stack], object], *, region: str = REGION) -> set[str]:
    """Return the ids of what constructs that ``build`` makes tell whoever synthesizes them."""
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region=region))
    build(stack)
    told = re.compile(r"\[ack: (@media-platform/[a-z-]+)\]")
    return {
        found[1]
        for construct in stack.node.find_all()
        for entry in construct.node.metadata
        if entry.type == "aws:cdk:info" and (found := told.search(str(entry.data)))
    }


def some_role(scope: cdk.Stack) -> iam.Role:
    return iam.Role(scope, "Grantee", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
