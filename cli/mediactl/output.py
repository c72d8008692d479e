"""What commands print: data to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

Shown = TypeVar("Shown")


def say(text: str) -> None:
    """Tell the person something; programs that read stdout do not see it.

    A terminal that was closed, or a disk that is full, keeps no command from its work.
    """
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def data(value: Any) -> None:
    """Print a result as JSON on stdout."""
    click.echo(json.dumps(_plain(value), indent=2, default=str))


def line(value: Any) -> None:
    """Print one object of a stream as JSON on a line of its own."""
    click.echo(json.dumps(_plain(value), default=str))


def printable(text: str) -> str:
    """Return what somebody else wrote, such as a title, so that it does nothing to a terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


_LONG_WORD = re.compile(r"(\S{80})\S{120,}(\S{40})")


def printable_lines(text: str) -> str:
    """Return a text of several lines so that it does nothing to a terminal.

    All but the first are indented: none of them passes for what this tool says. Of words that fill
    a screen, the middle is left out.
    """
    lines = (printable(one) for one in text.splitlines())
    return "\n  ".join(_LONG_WORD.sub(r"\1…\2", one) for one in lines)


def show(value: Shown, as_json: bool, render: Callable[[Shown], None]) -> None:
    """Print a result: as JSON, or as people read it.

    Args:
        value: The result.
        as_json: Whether a program reads it.
        render: Prints it for people.
    """
    if as_json:
        data(value)
    else:
        render(value)


COLUMNS = 80
"""Width for which tables are made."""


def console(*, least: int = COLUMNS) -> Console:
    """Return where tables for people go: stdout.

    Brackets in a text are letters as others are: what users named may hold them.

    Args:
        least: Width that is taken at least: a terminal that is narrower breaks lines by itself, and
            so nothing is cut that is to be copied. 0 for what is drawn again and again.
    """
    from rich.console import Console  # noqa: PLC0415 - slow to import

    made = Console(highlight=False, markup=False)
    made.width = max(made.width, least)
    return made


def table(
    *headings: str, numbers: Collection[str] = (), title: str | None = None, gap: int = 2
) -> Table:
    """Return a table without rows, as all commands show them.

    Args:
        headings: What is above its columns; more may be added.
        numbers: Those of them above numbers, which stand to the right.
        title: What is above the table. Default: nothing.
        gap: Blanks between two columns.
    """
    from rich import box  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415 - slow to import

    made = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),  # the box adds one
        title=title,
        title_justify="left",
    )
    for heading in headings:
        justify: JustifyMethod = "right" if heading in numbers else "left"
        made.add_column(heading, overflow="fold", justify=justify)
    return made


def talk() -> Console:
    """Return where progress goes: stderr; brackets are letters there, too."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    return Console(stderr=True, highlight=False, markup=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
