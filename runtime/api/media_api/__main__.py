"""Starts the service: ``python -m media_api``."""

from __future__ import annotations

import asyncio
import os
import sys

from media_api import logs
from media_api.server import serve
from media_api.settings import Settings
from media_platform.contract.environment import InvalidEnvironmentError

_BAD_CONFIGURATION = 78
"""Exit status for a configuration error (``EX_CONFIG`` of sysexits.h)."""


def main() -> int:
    """Read the settings, then serve until told to stop."""
    try:
        settings = Settings.from_variables(os.environ)
    except InvalidEnvironmentError as error:
        sys.stderr.write(f"media_api cannot start: {error}\n")
        return _BAD_CONFIGURATION
    logs.configure()
    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
