"""Clips that show a player's mistakes, and streams of them, whole and with one thing wrong.

Every picture carries its number, painted as 12 bits into a strip at its top, and a tone of 440 Hz
sounds from the beginning to the end.
"""

from __future__ import annotations

import io
import struct
import subprocess
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from media_worker import ffmpeg
from media_worker.boxes import Fragment, read_fragments

TONE = 440
RATE = 25
SEGMENT_SECONDS = 1
SEGMENT_FRAMES = RATE * SEGMENT_SECONDS
TIMESCALE = 12_800
FRAME_TICKS = TIMESCALE // RATE
AAC_FRAME = 1024
AUDIO_RATE = 48_000
AUDIO_FRAGMENTS = 2
"""Fragments of 25 AAC frames in a segment: 1.07 s."""

_FRAGMENTED = "+cmaf+empty_moov+frag_discont+skip_trailer"


def numbered_picture(seconds: float, *, size: str = "320x180", rate: Fraction | int = RATE) -> str:
    """Return a filter graph whose pictures carry their number, for ``-f lavfi`` or more filters."""
    width, height = (int(side) for side in size.split("x"))
    return (
        f"testsrc2=s={size}:r={rate}:d={seconds}[picture];"
        f"color=c=black:s=12x2:r={rate}:d={seconds},format=yuv420p,"
        "geq=lum='16+219*mod(floor(N/pow(2,X)),2)':cb=128:cr=128,"
        f"scale={width}:{max(2, round(height * 0.08 / 2) * 2)}:flags=neighbor[number];"
        "[picture][number]overlay=0:0"
    )


def numbered_clip(
    path: Path,
    *,
    seconds: float,
    size: str = "1280x720",
    rate: Fraction | int = 30,
    sound: bool = True,
) -> Path:
    """Write a clip to upload: H.264 with numbered pictures, and AAC with a tone, in MP4."""
    graph = numbered_picture(seconds, size=size, rate=rate)
    argv = ["-f", "lavfi", "-i", graph]
    if sound:
        argv += ["-f", "lavfi", "-i", f"sine=f={TONE}:r={AUDIO_RATE}:d={seconds}", "-c:a", "aac"]
    argv += ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p"]
    _ffmpeg(*argv, "-y", str(path))
    return path


@dataclass(frozen=True)
class Segment:
    """A segment as its playlist has it.

    Attributes:
        fragments: Its bytes, by fragment. Without any, it is listed but not there.
        seconds: Length that the playlist gives.
    """

    fragments: tuple[bytes, ...]
    seconds: Fraction


@dataclass(frozen=True)
class Track:
    """One track of a stream.

    Attributes:
        init: Its init segment.
        segments: All segments.
    """

    init: bytes
    segments: tuple[Segment, ...]

    def without(self, number: int) -> Track:
        """Return the track without a segment that its playlist goes on to list."""
        return self._changed({number: ()})

    def without_fragment(self, number: int, fragment: int) -> Track:
        """Return the track without one fragment of a segment."""
        fragments = self.segments[number].fragments
        return self._changed({number: fragments[:fragment] + fragments[fragment + 1 :]})

    def shifted(self, start: int, ticks: int) -> Track:
        """Return the track with the segments from ``start`` on shown ``ticks`` later."""
        return self._changed(
            {
                number: tuple(_shift(data, ticks) for data in self.segments[number].fragments)
                for number in range(start, len(self.segments))
            }
        )

    def joined(self, other: Track, at: int) -> Track:
        """Return the segments before number ``at``, and then those of ``other``."""
        return replace(self, segments=self.segments[:at] + other.segments)

    def _changed(self, changes: dict[int, tuple[bytes, ...]]) -> Track:
        segments = (
            replace(segment, fragments=changes.get(number, segment.fragments))
            for number, segment in enumerate(self.segments)
        )
        return replace(self, segments=tuple(segments))


@dataclass(frozen=True)
class Stream:
    """A stream of renditions and one sound track.

    Attributes:
        renditions: Tracks by lines.
        sound: The sound.
    """

    renditions: dict[int, Track]
    sound: Track

    def write(self, folder: Path, *, segments: int | None = None) -> Path:
        """Write the stream to ``folder``; return its multivariant playlist.

        Args:
            folder: Where to; may hold an earlier, shorter version.
            segments: How many of them are listed in a stream that goes on. Default: all of them.
        """
        lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
        lines.append(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="main",DEFAULT=YES,AUTOSELECT=YES,'
            'CHANNELS="2",URI="audio/playlist.m3u8"'
        )
        for height, track in self.renditions.items():
            _write_track(track, folder / f"v{height}", segments)
            lines.append(
                f"#EXT-X-STREAM-INF:BANDWIDTH={height * 4000},FRAME-RATE={RATE}.000,"
                f'RESOLUTION={height * 16 // 9}x{height},AUDIO="audio",'
                'CODECS="avc1.64000d,mp4a.40.2"'
            )
            lines.append(f"v{height}/playlist.m3u8")
        _write_track(self.sound, folder / "audio", segments)
        _replace(folder / "manifest.mpd", self._manifest())
        return _replace(folder / "master.m3u8", "\n".join(lines) + "\n")

    def _manifest(self) -> str:
        """Return a DASH manifest of the whole stream."""
        seconds = max(
            float(sum(segment.seconds for segment in track.segments))
            for track in (*self.renditions.values(), self.sound)
        )
        pictures = "".join(
            f'<Representation id="v{height}" bandwidth="{height * 4000}" codecs="avc1.64000d"'
            f' width="{height * 16 // 9}" height="{height}" frameRate="{RATE}">'
            f"{_template(track, TIMESCALE)}</Representation>"
            for height, track in self.renditions.items()
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"'
            ' type="static" profiles="urn:mpeg:dash:profile:isoff-live:2011" minBufferTime="PT2S"'
            f' mediaPresentationDuration="PT{seconds}S"><Period>'
            '<AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true"'
            f' startWithSAP="1">{pictures}</AdaptationSet>'
            '<AdaptationSet contentType="audio" mimeType="audio/mp4" segmentAlignment="true"'
            f' startWithSAP="1"><Representation id="audio" bandwidth="96000" codecs="mp4a.40.2"'
            f' audioSamplingRate="{AUDIO_RATE}">{_template(self.sound, AUDIO_RATE)}'
            "</Representation></AdaptationSet></Period></MPD>"
        )


