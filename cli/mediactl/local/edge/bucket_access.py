"""Whether a bucket policy lets a distribution read, as S3 decides on origin access control.

The emulator does not ask bucket policies on behalf of CloudFront, so the edge does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mediactl.local.edge.paths import pattern_matches

SERVICE = "cloudfront.amazonaws.com"


def may(policy: Mapping[str, Any] | None, action: str, resource: str, *, distribution: str) -> bool:
    """Return whether CloudFront may do something with a bucket for a distribution.

    Args:
        policy: The bucket policy; without one nothing is allowed.
        action: For example ``s3:GetObject``.
        resource: ARN of the object or bucket.
        distribution: ARN of the distribution.
    """
    context = {
        "aws:sourcearn": distribution,
        "aws:sourceaccount": distribution.split(":")[4],
        "aws:securetransport": "true",
    }
    effects = {
        statement["Effect"]
        for statement in _list((policy or {}).get("Statement"))
        if _names_cloudfront(statement.get("Principal"))
        and _matches(statement.get("Action"), action)
        and _matches(statement.get("Resource"), resource)
        and _conditions_hold(statement.get("Condition") or {}, context)
    }
    return "Allow" in effects and "Deny" not in effects


def _names_cloudfront(principal: Any) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    return SERVICE in _list(principal.get("Service")) or "*" in _list(principal.get("AWS"))


def _matches(patterns: Any, value: str) -> bool:
    return any(pattern_matches(pattern, value) for pattern in _list(patterns))


def _conditions_hold(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """Return whether all conditions hold; a key that is not known is absent and does not."""
    for name, entries in conditions.items():
        for key, expected in entries.items():
            actual = context.get(key.lower())
            if actual is None:
                return False
            like = "Like" in name or name.startswith("Arn")
            found = any(
                pattern_matches(str(pattern), actual)
                if like
                else actual == str(pattern).lower() or actual == str(pattern)
                for pattern in _list(expected)
            )
            if found == ("Not" in name):
                return False
    return True


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
