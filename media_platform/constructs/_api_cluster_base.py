"""What every API offers: where its services run, what is before them, and whose tokens count."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from constructs import Construct

from media_platform.constructs._user_directory import TokenIssuer


class ApiClusterBase(Construct):
    """What an API offers, whether it was made here or elsewhere.

    Attributes:
        vpc: The network.
        cluster: The ECS cluster; transcode workers may share it.
        load_balancer: The load balancer.
        listener: Its one listener; rules of further services have priorities above 100.
        target_group: The healthy tasks of the API.
        token_issuer: Whose tokens are accepted.
    """

    vpc: ec2.IVpc
    cluster: ecs.ICluster
    load_balancer: elbv2.IApplicationLoadBalancer
    listener: elbv2.IApplicationListener
    target_group: elbv2.IApplicationTargetGroup
    token_issuer: TokenIssuer

    def metric_latency(self) -> cloudwatch.IMetric:
        """Return the time the API takes to answer (seconds, 99th percentile of five minutes)."""
        return self.target_group.metrics.target_response_time(statistic="p99")

    def metric_errors(self) -> cloudwatch.IMetric:
        """Return the answers of the API with status 5xx (count, sum of five minutes)."""
        return self.target_group.metrics.http_code_target(
            elbv2.HttpCodeTarget.TARGET_5XX_COUNT, statistic="Sum"
        )
