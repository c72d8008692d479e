"""Structured logs in the one shape of the platform: one JSON object a line.

Nothing that opens anything is logged: no query strings (signatures), no headers (tokens), no
bodies.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog
from pydantic_core import to_json

from media_platform.contract.logs import log_as_json

GATHER_SECONDS = 0.05
"""How long lines of requests are gathered before they are written."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(source="media_api")
"""What operators want to know, beside what each request does."""


def audit(message: str, **fields: object) -> None:
    """Write the line of a change that a caller made, at once.

    Args:
        message: What happened.
        **fields: What the line says of it.
    """
    structlog.WriteLogger(sys.stdout).msg(_line("audit", "INFO", message, fields))


class GatheredLog:
    """Lines of which there is one a request, written a few at a time.

    A process that is killed loses those that it gathers.

    Args:
        logger: What the lines name as their logger.
        seconds: How long lines are gathered; 0 for one turn of the event loop.
    """

    def __init__(self, logger: str, *, seconds: float) -> None:
        self._logger = logger
        self._seconds = seconds
        self._lines: list[str] = []

    def write(self, message: str, *, level: str = "INFO", **fields: object) -> None:
        """Write a line soon.

        Args:
            message: What happened.
            level: Its level, in capitals.
            **fields: What it says.
        """
        if not self._lines:
            asyncio.get_running_loop().call_later(self._seconds, self.flush)
        self._lines.append(_line(self._logger, level, message, fields))

    def flush(self) -> None:
        """Write what was not written yet."""
        if self._lines:
            lines, self._lines = self._lines, []
            structlog.WriteLogger(sys.stdout).msg("\n".join(lines))


access_log = GatheredLog("media_api.access", seconds=GATHER_SECONDS)
"""One line a request."""

grant_log = GatheredLog("audit", seconds=0)
"""One audit line for each grant of playback: to write each by itself would take as long as to sign
it, since the threads of the server take turns at every write."""


def _line(logger: str, level: str, message: str, fields: Mapping[str, object]) -> str:
    """Return a line as :data:`log` writes it, at a tenth of the cost: there is one a request."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {"time": now, "level": level, "logger": logger, "message": message, **fields}
    return to_json(line).decode()


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
