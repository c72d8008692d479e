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
    """Write metrics of a stage, with properties that can be searched for but are no dimensions.

    Args:
        stage: Name of the stage, the one dimension.
        values: The metrics by name; their unit is part of the name.
        **properties: What else is known.
    """
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Stage"]],
        "Metrics": [
            {"Name": name, "Unit": "Seconds" if name.endswith("Seconds") else "Count"}
            for name in values
        ],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [definition]},
        **properties,
        "Stage": stage,
        **values,
    }
    # One write a line, so that lines of two threads are never mixed.
    sys.stdout.write(json.dumps(line) + "\n")
