"""Many values of a metric in few, and lines that CloudWatch reads."""

from __future__ import annotations

import json
import math
import random
from itertools import accumulate
from typing import Any

import pytest

from media_platform.contract.embedded_metrics import Distribution, line


def written(*values: float) -> dict[str, Any]:
    taken = Distribution()
    for value in values:
        taken.add(value)
    return json.loads(json.dumps(taken.to_json()))  # type: ignore[no-any-return]


def percentile(content: dict[str, Any], share: float) -> float:
    """Return a percentile as CloudWatch computes it from values and counts."""
    for value, count in zip(content["Values"], accumulate(content["Counts"]), strict=True):
        if count >= share * content["Count"]:
            return float(value)
    raise AssertionError(content)


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_right_to_six_per_cent_and_sums_exactly(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed makes a failure come again
    values = sorted(dice.lognormvariate(-5, 1) for _ in range(5000))
    content = written(*values)
    assert len(content["Values"]) == len(content["Counts"]) <= 100
    assert content["Values"] == sorted(content["Values"])
    assert content["Count"] == sum(content["Counts"]) == len(values)
    assert math.isclose(content["Sum"], sum(values))
    assert (content["Min"], content["Max"]) == (values[0], values[-1])
    for share in (0.01, 0.5, 0.99):
        exact = values[math.ceil(share * len(values)) - 1]
        assert abs(percentile(content, share) / exact - 1) < 0.06


def test_of_too_many_different_values_the_largest_are_told_apart() -> None:
    content = written(0.0, *(2.0**power for power in range(-19, 120)))
    assert len(content["Values"]) == 100
    assert content["Count"] == sum(content["Counts"]) == 140
    assert math.isclose(content["Values"][-1], 2.0**119)


def test_a_line_names_its_dimensions_and_leaves_out_what_is_no_number() -> None:
    empty, taken = Distribution(), Distribution()
    taken.add(0.5)
    text = line(
        "test",
        {"ASeconds": taken, "BSeconds": empty, "C": math.nan, "DRatio": 0.5, "BytesE": 1},
        dimensions={"Route": "read"},
        properties={"task": "x"},
    )
    assert text is not None
    content = json.loads(text)
    (directive,) = content["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Stage", "Route"]]
    assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == {
        "ASeconds": "Seconds",
        "DRatio": "None",
        "BytesE": "Bytes",
    }
    assert (content["Stage"], content["Route"], content["task"]) == ("test", "read", "x")
    assert line("test", {"BSeconds": empty, "C": math.inf}) is None
