"""Network and cluster that services run in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from constructs import Construct

from media_platform.constructs._log_groups import log_group

DEFAULT_CIDR = "10.0.0.0/16"
"""Addresses of a network for which nothing else was chosen."""

_FLOW_LOG_RETENTION = logs.RetentionDays.ONE_YEAR
"""As long as access logs: who tried what is asked late."""

CAPACITY_PROVIDERS = ("FARGATE", "FARGATE_SPOT")


def media_vpc(
    scope: Construct,
    construct_id: str,
    *,
    cidr: str = DEFAULT_CIDR,
    nat_gateways: int = 1,
    availability_zones: Sequence[str] | None = None,
) -> ec2.Vpc:
    """Return a VPC with public and private subnets.

    S3 and DynamoDB are reached through gateway endpoints, which cost nothing and carry the media;
    everything else leaves by NAT, since a dozen interface endpoints cost more than a gateway.

    Args:
        scope: Parent.
        construct_id: Id in it.
        cidr: Its addresses. Default ``10.0.0.0/16``.
        nat_gateways: Number of NAT gateways. Default 1.
        availability_zones: Its zones. Default: two of the stack's.
    """
    vpc = ec2.Vpc(
        scope,
        construct_id,
        ip_addresses=ec2.IpAddresses.cidr(cidr),
        availability_zones=list(availability_zones) if availability_zones else None,
        max_azs=None if availability_zones else 2,
        nat_gateways=nat_gateways,
        subnet_configuration=[
            # Load balancers and gateways have public addresses all the same.
            ec2.SubnetConfiguration(
                name="Public", subnet_type=ec2.SubnetType.PUBLIC, map_public_ip_on_launch=False
            ),
            ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
        ],
        # Closing the default security group would take a custom resource; nothing is ever in it.
        restrict_default_security_group=False,
        gateway_endpoints={
            "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
            "DynamoDb": ec2.GatewayVpcEndpointOptions(
                service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
            ),
        },
    )
    if availability_zones:
        cdk.Validations.of(vpc).acknowledge(
            cdk.Acknowledgment(
                id="CloudFormation-Validate::W3010",
                reason="Zones are configured, so that synthesizing asks nobody.",
            )
        )
    vpc.add_flow_log(
        "FlowLog",
        destination=ec2.FlowLogDestination.to_cloud_watch_logs(
            log_group(vpc, "FlowLogs", retention=_FLOW_LOG_RETENTION)
        ),
        traffic_type=ec2.FlowLogTrafficType.REJECT,
    )
    return vpc


def media_cluster(scope: Construct, construct_id: str, *, vpc: ec2.IVpc) -> ecs.Cluster:
    """Return a cluster in ``vpc`` that offers Fargate and Fargate Spot."""
    cluster = ecs.Cluster(
        scope,
        construct_id,
        vpc=vpc,
        container_insights_v2=ecs.ContainerInsights.ENABLED,
    )
    # As a property of the cluster: the L2 would add a resource for the association, after which
    # services have to wait.
    resource = cast("ecs.CfnCluster", cluster.node.default_child)
    resource.capacity_providers = list(CAPACITY_PROVIDERS)
    return cluster
