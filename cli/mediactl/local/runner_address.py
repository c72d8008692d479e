"""Where the process runner answers, known to it and to the plane."""

from __future__ import annotations

from dataclasses import dataclass

RUNNER_FILE = "runner.json"


@dataclass(frozen=True)
class RunnerAddress:
    """The address of a process runner, as ``runner.json`` holds it.

    Attributes:
        port: Its TCP port on 127.0.0.1.
    """

    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"
