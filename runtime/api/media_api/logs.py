"""Structured logs in the one shape of the platform: one JSON object a line.

Nothing that opens anything is logged: no query strings (signatures), no headers (tokens), no
bodies.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime

import structlog
from pydantic_core import to_json

from media_platform.contract.logs import log_as_json

GATHER_SECONDS = 0.05
"""How long lines of requests are gathered before they are written."""

audit_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(source="audit")
"""One line for every change that a caller makes, and for every playback that is granted."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(source="media_api")
"""Everything else that operators want to know."""


class AccessLog:
    """One line a request, written a few at a time.

    There are as many lines as requests, and one costs a tenth of what a line of :data:`log` does.
    A process that is killed loses those of the last :data:`GATHER_SECONDS`.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, level: str, **fields: object) -> None:
        """Write a line soon.

        Args:
            level: Its level, in capitals.
            **fields: What it says.
        """
        line = {"time": _now(), "level": level, "logger": "media_api.access", "message": "request"}
        if not self._lines:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        self._lines.append(to_json({**line, **fields}).decode())

    def flush(self) -> None:
        """Write what was not written yet."""
        if self._lines:
            lines, self._lines = self._lines, []
            structlog.WriteLogger(sys.stdout).msg("\n".join(lines))


access_log = AccessLog()
"""One line a request."""


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def configure() -> None:
    """Send the logs of the service and of its libraries to standard output."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _name_as_the_platform_does,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
    log_as_json(logging.WARNING)


def _name_as_the_platform_does(
    _logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event["level"], event["logger"] = method.upper(), event.pop("source")
    return event
