"""What may differ between stages, and nothing else may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    model_validator,
)

from media_platform.constructs._countries import country_problem
from media_platform.constructs._distributions import CLOUDFRONT_REGION
from media_platform.constructs._media_cluster import (
    DEFAULT_CIDR,
    LARGEST_NETWORK,
    SMALLEST_NETWORK,
    Network,
)
from media_platform.constructs._regions import region_problem
from media_platform.constructs._task_size import task_size_problem
from media_platform.contract.identity import TENANT_CHARACTERS
from media_platform.contract.ladder import DEFAULT_LADDER, LadderRung, ladder_problem
from media_platform.contract.object_keys import is_key_segment
from media_platform.contract.run import SEGMENT_SECONDS
from media_platform.contract.scanning import Unscanned
from media_platform.contract.site import is_page
from media_platform.stacks._problems import not_an_object, problem_lines


def _tenant_name(value: str) -> str:
    if not is_key_segment(value):
        raise ValueError(
            f"it is {value!r}, allowed are letters, digits, '_', '.', ':' and '-', the first a "
            "letter or digit; name it as the tenant of its users"
        )
    return value


def _country(value: str) -> str:
    problem = country_problem(value)
    if problem is not None:
        raise ValueError(problem)
    return value


def _ladder(value: tuple[LadderRung, ...]) -> tuple[LadderRung, ...]:
    problem = ladder_problem(value)
    if problem is not None:
        raise ValueError(problem)
    return value


_BUCKET_NAME_CHARACTERS = 63


def bucket_name(stage: str, kind: str, account: str, region: str) -> str:
    """Return the physical name of a bucket, which stacks of other regions have to know."""
    return f"media-platform-{stage}-{kind}-{account}-{region}"


_NETWORK = IPv4Network(DEFAULT_CIDR)


def _network_of_a_region(value: IPv4Network) -> IPv4Network:
    if not LARGEST_NETWORK <= value.prefixlen <= SMALLEST_NETWORK:
        raise ValueError(
            f"it is {value}, allowed are /{LARGEST_NETWORK} to /{SMALLEST_NETWORK}; a smaller "
            "one has no room for the tasks, and AWS has no larger one"
        )
    return value


def _not_everything(value: IPvAnyNetwork) -> IPvAnyNetwork:
    if value.prefixlen == 0:
        raise ValueError(
            f"it is {value}, which is every address; name the networks that webhooks must reach"
        )
    return value


def _written_as(pattern: str, what: str, remedy: str) -> AfterValidator:
    """Return a check of how a text is written.

    Args:
        pattern: What the whole of it must match.
        what: What is allowed, with an example.
        remedy: What to do about others.
    """

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"it is {value!r}, allowed {what}; {remedy}")
        return value

    return AfterValidator(check)


RegionName = Annotated[
    str,
    _written_as(
        r"[a-z]{2}(-[a-z]+)+-\d", "are names of regions such as eu-west-1", "look up the name"
    ),
]
Zone = Annotated[
    str,
    _written_as(
        r"[a-z]{2}(-[a-z]+)+-\d[a-z]", "are names of zones such as eu-west-1a", "look up the name"
    ),
]

PrefixList = Annotated[
    str,
    _written_as(
        r"pl-[0-9a-f]+",
        "are ids such as pl-3b927c52",
        "`aws ec2 describe-managed-prefix-lists` shows them",
    ),
]
RulePack = Literal["AwsSolutions", "NIST80053R5"]

PageOrigin = Annotated[
    str,
    _written_as(
        r"https?://[^/\s*]+",
        "are scheme and host, such as https://videos.example.com",
        "name each, without a path or '*'",
    ),
]

Country = Annotated[str, AfterValidator(_country)]

TenantName = Annotated[
    str, Field(min_length=1, max_length=TENANT_CHARACTERS), AfterValidator(_tenant_name)
]


def _listed(value: Any) -> Any:
    """Read a list that came from the command line, e.g. ``-c joining=eu-west-1,eu-central-1``."""
    return tuple(value.split(",")) if isinstance(value, str) else value


class ConfigError(ValueError):
    """The configuration of a stage cannot be used; the message is one line and names the key."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class _TaskConfig(_Part):
    """Size of a Fargate task."""

    cpu_units: int
    memory_mebibytes: int

    @model_validator(mode="after")
    def _fargate_has_the_size(self) -> Self:
        problem = task_size_problem(self.cpu_units, self.memory_mebibytes)
        if problem is not None:
            raise ValueError(problem)
        return self


