"""Subtitles that are passed through: from what ffmpeg extracts to what players load.

ffmpeg turns every kind of text into WebVTT (:func:`media_worker.ffmpeg.sound`); whoever made the
video wrote what is in it, so every cue is read and written anew.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import BinaryIO

from media_worker.webvtt import read_cues, write_cues

MAX_BYTES = 8 * 1024 * 1024
"""Most that is taken of a track; ten hours of dialogue have less than one tenth of it."""

_BLOCK_BYTES = 64 * 1024
_VERSION = 7
_CLOCK = "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0"
"""Cues count from the zero of the segments (RFC 8216, 3.5): all tracks start with decode time 0."""


def collect(pipe: BinaryIO) -> bytes | None:
    """Read a track from a pipe to its end.

    Returns:
        ``None`` if it is larger than :data:`MAX_BYTES`; the rest was read all the same, since a
        full pipe would hold up the sound, which comes from the same process.
    """
    found = bytearray()
    while block := pipe.read(_BLOCK_BYTES):
        if len(found) <= MAX_BYTES:
            found += block
    return bytes(found) if len(found) <= MAX_BYTES else None


def document(extracted: bytes) -> str | None:
    """Return the WebVTT file that is published, ``None`` if there is nothing to show.

    Args:
        extracted: What ffmpeg wrote, on the zero of the video.
    """
    cues = list(read_cues(extracted.decode(errors="replace")))
    return write_cues(cues, _CLOCK) if cues else None


def subtitle_playlist(uri: str, seconds: Fraction) -> str:
    """Return the HLS media playlist of a track: one file for all of the video.

    Args:
        uri: The file, relative to the playlist.
        seconds: Length of the video, which players hold against the other tracks.
    """
    return "\n".join(
        [
            "#EXTM3U",
            f"#EXT-X-VERSION:{_VERSION}",
            f"#EXT-X-TARGETDURATION:{max(1, ceil(seconds))}",
            "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-PLAYLIST-TYPE:EVENT",
            f"#EXTINF:{float(seconds):.6f},",
            uri,
            "#EXT-X-ENDLIST",
            "",
        ]
    )
