"""CloudFormation handlers: what MiniStack's own leave out.

Replicas and time to live of tables, replication of buckets, the provider URL of user pools, and the
ARN that a reference to a secret is.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from ministack.core.responses import get_region
from ministack.services import dynamodb, s3, secretsmanager
from ministack.services.cloudformation import provisioners

from .handlers import Outcome, Properties, extend, register, require_ok


def install(emulator_port: int) -> None:
    """Register the handlers.

    Args:
        emulator_port: TCP port of the emulator, at which user pools publish their keys.
    """
    _keep_table_names()
    _delete_replicas()
    extend("AWS::DynamoDB::GlobalTable", _complete_table)
    extend("AWS::S3::Bucket", _replicate_bucket)
    _refer_to_secrets_by_arn()

    def provider(pool_id: str, _: Properties) -> dict[str, Any]:
        return {"ProviderURL": f"http://127.0.0.1:{emulator_port}/{pool_id}"}

    extend("AWS::Cognito::UserPool", provider)


def _keep_table_names() -> None:
    """Update a table without a name of its own in place.

    MiniStack generates another name for the update of such a table, and replaces it empty.
    """
    known = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::GlobalTable"]  # noqa: SLF001

    def update(physical_id: str, old: Properties, new: Properties, stack: str) -> Outcome:
        named = {"TableName": physical_id, **new}
        outcome: Outcome = known["update"](physical_id, old, named, stack)
        return outcome

    register("AWS::DynamoDB::GlobalTable", {**known, "update": update})


def _delete_replicas() -> None:
    """Delete a table in all its regions, as CloudFormation does; MiniStack leaves the replicas."""
    known = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::GlobalTable"]  # noqa: SLF001

    def delete(physical_id: str, properties: Properties) -> None:
        if physical_id in dynamodb._tables:  # noqa: SLF001
            _complete_table(physical_id, {"Replicas": []})
        known["delete"](physical_id, properties)

    register("AWS::DynamoDB::GlobalTable", {**known, "delete": delete})


def _complete_table(name: str, properties: Properties) -> dict[str, Any]:
    """Apply replicas and time to live, which MiniStack knows from its API only."""
    table = dynamodb._tables[name]  # noqa: SLF001
    here = get_region()
    present = set(dynamodb._replica_group(table)) - {here}  # noqa: SLF001
    wanted = {replica["Region"] for replica in properties.get("Replicas", [])} - {here}
    changes = [{"Create": {"RegionName": region}} for region in sorted(wanted - present)]
    changes += [{"Delete": {"RegionName": region}} for region in sorted(present - wanted)]
    for change in changes:
        answer = dynamodb._update_table({"TableName": name, "ReplicaUpdates": [change]})  # noqa: SLF001
        require_ok(answer, f"replica {change} of table {name}")
    ttl = properties.get("TimeToLiveSpecification")
    if ttl and ttl.get("AttributeName"):
        specification = {
            "AttributeName": ttl["AttributeName"],
            "Enabled": str(ttl.get("Enabled", True)).lower() == "true",
        }
        answer = dynamodb._update_ttl(  # noqa: SLF001
            {"TableName": name, "TimeToLiveSpecification": specification}
        )
        require_ok(answer, f"time to live of table {name}")
    attributes = {"TableId": table["TableId"]}
    if table.get("LatestStreamArn"):
        # Replicas switch the stream on after MiniStack computed the attributes.
        attributes["StreamArn"] = table["LatestStreamArn"]
    return attributes


def _replicate_bucket(name: str, properties: Properties) -> dict[str, Any]:
    """Apply the replication configuration, which MiniStack knows from its API only."""
    configuration = properties.get("ReplicationConfiguration")
    if not configuration:
        s3._bucket_replication.pop(name, None)  # noqa: SLF001
        return {}
    answer = s3._put_bucket_replication(name, replication_xml(configuration))  # noqa: SLF001
    require_ok(answer, f"replication of bucket {name}")
    return {}


def replication_xml(configuration: dict[str, Any]) -> bytes:
    """Return the body of PutBucketReplication for a ``ReplicationConfiguration`` property."""
    root = Element("ReplicationConfiguration", {"xmlns": "http://s3.amazonaws.com/doc/2006-03-01/"})
    SubElement(root, "Role").text = str(configuration["Role"])
    for rule in configuration["Rules"]:
        _fill(SubElement(root, "Rule"), {"Status": "Enabled", **rule})
    return tostring(root)


_API_NAMES = {"Id": "ID", "TagFilter": "Tag", "TagFilters": "Tag"}


def _fill(parent: Element, properties: dict[str, Any]) -> None:
    for name, value in properties.items():
        tag = _API_NAMES.get(name, name)
        for part in value if isinstance(value, list) else [value]:
            child = SubElement(parent, tag)
            if isinstance(part, dict):
                _fill(child, part)
            else:
                child.text = str(part).lower() if isinstance(part, bool) else str(part)


def _refer_to_secrets_by_arn() -> None:
    """Make the physical id of a secret its ARN, as on AWS.

    MiniStack uses the name, and then a grant on a reference to a secret names no resource.
    """
    known = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]  # noqa: SLF001

    def name_of(arn: str) -> str:
        for name, secret in secretsmanager._secrets.items():  # noqa: SLF001
            if secret["ARN"] == arn:
                return str(name)
        return arn

    def create(logical_id: str, properties: Properties, stack: str) -> Outcome:
        _, attributes = known["create"](logical_id, properties, stack)
        return attributes["Arn"], attributes

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Outcome:
        name = name_of(physical_id)
        new_name, attributes = known["update"](name, old, new, stack, logical_id)
        arn = (attributes or {}).get("Arn") or secretsmanager._secrets[new_name]["ARN"]  # noqa: SLF001
        return arn, {**(attributes or {}), "Arn": arn, "Id": arn}

    def delete(physical_id: str, properties: Properties) -> None:
        known["delete"](name_of(physical_id), properties)

    register(
        "AWS::SecretsManager::Secret",
        {
            **known,
            "create": create,
            "update": update,
            "update_with_logical_id": True,
            "delete": delete,
        },
    )
