"""WebVTT as text: reading what ffmpeg writes, and writing what every player reads.

Source: W3C WebVTT, 4.1 (syntax) and 6.4 (cue text).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

TEXT_TYPE = "text/vtt"

_TIME = r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMING = re.compile(rf"{_TIME} --> {_TIME}(?:\s.*)?")
_MARKUP = re.compile(r"</?[biu]>|&(?:amp|lt|gt|lrm|rlm|nbsp|#\d{1,7}|#x[0-9A-Fa-f]{1,6});|[&<>]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_CONTROLS = dict.fromkeys((*range(9), *range(10, 32), 0x7F))
"""Control characters but the tabulator; line ends are taken away before."""


@dataclass(frozen=True)
class Cue:
    """A text and when it is shown.

    Attributes:
        start: Milliseconds.
        end: Milliseconds.
        text: The lines, with the markup of WebVTT.
    """

    start: int
    end: int
    text: str


def timestamp(seconds: Fraction) -> str:
    """Return a time as WebVTT writes it, to the nearest millisecond."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def read_cues(text: str) -> Iterator[Cue]:
    """Yield the cues of a file; what is not one, or has no time or no text, is left out."""
    timing: re.Match[str] | None = None
    lines: list[str] = []
    for line in (*text.splitlines(), ""):
        if timing is None:
            timing = _TIMING.fullmatch(line)
        elif line.strip():
            lines.append(line)
        else:
            parts = timing.groups()
            start, end = _milliseconds(parts[:4]), _milliseconds(parts[4:])
            if lines and start < end:
                yield Cue(start, end, "\n".join(map(_clean, lines)))
            timing, lines = None, []


def write_cues(cues: Iterable[Cue], *header: str) -> str:
    """Return a WebVTT file.

    Args:
        cues: The cues, in any order.
        header: Lines behind the signature.
    """
    blocks = ["\n".join(("WEBVTT", *header))]
    blocks += [
        f"{timestamp(Fraction(cue.start, 1000))} --> {timestamp(Fraction(cue.end, 1000))}\n"
        f"{cue.text}"
        for cue in sorted(cues, key=lambda cue: (cue.start, cue.end))
    ]
    return "\n\n".join(blocks) + "\n"


def _milliseconds(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in parts)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds


def _clean(line: str) -> str:
    """Return a line of cue text in which only bold, italics, underlines and entities are markup."""
    return _MARKUP.sub(lambda found: _ESCAPES.get(found[0], found[0]), line.translate(_CONTROLS))
