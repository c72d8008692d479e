"""What people see in a window of 80 columns: whole lines, tables that fit, no traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Mediactl
from mediactl_docs import commands
from rich.cells import cell_len
from terminal import Terminal

COLUMNS = 80

SCREENS = [
    [],
    ["dlq", "list"],
    ["local", "status"],
    ["videos", "list"],
    ["status"],
    ["top"],
    ["users", "list", "--tenant", "operators"],
    ["tenants", "list"],
    ["seed", "--dry-run"],
    ["smoke", "--no-purge"],
]
"""Commands whose screens are looked at."""


def screen(mediactl: Mediactl, words: list[str]) -> tuple[int, list[str]]:
    environment = {**os.environ, **mediactl.variables()}
    terminal = Terminal(mediactl.program(*words), environment, columns=COLUMNS)
    code = terminal.end()
    _record(words, terminal.shown)
    return code, terminal.lines


def _record(words: list[str], shown: str) -> None:
    """Keep a screen for whoever wants to look at it, where a variable names a folder."""
    folder = os.environ.get("MEDIACTL_TEST_SCREENS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{'-'.join(words) or 'mediactl'}.txt").write_text(shown)


@pytest.mark.parametrize("words", SCREENS, ids=" ".join)
def test_a_screen_fits_into_its_window(mediactl: Mediactl, words: list[str]) -> None:
    _, lines = screen(mediactl, words)
    assert [line for line in lines if cell_len(line) > COLUMNS] == []
    assert "Traceback" not in "\n".join(lines)


@pytest.mark.parametrize("name", commands())
def test_help_fits_into_a_window(mediactl: Mediactl, name: str) -> None:
    answer = mediactl(*name.split(), "--help")
    assert answer.exit_code == 0
    assert [line for line in answer.stdout.splitlines() if cell_len(line) > COLUMNS] == []
