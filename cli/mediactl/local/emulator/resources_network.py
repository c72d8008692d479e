"""CloudFormation handlers: addresses, gateways, flow logs and rules of security groups."""

from __future__ import annotations

from typing import Any

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from .handlers import Outcome, Properties, extend, new_id, register, replacing


def install() -> None:
    """Register the handlers."""
    register("AWS::EC2::EIP", replacing(_address_create, _forget(ec2._addresses)))  # noqa: SLF001
    register(
        "AWS::EC2::NatGateway",
        replacing(_nat_gateway_create, _forget(ec2._nat_gateways)),  # noqa: SLF001
    )
    register("AWS::EC2::FlowLog", replacing(_flow_log_create, _forget(ec2._flow_logs)))  # noqa: SLF001
    for direction, permissions in (
        ("Ingress", "IpPermissions"),
        ("Egress", "IpPermissionsEgress"),
    ):
        register(
            f"AWS::EC2::SecurityGroup{direction}", _security_group_rule(direction, permissions)
        )
    extend(
        "AWS::EC2::VPC",
        lambda _, properties: {
            "CidrBlock": properties.get("CidrBlock"),
            "CidrBlockAssociations": [],
        },
    )


def _forget(store: Any) -> Any:
    def delete(physical_id: str, _: Properties) -> None:
        store.pop(physical_id, None)

    return delete


def _tag(resource_id: str, properties: Properties) -> None:
    if properties.get("Tags"):
        ec2._tags[resource_id] = list(properties["Tags"])  # noqa: SLF001


def _address_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    allocation_id = new_id("eipalloc")
    address = ec2._random_ip("52.")  # noqa: SLF001
    ec2._addresses[allocation_id] = {  # noqa: SLF001
        "AllocationId": allocation_id,
        "PublicIp": address,
        "Domain": properties.get("Domain", "vpc"),
        "AssociationId": None,
        "InstanceId": None,
        "NetworkInterfaceId": None,
        "PrivateIpAddress": None,
    }
    _tag(allocation_id, properties)
    return allocation_id, {"AllocationId": allocation_id, "PublicIp": address}


def _nat_gateway_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    gateway_id = new_id("nat")
    subnet = ec2._subnets.get(properties["SubnetId"]) or {}  # noqa: SLF001
    ec2._nat_gateways[gateway_id] = {  # noqa: SLF001
        "NatGatewayId": gateway_id,
        "SubnetId": properties["SubnetId"],
        "VpcId": subnet.get("VpcId", ""),
        "AllocationId": properties.get("AllocationId"),
        "ConnectivityType": properties.get("ConnectivityType", "public"),
        "State": "available",
        "CreateTime": ec2._now_ts(),  # noqa: SLF001
        "Tags": list(properties.get("Tags") or []),
    }
    _tag(gateway_id, properties)
    return gateway_id, {"NatGatewayId": gateway_id}


def _flow_log_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    flow_log_id = new_id("fl")
    ec2._flow_logs[flow_log_id] = {  # noqa: SLF001
        "FlowLogId": flow_log_id,
        "ResourceId": properties["ResourceId"],
        "ResourceType": properties["ResourceType"],
        "TrafficType": properties.get("TrafficType", "ALL"),
        "LogDestinationType": properties.get("LogDestinationType", "cloud-watch-logs"),
        "LogDestination": properties.get("LogDestination") or properties.get("LogGroupName"),
        "FlowLogStatus": "ACTIVE",
        "CreationTime": ec2._now_ts(),  # noqa: SLF001
    }
    _tag(flow_log_id, properties)
    return flow_log_id, {"Id": flow_log_id}


def _security_group_rule(direction: str, permissions: str) -> dict[str, Any]:
    """Return handlers of a rule that stands outside its group, which keeps other rules as they are.

    A rule with ``GroupName`` in place of ``GroupId`` belongs to EC2-Classic and is refused.
    """

    def rules_of(properties: Properties) -> list[Any]:
        group = ec2._security_groups.get(properties.get("GroupId", ""))  # noqa: SLF001
        if group is None:
            raise ValueError(
                f"AWS::EC2::SecurityGroup{direction}: no security group {properties.get('GroupId')}"
            )
        rules: list[Any] = group.setdefault(permissions, [])
        return rules

    def create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
        rules_of(properties).extend(provisioners._ec2_sg_permissions([properties]))  # noqa: SLF001
        rule_id = new_id("sgr")
        return rule_id, {"Id": rule_id}

    def delete(_physical_id: str, properties: Properties) -> None:
        if properties.get("GroupId") not in ec2._security_groups:  # noqa: SLF001
            return
        rules = rules_of(properties)
        for rule in provisioners._ec2_sg_permissions([properties]):  # noqa: SLF001
            if rule in rules:
                rules.remove(rule)

    return replacing(create, delete)
