"""Acceptance of cdk-nag findings, one by one and each with its reason."""

from __future__ import annotations

from typing import Any, cast

import aws_cdk as cdk
from constructs import IConstruct

_PACK = "AwsSolutions"


def accept(construct: IConstruct, reason: str, *rules: str) -> None:
    """Accept findings of the AwsSolutions pack on ``construct``.

    Args:
        construct: The construct that the finding names, or one above it.
        reason: Why it is right as it is.
        *rules: Full rule names, e.g. ``S1`` or ``IAM5[Resource::*]``; there are no wildcards.
    """
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=f"{_PACK}::{_PACK}-{rule}", reason=reason) for rule in rules)
    )


def accept_wildcards(construct: IConstruct, reason: str, *resources: str) -> None:
    """Accept that policies of ``construct`` name ``resources`` with a wildcard in them.

    Args:
        construct: The role, or a construct above it.
        reason: Why no narrower resource can be named.
        *resources: The ARNs as they stand in the policy; tokens are welcome.
    """
    names = (_as_reported(cdk.Stack.of(construct), resource) for resource in resources)
    accept(construct, reason, *(f"IAM5[Resource::{name}]" for name in names))


def _as_reported(stack: cdk.Stack, resource: str) -> str:
    """Return an ARN as cdk-nag writes it, which is after references became imports."""
    fragments = cdk.Tokenization.reverse_string(resource)
    for token in fragments.tokens:
        if not cdk.Reference.is_reference(token):
            continue
        owner = cdk.Stack.of(cast("cdk.Reference", token).target)
        if owner.node.path != stack.node.path:
            imported = owner.resolve(owner.export_value(token))
            resource = resource.replace(cdk.Token.as_string(token), imported["Fn::ImportValue"])
    return _flatten(stack.resolve(resource))


def _flatten(value: Any) -> str:
    match value:
        case {"Fn::Join": [delimiter, parts]}:
            return str(delimiter).join(_flatten(part) for part in parts)
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Ref": name}:
            return f"<{name}>"
    return str(value)
