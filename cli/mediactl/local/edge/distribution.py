"""The deployed distribution: origins, behaviours and policies, and what they say of a request.

Source: Amazon CloudFront Developer Guide, "Distribution settings reference" and "Control origin
requests with a policy".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from media_platform.contract.site import path_with_fallback
from mediactl.local.edge.paths import normalized_path, pattern_matches
from mediactl.local.edge.signatures import SIGNATURE_PARAMETERS, PublicKey


@dataclass(frozen=True)
class Choice:
    """Which of a kind of thing (headers, cookies, query strings) a policy names.

    Attributes:
        behavior: ``none``, ``whitelist``, ``allExcept``, ``all``, ``allViewer`` and so on.
        names: What ``behavior`` speaks of.
    """

    behavior: str = "none"
    names: frozenset[str] = frozenset()

    def includes(self, name: str) -> bool:
        """Return whether something of that name goes to the origin."""
        named = any(pattern_matches(known.lower(), name.lower()) for known in self.names)
        if self.behavior in {"all", "allViewer"}:
            return True
        if self.behavior == "allExcept":
            return not named
        if self.behavior == "allViewerAndWhitelistCloudFront":
            return not name.lower().startswith("cloudfront-") or named
        return self.behavior == "whitelist" and named


@dataclass(frozen=True)
class Forwarding:
    """What a cache policy or an origin request policy sends to the origin."""

    headers: Choice = Choice()
    cookies: Choice = Choice()
    queries: Choice = Choice()


@dataclass(frozen=True)
class Cors:
    """CORS headers of a response headers policy."""

    origins: tuple[str, ...]
    headers: tuple[str, ...]
    methods: tuple[str, ...]
    exposed: tuple[str, ...]
    credentials: bool
    max_age: int | None
    override: bool


@dataclass(frozen=True)
class ResponseHeaders:
    """A response headers policy.

    Attributes:
        cors: CORS headers, if any.
        fixed: Pairs of header and value, and whether they replace those of the origin.
        removed: Headers of the origin that are removed.
    """

    cors: Cors | None = None
    fixed: tuple[tuple[str, str, bool], ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """An origin.

    Attributes:
        origin_id: Its id.
        path: Put before the path of every request.
        headers: Headers that CloudFront adds.
        bucket: Bucket, for an S3 origin.
        bucket_region: Region of the bucket.
        load_balancers: ARNs of the load balancers behind a VPC origin or a domain name, of which
            one answers.
        port: Port of the listener, for a load balancer.
        domain: Domain name.
        read_seconds: Longest wait for an answer.
    """

    origin_id: str
    domain: str
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    bucket: str | None = None
    bucket_region: str = ""
    load_balancers: tuple[str, ...] = ()
    port: int = 80
    read_seconds: int = 30


@dataclass(frozen=True)
class Behavior:
    """A cache behaviour.

    Attributes:
        pattern: Path pattern, ``*`` for the default behaviour.
        origins: The origin, and the one that is asked when it fails.
        failover_statuses: Statuses of the first origin after which the second is asked.
        methods: Allowed methods.
        keys: Public keys of its trusted key groups by id; ``None`` when anybody may ask.
        forwarding: What its policies send to the origin.
        response: What its response headers policy adds.
        fallback_page: Page that its function asks for where a path names no file, if it has one.
    """

    pattern: str
    origins: tuple[Origin, ...]
    methods: frozenset[str]
    failover_statuses: frozenset[int] = frozenset()
    keys: Mapping[str, PublicKey] | None = None
    forwarding: tuple[Forwarding, ...] = ()
    response: ResponseHeaders = ResponseHeaders()
    fallback_page: str | None = None

    def path_for_origin(self, path: str) -> str:
        """Return the path that the function of the behaviour makes of a viewer's."""
        if self.fallback_page is None:
            return path
        return path_with_fallback(path, self.fallback_page)

    def forwards_header(self, name: str) -> bool:
        """Return whether a header of the viewer goes to the origin."""
        return any(policy.headers.includes(name) for policy in self.forwarding)

    def forwards_cookie(self, name: str) -> bool:
        """Return whether a cookie of the viewer goes to the origin."""
        return any(policy.cookies.includes(name) for policy in self.forwarding)

    def forwarded_query(self, query: str) -> str:
        """Return the query string for the origin, without what belongs to a signature."""
        kept = []
        for part in query.split("&"):
            name = part.partition("=")[0]
            if not part or (self.keys is not None and name in SIGNATURE_PARAMETERS):
                continue
            if any(policy.queries.includes(name) for policy in self.forwarding):
                kept.append(part)
        return "&".join(kept)


@dataclass(frozen=True)
class Distribution:
    """A distribution.

    Attributes:
        distribution_id: Its id.
        arn: Its ARN.
        hosts: Host names it answers to.
        behaviors: Its behaviours in order; the default one is the last.
        root_object: What ``/`` stands for, or ``""``.
    """

    distribution_id: str
    arn: str
    hosts: frozenset[str]
    behaviors: tuple[Behavior, ...]
    root_object: str = ""

    def behavior_for(self, path: str) -> Behavior:
        """Return the behaviour of a raw path: the first whose pattern matches its normal form."""
        normal = normalized_path(path)
        return next(
            behavior for behavior in self.behaviors if pattern_matches(behavior.pattern, normal)
        )


@dataclass(frozen=True)
class Policies:
    """The policies that behaviours refer to, and the keys, by id; functions by ARN."""

    forwarding: Mapping[str, Forwarding] = field(default_factory=dict)
    response: Mapping[str, ResponseHeaders] = field(default_factory=dict)
    key_groups: Mapping[str, Mapping[str, PublicKey]] = field(default_factory=dict)
    fallback_pages: Mapping[str, str] = field(default_factory=dict)


