"""``mediactl deploy`` and what belongs to it, on an emulator that stands for an AWS account."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import Mediactl
from conftest import REPOSITORY, RunningPlane
from emulator import Emulator, running_emulator
from loopback_server import QuietHandler, serving
from terminal import Terminal

from mediactl.errors import DEGRADED, FAILED, INTERRUPTED, NOT_FOUND, REFUSED
from mediactl.local.aws import root_environment

APP = Path(__file__).with_name("stage_app")
FIRST, SECOND = "eu-west-1", "us-west-2"


class Account:
    """An AWS account with the stage ``dev`` of the smallest app, and a person who deploys it."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.app = folder / "app"
        shutil.copytree(APP, self.app)
        (self.app / "node_modules").symlink_to(REPOSITORY / "node_modules")
        settings = folder / "mediactl.toml"
        settings.write_text(
            "".join(
                f"[environments.{name}]\napp = {json.dumps(str(self.app))}\n"
                for name in ("dev", "prod")
            )
        )
        self.mediactl = Mediactl(
            folder, {"MEDIACTL_CONFIG": str(settings), **root_environment(emulator.endpoint)}
        )

    def change(self, **change: Any) -> None:
        """Change the app."""
        (self.app / "change.json").write_text(json.dumps(change))

    def commit(self, **change: Any) -> None:
        """Change the app, and commit it."""
        self.change(**change)
        git = ["git", "-C", str(self.app), "-c", "user.name=A", "-c", "user.email=a@b.example"]
        for words in (
            ["init", "--quiet"],
            ["add", "app.py", "cdk.json", "change.json"],
            ["commit", "-qm", "a"],
        ):
            subprocess.run([*git, *words], check=True)

    def stacks(self, region: str) -> dict[str, str]:
        """Return the status of every stack of the stage in a region."""
        described = self.emulator.client("cloudformation", region).describe_stacks()["Stacks"]
        return {
            stack["StackName"].removeprefix("MediaPlatform-dev-"): stack["StackStatus"]
            for stack in described
            if stack["StackName"].startswith("MediaPlatform-dev-")
        }


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield Account(emulator, tmp_path_factory.mktemp("person"))


def test_a_plane_is_deployed_to_as_it_is_brought_up_and_is_seen_to_work(
    mediactl: Mediactl, plane: RunningPlane
) -> None:
    planned = mediactl("deploy", "-e", "local", "--dry-run")
    assert planned.stdout == "mediactl local up -e local\n"
    done = mediactl("deploy", "-e", "local", "--smoke", "--json").json
    outputs = {one["stack"]: one["outputs"] for one in done["stacks"]}
    assert outputs == plane.endpoints.outputs
    assert [one["ok"] for one in done["reached"]] == [True, True]
    assert done["smoke"]["passed"]


@pytest.fixture
def deployed(account: Account) -> Account:
    """The account with the stage as it is without a change."""
    account.change()
    return account


def test_a_stage_is_bootstrapped_and_deployed_in_all_its_regions(
    account: Account,
) -> None:
    mediactl = account.mediactl
    refused = mediactl("deploy", "-e", "dev")
    assert (refused.exit_code, account.stacks(FIRST)) == (FAILED, {})
    assert f"{FIRST} is not bootstrapped" in refused.stderr
    assert "mediactl bootstrap -e dev" in refused.stderr

    made = mediactl("bootstrap", "-e", "dev", "--json").json
    assert [one["region"] for one in made["regions"] if one["command"]] == [FIRST, SECOND]
    again = mediactl("bootstrap", "-e", "dev", "--json").json
    assert [one["command"] for one in again["regions"]] == [None, None]
    assert all(one["version"] >= one["needed"] > 0 for one in again["regions"])

    planned = mediactl("deploy", "-e", "dev", "--dry-run")
    assert [line.split()[1] for line in planned.stdout.splitlines()] == [
        "synth", "deploy", "synth", "deploy"
    ]  # fmt: skip
    assert [f"joining={SECOND}" in line for line in planned.stdout.splitlines()] == [
        True, False, False, False
    ]  # fmt: skip
    assert account.stacks(FIRST) == {}

    deployed = mediactl("deploy", "-e", "dev", "--wait", "0", "--json")
    outputs = {(one["stack"], one["region"]): one["outputs"] for one in deployed.json["stacks"]}
    assert outputs["MediaPlatform-dev-Store", FIRST] == {"TableName": "videos-dev"}
    assert "deployment 1 of 2" in deployed.stderr
    assert f"Media-{SECOND}: deployed" in deployed.stderr
    assert set(account.stacks(FIRST)) == {"Store", "Media", "Edge"}
    assert set(account.stacks(SECOND)) == {"Store", "Media"}
    table = account.emulator.client("dynamodb", FIRST).describe_table(TableName="videos-dev")
    assert SECOND in {one["RegionName"] for one in table["Table"]["Replicas"]}


