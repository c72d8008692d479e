"""How soon ``mediactl --help`` answers, beside a Python that does nothing.

Each is a process of its own, from its start to its end; they take turns.

    python bench/command_line.py [--json] [--quick] [--runs N]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from harness.figures import Figure, arguments, median, report, show, stop_on_sigterm

HELP_AIM = 8.0
TURNS = 20
"""Processes of each in a run."""

PROGRAMS = {
    "mediactl --help": [str(Path(sys.executable).with_name("mediactl")), "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    """Run a program from its start to its end, and return how long that took.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    options = arguments((__doc__ or "").splitlines()[0], runs=5).parse_args()
    turns = 3 if options.quick else TURNS * options.runs
    stop_on_sigterm()
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for command in PROGRAMS.values():  # the run that warms up
        seconds(command)
    for _ in range(turns):
        for name, command in PROGRAMS.items():
            taken[name].append(seconds(command))
    times = {name: median(values) for name, values in taken.items()}
    show(
        "answering",
        ("program", "milliseconds"),
        [(name, f"{1000 * value:.0f}") for name, value in times.items()],
    )
    ours, peer = times.values()
    report(
        "command_line",
        [Figure(name="help", value=ours, peer=peer, aim=HELP_AIM)],
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