def read_distribution(
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    origins: Mapping[str, Origin],
    policies: Policies,
) -> Distribution:
    """Read a distribution from what the CloudFront API answers."""
    groups = {
        group["Id"]: (
            tuple(origins[member["OriginId"]] for member in _items(group["Members"])),
            frozenset(int(code) for code in _items(group["FailoverCriteria"]["StatusCodes"])),
        )
        for group in _items(config.get("OriginGroups"))
    }

    def behavior(entry: Mapping[str, Any], pattern: str) -> Behavior:
        target = entry["TargetOriginId"]
        asked, statuses = groups.get(target) or ((origins[target],), frozenset())
        trusted = entry.get("TrustedKeyGroups") or {}
        keys: dict[str, PublicKey] | None = None
        if _is_true(trusted.get("Enabled")):
            keys = {}
            for group in _items(trusted):
                keys.update(policies.key_groups[group])
        forwarding = [
            policies.forwarding[entry[name]]
            for name in ("CachePolicyId", "OriginRequestPolicyId")
            if entry.get(name)
        ]
        return Behavior(
            pattern="/" + pattern.lstrip("/") if not pattern.startswith("*") else pattern,
            origins=asked,
            failover_statuses=statuses,
            methods=frozenset(_items(entry.get("AllowedMethods")) or ("GET", "HEAD")),
            keys=keys,
            forwarding=tuple(forwarding),
            response=policies.response.get(
                entry.get("ResponseHeadersPolicyId", ""), ResponseHeaders()
            ),
            fallback_page=next(
                (policies.fallback_pages[arn] for arn in function_arns(entry)), None
            ),
        )

    ordered = [
        behavior(entry, entry["PathPattern"]) for entry in _items(config.get("CacheBehaviors"))
    ]
    return Distribution(
        distribution_id=summary["Id"],
        arn=summary["ARN"],
        hosts=frozenset({summary["DomainName"], *_items(config.get("Aliases"))}),
        behaviors=(*ordered, behavior(config["DefaultCacheBehavior"], "*")),
        root_object=config.get("DefaultRootObject") or "",
    )


def function_arns(behavior: Mapping[str, Any]) -> list[str]:
    """Return the ARNs of the functions of a behaviour."""
    return [entry["FunctionARN"] for entry in _items(behavior.get("FunctionAssociations"))]


def read_forwarding(config: Mapping[str, Any]) -> Forwarding:
    """Read a cache policy or an origin request policy."""
    parameters = config.get("ParametersInCacheKeyAndForwardedToOrigin") or config
    return Forwarding(
        headers=_choice(parameters.get("HeadersConfig"), "Header"),
        cookies=_choice(parameters.get("CookiesConfig"), "Cookie"),
        queries=_choice(parameters.get("QueryStringsConfig"), "QueryString"),
    )


def read_response_headers(config: Mapping[str, Any]) -> ResponseHeaders:
    """Read a response headers policy."""
    cors = config.get("CorsConfig")
    fixed = [
        (entry["Header"], entry["Value"], _is_true(entry.get("Override")))
        for entry in _items(config.get("CustomHeadersConfig"))
    ]
    fixed += _security_headers(config.get("SecurityHeadersConfig") or {})
    return ResponseHeaders(
        cors=_cors(cors) if cors else None,
        fixed=tuple(fixed),
        removed=tuple(entry["Header"] for entry in _items(config.get("RemoveHeadersConfig"))),
    )


def _cors(config: Mapping[str, Any]) -> Cors:
    max_age = config.get("AccessControlMaxAgeSec")
    return Cors(
        origins=_items(config.get("AccessControlAllowOrigins")),
        headers=_items(config.get("AccessControlAllowHeaders")),
        methods=_items(config.get("AccessControlAllowMethods")),
        exposed=_items(config.get("AccessControlExposeHeaders")),
        credentials=_is_true(config.get("AccessControlAllowCredentials")),
        max_age=None if max_age is None else int(max_age),
        override=_is_true(config.get("OriginOverride")),
    )


def _security_headers(config: Mapping[str, Any]) -> Iterable[tuple[str, str, bool]]:
    for name, header, value in (
        ("ContentSecurityPolicy", "Content-Security-Policy", "ContentSecurityPolicy"),
        ("FrameOptions", "X-Frame-Options", "FrameOption"),
        ("ReferrerPolicy", "Referrer-Policy", "ReferrerPolicy"),
    ):
        if config.get(name):
            yield header, str(config[name][value]), _is_true(config[name].get("Override"))
    if config.get("ContentTypeOptions"):
        override = _is_true(config["ContentTypeOptions"].get("Override"))
        yield "X-Content-Type-Options", "nosniff", override
    transport = config.get("StrictTransportSecurity")
    if transport:
        value = f"max-age={transport['AccessControlMaxAgeSec']}"
        if _is_true(transport.get("IncludeSubdomains")):
            value += "; includeSubDomains"
        if _is_true(transport.get("Preload")):
            value += "; preload"
        yield "Strict-Transport-Security", value, _is_true(transport.get("Override"))


def _choice(config: Mapping[str, Any] | None, kind: str) -> Choice:
    if not config:
        return Choice()
    names = config.get(f"{kind}s") or {}
    return Choice(config.get(f"{kind}Behavior", "none"), frozenset(_items(names)))


def _items(block: Any) -> tuple[Any, ...]:
    if not block:
        return ()
    found: Sequence[Any] = block.get("Items") or ()
    return tuple(found)


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
