"""``mediactl top``: what workers logged, with what the table knows of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import Mediactl
from conftest import RunningPlane

from media_platform.contract import embedded_metrics, metrics, table
from media_platform.contract.ids import new_id
from media_platform.contract.outputs import StackPart, StoreOutput, stack_name
from media_platform.contract.run import Run, RunStatus
from mediactl.errors import USAGE


def run(cpu_seconds: float) -> Run:
    return Run(
        video_id=new_id(),
        run_id=new_id(),
        status=RunStatus.COMPLETE,
        started_at="2026-01-01T00:00:00.000Z",
        finished_at="2026-01-01T00:00:30.000Z",
        duration_seconds=120.0,
        cpu_seconds=cpu_seconds,
    )


def ready(of: Run, seconds: float) -> str:
    values = {
        metrics.JOBS_COMPLETED: 1,
        metrics.TIME_TO_READY_SECONDS: seconds,
        metrics.CPU_SECONDS: of.cpu_seconds or 0,
    }
    known = {"video_id": of.video_id, "run_id": of.run_id, "tenant": "acme"}
    return embedded_metrics.line("local", values, properties=known) or ""


@pytest.fixture(scope="module")
def runs(plane: RunningPlane, outputs: dict[str, str]) -> Iterator[tuple[Run, Run, Run]]:
    """A run that was slow, one that was costly, and one that failed and is gone."""
    slow, costly, failed = run(10.0), run(80.0), run(0.0)
    dynamodb, logs = plane.client("dynamodb"), plane.client("logs")
    name = outputs[StoreOutput.TABLE_NAME]
    for kept in (slow, costly):
        dynamodb.put_item(TableName=name, Item=kept.to_item())
    prefix = f"/aws/cloudformation/{stack_name('local', StackPart.MEDIA)}/TranscodeWorkersTaskLogs"
    groups = logs.describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]
    place = {"logGroupName": groups[0]["logGroupName"], "logStreamName": f"test/{new_id()}"}
    logs.create_log_stream(**place)
    failure = {"video_id": failed.video_id, "run_id": failed.run_id, "code": "not_a_video"}
    texts = [
        ready(slow, 200.0),
        ready(costly, 100.0),
        embedded_metrics.line("local", {metrics.JOBS_FAILED: 1}, properties=failure) or "",
        json.dumps({"message": f"a line that speaks of {metrics.JOBS_COMPLETED}"}),
        json.dumps({"message": "another line"}),
    ]
    now = int(time.time() * 1000)
    logs.put_log_events(logEvents=[{"timestamp": now, "message": one} for one in texts], **place)
    yield slow, costly, failed
    logs.delete_log_stream(**place)
    for kept in (slow, costly):
        key = table.run_key(kept.video_id, kept.run_id)
        dynamodb.delete_item(TableName=name, Key=key.to_wire())


def top(as_in_aws: Mediactl, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = as_in_aws("top", "-e", "one-region", "--json", *arguments).json
    return found


def test_the_slowest_and_the_costliest_come_first(
    as_in_aws: Mediactl, runs: tuple[Run, Run, Run]
) -> None:
    slow, costly, failed = runs
    found = top(as_in_aws)
    assert (found["ended"], found["failed"]) == (3, 1)
    assert [job["video_id"] for job in found["jobs"][:2]] == [slow.video_id, costly.video_id]
    assert top(as_in_aws, "--by", "cpu", "-n", "1")["jobs"] == [
        {
            "video_id": costly.video_id,
            "run_id": costly.run_id,
            "tenant": "acme",
            "region": "us-east-1",
            "ended_at": found["jobs"][1]["ended_at"],
            "failed": None,
            "seconds": 100.0,
            "work_seconds": 30.0,
            "cpu_seconds": 80.0,
            "duration_seconds": 120.0,
        }
    ]
    (gone,) = [job for job in found["jobs"] if job["video_id"] == failed.video_id]
    assert (gone["failed"], gone["work_seconds"]) == ("not_a_video", None)


def test_people_get_a_table_that_fits(as_in_aws: Mediactl, runs: tuple[Run, Run, Run]) -> None:
    shown = as_in_aws("top", "-e", "one-region").stdout.splitlines()
    assert max(map(len, shown)) <= 80
    assert "40.0 s" in next(line for line in shown if runs[1].video_id in line)
    assert shown[-1].startswith("3 ended since")


def test_what_ended_before_does_not_count(as_in_aws: Mediactl, runs: tuple[Run, Run, Run]) -> None:
    assert top(as_in_aws, "--since", "2090-01-01")["ended"] == 0
    assert as_in_aws("top", "-e", "one-region", "--since", "soon").exit_code == USAGE
