"""The one origin that clients know: signed media from S3, and the API behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._access_logs import access_log_bucket, log_deliveries
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._cdn_distribution_base import CdnDistributionBase
from media_platform.constructs._checks import DEFAULT_STAGE, check_range, check_stage, reject
from media_platform.constructs._countries import country_problem
from media_platform.constructs._delivery_documents import DeliveryDocuments
from media_platform.constructs._distributions import CLOUDFRONT_REGION
from media_platform.constructs._log_groups import encrypt_logs
from media_platform.constructs._signing_key import (
    SigningKey,
    SigningKeyMaker,
    SigningKeyParameters,
)
from media_platform.constructs._web_acl import check_waf_logs, distribution_acl
from media_platform.constructs.api_cluster import ADMIN_PATHS, API_PATHS
from media_platform.contract.delivery import SLOTS
from media_platform.contract.object_keys import MEDIA_PREFIX
from media_platform.contract.site import fallback_code, is_page

_ROOT_PAGE = "index.html"
_ERROR_PERCENT = 1
_FALLBACK_STATUS_CODES = [403, 404, 500, 502, 503, 504]


@dataclass(frozen=True, kw_only=True)
class MediaOrigin:
    """Where the media of one home region are, as plain values.

    Attributes:
        region: The home region.
        bucket_name: Its media bucket, which must allow CloudFront to read
            (:meth:`VideoStore.grant_distributions_read`).
        fallback_region: Region of a copy that is asked when the bucket fails. Default: none.
        fallback_bucket_name: The bucket there.
    """

    region: str
    bucket_name: str
    fallback_region: str | None = None
    fallback_bucket_name: str | None = None


class CdnDistribution(CdnDistributionBase):
    """A CloudFront distribution: ``/media/<region>/*`` signed, ``/api/*`` passed on, rest private.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage, 1 to 16 lower-case letters and digits; the same in every
            construct that belongs together. Default ``main``.
        media_origins: One for every home region, the primary region first.
        site_origin: Bucket of a site, which is served to everybody at all other paths, and its
            ``index.html`` at ``/``; see ``site`` of :class:`VideoStore`. Default: none, and other
            paths need a signature, too.
        site_fallback_page: Page that answers all paths whose last part has no dot, as apps of a
            single page need, e.g. ``index.html``. A CloudFront Function chooses it, for $0.10 a
            million requests. Default: none, and a path without a page gets status 403.
        load_balancer: Internal load balancer of the API, reached as a VPC origin.
        api_domain_name: Domain of the API's HTTPS load balancers, instead of ``load_balancer``.
        admin_domain_name: Domain of the HTTPS load balancer of the admin service, which is in one
            region. Default: it is asked like the API, which finds it where there is one region.
        domain_name: Own domain of the distribution. Default: the one that CloudFront gives it.
        certificate: Certificate of ``domain_name``, in us-east-1.
        scheme: Scheme of the URLs that clients get. Default ``https``; ``http`` is for planes
            without TLS, and lets viewers use both.
        cors_origins: Pages of other origins that may play. Default: any, since the signature is
            the permission.
        price_class: Where CloudFront serves from. Default: everywhere.
        ipv6: Whether viewers may come over IPv6. Default ``True``. Videos that are restricted to
            IPv4 ranges are refused to them then, and a viewer with both kinds of address may be
            granted over the one and come for segments over the other; with ``False`` there is no
            other.
        allowed_countries: Countries of viewers that are served, as codes of ISO 3166-1 alpha-2; the
            others get status 403. Default: all.
        denied_countries: Countries of viewers that are not served, instead of
            ``allowed_countries``. Default: none.
        access_logs: Whether requests are logged, or the bucket for logs, as for
            :class:`VideoStore`; an imported one has to let ``delivery.logs.amazonaws.com`` write.
            Default: to a new bucket where the stack is in us-east-1, the only region in which such
            logs are set up, and not elsewhere. Logs hold no queries and cookies, since these hold
            signatures; writing them costs nothing.
        waf: Whether AWS WAF refuses requests that look like attacks (AWS managed rules: common,
            known bad inputs, addresses of ill repute) or are too many. It costs $9 a month and
            $0.60 for a million requests, those for media too. Default ``False``.
        waf_requests_per_address: Most requests of an address in five minutes, 10 to 2 billion,
            media not counted; beyond them it gets status 429. Default 2,000.
        waf_logs: Whether requests that it refuses, or would but for rules that only count, are
            logged for a year, without tokens, cookies and signatures. Default ``False``.
        encryption_key: Customer managed key of the secrets with key pairs, of which other regions
            of ``media_origins`` must have replicas, and of log groups; the policy of an imported
            one must let CloudWatch Logs use it. Default: keys that AWS owns, at no cost.
        removal_policy: What happens to keys when they leave the template. Default ``RETAIN``.

    Raises:
        ValueError: If arguments contradict each other or AWS would refuse them.

    Attributes:
        distribution: The distribution.
        key_group: The keys whose signatures it accepts.
        signing_keys: The keys by slot.
        signing_parameters: Parameters of the stack that say which keys there are; a rotation
            changes them in the stack that runs.
        base_url: Scheme and authority of the one origin that clients know.

    Source: CloudFront Developer Guide, "Serve private content with signed URLs and signed
    cookies"; "Restrict access with VPC origins"; "Write function code for CloudFront Functions".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str = DEFAULT_STAGE,
        media_origins: Sequence[MediaOrigin],
        site_origin: MediaOrigin | None = None,
        site_fallback_page: str | None = None,
        load_balancer: elbv2.IApplicationLoadBalancer | None = None,
        api_domain_name: str | None = None,
        admin_domain_name: str | None = None,
        domain_name: str | None = None,
        certificate: acm.ICertificate | None = None,
        scheme: Literal["https", "http"] = "https",
        cors_origins: Sequence[str] | None = None,
        price_class: cloudfront.PriceClass | None = None,
        ipv6: bool = True,
        allowed_countries: Sequence[str] | None = None,
        denied_countries: Sequence[str] | None = None,
        access_logs: bool | s3.IBucket | None = None,
        waf: bool = False,
        waf_requests_per_address: int = 2000,
        waf_logs: bool = False,
        encryption_key: kms.IKey | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        check_stage(self, stage)
        if admin_domain_name is not None and api_domain_name is None:
            raise reject(
                self,
                f"admin_domain_name is {admin_domain_name!r} but api_domain_name is missing; pass "
                "it only where load balancers are reached by their domains",
            )
        self._check_origins(media_origins, site_origin, load_balancer, api_domain_name)
        self._check_site(site_origin, site_fallback_page)
        self._check_domain(domain_name, certificate)
        access_logs = self._check_logs(access_logs)
        countries = self._countries(allowed_countries, denied_countries)
        self._check_waf(waf, waf_requests_per_address)
        check_waf_logs(self, waf_logs, waf=waf)
        if domain_name is not None and not waf:
            cdk.Annotations.of(self).add_info_v2(
                "@media-platform/distribution-waf",
                f"nothing limits the requests of an address to {domain_name}; pass waf=True to "
                "have that, and requests refused that look like attacks",
            )
        removal_policy = removal_policy or cdk.RemovalPolicy.RETAIN

        regions = [origin.region for origin in media_origins]
        encrypt_logs(self, encryption_key)
        self.signing_parameters = SigningKeyParameters(self, "SigningKeys")
        self.signing_keys = self._make_keys(stage, regions, encryption_key, removal_policy)
        self.key_group = self._make_key_group()
        viewers = (
            cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS
            if scheme == "https"
            else cloudfront.ViewerProtocolPolicy.ALLOW_ALL
        )
        access = cloudfront.S3OriginAccessControl(self, "OriginAccess")
        media = self._media_behaviors(
            media_origins, access, viewers, ["*"] if cors_origins is None else cors_origins
        )
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"media-platform {stage}",
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=price_class or cloudfront.PriceClass.PRICE_CLASS_ALL,
            enable_ipv6=ipv6,
            minimum_protocol_version=(
                cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021 if certificate else None
            ),
            certificate=certificate,
            web_acl_id=(
                distribution_acl(
                    self,
                    "WebAcl",
                    requests_per_address=waf_requests_per_address,
                    logs=waf_logs,
                ).attr_arn
                if waf
                else None
            ),
            geo_restriction=countries,
            domain_names=[domain_name] if domain_name is not None else None,
            default_root_object=_ROOT_PAGE if site_origin is not None else None,
            default_behavior=(
                self._site_behavior(site_origin, site_fallback_page, access, viewers)
                if site_origin is not None
                else next(iter(media.values()))
            ),
            additional_behaviors={
                **media,
                # The first pattern that matches counts, so the narrower one comes first.
                **(
                    {ADMIN_PATHS: _api_behavior(_https_origin(admin_domain_name), viewers)}
                    if admin_domain_name is not None
                    else {}
                ),
                API_PATHS: _api_behavior(
                    _vpc_origin(load_balancer)
                    if load_balancer is not None
                    else _https_origin(str(api_domain_name)),
                    viewers,
                ),
            },
        )
        self._accept_findings(certificate, waf=waf, everywhere=countries is None)
        log_deliveries(
            self.distribution,
            access_log_bucket(self, access_logs, removal_policy=removal_policy),
            prefix="distribution",
            name=f"media-platform-{stage}",
        )
        self._watch()
        authority = domain_name or self.distribution.distribution_domain_name
        self.base_url = f"{scheme}://{authority}"
        self.delivery = DeliveryDocuments(
            self,
            "Delivery",
            stage=stage,
            regions=regions,
            base_url=self.base_url,
            signing_keys=self.signing_keys,
            parameters=self.signing_parameters,
        )

    @classmethod
    def from_cdn_distribution_attributes(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        distribution_id: str,
        distribution_domain_name: str,
        base_url: str,
    ) -> CdnDistributionBase:
        """Return a distribution of this account that another stack made.

        Args:
            scope: Parent.
            construct_id: Id in it.
            distribution_id: Its id.
            distribution_domain_name: The domain that CloudFront gave it.
            base_url: Scheme and authority of the one origin that clients know.
        """
        cdn = CdnDistributionBase(scope, construct_id)
        cdn.distribution = cloudfront.Distribution.from_distribution_attributes(
            cdn,
            "Distribution",
            distribution_id=distribution_id,
            domain_name=distribution_domain_name,
        )
        cdn.base_url = base_url
        return cdn

    def _watch(self) -> None:
        """Add the alarm on errors, where there can be one: CloudFront's metrics are in one region.

        Source: CloudFront Developer Guide, "Types of metrics for CloudFront".
        """
        if cdk.Stack.of(self).region != CLOUDFRONT_REGION:
            cdk.Annotations.of(self).add_info_v2(
                "@media-platform/distribution-alarm",
                "there is no alarm on errors of the distribution, since its metrics are in "
                f"{CLOUDFRONT_REGION}; deploy this stack there to have one",
            )
            return
        OperatorAlarm(
            self,
            "Errors",
            metric=self.metric_errors(),
            above=_ERROR_PERCENT,
            periods=3,
            description=f"More than {_ERROR_PERCENT} % of the viewers' requests end with status "
            "5xx; see which origin answers so",
        )

    def _make_keys(
        self,
        stage: str,
        regions: Sequence[str],
        encryption_key: kms.IKey | None,
        removal_policy: cdk.RemovalPolicy,
    ) -> dict[str, SigningKey]:
        maker = SigningKeyMaker(self, "KeyMaker", removal_policy=removal_policy)
        here = cdk.Stack.of(self).region
        return {
            slot: SigningKey(
                self,
                f"Slot{slot.upper()}",
                stage=stage,
                slot=slot,
                number=number,
                maker=maker,
                replica_regions=[region for region in regions if region != here],
                encryption_key=encryption_key,
                removal_policy=removal_policy,
            )
            for slot, number in self.signing_parameters.keys.items()
        }

    def _make_key_group(self) -> cloudfront.KeyGroup:
        keys = [self.signing_keys[slot] for slot in SLOTS]
        group = cloudfront.KeyGroup(self, "KeyGroup", items=[key.public_key for key in keys])
        cast("cloudfront.CfnKeyGroup", group.node.default_child).add_property_override(
            "KeyGroupConfig.Items",
            [
                cdk.Fn.condition_if(
                    key.is_used.logical_id, key.public_key.public_key_id, cdk.Aws.NO_VALUE
                )
                for key in keys
            ],
        )
        return group

    def _media_behaviors(
        self,
        media_origins: Sequence[MediaOrigin],
        access: cloudfront.S3OriginAccessControl,
        viewers: cloudfront.ViewerProtocolPolicy,
        cors_origins: Sequence[str],
    ) -> dict[str, cloudfront.BehaviorOptions]:
        headers = cloudfront.ResponseHeadersPolicy(
            self,
            "MediaHeaders",
            cors_behavior=cloudfront.ResponseHeadersCorsBehavior(
                access_control_allow_credentials=False,
                access_control_allow_headers=["Range"],
                access_control_allow_methods=["GET", "HEAD", "OPTIONS"],
                access_control_allow_origins=list(cors_origins),
                access_control_expose_headers=["Content-Length", "Content-Range", "ETag"],
                access_control_max_age=cdk.Duration.hours(1),
                origin_override=True,
            ),
        )
        buckets = Construct(self, "Buckets")
        return {
            f"/{MEDIA_PREFIX}{media.region}/*": cloudfront.BehaviorOptions(
                origin=_media_origin(buckets, media, access),
                allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
                cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                response_headers_policy=headers,
                trusted_key_groups=[self.key_group],
                viewer_protocol_policy=viewers,
                # Segments are compressed already.
                compress=False,
            )
            for media in media_origins
        }

    def _site_behavior(
        self,
        site_origin: MediaOrigin,
        fallback_page: str | None,
        access: cloudfront.S3OriginAccessControl,
        viewers: cloudfront.ViewerProtocolPolicy,
    ) -> cloudfront.BehaviorOptions:
        site = Construct(self, "Site")
        return cloudfront.BehaviorOptions(
            origin=_media_origin(site, site_origin, access),
            allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD,
            cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
            function_associations=(
                [
                    cloudfront.FunctionAssociation(
                        event_type=cloudfront.FunctionEventType.VIEWER_REQUEST,
                        function=cloudfront.Function(
                            site,
                            "Fallback",
                            code=cloudfront.FunctionCode.from_inline(fallback_code(fallback_page)),
                            runtime=cloudfront.FunctionRuntime.JS_2_0,
                            comment="Paths that name no file get the page of the app",
                        ),
                    )
                ]
                if fallback_page is not None
                else None
            ),
            response_headers_policy=cloudfront.ResponseHeadersPolicy.SECURITY_HEADERS,
            viewer_protocol_policy=viewers,
        )

    def _check_site(self, site_origin: MediaOrigin | None, fallback_page: str | None) -> None:
        if fallback_page is None:
            return
        if site_origin is None:
            raise reject(
                self,
                f"site_fallback_page is {fallback_page!r} but site_origin is missing; pass the "
                "bucket that has the page",
            )
        if not is_page(fallback_page):
            raise reject(
                self,
                f"site_fallback_page is {fallback_page!r}, allowed are keys of letters, digits, "
                "'_', '.', '-' and '/', such as index.html; rename the page",
            )

    def _check_origins(
        self,
        media_origins: Sequence[MediaOrigin],
        site_origin: MediaOrigin | None,
        load_balancer: elbv2.IApplicationLoadBalancer | None,
        api_domain_name: str | None,
    ) -> None:
        regions = [origin.region for origin in media_origins]
        if not regions:
            raise reject(self, "media_origins is empty; pass one for every home region")
        if len(set(regions)) != len(regions):
            raise reject(
                self, f"media_origins names a region twice: {regions}; pass one for each region"
            )
        for origin in [*media_origins, *([site_origin] if site_origin else [])]:
            if (origin.fallback_region is None) != (origin.fallback_bucket_name is None):
                raise reject(
                    self,
                    f"media origin of {origin.region!r} has only one of fallback_region and "
                    "fallback_bucket_name; pass both or none",
                )
        if (load_balancer is None) == (api_domain_name is None):
            given = "neither" if load_balancer is None else "both"
            raise reject(
                self,
                f"{given} of load_balancer and api_domain_name is given; pass load_balancer for a "
                "VPC origin or api_domain_name for HTTPS load balancers",
            )

    def _check_domain(self, domain_name: str | None, certificate: acm.ICertificate | None) -> None:
        if (domain_name is None) != (certificate is None):
            raise reject(
                self,
                f"domain_name is {domain_name!r} and certificate is "
                f"{'missing' if certificate is None else 'given'}; pass both or none",
            )
        if certificate is None:
            return
        region = cdk.Stack.of(self).region
        if not cdk.Token.is_unresolved(region) and region != CLOUDFRONT_REGION:
            raise reject(
                self,
                f"the stack is in {region!r}, but CloudFront takes certificates of "
                f"{CLOUDFRONT_REGION} only; deploy this stack there",
            )

    def _check_logs(self, access_logs: bool | s3.IBucket | None) -> bool | s3.IBucket:
        """Return whether, or where, there are access logs."""
        here = cdk.Stack.of(self).region == CLOUDFRONT_REGION
        if access_logs is None and not here:
            cdk.Annotations.of(self).add_info_v2(
                "@media-platform/distribution-logs",
                "there are no access logs of the distribution, since they are set up in "
                f"{CLOUDFRONT_REGION} only; deploy this stack there to have them",
            )
        if access_logs is None:
            return here
        if access_logs is not False and not here:
            raise reject(
                self,
                "access_logs is given, but logs of distributions are set up in "
                f"{CLOUDFRONT_REGION} only; deploy this stack there, or leave access_logs away",
            )
        return access_logs

    def _countries(
        self, allowed: Sequence[str] | None, denied: Sequence[str] | None
    ) -> cloudfront.GeoRestriction | None:
        if allowed is not None and denied is not None:
            raise reject(
                self,
                "both of allowed_countries and denied_countries are given; pass one, what it does "
                "not name is the other",
            )
        for name, codes in (("allowed_countries", allowed), ("denied_countries", denied)):
            if codes is not None and not codes:
                raise reject(self, f"{name} is empty; name countries, or leave it away")
            for code in codes or ():
                problem = country_problem(code)
                if problem is not None:
                    raise reject(self, f"{name}: {problem}")
        if allowed is not None:
            return cloudfront.GeoRestriction.allowlist(*allowed)
        return cloudfront.GeoRestriction.denylist(*denied) if denied is not None else None

    def _check_waf(self, waf: bool, requests_per_address: int) -> None:
        region = cdk.Stack.of(self).region
        if waf and region != CLOUDFRONT_REGION:
            raise reject(
                self,
                f"waf is True, but web ACLs of distributions are made in {CLOUDFRONT_REGION} only; "
                "deploy this stack there, or protect the load balancer with waf of ApiCluster",
            )
        check_range(
            self,
            "waf_requests_per_address",
            requests_per_address,
            (10, 2_000_000_000),
            "AWS WAF counts no others",
        )

    def _accept_findings(
        self, certificate: acm.ICertificate | None, *, waf: bool, everywhere: bool
    ) -> None:
        accept(self.distribution, Accepted.BUCKET_POLICIES)
        if everywhere:
            accept(self.distribution, Accepted.EVERYWHERE)
        if not waf:
            accept(self.distribution, Accepted.NO_WEB_ACL)
        if certificate is None:
            accept(self.distribution, Accepted.NO_CERTIFICATE)


def _vpc_origin(load_balancer: elbv2.IApplicationLoadBalancer) -> cloudfront.IOrigin:
    return origins.VpcOrigin.with_application_load_balancer(
        load_balancer, protocol_policy=cloudfront.OriginProtocolPolicy.HTTP_ONLY
    )


def _https_origin(domain_name: str) -> cloudfront.IOrigin:
    return origins.HttpOrigin(
        domain_name,
        protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
        origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
    )


def _api_behavior(
    origin: cloudfront.IOrigin, viewers: cloudfront.ViewerProtocolPolicy
) -> cloudfront.BehaviorOptions:
    return cloudfront.BehaviorOptions(
        origin=origin,
        allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
        cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
        # The host of the viewer would not match the certificate of the load balancer.
        origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
        viewer_protocol_policy=viewers,
    )


def _media_origin(
    scope: Construct, media: MediaOrigin, access: cloudfront.S3OriginAccessControl
) -> cloudfront.IOrigin:
    """Return the origin of a home region, with its copy behind it where there is one."""
    primary = _bucket_origin(scope, media.region, media.bucket_name, access)
    if media.fallback_region is None or media.fallback_bucket_name is None:
        return primary
    return origins.OriginGroup(
        primary_origin=primary,
        fallback_origin=_bucket_origin(
            scope, media.fallback_region, media.fallback_bucket_name, access
        ),
        fallback_status_codes=_FALLBACK_STATUS_CODES,
    )


def _bucket_origin(
    scope: Construct, region: str, name: str, access: cloudfront.S3OriginAccessControl
) -> cloudfront.IOrigin:
    """Return the origin of a bucket that another stack owns, and whose policy that stack writes."""
    bucket = scope.node.try_find_child(region)
    if bucket is None:
        bucket = s3.Bucket.from_bucket_attributes(scope, region, bucket_name=name, region=region)
    return origins.S3BucketOrigin.with_origin_access_control(
        bucket,  # type: ignore[arg-type]
        origin_access_control=access,
    )
