"""The Edge stack: the distribution of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class RegionApi:
    """How the API of a region is reached.

    Attributes:
        domain_name: DNS name of its load balancer.
        zone_id: Hosted zone of that name, which is AWS's.
        health_check_id: Health check of Route 53, whose metrics are in the region of the Edge
            stack, if the region has one.
    """

    domain_name: str
    zone_id: str
    health_check_id: str | None = None


class EdgeStack(cdk.Stack):
    """The distribution, its keys, and the documents that tell the regions how to sign.

    Args:
        scope: The app.
        construct_id: Id in it.
        config: The stage.
        media_origins: One for every region, the primary one first.
        site_origin: Where the pages of the site are. Default: there is none.
        load_balancer: Internal load balancer of the API, where the stage has no own domain.
        apis: How the APIs of all regions are reached, by region, where the stage has an own domain.
            Default: the one region is reached by its load balancer.
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
        apis: Mapping[str, RegionApi] | None = None,
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
        for region, api in (apis or {}).items():
            if api.health_check_id is not None:
                RegionHealth.watch(
                    self, f"Health-{region}", region=region, health_check_id=api.health_check_id
                )
            if domain and zone:
                self._name_api(region, api, zone=zone, record_name=f"{domain.origin_name}.")
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

    def _name_api(
        self, region: str, api: RegionApi, *, zone: route53.IHostedZone, record_name: str
    ) -> None:
        """Answer the name of the API by the nearest region that is healthy.

        A region is named when all is there that its users need: the way to its media, and the
        document by which its API signs. And it is named no longer before any of it goes.
        """
        record = RegionHealth.add_latency_record(
            self,
            f"ApiName-{region}",
            zone=zone,
            record_name=record_name,
            load_balancer_domain=api.domain_name,
            load_balancer_zone=api.zone_id,
            region=region,
            health_check_id=api.health_check_id,
        )
        record.node.add_dependency(self.cdn.distribution, self.cdn.delivery)

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