class _ServiceConfig(_TaskConfig):
    """Size of a Fargate service that is never at zero."""

    min_tasks: Annotated[int, Field(ge=1)]
    max_tasks: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _least_is_not_above_most(self) -> Self:
        if self.min_tasks > self.max_tasks:
            raise ValueError(
                f"min_tasks is {self.min_tasks}, which is above max_tasks, {self.max_tasks}; raise "
                "max_tasks"
            )
        return self


class RegionConfig(_Part):
    """One region of a stage.

    Attributes:
        name: Name of the region, e.g. ``eu-west-1``.
        availability_zones: Its zones that are used; written down, so that synthesizing asks nobody.
            VPC origins do not reach every zone: in us-east-1 not the one with the id use1-az3,
            which has another name in every account (CloudFront Developer Guide, "Supported AWS
            Regions for VPC origins").
        cidr: Addresses of its network, /16 to /22. Those of two regions do not overlap, so that
            they may be connected one day. Default ``10.0.0.0/16``.
        cloudfront_prefix_list: Id of ``com.amazonaws.global.cloudfront.origin-facing`` there.
            Default: none, for an internal load balancer.
        health_check_prefix_list: Id of ``com.amazonaws.<region>.route53-healthchecks`` there, for a
            health check of Route 53 by which the region is named or not (``RegionHealth``). All
            regions have one or none. Default: none, and only the load balancer's view counts.
    """

    name: RegionName
    availability_zones: Annotated[tuple[Zone, ...], Field(min_length=2)]
    cidr: Annotated[IPv4Network, AfterValidator(_network_of_a_region)] = _NETWORK
    cloudfront_prefix_list: PrefixList | None = None
    health_check_prefix_list: PrefixList | None = None

    @model_validator(mode="after")
    def _zones_are_in_the_region(self) -> Self:
        zones = self.availability_zones
        if len(set(zones)) != len(zones):
            raise ValueError(
                f"availability_zones names one twice: {', '.join(zones)}; name each once"
            )
        strangers = [zone for zone in self.availability_zones if zone[:-1] != self.name]
        if strangers:
            raise ValueError(
                f"availability_zones contains {strangers[0]!r}, which is not in {self.name!r}; "
                "name zones of the region"
            )
        return self


class DomainConfig(_Part):
    """An own domain.

    Attributes:
        name: Domain that clients use; the load balancers get ``origin.`` before it,
            and that of the primary region ``admin.origin.``, too.
        hosted_zone_id: Id of its Route 53 hosted zone.
        hosted_zone_name: Name of that zone.
    """

    name: str
    hosted_zone_id: Annotated[
        str,
        _written_as(
            r"Z[A-Z0-9]+",
            "are ids such as Z0123456789ABCDEFGHIJ",
            "`aws route53 list-hosted-zones` shows them",
        ),
    ]
    hosted_zone_name: str

    @model_validator(mode="after")
    def _is_in_its_zone(self) -> Self:
        if self.name != self.hosted_zone_name and not self.name.endswith(
            f".{self.hosted_zone_name}"
        ):
            raise ValueError(
                f"name is {self.name!r}, which is not in the zone {self.hosted_zone_name!r}; name "
                "a domain of the zone"
            )
        return self

    @property
    def origin_name(self) -> str:
        """Domain of the load balancers, answered by the nearest region."""
        return f"origin.{self.name}"

    @property
    def admin_origin_name(self) -> str:
        """Domain of the load balancer of the primary region, where the admin service is."""
        return f"admin.{self.origin_name}"


