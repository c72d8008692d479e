"""Network and cluster that services run in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from enum import StrEnum
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._checks import check_range, reject
from media_platform.constructs._deploy_resource import (
    DeployResource,
    deploy_function,
    deploy_resource,
)
from media_platform.constructs._log_groups import log_group

DEFAULT_CIDR = "10.0.0.0/16"
"""Addresses of a network for which nothing else was chosen."""

LARGEST_NETWORK, SMALLEST_NETWORK = 16, 22
"""Bits of an address that networks have in common: AWS has no larger one, and a smaller one has no
room for the tasks."""

_LEAST_ZONES = 2

_FLOW_LOG_RETENTION = logs.RetentionDays.ONE_YEAR
"""As long as access logs: who tried what is asked late."""

CAPACITY_PROVIDERS = ("FARGATE", "FARGATE_SPOT")
AwsEndpoint = ec2.InterfaceVpcEndpointAwsService
"""Services of AWS that may be reached by endpoints of a network."""

_MOST_ZONES = 6
"""Zones of us-east-1, which has the most."""


class Network(StrEnum):
    """How tasks reach AWS; ``docs/constructs/api-cluster.md`` says what each costs."""

    PUBLIC = "public"
    """By addresses of their own."""
    NAT = "nat"
    """From private subnets, by NAT gateways, or by whatever a given network has."""
    ENDPOINTS = "endpoints"
    """From subnets without a way to the internet, by endpoints for the services they call."""


def check_network(scope: Construct, network: str, nat_gateways: int | None = None) -> Network:
    """Return how tasks reach AWS.

    Args:
        scope: Whose argument it is.
        network: The choice.
        nat_gateways: NAT gateways that were asked for.

    Raises:
        ValueError: If there is no such choice, or it has no NAT gateways.
    """
    if network not in set(Network):
        raise reject(
            scope,
            f"network is {network!r}, allowed are {', '.join(Network)}; say how tasks reach AWS",
        )
    if nat_gateways is not None:
        if network != Network.NAT:
            raise reject(
                scope,
                f"nat_gateways is {nat_gateways}, but network is {str(network)!r}, which has none; "
                "leave one of them out",
            )
        check_range(
            scope,
            "nat_gateways",
            nat_gateways,
            (1, _MOST_ZONES),
            "network is 'public' or 'endpoints' where there are none, and one in a zone is enough",
        )
    return Network(network)


def _check_addresses(scope: Construct, cidr: str) -> None:
    try:
        bits = ipaddress.IPv4Network(cidr).prefixlen
    except ValueError:
        bits = 0
    if not LARGEST_NETWORK <= bits <= SMALLEST_NETWORK:
        raise reject(
            scope,
            f"cidr is {cidr!r}, allowed are networks of /{LARGEST_NETWORK} to /{SMALLEST_NETWORK} "
            f"such as {DEFAULT_CIDR}; write the first address and the length",
        )


def _check_zones(scope: Construct, zones: list[str]) -> None:
    if len(set(zones)) < max(_LEAST_ZONES, len(zones)):
        raise reject(
            scope,
            f"availability_zones is {zones}, allowed are {_LEAST_ZONES} and more, each once; a "
            "load balancer is in two",
        )
    region = cdk.Stack.of(scope).region
    for zone in zones:
        if not cdk.Token.is_unresolved([region, zone]) and not zone.startswith(region):
            raise reject(
                scope,
                f"availability_zones contains {zone!r}, which is not in {region!r}; name zones of "
                "the region",
            )


def media_vpc(
    scope: Construct,
    construct_id: str,
    *,
    network: Network,
    cidr: str = DEFAULT_CIDR,
    nat_gateways: int | None = None,
    availability_zones: Sequence[str] | None = None,
) -> ec2.Vpc:
    """Return a VPC with public and private subnets, whose ids are the same for every choice.

    S3 and DynamoDB are reached through gateway endpoints, which cost nothing and carry the media.
    Public subnets are there in any case: an internal load balancer is a VPC origin only in a
    network with an internet gateway (CloudFront Developer Guide, "Restrict access with VPC
    origins").

    Args:
        scope: Parent.
        construct_id: Id in it.
        network: How tasks reach AWS; private subnets go out by NAT, or not at all.
        cidr: Its addresses. Default ``10.0.0.0/16``.
        nat_gateways: Number of NAT gateways, where there are any. Default 1.
        availability_zones: Its zones. Default: two of the stack's.

    Raises:
        ValueError: If there can be no such network, or a load balancer could not be in it.
    """
    _check_addresses(scope, cidr)
    if availability_zones is not None:
        _check_zones(scope, list(availability_zones))
    by_nat = network is Network.NAT
    vpc = ec2.Vpc(
        scope,
        construct_id,
        ip_addresses=ec2.IpAddresses.cidr(cidr),
        availability_zones=list(availability_zones) if availability_zones else None,
        max_azs=None if availability_zones else 2,
        nat_gateways=(1 if nat_gateways is None else nat_gateways) if by_nat else 0,
        subnet_configuration=[
            # Load balancers, gateways and tasks that need one have public addresses all the same.
            ec2.SubnetConfiguration(
                name="Public", subnet_type=ec2.SubnetType.PUBLIC, map_public_ip_on_launch=False
            ),
            ec2.SubnetConfiguration(
                name="Private",
                subnet_type=(
                    ec2.SubnetType.PRIVATE_WITH_EGRESS
                    if by_nat
                    else ec2.SubnetType.PRIVATE_ISOLATED
                ),
            ),
        ],
        # The CDK would do so by a function in JavaScript.
        restrict_default_security_group=False,
        gateway_endpoints={
            "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
            "DynamoDb": ec2.GatewayVpcEndpointOptions(
                service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
            ),
        },
    )
    _close_default_group(vpc)
    for subnet in vpc.public_subnets:
        accept(subnet, Accepted.INTERNET_ROUTE)
    if availability_zones:
        for subnet in (*vpc.public_subnets, *vpc.private_subnets, *vpc.isolated_subnets):
            accept(subnet, Accepted.ZONES)
    flow_log = vpc.add_flow_log(
        "FlowLog",
        destination=ec2.FlowLogDestination.to_cloud_watch_logs(
            log_group(vpc, "FlowLogs", retention=_FLOW_LOG_RETENTION)
        ),
        traffic_type=ec2.FlowLogTrafficType.REJECT,
    )
    if flow_log.iam_role is not None:
        accept(flow_log.iam_role, Accepted.OWN_POLICY)
    return vpc


def _close_default_group(vpc: ec2.Vpc) -> None:
    """Take the rules from the default security group, which whoever forgets another one gets.

    Ids and types are those that the CDK would give, by which rule packs see it.
    """
    function = deploy_function(vpc, "GroupCloser", resource=DeployResource.DEFAULT_GROUP)
    iam.Grant.add_to_principal(
        grantee=function,
        actions=["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"],
        resource_arns=[
            cdk.Stack.of(vpc).format_arn(
                service="ec2",
                resource="security-group",
                resource_name=vpc.vpc_default_security_group,
            )
        ],
    )
    deploy_resource(
        vpc,
        "RestrictDefaultSecurityGroupCustomResource",
        resource=DeployResource.DEFAULT_GROUP,
        function=function,
        properties={"DefaultSecurityGroupId": vpc.vpc_default_security_group},
    )


class MediaCluster(ecs.Cluster):
    """A cluster that offers Fargate and Fargate Spot, and knows how its tasks reach AWS.

    Args:
        scope: Parent.
        construct_id: Id in it.
        vpc: The network.
        network: How tasks reach AWS.

    Attributes:
        network: How tasks reach AWS.
        task_subnets: Where tasks are. Default: the private subnets.
        inner_subnets: Where what only tasks reach is.
        endpoints: The endpoints by the name of their service, where tasks reach AWS by them.

    Raises:
        ValueError: If the network has no subnets of the kind.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, vpc: ec2.IVpc, network: Network
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            vpc=vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
        )
        # As a property of the cluster: the L2 would add a resource for the association, after which
        # services have to wait.
        resource = cast("ecs.CfnCluster", self.node.default_child)
        resource.capacity_providers = list(CAPACITY_PROVIDERS)
        self.network = network
        self.endpoints: dict[str, ec2.InterfaceVpcEndpoint] = {}
        self._check_subnets(scope)
        self.inner_subnets = ec2.SubnetSelection()
        self.task_subnets: ec2.SubnetSelection | None = None
        if network is Network.PUBLIC:
            self.task_subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC)
        if network is Network.ENDPOINTS:
            if vpc.isolated_subnets:
                self.inner_subnets = ec2.SubnetSelection(
                    subnet_type=ec2.SubnetType.PRIVATE_ISOLATED
                )
            self.task_subnets = self.inner_subnets
            self._doors = Construct(self, "Endpoints")
            self._door_group = ec2.SecurityGroup(
                self._doors,
                "SecurityGroup",
                vpc=vpc,
                description="Endpoints of AWS services",
                allow_all_outbound=False,
            )

    def let_out(self, service: ecs.FargateService, *, calls: Sequence[AwsEndpoint]) -> None:
        """Let the tasks of a service reach what they call, unless they reach it anyhow.

        The service waits for it, since tasks that cannot fetch their image fail its deployment.

        Args:
            service: The service.
            calls: The services of AWS that it calls, without S3 and DynamoDB.
        """
        if self.network is not Network.ENDPOINTS:
            return
        for called in calls:
            # E.g. com.amazonaws.us-east-1.ecr.api; the names of resources have no dots.
            name = called.short_name
            if name not in self.endpoints:
                self.endpoints[name] = ec2.InterfaceVpcEndpoint(
                    self._doors,
                    "".join(part.capitalize() for part in name.replace(".", "-").split("-")),
                    vpc=self.vpc,
                    service=called,
                    subnets=self.task_subnets,
                    security_groups=[self._door_group],
                    open=False,
                )
        service.connections.allow_to(self._door_group, ec2.Port.HTTPS, "AWS")
        service.node.add_dependency(self._doors)

    def _check_subnets(self, scope: Construct) -> None:
        public = self.network is Network.PUBLIC
        if public and not self.vpc.public_subnets:
            raise reject(
                scope,
                "network is 'public', but vpc has no public subnets; add some, or choose another",
            )
        if not public and not self.vpc.private_subnets and not self.vpc.isolated_subnets:
            raise reject(
                scope,
                f"network is {self.network.value!r}, but vpc has no private subnets; add some, or "
                "choose 'public'",
            )
