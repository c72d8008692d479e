"""WebVTT as text.

Source: W3C WebVTT, 4.1 (syntax).
"""

from __future__ import annotations

from fractions import Fraction

TEXT_TYPE = "text/vtt"


def timestamp(seconds: Fraction) -> str:
    """Return a time as WebVTT writes it, to the nearest millisecond."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