class ApiConfig(_ServiceConfig):
    """Size and limits of the video API; units are part of the names.

    ``requests_per_minute``, ``cache`` and its limits are arguments of ``ApiCluster``, which says
    what they mean.
    """

    min_tasks: Annotated[int, Field(ge=1)] = 2
    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 10
    cpu_units: int = 512
    memory_mebibytes: int = 1024
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    upload_max_mebibytes: Annotated[int, Field(ge=1, le=5 * 1024**2)] = 5 * 1024
    upload_expiry_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 3600
    playback_expiry_seconds: Annotated[int, Field(ge=10, le=7 * 86_400)] = 4 * 3600
    quota_videos: Annotated[int, Field(ge=1)] = 100_000
    quota_mebibytes: Annotated[int, Field(ge=1)] = 10 * 1024**2
    quota_uploads: Annotated[int, Field(ge=1)] = 1000
    restore_days: Annotated[int, Field(ge=0, le=365)] = 30
    cache: bool = False
    cache_max_gibibytes: Annotated[int, Field(ge=1, le=5000)] = 1
    cache_max_units_per_second: Annotated[int, Field(ge=1000, le=15_000_000)] = 10_000


class AdminConfig(_ServiceConfig):
    """Size of the admin service, which runs in the primary region; units are part of the names."""

    min_tasks: Annotated[int, Field(ge=1)] = 1
    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 3
    cpu_units: int = 256
    memory_mebibytes: int = 512
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = None


class WorkerConfig(_TaskConfig):
    """Size and limits of the transcode workers; units are part of the names.

    Every key is an argument of ``TranscodePipeline``, which says what it means.
    """

    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 10
    cpu_units: int = 4096
    memory_mebibytes: int = 8192
    visibility_timeout_seconds: Annotated[int, Field(ge=15, le=43_200)] = 120
    idle_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    max_failures: Annotated[int, Field(ge=1, le=50)] = 3
    max_duration_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 4 * 3600
    max_pixels: Annotated[int, Field(ge=1, le=7680 * 4320)] = 3840 * 2160
    max_frame_rate: Annotated[int, Field(ge=1, le=1000)] = 240
    max_tenant_parts: Annotated[int, Field(ge=0, le=10_000)] = 0
    max_tenant_daily_cpu_hours: Annotated[float, Field(ge=0, le=100_000)] = 0
    chunk_seconds: Annotated[
        int, Field(ge=2 * SEGMENT_SECONDS, le=300, multiple_of=SEGMENT_SECONDS)
    ] = 16
    chunks_in_flight: Annotated[int, Field(ge=2, le=1000)] | None = None
    ladder: Annotated[tuple[LadderRung, ...], AfterValidator(_ladder)] = DEFAULT_LADDER
    measure_quality: bool = False
    old_run_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)] = 86_400
    purge_interval_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15
    sweep_interval_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 5


EmailAddress = Annotated[
    str,
    _written_as(r"[^@\s]+@[^@\s]+", "are addresses such as ops@example.com", "write it in full"),
]
RoleArn = Annotated[
    str,
    _written_as(
        r"arn:[^:]+:iam::\d{12}:role/.+",
        "are ARNs such as arn:aws:iam::111111111111:role/analyst",
        "write it in full",
    ),
]


class ClamAvConfig(_ServiceConfig):
    """Size and limits of the scanner that asks ClamAV; units are part of the names.

    Every key is an argument of ``TranscodePipeline.add_clamav_scanner``, which says what it means.
    """

    min_tasks: Annotated[int, Field(ge=1)] = 1
    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 4
    max_scan_mebibytes: Annotated[int, Field(ge=1, le=2047)] = 2047
    unscanned: Unscanned = Unscanned.PASS
    signature_mirror: str | None = None
    cpu_units: int = 1024
    memory_mebibytes: int = 4096


