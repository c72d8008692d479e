"""Paths of URLs as CloudFront compares them."""

from __future__ import annotations

import re

_UNRESERVED_ESCAPE = re.compile(
    r"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)


def normalized_path(path: str) -> str:
    """Return a path normalised after RFC 3986: unreserved escapes decoded, dot segments resolved.

    An encoded slash is no unreserved character and stays, so it never becomes a separator.
    Source: Amazon CloudFront Developer Guide, "Path pattern".
    """
    decoded = _UNRESERVED_ESCAPE.sub(lambda found: chr(int(found[1], 16)), path)
    resolved: list[str] = []
    segments = re.sub(r"/{2,}", "/", decoded).split("/")
    for segment in segments[1:]:
        if segment == "..":
            if resolved:
                resolved.pop()
        elif segment != ".":
            resolved.append(segment)
    if segments[-1] in {".", ".."}:
        resolved.append("")
    return "/" + "/".join(resolved)


def pattern_matches(pattern: str, path: str) -> bool:
    """Return whether a path pattern matches: ``*`` is any characters, ``?`` is one; case counts."""
    parts = ("." if char == "?" else ".*" if char == "*" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), path, re.DOTALL) is not None
