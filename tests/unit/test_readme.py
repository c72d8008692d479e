"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

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


def test_commands_exist() -> None:
    for command in re.findall(r"`(?:\.venv/bin/)?mediactl ((?:[a-z]+ ?)+)`", README):
        shown = CliRunner().invoke(cli, [*command.split(), "--help"])
        assert shown.exit_code == 0, command
