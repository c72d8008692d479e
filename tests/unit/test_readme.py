"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mediactl.main import cli

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()


def test_the_example_is_the_one_that_is_tested() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = (REPOSITORY / "examples" / "own_app.py").read_text()
    assert example.endswith(f'"""\n\n{shown}')
    assert len(shown.splitlines()) <= 30


def test_links_lead_somewhere() -> None:
    for document in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z]+)|^\$ make ([a-z]+)", README, re.MULTILINE):
        name = "".join(target)
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md", "docs/local-plane.md"])
def test_commands_that_are_shown_can_be_called(name: str) -> None:
    shown = re.findall(
        r"`(?:\.venv/bin/)?mediactl ([^`]+)`|^\$ mediactl ([^#\n]+)|^\*.*\* mediactl (.+?) >",
        (REPOSITORY / name).read_text(),
        re.MULTILINE,
    )
    assert shown
    for line in map("".join, shown):
        command, words = _command(line.split())
        options = {one for parameter in command.params for one in parameter.opts}
        assert {one for one in words if one.startswith("-")} <= options, line
        if "--confirm" in words:
            named = words[words.index("--confirm") + 1]
            assert words[words.index("-e") + 1] == named, line


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that a line calls, or the group that it names, and what follows it."""
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, " ".join(words)
        command, words = found, words[1:]
    return command, words
