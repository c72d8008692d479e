"""Reads the facts of a source with PyAV; started as a script of its own, in the sandbox.

``python -I probe_child.py REQUEST``, where REQUEST is JSON with ``url``, ``demuxers``,
``protocols``, ``max_pixels``, ``max_audio`` and ``max_texts``. Prints one JSON object: the facts,
or ``{"fault": [code, text]}``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

PACKETS = 240
"""Packets whose times tell the frame rate."""

LOOK_BACK_SECONDS = (4, 30, 120, 600)
"""How far before its announced end the tail of a file is looked for."""

MICROSECONDS = 1_000_000

START_SECONDS = 60
"""How far packets are looked at for the frame rate; a still picture may last as long as its sound.
"""

PLACES = 10
"""Places of a stream at which its clock is looked at."""

_TIMED = frozenset({"video", "audio", "subtitle"})
"""What the length of a container as a whole counts: words may stay when the picture has gone."""

_CLOCKED = frozenset({"mpegts", "mpeg"})
"""Containers that can be joined by copying one behind the other."""

LARGEST_PIXELS = 16_384 * 16_384
"""Pictures beyond are not decoded even to tell how large they are."""

_LONG_LOOK = {"analyzeduration": str(60 * MICROSECONDS), "probesize": str(64 * 1024**2)}
"""For transport streams in which the sound begins late."""

TEXT_CODECS = frozenset({"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"})
"""Subtitles that are text; others are pictures, which no player of the result can show."""

LABEL_CHARACTERS = 100
"""How much of a title or language of a track is kept."""


class Fault(Exception):  # noqa: N818 - a verdict, not a malfunction
    """The source cannot become a video: a code and a sentence."""


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the source.

    Raises:
        Fault: If it is no video that can be decoded.
    """
    try:
        container = _open(request)
        if container.format.name == "mpegts" and any(map(_is_unknown, container.streams.audio)):
            container.close()
            container = _open(request, _LONG_LOOK)
    except av.error.FFmpegError:
        if request["head"][8:16] == b"ftyp".hex():
            raise Fault(
                "unreadable",
                "The file starts like a video, but its index is missing or damaged; it was"
                " probably cut off while it was recorded or copied.",
            ) from None
        raise Fault("not_a_video", "The file is not a video in a format that is known.") from None
    with container:
        return _facts(container, request)


def _open(request: dict[str, Any], more: dict[str, str] | None = None) -> InputContainer:
    options = {
        "protocol_whitelist": request["protocols"],
        "format_whitelist": request["demuxers"],
        **(more or {}),
    }
    # Metadata may be in whatever encoding a camera likes.
    container: InputContainer = av.open(request["url"], options=options, metadata_errors="replace")
    return container


def _is_unknown(stream: Any) -> bool:
    """Tell whether a stream is announced, but nothing of it was found yet."""
    return stream.codec_context is not None and not stream.codec_context.sample_rate


def _facts(container: InputContainer, request: dict[str, Any]) -> dict[str, Any]:
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        if container.streams.audio:
            raise Fault("no_video", "The file holds sound, but no video.")
        raise Fault("no_video", "The file holds no video.")
    video = videos[0]
    if video.codec_context is None:
        raise Fault("unsupported_codec", "The video is encoded in a way that is not supported.")
    audio = _audio(container)
    if container.streams.audio and all(s.codec_context is None for s in container.streams.audio):
        raise Fault("unsupported_codec", "The sound is encoded in a way that is not supported.")
    width, height = video.codec_context.width, video.codec_context.height
    if width * height > request["max_pixels"]:
        return {"width": width, "height": height, "oversize": True}
    times, frame = _start(container, video)
    if frame is None:
        raise Fault("no_decodable_frames", "No picture in the file can be decoded.")
    if frame.width * frame.height > request["max_pixels"]:
        return {"width": frame.width, "height": frame.height, "oversize": True}
    start = container.start_time or 0
    restarts = container.format.name in _CLOCKED and _restarts(container, video)
    header = _promise(container)
    own = None if header is None else _announced_end(container, video)
    tail, video_tail = (None, None) if restarts else _tail(container, video, header)
    if video_tail is None and own is not None:
        # The picture ends long before the sound.
        video_tail = _video_tail(container, video, own)
    elif video_tail is None and not restarts:
        video_tail = _seen_end(times, video)
    return {
        "format_name": container.format.name,
        "format_start": _ratio(start, MICROSECONDS),
        "video_index": video.index,
        "audio": audio[: request["max_audio"]],
        "texts": _texts(container)[: request["max_texts"]],
        "time_base": str(video.time_base),
        "packet_times": times,
        "average_rate": str(video.average_rate) if video.average_rate else None,
        "base_rate": str(video.base_rate) if video.base_rate else None,
        "restarts": restarts,
        "width": frame.width,
        "height": frame.height,
        "rotation": _rotation(frame.rotation),
        "sample_aspect": str(video.sample_aspect_ratio or 1),
        "transfer": int(frame.color_trc),
        "matrix": int(frame.colorspace),
        "primaries": int(frame.color_primaries),
        "video_promise": _ratio(own, MICROSECONDS) if own is not None else None,
        "promised_end": _ratio(header, MICROSECONDS) if header is not None else None,
        "tail_end": _ratio(tail, MICROSECONDS) if tail is not None else None,
        "video_end": _ratio(video_tail, MICROSECONDS) if video_tail is not None else None,
    }


