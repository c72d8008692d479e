"""``mediactl local``: help, exit codes, errors with a hint, and what is printed where."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mediactl.errors import NOT_FOUND, CommandError
from mediactl.local.aws import Emulator
from mediactl.local.deploy import Deployed
from mediactl.local.plane import Endpoints, Plane
from mediactl.local.recorded_calls import read_calls
from mediactl.local.runner_address import RUNNER_FILE, RunnerAddress
from mediactl.local.state import StateFolder, read_state, write_json
from mediactl.main import cli


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mediactl.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )


def test_status_of_nothing_says_so_by_its_exit_code(tmp_path: Path) -> None:
    done = run("local", "status", "--json", "--state-dir", str(tmp_path / "none"))
    assert done.returncode == NOT_FOUND
    assert json.loads(done.stdout)["up"] is False


def test_down_of_nothing_is_no_error_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("local", "down", "--state-dir", str(tmp_path / "none"))
    assert done.returncode == 0
    assert done.stdout == ""
    assert "nothing was running" in done.stderr


def test_up_outside_of_an_app_tells_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mediactl.main", "local", "up"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert "holds no cdk.json" in done.stderr
    assert "hint: run this in the folder of a CDK app" in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_of_an_unknown_service_name_the_known_ones(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    state.log_file("Stage-ApiService").write_text("one\ntwo\nthree\n")
    shown = CliRunner().invoke(
        cli, ["local", "logs", "--state-dir", str(tmp_path), "--service", "api", "-n", "2"]
    )
    assert shown.output.splitlines() == [
        "Stage-ApiService | two",
        "Stage-ApiService | three",
    ]
    done = run("local", "logs", "--state-dir", str(tmp_path), "--service", "nobody")
    assert done.returncode == NOT_FOUND
    assert "Stage-ApiService" in done.stderr


def test_calls_are_read_filtered_and_printed_once(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    call = {
        "time": time.time(),
        "role": "Api",
        "action": "s3:GetObject",
        "resource": "arn:aws:s3:::b/k",
        "region": "us-east-1",
        "allowed": True,
    }
    lines = [call, call, {**call, "role": "Worker", "allowed": False}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # The emulator may be in the middle of a line.
    state.calls_file.write_text(text + '{"time": 1')
    assert len(list(read_calls(state.calls_file))) == 3
    assert not list(read_calls(state.calls_file, since=time.time() + 60))
    shown = CliRunner().invoke(cli, ["local", "calls", "--state-dir", str(tmp_path)])
    assert shown.output.splitlines() == [
        "allowed Api s3:GetObject arn:aws:s3:::b/k",
        "DENIED  Worker s3:GetObject arn:aws:s3:::b/k",
    ]
    denied = CliRunner().invoke(
        cli, ["local", "calls", "--state-dir", str(tmp_path), "--denied", "--json"]
    )
    assert [found["role"] for found in json.loads(denied.output)] == ["Worker"]


def test_calls_on_objects_are_shown_by_folder_and_none_is_said(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    call = {"time": 1.0, "role": "Api", "action": "s3:GetObject", "region": "r", "allowed": True}
    arns = [
        "arn:aws:s3:::b/media/acme/1/v360/1.m4s",
        "arn:aws:s3:::b/media/acme/2",
        "arn:aws:s3:::b",
        "arn:aws:dynamodb:r:0:table/t/index/i/x",
    ]
    lines = [json.dumps({**call, "resource": arn}) + "\n" for arn in arns]
    state.calls_file.write_text("".join(lines))
    shown = run("local", "calls", "--state-dir", str(tmp_path))
    assert [line.split()[-1] for line in shown.stdout.splitlines()] == [
        "arn:aws:dynamodb:r:0:table/t/index/i/x",
        "arn:aws:s3:::b",
        "arn:aws:s3:::b/media/acme/*",
    ]
    each = run("local", "calls", "--json", "--state-dir", str(tmp_path))
    assert sorted(found["resource"] for found in json.loads(each.stdout)) == sorted(arns)
    none = run("local", "calls", "--denied", "--state-dir", str(tmp_path))
    assert (none.stdout, none.stderr) == ("", "no calls\n")


def test_two_commands_never_change_a_plane_at_once(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path), StateFolder(tmp_path)
    with first.locked(), pytest.raises(CommandError, match="another mediactl"), second.locked():
        pass
    with second.locked():
        pass


def test_state_files_are_private_and_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "runner.json"
    write_json(file, {"port": 1, "of a later version": 2})
    assert file.stat().st_mode & 0o077 == 0
    assert read_state(file, RunnerAddress) == RunnerAddress(port=1)
    assert [path.name for path in tmp_path.iterdir()] == ["runner.json"]


def test_a_new_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "new")
    state.create()
    assert state.root.stat().st_mode & 0o077 == 0


WRONG = ["", "{half", "null", "[]", "{}", '{"port": "5"}', '{"edge_url": 1}', '{"url": 5}']


@pytest.mark.parametrize("text", WRONG)
def test_a_state_file_of_another_shape_counts_as_none(tmp_path: Path, text: str) -> None:
    state = StateFolder(tmp_path)
    for file, kind in (
        (state.plane_file, Endpoints),
        (state.emulator_file, Emulator),
        (state.deployed_file, Deployed),
        (state.root / RUNNER_FILE, RunnerAddress),
    ):
        file.write_text(text)
        # What was deployed when nothing is known: nothing.
        assert read_state(file, kind) in (None, Deployed())
    found = Plane(tmp_path).status()
    assert (found.up, found.endpoints) == (False, None)
