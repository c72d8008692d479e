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
    ["videos", "upload", "FILE", "--duplicates", "keep", "--wait"],
    ["videos", "list"],
    ["videos", "show", "VIDEO", "--parts"],
    ["dlq", "list"],
    ["local", "status"],
    ["status"],
    ["status", "--watch"],
    ["top"],
    ["costs", "list", "--by", "video"],
    ["costs", "breaker"],
    ["keys", "list"],
    ["users", "list", "--tenant", "operators"],
    ["tenants", "list"],
    ["seed", "--dry-run"],
    ["smoke", "--no-purge"],
]
"""Commands whose screens are looked at, those that synthesize an app left out. Lines of `logs` and
`events` are as long as they are, and what `token show` and `videos play` print is to be copied."""


@pytest.fixture(scope="module")
def film_file(film: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "harbour.mp4"
    path.write_bytes(film)
    return path


def screen(
    mediactl: Mediactl, words: list[str], film: Path, *, columns: int = COLUMNS
) -> tuple[int, list[str]]:
    meant = {"FILE": str(film)}
    if "VIDEO" in words:
        meant["VIDEO"] = mediactl("videos", "list", "--json").json["videos"][0]["video_id"]
    environment = {**os.environ, **mediactl.variables()}
    command = mediactl.program(*(meant.get(word, word) for word in words))
    terminal = Terminal(command, environment, columns=columns)
    if "--watch" in words:
        terminal.wait_for("needs a person")
        terminal.press(b"\x03")
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
def test_a_screen_fits_into_its_window(
    mediactl: Mediactl, film_file: Path, words: list[str]
) -> None:
    _, lines = screen(mediactl, words, film_file)
    assert [line for line in lines if cell_len(line) > COLUMNS] == []
    assert "Traceback" not in "\n".join(lines)


def test_a_window_that_is_too_narrow_cuts_nothing(mediactl: Mediactl, film_file: Path) -> None:
    """It breaks lines by itself, and what is to be copied is whole."""
    code, lines = screen(mediactl, ["videos", "list"], film_file, columns=40)
    assert code == 0
    listed = mediactl("videos", "list", "--json").json["videos"]
    shown = "\n".join(lines)
    assert [one["video_id"] for one in listed if one["video_id"] not in shown] == []


@pytest.mark.parametrize("name", commands())
def test_help_fits_into_a_window(mediactl: Mediactl, name: str) -> None:
    answer = mediactl(*name.split(), "--help")
    assert answer.exit_code == 0
    assert [line for line in answer.stdout.splitlines() if cell_len(line) > COLUMNS] == []
