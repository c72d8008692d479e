"""What the plane tells the emulator when it starts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

EDGE_AUTHORITY = "MEDIACTL_EDGE_AUTHORITY"
CALLS_FILE = "MEDIACTL_CALLS_FILE"
CONTROL_TOKEN = "MEDIACTL_CONTROL_TOKEN"  # noqa: S105 - the name of the variable


@dataclass(frozen=True)
class Settings:
    """Start-up settings.

    Attributes:
        edge_authority: ``host:port`` of the local edge, the domain name of distributions.
        emulator_port: TCP port of the emulator.
        calls_file: File to which the recorder appends.
        control_token: Secret that opens the control door.
    """

    edge_authority: str
    emulator_port: int
    calls_file: Path
    control_token: str


def take_settings() -> Settings:
    """Read the settings and remove them from the environment.

    Lambda functions inherit the environment of the emulator, and none of this is theirs to see.
    """
    return Settings(
        edge_authority=os.environ.pop(EDGE_AUTHORITY),
        emulator_port=int(os.environ["GATEWAY_PORT"]),
        calls_file=Path(os.environ.pop(CALLS_FILE)),
        control_token=os.environ.pop(CONTROL_TOKEN),
    )
