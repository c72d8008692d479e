"""Whether the quotas of an account hold what the templates of a stage need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mediactl.checking.findings import Finding, Patient, State
from mediactl.deploying.assembly import AssemblyStack
from mediactl.environment import CLOUDFRONT_REGION, Environment

CONCURRENT_CALLS = "L-B99A9384"
"""Code of the quota on functions that run at a time."""

_NOT_TOLD = "Service Quotas does not tell it"

VCPU = 1024
"""Processor units of a vCPU."""

UNRESERVED_CALLS = 100
"""Calls that functions without a reserve keep (AWS Lambda Developer Guide, "Concurrency")."""


@dataclass(frozen=True)
class Quota:
    """A quota on how many of a kind an account has.

    Attributes:
        service: Code of the service.
        name: Name of the quota there.
        type: Type of the resource.
        used: Returns how many there are, also of others.
        is_global: Whether it is one for all regions.
    """

    service: str
    name: str
    type: str
    used: Callable[[Environment, str], int]
    is_global: bool = False


@dataclass(frozen=True)
class Told:
    """A quota as Service Quotas tells it.

    Attributes:
        value: How much is allowed.
        code: Its code, by which more is asked for.
    """

    value: float
    code: str


@dataclass(frozen=True)
class FargateNeed:
    """Virtual processors that the services of a region use.

    Attributes:
        least: With as few tasks as scaling allows.
        most: With as many.
    """

    least: float = 0.0
    most: float = 0.0


def quotas(patient: Patient) -> Iterator[Finding]:
    """Look whether every quota holds what the stacks of the app need."""
    environment, stacks = patient.environment, patient.reached_templates()
    told = _ServiceQuotas(environment)
    for region in sorted({stack.region for stack in stacks}):
        here = [stack for stack in stacks if stack.region == region]
        for name, need in fargate_needs(here).items():
            yield fargate_finding(name, region, need, told.of("fargate", name, region))
        limits = environment.client("lambda", region).get_account_settings()["AccountLimit"]
        yield lambda_finding(limits, region, _reserved_calls(here))
        for quota in QUOTAS:
            if not quota.is_global:
                yield from _count_findings(environment, quota, region, here, told)
    for quota in QUOTAS:
        if quota.is_global:
            yield from _count_findings(environment, quota, CLOUDFRONT_REGION, stacks, told)


class _ServiceQuotas:
    """What Service Quotas tells, asked once for each service and region."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._told: dict[tuple[str, str], dict[str, Told]] = {}

    def of(self, service: str, name: str, region: str) -> Told | None:
        """Return a quota, ``None`` if it is not told."""
        if (service, region) not in self._told:
            client = self._environment.client("service-quotas", region)
            pages = client.get_paginator("list_service_quotas").paginate(ServiceCode=service)
            self._told[service, region] = {
                one["QuotaName"]: Told(float(one["Value"]), one["QuotaCode"])
                for page in pages
                for one in page["Quotas"]
            }
        return self._told[service, region].get(name)


def _count_findings(
    environment: Environment,
    quota: Quota,
    region: str,
    stacks: Sequence[AssemblyStack],
    told: _ServiceQuotas,
) -> Iterator[Finding]:
    wanted = sum(
        resource["Type"] == quota.type
        for stack in stacks
        for resource in stack.template["Resources"].values()
    )
    if wanted:
        there = sum(_deployed(environment, stack, quota.type) for stack in stacks)
        yield count_finding(
            quota,
            region,
            used=quota.used(environment, region),
            more=max(0, wanted - there),
            told=told.of(quota.service, quota.name, region),
        )


def count_finding(quota: Quota, region: str, *, used: int, more: int, told: Told | None) -> Finding:
    """Return whether a quota leaves room.

    Args:
        quota: The quota.
        region: The region.
        used: How many there are.
        more: How many a deployment would add.
        told: The quota, if AWS tells it.
    """
    if told is None:
        return Finding(check=quota.name, region=region, state="skipped", seen=_NOT_TOLD)
    seen = f"{used} of {told.value:.0f} are used, a deployment adds {more}"
    if used + more <= told.value:
        return Finding(check=quota.name, region=region, state="ok", seen=seen)
    fix = _asking(quota.service, told.code, region, used + more)
    return Finding(check=quota.name, region=region, state="fail", seen=seen, fix=fix)


def fargate_needs(stacks: Sequence[AssemblyStack]) -> dict[str, FargateNeed]:
    """Return the virtual processors that services need, by the name of the quota they are held by.

    A service that may run on Spot and on demand counts for both: either may have to take all.
    """
    needs: dict[str, FargateNeed] = {}
    for stack in stacks:
        found = stack.template["Resources"]
        for logical_id, resource in found.items():
            if resource["Type"] != "AWS::ECS::Service":
                continue
            properties = resource["Properties"]
            least, most = _tasks(logical_id, properties, found)
            definition = found.get(properties["TaskDefinition"].get("Ref"), {})
            processors = int(definition.get("Properties", {}).get("Cpu", 0)) / VCPU
            for name in _capacity(properties):
                before = needs.get(name, FargateNeed())
                needs[name] = FargateNeed(
                    before.least + least * processors, before.most + most * processors
                )
    return needs


