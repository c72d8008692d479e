"""Plans as text: what the first worker of a run decides, all others read from the run's item."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from media_worker.planning import Plan


class PlanError(ValueError):
    """The text is no plan of this version of the worker."""


def to_text(plan: Plan) -> str:
    """Return ``plan`` as JSON."""
    return json.dumps(_plain(plan), separators=(",", ":"))


def from_text(text: str) -> Plan:
    """Read a plan.

    Raises:
        PlanError: If another version of the worker wrote it, whose plans are made differently.
    """
    try:
        plan: Plan = _typed(Plan, json.loads(text))
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"the plan of the run cannot be read: {error!r}") from error
    return plan


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    return value


def _typed(kind: Any, value: Any) -> Any:
    """Return a plain value as ``kind``: a dataclass, a tuple, a fraction, or what JSON knows.

    Fields that have a default may be missing: a version before them wrote the plan.
    """
    if is_dataclass(kind) and isinstance(kind, type):
        kinds = get_type_hints(kind)
        return kind(
            **{
                f.name: _typed(kinds[f.name], value[f.name])
                for f in fields(kind)
                if f.name in value or f.default is MISSING
            }
        )
    if get_origin(kind) is tuple:
        return tuple(_typed(get_args(kind)[0], member) for member in value)
    if get_origin(kind) is UnionType:
        if value is None:
            return None
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
        return _typed(kind, value)
    if kind is Fraction:
        return Fraction(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value
