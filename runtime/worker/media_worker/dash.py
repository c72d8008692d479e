"""The DASH manifest over the segments that HLS plays as well.

Source: ISO/IEC 23009-1, 5.3 (elements, in the order in which its schema wants them) and 8.3, 8.4
(the profiles ``isoff-main`` and ``isoff-live``); names of roles from its 5.8.5.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import gcd
from xml.etree import ElementTree as ET

MANIFEST_TYPE = "application/dash+xml"
TEXT_TYPE = "text/vtt"

_NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
_LIVE = "urn:mpeg:dash:profile:isoff-live:2011"
_MAIN = "urn:mpeg:dash:profile:isoff-main:2011"
_ROLES = "urn:mpeg:dash:role:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"

_TEXT_BANDWIDTH = 1000
"""Bits per second that are stated for subtitles, since the attribute is compulsory; they are loaded
as one small file."""

_NUMBERED = re.compile(r"(.*?)(\d+)(\.[A-Za-z0-9]+)")


@dataclass(frozen=True, kw_only=True)
class MediaTrack:
    """Where the segments of a track are; URIs are relative to the manifest.

    Attributes:
        timescale: Ticks per second.
        init_uri: The init segment.
        segments: URI and duration, in ticks, of each segment from the start on, without a gap.
    """

    timescale: int
    init_uri: str
    segments: Sequence[tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class VideoRepresentation:
    """A rung of the ladder.

    Attributes:
        name: Name of the track, e.g. ``v720``; unique within the manifest.
        width: Pixels of a line.
        height: Lines.
        bandwidth: Peak bits per second.
        codecs: RFC 6381 codecs.
        track: Its segments.
    """

    name: str
    width: int
    height: int
    bandwidth: int
    codecs: str
    track: MediaTrack


@dataclass(frozen=True, kw_only=True)
class AudioRepresentation:
    """A sound track.

    Attributes:
        name: Name of the track, e.g. ``audio``; unique within the manifest.
        bandwidth: Peak bits per second.
        codecs: RFC 6381 codecs.
        channels: Number of channels.
        language: BCP 47 tag, or ``None`` if it is not known.
        label: What a menu shows, or ``None``.
        default: Whether it is the one to play if nothing was chosen.
        track: Its segments; the timescale is the sampling rate.
    """

    name: str
    bandwidth: int
    codecs: str
    channels: int
    language: str | None
    label: str | None
    default: bool
    track: MediaTrack


@dataclass(frozen=True, kw_only=True)
class TextRepresentation:
    """Subtitles in one WebVTT file.

    Attributes:
        name: Name of the track, e.g. ``text0``; unique within the manifest.
        uri: The file, relative to the manifest.
        language: BCP 47 tag, or ``None`` if it is not known.
        label: What a menu shows, or ``None``.
        forced: Whether they are to be shown even to those who asked for no subtitles.
    """

    name: str
    uri: str
    language: str | None
    label: str | None
    forced: bool = False


def manifest(
    *,
    seconds: Fraction,
    frame_rate: Fraction,
    videos: Sequence[VideoRepresentation],
    sounds: Sequence[AudioRepresentation] = (),
    texts: Sequence[TextRepresentation] = (),
) -> str:
    """Return a static manifest.

    A track whose segments are numbered within one folder is described by a template. Where another
    attempt took over, the folder changes on the way, and its segments are listed one by one.

    Args:
        seconds: Length of the video.
        frame_rate: Frames per second of all rungs.
        videos: The ladder, highest first.
        sounds: The sound tracks.
        texts: The subtitles.

    Raises:
        ValueError: If there is no rung, or a track has no segments.
    """
    if not videos:
        raise ValueError("videos is empty: a manifest needs at least one rung")
    tracks = [*(video.track for video in videos), *(sound.track for sound in sounds)]
    if any(not track.segments for track in tracks):
        raise ValueError("a track has no segments; leave it out, or wait until it has some")
    longest = max(
        Fraction(ticks, track.timescale) for track in tracks for _, ticks in track.segments
    )
    root = ET.Element(
        "MPD",
        {
            "xmlns": _NAMESPACE,
            "profiles": _LIVE if all(map(_template, tracks)) else _MAIN,
            "type": "static",
            "mediaPresentationDuration": _duration(seconds),
            "maxSegmentDuration": _duration(longest),
            "minBufferTime": _duration(longest),
        },
    )
    period = ET.SubElement(root, "Period", {"id": "0", "start": "PT0S"})
    _add_video(period, videos, frame_rate)
    for sound in sounds:
        _add_sound(period, sound)
    for text in texts:
        _add_text(period, text)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_video(
    period: ET.Element, videos: Sequence[VideoRepresentation], frame_rate: Fraction
) -> None:
    rate = str(frame_rate)
    group = ET.SubElement(
        period,
        "AdaptationSet",
        {
            "contentType": "video",
            "mimeType": "video/mp4",
            "frameRate": rate,
            "maxWidth": str(max(video.width for video in videos)),
            "maxHeight": str(max(video.height for video in videos)),
            "par": _ratio(videos[0].width, videos[0].height),
            "segmentAlignment": "true",
            "startWithSAP": "1",
        },
    )
    ET.SubElement(group, "Role", {"schemeIdUri": _ROLES, "value": "main"})
    for video in videos:
        representation = ET.SubElement(
            group,
            "Representation",
            {
                "id": video.name,
                "bandwidth": str(video.bandwidth),
                "codecs": video.codecs,
                "width": str(video.width),
                "height": str(video.height),
                "sar": "1:1",
            },
        )
        _add_segments(representation, video.track)


def _add_sound(period: ET.Element, sound: AudioRepresentation) -> None:
    group = _labelled(
        period,
        {
            "contentType": "audio",
            "mimeType": "audio/mp4",
            "segmentAlignment": "true",
            "startWithSAP": "1",
        },
        sound.language,
        sound.label,
        "main" if sound.default else "alternate",
    )
    representation = ET.SubElement(
        group,
        "Representation",
        {
            "id": sound.name,
            "bandwidth": str(sound.bandwidth),
            "codecs": sound.codecs,
            "audioSamplingRate": str(sound.track.timescale),
        },
    )
    ET.SubElement(
        representation,
        "AudioChannelConfiguration",
        {"schemeIdUri": _CHANNELS, "value": str(sound.channels)},
    )
    _add_segments(representation, sound.track)


def _add_text(period: ET.Element, text: TextRepresentation) -> None:
    group = _labelled(
        period,
        {"contentType": "text", "mimeType": TEXT_TYPE},
        text.language,
        text.label,
        "forced-subtitle" if text.forced else "subtitle",
    )
    representation = ET.SubElement(
        group, "Representation", {"id": text.name, "bandwidth": str(_TEXT_BANDWIDTH)}
    )
    ET.SubElement(representation, "BaseURL").text = text.uri


def _labelled(
    period: ET.Element,
    attributes: dict[str, str],
    language: str | None,
    label: str | None,
    role: str,
) -> ET.Element:
    group = ET.SubElement(period, "AdaptationSet", attributes)
    if language is not None:
        group.set("lang", language)
    if label is not None:
        ET.SubElement(group, "Label").text = label
    ET.SubElement(group, "Role", {"schemeIdUri": _ROLES, "value": role})
    return group


def _add_segments(representation: ET.Element, track: MediaTrack) -> None:
    template = _template(track)
    timescale = str(track.timescale)
    if template is not None:
        media, first = template
        group = ET.SubElement(
            representation,
            "SegmentTemplate",
            {
                "timescale": timescale,
                "initialization": _literal(track.init_uri),
                "media": media,
                "startNumber": str(first),
            },
        )
    else:
        group = ET.SubElement(representation, "SegmentList", {"timescale": timescale})
        ET.SubElement(group, "Initialization", {"sourceURL": track.init_uri})
    timeline = ET.SubElement(group, "SegmentTimeline")
    start = 0
    for ticks, equal in groupby(ticks for _, ticks in track.segments):
        count = sum(1 for _ in equal)
        # dash.js 5 takes the entries of a list by the number of the S element, repeats uncounted.
        entries, repeats = (1, count - 1) if template is not None else (count, 0)
        for _ in range(entries):
            entry = ET.SubElement(timeline, "S", {"d": str(ticks)})
            if start == 0:
                entry.set("t", "0")
            if repeats:
                entry.set("r", str(repeats))
            start += ticks
    if template is None:
        for uri, _ in track.segments:
            ET.SubElement(group, "SegmentURL", {"media": uri})


def _template(track: MediaTrack) -> tuple[str, int] | None:
    """Return the template that yields the URIs of all segments, and their first number, if any."""
    first = _NUMBERED.fullmatch(track.segments[0][0])
    if first is None:
        return None
    before, digits, after = first.groups()
    number, width = int(digits), len(digits)
    for offset, (uri, _) in enumerate(track.segments):
        if uri != f"{before}{number + offset:0{width}d}{after}":
            return None
    return f"{_literal(before)}$Number%0{width}d${after}", number


def _literal(uri: str) -> str:
    """Return ``uri`` as it stands in a template."""
    return uri.replace("$", "$$")


def _duration(seconds: Fraction) -> str:
    return f"PT{float(seconds):.6f}".rstrip("0").rstrip(".") + "S"


def _ratio(width: int, height: int) -> str:
    divisor = gcd(width, height)
    return f"{width // divisor}:{height // divisor}"
