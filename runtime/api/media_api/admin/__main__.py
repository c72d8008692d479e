"""Starts the service: ``python -m media_api.admin``."""

from __future__ import annotations

import os

from media_api.admin.server import serve
from media_api.admin.settings import AdminSettings
from media_api.process import leave, run

NAME = "media-admin"
"""Name of the service, in errors and spans."""


def main() -> int:
    """Serve until told to stop."""
    return run(NAME, os.environ, AdminSettings.from_variables, serve)


if __name__ == "__main__":
    leave(main())