def test_the_difference_is_an_exit_code(deployed: Account) -> None:
    same = deployed.mediactl("diff", "-e", "dev", "--json")
    assert {one["change"] for one in same.json["stacks"]} == {"none"}
    deployed.change(visibility=60)
    other = deployed.mediactl("diff", "-e", "dev")
    assert other.exit_code == DEGRADED
    assert f"~ Media-{FIRST}/Jobs (AWS::SQS::Queue): VisibilityTimeout" in other.stdout
    assert "no data is lost" in other.stdout


def test_what_would_lose_data_needs_consent(deployed: Account) -> None:
    deployed.change(bucket="other")
    found = deployed.mediactl("diff", "-e", "dev", "--json")
    assert (found.exit_code, json.loads(found.stdout)["loses"]) == (DEGRADED, True)
    refused = deployed.mediactl("deploy", "-e", "dev", "--wait", "0")
    assert refused.exit_code == REFUSED
    assert f"Store-{FIRST}/Raw (AWS::S3::Bucket, BucketName)" in refused.stderr
    deployed.emulator.client("s3").head_bucket(Bucket=f"raw-dev-{FIRST}")


def test_a_failure_is_told_by_what_failed_first(deployed: Account) -> None:
    deployed.change(broken=SECOND, visibility=90)
    failed = deployed.mediactl("deploy", "-e", "dev", "--wait", "0")
    assert failed.exit_code == FAILED
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(
        f"error: Broken (AWS::SQS::Queue) of MediaPlatform-dev-Media in {SECOND} failed: Invalid"
    )
    assert "the stack is as it was before" in failed.stderr


class Refusing(QuietHandler):
    """Answers as both services do without a token."""

    def do_GET(self) -> None:  # noqa: N802  the name that the server calls
        """Answer whatever is asked."""
        self.answer(401, b'{"type": "unauthenticated"}')


def test_what_is_advised_where_services_do_not_answer_brings_them_back(deployed: Account) -> None:
    with serving(Refusing) as url:
        deployed.commit(url=url)
        assert deployed.mediactl("deploy", "-e", "dev").exit_code == 0
        deployed.commit(url="http://127.0.0.1:9")
        broken = deployed.mediactl("deploy", "-e", "dev", "--wait", "1", "--json")
        assert broken.exit_code == DEGRADED
        assert [one["ok"] for one in json.loads(broken.stdout)["reached"]] == [False, False]
        assert "API (http://127.0.0.1:9/api/videos: it takes no connection)" in broken.stderr
        hint = broken.stderr.partition("hint: ")[2]
        git, mediactl, _ = (shlex.split(words) for words in re.findall("`(.+?)`", hint))
        subprocess.run(git, check=True, capture_output=True)
        assert deployed.mediactl(*mediactl[1:]).exit_code == 0


