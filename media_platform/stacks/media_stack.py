"""Media stacks: the API and the transcode pipeline of a region."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as route53_targets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.constructs import (
    AlarmTopic,
    ApiCluster,
    OperationsDashboard,
    RegionHealth,
    TokenIssuer,
    Tracing,
    TranscodePipeline,
    VideoStore,
)
from media_platform.contract.outputs import MediaOutput
from media_platform.stacks.config import (
    ClamAvConfig,
    DomainConfig,
    RegionConfig,
    StageConfig,
    TracingConfig,
)
from media_platform.stacks.removal import removal_policy


class MediaStack(cdk.Stack):
    """The API and the pipeline of one region, on one cluster.

    Args:
        scope: The app.
        construct_id: Id in it.
        config: The stage.
        region_config: The region.
        store: Its store.
        alarms: Who is told of its alarms.
        token_issuer: Whose tokens are accepted. Default: a new user pool.
        **kwargs: Arguments of :class:`aws_cdk.Stack`.

    Attributes:
        api: The API.
        pipeline: The pipeline.
        health: The health check of the region, or ``None`` where it has none.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        region_config: RegionConfig,
        store: VideoStore,
        alarms: AlarmTopic,
        token_issuer: TokenIssuer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        self._zones = list(region_config.availability_zones)
        upload_max = cdk.Size.mebibytes(config.api.upload_max_mebibytes)
        networks = [str(network) for network in config.webhooks.allowed_networks]
        zone = hosted_zone(self, config.domain) if config.domain else None
        has_users = token_issuer is None
        tracing = _tracing(self, config.tracing) if config.tracing is not None else None
        self.api = ApiCluster(
            self,
            "Api",
            stage=config.name,
            store=store,
            token_issuer=token_issuer,
            cidr=str(region_config.cidr),
            network=config.network,
            nat_gateways=config.nat_gateways,
            availability_zones=region_config.availability_zones,
            certificate=(
                acm.Certificate(
                    self,
                    "Certificate",
                    domain_name=config.domain.origin_name,
                    subject_alternative_names=(
                        [config.domain.admin_origin_name] if has_users else None
                    ),
                    validation=acm.CertificateValidation.from_dns(zone),
                )
                if config.domain
                else None
            ),
            cloudfront_prefix_list_id=region_config.cloudfront_prefix_list,
            min_tasks=config.api.min_tasks,
            max_tasks=config.api.max_tasks,
            cpu_units=config.api.cpu_units,
            memory_mebibytes=config.api.memory_mebibytes,
            requests_per_minute=config.api.requests_per_minute,
            upload_max=upload_max,
            upload_expiry=cdk.Duration.seconds(config.api.upload_expiry_seconds),
            regions=[region.name for region in config.members],
            playback_expiry=cdk.Duration.seconds(config.api.playback_expiry_seconds),
            quota_videos=config.api.quota_videos,
            quota=cdk.Size.mebibytes(config.api.quota_mebibytes),
            quota_uploads=config.api.quota_uploads,
            restore_days=config.api.restore_days,
            cache=config.api.cache,
            cache_max_gibibytes=config.api.cache_max_gibibytes,
            cache_max_units_per_second=config.api.cache_max_units_per_second,
            webhook_allowed_networks=networks,
            access_logs=config.access_logs,
            waf=config.waf,
            waf_logs=config.waf_logs,
            tracing=tracing,
            removal_policy=removal_policy(config),
        )
        self.pipeline = TranscodePipeline(
            self,
            "Transcode",
            store=store,
            stage=config.name,
            cluster=self.api.cluster,
            max_workers=config.worker.max_tasks,
            worker_cpu_units=config.worker.cpu_units,
            worker_memory_mebibytes=config.worker.memory_mebibytes,
            visibility_timeout=cdk.Duration.seconds(config.worker.visibility_timeout_seconds),
            max_failures=config.worker.max_failures,
            max_duration=cdk.Duration.seconds(config.worker.max_duration_seconds),
            max_pixels=config.worker.max_pixels,
            max_frame_rate=config.worker.max_frame_rate,
            max_tenant_parts=config.worker.max_tenant_parts,
            max_tenant_daily_cpu_hours=config.worker.max_tenant_daily_cpu_hours,
            chunk_duration=cdk.Duration.seconds(config.worker.chunk_seconds),
            chunks_in_flight=config.worker.chunks_in_flight,
            ladder=config.worker.ladder,
            measure_quality=config.worker.measure_quality,
            old_run_grace=cdk.Duration.seconds(config.worker.old_run_seconds),
            purge_interval=cdk.Duration.minutes(config.worker.purge_interval_minutes),
            sweep_interval=cdk.Duration.minutes(config.worker.sweep_interval_minutes),
            upload_max=upload_max,
            scan_content=config.scanning.content,
            idle=cdk.Duration.seconds(config.worker.idle_seconds),
            webhook_allowed_networks=networks,
            max_webhook_batches=config.webhooks.max_batches,
            tracing=tracing,
            removal_policy=removal_policy(config),
        )
        if config.scanning.clamav is not None:
            _add_clamav(self.pipeline, config.scanning.clamav)
        if has_users:
            self.api.add_admin_service(
                pipeline=self.pipeline,
                operator_tenant=config.operator_tenant,
                **config.admin.model_dump(),
            )
        OperationsDashboard(
            self,
            "Operations",
            stage=config.name,
            store=store,
            pipeline=self.pipeline,
            api=self.api,
        )
        self.health: RegionHealth | None = None
        if region_config.health_check_prefix_list is not None:
            self.health = RegionHealth(
                self,
                "Health",
                api=self.api,
                prefix_list_id=region_config.health_check_prefix_list,
            )
        alarms.watch(self)
        if config.domain and zone and self.api.admin is not None:
            self._name_admin_service(config.domain, zone)
        self._output()

    @property
    def availability_zones(self) -> list[str]:
        """Zones of the region as configured; the CDK would ask the account for them."""
        return self._zones

    def _name_admin_service(self, domain: DomainConfig, zone: route53.IHostedZone) -> None:
        """Give the admin service, which is in one region, a name of its own there."""
        route53.ARecord(
            self,
            "AdminName",
            zone=zone,
            record_name=f"{domain.admin_origin_name}.",
            target=route53.RecordTarget.from_alias(
                route53_targets.LoadBalancerTarget(self.api.load_balancer)
            ),
        )

    def _output(self) -> None:
        values = {
            MediaOutput.EXPRESS_QUEUE_URL: self.pipeline.express_queue.queue_url,
            MediaOutput.JOB_QUEUE_URL: self.pipeline.job_queue.queue_url,
            MediaOutput.DEAD_LETTER_QUEUE_URL: self.pipeline.dead_letter_queue.queue_url,
            MediaOutput.QUEUE_URLS: _urls(self.pipeline.queues),
            MediaOutput.DEAD_LETTER_QUEUE_URLS: _urls(self.pipeline.dead_letter_queues),
            MediaOutput.TOPIC_ARN: self.pipeline.topic.topic_arn,
            MediaOutput.CLUSTER_NAME: self.api.cluster.cluster_name,
            MediaOutput.API_SERVICE_NAME: self.api.api.service.service_name,
            MediaOutput.WORKER_SERVICE_NAME: self.pipeline.workers.service_name,
            MediaOutput.LOAD_BALANCER_ARN: self.api.load_balancer.load_balancer_arn,
            MediaOutput.LOAD_BALANCER_DOMAIN: self.api.load_balancer.load_balancer_dns_name,
            MediaOutput.LOAD_BALANCER_ZONE: (
                self.api.load_balancer.load_balancer_canonical_hosted_zone_id
            ),
        }
        if self.api.users is not None:
            values[MediaOutput.USER_POOL_ID] = self.api.users.user_pool.user_pool_id
            values[MediaOutput.USER_POOL_CLIENT_ID] = self.api.users.client.user_pool_client_id
            values[MediaOutput.TOKEN_ISSUER] = self.api.token_issuer.issuer
            values[MediaOutput.TOKEN_KEYS_URL] = self.api.token_issuer.jwks_url
        if self.api.admin is not None:
            values[MediaOutput.ADMIN_SERVICE_NAME] = self.api.admin.service.service_name
        if self.health is not None:
            values[MediaOutput.HEALTH_CHECK_ID] = self.health.health_check.health_check_id
        for name, value in values.items():
            cdk.CfnOutput(self, name.value, value=value)


