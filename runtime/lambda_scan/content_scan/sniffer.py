"""Looks at a file: which container it is, and what the container says that it holds.

A file is refused for what is certain. What would take too much reading, or is not understood, is
left to the workers, which decode it in a sandbox and have the last word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from content_scan import avi, foreign, iso_media, matroska, mpeg, ogg
from content_scan.findings import FAMILIES, UNTOLD, Content, Family, RefusalError
from content_scan.reader import HEAD_BYTES, Reader, TooMuchError

_LAST_FLASH = b"\x04"
"""Highest version of Flash Video that decoders take."""


class _Begins(Protocol):
    def __call__(self, head: bytes) -> bool: ...


@dataclass(frozen=True)
class _Container:
    family: Family
    begins: _Begins
    inspect: Callable[[Reader], Content]


def _begins_flash(head: bytes) -> bool:
    return head[:3] == b"FLV" and head[3:4] <= _LAST_FLASH


def _nothing(_reader: Reader) -> Content:
    return UNTOLD


_CONTAINERS = (
    _Container(Family.MATROSKA, matroska.begins, matroska.inspect),
    _Container(Family.AVI, avi.begins, avi.inspect),
    _Container(Family.FLV, _begins_flash, _nothing),
    _Container(Family.OGG, ogg.begins, ogg.inspect),
    _Container(Family.ISO, iso_media.begins, iso_media.inspect),
    _Container(Family.MPEG, mpeg.begins, _nothing),
)


@dataclass(frozen=True)
class Sniffed:
    """A file that was not refused.

    Attributes:
        family: Its container, if it could be told.
        content: What the container says.
        whole: Whether everything was read that there was to say.
    """

    family: Family
    content: Content
    whole: bool = True


def sniff(reader: Reader, content_type: str) -> Sniffed:
    """Look at a file that was announced as ``content_type``.

    Raises:
        RefusalError: If it is not such a file, or certainly cannot be transcoded.
    """
    declared = FAMILIES.get(content_type.partition(";")[0].strip().lower())
    head = reader.read(0, HEAD_BYTES)
    container = _identify(reader, head)
    if declared is not None and container.family is not declared:
        raise RefusalError(
            "wrong_type",
            f"The file is {container.family}, but was announced as {content_type[:100]}; upload it"
            " again as what it is.",
        )
    try:
        return Sniffed(container.family, container.inspect(reader))
    except TooMuchError:
        return Sniffed(container.family, UNTOLD, whole=False)


def _identify(reader: Reader, head: bytes) -> _Container:
    for container in _CONTAINERS:
        if container.begins(head):
            return container
    kind = foreign.name(head)
    if kind is None and mpeg.is_within(reader.read(0, mpeg.SEARCHED_BYTES)):
        return _CONTAINERS[-1]
    kind = kind or foreign.likely_name(head)
    if kind is not None:
        raise RefusalError("not_a_video", f"The file is {kind}, not a video.")
    raise RefusalError("not_a_video", "The file is not a video in a format that is known.")
