"""The command lines of ffmpeg.

The binary is the one that the imageio-ffmpeg package carries, and no other: workers of two builds
would write init segments that differ (docs/decisions/worker-ffmpeg-binary.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

from media_platform.contract.jobs import Quality
from media_worker.planning import (
    CRF,
    UNSPECIFIED,
    FrameRange,
    Plan,
    Rung,
    Source,
    has_hd_colours,
    is_hdr,
    is_wide,
)
from media_worker.segments import AAC_FRAME, AUDIO_FRAGMENT_FRAMES, AUDIO_RATE

DEMUXERS = "mov,matroska,avi,mpegts,mpeg,flv,ogg"
"""The containers that are opened; none of them can name another file or host."""

PROTOCOLS = "http,tcp"
"""What input may be read through: the loopback proxy, and nothing on disk."""

AUDIO_BITS = 128_000
AUDIO_BANDWIDTH = 160_000
"""Peak bits per second of an audio segment, with what the container adds."""

TOO_MANY_ERRORS = 69
"""Exit code of ffmpeg when most of what it should decode is damaged (``-max_error_rate``)."""

POSTER_WIDTH = 1280
_POSTER_CANDIDATES = 50


class FfmpegMissingError(RuntimeError):
    """The pinned binary is not installed."""


def binary() -> Path:
    """Return the pinned ffmpeg.

    The package's own look-up is not used: it falls back to any ffmpeg of the system.

    Raises:
        FfmpegMissingError: If the package carries no binary for this platform.
    """
    folder = Path(str(files("imageio_ffmpeg"))) / "binaries"
    for candidate in sorted(folder.glob("ffmpeg-*")):
        return candidate
    raise FfmpegMissingError(
        f"no ffmpeg in {folder}: install imageio-ffmpeg from a wheel of this platform"
    )


def _head(level: str = "error", *, restarts: bool = False) -> list[str]:
    """Begin a command line; times stay those of the source, unless its clock starts anew."""
    start = [str(binary()), "-nostdin", "-hide_banner", "-nostats", "-v", level]
    return start if restarts else [*start, "-copyts"]


PICTURES: dict[str, bytes] = {
    "jpeg_pipe": b"\xff\xd8\xff",
    "png_pipe": b"\x89PNG\r\n\x1a\n",
    "webp_pipe": b"RIFF....WEBP",
}
"""Demuxers of single pictures, and what these begin with; a dot stands for any byte."""

THUMBNAIL_WIDTH = 1280
THUMBNAIL_HEIGHT = 2560
"""Largest thumbnail in pixels."""

_JPEG = ("-frames:v", "1", "-c:v", "mjpeg", "-q:v", "3", "-f", "image2pipe", "pipe:1")
_JFIF = "out_color_matrix=smpte170m:out_range=pc"
"""The colours that readers of JPEG files expect (JFIF 1.02)."""


def _input(url: str, max_pixels: int) -> list[str]:
    """Open the source, and nothing else.

    Filters are not set up anew when the picture changes its size on the way: they scale what
    comes, and a new graph would count frames from zero again.
    """
    return [
        *("-protocol_whitelist", PROTOCOLS, "-format_whitelist", DEMUXERS),
        *("-max_pixels", str(max_pixels), "-reinit_filter:v", "0", "-i", url),
    ]


_CLEAN = ("-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1")
_SAME_CLOCK = ("-map", "0:v:0", "-map", "0:a:0?", "-c", "copy", "-f", "null", "-")
"""An output that makes all command lines see the same streams, and so mend the same times."""

_FRAGMENTED = "+cmaf+empty_moov+frag_discont+skip_trailer"


def first_frame(
    url: str, video_index: int, max_pixels: int, *, restarts: bool = False
) -> list[str]:
    """Decode one frame, and let ``showinfo`` tell of it on standard error."""
    return [
        *_head("info", restarts=restarts),
        *_input(url, max_pixels),
        *("-map", f"0:{video_index}", "-vf", "showinfo", "-frames:v", "1"),
        *("-fps_mode", "passthrough", "-f", "null", "-"),
        *(("-frames:v", "1", "-frames:a", "1", *_SAME_CLOCK) if restarts else ()),
    ]


_TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
_FRAME = re.compile(r"n: *0 pts: *(-?\d+).*? i:(\w)")


def read_first_frame(log: str) -> tuple[int, Fraction, bool] | None:
    """Return time, time base and whether it is interlaced, of the frame that ``log`` tells of."""
    base, frame = _TIME_BASE.search(log), _FRAME.search(log)
    if not (base and frame):
        return None
    return int(frame[1]), Fraction(int(base[1]), int(base[2])), frame[2] != "P"


def video(
    plan: Plan,
    frames: FrameRange,
    url: str,
    *,
    pipes: Sequence[int],
    pre_roll: Fraction,
    max_pixels: int,
    threads: int,
) -> list[str]:
    """Encode a range of frames into every rung, from one decode.

    Standard output gets ``-progress`` lines; their ``frame`` counts what was decoded for the range,
    in an output of its own that encodes nothing.

    Args:
        plan: The plan.
        frames: The range.
        url: The source.
        pipes: File descriptors that get the fMP4 of each rung, in the order of the ladder.
        pre_roll: Seconds before the range from which reading starts.
        max_pixels: Largest picture that is decoded.
        threads: Threads of each encoder.
    """
    rate, grid = plan.frame_rate, plan.grid
    argv = [
        *_head(restarts=plan.source.restarts),
        "-progress",
        "pipe:1",
        *_seek(plan, frames.start, pre_roll),
    ]
    argv += [*_input(url, max_pixels), "-filter_complex", filters(plan, frames)]
    argv += ["-map", "[count]", "-c:v", "wrapped_avframe", "-fps_mode", "passthrough"]
    argv += ["-f", "null", "-"]
    for number, (rung, pipe) in enumerate(zip(plan.rungs, pipes, strict=True)):
        argv += ["-map", f"[rung{number}]", "-an", *_CLEAN]
        argv += _x264(rung, grid.gop_frames, threads, plan.crf)
        argv += [
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            f"1/{rate}" if rate.denominator == 1 else f"{rate.denominator}/{rate.numerator}",
        ]
        argv += ["-video_track_timescale", str(grid.timescale), "-f", "mp4", "-write_btrt", "0"]
        argv += ["-movflags", f"{_FRAGMENTED}+frag_keyframe"]
        argv += ["-fragment_index", str(frames.start // grid.gop_frames + 1), f"pipe:{pipe}"]
    return [*argv, *_SAME_CLOCK] if plan.source.restarts else argv


def _seek(plan: Plan, start: int, pre_roll: Fraction) -> list[str]:
    """Seek to a key frame before ``start``.

    Frames from the key frame on reach the filters (``-noaccurate_seek``), so the frame that is on
    screen at the cut is known, and open GOPs have their references.
    """
    source = plan.source
    if source.restarts:
        return []
    time = source.origin + start / plan.frame_rate - source.format_start - pre_roll
    return ["-noaccurate_seek", "-ss", f"{float(time):.6f}"] if start and time > 0 else []


def _x264(rung: Rung, gop: int, threads: int, crf: int = CRF[Quality.STANDARD]) -> list[str]:
    """Settings that pin what ends up in the init segment, so that all workers write the same."""
    return [
        *("-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-level:v", rung.level),
        *("-crf", str(crf), "-maxrate", str(rung.peak_bits), "-bufsize", str(rung.peak_bits)),
        *("-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0", "-bf", "2", "-refs", "3"),
        *("-flags", "+cgop", "-x264-params", "stitchable=1:open-gop=0", "-threads", str(threads)),
    ]


def filters(plan: Plan, frames: FrameRange) -> str:
    """Return the filter graph: one decode, one branch per rung, source times to frame numbers.

    The cadence comes last in each branch. What fills a pause is then one scaled picture, counted
    many times; ahead of the split, every filling frame would be scaled and queued anew, which for a
    minute of pause in a large picture takes more memory than a worker has.
    """
    source = plan.source
    chain, cadence = _frames(plan), _cadence(plan, frames)
    names = "".join(f"[split{number}]" for number in range(len(plan.rungs)))
    converted = _colours(source, plan.rungs[0].width, plan.rungs[0].height)
    branches = [
        f"[0:{source.video_index}]{chain},split=2[decoded][picture]",
        f"[decoded]{cadence}[count]",
        f"[picture]{converted}split={len(plan.rungs)}{names}",
    ]
    matrix, read_as = _matrices(source, converted)
    for number, rung in enumerate(plan.rungs):
        branches.append(
            f"[split{number}]scale={rung.width}:{rung.height}:flags=bicubic"
            f":in_color_matrix={read_as}:out_color_matrix={matrix}:out_range=tv,setsar=1,"
            "format=yuv420p,setparams=range=tv:color_primaries=bt709:color_trc=bt709"
            f":colorspace={matrix}:field_mode=prog,{cadence}[rung{number}]"
        )
    return ";".join(branches)


def _frames(plan: Plan) -> str:
    """Return the filters that bring decoded frames to the zero of the result, as whole pictures."""
    chain = [f"setpts=PTS-({plan.source.first_pts})"]
    if plan.source.interlaced:
        chain.append("bwdif=mode=send_frame")
    if plan.source.fast:
        chain.append(_every_other(plan.frame_rate))
    return ",".join(chain)


def _cadence(plan: Plan, frames: FrameRange) -> str:
    """Return the filters that bring frames to the grid, and keep those of a range."""
    start_time = ":start_time=0" if frames.start == 0 else ""
    end = "" if frames.end is None else f":end_pts={frames.end}"
    return f"fps=fps={plan.frame_rate}:round=near{start_time},trim=start_pts={frames.start}{end}"


def _matrices(source: Source, converted: str) -> tuple[str, str]:
    """Return the matrix of the result, and as what that of the picture is read."""
    hd = has_hd_colours(source) or is_hdr(source) or is_wide(source)
    matrix = "bt709" if hd else "smpte170m"
    return matrix, "auto" if source.matrix != UNSPECIFIED or converted else matrix


def _every_other(rate: Fraction) -> str:
    """Return the filters that leave out what a lower rate has no place for.

    They stand ahead of the scaling, so that the frames cost no more than their decoding. A place of
    the grid gets the first frame from a quarter of a place ahead of it on, and its exact time; what
    the cadence makes of the times later can then not go the other way.
    """
    place = "floor({}*" + str(rate) + "+0.25)"
    now, before = place.format("t"), place.format("prev_selected_t")
    return (
        f"select='isnan(prev_selected_t)+gt({now},{before})'"
        f",setpts='{place.format('T')}/({rate})/TB'"
    )


def _colours(source: Source, width: int, height: int) -> str:
    """Return the filters that bring HDR and wide colours to BT.709 at a size; else nothing.

    What the source does not say of its colours is taken to be BT.2020, as in all HDR formats.
    """
    if not (is_hdr(source) or is_wide(source)):
        return ""
    said = [
        f"{name}=bt2020{suffix}"
        for name, value, suffix in (
            ("color_primaries", source.primaries, ""),
            ("colorspace", source.matrix, "nc"),
        )
        if value == UNSPECIFIED
    ]
    if is_wide(source):
        said.append("color_trc=bt709")
    known = f"setparams={':'.join(said)}," if said else ""
    size = f"zscale=w={width}:h={height}"
    if is_wide(source):
        return f"{known}{size}:t=linear:npl=100,format=gbrpf32le,{_TO_BT709}"
    return (
        f"{known}{size}:t=linear:npl={_HDR_WHITE},format=gbrpf32le,zscale=p=bt709,"
        f"tonemap=mobius:param=0.3:peak={_HDR_PEAK / _HDR_WHITE:.2f}:desat=0,{_TO_BT709}"
    )


_HDR_WHITE = 203
"""Candelas per square metre of white paper in HDR (ITU-R BT.2408).

