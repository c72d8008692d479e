"""Runs ``mediactl`` as a person does, in this process, against the plane of the session."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from mediactl import main


@dataclass(frozen=True)
class Answer:
    """What a command printed.

    Attributes:
        exit_code: Its exit code.
        stdout: Data.
        stderr: Talk.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The data of ``--json``, once the command succeeded."""
        assert self.exit_code == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        """The data of ``--json`` of a command that prints an object a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(frozen=True)
class Mediactl:
    """The command line, with the settings of a person who has a plane.

    Attributes:
        home: Folder of the settings, and what the person runs commands in.
        environment: Variables that the person has beside the usual ones.
    """

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_plane(cls, home: Path, *, state_dir: Path, app: Path) -> Mediactl:
        """Return one whose environment ``local`` is the plane of a state folder."""
        settings = home / "mediactl.toml"
        settings.write_text(
            "[environments.local]\n"
            f"state_dir = {json.dumps(str(state_dir))}\napp = {json.dumps(str(app))}\n"
        )
        return cls(home, {"MEDIACTL_CONFIG": str(settings)})

    def __call__(self, *arguments: str, **variables: str) -> Answer:
        """Run a command to its end.

        Args:
            *arguments: What follows ``mediactl`` on the command line.
            **variables: Variables for this command alone.
        """
        out, err = io.StringIO(), io.StringIO()
        with (
            self.settings(variables),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main.run(list(arguments))
        return Answer(code, out.getvalue(), err.getvalue())

    def settings(self, more: Mapping[str, str] | None = None) -> AbstractContextManager[Any]:
        """Return a context in which this process has the settings of the person."""
        return mock.patch.dict(os.environ, self.variables(more))

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables of a command, also for one that a test starts as a process."""
        return {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "COLUMNS": "80",
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            **self.environment,
            **(more or {}),
        }

    def program(self, *arguments: str) -> list[str]:
        """Return the words that start a command as a process of its own."""
        return [sys.executable, "-m", "mediactl.main", *arguments]
