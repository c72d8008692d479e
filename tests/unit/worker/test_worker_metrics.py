"""Metrics are valid in the embedded metric format, and have sensible units."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from media_platform.contract import metrics as names
from media_worker.metrics import emit, seconds_since

UNITS = {
    names.JOBS_COMPLETED: "Count",
    names.JOBS_FAILED: "Count",
    names.TRANSCODES_HELD_BACK: "Count",
    names.QUEUE_WAIT_SECONDS: "Seconds",
    names.CHUNK_WAIT_SECONDS: "Seconds",
    names.TIME_TO_PLAYABLE_SECONDS: "Seconds",
    names.TIME_TO_READY_SECONDS: "Seconds",
    names.ENCODE_SPEED_RATIO: "None",
    names.CHUNKS_COMPLETED: "Count",
    names.CHUNK_RETRIES: "Count",
    names.BYTES_IN: "Bytes",
    names.BYTES_OUT: "Bytes",
    names.CPU_SECONDS: "Seconds",
    names.API_LATENCY_SECONDS: "Seconds",
    names.API_IN_FLIGHT: "Count",
    names.API_REFUSED: "Count",
    names.CALL_SECONDS: "Seconds",
    names.CALL_ERRORS: "Count",
    names.CACHE_HIT_RATIO: "None",
    names.PLAYBACK_GRANTS: "Count",
    names.EVENTS_WRITTEN: "Count",
    names.WEBHOOK_ATTEMPTS_FAILED: "Count",
    names.WEBHOOK_DELAY_SECONDS: "Seconds",
    names.WEBHOOKS_DELIVERED: "Count",
    names.WEBHOOKS_GIVEN_UP: "Count",
}
ALL = {name: number + 0.5 for number, name in enumerate(UNITS)}


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines that were written; none may hold what JSON does not know."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def check_format(line: dict[str, Any]) -> None:
    """Hold a line against the rules of the format.

    Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format", with the JSON
    schema at its end.
    """
    head = line["_aws"]
    assert type(head["Timestamp"]) is int
    assert abs(head["Timestamp"] - time.time() * 1000) < 3_600_000
    assert head["CloudWatchMetrics"]
    for directive in head["CloudWatchMetrics"]:
        assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        assert directive["Namespace"].strip() == directive["Namespace"]
        assert directive["Dimensions"]
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 30
            for name in dimensions:
                assert 1 <= len(name) <= 250
                assert not name.startswith(":")
                assert isinstance(line[name], str)
                assert 1 <= len(line[name]) <= 1024
        metrics = directive["Metrics"]
        assert 1 <= len(metrics) <= 100
        assert len({metric["Name"] for metric in metrics}) == len(metrics)
        for metric in metrics:
            assert metric.keys() <= {"Name", "Unit", "StorageResolution"}
            assert 1 <= len(metric["Name"]) <= 1024
            assert metric["Unit"] in {"Seconds", "Bytes", "Count", "None"}
            value = line[metric["Name"]]
            assert type(value) in {int, float}
            assert math.isfinite(value)


def test_every_metric_has_a_unit_here() -> None:
    constants = {value for name, value in vars(names).items() if name.isupper()}
    assert constants - {names.NAMESPACE} == UNITS.keys()


def test_lines_are_in_the_format(capsys: pytest.CaptureFixture[str]) -> None:
    emit("prod", ALL, video_id="v", run_id="r")
    (line,) = emitted(capsys)
    check_format(line)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == names.NAMESPACE
    assert directive["Dimensions"] == [["Stage"]]
    assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == UNITS
    assert {name: line[name] for name in ALL} == ALL
    assert (line["Stage"], line["video_id"], line["run_id"]) == ("prod", "v", "r")


def test_ids_that_are_bound_for_the_log_are_properties(capsys: pytest.CaptureFixture[str]) -> None:
    with bound_contextvars(part="sound", trace_id="t", video_id="other", Stage="other"):
        emit("prod", {names.BYTES_IN: 1}, video_id="v")
    (line,) = emitted(capsys)
    check_format(line)
    assert (line["part"], line["trace_id"], line["video_id"]) == ("sound", "t", "v")
    assert line["Stage"] == "prod"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_left_out(capsys: pytest.CaptureFixture[str], value: float) -> None:
    emit("prod", {names.ENCODE_SPEED_RATIO: value, names.BYTES_IN: 1})
    emit("prod", {names.ENCODE_SPEED_RATIO: value})
    (line,) = emitted(capsys)
    check_format(line)
    assert names.ENCODE_SPEED_RATIO not in line


@pytest.mark.parametrize("stamp", ["", "yesterday", "2999-01-01T00:00:00.000Z", "2999-01-01"])
def test_time_that_cannot_be_or_lies_ahead_is_no_wait(stamp: str) -> None:
    assert seconds_since(stamp) == 0.0
