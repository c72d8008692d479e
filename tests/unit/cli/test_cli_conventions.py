"""What holds for every command: help, examples, JSON whose schema is held, one line in the list."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner
from command_tree import examples, groups, json_kind
from mediactl_docs import FILE, commands, page
from pydantic import TypeAdapter
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from mediactl.main import COMMANDS, cli

ALL = commands()


@pytest.mark.parametrize("name", ALL)
def test_a_command_says_what_it_does_and_shows_how(name: str) -> None:
    command = ALL[name]
    first, _, _ = (command.help or "").partition("\n")
    assert first.endswith(".")
    assert len(first) <= 100
    shown = examples(command)
    assert shown, f"the help of `mediactl {name}` has no example"
    for words in shown:
        assert words[: len(name.split())] == name.split()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts[-1]} of `mediactl {name}` has no help"


@pytest.mark.parametrize("name", ALL)
def test_an_example_is_accepted_as_it_is_written(name: str) -> None:
    for words in examples(ALL[name]):
        command: Any = ALL[name]
        known = {
            one
            for parameter in command.params
            for one in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known


@pytest.mark.parametrize("name", ALL)
def test_json_keeps_its_schema(name: str, snapshot: SnapshotAssertion) -> None:
    kind = json_kind(ALL[name])
    assert kind is not None, f"`mediactl {name}` has no --json"
    schema = TypeAdapter(_resolved(kind.kind)).json_schema(mode="serialization")
    held = snapshot(extension_class=JSONSnapshotExtension)
    assert {"stream": kind.stream, "schema": _told(schema)} == held


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_tells_of_each_in_a_line(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name][2]


def test_the_page_of_the_docs_is_what_the_commands_say() -> None:
    assert FILE.read_text() == page(), "run `make docs`"


def test_lines_that_help_keeps_are_kept_in_the_docs() -> None:
    assert '\n```\n[[tenants]]\nname = "acme"\n' in page()


@pytest.mark.parametrize("name", groups())
def test_a_group_says_what_it_is_for(name: str) -> None:
    assert (groups()[name].help or "").strip()


@pytest.mark.parametrize("name", groups())
def test_a_group_lists_its_commands_with_whole_sentences(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"], terminal_width=80).output
    listed = " ".join(shown.partition("Commands:")[2].split())
    for command in groups()[name].commands.values():
        sentence = re.split(r"\.\s", " ".join((command.help or "").split()))[0].removesuffix(".")
        assert f"{command.name} {sentence}" in listed


def test_help_names_every_command_and_imports_none() -> None:
    program = (
        "import sys; from mediactl.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'boto3', 'botocore', 'aiohttp', 'rich', 'pydantic', 'urllib3', 'asyncio'}\n"
        "own = {one for one in sys.modules if one.startswith('mediactl.')}\n"
        "print('imported:', sorted(heavy & set(sys.modules)), sorted(own))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    for name in COMMANDS:
        assert f"  {name} " in done.stdout
    own = [f"mediactl.{name}" for name in ("errors", "interrupts", "main", "suggestions")]
    assert f"imported: [] {own}" in done.stdout


def _resolved(kind: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    module, _, name = kind.partition(":")
    return getattr(importlib.import_module(module), name)


def _told(schema: Any) -> Any:
    """Leave out of a schema what is told to people: it may be said better."""
    if isinstance(schema, dict):
        kept = {key: one for key, one in schema.items() if key not in {"description", "title"}}
        return {key: _told(one) for key, one in kept.items()}
    if isinstance(schema, list):
        return [_told(one) for one in schema]
    return schema
