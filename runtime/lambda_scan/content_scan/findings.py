"""What looking at a file may end with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from media_platform.contract.video import Failure


class Family(StrEnum):
    """Containers that are read alike, whatever name a file bears, by what people call them."""

    ISO = "MP4 or QuickTime"
    MATROSKA = "WebM or Matroska"
    AVI = "AVI"
    MPEG = "MPEG"
    FLV = "Flash Video"
    OGG = "Ogg"


FAMILIES: dict[str, Family] = {
    "video/mp4": Family.ISO,
    "video/quicktime": Family.ISO,
    "video/x-m4v": Family.ISO,
    "video/3gpp": Family.ISO,
    "video/webm": Family.MATROSKA,
    "video/x-matroska": Family.MATROSKA,
    "video/x-msvideo": Family.AVI,
    "video/mp2t": Family.MPEG,
    "video/mpeg": Family.MPEG,
    "video/x-flv": Family.FLV,
    "video/ogg": Family.OGG,
}
"""The family of every content type that an upload may declare."""


class RefusalError(Exception):
    """The file is not what it should be.

    Attributes:
        failure: The reason, in words for the person who uploaded it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.failure = Failure(code=code, message=message)


@dataclass(frozen=True)
class Content:
    """What a container says of itself; it may say nothing that can be told.

    Attributes:
        codecs: Codecs of the tracks with pictures, as the container names them.
    """

    codecs: tuple[str, ...] = ()


UNTOLD = Content()
"""The container was not understood to its end; whoever decodes it will see."""


def no_video() -> RefusalError:
    """Return the refusal of a file that holds tracks, none of them with pictures."""
    return RefusalError("no_video", "The file holds no video.")


def protected() -> RefusalError:
    """Return the refusal of a file whose pictures are encrypted."""
    return RefusalError(
        "unsupported_codec",
        "The video is protected against copying, so it cannot be decoded.",
    )
