"""What a deployment would change, read from the templates that are deployed and that would be.

What holds data is watched most closely: ``stateful_types.json`` lists the types that hold data, or
that others know by their id, each with the properties for whose change CloudFormation makes a new
resource. A test holds it against the schemas of the CloudFormation registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

KEPT = ("Retain", "RetainExceptOnCreate", "Snapshot")
"""Policies under which a resource that leaves its stack stays, or a snapshot of it."""

_METADATA_TYPE = "AWS::CDK::Metadata"
_NOT_COMPARED = {"Metadata"}
"""Attributes of a resource that change nothing of it, such as where the CDK found an asset."""

Kind = Literal["add", "change", "replace", "remove"]
Template = Mapping[str, Any]


@dataclass(frozen=True)
class ResourceChange:
    """A resource that a deployment would change.

    Attributes:
        logical_id: Its id in the template.
        type: Its type.
        path: Where it is in the app, if the template says so.
        change: ``replace`` is told of what is stateful only: of others, CloudFormation decides.
        properties: What of it differs; with ``replace`` that for which it is replaced.
        stateful: Whether it holds data, or others know it by its id.
        kept: Whether what is replaced or removed stays, outside the stack.
    """

    logical_id: str
    type: str
    path: str
    change: Kind
    properties: list[str] = field(default_factory=list)
    stateful: bool = False
    kept: bool = False

    @property
    def loses(self) -> bool:
        """Whether users would miss something: what takes its place begins empty."""
        return self.stateful and self.change in {"replace", "remove"}


@dataclass(frozen=True)
class StackChange:
    """A stack that a deployment would change.

    Attributes:
        stack: Name of the stack.
        region: Its region.
        change: What happens to it; ``left`` is deployed, and the app has it no more.
        resources: Resources that change.
        sections: Other parts of the template that change, e.g. ``Outputs``.
    """

    stack: str
    region: str
    change: Literal["new", "changed", "none", "left"]
    resources: list[ResourceChange] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)


@cache
def stateful_types() -> dict[str, list[str]]:
    """Return the properties for whose change a resource is replaced, by stateful type."""
    content: dict[str, list[str]] = json.loads(
        Path(__file__).with_name("stateful_types.json").read_text()
    )
    return content


def value_at(properties: Any, path: str) -> Any:
    """Return the value of a property, of each member where the path goes through a list."""
    name, _, rest = path.partition("/")
    if isinstance(properties, list):
        return [value_at(one, rest if name == "*" else path) for one in properties]
    value = properties.get(name) if isinstance(properties, Mapping) else None
    return value_at(value, rest) if rest and value is not None else value


def resource_changes(
    deployed: Template, wanted: Template, *, account: str, region: str
) -> list[ResourceChange]:
    """Return what differs between two templates of one stack.

    Args:
        deployed: The template that is deployed.
        wanted: The template that would be.
        account: Account of the stack; a name that spells it out equals one that refers to it.
        region: Region of the stack, likewise.
    """
    before, after = (_resources(one, account, region) for one in (deployed, wanted))
    found = [
        _added(logical_id, after[logical_id]) for logical_id in after if logical_id not in before
    ]
    for logical_id, was in before.items():
        now = after.get(logical_id)
        if now is None:
            found.append(_gone(logical_id, was))
        elif now != was:
            found.append(_changed(logical_id, was, now))
    return sorted(_with_followers(found, after), key=lambda one: (one.path, one.logical_id))


def section_changes(deployed: Template, wanted: Template) -> list[str]:
    """Return the sections beside resources that differ between two templates."""
    sections = ("Conditions", "Mappings", "Outputs", "Parameters", "Transform")
    return [name for name in sections if deployed.get(name) != wanted.get(name)]


def _resources(template: Template, account: str, region: str) -> dict[str, dict[str, Any]]:
    spelled: dict[str, dict[str, Any]] = {}
    for logical_id, resource in template.get("Resources", {}).items():
        if resource["Type"] != _METADATA_TYPE:
            compared = {name: one for name, one in resource.items() if name not in _NOT_COMPARED}
            path = resource.get("Metadata", {}).get("aws:cdk:path", logical_id)
            spelled[logical_id] = {
                **_spell_out(compared, _pseudo_parameters(account, region)),
                "path": path.removesuffix("/Resource"),
            }
    return spelled


def _pseudo_parameters(account: str, region: str) -> dict[str, str]:
    china = region.startswith("cn-")
    partition = "aws-cn" if china else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return {
        "AWS::AccountId": account,
        "AWS::Partition": partition,
        "AWS::Region": region,
        "AWS::URLSuffix": "amazonaws.com.cn" if china else "amazonaws.com",
    }


def _spell_out(value: Any, known: Mapping[str, str]) -> Any:
    """Return a value with the pseudo parameters of its stack filled in, and texts joined."""
    if isinstance(value, list):
        return [_spell_out(one, known) for one in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1 and value.get("Ref") in known:
        return known[value["Ref"]]
    spelled = {name: _spell_out(one, known) for name, one in value.items()}
    if set(spelled) == {"Fn::Join"}:
        separator, parts = spelled["Fn::Join"]
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return separator.join(parts)
    if set(spelled) == {"Fn::Sub"} and isinstance(spelled["Fn::Sub"], str):
        text = spelled["Fn::Sub"]
        for name, one in known.items():
            text = text.replace(f"${{{name}}}", one)
        return text if "${" not in text else {"Fn::Sub": text}
    return spelled


def _added(logical_id: str, now: dict[str, Any]) -> ResourceChange:
    stateful = now["Type"] in stateful_types()
    return ResourceChange(logical_id, now["Type"], now["path"], "add", stateful=stateful)


def _gone(logical_id: str, was: dict[str, Any]) -> ResourceChange:
    return ResourceChange(
        logical_id,
        was["Type"],
        was["path"],
        "remove",
        stateful=was["Type"] in stateful_types(),
        kept=was.get("DeletionPolicy") in KEPT,
    )


def _changed(logical_id: str, was: dict[str, Any], now: dict[str, Any]) -> ResourceChange:
    replacing = list(_replacing(was, now))
    return ResourceChange(
        logical_id,
        now["Type"],
        now["path"],
        "replace" if replacing else "change",
        replacing or list(_differing(was, now)),
        stateful=was["Type"] in stateful_types(),
        kept=now.get("UpdateReplacePolicy") in KEPT,
    )


def _replacing(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield the properties for whose change a stateful resource is replaced."""
    if was["Type"] not in stateful_types():
        return
    if was["Type"] != now["Type"]:
        yield "Type"
        return
    for path in stateful_types()[was["Type"]]:
        if value_at(was.get("Properties", {}), path) != value_at(now.get("Properties", {}), path):
            yield path


