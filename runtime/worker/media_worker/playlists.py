"""HLS playlists as text.

Source: RFC 8216. A media playlist is an ``EVENT`` playlist from its first to its last version: it
only grows, and it ends with ``EXT-X-ENDLIST``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from media_platform.contract.object_keys import AUDIO_TRACK, MEDIA_PLAYLIST, video_track
from media_platform.contract.run import Rendition

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
AUDIO_CODEC = "mp4a.40.2"
"""AAC-LC."""

_VERSION = 7
_FROM_THE_START = "#EXT-X-START:TIME-OFFSET=0"
"""Without it players join a growing playlist at its end, as if it were live.

It stands in media playlists only: ffmpeg 9 takes it for the mark of one.
"""


@dataclass(frozen=True)
class Entry:
    """A segment in a media playlist.

    Attributes:
        uri: Where it is, relative to the playlist.
        duration: Seconds.
    """

    uri: str
    duration: Fraction


def media_playlist(
    entries: Sequence[Entry], *, init_uri: str, target_duration: int, ended: bool
) -> str:
    """Return a media playlist.

    Args:
        entries: The segments from the first on, without a gap.
        init_uri: Where the init segment is, relative to the playlist.
        target_duration: Seconds that no segment exceeds when rounded; never changes.
        ended: Whether these are all.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{target_duration}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        _FROM_THE_START,
        f'#EXT-X-MAP:URI="{init_uri}"',
    ]
    for entry in entries:
        lines += [f"#EXTINF:{float(entry.duration):.6f},", entry.uri]
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def read_entries(text: str) -> list[Entry]:
    """Return the segments that a media playlist of :func:`media_playlist` lists."""
    entries: list[Entry] = []
    duration: Fraction | None = None
    for line in text.splitlines():
        if line.startswith("#EXTINF:"):
            duration = Fraction(line.removeprefix("#EXTINF:").rstrip(","))
        elif line and not line.startswith("#") and duration is not None:
            entries.append(Entry(line, duration))
            duration = None
    return entries


def master_playlist(
    renditions: Iterable[Rendition], *, frame_rate: Fraction, audio_bandwidth: int | None
) -> str:
    """Return the multivariant playlist.

    Args:
        renditions: The ladder, highest first.
        frame_rate: Frames per second of all of them.
        audio_bandwidth: Peak bits per second of the audio track, or ``None`` without one.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    if audio_bandwidth is not None:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{AUDIO_TRACK}",NAME="main",DEFAULT=YES,'
            f'AUTOSELECT=YES,CHANNELS="2",URI="{AUDIO_TRACK}/{MEDIA_PLAYLIST}"'
        )
    for rendition in renditions:
        codecs, group = rendition.codecs, ""
        if audio_bandwidth is not None:
            codecs, group = f"{codecs},{AUDIO_CODEC}", f',AUDIO="{AUDIO_TRACK}"'
        lines.append(
            f"#EXT-X-STREAM-INF:BANDWIDTH={rendition.bandwidth + (audio_bandwidth or 0)},"
            f"RESOLUTION={rendition.width}x{rendition.height},"
            f'FRAME-RATE={float(frame_rate):.3f},CODECS="{codecs}"{group}'
        )
        lines.append(f"{video_track(rendition.height)}/{MEDIA_PLAYLIST}")
    return "\n".join(lines) + "\n"
