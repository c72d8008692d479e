"""The Edge stack: the distribution of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as route53_targets
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs import AlarmTopic, CdnDistribution, MediaOrigin, RegionHealth
from media_platform.constructs._distributions import CLOUDFRONT_REGION
from media_platform.contract.delivery import SLOTS
from media_platform.contract.outputs import EdgeOutput, EdgeParameter
from media_platform.stacks.config import DomainConfig, StageConfig
from media_platform.stacks.media_stack import hosted_zone
from media_platform.stacks.removal import removal_policy
from media_platform.stacks.store_stack import alarm_topic


class EdgeStack(cdk.Stack):
    """The distribution, its keys, and the documents that tell the regions how to sign.

    Args:
        scope: The app.
        construct_id: Id in it.
        config: The stage.
        media_origins: One for every region, the primary one first.
        site_origin: Where the pages of the site are. Default: there is none.
        load_balancer: Internal load balancer of the API, where the stage has no own domain.
        health_check_ids: Health checks of Route 53 by region, whose metrics are here. Default:
            there are none.
        alarms: Who is told of its alarms, in its own region. Default: a topic of its own.
        access_logs: Bucket for access logs in its own region. Default: one of its
            own, where CloudFront can log.
        encryption_key: Key of the store in its own region. Default: keys that AWS owns.
        **kwargs: Arguments of :class:`aws_cdk.Stack`.

    Attributes:
        cdn: The distribution.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        media_origins: Sequence[MediaOrigin],
        site_origin: MediaOrigin | None = None,
        load_balancer: elbv2.IApplicationLoadBalancer | None = None,
        health_check_ids: Mapping[str, str] | None = None,
        alarms: AlarmTopic | None = None,
        access_logs: s3.IBucket | None = None,
        encryption_key: kms.IKey | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        domain = config.domain
        viewers_domain = config.viewers_domain
        zone = hosted_zone(self, domain) if domain else None
        self.cdn = CdnDistribution(
            self,
            "Cdn",
            stage=config.name,
            media_origins=media_origins,
            site_origin=site_origin,
            site_fallback_page=config.site.fallback_page if config.site else None,
            load_balancer=None if domain else load_balancer,
            api_domain_name=domain.origin_name if domain else None,
            admin_domain_name=domain.admin_origin_name if domain else None,
            domain_name=viewers_domain.name if viewers_domain else None,
            certificate=(
                acm.Certificate(
                    self,
                    "Certificate",
                    domain_name=viewers_domain.name,
                    validation=acm.CertificateValidation.from_dns(zone),
                )
                if viewers_domain
                else None
            ),
            scheme=config.scheme,
            ipv6=config.ipv6,
            cors_origins=config.player_origins,
            allowed_countries=config.allowed_countries,
            denied_countries=config.denied_countries,
            waf=config.waf and self.region == CLOUDFRONT_REGION,
            waf_logs=config.waf_logs and self.region == CLOUDFRONT_REGION,
            access_logs=access_logs if config.access_logs else False,
            encryption_key=encryption_key,
            removal_policy=removal_policy(config),
        )
        first, second = SLOTS
        for parameter, known_as in (
            (self.cdn.signing_parameters.keys[first], EdgeParameter.KEY_A),
            (self.cdn.signing_parameters.keys[second], EdgeParameter.KEY_B),
            (self.cdn.signing_parameters.active_slot, EdgeParameter.ACTIVE_SLOT),
        ):
            parameter.override_logical_id(known_as.value)
        for region, health_check_id in (health_check_ids or {}).items():
            RegionHealth.watch(
                self, f"Health-{region}", region=region, health_check_id=health_check_id
            )
        if alarms is None:
            alarm_topic(self, config)
        else:
            alarms.watch(self)
        if viewers_domain and zone:
            self._name_distribution(viewers_domain, zone, ipv6=config.ipv6)
        for name, value in (
            (EdgeOutput.DISTRIBUTION_ID, self.cdn.distribution.distribution_id),
            (EdgeOutput.DISTRIBUTION_DOMAIN, self.cdn.distribution.distribution_domain_name),
            (EdgeOutput.BASE_URL, self.cdn.base_url),
        ):
            cdk.CfnOutput(self, name.value, value=value)

    def _name_distribution(
        self, domain: DomainConfig, zone: route53.IHostedZone, *, ipv6: bool
    ) -> None:
        target = route53.RecordTarget.from_alias(
            route53_targets.CloudFrontTarget(self.cdn.distribution)
        )
        name = f"{domain.name}."
        route53.ARecord(self, "DistributionName", zone=zone, record_name=name, target=target)
        if ipv6:
            route53.AaaaRecord(
                self, "DistributionName6", zone=zone, record_name=name, target=target
            )