def _differing(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    properties = (was.get("Properties", {}), now.get("Properties", {}))
    yield from sorted(
        name
        for name in properties[0].keys() | properties[1].keys()
        if properties[0].get(name) != properties[1].get(name)
    )
    yield from sorted(
        name
        for name in (was.keys() | now.keys()) - {"Properties", "path"}
        if was.get(name) != now.get(name)
    )


def _with_followers(
    found: list[ResourceChange], after: dict[str, dict[str, Any]]
) -> list[ResourceChange]:
    """Return changes with those that follow: what is made with the id of what is replaced."""
    replaced = {one.logical_id: one for one in found if one.change == "replace"}
    others = {one.logical_id: one for one in found if one.change != "replace"}
    added = {one.logical_id for one in found if one.change == "add"}
    grown = True
    while grown:
        grown = False
        for logical_id, resource in after.items():
            if logical_id in replaced or logical_id in added:
                continue
            because = [
                path
                for path in stateful_types().get(resource["Type"], [])
                if _refers(value_at(resource.get("Properties", {}), path), replaced.keys())
            ]
            if because:
                others.pop(logical_id, None)
                replaced[logical_id] = ResourceChange(
                    logical_id,
                    resource["Type"],
                    resource["path"],
                    "replace",
                    because,
                    stateful=True,
                    kept=resource.get("UpdateReplacePolicy") in KEPT,
                )
                grown = True
    return [*replaced.values(), *others.values()]


def _refers(value: Any, ids: Any) -> bool:
    if isinstance(value, list):
        return any(_refers(one, ids) for one in value)
    if not isinstance(value, Mapping):
        return False
    if value.get("Ref") in ids:
        return True
    attribute = value.get("Fn::GetAtt")
    if isinstance(attribute, list) and attribute and attribute[0] in ids:
        return True
    return any(_refers(one, ids) for one in value.values())
