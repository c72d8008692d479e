"""Who may reach whom: security groups and routes of the templates, walked."""

from __future__ import annotations

from typing import Any

import pytest
from infra_templates import Stages, Template, flat, stage_config, synthesize_stage

API = "<ApiSecurityGroup.GroupId>"
ADMIN = "<ApiAdminSecurityGroup.GroupId>"
WORKERS = "<TranscodeWorkersSecurityGroup.GroupId>"
LOAD_BALANCER = "<ApiLoadBalancerSecurityGroup.GroupId>"
HEALTH = "<HealthSecurityGroup.GroupId>"
CLAMAV = "<TranscodeScanningMalwareClamAvSecurityGroup.GroupId>"
CACHE = "<ApiCacheSecurityGroup.GroupId>"
ENDPOINTS = "<ApiClusterEndpointsSecurityGroup.GroupId>"
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
def test_several_regions_admit_cloudfront_and_health_checks_alone(
    stages: Stages, region: str
) -> None:
    template = stages["prod"][f"Media-{region}"]
    (config,) = [one for one in stage_config("prod").regions if one.name == region]
    services = {API, ADMIN, WORKERS} if region == "us-east-1" else {API, WORKERS}
    to_tasks = {edge for edge in TO_TASKS if edge[1] in services}
    assert admitted(template) == {
        (config.cloudfront_prefix_list, LOAD_BALANCER, "tcp 443"),
        (config.health_check_prefix_list, HEALTH, "tcp 443"),
        *to_tasks,
    }
    (balancer,) = template.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    groups = [flat(group) for group in balancer["Properties"]["SecurityGroups"]]
    assert groups == [LOAD_BALANCER, HEALTH]
    assert sent(template) == {edge for edge in TASKS if edge[0] in services} | to_tasks


def test_the_default_group_of_a_network_reaches_nobody(stages: Stages) -> None:
    template = stages["dev"]["Media-us-east-1"]
    closed = template.only("Custom::VpcRestrictDefaultSG")
    assert flat(closed["DefaultSecurityGroupId"]) == "<ApiVpc.DefaultSecurityGroup>"
    group = {"arn:aws:ec2:us-east-1:ACCOUNT:security-group/<ApiVpc.DefaultSecurityGroup>"}
    grants = template.grants("ApiVpcGroupCloserRole")
    assert {action: on for action, on in grants.items() if action.startswith("ec2:")} == {
        "ec2:RevokeSecurityGroupEgress": group,
        "ec2:RevokeSecurityGroupIngress": group,
    }


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """The network of a region by how its tasks reach AWS, with all that may run in it."""
    made = {}
    tracing = {
        "nat": {"x_ray": True},
        "public": {"otlp_endpoint": SPANS, "headers_secret": "backend"},
        "endpoints": {"otlp_endpoint": "https://otlp.internal"},
    }
    for network in ("nat", "public", "endpoints"):
        config = stage_config(
            "dev",
            network=network,
            api={"cache": True},
            tracing=tracing[network],
            scanning={"clamav": {"signature_mirror": "https://mirror.internal"}},
        )
        templates = synthesize_stage(tmp_path_factory.mktemp(network), config)
        made[network] = templates["Media-us-east-1"]
    return made


SPANS = "http://collector.internal:4318"
ALL_TASKS = {API, ADMIN, WORKERS, CLAMAV}
NETWORKS = ("nat", "public", "endpoints")


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_lets_in_whom_it_must(chosen: dict[str, Template], network: str) -> None:
    """The cache admits the services that use it, endpoints admit tasks, and tasks nobody else."""
    template = chosen[network]
    within = {(API, CACHE, "tcp 6379"), (ADMIN, CACHE, "tcp 6379")} | TO_TASKS
    if network == "endpoints":
        within |= {(tasks, ENDPOINTS, "tcp 443") for tasks in ALL_TASKS}
    assert admitted(template) == {("<ApiVpc.CidrBlock>", LOAD_BALANCER, "tcp 80"), *within}
    outside = {(tasks, ANYWHERE, "tcp 443") for tasks in ALL_TASKS}
    if network == "public":
        outside |= {(tasks, ANYWHERE, "tcp 4318") for tasks in ALL_TASKS - {CLAMAV}}
    assert sent(template) == outside | within


@pytest.mark.parametrize("network", NETWORKS)
def test_tasks_leave_by_the_way_that_was_chosen(chosen: dict[str, Template], network: str) -> None:
    template = chosen[network]
    ways = {"nat": {"NatGatewayId"}, "public": {"GatewayId"}, "endpoints": set()}
    services = template.resources("AWS::ECS::Service").values()
    assert len(services) == len(ALL_TASKS)
    for service in services:
        placed = service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert placed["AssignPublicIp"] == ("ENABLED" if network == "public" else "DISABLED")
        for subnet in placed["Subnets"]:
            assert gateways(template, subnet) == ways[network]
    # What tasks reach, and nobody else, is never in a public subnet.
    (balancer,) = template.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    for subnet in (
        *balancer["Properties"]["Subnets"],
        *template.only("AWS::ElastiCache::ServerlessCache")["SubnetIds"],
    ):
        assert gateways(template, subnet) == ({"NatGatewayId"} if network == "nat" else set())
    # A VPC origin needs an internet gateway, though nothing is routed to it.
    assert len(template.resources("AWS::EC2::VPCGatewayAttachment")) == 1
    assert len(template.resources("AWS::EC2::NatGateway")) == (1 if network == "nat" else 0)


