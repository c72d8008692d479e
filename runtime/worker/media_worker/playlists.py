"""HLS playlists as text.

Source: RFC 8216. A media playlist is an ``EVENT`` playlist from its first to its last version: it
only grows, and it ends with ``EXT-X-ENDLIST``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from media_platform.contract.object_keys import KEY_FRAME_PLAYLIST, MEDIA_PLAYLIST, video_track
from media_platform.contract.run import Rendition
from media_worker.key_frames import Bandwidth

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
AUDIO_CODEC = "mp4a.40.2"
"""AAC-LC."""

END_OF_LIST = "#EXT-X-ENDLIST"

_VERSION = 7
_FROM_THE_START = "#EXT-X-START:TIME-OFFSET=0"
"""Without it players join a growing playlist at its end, as if it were live.

It stands in media playlists only: ffmpeg 9 takes it for the mark of one.
"""

_SOUND_GROUP = "sound"
_TEXT_GROUP = "text"


@dataclass(frozen=True)
class Entry:
    """A segment in a media playlist.

    Attributes:
        uri: Where it is, relative to the playlist.
        duration: Seconds.
    """

    uri: str
    duration: Fraction


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A sound or subtitle track that viewers can choose.

    Attributes:
        track: Its track.
        name: What a menu shows; unique among its kind.
        language: BCP 47 tag, or ``None``.
        default: Whether it is the one to play if nothing was chosen.
        forced: Of subtitles, whether they are to be shown even to those who asked for none.
    """

    track: str
    name: str
    language: str | None
    default: bool = False
    forced: bool = False


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
        lines.append(END_OF_LIST)
    return "\n".join(lines) + "\n"


def count_entries(text: str) -> int:
    """Return how many segments a media playlist lists."""
    return sum(line.startswith("#EXTINF:") for line in text.splitlines())


def master_playlist(
    renditions: Sequence[Rendition],
    *,
    frame_rate: Fraction,
    sounds: Sequence[Alternative],
    audio_bandwidth: int,
    texts: Sequence[Alternative] = (),
    key_frames: Sequence[Bandwidth] = (),
) -> str:
    """Return the multivariant playlist.

    Args:
        renditions: The ladder, highest first.
        frame_rate: Frames per second of all of them.
        sounds: The sound tracks.
        audio_bandwidth: Peak bits per second of a sound track.
        texts: The subtitles, once they are there.
        key_frames: Bandwidth of the key-frame playlist of each rendition, once these are there.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    lines += [_media("AUDIO", _SOUND_GROUP, sound, ',CHANNELS="2"') for sound in sounds]
    for text in texts:
        forced = ",FORCED=YES" if text.forced else ""
        lines.append(_media("SUBTITLES", _TEXT_GROUP, text, forced))
    for rendition in renditions:
        codecs, bandwidth, groups = rendition.codecs, rendition.bandwidth, ""
        if sounds:
            codecs, bandwidth = f"{codecs},{AUDIO_CODEC}", bandwidth + audio_bandwidth
            groups = f',AUDIO="{_SOUND_GROUP}"'
        if texts:
            groups += f',SUBTITLES="{_TEXT_GROUP}"'
        lines.append(
            f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},"
            f"RESOLUTION={rendition.width}x{rendition.height},"
            f'FRAME-RATE={float(frame_rate):.3f},CODECS="{codecs}"{groups}'
        )
        lines.append(f"{video_track(rendition.height)}/{MEDIA_PLAYLIST}")
    for rendition, pictures in zip(renditions, key_frames, strict=False):
        lines.append(
            f"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={pictures.peak},"
            f"AVERAGE-BANDWIDTH={pictures.average},"
            f'RESOLUTION={rendition.width}x{rendition.height},CODECS="{rendition.codecs}",'
            f'URI="{video_track(rendition.height)}/{KEY_FRAME_PLAYLIST}"'
        )
    return "\n".join(lines) + "\n"


def _media(kind: str, group: str, choice: Alternative, more: str) -> str:
    language = f',LANGUAGE="{choice.language}"' if choice.language else ""
    default = "YES" if choice.default else "NO"
    return (
        f'#EXT-X-MEDIA:TYPE={kind},GROUP-ID="{group}",NAME="{_quoted(choice.name)}"{language},'
        f'DEFAULT={default},AUTOSELECT=YES{more},URI="{choice.track}/{MEDIA_PLAYLIST}"'
    )


def _quoted(text: str) -> str:
    """Return ``text`` as a quoted string may hold it (RFC 8216, 4.2)."""
    return "".join(c for c in text if c.isprintable() and c != '"')