def test_a_synthesis_that_is_interrupted_ends_what_it_started(deployed: Account) -> None:
    process = subprocess.Popen(
        deployed.mediactl.program("deploy", "-e", "dev", "--wait", "0"),
        env={**os.environ, **deployed.mediactl.variables()},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    told = []
    for line in process.stderr or ():
        told.append(line.strip())
        if line.startswith("synthesizing"):
            process.send_signal(signal.SIGINT)
    assert process.wait() == INTERRUPTED, told
    assert told[-1] == "interrupted"
    assert not [one for one in psutil.process_iter() if str(deployed.app) in _command_line(one)]


def test_a_terminal_shows_all_stacks_and_ctrl_c_what_goes_on(deployed: Account) -> None:
    deployed.change(visibility=120)
    terminal = Terminal(
        deployed.mediactl.program("deploy", "-e", "dev", "--wait", "0"),
        {**os.environ, **deployed.mediactl.variables()},
    )
    terminal.wait_for(f"Edge-{FIRST}   waits")
    terminal.press(b"\x03")
    assert terminal.end() == INTERRUPTED
    assert f"Edge-{FIRST}   waits" in terminal.shown
    assert "the CDK CLI was ended; CloudFormation changes no stack" in terminal.shown
    assert terminal.shown.rstrip().endswith("interrupted")
    assert not [one for one in psutil.process_iter() if str(deployed.app) in _command_line(one)]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_an_app_that_cannot_be_synthesized_is_told_in_a_line(deployed: Account) -> None:
    deployed.change(refused="stage 'dev': domain is missing; add one")
    answer = deployed.mediactl("synth", "-e", "dev")
    assert answer.exit_code == FAILED
    assert "cannot be synthesized: stage 'dev': domain is missing; add one\n" in answer.stderr
    assert "cdk.log" in answer.stderr


def test_without_node_or_app_the_remedy_is_told(deployed: Account, tmp_path: Path) -> None:
    answer = deployed.mediactl("synth", "-e", "dev", PATH=str(tmp_path))
    assert (answer.exit_code, answer.stdout) == (FAILED, "")
    assert "hint: install Node" in answer.stderr
    settings = tmp_path / "mediactl.toml"
    settings.write_text('[environments.qa]\nregions = ["eu-west-1"]\napp = "empty"\n')
    for command in ("deploy", "diff", "synth", "destroy", "bootstrap"):
        given = ["--yes"] if command == "destroy" else []
        answer = deployed.mediactl(command, "-e", "qa", *given, MEDIACTL_CONFIG=str(settings))
        assert (answer.exit_code, answer.stdout) == (FAILED, "")
        assert f"{tmp_path / 'empty'} holds no cdk.json" in answer.stderr


def test_destroying_needs_consent_and_leaves_nothing_that_is_not_kept(deployed: Account) -> None:
    mediactl = deployed.mediactl
    refused = mediactl("destroy", "-e", "dev")
    assert (refused.exit_code, len(deployed.stacks(FIRST))) == (REFUSED, 3)
    planned = mediactl("destroy", "-e", "dev", "--dry-run")
    assert planned.stdout.splitlines()[-1] == f"destroys MediaPlatform-dev-Store in {FIRST}"
    done = mediactl("destroy", "-e", "dev", "--yes", "--json")
    assert done.json["stacks"][-1] == f"MediaPlatform-dev-Store in {FIRST}"
    assert done.json["left"] == []
    assert (deployed.stacks(FIRST), deployed.stacks(SECOND)) == ({}, {})
    assert "DynamoDB may refuse to delete the table until" in done.stderr
    again = mediactl("destroy", "-e", "dev", "--yes")
    assert (again.exit_code, again.stdout) == (NOT_FOUND, "")


def test_what_a_protected_stage_keeps_is_told(deployed: Account) -> None:
    """``prod`` keeps its data, and is destroyed by its name only."""
    mediactl = deployed.mediactl
    assert mediactl("deploy", "-e", "prod", "--wait", "0").exit_code == 0
    assert mediactl("destroy", "-e", "prod", "--yes").exit_code == REFUSED
    done = mediactl("destroy", "-e", "prod", "--confirm", "prod", "--json").json
    kept = {(one["type"], one["id"]) for one in done["left"]}
    assert kept == {
        ("AWS::S3::Bucket", f"raw-prod-{FIRST}"),
        ("AWS::DynamoDB::GlobalTable", "videos-prod"),
    }
    deployed.emulator.client("s3").head_bucket(Bucket=f"raw-prod-{FIRST}")