It becomes 85 % of white, and what is darker than a third of it stays as it is.
"""

_HDR_PEAK = 1000
"""Candelas per square metre from which highlights are white: the peak of HLG, and of most masters.

What files state of their own peak is not looked at, as it is often wrong.
"""

_TO_BT709 = "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p,"


def sound(
    plan: Plan,
    url: str,
    *,
    pipes: Sequence[int],
    loudness: Sequence[str],
    text_pipes: Sequence[int],
    max_pixels: int,
    frames: int | None,
) -> list[str]:
    """Encode every audio track and write every subtitle track as WebVTT, from one pass.

    The sound is on the same zero as the video and ends with it: a late start is padded, an early
    one trimmed, holes are filled. The packet with the encoder's priming is dropped, since players
    would present it and the sound would be 21 ms late. What is damaged is left out, however much it
    is: silence takes its place. Cues that end before zero are left out, and one that is on screen
    at zero begins there.

    Args:
        plan: The plan.
        url: The source.
        pipes: File descriptors that get the fMP4 of each audio track, in the order of the source.
        loudness: Filters for each of them, behind the down-mix; an empty text for none.
        text_pipes: File descriptors that get the WebVTT of each subtitle track.
        max_pixels: Largest picture that is decoded.
        frames: Frames of video to whose end the sound is padded or cut, or ``None`` for all that is
            there.
    """
    source = plan.source
    argv = [*_head(restarts=source.restarts), "-max_error_rate", "1"]
    argv += [] if source.restarts else ["-discard:v", "all"]
    if source.texts:
        argv += ["-bsf:s", f"noise=drop='gt(size,{_LONGEST_CUE})'"]
    argv += _input(url, max_pixels)
    for stream in source.audio:
        argv += ["-map", f"0:{stream.index}", "-vn", *_CLEAN]
        zero = f"asetpts=PTS-({float(source.origin):.6f})/TB"
        argv += ["-af", f"{zero},{down_mix(stream.layout)},apad=pad_len=1"]
        argv += ["-c:a", "pcm_f32le", "-f", "null", "-"]
    for number in range(len(source.audio)):
        argv += ["-dec", f"{number}:0"]
    fragment = AUDIO_FRAGMENT_FRAMES * AAC_FRAME * 1_000_000 // AUDIO_RATE
    for number, (pipe, level) in enumerate(zip(pipes, loudness, strict=True)):
        chain = _timeline(plan, level, frames)
        argv += ["-filter_complex", f"[dec:{number}]{chain}[sound{number}]"]
        argv += ["-map", f"[sound{number}]", "-vn", *_CLEAN]
        argv += ["-c:a", "aac", "-b:a", str(AUDIO_BITS), "-bsf:a", "noise=drop='lt(pts,0)'"]
        argv += ["-f", "mp4", "-write_btrt", "0", "-movflags", _FRAGMENTED]
        argv += ["-frag_duration", str(fragment), f"pipe:{pipe}"]
    origin = f"{float(source.origin):.6f}/TB"
    cues = (
        f"setts=pts='max(0,PTS-{origin})':dts='max(0,PTS-{origin})'"
        f":duration='DURATION+min(0,PTS-{origin})',noise=drop='lte(d,0)'"
    )
    for text, pipe in zip(source.texts, text_pipes, strict=True):
        argv += ["-map", f"0:{text.index}", "-vn", "-an", *_CLEAN[1:], "-c:s", "webvtt"]
        argv += ["-bsf:s", cues, "-f", "webvtt", f"pipe:{pipe}"]
    return [*argv, *_SAME_CLOCK] if source.restarts else argv


_LONGEST_CUE = 65_536
"""Bytes of a cue; ffmpeg takes minutes for one of megabytes, and then gives up altogether."""

_LOUDEST = 1_000_000
"""Samples beyond, full scale being 1, are damage; the encoder ends at those that are no number."""

DOWN_MIX = (
    f"aformat=sample_fmts=flt:sample_rates={AUDIO_RATE}:channel_layouts=stereo,"
    f"aeval=exprs='if(lt(abs(val(ch)),{_LOUDEST}),val(ch),0)':channel_layout=same"
)
"""Makes two channels of any number; what comes out louder than full scale is not clipped here.