def _audio(container: InputContainer) -> list[dict[str, Any]]:
    """Return the audio streams that can be decoded, the one to play by default first."""
    streams = [
        {
            "index": stream.index,
            "channels": stream.codec_context.channels,
            "language": _label(stream, "language"),
            "title": _label(stream, "title"),
            "default": bool(stream.disposition & Disposition.default),
            "layout": stream.codec_context.layout.name,
        }
        for stream in container.streams.audio
        # A header may announce sound of which nothing follows, hence nothing is known.
        if stream.codec_context is not None and stream.codec_context.sample_rate
    ]
    return sorted(streams, key=lambda stream: not stream["default"])


def _texts(container: InputContainer) -> list[dict[str, Any]]:
    """Return the subtitles that are text."""
    return [
        {
            "index": stream.index,
            "language": _label(stream, "language"),
            "title": _label(stream, "title"),
            "forced": bool(stream.disposition & Disposition.forced),
        }
        for stream in container.streams.subtitles
        if stream.codec_context is not None and stream.codec_context.name in TEXT_CODECS
    ]


def _label(stream: Any, name: str) -> str | None:
    """Return what the container calls a stream, as one line of text, if it says anything."""
    text = "".join(
        letter if letter.isprintable() else " " for letter in stream.metadata.get(name, "")
    )
    text = " ".join(text.split())[:LABEL_CHARACTERS]
    return None if not text or text == "und" else text


def _rotation(degrees: int) -> int:
    """Return an angle from 0 to 359 degrees, with those next to a right angle taken for it.

    Display matrices are rounded; one that turns nothing yields any number.
    """
    angle = degrees % 360
    nearest = round(angle / 90) * 90
    return nearest % 360 if abs(angle - nearest) <= 1 else angle


def _start(container: InputContainer, video: Any) -> tuple[list[int], Any]:
    """Return the times of the first packets and the first frame."""
    times: list[int] = []
    frame = None
    begin: float | None = None
    video.codec_context.options = {"max_pixels": str(LARGEST_PIXELS)}
    try:
        for packet in container.demux():
            if packet.dts is not None and packet.time_base is not None:
                time = float(packet.dts * packet.time_base)
                begin = time if begin is None else begin
                if frame is not None and time - begin > START_SECONDS:
                    break
            if packet.stream.index != video.index:
                continue
            if packet.pts is not None:
                times.append(packet.pts)
            if frame is None:
                frame = _decoded(packet)
            if len(times) >= PACKETS and frame is not None:
                break
    except av.error.FFmpegError:
        pass  # a file that is cut off: what was read so far is judged
    return times, frame


def _decoded(packet: Any) -> Any:
    """Return the first frame that a packet completes, if there is one.

    Raises:
        Fault: If it is encrypted; what a decoder makes of that looks like damage.
    """
    if packet.has_sidedata("encryption_info"):
        raise Fault(
            "unsupported_codec",
            "The video is protected against copying, so it cannot be decoded.",
        )
    try:
        return next(iter(packet.decode()), None)
    except av.error.FFmpegError:
        return None


def _seen_end(times: list[int], video: Any) -> int | None:
    """Return the end of a short video, all of which was seen at the start, in microseconds.

    A browser that records does not tell a length; no chunk may be planned that is not there.
    """
    first, last = min(times, default=0), max(times, default=0)
    span = (last - first) * video.time_base
    if not 0 < len(times) < PACKETS or span > START_SECONDS - 1:
        return None
    frame = span / (len(times) - 1) if len(times) > 1 else 0
    return int((last * video.time_base + frame) * MICROSECONDS)


