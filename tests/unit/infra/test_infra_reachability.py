"""Who may reach whom: security groups and routes of the templates, walked."""

from __future__ import annotations

from typing import Any

import pytest
from infra_templates import Stages, Template, flat, stage_config, synthesize_stage

API = "<ApiSecurityGroup.GroupId>"
ADMIN = "<ApiAdminSecurityGroup.GroupId>"
WORKERS = "<TranscodeWorkersSecurityGroup.GroupId>"
LOAD_BALANCER = "<ApiLoadBalancerSecurityGroup.GroupId>"
CLAMAV = "<TranscodeScanningMalwareClamAvSecurityGroup.GroupId>"
CACHE = "<ApiCacheSecurityGroup.GroupId>"
ANYWHERE = "0.0.0.0/0"

Edge = tuple[str, str, str]
"""From, to, and the port or ports."""

TASKS: set[Edge] = {(tasks, ANYWHERE, "tcp 443") for tasks in (API, ADMIN, WORKERS)}
TO_TASKS: set[Edge] = {(LOAD_BALANCER, tasks, "tcp 8080") for tasks in (API, ADMIN)}


def ports(rule: dict[str, Any]) -> str:
    first, last = rule.get("FromPort"), rule.get("ToPort")
    span = "all" if first is None else str(first) if first == last else f"{first}-{last}"
    return f"{rule['IpProtocol']} {span}"


def peer(rule: dict[str, Any]) -> str:
    keys = ("CidrIp", "CidrIpv6", "SourcePrefixListId", "DestinationPrefixListId")
    groups = ("SourceSecurityGroupId", "DestinationSecurityGroupId")
    (found,) = [flat(rule[key]) for key in (*keys, *groups) if key in rule]
    return found


def admitted(template: Template) -> set[Edge]:
    """Return what is let in: from whom, to whom, on which port."""
    return _edges(template, "Ingress", lambda rule, owner: (peer(rule), owner, ports(rule)))


def sent(template: Template) -> set[Edge]:
    """Return what is let out."""
    return _edges(template, "Egress", lambda rule, owner: (owner, peer(rule), ports(rule)))


def _edges(template: Template, direction: str, edge: Any) -> set[Edge]:
    found = set()
    for name, group in template.resources("AWS::EC2::SecurityGroup").items():
        owner = flat({"Fn::GetAtt": [name, "GroupId"]})
        for rule in group["Properties"].get(f"SecurityGroup{direction}", []):
            found.add(edge(rule, owner))
    for single in template.resources(f"AWS::EC2::SecurityGroup{direction}").values():
        rule = single["Properties"]
        found.add(edge(rule, flat(rule["GroupId"])))
    # A group without a rule out gets one for an address that nobody has.
    return {one for one in found if "255.255.255.255/32" not in one}


def test_one_region_admits_its_own_network_alone(stages: Stages) -> None:
    """CloudFront's VPC origins have addresses of the network."""
    template = stages["dev"]["Media-us-east-1"]
    assert admitted(template) == {
        ("<ApiVpc.CidrBlock>", LOAD_BALANCER, "tcp 80"),
        *TO_TASKS,
    }
    assert sent(template) == TASKS | TO_TASKS
    (balancer,) = template.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert balancer["Properties"]["Scheme"] == "internal"


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_several_regions_admit_cloudfront_alone(stages: Stages, region: str) -> None:
    template = stages["prod"][f"Media-{region}"]
    (prefix_list,) = [
        one.cloudfront_prefix_list for one in stage_config("prod").regions if one.name == region
    ]
    services = {API, ADMIN, WORKERS} if region == "us-east-1" else {API, WORKERS}
    to_tasks = {edge for edge in TO_TASKS if edge[1] in services}
    assert admitted(template) == {(prefix_list, LOAD_BALANCER, "tcp 443"), *to_tasks}
    assert sent(template) == {edge for edge in TASKS if edge[0] in services} | to_tasks


def test_the_cache_admits_the_services_that_use_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = stage_config("dev", api={"cache": True}, scanning={"clamav": {}})
    templates = synthesize_stage(tmp_path_factory.mktemp("cache"), config)
    template = templates["Media-us-east-1"]
    to_cache = {(API, CACHE, "tcp 6379"), (ADMIN, CACHE, "tcp 6379")}
    assert admitted(template) == {
        ("<ApiVpc.CidrBlock>", LOAD_BALANCER, "tcp 80"),
        *TO_TASKS,
        *to_cache,
    }
    assert sent(template) == TASKS | TO_TASKS | to_cache | {(CLAMAV, ANYWHERE, "tcp 443")}


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_tasks_have_no_way_in_from_the_internet(stages: Stages, stage: str) -> None:
    """Their subnets go out by NAT, and they have no address of their own."""
    template = stages[stage]["Media-us-east-1"]
    gateways = {
        flat(association["Properties"]["SubnetId"]): route["Properties"]
        for association in template.resources("AWS::EC2::SubnetRouteTableAssociation").values()
        for route in template.resources("AWS::EC2::Route").values()
        if route["Properties"]["RouteTableId"] == association["Properties"]["RouteTableId"]
    }
    services = template.resources("AWS::ECS::Service").values()
    assert len(services) == 3
    for service in services:
        network = service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED"
        for subnet in network["Subnets"]:
            route = gateways[flat(subnet)]
            assert "NatGatewayId" in route
            assert "GatewayId" not in route
    (balancer,) = template.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    ways = {"NatGatewayId" if stage == "dev" else "GatewayId"}
    for subnet in balancer["Properties"]["Subnets"]:
        assert ways <= set(gateways[flat(subnet)])
