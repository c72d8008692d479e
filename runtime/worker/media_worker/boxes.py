"""Fragmented MP4: reading boxes and the facts of a fragment.

Source: ISO/IEC 14496-12 (boxes 8.8.4 to 8.8.12) and 14496-15 (``avcC``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_BOX_BYTES = 256 * 1024 * 1024
"""Largest box that is read into memory; one GOP of the highest rung stays far below."""

NOT_SYNC = 0x10000
"""Sample flag ``sample_is_non_sync_sample``."""


class BoxError(ValueError):
    """Bytes that are not the fragmented MP4 which the encoder was asked for."""


@dataclass(frozen=True)
class Fragment:
    """One ``moof`` with its ``mdat``.

    Attributes:
        decode_time: Time of the first sample, in ticks of the track.
        samples: Number of samples.
        duration: Sum of their durations, in ticks.
        first_pts: Earliest presentation time, in ticks.
        last_pts: Latest presentation time, in ticks.
        starts_with_sync: Whether the first sample can be decoded alone.
        data: The bytes of both boxes.
        key_frame_bytes: Bytes of ``data`` up to the end of its first sample: with the init segment
            before them, enough to decode it.
    """

    decode_time: int
    samples: int
    duration: int
    first_pts: int
    last_pts: int
    starts_with_sync: bool
    data: bytes
    key_frame_bytes: int = 0


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and payload of the boxes in ``data``.

    Raises:
        BoxError: If a box says that it is longer than what holds it.
    """
    offset, end = start, len(data) if end is None else end
    while offset < end:
        if offset + 8 > end:
            raise BoxError(f"{end - offset} bytes at the end are no box")
        size, kind = struct.unpack_from(">I4s", data, offset)
        header = 8
        if size == 1 and offset + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, offset + 8)
            header = 16
        if size < header or offset + size > end:
            raise BoxError(f"box {kind!r} of {size} bytes does not fit into {end - offset}")
        yield kind, data[offset + header : offset + size]
        offset += size


def find(data: bytes, *path: bytes) -> Iterator[bytes]:
    """Yield the payloads of all boxes at ``path``, for boxes that hold nothing but boxes."""
    for kind, payload in boxes(data):
        if kind == path[0]:
            if len(path) == 1:
                yield payload
            else:
                yield from find(payload, *path[1:])