def _template(track: Track, timescale: int) -> str:
    times = "".join(f'<S d="{int(segment.seconds * timescale)}"/>' for segment in track.segments)
    return (
        f'<SegmentTemplate timescale="{timescale}" startNumber="0"'
        ' initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/$Number$.m4s">'
        f"<SegmentTimeline>{times}</SegmentTimeline></SegmentTemplate>"
    )


def picture_track(
    start: int, end: int, *, size: str = "320x180", first: int | None = None
) -> Track:
    """Encode the frames from ``start`` to ``end`` (exclusive) as a worker encodes a chunk.

    Args:
        start: First frame.
        end: Frame after the last.
        size: Pixels.
        first: Frame whose time and place in its segment the first one takes. Default: its own.
    """
    graph = numbered_picture(float(Fraction(end, RATE)), size=size)
    first = start if first is None else first
    output = _ffmpeg(
        *("-f", "lavfi", "-i", graph, "-vf", f"trim=start_frame={start},setpts=N+{first}"),
        *("-fps_mode", "passthrough", "-enc_time_base", f"1/{RATE}"),
        *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-crf", "23"),
        *("-g", str(SEGMENT_FRAMES), "-keyint_min", str(SEGMENT_FRAMES), "-sc_threshold", "0"),
        *("-bf", "2", "-x264-params", "stitchable=1:open-gop=0", "-level:v", "1.3"),
        *("-video_track_timescale", str(TIMESCALE), "-f", "mp4", "-write_btrt", "0"),
        *("-movflags", f"{_FRAGMENTED}+frag_keyframe", "pipe:1"),
    )
    init, fragments = _read(output)
    return Track(
        init, tuple(Segment((f.data,), Fraction(f.duration, TIMESCALE)) for f in fragments)
    )


def sound_track(seconds: float, *, silent: tuple[float, float] | None = None) -> Track:
    """Encode the tone.

    Args:
        seconds: Length.
        silent: From when to when it is not heard.
    """
    filters = (
        [] if silent is None else ["-af", f"volume=0:enable='between(t,{silent[0]},{silent[1]})'"]
    )
    output = _ffmpeg(
        *("-f", "lavfi", "-i", f"sine=f={TONE}:r={AUDIO_RATE}:d={seconds}", *filters),
        *("-ac", "2", "-c:a", "aac", "-b:a", "96k", "-bsf:a", "noise=drop='lt(pts,0)'"),
        *("-f", "mp4", "-write_btrt", "0", "-movflags", _FRAGMENTED),
        *("-frag_duration", str(25 * AAC_FRAME * 1_000_000 // AUDIO_RATE), "pipe:1"),
    )
    init, fragments = _read(output)
    groups = [fragments[i : i + AUDIO_FRAGMENTS] for i in range(0, len(fragments), AUDIO_FRAGMENTS)]
    return Track(
        init,
        tuple(
            Segment(
                tuple(f.data for f in group),
                Fraction(sum(f.duration for f in group), AUDIO_RATE),
            )
            for group in groups
        ),
    )


def _ffmpeg(*arguments: str) -> bytes:
    command = [ffmpeg.binary(), "-nostdin", "-v", "error", "-copyts", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def _read(data: bytes) -> tuple[bytes, list[Fragment]]:
    init, *fragments = read_fragments(io.BytesIO(data))
    assert isinstance(init, bytes)
    return init, [f for f in fragments if isinstance(f, Fragment)]


def _shift(data: bytes, ticks: int) -> bytes:
    """Move the decode times of all fragments (``tfdt`` version 1, as ffmpeg writes them)."""
    changed, at = bytearray(data), -1
    while (at := data.find(b"tfdt\x01\x00\x00\x00", at + 1)) >= 0:
        (time,) = struct.unpack_from(">Q", data, at + 8)
        struct.pack_into(">Q", changed, at + 8, time + ticks)
    return bytes(changed)


def _write_track(track: Track, folder: Path, segments: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "init.mp4").write_bytes(track.init)
    longest = max(round(segment.seconds) for segment in track.segments)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{longest}"]
    lines += ["#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:EVENT"]
    lines += ["#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-START:TIME-OFFSET=0"]
    lines.append('#EXT-X-MAP:URI="init.mp4"')
    for number, segment in enumerate(track.segments[:segments]):
        if segment.fragments:
            (folder / f"{number}.m4s").write_bytes(b"".join(segment.fragments))
        lines += [f"#EXTINF:{float(segment.seconds):.6f},", f"{number}.m4s"]
    if segments is None or segments >= len(track.segments):
        lines.append("#EXT-X-ENDLIST")
    _replace(folder / "playlist.m3u8", "\n".join(lines) + "\n")


def _replace(path: Path, text: str) -> Path:
    """Write a file that others may be reading."""
    new = path.with_suffix(".new")
    new.write_text(text)
    return new.replace(path)
