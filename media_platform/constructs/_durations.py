"""Lengths of time that are known when modules are imported, when nothing asks the CDK yet."""

from __future__ import annotations

import functools
from datetime import timedelta

import aws_cdk as cdk


@functools.cache
def duration(length: timedelta) -> cdk.Duration:
    """Return a length of time as the CDK has it.

    Args:
        length: The length, whole seconds.
    """
    return cdk.Duration.seconds(length // timedelta(seconds=1))
