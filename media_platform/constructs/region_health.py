"""Whether a region is fit to answer: a health check of Route 53, and the names that go by it."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_route53 as route53
from constructs import Construct

from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._checks import reject
from media_platform.constructs._distributions import CLOUDFRONT_REGION
from media_platform.constructs._durations import duration
from media_platform.constructs.api_cluster import ApiCluster
from media_platform.contract.environment import READY_PATH

_HTTPS = 443
_FIRST = 1
"""Priority of the rule: its path is none of those of the services."""

_MINUTE = timedelta(minutes=1)
_FAILURES = 3
_MINUTES_UNHEALTHY = 3


class RegionHealth(Construct):
    """A health check that asks the load balancer of a region, from outside, whether it is ready.

    Route 53 asks over HTTPS from several regions, every 30 seconds; a region that fails three times
    is not named any more until it answers again. The load balancer goes on admitting CloudFront
    alone, but for this one path and the addresses of Route 53. It costs $1.50 a month.

    Its metric is in us-east-1, wherever the region is, so the alarm is added there:
    :meth:`watch`.

    Args:
        scope: Parent.
        construct_id: Id in it.
        api: API of this region, whose load balancer has a certificate.
        prefix_list_id: Managed prefix list of Route 53's health checkers in this region,
            ``com.amazonaws.<region>.route53-healthchecks``.

    Raises:
        ValueError: If the load balancer cannot be reached from outside.

    Attributes:
        health_check: The health check.

    Source: Route 53 Developer Guide, "How Amazon Route 53 determines whether a health check is
    healthy"; "Configuring router and firewall rules for Amazon Route 53 health checks".
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, api: ApiCluster, prefix_list_id: str
    ) -> None:
        super().__init__(scope, construct_id)
        balancer = cast("elbv2.CfnLoadBalancer", api.load_balancer.node.default_child)
        if balancer.scheme != "internet-facing":
            raise reject(
                self,
                "api has no certificate, so its load balancer is internal and Route 53 cannot ask "
                "it; pass certificate to ApiCluster, or leave the health check out",
            )
        # A group of its own: the two lists together have more rules than one group may.
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=api.vpc,
            description="Health checks of Route 53",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(
            ec2.Peer.prefix_list(prefix_list_id), ec2.Port.tcp(_HTTPS), "Route 53 health checks"
        )
        # By the L2 the group would be let on to the tasks, too.
        balancer.add_property_override("SecurityGroups.1", group.security_group_id)
        api.listener.add_action(
            "Ready",
            priority=_FIRST,
            conditions=[elbv2.ListenerCondition.path_patterns([READY_PATH])],
            action=elbv2.ListenerAction.forward([api.target_group]),
        )
        self.health_check = route53.HealthCheck(
            self,
            "HealthCheck",
            type=route53.HealthCheckType.HTTPS,
            # Route 53 does not compare the name with the certificate.
            fqdn=api.load_balancer.load_balancer_dns_name,
            port=_HTTPS,
            resource_path=READY_PATH,
            enable_sni=True,
            failure_threshold=_FAILURES,
        )

    @staticmethod
    def watch(
        scope: Construct, construct_id: str, *, region: str, health_check_id: str
    ) -> cloudwatch.Alarm:
        """Add the alarm that a region is not named any more, in a stack of us-east-1.

        Args:
            scope: Parent.
            construct_id: Id in it.
            region: The region that is checked.
            health_check_id: Id of its health check.

        Raises:
            ValueError: If the stack is elsewhere.

        Source: Route 53 Developer Guide, "Monitoring health checks using CloudWatch".
        """
        here = cdk.Stack.of(scope).region
        if not cdk.Token.is_unresolved(here) and here != CLOUDFRONT_REGION:
            raise reject(
                scope,
                f"the stack is in {here!r}, but metrics of health checks are in "
                f"{CLOUDFRONT_REGION} only; add the alarm in a stack there",
            )
        healthy = cloudwatch.Metric(
            namespace="AWS/Route53",
            metric_name="HealthCheckStatus",
            dimensions_map={"HealthCheckId": health_check_id},
            statistic="Minimum",
            period=duration(_MINUTE),
        )
        return OperatorAlarm(
            scope,
            construct_id,
            metric=cloudwatch.MathExpression(
                label="Unhealthy",
                expression="1 - healthy",
                using_metrics={"healthy": healthy},
                period=duration(_MINUTE),
            ),
            above=0,
            periods=_MINUTES_UNHEALTHY,
            description=f"Route 53 does not reach the API of {region}, and names other regions "
            "instead; see its load balancer, then decide whether another takes over",
        )

    @staticmethod
    def add_latency_record(
        scope: Construct,
        construct_id: str,
        *,
        zone: route53.IHostedZone,
        record_name: str,
        load_balancer_domain: str,
        load_balancer_zone: str,
        region: str | None = None,
        health_check_id: str | None = None,
    ) -> route53.CfnRecordSet:
        """Answer a name by the nearest region that is healthy, this one among others.

        Args:
            scope: Parent.
            construct_id: Id in it.
            zone: Zone of the name.
            record_name: The name.
            load_balancer_domain: DNS name of the load balancer of the region.
            load_balancer_zone: Hosted zone of that name, which is AWS's.
            region: The region. Default: that of the stack.
            health_check_id: Id of its health check. Default: the health of its targets, as the load
                balancer sees it, decides alone.
        """
        region = region or cdk.Stack.of(scope).region
        return route53.CfnRecordSet(
            scope,
            construct_id,
            hosted_zone_id=zone.hosted_zone_id,
            name=record_name,
            type="A",
            region=region,
            set_identifier=region,
            alias_target=route53.CfnRecordSet.AliasTargetProperty(
                dns_name=f"dualstack.{load_balancer_domain}",
                hosted_zone_id=load_balancer_zone,
                evaluate_target_health=True,
            ),
            health_check_id=health_check_id,
        )
