"""What roles may do by the templates, for tests that make such a role by hand.

A test of a single service gives it a role with the few grants that its module documents. Here that
is held against the templates, as their snapshots have them: what the templates do not grant, a test
must not grant either, or the call that needs it would fail only in an account.

Compared is what kind of resource an action is granted on: names differ between a test and a stage.
"""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SNAPSHOTS = Path(__file__).parents[1] / "unit/infra/__snapshots__/test_infra_stages"

Kind = tuple[str, str]
"""An action, and what of a table or a bucket it is for: ``/index/due``, ``/raw/*``, or all."""


def check_granted(role: str, statements: Sequence[Mapping[str, Any]]) -> None:
    """Check that a role of the templates may do what a test lets it do.

    Args:
        role: Start of its logical id, or the handler of a function whose role it is.
        statements: What the test grants.
    """
    granted = _granted()
    names = [name for name in granted if name == role or name.startswith(role)]
    assert names, f"no template has the role {role}"
    missing = set(_kinds(statements)) - set().union(*(granted[name] for name in names))
    assert not missing, f"the templates do not grant this to {role}: {sorted(missing)}"


@functools.cache
def _granted() -> Mapping[str, set[Kind]]:
    """Return what every role may do, by its logical id and by the handler of its function."""
    granted: defaultdict[str, set[Kind]] = defaultdict(set)
    for file in sorted(SNAPSHOTS.glob("*.json")):
        resources = json.loads(file.read_text())["Resources"].values()
        for policy in (r["Properties"] for r in resources if r["Type"] == "AWS::IAM::Policy"):
            for role in policy["Roles"]:
                granted[role["Ref"]].update(_kinds(policy["PolicyDocument"]["Statement"]))
        for function in (
            r["Properties"] for r in resources if r["Type"] == "AWS::Lambda::Function"
        ):
            granted[function["Handler"]] |= granted[function["Role"]["Fn::GetAtt"][0]]
    return granted


def _kinds(statements: Sequence[Mapping[str, Any]]) -> Iterator[Kind]:
    for statement in statements:
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield action, _below(action, resource)


def _below(action: str, resource: Any) -> str:
    """Return what follows the name of a table or a bucket in an ARN, also in one of a template."""
    if not action.startswith(("dynamodb:", "s3:")):
        return ""
    found = re.match(r"(?:arn:.*?:(?:table/|::)[^/]*|<>)(/.*)", _text(resource))
    return found[1].partition("/stream/")[0] if found else ""


def _text(value: Any) -> str:
    """Return a value of a template as a text in which references have no names."""
    match value:
        case str():
            return value
        case {"Fn::Join": [_, parts]}:
            return "".join(map(_text, parts))
    return "<>"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
