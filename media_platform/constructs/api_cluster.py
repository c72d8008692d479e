"""The video API: network, cluster, load balancer, users, and the service itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._access_logs import access_log_bucket, log_requests
from media_platform.constructs._admin_service import AdminService
from media_platform.constructs._api_cluster_base import ApiClusterBase
from media_platform.constructs._api_service import ApiService
from media_platform.constructs._checks import (
    DEFAULT_STAGE,
    DEFAULT_UPLOAD_GIBIBYTES,
    check_networks,
    check_range,
    check_region,
    check_stage,
    check_upload_max,
    in_bytes,
    in_seconds,
    reject,
)
from media_platform.constructs._http_service import HttpService
from media_platform.constructs._load_balancer_alarms import watch_load_balancer, watch_targets
from media_platform.constructs._log_groups import encrypt_logs
from media_platform.constructs._media_cluster import (
    DEFAULT_CIDR,
    AwsEndpoint,
    MediaCluster,
    Network,
    check_network,
    media_vpc,
)
from media_platform.constructs._tracing import Tracing
from media_platform.constructs._user_directory import TokenIssuer, UserDirectory
from media_platform.constructs._video_cache import VideoCache
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs._web_acl import check_waf_logs, load_balancer_acl
from media_platform.constructs.transcode_pipeline import TranscodePipeline
from media_platform.contract.delivery import delivery_parameter_name
from media_platform.contract.environment import (
    API_PORT,
    NO_CACHE,
    READY_PATH,
    AdminEnvironment,
    ApiEnvironment,
)
from media_platform.contract.identity import NOBODY, TENANT_CHARACTERS
from media_platform.contract.object_keys import is_key_segment
from media_platform.contract.webhook_urls import join_networks

API_PATHS = "/api/*"
"""Paths that belong to the API, at the load balancer as at the edge."""

ADMIN_PATHS = "/api/admin/*"
"""Paths that belong to the admin service."""

_MOST = 2**53
"""Largest number that every JSON reader takes exactly."""

_COGNITO = re.compile(r"https://cognito-idp\.(?P<region>[a-z0-9-]+)\.")

_MAX_EXPIRY_SECONDS = 7 * 86_400
"""Longest life of a presigned URL (Amazon S3 API, Signature Version 4)."""


class ApiCluster(ApiClusterBase):
    """The API behind a load balancer that only CloudFront reaches.

    Without a certificate the load balancer is internal and speaks HTTP to a CloudFront VPC origin;
    with one it faces the internet, speaks HTTPS and admits CloudFront's own addresses alone.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage, 1 to 16 lower-case letters and digits; the same in every
            construct that belongs together. Default ``main``.
        store: Store of this region.
        token_issuer: Whose tokens are accepted. Default: a new user pool, :attr:`users`.
        vpc: Network. Default: a new one with two zones.
        network: How tasks reach AWS; S3 and DynamoDB are reached by gateway endpoints for nothing.
            Prices are those of us-east-1 in two zones, 730 hours a month (Amazon VPC pricing, AWS
            PrivateLink pricing; June 2026). Default ``nat``.

            - ``nat``: tasks in private subnets go out by NAT gateways. $36.50 a month for each, its
              address among it ($0.045 and $0.005 an hour), and $0.045 a GB. In a ``vpc`` of yours:
              by whatever its private subnets have, be it NAT, a transit gateway, or endpoints.
            - ``public``: tasks in public subnets have addresses of their own, and nobody is let in
              but the load balancer. $3.65 a month for every task that runs ($0.005 an hour).
            - ``endpoints``: subnets of tasks have no way to the internet, and interface endpoints
              lead to the services that they call, and nowhere else. $14.60 a month for each
              ($0.01 an hour in a zone), so $87.60 for the six of the API, $116.80 for the eight of
              API, admin service and workers; and $0.01 a GB. A ``vpc`` of yours must have the
              gateway endpoints already and gets the others. Keys of tokens are read from a user
              pool of this region, which must have no domain (Amazon Cognito Developer Guide,
              "Access Amazon Cognito using an interface endpoint"), or from within the network.
        cidr: Addresses of the new network. Default ``10.0.0.0/16``.
        nat_gateways: NAT gateways of the new network, where ``network`` is ``nat``. Default 1.
        availability_zones: Zones of the new network. Default: two of the stack's.
        certificate: Certificate of the load balancer. Default: none, for a VPC origin.
        cloudfront_prefix_list_id: Managed prefix list of CloudFront's origin-facing addresses in
            this region. Default: the addresses of the VPC, where VPC origins have theirs.
        min_tasks: Fewest tasks. Default 2, so that one may fail.
        max_tasks: Most tasks. Default 10.
        cpu_units: 1024 for one virtual CPU. Default 512.
        memory_mebibytes: Memory of a task. Default 1024.
        requests_per_minute: Requests of a task a minute beyond which there are more tasks, as
            there are beyond 60 % of CPU. Default: 50,400 for a virtual CPU, so 25,200: 60 % of what
            it bears when every read goes to the table, 1,400 a second (``bench/api.py``). Where
            most reads are answered from memory, a task bears four times as many.
        upload_max: Largest upload that is signed, up to the 5 TiB of an object. Default 5 GiB.
        upload_expiry: Life of an upload URL, up to 7 days. Default 1 hour.
        playback_expiry: Life of a playback signature. Default 4 hours.
        quota_videos: Most videos of a tenant for which nothing else was set. Default 100,000.
        quota: Most bytes of their files. Default 10 TiB.
        quota_uploads: Most uploads of a tenant at a time. Default 1,000.
        regions: Regions whose views are counted together, this one among them. Default: this one.
        restore_days: Days for which a deleted video may be restored, 0 to 365. Default 30.
        webhook_allowed_networks: Networks (CIDR) for which webhooks may be registered although they
            are not public; the same as those of the pipeline. Default: none.
        cache: Whether a Valkey keeps metadata of videos for all tasks, so that changes are answered
            at once and popular videos are read from the table every two seconds. It costs $6 a
            month and more in us-east-1: $0.084 for a GB and hour of which 100 MB are the least, and
            $0.0023 for a million requests. Default ``False``: each task keeps its own for a quarter
            of a second.
        cache_max_gibibytes: Most data of it, 1 to 5000 GB. Default 1: 100,000 videos and more.
        cache_max_units_per_second: Most ElastiCache Processing Units a second, 1,000 to 15 million;
            a small read is one. Default 10,000. Tasks read from the table what is above.
        access_logs: Whether requests on the load balancer are logged, or the bucket for logs, as
            for :class:`VideoStore`. Default ``True``: to that of the store, or a new one where the
            store has none. A stack that does not know its region has none and says so.
        waf: Whether AWS WAF refuses requests on the load balancer that look like attacks (AWS
            managed rules: common, known bad inputs). It costs $7 a month and $0.60 for a million
            requests. Addresses are for ``waf`` of :class:`CdnDistribution`, which sees those of
            viewers; here all are CloudFront's. Default ``False``.
        waf_logs: Whether requests that it refuses, or would but for rules that only count, are
            logged for a year, without tokens, cookies and signatures. Default ``False``.
        tracing: Where spans of both services go, :meth:`Tracing.x_ray` or :meth:`Tracing.otlp`.
            Default: nowhere; ids of traces are in log lines and messages all the same.
        removal_policy: What happens to users. Default ``RETAIN``.
        deletion_protection: Whether user pool and load balancer refuse to be deleted.
            Default: when users are retained.

    Raises:
        ValueError: If arguments contradict each other or AWS would refuse them.

    Attributes:
        vpc: The network.
        cluster: The ECS cluster; transcode workers may share it.
        users: The user pool, or ``None`` where ``token_issuer`` was given.
        token_issuer: Whose tokens are accepted.
        cache: The Valkey, or ``None`` where there is none.
        admin: The admin service, once :meth:`add_admin_service` made it.
        load_balancer: The load balancer.
        listener: Its one listener.
        target_group: The healthy tasks of the API.
        api: The service.
        delivery_parameter: Name of the SSM parameter that tells it where and how to sign.

    Source: CloudFront Developer Guide, "Restrict access with VPC origins".
    """

    cluster: MediaCluster

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str = DEFAULT_STAGE,
        store: VideoStoreBase,
        token_issuer: TokenIssuer | None = None,
        vpc: ec2.IVpc | None = None,
        network: str = Network.NAT,
        cidr: str = DEFAULT_CIDR,
        nat_gateways: int | None = None,
        availability_zones: Sequence[str] | None = None,
        certificate: acm.ICertificate | None = None,
        cloudfront_prefix_list_id: str | None = None,
        min_tasks: int = 2,
        max_tasks: int = 10,
        cpu_units: int = 512,
        memory_mebibytes: int = 1024,
        requests_per_minute: int | None = None,
        upload_max: cdk.Size | None = None,
        upload_expiry: cdk.Duration | None = None,
        playback_expiry: cdk.Duration | None = None,
        quota_videos: int = 100_000,
        quota: cdk.Size | None = None,
        quota_uploads: int = 1000,
        regions: Sequence[str] | None = None,
        restore_days: int = 30,
        webhook_allowed_networks: Sequence[str] = (),
        cache: bool = False,
        cache_max_gibibytes: int = 1,
        cache_max_units_per_second: int = 10_000,
        access_logs: bool | s3.IBucket = True,
        waf: bool = False,
        waf_logs: bool = False,
        tracing: Tracing | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
        deletion_protection: bool | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        upload_max = upload_max or cdk.Size.gibibytes(DEFAULT_UPLOAD_GIBIBYTES)
        upload_expiry = upload_expiry or cdk.Duration.hours(1)
        playback_expiry = playback_expiry or cdk.Duration.hours(4)
        quota = quota or cdk.Size.tebibytes(10)
        removal_policy = removal_policy or cdk.RemovalPolicy.RETAIN
        if deletion_protection is None:
            deletion_protection = removal_policy is cdk.RemovalPolicy.RETAIN
        check_stage(self, stage)
        check_region(self, "store", cdk.Stack.of(store).region)
        self._check_limits(upload_max, upload_expiry, playback_expiry)
        self._check_quotas(quota_videos, quota, quota_uploads)
        check_range(
            self,
            "restore_days",
            restore_days,
            (0, 365),
            "what is deleted costs storage until it is purged",
        )
        check_networks(self, "webhook_allowed_networks", webhook_allowed_networks)
        check_waf_logs(self, waf_logs, waf=waf)
        way_out = check_network(self, network, nat_gateways)
        self._check_certificate(certificate, cloudfront_prefix_list_id, waf=waf)
        regions = self._counted_together(regions)

        encrypt_logs(self, store.encryption_key)
        self.vpc = vpc or media_vpc(
            self,
            "Vpc",
            network=way_out,
            cidr=cidr,
            nat_gateways=nat_gateways,
            availability_zones=availability_zones,
        )
        self.cluster = MediaCluster(self, "Cluster", vpc=self.vpc, network=way_out)
        self.delivery_parameter = delivery_parameter_name(stage)
        self.cache: VideoCache | None = None
        if cache:
            self.cache = VideoCache(
                self,
                "Cache",
                vpc=self.vpc,
                subnets=self.cluster.inner_subnets,
                max_gibibytes=cache_max_gibibytes,
                max_units_per_second=cache_max_units_per_second,
            )
        self.users: UserDirectory | None = None
        if token_issuer is None:
            self.users = UserDirectory(
                self,
                "Users",
                removal_policy=removal_policy,
                deletion_protection=deletion_protection,
            )
            token_issuer = self.users.token_issuer
        self.token_issuer = token_issuer
        self.api = ApiService(
            self,
            "Api",
            cluster=self.cluster,
            store=store,
            environment=ApiEnvironment(
                stage=stage,
                home_region=cdk.Stack.of(self).region,
                table_name=store.table.table_name,
                raw_bucket=store.raw_bucket.bucket_name,
                media_bucket=store.media_bucket.bucket_name,
                token_issuer=token_issuer.issuer,
                token_jwks_url=token_issuer.jwks_url,
                token_client_id=token_issuer.client_id,
                delivery_parameter=self.delivery_parameter,
                upload_max_bytes=int(upload_max.to_bytes()),
                upload_expiry_seconds=int(upload_expiry.to_seconds()),
                playback_expiry_seconds=int(playback_expiry.to_seconds()),
                quota_videos=quota_videos,
                quota_bytes=int(quota.to_bytes()),
                quota_uploads=quota_uploads,
                regions=",".join(regions),
                restore_days=restore_days,
                webhook_allowed_networks=join_networks(webhook_allowed_networks),
                cache_url=self._cache_url,
            ),
            calls=self._keys_of_tokens(token_issuer),
            min_tasks=min_tasks,
            max_tasks=max_tasks,
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            requests_per_minute=requests_per_minute,
            tracing=tracing,
        )
        self._let_into_cache(self.api.service)
        self.load_balancer = elbv2.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=self.vpc,
            internet_facing=certificate is not None,
            deletion_protection=deletion_protection,
            drop_invalid_header_fields=True,
        )
        if access_logs is True and store.access_log_bucket is not None:
            access_logs = store.access_log_bucket
        log_requests(
            self.load_balancer,
            access_log_bucket(self, access_logs, removal_policy=removal_policy),
            prefix="load-balancer",
        )
        if waf:
            wafv2.CfnWebACLAssociation(
                self,
                "WebAclAssociation",
                resource_arn=self.load_balancer.load_balancer_arn,
                web_acl_arn=load_balancer_acl(self, "WebAcl", logs=waf_logs).attr_arn,
            )
        watch_load_balancer(self.load_balancer)
        self.listener = self._listen(certificate, cloudfront_prefix_list_id)
        self.target_group = self._route("Api", API_PATHS, 10, self.api)
        self.admin: AdminService | None = None
        self._stage = stage
        self._tracing = tracing
        self._store = store

    def add_admin_service(
        self,
        *,
        pipeline: TranscodePipeline,
        operator_tenant: str | None = None,
        min_tasks: int = 1,
        max_tasks: int = 3,
        cpu_units: int = 256,
        memory_mebibytes: int = 512,
        requests_per_minute: int | None = None,
    ) -> AdminService:
        """Add the service behind ``/api/admin/*``, where the users are.

        Args:
            pipeline: The pipeline whose queues operators look into.
            operator_tenant: Tenant whose administrators are operators: they see every tenant, set
                quotas and see jobs. Default: none, so that nobody is one.
            min_tasks: Fewest tasks. Default 1, since nobody waits for it when it moves.
            max_tasks: Most tasks. Default 3.
            cpu_units: 1024 for one virtual CPU. Default 256.
            memory_mebibytes: Memory of a task. Default 512.
            requests_per_minute: Requests of a task a minute beyond which there are more tasks.
                Default: as for the API, so 12,600 for a quarter of a virtual CPU.

        Raises:
            ValueError: If the users are elsewhere, there is one already, or an argument cannot be.
        """
        if self.users is None:
            raise reject(
                self,
                "add_admin_service is called where token_issuer was given; call it in the region "
                "of the user pool, whose users it administers",
            )
        if self.admin is not None:
            raise reject(self, "add_admin_service is called twice; one service serves all tenants")
        if operator_tenant is not None and (
            not is_key_segment(operator_tenant) or len(operator_tenant) > TENANT_CHARACTERS
        ):
            raise reject(
                self,
                f"operator_tenant is {operator_tenant!r}, allowed are 1 to {TENANT_CHARACTERS} "
                "letters, digits, '_', '.', ':' and '-'; name it as the tenant of its users",
            )
        self.admin = AdminService(
            self,
            "Admin",
            cluster=self.cluster,
            store=self._store,
            users=self.users,
            pipeline=pipeline,
            environment=AdminEnvironment(
                stage=self._stage,
                home_region=cdk.Stack.of(self).region,
                table_name=self._store.table.table_name,
                token_issuer=self.token_issuer.issuer,
                token_jwks_url=self.token_issuer.jwks_url,
                token_client_id=self.token_issuer.client_id,
                user_pool_id=self.users.user_pool.user_pool_id,
                operator_tenant=NOBODY if operator_tenant is None else operator_tenant,
                queues="{}",
                dead_letter_queues="{}",
                purge_interval_minutes=int(pipeline.purge.interval.to_minutes()),
                cache_url=self._cache_url,
            ),
            min_tasks=min_tasks,
            max_tasks=max_tasks,
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            requests_per_minute=requests_per_minute,
            tracing=self._tracing,
        )
        self._let_into_cache(self.admin.service)
        # Rules are tried by their numbers: this one comes before that of the API.
        self._route("Admin", ADMIN_PATHS, 5, self.admin)
        return self.admin

    @property
    def _cache_url(self) -> str:
        return NO_CACHE if self.cache is None else self.cache.url

    def _let_into_cache(self, service: ecs.FargateService) -> None:
        if self.cache is not None:
            self.cache.allow(service)

    @classmethod
    def from_api_cluster_attributes(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        cluster_name: str,
        load_balancer_arn: str,
        load_balancer_security_group_id: str,
        listener_arn: str,
        target_group_arn: str,
        token_issuer: TokenIssuer,
    ) -> ApiClusterBase:
        """Return an API of this region and account that another stack made.

        Args:
            scope: Parent.
            construct_id: Id in it.
            vpc: Its network.
            cluster_name: Its ECS cluster. Tasks that are put into it are in the private subnets,
                which must have a way to AWS, as they have with the network ``nat``.
            load_balancer_arn: Its load balancer.
            load_balancer_security_group_id: Security group of that, which is let on to the tasks of
                further services.
            listener_arn: The listener.
            target_group_arn: The tasks of the API.
            token_issuer: Whose tokens are accepted.
        """
        api = ApiClusterBase(scope, construct_id)
        group = ec2.SecurityGroup.from_security_group_id(
            api, "SecurityGroup", load_balancer_security_group_id
        )
        api.vpc = vpc
        api.cluster = ecs.Cluster.from_cluster_attributes(
            api, "Cluster", cluster_name=cluster_name, vpc=vpc
        )
        api.load_balancer = elbv2.ApplicationLoadBalancer.from_application_load_balancer_attributes(
            api,
            "LoadBalancer",
            load_balancer_arn=load_balancer_arn,
            security_group_id=load_balancer_security_group_id,
            vpc=vpc,
        )
        api.listener = elbv2.ApplicationListener.from_application_listener_attributes(
            api, "Listener", listener_arn=listener_arn, security_group=group
        )
        api.target_group = elbv2.ApplicationTargetGroup.from_target_group_attributes(
            api,
            "Targets",
            target_group_arn=target_group_arn,
            load_balancer_arns=load_balancer_arn,
        )
        api.token_issuer = token_issuer
        return api

    def _keys_of_tokens(self, issuer: TokenIssuer) -> list[AwsEndpoint]:
        """Return the services of AWS from which the keys of tokens are read."""
        cognito = _COGNITO.match(issuer.jwks_url)
        if cognito is None and not cdk.Token.is_unresolved(issuer.jwks_url):
            return []
        region = cdk.Stack.of(self).region
        if (
            self.cluster.network is Network.ENDPOINTS
            and cognito is not None
            and not cdk.Token.is_unresolved(region)
            and cognito["region"] != region
        ):
            raise reject(
                self,
                f"network is 'endpoints', but token_issuer has its keys in {cognito['region']!r}, "
                "which endpoints of another region do not reach; choose 'nat' or 'public'",
            )
        return [AwsEndpoint.COGNITO_IDP]

    def _listen(
        self, certificate: acm.ICertificate | None, prefix_list_id: str | None
    ) -> elbv2.ApplicationListener:
        listener = self.load_balancer.add_listener(
            "Listener",
            port=443 if certificate else 80,
            protocol=(
                elbv2.ApplicationProtocol.HTTPS if certificate else elbv2.ApplicationProtocol.HTTP
            ),
            certificates=[certificate] if certificate else None,
            ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS if certificate else None,
            open=False,
            default_action=elbv2.ListenerAction.fixed_response(
                404, content_type="text/plain", message_body="not found"
            ),
        )
        if prefix_list_id is not None:
            peer = ec2.Peer.prefix_list(prefix_list_id)
        else:
            peer = ec2.Peer.ipv4(self.vpc.vpc_cidr_block)
            accept(self.load_balancer, Accepted.ADDRESSES_OF_NETWORK)
        listener.connections.allow_default_port_from(peer, "CloudFront")
        return listener

    def _route(
        self, name: str, paths: str, priority: int, service: HttpService
    ) -> elbv2.ApplicationTargetGroup:
        targets = self.listener.add_targets(
            name,
            priority=priority,
            conditions=[elbv2.ListenerCondition.path_patterns([paths])],
            port=API_PORT,
            protocol=elbv2.ApplicationProtocol.HTTP,
            targets=[service.service],
            deregistration_delay=cdk.Duration.seconds(30),
            health_check=elbv2.HealthCheck(
                path=READY_PATH,
                healthy_http_codes="200",
                interval=cdk.Duration.seconds(15),
                timeout=cdk.Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        watch_targets(targets, what=f"the {name} service")
        service.scale_on_requests(targets)
        return targets

    def _check_certificate(
        self,
        certificate: acm.ICertificate | None,
        cloudfront_prefix_list_id: str | None,
        *,
        waf: bool,
    ) -> None:
        if certificate is None:
            return
        if not waf:
            cdk.Annotations.of(self).add_info_v2(
                "@media-platform/load-balancer-waf",
                "the load balancer faces the internet, and distributions of others reach it, too; "
                "pass waf=True to have requests refused that look like attacks",
            )
        if cloudfront_prefix_list_id is None:
            raise reject(
                self,
                "certificate is given but cloudfront_prefix_list_id is missing; pass the id of "
                "com.amazonaws.global.cloudfront.origin-facing in this region, so that nobody "
                "reaches the load balancer past CloudFront",
            )

    def _counted_together(self, regions: Sequence[str] | None) -> list[str]:
        """Return the regions whose views are counted together."""
        region = cdk.Stack.of(self).region
        counted = list(regions or [region])
        if not cdk.Token.is_unresolved(region) and region not in counted:
            raise reject(
                self, f"regions is {counted} without the region of the stack, {region}; add it"
            )
        return counted

    def _check_limits(
        self, upload_max: cdk.Size, upload_expiry: cdk.Duration, playback_expiry: cdk.Duration
    ) -> None:
        check_upload_max(self, upload_max)
        check_range(
            self,
            "upload_expiry in seconds",
            in_seconds(self, "upload_expiry", upload_expiry),
            (1, _MAX_EXPIRY_SECONDS),
            "a presigned URL lives no longer",
        )
        check_range(
            self,
            "playback_expiry in seconds",
            in_seconds(self, "playback_expiry", playback_expiry),
            (10, _MAX_EXPIRY_SECONDS),
            "a signature outlives the deletion of its video, so keep it short",
        )

    def _check_quotas(self, quota_videos: int, quota: cdk.Size, quota_uploads: int) -> None:
        for name, value in (
            ("quota_videos", quota_videos),
            ("quota in bytes", in_bytes(self, "quota", quota)),
            ("quota_uploads", quota_uploads),
        ):
            check_range(
                self, name, value, (1, _MOST), "a tenant that may have nothing needs no platform"
            )