def _urls(queues: Mapping[str, sqs.IQueue]) -> str:
    return json.dumps({name: queue.queue_url for name, queue in queues.items()}, sort_keys=True)


def _add_clamav(pipeline: TranscodePipeline, config: ClamAvConfig) -> None:
    pipeline.add_clamav_scanner(
        min_tasks=config.min_tasks,
        max_tasks=config.max_tasks,
        max_scan=cdk.Size.mebibytes(config.max_scan_mebibytes),
        unscanned=config.unscanned,
        signature_mirror=config.signature_mirror,
        cpu_units=config.cpu_units,
        memory_mebibytes=config.memory_mebibytes,
    )


def _tracing(scope: Construct, config: TracingConfig) -> Tracing:
    if config.otlp_endpoint is None:
        return Tracing.x_ray(sampled_percent=config.sampled_percent)
    return Tracing.otlp(
        config.otlp_endpoint,
        headers=(
            secretsmanager.Secret.from_secret_name_v2(
                scope, "TracingHeaders", config.headers_secret
            )
            if config.headers_secret is not None
            else None
        ),
        sampled_percent=config.sampled_percent,
    )


def hosted_zone(scope: Construct, domain: DomainConfig) -> route53.IHostedZone:
    """Return the hosted zone of a domain, without asking AWS for it."""
    return route53.HostedZone.from_hosted_zone_attributes(
        scope, "Zone", hosted_zone_id=domain.hosted_zone_id, zone_name=domain.hosted_zone_name
    )
