"""Metrics that the runtime emits, as CloudWatch knows them."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch

from media_platform.contract.embedded_metrics import STAGE
from media_platform.contract.metrics import NAMESPACE


def platform_metric(
    stage: str,
    name: str,
    *,
    statistic: str = "Sum",
    period: cdk.Duration | None = None,
    dimensions: dict[str, str] | None = None,
    label: str | None = None,
) -> cloudwatch.Metric:
    """Return a metric of a stage.

    Args:
        stage: Name of the stage.
        name: Name of the metric in :mod:`media_platform.contract.metrics`.
        statistic: What is made of its values, e.g. ``p95``. Default: their sum.
        period: Time that is summed up. Default 5 minutes.
        dimensions: Dimensions beside the stage. Default: none.
        label: What a graph calls it. Default: its name.
    """
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={STAGE: stage, **(dimensions or {})},
        statistic=statistic,
        period=period,
        label=label,
    )
