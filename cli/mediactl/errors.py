"""Errors that ``mediactl`` shows to people: a text, a hint what to do, and an exit code."""

from __future__ import annotations

FAILED = 1
"""Exit code of a command that failed."""

DEGRADED = 5
"""Exit code of ``local status`` when the plane runs but is not healthy."""

NOT_UP = 3
"""Exit code of commands that need a running plane when there is none."""


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
