"""Figures: what was measured, beside what, and whether the ratio is what is aimed at."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(stderr=True, width=110)
"""Where tables and progress go; the JSON line alone goes to standard output."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number.

    Attributes:
        name: Name, stable for programs.
        value: Ours.
        peer: What it is held against.
        aim: What the ratio of the two is to be at most, or at least.
        unit: Unit of both.
        at_least: Whether the aim is a lower bound.
    """

    name: str
    value: float
    peer: float
    aim: float
    unit: str = "s"
    at_least: bool = False

    @property
    def ratio(self) -> float:
        """Ours by the peer's."""
        return self.value / self.peer if self.peer else float("inf")

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        return self.ratio >= self.aim if self.at_least else self.ratio <= self.aim

    def to_json(self) -> dict[str, Any]:
        """Return the figure as the JSON line has it."""
        return {
            "value": round(self.value, 3),
            "peer": round(self.peer, 3),
            "ratio": round(self.ratio, 3),
            "aim": self.aim,
            "met": self.met,
        }


def report(title: str, figures: Sequence[Figure], *, as_json: bool) -> None:
    """Print the figures as a table, and as one JSON line if that is asked for."""
    rows = [
        (
            figure.name,
            f"{figure.value:.2f} {figure.unit}",
            f"{figure.peer:.2f} {figure.unit}",
            f"{figure.ratio:.2f}",
            f"{'>=' if figure.at_least else '<='} {figure.aim:g}",
            "yes" if figure.met else "NO",
        )
        for figure in figures
    ]
    show(title, ("figure", "ours", "peer", "ratio", "aim", "met"), rows)
    if as_json:
        print(json.dumps({figure.name: figure.to_json() for figure in figures}), flush=True)


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to standard error; all columns but the first are numbers."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def say(text: str) -> None:
    """Tell how far the benchmark is."""
    console.print(text, highlight=False, markup=False)


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def stop_on_sigterm() -> None:
    """Let SIGTERM end the benchmark as Ctrl-C does, so that what it started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))


def arguments(description: str, *, runs: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have.

    Args:
        description: First line of the module.
        runs: Default of ``--runs``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument(
        "--quick", action="store_true", help="small clips, one run: shows that it works, no more"
    )
    parser.add_argument(
        "--runs", type=int, default=runs, help=f"runs of each; medians count (default {runs})"
    )
    return parser
