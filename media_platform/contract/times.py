"""Times as they are stored and sent."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(at: datetime | None = None) -> str:
    """Return a time as it is stored: RFC 3339, UTC, milliseconds.

    Args:
        at: The time, with its zone. Default: the present one.
    """
    return (
        (at or datetime.now(UTC))
        .astimezone(UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
