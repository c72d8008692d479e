"""Structured logs in the one shape of the platform: one JSON object a line.

Whatever is done for a job says so: the ids of video, run, part and trace are bound for the threads
that work for it. Nothing that opens anything is logged: no local variables of a traceback, no
address under which children read the source.
"""

from __future__ import annotations

import logging
import sys
import threading

import structlog

_NAME = "media_worker"


def configure_logging() -> None:
    """Log JSON lines to standard output, where the log driver of ECS takes them.

    Those of libraries are among them, from ``WARNING`` on, and errors that end a thread.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        # Without local variables: they may hold what has no place in a log.
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    last: list[structlog.typing.Processor] = [
        _name_as_the_platform_does,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str),
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            use_get_message=True,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    threading.excepthook = _log_end_of_thread


def _name_as_the_platform_does(
    _logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event["level"] = method.upper()
    event.setdefault("logger", _NAME)
    return event


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else None
    structlog.get_logger().error("a thread broke", thread=name, exc_info=ended.exc_value)
