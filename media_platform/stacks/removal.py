"""What becomes of data when their stack goes."""

from __future__ import annotations

import aws_cdk as cdk

from media_platform.stacks.config import StageConfig


def removal_policy(config: StageConfig) -> cdk.RemovalPolicy:
    """Return the removal policy of everything that holds data."""
    return cdk.RemovalPolicy.RETAIN if config.retain_data else cdk.RemovalPolicy.DESTROY
