"""Playlists for players without cookies: every URI gets an address that needs none.

The reader knows the lines that the platform's workers write and refuses all others that could carry
a URI, so that no player is ever sent somewhere unsigned.

Source: RFC 8216, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_HEAD = "#EXTM3U"
_END = "#EXT-X-ENDLIST"
_VARIANT = "#EXT-X-STREAM-INF:"
_TAGS_WITH_URI = ("#EXT-X-MAP:", "#EXT-X-MEDIA:", "#EXT-X-I-FRAME-STREAM-INF:")

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_URI = re.compile(rf"(?:{_NAME}/)*{_NAME}\.[a-z0-9]+")
_PLAYLIST = re.compile(rf"(?:{_NAME}/)*{_NAME}\.m3u8")
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')


class Kind(Enum):
    """How a playlist behaves over time."""

    MULTIVARIANT = "multivariant"
    GROWING = "growing"
    COMPLETE = "complete"


class PlaylistError(ValueError):
    """A stored playlist is not one that the platform writes."""


@dataclass(frozen=True)
class Playlist:
    """A playlist, ready to be sent.

    Attributes:
        text: The playlist.
        kind: How it behaves over time.
    """

    text: str
    kind: Kind


def is_playlist_path(path: str) -> bool:
    """Tell whether ``path`` may name a playlist of a run, relative to the run's prefix.

    Folders and file names have no dots but the last one, so that no path leads out of the run.
    """
    return _PLAYLIST.fullmatch(path) is not None


def folder_of(path: str) -> str:
    """Return the folder of a file, with a slash at the end, or nothing."""
    return path[: path.rfind("/") + 1]


def rewrite(text: str, address: Callable[[str], str]) -> Playlist:
    """Give every URI of a playlist the address that ``address`` returns for it.

    Args:
        text: The playlist as it is stored; its URIs are relative.
        address: Returns the address of a relative URI; it must not contain quotation marks.

    Raises:
        PlaylistError: If the playlist has a line that the platform does not write.
    """
    lines = text.splitlines()
    if not lines or lines[0] != _HEAD:
        raise PlaylistError(f"the first line of the playlist is not {_HEAD}")
    kind = Kind.GROWING
    written = [_HEAD]
    for number, line in enumerate(lines[1:], start=2):
        if line == _END:
            kind = Kind.COMPLETE
        elif line.startswith(_VARIANT):
            kind = Kind.MULTIVARIANT
        written.append(_rewrite_line(line, number, address))
    return Playlist("\n".join(written) + "\n", kind)


def _rewrite_line(line: str, number: int, address: Callable[[str], str]) -> str:
    if not line:
        return line
    if not line.startswith("#"):
        return address(_relative(line, number))
    tag = next((tag for tag in _TAGS_WITH_URI if line.startswith(tag)), None)
    if tag is not None:
        return tag + _rewrite_attributes(line[len(tag) :], number, address)
    if "URI=" in line:
        raise PlaylistError(f"line {number} has a URI in a tag that no worker writes")
    return line


def _rewrite_attributes(text: str, number: int, address: Callable[[str], str]) -> str:
    attributes: list[str] = []
    end = 0
    while end < len(text):
        match = _ATTRIBUTE.match(text, end)
        if match is None:
            raise PlaylistError(f"line {number} has a malformed attribute list")
        name, value = match.groups()
        if name == "URI":
            value = f'"{address(_relative(value.strip(chr(34)), number))}"'
        attributes.append(f"{name}={value}")
        end = match.end()
    return ",".join(attributes)


def _relative(uri: str, number: int) -> str:
    if _URI.fullmatch(uri) is None:
        raise PlaylistError(f"line {number} has a URI that is not a plain relative path")
    return uri
