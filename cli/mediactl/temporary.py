"""Names of what a command makes for a while: they tell when it may be removed by others.

A command that is killed leaves things behind. Their names say until when they were meant to live,
so that the next command removes them, and never what one that runs at the same time needs.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import Self

_NAME = re.compile(r"mediactl-([a-z]+)-(.+)-([0-9]{10})-([0-9a-f]{8})")


@dataclass(frozen=True)
class TemporaryName:
    """A name, written ``mediactl-<kind>-<stage>-<expires>-<random>``.

    Attributes:
        kind: Command that made it, in lower-case letters.
        stage: Stage that it was made for.
        expires: Time after which others may remove it, in seconds since 1970.
        random: What tells it from others.
    """

    kind: str
    stage: str
    expires: int
    random: str

    @classmethod
    def make(cls, kind: str, stage: str, *, seconds: float) -> Self:
        """Return a new name of what is needed for so many seconds."""
        return cls(kind, stage, int(time.time() + seconds), secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the name that a text is, if it is one."""
        found = _NAME.fullmatch(text)
        return cls(found[1], found[2], int(found[3]), found[4]) if found else None

    def __str__(self) -> str:
        """Return the text."""
        return f"{self.prefix}{self.expires}-{self.random}"

    @property
    def prefix(self) -> str:
        """How all names of the kind and stage begin."""
        return f"mediactl-{self.kind}-{self.stage}-"

    def outlives(self, text: str) -> bool:
        """Return whether a text is a name of the same kind and stage, and its time is over."""
        other = self.parse(text)
        return (
            other is not None
            and (other.kind, other.stage) == (self.kind, self.stage)
            and other.expires < time.time()
        )
