"""DynamoDB attribute values from and to plain Python, without boto3.

The wire format is described in the DynamoDB API reference under ``AttributeValue``. Only what the
table holds is supported: strings, integers, fractions, booleans, null, lists and maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Item = dict[str, Any]
"""An item in plain Python."""

WireItem = dict[str, dict[str, Any]]
"""An item as the DynamoDB API takes it."""

TransactItem = dict[str, dict[str, Any]]
"""One action of ``TransactWriteItems``."""


def to_wire(value: Any) -> dict[str, Any]:
    """Return the attribute value of ``value``.

    Raises:
        TypeError: If the type of ``value`` has no place in the table.
    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": str(value)}
        case int() | float() | Decimal():
            return {"N": str(value)}
        case Mapping():
            return {"M": {name: to_wire(member) for name, member in value.items()}}
        case list() | tuple():
            return {"L": [to_wire(member) for member in value]}
    raise TypeError(f"{type(value).__name__} cannot be stored in the table: {value!r}")


def from_wire(value: Mapping[str, Any]) -> Any:
    """Return the plain value of one attribute value; whole numbers become ``int``."""
    ((kind, content),) = value.items()
    match kind:
        case "NULL":
            return None
        case "N":
            number = Decimal(content)
            return int(number) if number == number.to_integral_value() else float(number)
        case "M":
            return {name: from_wire(member) for name, member in content.items()}
        case "L":
            return [from_wire(member) for member in content]
    return content


def to_item(values: Mapping[str, Any]) -> WireItem:
    """Return a whole item in wire format; attributes that are ``None`` are left out."""
    return {name: to_wire(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Mapping[str, Any]]) -> Item:
    """Return a whole item in plain Python."""
    return {name: from_wire(value) for name, value in item.items()}
