"""Reads what the edge serves by from the emulator: distribution, policies, keys, load balancer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from media_platform.contract.site import fallback_of_code
from mediactl.local.aws import DEFAULT_REGION, Emulator
from mediactl.local.edge.distribution import (
    Behavior,
    Distribution,
    Forwarding,
    Origin,
    Policies,
    ResponseHeaders,
    function_arns,
    read_distribution,
    read_forwarding,
    read_response_headers,
)
from mediactl.local.edge.listener import Rule, TargetGroup, read_rule, read_target_group
from mediactl.local.edge.signatures import PublicKey, load_public_key

_BUCKET_DOMAIN = re.compile(r"^(?P<bucket>.+)\.s3[.-](?:(?P<region>[a-z0-9-]+)\.)?amazonaws\.com$")
_LISTENER_PORTS = {"http-only": "HTTPPort", "https-only": "HTTPSPort", "match-viewer": "HTTPPort"}
_DEFAULT_PORTS = {"HTTPPort": 80, "HTTPSPort": 443}


@dataclass(frozen=True)
class Deployed:
    """What is deployed, as far as the edge acts on it.

    Attributes:
        distribution: The distribution, ``None`` while none is deployed.
        rules: Rules by the load balancer's ARN and the port of the listener.
        target_groups: Target groups by ARN.
        bucket_policies: Policies of the buckets that are origins.
        gateways: Ports of the gateways by region, where there are several.
        led_away: Load balancers that names lead to only if they lead to no other: the health check
            of their record counts as its opposite.
    """

    distribution: Distribution | None = None
    rules: Mapping[tuple[str, int], tuple[Rule, ...]] = field(default_factory=dict)
    target_groups: Mapping[str, TargetGroup] = field(default_factory=dict)
    bucket_policies: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    gateways: Mapping[str, int] = field(default_factory=dict)
    led_away: frozenset[str] = frozenset()


def read_deployed(emulator: Emulator, regions: list[str], gateways: Mapping[str, int]) -> Deployed:
    """Read everything anew.

    Args:
        emulator: The emulator.
        regions: Regions in which load balancers may stand.
        gateways: Ports of the gateways by region.
    """
    target_groups: dict[str, TargetGroup] = {}
    balancers: dict[str, dict[str, Any]] = {}
    for region in regions:
        elb = emulator.client("elbv2", region)
        for group in elb.describe_target_groups()["TargetGroups"]:
            arn = group["TargetGroupArn"]
            answer = elb.describe_target_group_attributes(TargetGroupArn=arn)
            attributes = {entry["Key"]: entry["Value"] for entry in answer["Attributes"]}
            target_groups[arn] = read_target_group(group, attributes)
        for balancer in elb.describe_load_balancers()["LoadBalancers"]:
            balancers[balancer["LoadBalancerArn"]] = balancer
    by_name, led_away = _by_name(emulator, balancers)
    distribution = _read_distribution(emulator, by_name)
    behaviors = distribution.behaviors if distribution else ()
    return Deployed(
        distribution=distribution,
        rules=_read_rules(emulator, behaviors),
        target_groups=target_groups,
        bucket_policies=_read_bucket_policies(emulator, behaviors),
        gateways=gateways,
        led_away=led_away,
    )


def region_of(arn: str) -> str:
    """Return the region of an ARN."""
    return arn.split(":")[3]


def _by_name(
    emulator: Emulator, balancers: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Return load balancers by the domains that lead to them: their own, and those of records.

    And those to which records do not lead, since their health check counts as its opposite.
    """
    led_away: set[str] = set()
    found: dict[str, tuple[str, ...]] = {
        balancer["DNSName"].lower(): (arn,) for arn, balancer in balancers.items()
    }
    route53 = emulator.client("route53", DEFAULT_REGION)
    for zone in route53.list_hosted_zones()["HostedZones"]:
        for record in route53.list_resource_record_sets(HostedZoneId=zone["Id"])[
            "ResourceRecordSets"
        ]:
            target = (record.get("AliasTarget") or {}).get("DNSName", "").rstrip(".").lower()
            behind = found.get(target.removeprefix("dualstack."))
            if behind and record["Type"] == "A":
                name = record["Name"].rstrip(".").lower()
                found[name] = (*found.get(name, ()), *behind)
                if _is_inverted(route53, record.get("HealthCheckId")):
                    led_away.update(behind)
    return found, frozenset(led_away)


def _is_inverted(route53: Any, health_check_id: str | None) -> bool:
    if health_check_id is None:
        return False
    check = route53.get_health_check(HealthCheckId=health_check_id)["HealthCheck"]
    return bool(check["HealthCheckConfig"].get("Inverted"))


def _read_distribution(
    emulator: Emulator, balancers: Mapping[str, tuple[str, ...]]
) -> Distribution | None:
    cloudfront = emulator.client("cloudfront", DEFAULT_REGION)
    listed = cloudfront.list_distributions()["DistributionList"].get("Items") or []
    summaries = [summary for summary in listed if summary.get("Enabled")]
    if not summaries:
        return None
    # One stage has one distribution; the edge has one port and serves the first.
    summary = summaries[0]
    config = cloudfront.get_distribution_config(Id=summary["Id"])["DistributionConfig"]
    origins = {
        entry["Id"]: _read_origin(cloudfront, entry, balancers)
        for entry in config["Origins"]["Items"]
    }
    entries = [
        config["DefaultCacheBehavior"],
        *(config.get("CacheBehaviors") or {}).get("Items", ()),
    ]
    return read_distribution(summary, config, origins, _read_policies(cloudfront, entries))


