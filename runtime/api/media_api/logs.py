"""Structured logs in the one shape of the platform: one JSON object a line.

Nothing that opens anything is logged: no query strings (signatures), no headers (tokens), no
bodies.
"""

from __future__ import annotations

import logging
import sys

import structlog

from media_platform.contract.logs import log_as_json

access_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(source="media_api.access")
"""One line a request."""

audit_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(source="audit")
"""One line for every change that a caller makes, and for every playback that is granted."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(source="media_api")
"""Everything else that operators want to know."""


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
