"""A long MP4 made of a short one: an index of its own, and the same media data over and over.

Only the index and one copy of the data exist; where the rest would lie, reads get that copy again.
So an hour of video, or ten gigabytes, need no disk, and every byte is real media.

Source: ISO/IEC 14496-12 (boxes), 8.6 and 8.7 (sample tables).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"})
_TABLES = frozenset({b"stts", b"ctts", b"stss", b"stsz", b"stsc", b"stco", b"co64", b"sdtp"})
_DROPPED = frozenset({b"udta", b"sgpd", b"sbgp", b"sdtp"})


@dataclass(frozen=True)
class VirtualFile:
    """A file that is put together when it is read.

    Attributes:
        pieces: What it consists of, in order.
        size: Bytes.
    """

    pieces: Sequence[bytes]
    starts: Sequence[int] = field(repr=False)
    size: int

    @classmethod
    def of(cls, pieces: Sequence[bytes]) -> VirtualFile:
        """Put pieces together; one that comes often is kept in memory once."""
        ends = list(accumulate(len(piece) for piece in pieces))
        return cls(pieces, [0, *ends[:-1]], ends[-1])

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes from ``start`` to before ``end``."""
        number = _last_at_most(self.starts, start)
        while start < end:
            piece, first = self.pieces[number], self.starts[number]
            part = memoryview(piece)[start - first : end - first]
            yield part
            start += len(part)
            number += 1

    def write(self, path: Path) -> None:
        """Write all of it to disk."""
        with path.open("wb") as file:
            for piece in self.pieces:
                file.write(piece)


def _last_at_most(values: Sequence[int], wanted: int) -> int:
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] <= wanted:
            low = middle + 1
        else:
            high = middle
    return low - 1


@dataclass
class _Track:
    """The samples of a track of the short file."""

    picture: bool
    timescale: int
    durations: list[int]
    offsets: list[int] | None
    sync: list[int] | None
    sizes: list[int]
    chunks: list[tuple[int, list[int]]] = field(default_factory=list)
    """Where each chunk lies, and the sizes of its samples."""

    @property
    def seconds(self) -> Fraction:
        return Fraction(sum(self.durations), self.timescale)


def repeat(short: bytes, times: int, *, index_first: bool) -> VirtualFile:
    """Return ``short``, a plain MP4, ``times`` over.

    The picture sets the length of a turn. Sound that does not end with it gives and takes a frame
    now and then, so that the two never drift apart.

    Args:
        short: An MP4 with its index in one ``moov`` and its media in one ``mdat``.
        times: How often it comes.
        index_first: Whether the index stands before the media, or after it.

    Raises:
        ValueError: If it is no such file.
    """
    top = {kind: (start, end) for kind, start, end in _boxes(short, 0, len(short))}
    if not {b"ftyp", b"moov", b"mdat"} <= top.keys():
        raise ValueError("the short file is no plain MP4 with ftyp, moov and mdat")
    head = short[top[b"ftyp"][0] - 8 : top[b"ftyp"][1]]
    media_start, media_end = top[b"mdat"]
    media = short[media_start:media_end]
    moov = short[top[b"moov"][0] : top[b"moov"][1]]
    turn = _picture_seconds(moov)

    def index(first: int) -> bytes:
        return _box(b"moov", _repeated(moov, times, turn, first - media_start, len(media)))

    wide = struct.pack(">I4sQ", 1, b"mdat", 16 + times * len(media))
    if not index_first:
        at = len(head) + len(wide)
        return VirtualFile.of([head, wide, *[media] * times, index(at)])
    at = len(head) + len(index(0)) + len(wide)
    return VirtualFile.of([head, index(at), wide, *[media] * times])


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        inner = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, inner)
            inner += 8
        stop = start + size if size else end
        yield kind, inner, stop
        start = stop


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _find(data: bytes, *path: bytes) -> bytes | None:
    for kind in path:
        inner = next((data[s:e] for k, s, e in _boxes(data, 0, len(data)) if k == kind), None)
        if inner is None:
            return None
        data = inner
    return data


def _need(data: bytes, *path: bytes) -> bytes:
    found = _find(data, *path)
    if found is None:
        raise ValueError(f"the short file has no {b'/'.join(path).decode()}")
    return found


def _picture_seconds(moov: bytes) -> Fraction:
    for kind, start, end in _boxes(moov, 0, len(moov)):
        if kind == b"trak" and _is_picture(moov[start:end]):
            return _read_track(moov[start:end]).seconds
    raise ValueError("the short file has no picture")


def _is_picture(trak: bytes) -> bool:
    return _need(trak, b"mdia", b"hdlr")[8:12] == b"vide"


def _timescale(header: bytes) -> int:
    """Return the timescale of an ``mdhd`` or ``mvhd``."""
    return int(struct.unpack_from(">I", header, 20 if header[0] else 12)[0])


def _numbers(table: bytes, code: str = "I", skip: int = 4) -> list[int]:
    (count,) = struct.unpack_from(">I", table, skip)
    return list(struct.unpack_from(f">{count}{code}", table, skip + 4))


def _runs(table: bytes) -> list[int]:
    """Return the values of a table of runs (``stts``, ``ctts``), one for each sample."""
    (count,) = struct.unpack_from(">I", table, 4)
    values: list[int] = []
    for number in range(count):
        length, value = struct.unpack_from(">Ii", table, 8 + 8 * number)
        values += [value] * length
    return values


