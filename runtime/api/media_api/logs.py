"""Structured logs: one JSON object a line on standard output.

Nothing that opens anything is logged: no query strings (signatures), no headers (tokens), no
bodies.
"""

from __future__ import annotations

import logging
import sys

import structlog

access_log: structlog.stdlib.BoundLogger = structlog.get_logger("media_api.access")
"""One line a request."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("media_api")
"""Everything else that operators want to know."""


def configure(*, stage: str, region: str) -> None:
    """Send the logs of the service and of its libraries to standard output.

    Args:
        stage: Stage, written into every line.
        region: Region, written into every line.
    """

    def add_origin(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"], event["stage"], event["region"] = "api", stage, region
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.dict_tracebacks,
        add_origin,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
