"""Alarms on metric math, and the capacity that step scaling makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from mediactl.local.runner.alarms import (
    AlarmState,
    datapoint,
    evaluate,
    read_alarm,
    scaled_capacity,
    state_of,
)
from mediactl.local.runner.scaling import may_scale


def metric(name: str, metric_name: str) -> dict[str, Any]:
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/SQS",
                "MetricName": metric_name,
                "Dimensions": [{"Name": "QueueName", "Value": "jobs"}],
            },
            "Period": 60,
            "Stat": "Maximum",
        },
        "ReturnData": False,
    }


def definition(**properties: Any) -> dict[str, Any]:
    return {
        "AlarmName": "backlog",
        "Region": "us-east-1",
        "Properties": {
            "AlarmActions": ["arn:policy"],
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "EvaluationPeriods": 3,
            "DatapointsToAlarm": 2,
            "Threshold": 1,
            "Metrics": [
                {"Id": "sum", "Expression": "visible + inflight", "ReturnData": True},
                metric("visible", "ApproximateNumberOfMessagesVisible"),
                metric("inflight", "ApproximateNumberOfMessagesNotVisible"),
            ],
            **properties,
        },
    }


def test_adds_visible_and_in_flight_messages() -> None:
    alarm = read_alarm(definition())
    visible, in_flight = (alarm.metrics[name].key for name in ("visible", "inflight"))
    assert datapoint(alarm, {visible: [1, 4, 2], in_flight: [0, 3]}) == 7
    assert datapoint(alarm, {visible: [1]}) is None


def test_reads_an_alarm_on_one_metric() -> None:
    simple = definition(
        Metrics=None,
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Statistic="Sum",
        Period=300,
        DatapointsToAlarm=None,
    )
    alarm = read_alarm(simple)
    assert (alarm.period_seconds, alarm.datapoints_to_alarm) == (300, 3)
    (use,) = alarm.metrics.values()
    assert datapoint(alarm, {use.key: [1, 2]}) == 3


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="GreaterThanUpperThreshold"):
        read_alarm(definition(ComparisonOperator="GreaterThanUpperThreshold"))


@pytest.mark.parametrize(
    ("points", "missing", "expected"),
    [
        ([0.0, 1.0, 2.0], "missing", AlarmState.ALARM),
        ([0.0, 0.0, 2.0], "missing", AlarmState.OK),
        ([9.0, 9.0, 0.0, 0.0, 0.0], "missing", AlarmState.OK),
        ([None, None, None], "missing", AlarmState.INSUFFICIENT_DATA),
        ([None, None, None], "breaching", AlarmState.ALARM),
        ([None, None, None], "notBreaching", AlarmState.OK),
        ([None, None, None], "ignore", AlarmState.ALARM),
        ([None, 1.0, 1.0], "missing", AlarmState.ALARM),
        ([None, None, 1.0], "breaching", AlarmState.ALARM),
    ],
)
def test_m_of_n_datapoints_decide(
    points: list[float | None], missing: str, expected: AlarmState
) -> None:
    alarm = read_alarm(definition(TreatMissingData=missing))
    assert state_of(alarm, points, AlarmState.ALARM) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b * 2", 8.0),
        ("-(a - b) / 4", 0.25),
        ("a / 0", None),
        ("a + missing", None),
        ("FILL(missing, 0) + a", 2.0),
        ("MAX([a, b])", 3.0),
        ("MIN([a, missing])", 2.0),
        ("SUM([a, b])", 5.0),
        ("IF(a > b, 1, 0)", 0.0),
        ("CEIL(b / a)", 2.0),
        ("FLOOR(b / a)", 1.0),
        ("ABS(a - b)", 1.0),
    ],
)
def test_metric_math(expression: str, expected: float | None) -> None:
    assert evaluate(expression, {"a": 2.0, "b": 3.0, "missing": None}) == expected


@pytest.mark.parametrize("expression", ["SEARCH('x')", "a.b", "[a, b]", "a if b else c", "'text'"])
def test_other_math_is_refused_by_name(expression: str) -> None:
    with pytest.raises(ValueError, match="not known here"):
        evaluate(expression, {"a": 1.0, "b": 1.0})


UP = {
    "AdjustmentType": "ExactCapacity",
    "StepAdjustments": [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 9, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 9, "ScalingAdjustment": 4},
    ],
}
DOWN = {
    "AdjustmentType": "ExactCapacity",
    "StepAdjustments": [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": 0}],
}


@pytest.mark.parametrize(
    ("policy", "value", "threshold", "expected"),
    [
        (UP, 1, 1, 1),
        (UP, 9.9, 1, 1),
        (UP, 10, 1, 4),
        (UP, 1000, 1, 4),
        (UP, 0, 1, None),
        (DOWN, 0, 0, 0),
        (DOWN, 1, 0, None),
    ],
)
def test_exact_steps(
    policy: dict[str, Any], value: float, threshold: float, expected: int | None
) -> None:
    assert scaled_capacity(policy, value=value, threshold=threshold, current=2) == expected


def test_relative_steps() -> None:
    step = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 50}]
    percent = {"AdjustmentType": "PercentChangeInCapacity", "StepAdjustments": step}
    assert scaled_capacity(percent, value=5, threshold=5, current=10) == 15
    least = {**percent, "MinAdjustmentMagnitude": 3}
    assert scaled_capacity(least, value=5, threshold=5, current=2) == 5
    away = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -3}],
    }
    assert scaled_capacity(away, value=0, threshold=1, current=2) == 0


@pytest.mark.parametrize(
    ("current", "wanted", "suspended", "cooling", "expected"),
    [
        (0, 2, {}, True, True),
        (2, 0, {}, True, False),
        (2, 0, {}, False, True),
        (2, 2, {}, False, False),
        (0, 2, {"DynamicScalingOutSuspended": True}, False, False),
        (2, 0, {"DynamicScalingInSuspended": True}, False, False),
    ],
)
def test_cooldown_and_suspension(
    *, current: int, wanted: int, suspended: dict[str, bool], cooling: bool, expected: bool
) -> None:
    assert may_scale(current, wanted, suspended=suspended, cooling=cooling) is expected