def read_box(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Read the next box of a pipe: its type and its bytes with the header.

    Returns:
        ``None`` at the end of the stream.

    Raises:
        BoxError: If the stream ends within a box, or the box is larger than is believable.
    """
    head = stream.read(8)
    if not head:
        return None
    if len(head) < 8:  # noqa: PLR2004
        raise BoxError("the stream ends within the head of a box")
    size, kind = struct.unpack(">I4s", head)
    if size == 1:
        head += stream.read(8)
        (size,) = struct.unpack_from(">Q", head, 8)
    if not len(head) <= size <= MAX_BOX_BYTES:
        raise BoxError(f"box {kind!r} claims {size} bytes")
    body = stream.read(size - len(head))
    if len(body) < size - len(head):
        raise BoxError(f"the stream ends within a box {kind!r}")
    return kind, head + body


def read_fragments(stream: BinaryIO) -> Iterator[bytes | Fragment]:
    """Yield the init segment, as bytes, and then every fragment of an fMP4 stream.

    The init segment is held back until a fragment follows: an encode of no frames writes another,
    useless one.

    Raises:
        BoxError: If the stream is cut off or holds other boxes.
    """
    init, moof, started = b"", b"", False
    while (box := read_box(stream)) is not None:
        kind, data = box
        if kind in {b"ftyp", b"moov"} and not started:
            init += data
        elif kind == b"moof" and not moof:
            moof = data
        elif kind == b"mdat" and moof:
            if not started:
                started = True
                yield init
            yield _fragment(moof, data)
            moof = b""
        else:
            raise BoxError(f"box {kind!r} is out of place")
    if moof:
        raise BoxError("the stream ends before the samples of its last fragment")


def _only(data: bytes, *path: bytes) -> bytes:
    found = list(find(data, *path))
    if len(found) != 1:
        raise BoxError(f"{len(found)} boxes {b'/'.join(path)!r} where one is expected")
    return found[0]


def _fragment(moof: bytes, mdat: bytes) -> Fragment:
    try:
        return _read_fragment(moof, mdat)
    except struct.error as error:
        raise BoxError(f"a fragment is malformed: {error}") from error


def _read_fragment(moof: bytes, mdat: bytes) -> Fragment:
    tfdt = _only(moof, b"moof", b"traf", b"tfdt")
    decode_time: int = struct.unpack_from(">Q" if tfdt[0] else ">I", tfdt, 4)[0]
    defaults = _defaults(_only(moof, b"moof", b"traf", b"tfhd"))
    runs = [_read_run(run, defaults) for run in find(moof, b"moof", b"traf", b"trun")]
    samples = [sample for _, of_run in runs for sample in of_run]
    if not samples:
        raise BoxError("a fragment has no samples")
    start, first = next((start, of_run[0]) for start, of_run in runs if of_run)
    if not len(moof) < start <= start + first.size <= len(moof) + len(mdat):
        raise BoxError(
            f"the first sample is said to be {first.size} bytes from {start}, in a fragment of"
            f" {len(moof)} and {len(mdat)}"
        )
    elapsed, presented = 0, []
    for sample in samples:
        presented.append(decode_time + elapsed + sample.composition)
        elapsed += sample.duration
    return Fragment(
        decode_time=decode_time,
        samples=len(samples),
        duration=elapsed,
        first_pts=min(presented),
        last_pts=max(presented),
        starts_with_sync=not first.flags & NOT_SYNC,
        data=moof + mdat,
        key_frame_bytes=start + first.size,
    )


@dataclass(frozen=True)
class _Sample:
    """What is said of one sample: by its run, or else by the fragment for all of them."""

    duration: int
    size: int
    flags: int
    composition: int = 0


def _defaults(tfhd: bytes) -> _Sample:
    (present,) = struct.unpack_from(">I", tfhd)
    if present & 0x1:
        raise BoxError("a fragment counts its offsets from the start of a file")
    values, _ = _fields(tfhd, 8 + 4 * bool(present & 0x2), present, (0x8, 0x10, 0x20))
    return _Sample(*(value or 0 for value in values))


def _read_run(run: bytes, defaults: _Sample) -> tuple[int, list[_Sample]]:
    """Return where the data of a run starts, from the start of the fragment, and its samples."""
    present, count = struct.unpack_from(">II", run)
    (start, first_flags), offset = _fields(run, 8, present, (0x1, 0x4))
    samples = []
    for number in range(count):
        (duration, size, flags, shift), offset = _fields(
            run, offset, present, (0x100, 0x200, 0x400, 0x800)
        )
        if number == 0 and first_flags is not None:
            flags = first_flags
        if shift is not None:  # the one field with a sign
            (shift,) = struct.unpack_from(">i", run, offset - 4)
        samples.append(
            _Sample(
                duration=defaults.duration if duration is None else duration,
                size=defaults.size if size is None else size,
                flags=defaults.flags if flags is None else flags,
                composition=shift or 0,
            )
        )
    return start or 0, samples


def _fields(
    data: bytes, offset: int, present: int, masks: tuple[int, ...]
) -> tuple[list[int | None], int]:
    """Read the optional numbers at ``offset``; return them, and where they end."""
    values: list[int | None] = []
    for mask in masks:
        value = None
        if present & mask:
            (value,) = struct.unpack_from(">I", data, offset)
            offset += 4
        values.append(value)
    return values, offset


def key_frame_alone(data: bytes, decode_time: int) -> bytes:
    """Return a fragment with nothing but a key frame, from the bytes that end with it.

    Args:
        data: The first :attr:`Fragment.key_frame_bytes` bytes of a fragment.
        decode_time: Time that the key frame gets, in ticks of the track.

    Raises:
        BoxError: If the bytes are not those.
    """
    try:
        (size,) = struct.unpack_from(">I", data)
        moof = data[:size]
        run = next(find(moof, b"moof", b"traf", b"trun"))
        (start,), _ = _fields(run, 8, struct.unpack_from(">I", run)[0], (0x1,))
        header = _only(moof, b"moof", b"traf", b"tfhd")[4:8]
    except (struct.error, StopIteration) as error:
        raise BoxError(f"{len(data)} bytes are no key frame of a fragment") from error
    if start is None or not size < start < len(data):
        raise BoxError(f"the sample at {start} is not within the {len(data)} bytes of a key frame")
    sample = data[start:]

    def moof_with(offset: int) -> bytes:
        run = struct.pack(">IIiIII", 0x701, 1, offset, 1, len(sample), 0x2000000)
        track = (
            _box(b"tfhd", struct.pack(">I", 0x20000) + header)
            + _box(b"tfdt", struct.pack(">IQ", 0x1000000, decode_time))
            + _box(b"trun", run)
        )
        return _box(b"moof", _box(b"mfhd", struct.pack(">II", 0, 1)) + _box(b"traf", track))

    offset = len(moof_with(0)) + 8
    return moof_with(offset) + _box(b"mdat", sample)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def avc_codec(init: bytes) -> str:
    """Return the RFC 6381 name of the H.264 track of an init segment, e.g. ``avc1.640028``.

    Raises:
        BoxError: If the init segment has no H.264 track.
    """
    description = _only(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    at = description.find(b"avcC")
    if at < 0 or len(description) < at + 8:
        raise BoxError("the init segment describes no H.264 track")
    return f"avc1.{description[at + 5 : at + 8].hex()}"
