"""What is wrong with a configuration, said as the constructs say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

_SHOWN_CHARACTERS = 80

_LIMITS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "literal_error": lambda limits: f"allowed are {limits['expected']}; choose one",
    "enum": lambda limits: f"allowed are {limits['expected']}; choose one",
    "greater_than_equal": lambda limits: f"allowed are {_number(limits['ge'])} and more; raise it",
    "less_than_equal": lambda limits: f"allowed are {_number(limits['le'])} and less; lower it",
    "multiple_of": lambda limits: (
        f"allowed are multiples of {_number(limits['multiple_of'])}; choose one"
    ),
    "too_short": lambda limits: (
        f"allowed are lists from length {limits['min_length']} on; add what is missing"
    ),
    "string_too_short": lambda limits: (
        f"allowed are texts from length {limits['min_length']} on; write one, or leave the key out"
    ),
    "string_too_long": lambda limits: (
        f"allowed are texts up to length {limits['max_length']}; shorten it"
    ),
}
_WHOLE_NUMBERS = "allowed are whole numbers; write one, without quotes and unit"
_NUMBERS = "allowed are numbers; write one, without quotes and unit"
_TRUTHS = "allowed are true and false; choose one"
_NETWORKS = "allowed are networks such as 10.1.0.0/16; write the first address and the length"
_KINDS = {
    "bool_type": _TRUTHS,
    "bool_parsing": _TRUTHS,
    "int_type": _WHOLE_NUMBERS,
    "int_parsing": _WHOLE_NUMBERS,
    "int_from_float": _WHOLE_NUMBERS,
    "float_type": _NUMBERS,
    "float_parsing": _NUMBERS,
    "string_type": "allowed is a text; put it into quotes",
    "tuple_type": "allowed is a list; put it into brackets",
    "ip_v4_network": _NETWORKS,
    "ip_any_network": _NETWORKS,
}
_NOT_AN_OBJECT = ("model_type", "model_attributes_type", "dataclass_type")
_NOT_A_KEY = ("extra_forbidden", "unexpected_keyword_argument")


def problem_lines(whole: type[BaseModel], problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each problem: the key, its value, what is allowed, and the remedy.

    A list counts entries that are wrong as missing, which is left out.

    Args:
        whole: What the configuration was read as.
        problems: As :meth:`pydantic.ValidationError.errors` tells them.
    """
    places = [problem["loc"] for problem in problems]
    return [
        _line(whole, problem)
        for problem in problems
        if problem["type"] != "too_short" or not _is_within(problem["loc"], places)
    ]


def not_an_object(whole: type, value: Any) -> str:
    """Return what is said of a value that should be an object with keys.

    Args:
        whole: What it was to be read as.
        value: The value.
    """
    return (
        f"it is {_shown(value)}, allowed is an object with the keys {_keys(whole)}; put it into "
        "braces"
    )


def _is_within(place: Sequence[Any], others: Sequence[Sequence[Any]]) -> bool:
    return any(len(o) > len(place) and o[: len(place)] == place for o in others)


def _line(whole: type[BaseModel], problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    text = _said(whole, problem)
    return f"{key}: {text}" if key else text


def _said(whole: type[BaseModel], problem: Mapping[str, Any]) -> str:
    kind, place, value = problem["type"], problem["loc"], problem["input"]
    if kind == "value_error":
        return str(problem["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        return "it is missing; add the key"
    if kind in _NOT_A_KEY:
        return f"there is no such key, allowed are {_keys(_part(whole, place[:-1]))}; choose one"
    if kind in _NOT_AN_OBJECT:
        return not_an_object(_part(whole, place), value)
    return f"it is {_shown(value)}, {_allowed(problem)}"


def _allowed(problem: Mapping[str, Any]) -> str:
    kind = problem["type"]
    return _LIMITS[kind](problem["ctx"]) if kind in _LIMITS else _KINDS.get(kind, problem["msg"])


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _keys(part: type) -> str:
    names = part.model_fields if issubclass(part, BaseModel) else get_type_hints(part)
    return ", ".join(names)


def _part(whole: type, place: Sequence[Any]) -> type:
    """Return what the object at a place is read as; numbers are places in lists."""
    part = whole
    for key in place:
        if isinstance(key, str):
            part = next(_objects(get_type_hints(part)[key]))
    return part


def _objects(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or is_dataclass(annotation)
    ):
        yield annotation
    for argument in get_args(annotation):
        yield from _objects(argument)