def gateways(template: Template, subnet: Any) -> set[str]:
    """Return the kinds of gateways that a subnet has routes to."""
    tables = [
        association["Properties"]["RouteTableId"]
        for association in template.resources("AWS::EC2::SubnetRouteTableAssociation").values()
        if association["Properties"]["SubnetId"] == subnet
    ]
    assert len(tables) == 1
    return {
        key
        for route in template.resources("AWS::EC2::Route").values()
        for key in ("GatewayId", "NatGatewayId")
        if route["Properties"]["RouteTableId"] in tables and key in route["Properties"]
    }


ASKED_BY_OTHERS = {"ecs"}
"""Application Auto Scaling asks whether a caller may; the agent of a task protects the task."""

BY_ECS = {"ecr.api", "ecr.dkr", "logs"}
"""What images are fetched from, and logs written to (Amazon ECS Developer Guide, "Amazon ECS
interface VPC endpoints")."""


def endpoints(template: Template, kind: str) -> set[str]:
    return {
        flat(made["Properties"]["ServiceName"]).split(".", 3)[3]
        for made in template.resources("AWS::EC2::VPCEndpoint").values()
        if made["Properties"]["VpcEndpointType"] == kind
    }


def test_endpoints_are_those_of_the_services_that_tasks_may_call(
    chosen: dict[str, Template],
) -> None:
    """Roles may do what recorded calls did, and no more, which another test holds."""
    template = chosen["endpoints"]
    called = set()
    for tasks in template.resources("AWS::ECS::TaskDefinition"):
        role = template.content["Resources"][tasks]["Properties"]["TaskRoleArn"]["Fn::GetAtt"][0]
        called |= {action.partition(":")[0] for action in template.grants(role)}
    gateway = {"dynamodb", "s3"}
    assert endpoints(template, "Gateway") == gateway
    assert endpoints(template, "Interface") == called - gateway - ASKED_BY_OTHERS | BY_ECS
    assert len(endpoints(template, "Interface")) == 8  # of which the documented price is made
    for made in template.resources("AWS::EC2::VPCEndpoint").values():
        if made["Properties"]["VpcEndpointType"] == "Interface":
            assert made["Properties"]["PrivateDnsEnabled"] is True
            assert [flat(group) for group in made["Properties"]["SecurityGroupIds"]] == [ENDPOINTS]
            for subnet in made["Properties"]["SubnetIds"]:
                assert gateways(template, subnet) == set()
    assert not endpoints(chosen["nat"], "Interface") | endpoints(chosen["public"], "Interface")


def test_services_wait_for_their_endpoints(chosen: dict[str, Template]) -> None:
    """Tasks that cannot fetch their image fail a deployment, which is then taken back."""
    template = chosen["endpoints"]
    interfaces = {
        name
        for name, made in template.resources("AWS::EC2::VPCEndpoint").items()
        if made["Properties"]["VpcEndpointType"] == "Interface"
    }
    for service in template.resources("AWS::ECS::Service").values():
        assert interfaces <= set(service["DependsOn"])


def test_networks_differ_in_nothing_that_would_be_replaced(chosen: dict[str, Template]) -> None:
    """A stage may change its mind: subnets keep ids and addresses, and the network its gateway."""
    kept = (
        "AWS::EC2::VPC",
        "AWS::EC2::Subnet",
        "AWS::EC2::RouteTable",
        "AWS::EC2::InternetGateway",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "AWS::ElastiCache::ServerlessCache",
    )
    for kind in kept:
        first, *others = (
            {
                name: {key: part for key, part in made["Properties"].items() if key != "Tags"}
                for name, made in template.resources(kind).items()
            }
            for template in chosen.values()
        )
        assert first
        assert all(other == first for other in others)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_tasks_have_no_way_in_from_the_internet(stages: Stages, stage: str) -> None:
    """Their subnets go out by NAT, and they have no address of their own."""
    template = stages[stage]["Media-us-east-1"]
    services = template.resources("AWS::ECS::Service").values()
    assert len(services) == 3
    for service in services:
        network = service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED"
        for subnet in network["Subnets"]:
            assert gateways(template, subnet) == {"NatGatewayId"}
    (balancer,) = template.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    ways = {"NatGatewayId" if stage == "dev" else "GatewayId"}
    for subnet in balancer["Properties"]["Subnets"]:
        assert gateways(template, subnet) == ways
