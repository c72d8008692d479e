"""Starts the service: ``python -m media_api``."""

from __future__ import annotations

import os

from media_api.process import leave, run
from media_api.server import serve
from media_api.settings import Settings

NAME = "media-api"
"""Name of the service, in errors and spans."""


def main() -> int:
    """Serve until told to stop."""
    return run(NAME, os.environ, Settings.from_variables, serve)


if __name__ == "__main__":
    leave(main())
