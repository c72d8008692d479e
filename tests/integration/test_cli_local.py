"""``mediactl local`` on the plane of the session."""

from __future__ import annotations

import json

from command_line import Mediactl
from conftest import RunningPlane

from media_platform.contract.outputs import MediaOutput
from mediactl.environment import load_environment
from mediactl.errors import NOT_FOUND, USAGE


def test_status_shows_the_plane_of_the_environment(mediactl: Mediactl, plane: RunningPlane) -> None:
    shown = mediactl("local", "status", "--json").json
    assert shown["healthy"]
    assert shown["endpoints"]["edge_url"] == plane.endpoints.edge_url
    assert "healthy" in mediactl("local", "status").stdout


def test_a_plane_that_is_not_up_is_told_by_the_exit_code(mediactl: Mediactl) -> None:
    answer = mediactl("local", "status", "-e", "local-other", "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["up"]) == (NOT_FOUND, False)


def test_what_is_in_aws_is_no_plane(mediactl: Mediactl) -> None:
    answer = mediactl("local", "status", "-e", "prod")
    assert answer.exit_code == USAGE
    assert "prod" in answer.stderr


def test_an_environment_knows_the_stage_the_regions_and_the_outputs_of_its_plane(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with mediactl.settings():
        environment = load_environment("local")
    assert (environment.stage, environment.regions) == ("local", tuple(plane.endpoints.regions))
    assert environment.base_url == plane.endpoints.edge_url
    wanted = MediaOutput.USER_POOL_ID
    assert environment.output(wanted) == outputs[wanted]


def test_logs_and_calls_are_lines_of_json_for_programs(mediactl: Mediactl) -> None:
    lines = mediactl("local", "logs", "--service", "emulator", "-n", "2", "--json").json_lines
    assert [line["log"] for line in lines] == ["emulator", "emulator"]
    calls = mediactl("local", "calls", "--json").json
    assert all(call["allowed"] for call in calls)
