"""Alarms on metrics and metric math, and step scaling, as pure functions.

Sources: Amazon CloudWatch User Guide, "Evaluating an alarm" and "Using metric math"; Application
Auto Scaling User Guide, "Step scaling policies".
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Value = float | None
"""A datapoint; ``None`` when the metric has none in the period."""


@dataclass(frozen=True)
class MetricKey:
    """A metric.

    Attributes:
        namespace: For example ``AWS/SQS``.
        name: Name of the metric.
        dimensions: Pairs of name and value, sorted.
    """

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MetricUse:
    """A metric with the statistic that is taken of it."""

    key: MetricKey
    statistic: str


@dataclass(frozen=True)
class Alarm:
    """An alarm.

    Attributes:
        name: Its name.
        region: Its region.
        metrics: Metrics by the id that the expressions use.
        expressions: Metric math by id, in the order of the template.
        result: Id of the metric or expression that is compared.
        period_seconds: Length of a period.
        evaluation_periods: Number of latest periods that are looked at.
        datapoints_to_alarm: Number of them that must breach.
        threshold: What is compared with.
        comparison: ``ComparisonOperator`` of the alarm.
        treat_missing: ``TreatMissingData`` of the alarm.
        actions: ARNs of its alarm actions.
    """

    name: str
    region: str
    metrics: Mapping[str, MetricUse]
    expressions: Mapping[str, str]
    result: str
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    threshold: float
    comparison: str
    treat_missing: str
    actions: tuple[str, ...]


class AlarmState(StrEnum):
    """State of an alarm."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "Average": lambda values: sum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
    "Sum": sum,
}


def read_alarm(definition: Mapping[str, Any]) -> Alarm:
    """Read an alarm from what its template declares.

    Raises:
        ValueError: If it uses a statistic or comparison that is not known here.
    """
    properties = definition["Properties"]
    metrics: dict[str, MetricUse] = {}
    expressions: dict[str, str] = {}
    periods: set[int] = set()
    result = ""
    for query in properties.get("Metrics") or [_single(properties)]:
        if query.get("MetricStat"):
            use = query["MetricStat"]
            metrics[query["Id"]] = MetricUse(_metric_key(use["Metric"]), _statistic(use["Stat"]))
            periods.add(int(use["Period"]))
        else:
            expressions[query["Id"]] = query["Expression"]
            if query.get("Period"):
                periods.add(int(query["Period"]))
        if _is_true(query.get("ReturnData", True)):
            result = query["Id"]
    comparison = properties["ComparisonOperator"]
    if comparison not in COMPARISONS:
        raise ValueError(f"alarm {definition['AlarmName']}: {comparison} is not known here")
    evaluation_periods = int(properties["EvaluationPeriods"])
    return Alarm(
        name=definition["AlarmName"],
        region=definition["Region"],
        metrics=metrics,
        expressions=expressions,
        result=result,
        period_seconds=max(periods),
        evaluation_periods=evaluation_periods,
        datapoints_to_alarm=int(properties.get("DatapointsToAlarm") or evaluation_periods),
        threshold=float(properties["Threshold"]),
        comparison=comparison,
        treat_missing=properties.get("TreatMissingData") or "missing",
        actions=tuple(properties.get("AlarmActions") or ()),
    )


def datapoint(alarm: Alarm, samples: Mapping[MetricKey, Sequence[float]]) -> Value:
    """Return the value that an alarm compares in one period.

    Args:
        alarm: The alarm.
        samples: Values of the metrics within the period.
    """
    values: dict[str, Value] = {}
    for name, use in alarm.metrics.items():
        found = samples.get(use.key, ())
        values[name] = STATISTICS[use.statistic](found) if found else None
    for name, expression in alarm.expressions.items():
        values[name] = evaluate(expression, values)
    return values[alarm.result]


def state_of(alarm: Alarm, datapoints: Sequence[Value], previous: AlarmState) -> AlarmState:
    """Return the state of an alarm after its latest datapoints, oldest first."""
    breaches = COMPARISONS[alarm.comparison]
    latest = list(datapoints)[-alarm.evaluation_periods :]
    if all(value is None for value in latest):
        if alarm.treat_missing == "ignore":
            return previous
        if alarm.treat_missing == "missing":
            return AlarmState.INSUFFICIENT_DATA
    breaching = sum(
        alarm.treat_missing == "breaching" if value is None else breaches(value, alarm.threshold)
        for value in latest
    )
    return AlarmState.ALARM if breaching >= alarm.datapoints_to_alarm else AlarmState.OK


