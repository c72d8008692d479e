"""Metrics as log lines, from which CloudWatch makes metrics."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from media_platform.contract import embedded_metrics


def emit(stage: str, values: Mapping[str, float], **properties: str) -> None:
    """Write metrics of a stage, with properties that can be searched for but are no dimensions.

    Args:
        stage: Name of the stage, the one dimension.
        values: The metrics by name; their unit is part of the name.
        **properties: What else is known.
    """
    # One write a line, so that lines of two threads are never mixed.
    sys.stdout.write(f"{embedded_metrics.line(stage, values, properties=properties)}\n")
