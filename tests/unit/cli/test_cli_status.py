"""What a status says needs a person, and what things are called."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from media_platform.contract.outputs import StackPart
from mediactl.commands.status import screen
from mediactl.deployed import friendly_name
from mediactl.environment import AwsEnvironment
from mediactl.watching.region_status import (
    AlarmState,
    DeadLetterCount,
    EnvironmentStatus,
    Need,
    RegionStatus,
    ServiceState,
    StackState,
    VideoInFlight,
    needs_of,
)

NOW = "2026-11-26T05:00:00.000Z"
DEV = AwsEnvironment("dev", stage="dev", regions=("us-east-1",), app=Path())
PROD = AwsEnvironment("prod", stage="prod", regions=("us-east-1", "eu-west-1"), app=Path())
WELL = RegionStatus(
    region="us-east-1",
    stacks=[
        StackState(part=part, status="UPDATE_COMPLETE", deployed_at=NOW)
        for part in (StackPart.STORE, StackPart.MEDIA)
    ],
    services=[ServiceState(name="api", desired=2, running=2, pending=0, rollout="COMPLETED")],
)


def texts(*regions: RegionStatus) -> list[str]:
    return [need.text for need in needs_of(DEV, regions)]


def commands(*regions: RegionStatus) -> list[str | None]:
    return [need.command for need in needs_of(PROD, regions)]


def test_a_region_that_does_what_it_should_needs_nobody() -> None:
    assert texts(WELL) == []


@pytest.mark.parametrize(
    ("running", "pending", "rollout", "needs"),
    [
        (1, 0, "COMPLETED", ["1 of 2 tasks of api run"]),
        (1, 1, "COMPLETED", []),
        (1, 0, "IN_PROGRESS", []),
        (2, 0, "FAILED", ["2 of 2 tasks of api run, and its deployment failed"]),
    ],
    ids=["short", "starting", "being deployed", "failed"],
)
def test_a_service_needs_a_person_if_what_is_missing_does_not_come_by_itself(
    running: int, pending: int, rollout: str, needs: list[str]
) -> None:
    service = ServiceState(name="api", desired=2, running=running, pending=pending, rollout=rollout)
    assert texts(replace(WELL, services=[service])) == needs


def test_what_failed_for_good_and_alarms_need_a_person_and_a_region_is_named_among_several() -> (
    None
):
    troubled = replace(
        WELL,
        dead_letters=[DeadLetterCount(queue="jobs", messages=2)],
        alarms=[AlarmState(name="A", description="Workers fail; read their log", since=NOW)],
    )
    assert texts(troubled) == [
        "2 messages of jobs failed for good",
        f"alarm since {NOW}: Workers fail; read their log",
    ]
    assert commands(troubled) == [
        "mediactl dlq list -e prod --region us-east-1 --queue jobs",
        None,
    ]


def test_a_region_that_does_not_answer_may_be_taken_over_by_another() -> None:
    assert commands(WELL, RegionStatus(region="eu-west-1", reachable=False)) == [
        "mediactl region takeover eu-west-1 --by us-east-1 -e prod"
    ]


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_COMPLETE", "DELETE_FAILED"])
def test_a_stack_that_was_not_deployed_as_a_whole_needs_a_person(status: str) -> None:
    stacks = [replace(WELL.stacks[0], status=status), WELL.stacks[1]]
    assert texts(replace(WELL, stacks=stacks)) == [f"the Store stack is in {status}"]
    assert texts(replace(WELL, stacks=WELL.stacks[:1])) == ["not deployed: Media"]


def test_what_cloudfront_needs_may_stand_in_a_region_alone() -> None:
    edge = StackState(part=StackPart.EDGE, status="CREATE_COMPLETE", deployed_at=NOW)
    assert texts(RegionStatus(region="us-west-2", stacks=[edge])) == []


@pytest.mark.parametrize(
    ("logical_id", "name"),
    [
        ("ApiTaskLogs6F3008A9", "api"),
        ("ApiAdminTaskLogs66B700E7", "admin"),
        ("TranscodeWorkersTaskLogsC6F0EC41", "workers"),
        ("TranscodeLeftUploadsSweepLogs17900735", "left-uploads-sweep"),
        ("BucketEmptierLogsA31F1C0F", "bucket-emptier"),
    ],
)
def test_resources_are_called_what_their_constructs_are(logical_id: str, name: str) -> None:
    assert friendly_name(logical_id, "Logs", "Task") == name


def test_the_screen_fits_80_columns_and_keeps_commands_in_one_line() -> None:
    command = "mediactl dlq list -e an-environment-with-a-name --region us-east-1 --queue uploads"
    video = VideoInFlight(
        video_id="01a2163c-3759-7cd7-89d5-4bfdefeef015",
        tenant="a-tenant-with-a-long-name",
        status="PROCESSING",
        doing="encoding",
        progress=100,
        since=NOW,
        seconds=100_000,
    )
    found = EnvironmentStatus(
        environment="prod",
        stage="prod",
        base_url="https://video.example.com",
        asked_at="2026-11-26T07:00:00.000Z",
        regions=[replace(WELL, videos=[video], videos_in_flight=1)],
        needs=[Need(text="something", command=command)],
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(screen(found), crop=False)
    lines = console.export_text().splitlines()
    assert f"  {command}" in lines
    assert max(len(line) for line in lines if command not in line) <= 80
    assert any("Store 2 h ago" in line for line in lines)
    assert any("encoding 100 %" in line and "1 d" in line for line in lines)
