"""A run: one transcoding of one uploaded object version, and the parts it consists of.

Progress lives here and not in the video's ``META`` item, which feeds the indexes of every region.
The parts are chunks of the picture, the sound, and the end, which verifies them and makes the video
READY. A part is fenced by ``attempt``: whoever takes it over raises the number, and every write of
a worker to it is conditioned on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import WireItem, from_item, to_item
from media_platform.contract.video import Failure

SEGMENT_SECONDS = 4
"""Length of a segment; chunks of the picture are whole multiples of it."""

SOUND = "sound"
"""The part that encodes every audio track and extracts the subtitles, from first to last."""

END = "end"
"""The part that verifies the others and makes the video READY."""


def video_part(number: int) -> str:
    """Return the name of the chunk of the picture with ``number``, from 0; names sort by number."""
    return f"video#{number:05d}"


DOWNLOAD_PREFIX = "download#"
"""Start of the names of the parts that make progressive MP4 files."""


def download_part(height: int) -> str:
    """Return the name of the part that makes the progressive MP4 with ``height`` lines."""
    return f"{DOWNLOAD_PREFIX}{height}"


def thumbnail_part(thumbnail_id: str) -> str:
    """Return the name of the part that makes a thumbnail; it is no part of any run."""
    return f"thumbnail#{thumbnail_id}"


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, kw_only=True)
class Rendition:
    """One rung of the ladder.

    Attributes:
        height: Lines.
        width: Pixels a line.
        frames: Frames that can be played so far; all of them once the run is complete.
        bandwidth: Peak bits per second, as in the multivariant playlist.
        codecs: RFC 6381 codecs of the video track.
    """

    height: int
    width: int
    frames: int
    bandwidth: int
    codecs: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as the table holds it.

    Attributes:
        video_id: The video.
        run_id: Unique id; part of the key of every object of the run.
        status: Where it stands.
        started_at: Time at which the first worker took it.
        plan: How the source becomes a ladder, once planned; JSON that workers alone understand.
        chunks: Number of chunks of the picture, once planned.
        codecs: RFC 6381 codecs by track, once the first segments are there.
        inits: File names of the init segments by track, with them.
        joined: Chunks whose segments follow each other without a gap from the start; a lower bound.
        published_at: Unix milliseconds at which playlists were last brought up to date.
        progress: Per cent of the frames encoded, 0 to 100.
        duration_seconds: Length of the video, once planned.
        frame_rate: Frame rate of the renditions, e.g. ``30000/1001``, once planned.
        has_audio: Whether there is an audio track, once planned.
        renditions: The ladder, highest first, once planned.
        playable_at: Time from which the multivariant playlist can be played.
        finished_at: Time at which it ended.
        cpu_seconds: Processor time that all workers spent on it, once complete.
        downloads: Heights of the progressive MP4 files that exist.
        quality: VMAF scores by height, if they were measured.
    """

    video_id: str
    run_id: str
    status: RunStatus
    started_at: str
    plan: str | None = None
    chunks: int | None = None
    codecs: Mapping[str, str] | None = None
    inits: Mapping[str, str] | None = None
    joined: int = 0
    published_at: int = 0
    progress: int = 0
    duration_seconds: float | None = None
    frame_rate: str | None = None
    has_audio: bool | None = None
    renditions: tuple[Rendition, ...] = ()
    playable_at: str | None = None
    finished_at: str | None = None
    cpu_seconds: float | None = None
    downloads: tuple[int, ...] = ()
    quality: Mapping[str, float] | None = None

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read a run from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values["status"] = RunStatus(values["status"])
        values["downloads"] = tuple(values.get("downloads", ()))
        values["renditions"] = tuple(
            Rendition(**{f.name: stored_one[f.name] for f in fields(Rendition)})
            for stored_one in values.get("renditions", ())
        )
        return cls(**values)

    def to_item(self) -> WireItem:
        """Return the wire item."""
        key = table.run_key(self.video_id, self.run_id)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})


@dataclass(frozen=True, kw_only=True)
class Span:
    """Segments in a row that one attempt made.

    Attributes:
        attempt: The attempt; part of the keys of the segments.
        segments: How many.
    """

    attempt: int
    segments: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a run as the table holds it.

    What it says of segments was true before it was written: they are uploaded, in every rung.

    Attributes:
        video_id: The video.
        run_id: The run.
        name: Which part (``video_part``, ``SOUND``, ``END``, ``download_part``).
        attempt: Number of the worker that holds it; every take-over raises it. 0: it was asked for,
            and nobody took it yet.
        lease_until: Unix seconds until which no other worker takes it over.
        holder: Random name of whoever took it last, by which he knows it for his own.
        failures: Transient failures so far; interruptions do not count.
        forgiven: Id of the message for which failures were last forgotten.
        done: Whether nothing is left to do.
        spans: Its segments in order.
        samples: Frames in them, or samples of sound.
        key_frames: Of a chunk, by segment, rung and GOP: where the bytes up to the end of the key
            frame begin in the segment, and how many they are.
        gains: Of the sound, by track: decibels by which it is made louder, once measured.
        frames: Of the sound: frames of picture to whose end it is padded or cut. Default: as many
            as were planned.
        texts: Of the sound, by text track: key of its WebVTT file below the run.
        cpu_seconds: Processor time that was spent on it, over all attempts that told.
        bytes_in: Bytes read for it.
        bytes_out: Bytes written for it.
        requested_at: Of a download: time at which somebody asked for it last (RFC 3339, UTC).
        failure: Of a download: why it was given up, if it was.
    """

    video_id: str
    run_id: str
    name: str
    attempt: int = 1
    lease_until: int = 0
    holder: str | None = None
    failures: int = 0
    forgiven: str | None = None
    done: bool = False
    spans: tuple[Span, ...] = ()
    samples: int = 0
    key_frames: tuple[tuple[tuple[tuple[int, int], ...], ...], ...] = ()
    gains: tuple[float, ...] | None = None
    frames: int | None = None
    texts: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    requested_at: str | None = None
    failure: Failure | None = None

    @property
    def segments(self) -> int:
        """Number of segments so far."""
        return sum(span.segments for span in self.spans)

    @property
    def attempts(self) -> tuple[int, ...]:
        """The attempt that made each segment."""
        return tuple(span.attempt for span in self.spans for _ in range(span.segments))

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read a part from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values["spans"] = tuple(
            Span(**{f.name: span[f.name] for f in fields(Span)}) for span in values.get("spans", ())
        )
        values["key_frames"] = tuple(
            tuple(tuple((at, size) for at, size in gops) for gops in rungs)
            for rungs in values.get("key_frames", ())
        )
        if "gains" in values:
            values["gains"] = tuple(values["gains"])
        values["texts"] = tuple(values.get("texts", ()))
        if "failure" in values:
            values["failure"] = Failure(**values["failure"])
        return cls(**values)

    def to_item(self) -> WireItem:
        """Return the wire item."""
        key = table.part_key(self.video_id, self.run_id, self.name)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})