ON_DEMAND = "Fargate On-Demand vCPU resource count"
SPOT = "Fargate Spot vCPU resource count"


def _capacity(properties: dict[str, Any]) -> list[str]:
    strategy = properties.get("CapacityProviderStrategy", [])
    providers = {one["CapacityProvider"] for one in strategy} or {"FARGATE"}
    names = {"FARGATE": ON_DEMAND, "FARGATE_SPOT": SPOT}
    return [names[provider] for provider in sorted(providers) if provider in names]


def _tasks(logical_id: str, properties: dict[str, Any], found: dict[str, Any]) -> tuple[int, int]:
    """Return the fewest and the most tasks of a service."""
    desired = int(properties.get("DesiredCount", 1))
    for resource in found.values():
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget" and (
            f"'{logical_id}'" in str(resource["Properties"]["ResourceId"])
        ):
            target = resource["Properties"]
            return int(target["MinCapacity"]), int(target["MaxCapacity"])
    return desired, desired


def fargate_finding(name: str, region: str, need: FargateNeed, told: Told | None) -> Finding:
    """Return whether a quota of Fargate holds the tasks of a region."""
    if told is None:
        return Finding(check=name, region=region, state="skipped", seen=_NOT_TOLD)
    seen = f"{told.value:g}, the stage uses {need.least:g} to {need.most:g}"
    if need.most <= told.value:
        return Finding(check=name, region=region, state="ok", seen=seen)
    state: State = "fail" if need.least > told.value else "warn"
    return Finding(
        check=name,
        region=region,
        state=state,
        seen=seen,
        fix=_asking("fargate", told.code, region, need.most),
    )


def lambda_finding(limits: dict[str, Any], region: str, reserved: int) -> Finding:
    """Return whether functions may run as often at a time as they reserve, and others, too."""
    name = "Concurrent executions"
    value = int(limits["ConcurrentExecutions"])
    left = int(limits.get("UnreservedConcurrentExecutions", value))
    seen = f"{value}, {left} of them not reserved, the stage reserves {reserved}"
    if value - reserved >= UNRESERVED_CALLS:
        return Finding(check=name, region=region, state="ok", seen=seen)
    state: State = "fail" if reserved else "warn"
    fix = _asking("lambda", CONCURRENT_CALLS, region, 10 * UNRESERVED_CALLS + reserved)
    return Finding(check=name, region=region, state=state, seen=seen, fix=fix)


def _reserved_calls(stacks: Sequence[AssemblyStack]) -> int:
    return sum(
        int(resource["Properties"].get("ReservedConcurrentExecutions", 0))
        for stack in stacks
        for resource in stack.template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    )


def _asking(service: str, code: str, region: str, value: float) -> str:
    return (
        f"aws service-quotas request-service-quota-increase --region {region}"
        f" --service-code {service} --quota-code {code} --desired-value {value:.0f}"
    )


def _deployed(environment: Environment, stack: AssemblyStack, kind: str) -> int:
    if environment.stack(stack.name, stack.region) is None:
        return 0
    client = environment.client("cloudformation", stack.region)
    pages = client.get_paginator("list_stack_resources").paginate(StackName=stack.name)
    return sum(
        one["ResourceType"] == kind for page in pages for one in page["StackResourceSummaries"]
    )


def _addresses(environment: Environment, region: str) -> int:
    return len(environment.client("ec2", region).describe_addresses()["Addresses"])


def _networks(environment: Environment, region: str) -> int:
    pages = environment.client("ec2", region).get_paginator("describe_vpcs").paginate()
    return sum(len(page["Vpcs"]) for page in pages)


def _listed(operation: str, answer: str, **options: str) -> Callable[[Environment, str], int]:
    """Return what counts all that CloudFront lists, page by page."""

    def count(environment: Environment, region: str) -> int:
        call = getattr(environment.client("cloudfront", region), operation)
        page = call(**options)[answer]
        number = int(page.get("Quantity", 0))
        while page.get("NextMarker"):
            page = call(Marker=page["NextMarker"], **options)[answer]
            number += int(page.get("Quantity", 0))
        return number

    return count


QUOTAS = (
    Quota("ec2", "EC2-VPC Elastic IPs", "AWS::EC2::EIP", _addresses),
    Quota("vpc", "VPCs per Region", "AWS::EC2::VPC", _networks),
    Quota(
        "cloudfront",
        "Web distributions per AWS account",
        "AWS::CloudFront::Distribution",
        _listed("list_distributions", "DistributionList"),
        is_global=True,
    ),
    Quota(
        "cloudfront",
        "Cache policies per AWS account",
        "AWS::CloudFront::CachePolicy",
        _listed("list_cache_policies", "CachePolicyList", Type="custom"),
        is_global=True,
    ),
    Quota(
        "cloudfront",
        "Key groups per AWS account",
        "AWS::CloudFront::KeyGroup",
        _listed("list_key_groups", "KeyGroupList"),
        is_global=True,
    ),
    Quota(
        "cloudfront",
        "Public keys per AWS account",
        "AWS::CloudFront::PublicKey",
        _listed("list_public_keys", "PublicKeyList"),
        is_global=True,
    ),
)