def _read_track(trak: bytes) -> _Track:
    stbl = _need(trak, b"mdia", b"minf", b"stbl")
    ctts, stss = _find(stbl, b"ctts"), _find(stbl, b"stss")
    stsz = _need(stbl, b"stsz")
    (same,) = struct.unpack_from(">I", stsz, 4)
    sizes = [same] * struct.unpack_from(">I", stsz, 8)[0] if same else _numbers(stsz, skip=8)
    track = _Track(
        picture=_is_picture(trak),
        timescale=_timescale(_need(trak, b"mdia", b"mdhd")),
        durations=_runs(_need(stbl, b"stts")),
        offsets=_runs(ctts) if ctts else None,
        sync=_numbers(stss) if stss else None,
        sizes=sizes,
    )
    wide = _find(stbl, b"co64")
    places = _numbers(wide, "Q") if wide else _numbers(_need(stbl, b"stco"))
    stsc = _need(stbl, b"stsc")
    (count,) = struct.unpack_from(">I", stsc, 4)
    steps = [struct.unpack_from(">II", stsc, 8 + 12 * number) for number in range(count)]
    sample = 0
    for number, place in enumerate(places, start=1):
        length = next(samples for first, samples in reversed(steps) if first <= number)
        track.chunks.append((place, sizes[sample : sample + length]))
        sample += length
    return track


def _repeated(moov: bytes, times: int, turn: Fraction, shift: int, step: int) -> bytes:
    """Return the content of a ``moov`` with all tables and durations repeated."""
    content = b""
    total = turn * times
    movie_scale = _timescale(_need(moov, b"mvhd"))
    for kind, start, end in _boxes(moov, 0, len(moov)):
        inner = moov[start:end]
        if kind == b"mvhd":
            inner = _with_duration(inner, 24 if inner[0] else 16, round(total * movie_scale))
        elif kind == b"trak":
            inner = _repeated_track(inner, times, turn, shift, step, movie_scale)
        elif kind in _DROPPED:
            continue
        content += _box(kind, inner)
    return content


def _with_duration(header: bytes, at: int, duration: int) -> bytes:
    code = ">Q" if header[0] else ">I"
    data = bytearray(header)
    struct.pack_into(code, data, at, duration)
    return bytes(data)


def _repeated_track(  # noqa: PLR0917
    trak: bytes, times: int, turn: Fraction, shift: int, step: int, movie_scale: int
) -> bytes:
    track = _read_track(trak)
    total = turn * times
    tables = _tables(track, times, turn, shift, step)

    def walk(data: bytes) -> bytes:
        content = b""
        for kind, start, end in _boxes(data, 0, len(data)):
            inner = data[start:end]
            if kind in _DROPPED:
                continue
            if kind == b"stbl":
                kept = b"".join(
                    _box(k, inner[s:e])
                    for k, s, e in _boxes(inner, 0, len(inner))
                    if k not in _TABLES | _DROPPED
                )
                inner = kept + tables
            elif kind == b"tkhd":
                inner = _with_duration(inner, 28 if inner[0] else 20, round(total * movie_scale))
            elif kind == b"mdhd":
                inner = _with_duration(
                    inner, 24 if inner[0] else 16, round(total * track.timescale)
                )
            elif kind == b"elst":
                inner = _with_duration(inner, 8, round(total * movie_scale))
            elif kind in _CONTAINERS:
                inner = walk(inner)
            content += _box(kind, inner)
        return content

    return walk(trak)


def _tables(track: _Track, times: int, turn: Fraction, shift: int, step: int) -> bytes:
    """Return the sample tables of a track that comes ``times`` over."""
    durations: list[int] = []
    offsets: list[int] = []
    sync: list[int] = []
    sizes: list[int] = []
    chunks: list[tuple[int, int]] = []
    one = track.durations[0]
    for number in range(times):
        count, some = len(track.sizes), track.durations
        if not track.picture:
            # As many frames, all of one length, as bring the track closest to the picture's end.
            end = round((number + 1) * turn * track.timescale / one)
            count = min(count, max(1, end - len(sizes)))
            some = [one] * count
        if track.sync is not None:
            sync += [len(sizes) + sample for sample in track.sync if sample <= count]
        left = count
        for place, inside in track.chunks:
            if left > 0:
                chunks.append((place + shift + number * step, min(left, len(inside))))
                left -= len(inside)
        durations += some
        offsets += (track.offsets or [])[:count]
        sizes += track.sizes[:count]
    content = _run_table(b"stts", durations)
    if track.offsets is not None:
        content += _run_table(b"ctts", offsets)
    if track.sync is not None:
        content += _box(b"stss", struct.pack(f">II{len(sync)}I", 0, len(sync), *sync))
    content += _box(b"stsz", struct.pack(f">III{len(sizes)}I", 0, 0, len(sizes), *sizes))
    steps: list[tuple[int, int]] = []
    for number, (_, samples) in enumerate(chunks, start=1):
        if not steps or steps[-1][1] != samples:
            steps.append((number, samples))
    content += _box(
        b"stsc",
        struct.pack(">II", 0, len(steps)) + b"".join(struct.pack(">III", *s, 1) for s in steps),
    )
    places = [place for place, _ in chunks]
    return content + _box(b"co64", struct.pack(f">II{len(places)}Q", 0, len(places), *places))


def _run_table(kind: bytes, values: Sequence[int]) -> bytes:
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][1] == value:
            runs[-1][0] += 1
        else:
            runs.append([1, value])
    # Offsets below zero make it version 1; those of version 0 are the same when positive.
    version = 1 << 24 if kind == b"ctts" and min(values) < 0 else 0
    return _box(
        kind,
        struct.pack(">II", version, len(runs)) + b"".join(struct.pack(">Ii", *run) for run in runs),
    )
