"""Tags: what may be one, and the one form in which each is kept and looked for."""

from __future__ import annotations

import unicodedata
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

TAG_MAX_CHARACTERS = 50
TAGS_MAX = 20

_REFUSED_CATEGORIES = frozenset({"Cc", "Zl", "Zp"})
"""Control characters, and what ends lines and paragraphs (Unicode Standard, section 4.5)."""


def normalise(tag: str) -> str:
    """Return a tag as it is kept: without blanks around it, in lower case, composed (NFC).

    Raises:
        ValueError: If it cannot be a tag; the message says what may.
    """
    # Lower case may come apart again, so it is composed last.
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", tag).strip().lower())
    shown = repr(tag if len(tag) <= TAG_MAX_CHARACTERS else f"{tag[:TAG_MAX_CHARACTERS]}…")
    if not 1 <= len(text) <= TAG_MAX_CHARACTERS:
        raise ValueError(
            f"{shown} has {len(text)} characters without the blanks around it; a tag has 1 to "
            f"{TAG_MAX_CHARACTERS}"
        )
    if "#" in text or any(unicodedata.category(sign) in _REFUSED_CATEGORIES for sign in text):
        raise ValueError(
            f"{shown} has a # or a control character; write the tag without its # and on one line"
        )
    return text


def _each_once(tags: list[str]) -> list[str]:
    return sorted(set(tags))


Tag: TypeAlias = Annotated[
    str,
    Field(json_schema_extra={"minLength": 1, "pattern": "^[^#]*$"}),
    AfterValidator(normalise),
]
"""A tag as clients send it."""

Tags: TypeAlias = Annotated[
    list[Tag],
    Field(max_length=TAGS_MAX, examples=[["harbour", "2026"]]),
    AfterValidator(_each_once),
]
"""Tags of a video as clients send them; sorted, each once."""