class ScanningConfig(_Part):
    """What every upload must pass before it is transcoded.

    Attributes:
        content: Whether the built-in scanner looks at container and codecs. Default ``True``.
        clamav: The scanner that asks ClamAV; ``{}`` for one with its defaults. Default: none.
        quarantine_roles: Roles that may read and release what was refused. Default: none.
    """

    content: bool = True
    clamav: ClamAvConfig | None = None
    quarantine_roles: tuple[RoleArn, ...] = ()


def _page(value: str) -> str:
    if not is_page(value):
        raise ValueError(
            f"it is {value!r}, allowed are keys of letters, digits, '_', '.', '-' and '/', such as "
            "index.html; rename the page"
        )
    return value


class SiteConfig(_Part):
    """Pages that are served beside API and media, from a bucket.

    Attributes:
        fallback_page: Page that answers all paths whose last part has no dot, as apps of a single
            page need, e.g. ``index.html``. Default: none, and a path without a page gets status
            403.
    """

    fallback_page: Annotated[str, AfterValidator(_page)] | None = None


class StorageConfig(_Part):
    """How long the store keeps what, and who may upload; units are part of the names.

    Every key is an argument of ``VideoStore``, which says what it means.
    """

    archive_days: Annotated[int, Field(ge=0, le=3650)] = 30
    tier_media_days: Annotated[int, Field(ge=0, le=3650)] = 30
    noncurrent_days: Annotated[int, Field(ge=1, le=3650)] = 30
    access_logs_days: Annotated[int, Field(ge=1, le=3650)] = 365
    upload_origins: Annotated[tuple[PageOrigin, ...], Field(min_length=1)] | None = None


class WebhookConfig(_Part):
    """What webhooks may reach.

    Attributes:
        allowed_networks: Networks (CIDR) that may be sent to although they are not public, also
            over plain HTTP. Default: none.
        max_batches: Most batches of ten that are sent at a time.
    """

    allowed_networks: tuple[Annotated[IPvAnyNetwork, AfterValidator(_not_everything)], ...] = ()
    max_batches: Annotated[int, Field(ge=2, le=1000)] = 20


class TracingConfig(_Part):
    """Where the spans of API, admin service and workers go: to X-Ray, or by OTLP elsewhere.

    Attributes:
        x_ray: Whether they go to X-Ray, through a collector beside each task. Default ``False``.
        otlp_endpoint: URL of what takes them instead, without ``/v1/traces``. Default: none.
        headers_secret: Name of the secret, in each region, whose text is sent to it as headers.
            Default: none.
        sampled_percent: Share of requests that are traced. Default 5.
    """

    x_ray: bool = False
    otlp_endpoint: (
        Annotated[
            str,
            _written_as(
                r"https?://[^/?#\s]+[^?#\s]*",
                "are URLs such as https://otlp.example.com",
                "write it with its scheme, and without a query",
            ),
        ]
        | None
    ) = None
    headers_secret: Annotated[str, Field(min_length=1)] | None = None
    sampled_percent: Annotated[float, Field(ge=0.001, le=100)] = 5

    @model_validator(mode="after")
    def _spans_go_to_one_place(self) -> Self:
        if self.x_ray == (self.otlp_endpoint is not None):
            given = "both" if self.x_ray else "neither"
            raise ValueError(
                f"{given} of x_ray and otlp_endpoint is given; spans go to one place, so keep one"
            )
        if self.x_ray and self.headers_secret is not None:
            raise ValueError("headers_secret is given beside x_ray, which takes none; leave it out")
        return self


