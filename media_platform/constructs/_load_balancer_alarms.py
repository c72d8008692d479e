"""Alarms on a load balancer and on those it sends requests to."""

from __future__ import annotations

from datetime import timedelta

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2

from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._durations import duration

_MINUTE = timedelta(minutes=1)
_SLOW_SECONDS = 1
_ERROR_PERCENT = 1
_FEW = 5
"""Fewer errors than this in a period are left to the log, whatever share they are."""


def watch_load_balancer(load_balancer: elbv2.ApplicationLoadBalancer) -> None:
    """Add the alarm that it answers requests with errors of its own."""
    metrics = load_balancer.metrics
    OperatorAlarm(
        load_balancer,
        "Errors",
        metric=_share(
            "Answers with status 5xx of the load balancer in per cent",
            metrics.http_code_elb(elbv2.HttpCodeElb.ELB_5XX_COUNT),
            metrics.request_count(),
        ),
        above=_ERROR_PERCENT,
        periods=2,
        description="The load balancer finds nobody to answer; see whether tasks run",
    )


def watch_targets(targets: elbv2.ApplicationTargetGroup, *, what: str) -> None:
    """Add the alarms that tasks are unhealthy, slow, or answer with errors.

    Args:
        targets: The target group.
        what: What its tasks are, e.g. ``the Api service``.
    """
    metrics = targets.metrics
    for name, metric, above, periods, problem in (
        (
            "Unhealthy",
            metrics.unhealthy_host_count(period=duration(_MINUTE), statistic="Maximum"),
            0,
            5,
            "do not become healthy; read their log",
        ),
        (
            "Slow",
            metrics.target_response_time(statistic="p99"),
            _SLOW_SECONDS,
            3,
            f"take longer than {_SLOW_SECONDS} s for 1 % of the requests",
        ),
        (
            "Errors",
            _share(
                "Answers with status 5xx in per cent",
                metrics.http_code_target(elbv2.HttpCodeTarget.TARGET_5XX_COUNT),
                metrics.request_count(),
            ),
            _ERROR_PERCENT,
            2,
            f"answer more than {_ERROR_PERCENT} % of the requests with an error; read their log",
        ),
    ):
        OperatorAlarm(
            targets,
            name,
            metric=metric,
            above=above,
            periods=periods,
            description=f"Tasks of {what} {problem}",
        )


def _share(
    label: str, errors: cloudwatch.IMetric, requests: cloudwatch.IMetric
) -> cloudwatch.MathExpression:
    """Return the share of requests that are errors, in per cent, 0 where there are few."""
    return cloudwatch.MathExpression(
        label=label,
        expression=f"IF(errors >= {_FEW}, 100 * errors / requests, 0)",
        using_metrics={"errors": errors, "requests": requests},
    )
