"""CloudFormation handlers: keys, VPC origins, domains of CloudFront; zones, checks of Route 53."""

from __future__ import annotations

import uuid
from typing import Any

from ministack.core.responses import get_account_id, now_iso
from ministack.services import cloudfront, route53, waf
from ministack.services.cloudformation import provisioners

from .handlers import Outcome, Properties, extend, physical_name, register

_PUBLIC_KEY_FIELDS = ("CallerReference", "Name", "EncodedKey", "Comment")


def install(edge_authority: str) -> None:
    """Register the handlers.

    Args:
        edge_authority: ``host:port`` that distributions get as their domain name.
    """
    register(
        "AWS::CloudFront::PublicKey",
        {
            "create": _public_key_create,
            "update": _public_key_update,
            "delete": _public_key_delete,
        },
    )
    register(
        "AWS::CloudFront::KeyGroup",
        {"create": _key_group_create, "update": _key_group_update, "delete": _key_group_delete},
    )
    register(
        "AWS::CloudFront::VpcOrigin",
        {
            "create": _vpc_origin_create,
            "update": _vpc_origin_update,
            "delete": lambda physical_id, _: cloudfront._vpc_origins.pop(physical_id, None),  # noqa: SLF001
        },
    )
    register(
        "AWS::Route53::HealthCheck",
        {
            "create": _health_check_create,
            "update": _health_check_update,
            "delete": lambda physical_id, _: route53._health_checks.pop(physical_id, None),  # noqa: SLF001
        },
    )
    register(
        "AWS::WAFv2::WebACLAssociation",
        {
            "create": _association_create,
            "update": _association_update,
            "delete": lambda _, properties: waf._associations.pop(  # noqa: SLF001
                properties["ResourceArn"], None
            ),
        },
    )

    def domain(distribution_id: str, _: Properties) -> dict[str, Any]:
        cloudfront._distributions[distribution_id]["DomainName"] = edge_authority  # noqa: SLF001
        return {"DomainName": edge_authority}

    extend("AWS::CloudFront::Distribution", domain)
    _make_hosted_zones()
    _write_truth_as_xml_does()


def _write_truth_as_xml_does() -> None:
    """Write ``true`` and ``false`` of health checks in the letters of XML, as clients read them."""
    build = route53._build_health_check_el  # noqa: SLF001

    def build_health_check(parent: Any, check: dict[str, Any]) -> None:
        config = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in check.get("config", {}).items()
        }
        build(parent, {**check, "config": config})

    route53._build_health_check_el = build_health_check  # noqa: SLF001


def _make_hosted_zones() -> None:
    """Make the zone of a record: it is there before a stage is, and no stack makes it."""
    known = provisioners._RESOURCE_HANDLERS["AWS::Route53::RecordSet"]  # noqa: SLF001

    def create(logical_id: str, properties: Properties, stack: str) -> Outcome:
        zone_id = str(properties["HostedZoneId"])
        name = ".".join(str(properties["Name"]).rstrip(".").split(".")[-2:]) + "."
        if zone_id not in route53._zones:  # noqa: SLF001
            route53._zones[zone_id] = {  # noqa: SLF001
                "id": zone_id,
                "name": name,
                "caller_reference": zone_id,
                "comment": "",
                "private": False,
            }
            route53._records[zone_id] = route53._default_records(name)  # noqa: SLF001
        outcome: Outcome = known["create"](logical_id, properties, stack)
        return outcome

    register("AWS::Route53::RecordSet", {**known, "create": create})


def _stamp(record: dict[str, Any], time_name: str) -> dict[str, Any]:
    return {**record, "ETag": str(uuid.uuid4()), time_name: cloudfront._now_iso()}  # noqa: SLF001


def _public_key_config(properties: Properties) -> dict[str, str]:
    config = properties["PublicKeyConfig"]
    if not str(config.get("EncodedKey", "")).strip():
        raise ValueError("AWS::CloudFront::PublicKey: EncodedKey is empty")
    return {name: str(config.get(name, "")) for name in _PUBLIC_KEY_FIELDS}


def _public_key_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    config = _public_key_config(properties)
    key_id: str = cloudfront._pk_id()  # noqa: SLF001
    record = _stamp({"Id": key_id, "Config": config}, "CreatedTime")
    cloudfront._public_keys[key_id] = record  # noqa: SLF001
    return key_id, {"Id": key_id, "CreatedTime": record["CreatedTime"]}


def _public_key_update(physical_id: str, _old: Properties, new: Properties, stack: str) -> Outcome:
    """Change the comment; all else of a public key is immutable and replaces it."""
    record = cloudfront._public_keys.get(physical_id)  # noqa: SLF001
    config = _public_key_config(new)
    if record is None or any(
        config[name] != record["Config"][name] for name in ("Name", "EncodedKey")
    ):
        return _public_key_create(physical_id, new, stack)
    record["Config"] = {**config, "CallerReference": record["Config"]["CallerReference"]}
    record["ETag"] = str(uuid.uuid4())
    return physical_id, {"Id": physical_id, "CreatedTime": record["CreatedTime"]}


def _public_key_delete(physical_id: str, _: Properties) -> None:
    cloudfront._public_keys.pop(physical_id, None)  # noqa: SLF001


