"""A region that is lost, or has nothing yet, is named; what the others have is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from regions_server import aws

from media_platform.contract.ids import new_id
from mediactl import aws_calls, environment, main
from mediactl.asking import ask_regions
from mediactl.environment import AwsEnvironment, load_environment
from mediactl.errors import DEGRADED, FAILED, NOT_FOUND, CommandError
from mediactl.limits import Limits

HOME, OTHER = "us-east-1", "eu-west-1"
ONCE = Limits(answer_seconds=60, attempts=1)
"""Who ends a connection is not asked again; tests of limits are elsewhere."""
SINCE = ("--since", "2h")
COMMANDS = [
    ("dlq", "list"),
    ("dlq", "redrive", "--all"),
    ("dlq", "redrive", "--all", "--dry-run"),
    ("dlq", "drop", "--all", "--queue", "jobs", "--yes"),
    ("dlq", "drop", "--all", "--queue", "jobs", "--dry-run"),
    ("top",),
    ("events", "replay", *SINCE, "--dry-run"),
    ("events", "replay", new_id(), "--dry-run"),
    ("costs", "list"),
    ("costs", "breaker"),
]
"""Commands that look at every region, and print one object."""


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody with credentials for an environment of two regions."""
    Path("mediactl.toml").write_text(
        f'[environments.cloud]\nregions = ["{HOME}", "{OTHER}"]\nprotected = false\n'
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(environment, "AWS", ONCE)
    monkeypatch.setattr(aws_calls, "_told", set())


def cloud() -> AwsEnvironment:
    found = load_environment("cloud")
    assert isinstance(found, AwsEnvironment)
    return found


@pytest.mark.parametrize(("lost", "commands"), [(HOME, COMMANDS), (OTHER, COMMANDS[::3])])
def test_every_command_shows_what_the_other_region_has(
    lost: str,
    commands: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with aws(lost=[lost]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for command in commands:
            assert main.run([*command, "-e", "cloud", "--json"]) == DEGRADED, command
            told = capsys.readouterr()
            (missing,) = json.loads(told.out)["missing_regions"]
            assert (missing["region"], missing["reachable"]) == (lost, False), command
            assert missing["reason"] == (
                f"CloudFormation in {lost} does not answer: it ended the connection ({url})"
            )
            assert f"{lost} is missing: {missing['reason']}\nhint: check the" in told.err, command


def test_logs_of_the_other_region_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws(lost=[OTHER]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert main.run(["logs", "-e", "cloud"]) == DEGRADED
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{OTHER} is missing: CloudFormation in {OTHER} does not answer" in told.err
    assert "no lines since" in told.err


def test_a_letter_that_no_region_has_that_answers_may_be_in_the_lost_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws(lost=[OTHER]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert main.run(["dlq", "show", "a-message", "-e", "cloud"]) == DEGRADED
    assert f"has a dead letter a-message; {OTHER} was not looked at" in capsys.readouterr().err


def test_a_region_that_answers_with_errors_is_lost_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws(failing=[HOME]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert main.run(["dlq", "list", "-e", "cloud", "--json"]) == DEGRADED
    (missing,) = json.loads(capsys.readouterr().out)["missing_regions"]
    assert (missing["region"], missing["reachable"]) == (HOME, False)
    assert "Service Unavailable" in missing["reason"]


def test_a_region_that_is_not_deployed_is_missing_with_what_deploys_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws(empty=[OTHER]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for command in COMMANDS[1::3]:
            assert main.run([*command, "-e", "cloud", "--json"]) == DEGRADED, command
            (missing,) = json.loads(capsys.readouterr().out)["missing_regions"]
            assert (missing["region"], missing["reachable"]) == (OTHER, True), command
            assert missing["remedy"] == "mediactl deploy -e cloud"


@pytest.mark.parametrize("command", [*COMMANDS, ("logs",), ("keys", "list"), ("status",)])
def test_nothing_is_found_where_nothing_is_deployed(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws(empty=[HOME, OTHER]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert main.run([*command, "-e", "cloud"]) == NOT_FOUND
    told = capsys.readouterr().err
    assert told.startswith("error: cloud is not deployed")
    assert "\nhint: run `mediactl deploy -e cloud`" in told


def test_an_error_of_all_regions_is_none_of_a_region(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws(lost=[HOME, OTHER]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert main.run(["dlq", "list", "-e", "cloud"]) == FAILED
    assert f"error: CloudFormation in {HOME} does not answer" in capsys.readouterr().err


def test_a_region_that_is_lost_is_not_asked_again_until_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = cloud()

    def tables(region: str) -> Any:
        return there.client("dynamodb", region).describe_table(TableName="table")

    with aws(lost=[OTHER]) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        found = ask_regions(there, there.regions, tables)
    assert list(found.by_region) == [HOME]
    assert [one.region for one in found.missing] == [OTHER]
    with aws() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(CommandError, match=f"DynamoDB in {OTHER} does not answer"):
            there.client("sqs", OTHER)
        there.find_lost()
        there.client("sqs", OTHER)


def test_an_error_that_says_more_than_that_a_region_is_lost_is_raised() -> None:
    def wrong(region: str) -> None:
        if region == OTHER:
            raise CommandError("another account")

    there = cloud()
    with pytest.raises(CommandError, match="another account"):
        ask_regions(there, there.regions, wrong)
