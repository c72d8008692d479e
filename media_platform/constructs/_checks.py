"""Checks that every construct makes before anything is deployed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

import aws_cdk as cdk
from constructs import Construct

from media_platform.contract.upload import UPLOAD_MAX_BYTES

DEFAULT_STAGE = "main"
"""Stage of constructs that are not told one, as in an app that deploys the platform once."""

DEFAULT_UPLOAD_GIBIBYTES = 5
"""Largest upload unless a stage says otherwise."""


class RejectedError(ValueError):
    """An argument of a construct cannot be used; the message is one line and says what can."""


def reject(scope: Construct, problem: str) -> RejectedError:
    """Return the error for an argument of ``scope``, with the path that leads to the construct."""
    return RejectedError(f"{problem} (path: {scope.node.path})")


def check_range(
    scope: Construct, name: str, value: float, allowed: tuple[float, float], remedy: str
) -> None:
    """Check that a number lies within what AWS or the platform allows.

    A token is none: it is written into limits, messages and environments as it is.

    Args:
        scope: Whose argument it is.
        name: Name of the argument, with its unit.
        value: Its value.
        allowed: The smallest and the largest that is allowed.
        remedy: What to do about others.

    Raises:
        ValueError: If it does not.
    """
    minimum, maximum = allowed
    # The number of a token is far below any that is allowed, so most values need no question.
    if isinstance(value, int | float) and minimum <= value <= maximum:
        return
    is_token = cdk.Token.is_unresolved(value)
    if is_token or not isinstance(value, int | float):
        shown = "a token" if is_token else repr(value)
        raise reject(
            scope,
            f"{name} is {shown}, allowed are {minimum} to {maximum}; pass a number that is known "
            "before deployment",
        )
    raise reject(scope, f"{name} is {value}, allowed are {minimum} to {maximum}; {remedy}")


def in_seconds(scope: Construct, name: str, duration: cdk.Duration) -> int:
    """Return a duration in seconds.

    Args:
        scope: Whose argument it is.
        name: Name of the argument.
        duration: Its value.

    Raises:
        ValueError: If it is not a whole number of them, or known at deployment only.
    """
    return _in_units(scope, name, duration, 1000, "seconds")


def in_days(scope: Construct, name: str, duration: cdk.Duration) -> int:
    """Return a duration in days; everything else is as for :func:`in_seconds`."""
    return _in_units(scope, name, duration, 86_400_000, "days")


def _in_units(
    scope: Construct, name: str, duration: cdk.Duration, milliseconds: int, units: str
) -> int:
    if not isinstance(duration, cdk.Duration):
        raise reject(scope, f"{name} is {duration!r}; pass a Duration, as Duration.{units}(30)")
    if duration.is_unresolved():
        raise reject(scope, f"{name} is known at deployment only; pass a whole number of {units}")
    whole, rest = divmod(duration.to_milliseconds(), milliseconds)
    if rest:
        raise reject(
            scope, f"{name} is {duration.to_human_string()}; pass a whole number of {units}"
        )
    return int(whole)


def in_bytes(scope: Construct, name: str, size: cdk.Size) -> float:
    """Return a size in bytes, which may be a token.

    Args:
        scope: Whose argument it is.
        name: Name of the argument.
        size: Its value.

    Raises:
        ValueError: If it is a number without a unit.
    """
    if not isinstance(size, cdk.Size):
        raise reject(scope, f"{name} is {size!r}; pass a Size, as Size.gibibytes(5)")
    return size.to_bytes()


def check_networks(scope: Construct, name: str, networks: Sequence[str]) -> None:
    """Check that networks are such.

    Args:
        scope: Whose argument they are.
        name: Name of the argument.
        networks: The networks.

    Raises:
        ValueError: If one of them is not.
    """
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise reject(
                scope,
                f"{name} contains {network!r}, allowed are networks such as 10.0.0.0/8; correct it",
            ) from None


def check_bucket_name(scope: Construct, name: str, value: str) -> None:
    """Check that a bucket can be called so, unless only a deployment knows how.

    Args:
        scope: Whose argument it is.
        name: Name of the argument.
        value: The name of the bucket.

    Raises:
        ValueError: If it cannot.

    Source: S3 User Guide, "General purpose bucket naming rules".
    """
    if cdk.Token.is_unresolved(value):
        return
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) is None:
        raise reject(
            scope,
            f"{name} is {value!r}, allowed are 3 to 63 lower-case letters, digits, '.' and '-', "
            "the first and last a letter or digit; rename it",
        )


def check_region(scope: Construct, name: str, region: str) -> None:
    """Check that what a construct works on is in its own region, as far as regions are known.

    Args:
        scope: Whose argument it is.
        name: Name of the argument.
        region: Where it is.

    Raises:
        ValueError: If it is in another.
    """
    own = cdk.Stack.of(scope).region
    if region != own and not cdk.Token.is_unresolved(region) and not cdk.Token.is_unresolved(own):
        raise reject(
            scope, f"{name} is in {region}, but this stack is in {own}; pass that of this region"
        )


def check_stage(scope: Construct, stage: str) -> None:
    """Check that a stage can be part of names of parameters and secrets.

    Raises:
        ValueError: If it cannot.
    """
    if not (stage.isascii() and stage.isalnum() and stage.islower() and len(stage) <= 16):  # noqa: PLR2004
        raise reject(
            scope,
            f"stage is {stage!r}, allowed are 1 to 16 lower-case letters and digits; shorten it",
        )


def check_upload_max(scope: Construct, upload_max: cdk.Size) -> None:
    """Check that a largest upload fits into an object.

    Raises:
        ValueError: If it does not.
    """
    check_range(
        scope,
        "upload_max in bytes",
        in_bytes(scope, "upload_max", upload_max),
        (1, UPLOAD_MAX_BYTES),
        "an object of S3 has no more",
    )
