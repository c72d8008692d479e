"""Starts the service: ``python -m media_api``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import NoReturn

from media_api import logs
from media_api.server import serve
from media_api.settings import Settings
from media_api.tracing import make_provider, send_rest
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
    environment = settings.environment
    spans = make_provider(os.environ, stage=environment.stage, region=environment.home_region)
    asyncio.run(serve(settings, spans))
    if spans is not None:
        send_rest(spans)
    return 0


def leave(status: int) -> NoReturn:
    """End the process without tearing the interpreter down.

    Threads of the HTTP server may still be letting go of Python objects; an interpreter that is
    torn down under them aborts, and a clean stop would look like a crash.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
