"""CloudFormation handlers: deliveries of logs, which MiniStack has in its API only."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch_logs as logs

from .handlers import Outcome, Properties, register, replacing, require_ok


def install() -> None:
    """Register the handlers."""
    register(
        "AWS::Logs::DeliverySource",
        _named(_source_create, logs._delete_delivery_source),  # noqa: SLF001
    )
    register(
        "AWS::Logs::DeliveryDestination",
        _named(_destination_create, logs._delete_delivery_destination),  # noqa: SLF001
    )
    register("AWS::Logs::Delivery", replacing(_delivery_create, _forget_delivery))


def _named(create: Callable[..., Outcome], delete: Callable[..., Any]) -> dict[str, Any]:
    """Return handlers of a type that is written and deleted by its name."""

    def update(_physical_id: str, _old: Properties, new: Properties, stack: str) -> Outcome:
        return create("", new, stack)

    return {
        "create": create,
        "update": update,
        "delete": lambda physical_id, _: delete({"name": physical_id}),
    }


def _source_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    body = _asked(
        logs._put_delivery_source(  # noqa: SLF001
            {
                "name": properties["Name"],
                "resourceArn": properties["ResourceArn"],
                "logType": properties["LogType"],
            }
        ),
        "AWS::Logs::DeliverySource",
    )
    return properties["Name"], {"Arn": body["deliverySource"]["arn"]}


def _destination_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    configuration = {"destinationResourceArn": properties["DestinationResourceArn"]}
    body = _asked(
        logs._put_delivery_destination(  # noqa: SLF001
            {
                "name": properties["Name"],
                "deliveryDestinationConfiguration": configuration,
                "outputFormat": properties.get("OutputFormat", "json"),
            }
        ),
        "AWS::Logs::DeliveryDestination",
    )
    return properties["Name"], {"Arn": body["deliveryDestination"]["arn"]}


def _delivery_create(_logical_id: str, properties: Properties, _stack: str) -> Outcome:
    source, destination = (
        properties["DeliverySourceName"],
        properties["DeliveryDestinationArn"],
    )
    # A changed delivery joins the same two, of which there is one delivery at a time.
    for known in list(logs._deliveries.values()):  # noqa: SLF001
        if (known["deliverySourceName"], known["deliveryDestinationArn"]) == (source, destination):
            _forget_delivery(known["id"], properties)
    body = _asked(
        logs._create_delivery(  # noqa: SLF001
            {
                "deliverySourceName": source,
                "deliveryDestinationArn": destination,
                "recordFields": properties.get("RecordFields", []),
                "s3DeliveryConfiguration": {"suffixPath": properties.get("S3SuffixPath", "")},
            }
        ),
        "AWS::Logs::Delivery",
    )
    delivery = body["delivery"]
    return delivery["id"], {"DeliveryId": delivery["id"], "Arn": delivery["arn"]}


def _forget_delivery(physical_id: str, _: Properties) -> None:
    logs._deliveries.pop(physical_id, None)  # noqa: SLF001


def _asked(response: tuple[int, Any, Any], what: str) -> Any:
    return json.loads(require_ok(response, what))
