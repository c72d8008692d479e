"""Services read what constructs wrote, and hear of everything that is wrong at once."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract.environment import (
    AdminEnvironment,
    ApiEnvironment,
    ClamAvScannerEnvironment,
    Environment,
    InvalidEnvironmentError,
    OutboxRelayEnvironment,
    RunPurgeEnvironment,
    ScanVerdictsEnvironment,
    UploadIntakeEnvironment,
    UploadSweepEnvironment,
    WebhookEnvironment,
    WorkerEnvironment,
)
from media_platform.contract.logs import JsonFormatter, log_as_json
from media_platform.contract.scanning import Unscanned

KINDS = [
    AdminEnvironment,
    ApiEnvironment,
    WorkerEnvironment,
    UploadIntakeEnvironment,
    UploadSweepEnvironment,
    OutboxRelayEnvironment,
    RunPurgeEnvironment,
    ScanVerdictsEnvironment,
    ClamAvScannerEnvironment,
    WebhookEnvironment,
]


def variables(kind: type[Environment]) -> dict[str, str]:
    hints = get_type_hints(kind)
    examples = {int: "7", Unscanned: "refuse"}
    return {f.name.upper(): examples.get(hints[f.name], f.name) for f in fields(kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_service_reads_what_the_construct_wrote(kind: type[Environment]) -> None:
    written = kind.from_variables(variables(kind))
    assert written.to_variables() == variables(kind)
    assert kind.from_variables({**written.to_variables(), "PATH": "/bin"}) == written
    assert kind.variable_names() == set(variables(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_types_are_the_declared_ones(kind: type[Environment]) -> None:
    read = kind.from_variables(variables(kind))
    for name, declared in get_type_hints(kind).items():
        assert type(getattr(read, name)) is declared


@given(
    st.builds(
        OutboxRelayEnvironment,
        home_region=st.text(min_size=1),
        table_name=st.text(min_size=1),
        topic_arn=st.text(min_size=1),
        retention_days=st.integers(),
    )
)
def test_any_value_comes_back_as_it_was(environment: OutboxRelayEnvironment) -> None:
    assert OutboxRelayEnvironment.from_variables(environment.to_variables()) == environment


def test_everything_that_is_wrong_is_said_at_once() -> None:
    given_variables = {"TABLE_NAME": "", "TOPIC_ARN": "topic", "RETENTION_DAYS": "a week"}
    with pytest.raises(InvalidEnvironmentError) as raised:
        OutboxRelayEnvironment.from_variables(given_variables)
    assert str(raised.value) == (
        "OutboxRelayEnvironment: HOME_REGION is missing; TABLE_NAME is missing; "
        "RETENTION_DAYS is 'a week', not int"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_is_needed(kind: type[Environment]) -> None:
    with pytest.raises(InvalidEnvironmentError) as raised:
        kind.from_variables({})
    for name in kind.variable_names():
        assert f"{name} is missing" in str(raised.value)


def test_the_contract_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import pkgutil, importlib, sys, media_platform.contract as c\n"
        "for m in pkgutil.iter_modules(c.__path__): "
        "importlib.import_module(f'{c.__name__}.{m.name}')\n"
        "tops = {n.partition('.')[0] for n in sys.modules}\n"
        "print(sorted(tops & {'aws_cdk', 'jsii', 'constructs', 'boto3', 'botocore', 'pydantic'}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[]"


@pytest.fixture
def line() -> Iterator[list[str]]:
    """Lines that the root logger wrote; its set-up is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers, root.level
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root.handlers = [Collector()]
    yield lines
    root.handlers, level = before
    root.setLevel(level)


def test_log_lines_are_json_with_their_fields(line: list[str]) -> None:
    log_as_json()
    logging.getLogger("service").info("took %d in", 2, extra={"video_id": "v", "path": Path("x")})
    (found,) = map(json.loads, line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "INFO",
        "logger": "service",
        "message": "took 2 in",
        "video_id": "v",
        "path": "x",
    }


def test_a_log_line_with_an_exception_is_still_one_line(line: list[str]) -> None:
    log_as_json()
    try:
        raise ValueError("first\nsecond")  # noqa: TRY301 - the traceback is what is tested
    except ValueError:
        logging.getLogger("service").exception("failed")
    assert "\n" not in line[0]
    assert "ValueError: first\nsecond" in json.loads(line[0])["exception"]


def test_the_sdk_is_heard_from_warnings_on(line: list[str]) -> None:
    log_as_json()
    logging.getLogger("botocore.credentials").info("chatter")
    logging.getLogger("botocore.credentials").warning("trouble")
    assert [json.loads(text)["message"] for text in line] == ["trouble"]


def test_records_are_formatted_without_a_message_of_their_own() -> None:
    text = JsonFormatter().format(logging.makeLogRecord({"msg": "hello", "levelname": "INFO"}))
    assert json.loads(text)["message"] == "hello"