def _key_group_config(properties: Properties) -> dict[str, Any]:
    config = properties["KeyGroupConfig"]
    missing = [key for key in config["Items"] if key not in cloudfront._public_keys]  # noqa: SLF001
    if missing:
        raise ValueError(f"AWS::CloudFront::KeyGroup: no public keys {missing}")
    return {
        "Name": config["Name"],
        "Comment": config.get("Comment", ""),
        "Items": list(config["Items"]),
    }


def _key_group_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    group_id: str = cloudfront._kg_id()  # noqa: SLF001
    record = _stamp({"Id": group_id, "Config": _key_group_config(properties)}, "LastModifiedTime")
    cloudfront._key_groups[group_id] = record  # noqa: SLF001
    return group_id, {"Id": group_id, "LastModifiedTime": record["LastModifiedTime"]}


def _key_group_update(physical_id: str, _old: Properties, new: Properties, stack: str) -> Outcome:
    record = cloudfront._key_groups.get(physical_id)  # noqa: SLF001
    if record is None:
        return _key_group_create(physical_id, new, stack)
    record.update(_stamp({"Config": _key_group_config(new)}, "LastModifiedTime"))
    return physical_id, {"Id": physical_id, "LastModifiedTime": record["LastModifiedTime"]}


def _key_group_delete(physical_id: str, _: Properties) -> None:
    cloudfront._key_groups.pop(physical_id, None)  # noqa: SLF001


def _vpc_origin_config(properties: Properties, stack: str, logical_id: str) -> dict[str, Any]:
    config = properties["VpcOriginEndpointConfig"]
    return {
        "Name": config.get("Name") or physical_name(stack, logical_id, longest=64),
        "Arn": config["Arn"],
        "HTTPPort": int(config.get("HTTPPort", 80)),
        "HTTPSPort": int(config.get("HTTPSPort", 443)),
        "OriginProtocolPolicy": config.get("OriginProtocolPolicy", "match-viewer"),
        "OriginSslProtocols": list(config.get("OriginSSLProtocols") or ["TLSv1.2"]),
        "IpAddressType": config.get("IpAddressType", "ipv4"),
    }


def _vpc_origin_create(logical_id: str, properties: Properties, stack: str) -> Outcome:
    origin_id = f"vo_{uuid.uuid4().hex[:22]}"
    now = now_iso()
    record = {
        "Id": origin_id,
        "Arn": f"arn:aws:cloudfront::{get_account_id()}:vpcorigin/{origin_id}",
        "AccountId": get_account_id(),
        "Status": "Deployed",
        "CreatedTime": now,
        "LastModifiedTime": now,
        "Version": 1,
        "VpcOriginEndpointConfig": _vpc_origin_config(properties, stack, logical_id),
    }
    cloudfront._vpc_origins[origin_id] = record  # noqa: SLF001
    return origin_id, _vpc_origin_attributes(record)


def _vpc_origin_update(physical_id: str, _old: Properties, new: Properties, stack: str) -> Outcome:
    record = cloudfront._vpc_origins.get(physical_id)  # noqa: SLF001
    if record is None:
        return _vpc_origin_create(physical_id, new, stack)
    name = record["VpcOriginEndpointConfig"]["Name"]
    config = _vpc_origin_config(new, stack, physical_id)
    record["VpcOriginEndpointConfig"] = {
        **config,
        "Name": new["VpcOriginEndpointConfig"].get("Name") or name,
    }
    record["Version"] += 1
    record["LastModifiedTime"] = now_iso()
    return physical_id, _vpc_origin_attributes(record)


def _vpc_origin_attributes(record: dict[str, Any]) -> dict[str, Any]:
    names = ("Id", "Arn", "AccountId", "Status", "CreatedTime", "LastModifiedTime")
    return {name: record[name] for name in names}


def _health_check_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    """Record a health check; nobody asks what it names, since a record of DNS is all it decides."""
    health_check_id = str(uuid.uuid4())
    route53._health_checks[health_check_id] = {  # noqa: SLF001
        "id": health_check_id,
        "caller_reference": health_check_id,
        "config": dict(properties["HealthCheckConfig"]),
        "version": 1,
    }
    return health_check_id, {"HealthCheckId": health_check_id}


def _health_check_update(
    physical_id: str, _old: Properties, new: Properties, stack: str
) -> Outcome:
    record = route53._health_checks.get(physical_id)  # noqa: SLF001
    if record is None or record["config"]["Type"] != new["HealthCheckConfig"]["Type"]:
        return _health_check_create(physical_id, new, stack)
    record["config"] = dict(new["HealthCheckConfig"])
    record["version"] += 1
    return physical_id, {"HealthCheckId": physical_id}


def _association_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    resource = properties["ResourceArn"]
    waf._associations[resource] = properties["WebACLArn"]  # noqa: SLF001
    return f"{resource}|{properties['WebACLArn']}", {}


def _association_update(physical_id: str, old: Properties, new: Properties, stack: str) -> Outcome:
    if old["ResourceArn"] != new["ResourceArn"]:
        waf._associations.pop(old["ResourceArn"], None)  # noqa: SLF001
    return _association_create(physical_id, new, stack)
