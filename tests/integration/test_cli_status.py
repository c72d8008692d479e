"""``mediactl status`` on the plane of the session, and by the usual AWS variables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import Mediactl
from conftest import RunningPlane
from sample_videos import sample_video
from terminal import Terminal

from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput, stack_name
from media_platform.contract.run import Run, RunStatus
from media_platform.contract.video import Video, VideoStatus
from mediactl.environment import AwsEnvironment
from mediactl.errors import DEGRADED, NOT_FOUND, USAGE
from mediactl.local.aws import new_client
from mediactl.watching.region_status import status_of

QUEUES = [
    "express",
    "jobs",
    "scan-requests-content",
    "scan-verdicts-content",
    "webhook-deliveries",
    "webhook-events",
]


def status(mediactl: Mediactl, *arguments: str) -> dict[str, Any]:
    """Return a status, healthy or not: other tests of the session may have left something."""
    answer = mediactl("status", "--json", *arguments)
    assert answer.exit_code in {0, DEGRADED}, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    assert answer.exit_code == (DEGRADED if found["needs"] else 0)
    return found


@contextmanager
def stored_video(plane: RunningPlane, table_name: str, progress: int) -> Iterator[Video]:
    """A video that a worker seems to work on."""
    run_id = new_id()
    video = sample_video(
        home_region=plane.region, status=VideoStatus.PROCESSING, current_run=run_id
    )
    run = Run(
        video_id=video.video_id,
        run_id=run_id,
        status=RunStatus.RUNNING,
        started_at="2026-01-01T00:00:00.000Z",
        progress=progress,
    )
    dynamodb = plane.client("dynamodb")
    for item in (video.to_item(), run.to_item()):
        dynamodb.put_item(TableName=table_name, Item=item)
    try:
        yield video
    finally:
        for key in (
            table.video_key(video.video_id),
            table.run_key(video.video_id, run_id),
        ):
            dynamodb.delete_item(TableName=table_name, Key=key.to_wire())


def test_a_region_shows_what_runs_waits_and_was_deployed(
    mediactl: Mediactl, plane: RunningPlane
) -> None:
    (region,) = status(mediactl)["regions"]
    assert {one["name"]: one["running"] for one in region["services"]}["api"] == 1
    assert [one["name"] for one in region["queues"]] == QUEUES
    assert [one["part"] for one in region["stacks"]] == ["Store", "Media", "Edge"]
    shown = mediactl("status").stdout
    assert plane.endpoints.edge_url in shown
    assert all(f"{name} " in shown for name in ("api", "admin", "workers", *QUEUES))


def test_a_video_in_flight_is_shown_with_its_progress(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with stored_video(plane, outputs[StoreOutput.TABLE_NAME], 42) as video:
        (region,) = status(mediactl)["regions"]
        found = {one["video_id"]: one for one in region["videos"]}[video.video_id]
        assert (found["doing"], found["progress"]) == ("encoding", 42)
        assert found["since"] == "2026-01-01T00:00:00.000Z"
        assert region["videos_in_flight"] >= 1


def test_dead_letters_and_alarms_are_told_with_the_command_that_helps(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    sqs, cloudwatch = plane.client("sqs"), plane.client("cloudwatch")
    queue = json.loads(outputs[MediaOutput.DEAD_LETTER_QUEUE_URLS])["purges"]
    pages = cloudwatch.get_paginator("describe_alarms").paginate()
    alarms = {one["AlarmName"]: one for page in pages for one in page["MetricAlarms"]}
    told = next(name for name in alarms if "OldRunsDeadLettersNotEmpty" in name)
    scales = f"{stack_name('local', StackPart.MEDIA)}-Scales"
    cloudwatch.put_metric_alarm(
        AlarmName=scales,
        AlarmActions=[f"arn:aws:autoscaling:{plane.region}:000000000000:scalingPolicy:a:b"],
        MetricName="M",
        Namespace="N",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="LessThanThreshold",
    )
    sqs.purge_queue(QueueUrl=queue)
    sqs.send_message(QueueUrl=queue, MessageBody="{}")
    for alarm in (told, scales):
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    try:
        found = status(mediactl)
        needs = {need["text"]: need["command"] for need in found["needs"]}
        assert (
            needs["1 message of purges failed for good"]
            == "mediactl dlq list -e local --queue purges"
        )
        assert any(alarms[told]["AlarmDescription"] in text for text in needs)
        (region,) = found["regions"]
        assert told in {one["name"] for one in region["alarms"]}
        assert scales not in {one["name"] for one in region["alarms"]}
        shown = mediactl("status")
        assert (shown.exit_code, "what needs a person" in shown.stdout) == (DEGRADED, True)
    finally:
        sqs.purge_queue(QueueUrl=queue)
        cloudwatch.set_alarm_state(AlarmName=told, StateValue="OK", StateReason="a test")
        cloudwatch.delete_alarms(AlarmNames=[scales])


def test_a_stage_in_aws_is_asked_the_same_and_a_region_that_is_not_deployed_is_told(
    as_in_aws: Mediactl, plane: RunningPlane
) -> None:
    found = status(as_in_aws, "-e", "two-regions")
    assert [one["region"] for one in found["regions"]] == [plane.region, "eu-west-1"]
    assert found["base_url"] == plane.endpoints.edge_url
    needs = [(need["text"], need["command"]) for need in found["needs"]]
    assert (
        "eu-west-1: not deployed: Media, Store",
        "mediactl deploy -e two-regions",
    ) in needs
    (region,) = status(as_in_aws, "-e", "two-regions", "--region", plane.region)["regions"]
    assert region["replication"][0]["region"] == "eu-west-1"


class OneRegionIsLost(AwsEnvironment):
    """An environment of two regions, of which one answers nobody."""

    def _make_client(self, service: str, region: str) -> Any:
        url = self.emulator_url if region == self.home_region else "http://127.0.0.1:1"
        return new_client(url, service, region)

    emulator_url = ""


def test_a_region_that_is_lost_is_told_and_the_other_is_shown(plane: RunningPlane) -> None:
    regions = (plane.region, "eu-west-1")
    environment = OneRegionIsLost("prod", stage="local", regions=regions, app=Path())
    environment.emulator_url = plane.emulator.url
    found = status_of(environment, regions)
    assert [one.reachable for one in found.regions] == [True, False]
    assert found.regions[0].services
    assert f"mediactl region takeover eu-west-1 --by {plane.region} -e prod" in {
        need.command for need in found.needs
    }


def test_what_is_not_deployed_or_not_up_or_no_region_is_told_by_the_exit_code(
    as_in_aws: Mediactl,
) -> None:
    assert as_in_aws("status", "-e", "nowhere").exit_code == NOT_FOUND
    assert as_in_aws("status", "-e", "local-other").exit_code == NOT_FOUND
    answer = as_in_aws("status", "-e", "two-regions", "--region", "mars-1")
    assert answer.exit_code == USAGE
    assert "allowed are us-east-1, eu-west-1" in answer.stderr


def test_watching_prints_a_line_for_every_look_until_ctrl_c(mediactl: Mediactl) -> None:
    with subprocess.Popen(
        mediactl.program("status", "--watch", "1", "--json"),
        env={**os.environ, **mediactl.variables()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline())["asked_at"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert looks[0] < looks[1]
    assert (process.returncode in {0, DEGRADED}, errors) == (True, "")


def test_a_terminal_shows_the_screen_until_ctrl_c(mediactl: Mediactl) -> None:
    environment = {**os.environ, **mediactl.variables()}
    terminal = Terminal(mediactl.program("status", "--watch"), environment, rows=50)
    terminal.wait_for("person")
    terminal.press(b"\x03")
    assert terminal.end() in {0, DEGRADED}
    assert "Traceback" not in terminal.shown