def _read_origin(
    cloudfront: Any, entry: Mapping[str, Any], balancers: Mapping[str, tuple[str, ...]]
) -> Origin:
    domain = entry["DomainName"]
    bucket = _BUCKET_DOMAIN.match(domain)
    behind: tuple[str, ...] = ()
    port, read_seconds = 80, 30
    vpc_origin = entry.get("VpcOriginConfig")
    custom = entry.get("CustomOriginConfig")
    if vpc_origin:
        answer = cloudfront.get_vpc_origin(Id=vpc_origin["VpcOriginId"])["VpcOrigin"]
        endpoint = answer["VpcOriginEndpointConfig"]
        behind = (endpoint["Arn"],)
        port = int(endpoint[_LISTENER_PORTS[endpoint["OriginProtocolPolicy"]]])
        read_seconds = int(vpc_origin.get("OriginReadTimeout") or read_seconds)
    elif custom:
        name = _LISTENER_PORTS[custom["OriginProtocolPolicy"]]
        port = int(custom.get(name) or _DEFAULT_PORTS[name])
        read_seconds = int(custom.get("OriginReadTimeout") or read_seconds)
        behind = balancers.get(domain.lower(), ())
    headers = (entry.get("CustomHeaders") or {}).get("Items") or ()
    return Origin(
        origin_id=entry["Id"],
        domain=domain,
        path=entry.get("OriginPath") or "",
        headers=tuple((header["HeaderName"], header["HeaderValue"]) for header in headers),
        bucket=bucket["bucket"] if bucket else None,
        bucket_region=(bucket["region"] if bucket else None) or DEFAULT_REGION,
        load_balancers=behind,
        port=port,
        read_seconds=read_seconds,
    )


def _read_policies(cloudfront: Any, behaviors: list[Mapping[str, Any]]) -> Policies:
    forwarding: dict[str, Forwarding] = {}
    response: dict[str, ResponseHeaders] = {}
    key_groups: dict[str, dict[str, PublicKey]] = {}
    fallback_pages: dict[str, str] = {}
    for behavior in behaviors:
        if policy := behavior.get("CachePolicyId"):
            answer = cloudfront.get_cache_policy(Id=policy)["CachePolicy"]
            forwarding[policy] = read_forwarding(answer["CachePolicyConfig"])
        if policy := behavior.get("OriginRequestPolicyId"):
            answer = cloudfront.get_origin_request_policy(Id=policy)["OriginRequestPolicy"]
            forwarding[policy] = read_forwarding(answer["OriginRequestPolicyConfig"])
        if policy := behavior.get("ResponseHeadersPolicyId"):
            answer = cloudfront.get_response_headers_policy(Id=policy)["ResponseHeadersPolicy"]
            response[policy] = read_response_headers(answer["ResponseHeadersPolicyConfig"])
        for group in (behavior.get("TrustedKeyGroups") or {}).get("Items") or ():
            answer = cloudfront.get_key_group(Id=group)["KeyGroup"]
            key_groups[group] = {
                key: load_public_key(
                    cloudfront.get_public_key(Id=key)["PublicKey"]["PublicKeyConfig"]["EncodedKey"]
                )
                for key in answer["KeyGroupConfig"]["Items"]
            }
        for arn in function_arns(behavior):
            fallback_pages[arn] = _read_fallback_page(cloudfront, arn)
    return Policies(forwarding, response, key_groups, fallback_pages)


def _read_fallback_page(cloudfront: Any, function_arn: str) -> str:
    """Return the page of the one function that this edge knows, which it runs by reading it."""
    name = function_arn.rpartition("/")[2]
    code = cloudfront.get_function(Name=name, Stage="LIVE")["FunctionCode"].read().decode()
    page = fallback_of_code(code)
    if page is None:
        raise ValueError(f"the local edge runs no functions but that of the site, and not {name}")
    return page


def _read_rules(
    emulator: Emulator, behaviors: tuple[Behavior, ...]
) -> dict[tuple[str, int], tuple[Rule, ...]]:
    found: dict[tuple[str, int], tuple[Rule, ...]] = {}
    for behavior in behaviors:
        for origin in behavior.origins:
            for balancer in origin.load_balancers:
                if (balancer, origin.port) in found:
                    continue
                elb = emulator.client("elbv2", region_of(balancer))
                for listener in elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]:
                    if int(listener["Port"]) == origin.port:
                        rules = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
                        found[(balancer, origin.port)] = tuple(read_rule(rule) for rule in rules)
    return found


def _read_bucket_policies(
    emulator: Emulator, behaviors: tuple[Behavior, ...]
) -> dict[str, Mapping[str, Any] | None]:
    policies: dict[str, Mapping[str, Any] | None] = {}
    for behavior in behaviors:
        for origin in behavior.origins:
            if origin.bucket is None or origin.bucket in policies:
                continue
            s3 = emulator.client("s3", origin.bucket_region)
            try:
                text = s3.get_bucket_policy(Bucket=origin.bucket)["Policy"]
                policies[origin.bucket] = json.loads(text)
            except ClientError:
                policies[origin.bucket] = None
    return policies
