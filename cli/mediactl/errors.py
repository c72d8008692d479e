"""Errors that ``mediactl`` shows to people: a text, a hint what to do, and an exit code."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAILED = 1
"""Exit code of a command that failed."""

USAGE = 2
"""Exit code of a command that was called wrongly."""

NOT_FOUND = 3
"""Exit code when what was named does not exist: a video, a stage, a plane that is not up."""

REFUSED = 4
"""Exit code when a guard refused: no consent, another account, a limit that was set."""

DEGRADED = 5
"""Exit code when all was found, and something of it is not as it should be."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

HUNG_UP = 129
"""Exit code after the terminal was closed, as shells have it."""

TERMINATED = 143
"""Exit code after SIGTERM, as shells have it."""

EXIT_CODES = {
    0: "it is done",
    FAILED: "it failed",
    USAGE: "the command was called wrongly",
    NOT_FOUND: "what was named does not exist, or is not up",
    REFUSED: "a guard refused: no consent, another account, no right, a limit that was set",
    DEGRADED: "all was found, and something of it is not as it should be",
    HUNG_UP: "its terminal was closed",
    INTERRUPTED: "it was interrupted by Ctrl-C",
    TERMINATED: "it was ended by SIGTERM",
}
"""What exit codes mean, for every command."""


class CommandError(Exception):
    """A command cannot do what was asked.

    Attributes:
        hint: What the person can do about it, or ``None``.
        exit_code: Exit code of the process.
    """

    def __init__(self, text: str, *, hint: str | None = None, exit_code: int = FAILED) -> None:
        """Keep the parts.

        Args:
            text: What went wrong: lower case, no final period.
            hint: What the person can do about it. Default: nothing is suggested.
            exit_code: Exit code of the process.
        """
        super().__init__(text)
        self.hint = hint
        self.exit_code = exit_code


_COMMAND = re.compile(r"`mediactl (?!local )(?:[^`](?! -e | --env| --help))+`")
"""A command in a hint that leaves open for which environment it is run."""


class Asked:
    """What a person asked for, as far as errors have to know it.

    Attributes:
        environment: The environment that was named, ``None`` if none was.
    """

    def __init__(self, environment: str | None = None) -> None:
        """Keep what is known."""
        self.environment = environment

    def in_environment(self, hint: str) -> str:
        """Return a hint whose commands are for the environment that the failed one was for."""
        if self.environment is None:
            return hint
        return _COMMAND.sub(lambda found: f"{found[0][:-1]} -e {self.environment}`", hint)


class NotDeployedError(CommandError):
    """What was asked for is not deployed there."""


class LostRegionError(CommandError):
    """A region does not answer, and is not asked again."""


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Let errors of the system name a file in the block, where they name none: that of a full disk.

    Args:
        file: What is written.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(file)
        raise