def scaled_capacity(
    policy: Mapping[str, Any], *, value: float, threshold: float, current: int
) -> int | None:
    """Return the capacity that a step scaling policy asks for, ``None`` when no step applies.

    Args:
        policy: ``StepScalingPolicyConfiguration`` of the policy.
        value: Value of the alarm's metric.
        threshold: Threshold of the alarm.
        current: Present capacity.
    """
    distance = value - threshold
    for step in policy["StepAdjustments"]:
        lower = _bound(step.get("MetricIntervalLowerBound"), -math.inf)
        upper = _bound(step.get("MetricIntervalUpperBound"), math.inf)
        # A bound towards the threshold belongs to the step, the one away from it does not.
        above = lower >= 0 and lower <= distance < upper
        below = upper <= 0 and lower < distance <= upper
        across = lower < 0 < upper and lower <= distance < upper
        if above or below or across:
            return _adjust(policy, float(step["ScalingAdjustment"]), current)
    return None


def _adjust(policy: Mapping[str, Any], adjustment: float, current: int) -> int:
    kind = policy["AdjustmentType"]
    if kind == "ExactCapacity":
        return int(adjustment)
    if kind == "ChangeInCapacity":
        return max(0, current + int(adjustment))
    change = current * adjustment / 100
    whole = math.trunc(change) if abs(change) >= 1 else int(math.copysign(1, change))
    least = int(policy.get("MinAdjustmentMagnitude") or 0)
    if abs(whole) < least:
        whole = int(math.copysign(least, adjustment))
    return max(0, current + whole)


def evaluate(expression: str, values: Mapping[str, Value]) -> Value:
    """Evaluate the part of metric math that scaling uses: arithmetic, FILL, IF, MAX, MIN, ABS.

    Raises:
        ValueError: If the expression uses anything else.
    """
    return _evaluate(ast.parse(expression, mode="eval").body, values)


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_RELATIONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _evaluate(node: ast.expr, values: Mapping[str, Value]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _evaluate(operand, values)
            return None if value is None else -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _both(_OPERATORS[type(op)], _evaluate(left, values), _evaluate(right, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _RELATIONS:
            return _both(_RELATIONS[type(op)], _evaluate(left, values), _evaluate(right, values))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name.upper(), arguments, values)
        case _:
            raise ValueError(f"metric math that is not known here: {ast.unparse(node)}")


def _both(operation: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    try:
        return float(operation(left, right))
    except ZeroDivisionError:
        return None


def _call(name: str, arguments: Sequence[ast.expr], values: Mapping[str, Value]) -> Value:
    if name in {"MAX", "MIN", "SUM"}:
        parts = arguments[0].elts if isinstance(arguments[0], ast.List) else arguments
        found = [value for part in parts if (value := _evaluate(part, values)) is not None]
        if not found:
            return None
        return max(found) if name == "MAX" else min(found) if name == "MIN" else sum(found)
    evaluated = [_evaluate(argument, values) for argument in arguments]
    match name, evaluated:
        case "FILL", [value, default]:
            return default if value is None else value
        case "IF", [condition, then, otherwise]:
            return None if condition is None else (then if condition else otherwise)
        case (("ABS" | "CEIL" | "FLOOR"), [value]):
            return None if value is None else float(_ROUNDING[name](value))
        case _:
            raise ValueError(f"metric math function that is not known here: {name}")


_ROUNDING: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
}


def _single(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return an alarm's one metric in the form of a metric query."""
    return {
        "Id": "metric",
        "MetricStat": {
            "Metric": {
                "Namespace": properties["Namespace"],
                "MetricName": properties["MetricName"],
                "Dimensions": properties.get("Dimensions") or [],
            },
            "Period": properties.get("Period", 60),
            "Stat": properties.get("Statistic") or "Average",
        },
    }


def _metric_key(metric: Mapping[str, Any]) -> MetricKey:
    dimensions = ((entry["Name"], entry["Value"]) for entry in metric.get("Dimensions") or [])
    return MetricKey(metric["Namespace"], metric["MetricName"], tuple(sorted(dimensions)))


def _statistic(name: str) -> str:
    if name not in STATISTICS:
        raise ValueError(f"the statistic {name!r} is not known here")
    return name


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _bound(value: Any, default: float) -> float:
    return default if value is None else float(value)
