"""Metrics in the CloudWatch embedded metric format: log lines from which CloudWatch makes metrics.

What is emitted tells of something that is written in the table by then, under a condition that one
worker alone can meet; so repeats of a message add nothing. A worker that is killed in between takes
one with it: the numbers in the table are the exact ones.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from media_platform.contract import embedded_metrics


def emit(stage: str, values: Mapping[str, float], **properties: str) -> None:
    """Write metrics of a stage, with properties that can be searched for but are no dimensions.

    What is bound for the log (ids of video, run, part and trace) is a property, too.

    Args:
        stage: Name of the stage, the one dimension.
        values: The metrics by name; one that is no finite number is left out.
        **properties: What else is known.
    """
    known = {**structlog.contextvars.get_contextvars(), **properties}
    text = embedded_metrics.line(stage, values, properties=known)
    if text is not None:
        # It shares the lock of the log, so that lines of two threads are never mixed.
        structlog.WriteLogger(sys.stdout).msg(text)


def seconds_since(stamp: str) -> float:
    """Return the seconds since a stored time, 0 if it cannot be read or lies ahead."""
    try:
        since = datetime.fromisoformat(stamp)
    except ValueError:
        return 0.0
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return max(0.0, time.time() - since.timestamp())
