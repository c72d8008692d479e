"""How far something is: a bar at a terminal, and a line now and then everywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from mediactl import output

LINE_SECONDS = 5.0
"""Seconds between two lines where there is no terminal."""


@contextlib.contextmanager
def transferring(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many bytes have gone; the block gets what is called with the bytes of each step.

    Args:
        what: What is sent or loaded, such as the name of a file.
        total: Bytes in all.
    """
    from rich.progress import (  # noqa: PLC0415 - slow to import
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    talk = output.talk()
    if not talk.is_terminal:
        yield _Lines(what, total).advance
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=talk, expand=True) as bar:
        task = bar.add_task(shortened(what, 24), total=total)
        yield lambda step: bar.advance(task, step)


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[int, str], None]]:
    """Show per cent of some work; the block gets what is called with them and a word about it.

    Args:
        what: What is worked on.
    """
    from rich.progress import (  # noqa: PLC0415 - slow to import
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    talk = output.talk()
    if not talk.is_terminal:
        said: set[str] = set()

        def line(percent: int, word: str) -> None:
            text = f"{output.printable(what)}: {word} {percent - percent % 10} %"
            if text not in said:
                said.add(text)
                output.say(text)

        yield line
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=talk, expand=True) as bar:
        task = bar.add_task(shortened(what, 36), total=100)

        def move(percent: int, word: str) -> None:
            text = f"{shortened(what, 24)} {word}"
            bar.update(task, completed=percent, description=text)

        yield move


class _Lines:
    """Says how many bytes have gone, where a bar cannot be seen."""

    def __init__(self, what: str, total: int) -> None:
        self._what = output.printable(what)
        self._total = total
        self._done = 0
        self._begun = self._said = time.monotonic()

    def advance(self, step: int) -> None:
        """Count a step, and say so if it is time or all is done."""
        self._done += step
        now = time.monotonic()
        complete = step > 0 and self._done == self._total
        if complete or now - self._said >= LINE_SECONDS:
            self._said = now
            percent = 100 * self._done // self._total if self._total else 100
            output.say(f"{self._what}: {percent} % of {size(self._total)}")


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    number = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def shortened(text: str, most: int) -> str:
    """Return a text without its middle, if it has more than that many characters."""
    text = output.printable(text)
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[-half:]}"
