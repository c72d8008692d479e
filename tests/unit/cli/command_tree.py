"""All commands of ``mediactl``, for tests that hold what is true of each."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click

from mediactl.main import COMMANDS, cli


def groups() -> dict[str, click.Group]:
    """Return every group of commands, by its name."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in COMMANDS}
    return {name: one for name, one in found.items() if isinstance(one, click.Group)}


def examples(command: click.Command) -> list[list[str]]:
    """Return the examples of a command's help, each as its words after ``mediactl``."""
    text = (command.help or "").partition("Examples:\n")[2]
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("mediactl ")]


def json_kind(command: click.Command) -> Any:
    """Return what a command says that it prints with ``--json``, ``None`` if it has none."""
    return getattr(command.callback, "json_kind", None)