Samples that are infinite or no number, as damage and faulty programs leave them, become silence.
"""

_CUSTOMARY_CHANNELS = 8
"""Up to as many have an order that is agreed on, also where the file does not tell theirs."""


def down_mix(layout: str) -> str:
    """Return the filters that make a sound stereo at 48 kHz.

    Args:
        layout: Channel layout as ffmpeg names it. A sphere of sound (``ambisonic 1``) is heard with
            one ear to each side. Of many channels without a meaning (``10 channels``), the first
            two are taken: this is where studios put the mix.
    """
    if layout.startswith("ambisonic"):
        return f"pan=stereo|c0=0.5*c0+0.5*c1|c1=0.5*c0-0.5*c1,{DOWN_MIX}"
    count, _, unnamed = layout.partition(" ")
    if unnamed == "channels" and int(count) > _CUSTOMARY_CHANNELS:
        return f"pan=stereo|c0=c0|c1=c1,{DOWN_MIX}"
    return DOWN_MIX


def _timeline(plan: Plan, level: str, frames: int | None) -> str:
    """Return the filters that bring the sound to the zero and the length of the video.

    They follow on a decoder of their own (``-dec``), which reads what the filters of the source
    wrote: when the sound changes its rate or channels on the way, as broadcasts do, ffmpeg sets
    those up anew, and padding that began at zero again would put everything behind it off. There is
    one sample at least, also of sound that cannot be decoded at all.

    Where the clock of the sound runs apart from its time stamps by more than 10 ms, it is stretched
    by at most one per cent until they agree; beyond 100 ms it is filled or cut.
    """
    chain = [level] if level else []
    chain.append(f"aresample={AUDIO_RATE}:async=480:min_comp=0.01:first_pts=0")
    if frames is not None:
        samples = round(frames / plan.frame_rate * AUDIO_RATE)
        chain += [f"apad=whole_len={samples}", f"atrim=end_sample={samples}"]
    return ",".join(chain)


def poster(plan: Plan, url: str, max_pixels: int, *, at: Fraction) -> list[str]:
    """Write one JPEG to standard output: the most typical frame of those that follow ``at``.

    Args:
        plan: The plan.
        url: The source.
        max_pixels: Largest picture that is decoded.
        at: Seconds from the start of the video.
    """
    top = plan.rungs[0]
    width = min(top.width, POSTER_WIDTH)
    height = max(2, round(top.height * width / top.width / 2) * 2)
    time = plan.source.origin - plan.source.format_start + at
    seek = ["-ss", f"{float(time):.6f}"] if at > 0 and time > 0 else []
    colours = _colours(plan.source, top.width, top.height)
    chain = f"{colours}thumbnail=n={_POSTER_CANDIDATES},scale={width}:{height},setsar=1"
    return [
        *_head(),
        *seek,
        *_input(url, max_pixels),
        *("-map", f"0:{plan.source.video_index}", "-an", *_CLEAN, "-vf", chain),
        *("-frames:v", "1", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"),
        *("-f", "image2pipe", "pipe:1"),
    ]


def frame(plan: Plan, number: int, url: str, *, pre_roll: Fraction, max_pixels: int) -> list[str]:
    """Write one frame to standard output, as a JPEG: the very one that the renditions show.

    Args:
        plan: The plan.
        number: The frame.
        url: The source.
        pre_roll: Seconds before the frame from which reading starts.
        max_pixels: Largest picture that is decoded.
    """
    source = plan.source
    width, height = source.displayed_size
    scale = min(Fraction(1), Fraction(THUMBNAIL_WIDTH, width), Fraction(THUMBNAIL_HEIGHT, height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
    converted = _colours(source, width, height)
    _, read_as = _matrices(source, converted)
    graph = (
        f"[0:{source.video_index}]{_frames(plan)},{_cadence(plan, FrameRange(number, number + 1))},"
        f"{converted}scale={width}:{height}:flags=bicubic:in_color_matrix={read_as}:{_JFIF},setsar=1,"
        "format=yuvj420p[frame]"
    )
    argv = [*_head(restarts=source.restarts), *_seek(plan, number, pre_roll)]
    argv += [*_input(url, max_pixels), "-filter_complex", graph, "-map", "[frame]", "-an", *_CLEAN]
    argv += _JPEG
    return [*argv, *_SAME_CLOCK] if source.restarts else argv


def picture(kind: str, url: str, *, max_pixels: int) -> list[str]:
    """Write an uploaded picture to standard output, as a JPEG no larger than thumbnails are.

    What is transparent becomes white.

    Args:
        kind: The demuxer, one of :data:`PICTURES`.
        url: The picture.
        max_pixels: Largest picture that is decoded.
    """
    size = f"w='min({THUMBNAIL_WIDTH},iw)':h='min({THUMBNAIL_HEIGHT},ih)'"
    chain = (
        f"scale={size}:force_original_aspect_ratio=decrease:force_divisible_by=2:flags=bicubic,"
        "format=rgba,split[over][under];[under]drawbox=color=white:thickness=fill:replace=1[white];"
        f"[white][over]overlay=format=rgb,scale={_JFIF},setsar=1,format=yuvj420p"
    )
    return [
        *(*_head(), "-xerror", "-err_detect", "explode", "-protocol_whitelist", PROTOCOLS),
        *("-format_whitelist", ",".join(PICTURES), "-max_pixels", str(max_pixels)),
        *("-f", kind, "-i", url, "-map", "0:v:0", "-an", *_CLEAN, "-vf", chain, *_JPEG),
    ]
