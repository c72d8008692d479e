"""Every example of every command's help does what it says, on the plane of the session."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Mediactl
from command_tree import examples
from conftest import RunningPlane
from mediactl_docs import commands

from media_platform.contract.ids import new_id
from media_platform.contract.outputs import MediaOutput
from mediactl.environment import Environment
from mediactl.errors import DEGRADED

ELSEWHERE = {
    "bootstrap": "test_cli_deploy.py",
    "costs budget": "test_stage_changes.py",
    "deploy": "test_cli_deploy.py",
    "destroy": "test_cli_deploy.py",
    "diff": "test_cli_deploy.py",
    "doctor": "test_cli_doctor.py",
    "drill": "test_two_regions.py",
    "keys rotate": "test_stage_changes.py",
    "local cut": "test_two_regions.py",
    "local down": "test_plane_lifecycle.py",
    "local rejoin": "test_two_regions.py",
    "local reset": "test_plane_lifecycle.py",
    "local up": "test_plane_lifecycle.py",
    "region add": "test_region_joins.py",
    "region plan": "test_region_joins.py",
    "region readmit": "test_two_regions.py",
    "region remove": "test_region_joins.py",
    "region replicate": "test_region_joins.py",
    "region takeover": "test_two_regions.py",
    "synth": "test_cli_deploy.py",
    "token login": "test_cli_token.py",
    "videos cancel": "test_cli_videos.py",
    "videos delete": "test_cli_videos.py",
}
"""Commands that this plane cannot show, and the test that runs them: it has one region, must stay
up, is not in AWS, nobody types at it, and its examples share one video, which is READY."""

ALL = commands()
EXAMPLES = [
    pytest.param(words, id=" ".join(words))
    for name, command in ALL.items()
    if name not in ELSEWHERE
    for words in examples(command)
]
USED_UP = {"MESSAGE"}
"""Words of which every example needs another one."""

WORD = re.compile(r"[A-Z][A-Z_]+")
"""A word of an example that stands for something of the reader's own."""


@pytest.fixture(scope="module")
def stands_for(
    plane: RunningPlane,
    outputs: dict[str, str],
    platform: Environment,
    mediactl: Mediactl,
    film: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], str]:
    """What the words of examples stand for, made when an example needs it."""
    folder = tmp_path_factory.mktemp("examples")

    def file() -> str:
        path = folder / "film.mp4"
        path.write_bytes(film)
        return str(path)

    def user() -> str:
        email = f"{new_id()}@example.com"
        assert mediactl("users", "create", email, "--no-invite").exit_code == 0
        return email

    def tenant() -> str:
        name = f"tenant-{new_id()}"
        quota = ("--videos", "9", "--stored-bytes", "9GB", "--uploads", "9")
        assert mediactl("tenants", "quota", name, *quota).exit_code == 0
        return name

    def video() -> str:
        return mediactl("videos", "upload", value("FILE"), "--wait").stdout.strip()

    def message() -> str:
        """Return the id of a dead letter: a turn that is called again, or can be dropped."""
        queue = json.loads(outputs[MediaOutput.DEAD_LETTER_QUEUE_URLS])["purges"]
        functions = plane.client("lambda").get_paginator("list_functions").paginate()
        purge = next(
            one["FunctionArn"]
            for page in functions
            for one in page["Functions"]
            if "OldRunsPurge" in one["FunctionName"]
        )
        sent = plane.client("sqs").send_message(
            QueueUrl=queue,
            MessageBody="{}",
            MessageAttributes={"TARGET_ARN": {"DataType": "String", "StringValue": purge}},
        )
        return str(sent["MessageId"])

    makers: dict[str, Callable[[], str]] = {
        "FILE": file,
        "FOLDER": lambda: str(tmp_path_factory.mktemp("folder")),
        "MESSAGE": message,
        "REGION": lambda: plane.region,
        "TENANT": tenant,
        "USER": user,
        "VIDEO": video,
    }
    made: dict[str, str] = {}

    def value(word: str) -> str:
        if word not in made or word in USED_UP:
            made[word] = makers[word]()
        return made[word]

    return value


@pytest.mark.parametrize("words", EXAMPLES)
def test_an_example_works(
    words: list[str], mediactl: Mediactl, stands_for: Callable[[str], str]
) -> None:
    real = [stands_for(word) if WORD.fullmatch(word) else word for word in words]
    answer = mediactl(*real)
    # What other tests left on the plane may need a person, which is found well, too.
    assert answer.exit_code in {0, DEGRADED}, (
        f"mediactl {shlex.join(real)}\n{answer.stderr}{answer.stdout}"
    )


def test_what_is_shown_elsewhere_is_a_command_that_another_test_runs() -> None:
    for name, file in ELSEWHERE.items():
        assert name in ALL
        text = Path(__file__).with_name(file).read_text()
        assert re.search(rf"\b{name.split()[-1]}\b", text), f"{file} does not run `{name}`"
