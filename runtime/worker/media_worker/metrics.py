"""Metrics in the CloudWatch embedded metric format: log lines from which CloudWatch makes metrics.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from media_platform.contract.metrics import NAMESPACE


def emit(stage: str, values: Mapping[str, float], **properties: str) -> None:
    """Write metrics of a stage, with properties that can be searched for but are no dimensions."""
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Stage"]],
        "Metrics": [{"Name": name, "Unit": _unit(name)} for name in values],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [definition]},
        "Stage": stage,
        **values,
        **properties,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def seconds_since(stamp: str) -> float:
    """Return the seconds since a stored time, 0 if it cannot be read or lies ahead."""
    try:
        since = datetime.fromisoformat(stamp)
    except ValueError:
        return 0.0
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return max(0.0, time.time() - since.timestamp())


def _unit(name: str) -> str:
    if name.endswith("Seconds"):
        return "Seconds"
    if name.startswith("Bytes"):
        return "Bytes"
    return "None" if name.endswith("Ratio") else "Count"
