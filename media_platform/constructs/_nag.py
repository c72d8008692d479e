"""Acceptance of cdk-nag findings, one by one and each with its reason."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct

_PACK = "AwsSolutions"


def accept(construct: IConstruct, reason: str, *rules: str) -> None:
    """Accept findings of the AwsSolutions pack on ``construct``.

    Args:
        construct: The construct that the finding names.
        reason: Why it is right as it is.
        *rules: Full rule names, e.g. ``S1`` or ``IAM5[Resource::*]``; there are no wildcards.
    """
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=f"{_PACK}::{_PACK}-{rule}", reason=reason) for rule in rules)
    )