class StageConfig(_Part):
    """A stage.

    Attributes:
        name: Name of the stage.
        account: Account that it is deployed to. Default: that of whoever deploys.
        regions: Its regions, the primary one first.
        domain: Its own domain. Default: none, which allows one region only.
        scheme: Scheme of the URLs that clients get. Default ``https``. With ``http``, which is for
            planes without TLS, ``domain`` names load balancers only, and viewers use the domain
            that the distribution has anyway.
        ipv6: Whether viewers may come over IPv6. Default ``True``; a stage whose videos are
            restricted to IPv4 ranges does without.
        retain_data: Whether data outlive their stacks and refuse to be deleted. Default ``True``;
            else ``cdk destroy`` deletes all, with what is in buckets.
        customer_managed_key: Whether buckets, table, logs and, where there is a store in the region
            of the distribution, the keys that sign playback are encrypted with a key of this
            account. Default ``False``: with keys that AWS owns.
        access_logs: Whether requests on buckets, load balancers and, where it is in us-east-1, the
            distribution are logged, for a year. Default ``True``.
        allowed_countries: Countries of viewers that are served, as codes of ISO 3166-1 alpha-2.
            Default: all.
        denied_countries: Countries of viewers that are not served, instead. Default: none.
        rule_packs: Rule packs of cdk-nag that it must pass before it is deployed. Default:
            AwsSolutions alone; NIST80053R5 wants what ``docs/compliance.md`` names.
        waf: Whether AWS WAF watches requests on load balancers and, where it is in us-east-1, the
            distribution. Default ``False``.
        waf_logs: Whether what it refuses is logged for a year. Default ``False``.
        tracing: Where spans go. Default: nowhere.
        network: How tasks reach AWS: ``nat``, ``public``, or ``endpoints``, which lead to services
            of their own region alone; ``ApiCluster`` says what each costs. Default ``nat``.
        nat_gateways: NAT gateways of each region, where ``network`` is ``nat``. Default 1.
        api: The video API.
        admin: The admin service.
        operator_tenant: Tenant whose administrators are operators of the stage. Default: none, so
            that nobody sees the users and videos of another tenant.
        worker: The transcode workers.
        scanning: What uploads must pass before.
        alarm_emails: Addresses that get mail of alarms, once they have confirmed it. Default: none.
        storage: How long the store keeps what, and from which pages it takes uploads.
        player_origins: Pages of other origins that may play, e.g. ``https://videos.example.com``.
            Default: any, since the signature is the permission.
        site: Pages that everybody may read at all paths but those of API and media; ``{}`` for a
            site without a fallback page. Default: none, and other paths need a signature.
        monthly_budget_usd: Costs of the stage in a month of which alarms tell when they are
            foreseen, and when they are there. Default: none.
        webhooks: What webhooks may reach.
        replication_time_control: Whether S3 promises that copies are in the other regions within 15
            minutes, for $0.015 a GB; see ``VideoStore``. Default ``False``.
        opted_in_regions: Regions of the stage that are off in new accounts and that this one has
            switched on. Default: none.
        joining: Regions that are deployed for the first time: they get their store and nothing is
            copied to them yet, since S3 refuses a replication rule whose destination does not
            exist and DynamoDB a replica whose key does not. Default: none. Once they are there,
            the next deployment leaves one of them out after the other, since CloudFormation adds
            one replica of a table at a time.
    """

    name: Annotated[
        str,
        _written_as(
            r"[a-z0-9]{1,16}",
            "are 1 to 16 lower-case letters and digits",
            "rename the stage, names of buckets hold it",
        ),
    ]
    account: (
        Annotated[
            str,
            _written_as(r"\d{12}", "are 12 digits", "`aws sts get-caller-identity` shows them"),
        ]
        | None
    ) = None
    regions: Annotated[tuple[RegionConfig, ...], Field(min_length=1)]
    domain: DomainConfig | None = None
    scheme: Literal["https", "http"] = "https"
    ipv6: bool = True
    retain_data: bool = True
    customer_managed_key: bool = False
    access_logs: bool = True
    allowed_countries: Annotated[tuple[Country, ...], Field(min_length=1)] | None = None
    denied_countries: Annotated[tuple[Country, ...], Field(min_length=1)] | None = None
    rule_packs: tuple[RulePack, ...] = ("AwsSolutions",)
    waf: bool = False
    waf_logs: bool = False
    tracing: TracingConfig | None = None
    network: Network = Network.NAT
    nat_gateways: Annotated[int, Field(ge=1)] | None = None
    api: ApiConfig = ApiConfig()
    admin: AdminConfig = AdminConfig()
    operator_tenant: TenantName | None = None
    worker: WorkerConfig = WorkerConfig()
    scanning: ScanningConfig = ScanningConfig()
    webhooks: WebhookConfig = WebhookConfig()
    storage: StorageConfig = StorageConfig()
    player_origins: Annotated[tuple[PageOrigin, ...], Field(min_length=1)] | None = None
    site: SiteConfig | None = None
    alarm_emails: tuple[EmailAddress, ...] = ()
    monthly_budget_usd: Annotated[int, Field(ge=1)] | None = None
    replication_time_control: bool = False
    opted_in_regions: tuple[RegionName, ...] = ()
    joining: Annotated[tuple[RegionName, ...], BeforeValidator(_listed)] = ()

    @property
    def primary(self) -> RegionConfig:
        """The region in which table, users and keys are made."""
        return self.regions[0]

    @property
    def members(self) -> tuple[RegionConfig, ...]:
        """The regions that serve clients and are copied to: all but those that are joining."""
        return tuple(region for region in self.regions if region.name not in self.joining)

    @property
    def replicas(self) -> tuple[RegionConfig, ...]:
        """The other regions."""
        return self.regions[1:]

    @property
    def edge_region(self) -> str:
        """The region of the distribution: its certificate has to be in one region."""
        return self.primary.name if self.domain is None else CLOUDFRONT_REGION

    @property
    def viewers_domain(self) -> DomainConfig | None:
        """The domain under which viewers reach the distribution, if it is an own one."""
        return self.domain if self.scheme == "https" else None

    @model_validator(mode="after")
    def _regions_are_distinct(self) -> Self:
        names = [region.name for region in self.regions]
        if len(set(names)) != len(names):
            raise ValueError(f"regions names one twice: {', '.join(names)}; name each once")
        return self

    @model_validator(mode="after")
    def _regions_can_copy_to_each_other(self) -> Self:
        if self.replication_time_control and not self.replicas:
            raise ValueError(
                "replication_time_control is True, but regions has one entry; leave it out, there "
                "are no copies to be in time"
            )
        for region in self.regions if self.replicas else ():
            problem = region_problem(
                region.name, beside=self.primary.name, opted_in=self.opted_in_regions
            )
            if problem is not None:
                raise ValueError(f"regions contains {problem}")
        return self

    @model_validator(mode="after")
    def _buckets_have_room_for_the_name(self) -> Self:
        for region in self.regions:
            most = _BUCKET_NAME_CHARACTERS - len(bucket_name("", "media", "0" * 12, region.name))
            if len(self.name) > most:
                raise ValueError(
                    f"name is {self.name!r}, allowed in {region.name!r} are {most} characters; "
                    "names of buckets hold both, shorten it"
                )
        return self

    @model_validator(mode="after")
    def _networks_do_not_overlap(self) -> Self:
        for one, other in combinations(self.regions, 2):
            if one.cidr.overlaps(other.cidr):
                raise ValueError(
                    f"cidr of {one.name!r}, {one.cidr}, overlaps that of {other.name!r}, "
                    f"{other.cidr}; give each region addresses of its own"
                )
        return self

    @model_validator(mode="after")
    def _gateways_have_zones(self) -> Self:
        if self.nat_gateways is None:
            return self
        if self.network is not Network.NAT:
            raise ValueError(
                f"nat_gateways is {self.nat_gateways}, but network is {self.network.value!r}, "
                "which has none; leave one of them out"
            )
        for region in self.regions:
            if self.nat_gateways > len(region.availability_zones):
                raise ValueError(
                    f"nat_gateways is {self.nat_gateways}, but {region.name!r} has only "
                    f"{len(region.availability_zones)} zones; there is at most one in a zone"
                )
        return self

    @model_validator(mode="after")
    def _endpoints_reach_what_tasks_call(self) -> Self:
        if self.network is not Network.ENDPOINTS:
            return self
        if self.replicas:
            raise ValueError(
                f"network is 'endpoints', but regions has {len(self.regions)} entries, and keys of "
                "tokens are in the first, which endpoints of another do not reach; choose 'nat' or "
                "'public'"
            )
        if self.tracing is not None and self.tracing.x_ray:
            raise ValueError(
                "network is 'endpoints', but tracing.x_ray needs an image of public.ecr.aws, which "
                "cannot be reached from there; give an otlp_endpoint within the network"
            )
        clamav = self.scanning.clamav
        if clamav is not None and clamav.signature_mirror is None:
            raise ValueError(
                "network is 'endpoints', but scanning.clamav.signature_mirror is missing; name a "
                "mirror within the network"
            )
        return self

    @model_validator(mode="after")
    def _logs_have_a_source(self) -> Self:
        if self.waf_logs and not self.waf:
            raise ValueError(
                "waf_logs is true, but waf is not; switch waf on, or leave waf_logs out"
            )
        return self

    @model_validator(mode="after")
    def _own_domains_have_tls(self) -> Self:
        if self.domain is not None and self.scheme == "http" and self.retain_data:
            raise ValueError(
                "scheme is 'http', but domain is given; leave it out, http is for planes without "
                "TLS, which have retain_data false"
            )
        return self

    @model_validator(mode="after")
    def _countries_are_listed_once(self) -> Self:
        if self.allowed_countries is not None and self.denied_countries is not None:
            raise ValueError(
                "denied_countries is given beside allowed_countries; keep one, what it does not "
                "name is the other"
            )
        return self

    @model_validator(mode="after")
    def _joining_regions_are_replicas(self) -> Self:
        names = [region.name for region in self.replicas]
        for name in self.joining:
            if name not in names:
                raise ValueError(
                    f"joining contains {name!r}, allowed are the regions behind the first: "
                    f"{', '.join(names) or 'none'}; the first one is what others join"
                )
        return self

    @model_validator(mode="after")
    def _domain_is_reachable(self) -> Self:
        if self.domain is None and self.replicas:
            raise ValueError(
                f"regions has {len(self.regions)} entries but domain is missing; without an own "
                "domain there is one region, since a VPC origin is in one"
            )
        for region in self.regions:
            if self.domain is not None and region.cloudfront_prefix_list is None:
                raise ValueError(
                    f"cloudfront_prefix_list of {region.name!r} is missing; with an own domain "
                    "load balancers face the internet and admit CloudFront alone"
                )
        return self

    @model_validator(mode="after")
    def _regions_are_checked_alike(self) -> Self:
        checked = [r.name for r in self.regions if r.health_check_prefix_list is not None]
        if checked and self.domain is None:
            raise ValueError(
                f"health_check_prefix_list of {checked[0]!r} is given but domain is missing; leave "
                "it out, an internal load balancer is not reached from outside"
            )
        unchecked = [r.name for r in self.regions if r.name not in checked]
        if checked and unchecked:
            raise ValueError(
                f"health_check_prefix_list of {unchecked[0]!r} is missing, while {checked[0]!r} "
                "has one; give it to all regions, a region that nobody checks counts as healthy"
            )
        return self


def load_stage(name: str, stages: Mapping[str, Mapping[str, Any]], **overrides: Any) -> StageConfig:
    """Return the configuration of a stage.

    Args:
        name: Name of the stage.
        stages: Configurations by name, as ``cdk.json`` holds them.
        **overrides: Values for single keys; ``None`` leaves what ``stages`` says.

    Raises:
        ConfigError: If there is no such stage or a value cannot be used.
    """
    if name not in stages:
        known = ", ".join(sorted(stages)) or "none, since cdk.json has no stages"
        raise ConfigError(f"stage is {name!r}, allowed are {known}; choose one")
    if not isinstance(stages[name], Mapping):
        raise ConfigError(f"stage {name!r}: {not_an_object(StageConfig, stages[name])}")
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return StageConfig.model_validate({**stages[name], **given, "name": name})
    except ValidationError as error:
        problems = "; ".join(problem_lines(StageConfig, error.errors()))
        raise ConfigError(f"stage {name!r}: {problems}") from None