def _restarts(container: InputContainer, video: Any) -> bool:
    """Tell whether times fall anywhere in the file, looking at a few places of it."""
    latest: float | None = None
    for number in range(PLACES):
        try:
            place = container.size * number // PLACES
            container.seek(place, any_frame=True, unsupported_byte_offset=True)
            packet = next((p for p in container.demux(video) if p.dts is not None), None)
        except av.error.FFmpegError:
            return False
        if packet is None or packet.dts is None:
            return False
        time = float(packet.dts * video.time_base)
        if latest is not None and time < latest - 1:
            return True
        latest = time
    return False


def _promise(container: InputContainer) -> int | None:
    """Return the end that the header claims for the longest stream, in microseconds.

    MPEG program and transport streams have no header that could claim one.
    """
    if container.format.name in _CLOCKED:
        return None
    streams = (*container.streams.video, *container.streams.audio)
    ends = [end for end in (_announced_end(container, s) for s in streams) if end is not None]
    return max(ends) if ends else _container_end(container)


def _container_end(container: InputContainer) -> int | None:
    """Return the end that the container claims as a whole, in microseconds."""
    if not container.duration:
        return None
    # Where Matroska and FLV tell a length, it is the time of the end.
    from_zero = container.format.name in {"matroska,webm", "flv"}
    return int(container.duration) + (0 if from_zero else int(container.start_time or 0))


def _announced_end(container: InputContainer, stream: Any) -> int | None:
    """Return the end that the header claims for one stream, in microseconds.

    Matroska has nothing that could; where libavformat names an end, it is that of the whole file.
    """
    if container.format.name == "matroska,webm" or not stream.duration or not stream.time_base:
        return None
    return int((stream.start_time or 0) * stream.time_base * MICROSECONDS) + int(
        stream.duration * stream.time_base * MICROSECONDS
    )


def _tail(
    container: InputContainer, video: Any, promised: int | None
) -> tuple[int | None, int | None]:
    """Return where packets really end, over all streams and of the video, in microseconds."""
    end = _container_end(container) if promised is None else promised
    if end is None:
        return None, None
    latest: int | None = None
    for seconds in LOOK_BACK_SECONDS:
        try:
            container.seek(max(0, end - seconds * MICROSECONDS))
        except av.error.FFmpegError:
            # FLV without an index: the header is believed until everything was decoded.
            return end, end
        found, found_video = _ends(container, video)
        latest = max((time for time in (latest, found) if time is not None), default=None)
        if found_video is not None or seconds * MICROSECONDS > end:
            return latest, found_video
    return latest, None


def _video_tail(container: InputContainer, video: Any, promised: int) -> int | None:
    """Return where the packets of the video really end, in microseconds."""
    for seconds in LOOK_BACK_SECONDS:
        try:
            container.seek(max(0, promised - seconds * MICROSECONDS))
        except av.error.FFmpegError:
            return None
        _, found = _ends(container, video)
        if found is not None or seconds * MICROSECONDS > promised:
            return found
    return None


def _ends(container: InputContainer, video: Any) -> tuple[int | None, int | None]:
    """Return where the packets from here on end, over all streams and of the video."""
    ends: list[int] = []
    video_ends: list[int] = []
    try:
        for packet in container.demux():
            if packet.pts is None or packet.time_base is None:
                continue
            if packet.stream.type not in _TIMED:
                continue
            end = int((packet.pts + (packet.duration or 0)) * packet.time_base * MICROSECONDS)
            ends.append(end)
            if packet.stream.index == video.index:
                video_ends.append(end)
    except av.error.FFmpegError:
        pass  # a file that is cut off ends with an error; what was read counts
    return max(ends, default=None), max(video_ends, default=None)


def _ratio(numerator: int, denominator: int) -> str:
    return f"{numerator}/{denominator}"


def main() -> None:
    """Probe and print."""
    av.logging.set_level(av.logging.PANIC)
    try:
        facts = probe(json.loads(sys.argv[1]))
    except Fault as fault:
        facts = {"fault": list(fault.args)}
    except MemoryError:
        facts = {"fault": ["unreadable", "The file takes more memory to read than any video does."]}
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
