"""Writes docs/mediactl.md from the commands themselves; with ``--check`` it only compares."""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mediactl import environment
from mediactl.errors import EXIT_CODES
from mediactl.main import COMMANDS, cli

FILE = Path(__file__).parent.parent / "docs/mediactl.md"

BEGINNING = """\
# mediactl

The operator's tool, for a stage on this machine and for those in AWS. This page is made from the
commands (`make docs`); `mediactl COMMAND --help` says the same.

Data goes to stdout, talk and progress to stderr. `--json` prints data for programs, whose shape
only grows. What destroys something needs `--yes`, and `--confirm NAME` where the environment is
protected. Completion of words: `eval "$(_MEDIACTL_COMPLETE=bash_source mediactl)"`, also with
`zsh_source` and `fish_source`. `MEDIACTL_DEBUG=1` shows where something went wrong that was not
foreseen; `MEDIACTL_ANSWER_SECONDS=60` waits longer for an AWS or an API that does not answer.
"""


def commands() -> dict[str, click.Command]:
    """Return every command that does something, by its words."""
    return dict(sorted(_below("", cli)))


def page() -> str:
    """Return the page."""
    text = _paragraphs(BEGINNING)
    text += "\n\n## Exit codes\n\n| code | means |\n|---|---|\n"
    text += "".join(f"| {code} | {means} |\n" for code, means in EXIT_CODES.items())
    text += f"\n## Environments\n\n{_paragraphs(_environments())}\n"
    for name in sorted(COMMANDS):
        command = cli.get_command(click.Context(cli), name)
        text += f"\n## {name}\n"
        if isinstance(command, click.Group):
            text += f"\n{_told(command)}\n"
        for words, one in _below(name, command):
            if words != name:
                text += f"\n### {words}\n"
            text += _described(words, one)
    return text


def _environments() -> str:
    """Return what the module says of environments, without its first line."""
    return (inspect.getdoc(environment) or "").partition("\n\n")[2]


def _below(name: str, command: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    if command is None:
        return
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        yield from _below(f"{name} {child}".strip(), command.get_command(context, child))


def _described(words: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"mediactl {words}")
    usage = " ".join(command.collect_usage_pieces(context))
    told, _, examples = _told(command).partition("Examples:\n")
    shown = inspect.cleandoc(examples) if examples else ""
    text = f"\n{told.strip()}\n\n```bash\n"
    text += f"mediactl {words} {usage}".rstrip() + "\n"
    text += (f"\n{shown}\n" if shown else "") + "```\n"
    rows = [row for row in map(_row, command.params) if row]
    if rows:
        text += "\n| option | |\n|---|---|\n" + "".join(rows)
    return text


def _row(parameter: click.Parameter) -> str:
    if not isinstance(parameter, click.Option) or parameter.hidden:
        return ""
    record: Any = parameter.get_help_record(click.Context(click.Command("x")))
    # A choice has bars in its name, and cells end at bars.
    names, told = (text.replace("|", "\\|") for text in record)
    return f"| `{names}` | {told} |\n"


def _told(command: click.Command) -> str:
    """Return a help text with each paragraph on one line; what click leaves as it is stays so."""
    told = inspect.cleandoc(command.help or "")
    text, mark, examples = told.partition("\b\nExamples:\n")
    fenced = re.sub(r"\x08\n(.+?)(?=\n\n|\Z)", _fenced, text, flags=re.DOTALL)
    return _paragraphs(fenced) + ("\n\nExamples:\n" + examples if mark else "")


def _fenced(found: re.Match[str]) -> str:
    return f"```\n{textwrap.dedent(found[1])}\n```"


def _paragraphs(text: str) -> str:
    """Return a text whose paragraphs are a line each; what is fenced stays as it is."""
    parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    return "".join(part if part.startswith("```") else _joined(part) for part in parts).strip()


def _joined(text: str) -> str:
    """Join lines, but those that begin paragraphs and items of lists."""
    return re.sub(r"(?<!\n)\n(?!\n|\d\. |- )", " ", text.replace("``", "`"))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == page() else "docs/mediactl.md is old: run `make docs`")
    FILE.write_text(page())
