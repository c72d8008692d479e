"""``mediactl logs`` on the plane of the session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest
from command_line import Mediactl
from conftest import RunningPlane
from waiting import eventually

from media_platform.contract.ids import new_id
from mediactl.errors import USAGE

INTAKE, API = "uploads-intake", "api"


def ask_api(plane: RunningPlane, video_id: str) -> None:
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{plane.endpoints.edge_url}/api/videos/{video_id}")  # noqa: S310


def call_intake(plane: RunningPlane, video_id: str) -> None:
    """Call the function that takes uploads in, for one that nobody announced."""
    pages = plane.client("lambda").get_paginator("list_functions").paginate()
    name = next(
        one["FunctionName"]
        for page in pages
        for one in page["Functions"]
        if "UploadsIntake" in one["FunctionName"]
    )
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {
            "bucket": {"name": "b"},
            "object": {
                "key": f"raw/acme/ada/{video_id}.mp4",
                "version-id": "v",
                "size": 1,
                "sequencer": "1",
            },
        },
    }
    plane.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())


@pytest.fixture(scope="module")
def video_id(plane: RunningPlane) -> str:
    """A video of which the API logs something, then a function, then the API once more."""
    made = new_id()
    ask_api(plane, made)
    call_intake(plane, made)
    ask_api(plane, made)
    return made


def lines_of(mediactl: Mediactl, *arguments: str) -> list[dict[str, Any]]:
    answer = mediactl("logs", "--json", *arguments)
    assert answer.exit_code == 0, answer.stderr
    return answer.json_lines


def test_lines_of_a_video_come_from_all_services_in_order(
    mediactl: Mediactl, video_id: str
) -> None:
    def complete() -> list[dict[str, Any]] | None:
        found = lines_of(mediactl, "--video", video_id)
        return found if [line["service"] for line in found].count(API) == 2 else None

    lines = eventually(complete, "both requests are in the log")
    assert [line["service"] for line in lines] == [API, INTAKE, API]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert all(video_id in json.dumps(line) for line in lines)
    shown = mediactl("logs", "--video", video_id)
    assert len(shown.stdout.splitlines()) == 3


def test_lines_are_of_the_service_that_is_asked_for(mediactl: Mediactl, video_id: str) -> None:
    lines = lines_of(mediactl, "--service", "intake", "--since", "1h")
    assert {line["service"] for line in lines} == {INTAKE}
    told = lines_of(mediactl, "--service", "intake", "--since", "1h", "--all")
    assert any(line["message"].startswith("REPORT RequestId:") for line in told)
    assert not any(line["message"].startswith("REPORT RequestId:") for line in lines)


def test_a_stage_in_aws_is_read_from_cloudwatch_logs(as_in_aws: Mediactl, video_id: str) -> None:
    lines = lines_of(as_in_aws, "-e", "one-region", "--video", video_id)
    assert [line["service"] for line in lines] == [INTAKE]


def test_following_shows_what_comes_until_ctrl_c(
    mediactl: Mediactl, as_in_aws: Mediactl, plane: RunningPlane
) -> None:
    made = new_id()
    words = ("logs", "--follow", "--json", "--video", made)
    both = [
        subprocess.Popen(
            who.program(*words, *more),
            env={**os.environ, **who.variables()},
            stdout=subprocess.PIPE,
            text=True,
        )
        for who, more in ((mediactl, ()), (as_in_aws, ("-e", "one-region")))
    ]
    ask_api(plane, made)
    call_intake(plane, made)
    seen = []
    for process, number in zip(both, (2, 1), strict=True):
        assert process.stdout is not None
        seen.append([json.loads(process.stdout.readline())["service"] for _ in range(number)])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        process.stdout.close()
    assert [sorted(one) for one in seen] == [[API, INTAKE], [INTAKE]]


def test_what_nobody_logs_is_told(mediactl: Mediactl) -> None:
    answer = mediactl("logs", "--service", "nobody")
    assert (answer.exit_code, "workers" in answer.stderr) == (USAGE, True)
    assert mediactl("logs", "--video", "no-id").exit_code == USAGE
    silent = mediactl("logs", "--video", new_id())
    assert (silent.exit_code, silent.stdout) == (0, "")
    assert "no lines since" in silent.stderr
