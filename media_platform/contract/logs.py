"""The one shape of log lines: JSON, one object a line.

Fields of ``extra`` stand beside the message, so that a log query can filter by them; nothing else
of the process (environment, arguments, payloads) is written. Never pass a secret, a token or a
signed URL.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats records as ``{"time", "level", "logger", "message", ...extra, "exception"?}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; values that JSON does not know are written as text."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD and not name.startswith("aws_")
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json(level: int = logging.INFO) -> None:
    """Let the whole process log in JSON.

    Handlers that the platform installed before (the Lambda runtime does) are kept, and write the
    same lines; without one, lines go to standard error. The AWS SDK is heard from ``WARNING`` on.

    Args:
        level: Least severity that is written. Default ``INFO``.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    for handler in root.handlers:
        handler.setFormatter(JsonFormatter())
    root.setLevel(level)
    logging.getLogger("botocore").setLevel(max(level, logging.WARNING))
