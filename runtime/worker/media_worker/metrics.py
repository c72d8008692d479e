"""Metrics in the CloudWatch embedded metric format: log lines from which CloudWatch makes metrics.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

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


def _unit(name: str) -> str:
    if name.endswith("Seconds"):
        return "Seconds"
    return "None" if name.endswith("Ratio") else "Count"
