"""The CloudWatch embedded metric format: log lines from which CloudWatch makes metrics.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping

from media_platform.contract.metrics import NAMESPACE

STAGE = "Stage"
"""The dimension that all metrics have."""

ROUTE = "Route"
"""Dimension: class of a route."""

STATUS = "Status"
"""Dimension: class of a status, e.g. ``2xx``."""

SERVICE = "Service"
"""Dimension: AWS service that was called, e.g. ``DynamoDB``."""

_BUCKETS_OF_A_DOUBLING = 6
_MOST_VALUES = 100
"""Most members of an array of values."""


class Distribution:
    """Many values of one metric as few: each is rounded to one of six between it and its double.

    So percentiles are right to 6 %, however many values there are; sum and number are exact.
    """

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._sum = 0.0
        self._least = math.inf
        self._most = 0.0

    def add(self, value: float) -> None:
        """Add a value, which is not negative."""
        self._buckets[_bucket(value)] += 1
        self._sum += value
        self._least = min(self._least, value)
        self._most = max(self._most, value)

    @property
    def count(self) -> int:
        """Number of values."""
        return self._buckets.total()

    def to_json(self) -> dict[str, object]:
        """Return it as the format has it: values with their counts, and what they sum up to.

        Source: the exporter of the AWS Distro for OpenTelemetry for this format, which writes
        histograms so.
        """
        kept = sorted(self._buckets.items())
        # Of more than fit, the smallest stand together, since the largest are what one looks at.
        while len(kept) > _MOST_VALUES:
            (_, fewer), (bucket, more) = kept[:2]
            kept[:2] = [(bucket, fewer + more)]
        return {
            "Values": [round(_middle(bucket), 9) for bucket, _ in kept],
            "Counts": [count for _, count in kept],
            "Min": self._least if kept else 0.0,
            "Max": self._most,
            "Count": self.count,
            "Sum": self._sum,
        }


def line(
    stage: str,
    values: Mapping[str, float | Distribution],
    *,
    dimensions: Mapping[str, str] | None = None,
    properties: Mapping[str, object] | None = None,
) -> str | None:
    """Return metrics of a stage as one line of JSON, or ``None`` if there is none.

    Args:
        stage: Name of the stage.
        values: The metrics by name; one that is no finite number or has no values is left out.
        dimensions: Dimensions beside the stage. Default: none.
        properties: What else is known: it can be searched for, but is no dimension.
    """
    written: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Distribution):
            if value.count:
                written[name] = value.to_json()
        elif math.isfinite(value):
            written[name] = value
    if not written:
        return None
    more = dict(dimensions or {})
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [[STAGE, *more]],
        "Metrics": [{"Name": name, "Unit": _unit(name)} for name in written],
    }
    return json.dumps(
        {
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [definition]},
            **(properties or {}),
            **more,
            STAGE: stage,
            **written,
        }
    )


def _bucket(value: float) -> int:
    smallest = 1e-6
    return round(math.log2(max(value, smallest)) * _BUCKETS_OF_A_DOUBLING)


def _middle(bucket: int) -> float:
    return float(2 ** (bucket / _BUCKETS_OF_A_DOUBLING))


def _unit(name: str) -> str:
    if name.endswith("Seconds"):
        return "Seconds"
    if name.startswith("Bytes"):
        return "Bytes"
    return "None" if name.endswith("Ratio") else "Count"
