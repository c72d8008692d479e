"""A run: one transcoding of one uploaded object version.

Progress lives here and not in the video's ``META`` item, which feeds the indexes of every region.
A run is fenced by ``attempt``: whoever takes it over raises the number, and every write of a worker
is conditioned on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import WireItem, from_item, to_item


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
        frames: Frames published so far; all of them once the run is complete.
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
        attempt: Number of the worker that holds it; every take-over raises it.
        lease_until: Unix seconds until which no other worker takes it over.
        failures: Transient failures so far; interruptions do not count.
        progress: Per cent of the frames published, 0 to 100.
        duration_seconds: Length of the video, once planned.
        frame_rate: Frame rate of the renditions, e.g. ``30000/1001``, once planned.
        has_audio: Whether there is an audio track, once planned.
        renditions: The ladder, highest first, once planned.
        playable_at: Time from which the multivariant playlist can be played.
        finished_at: Time at which it ended.
    """

    video_id: str
    run_id: str
    status: RunStatus
    started_at: str
    attempt: int = 1
    lease_until: int = 0
    failures: int = 0
    progress: int = 0
    duration_seconds: float | None = None
    frame_rate: str | None = None
    has_audio: bool | None = None
    renditions: tuple[Rendition, ...] = ()
    playable_at: str | None = None
    finished_at: str | None = None

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read a run from a wire item; attributes that are no fields are ignored."""
        stored = from_item(item)
        values = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values["status"] = RunStatus(values["status"])
        values["renditions"] = tuple(
            Rendition(**{f.name: stored_one[f.name] for f in fields(Rendition)})
            for stored_one in values.get("renditions", ())
        )
        return cls(**values)

    def to_item(self) -> WireItem:
        """Return the wire item."""
        key = table.run_key(self.video_id, self.run_id)
        return to_item({table.PARTITION_KEY: key.pk, table.SORT_KEY: key.sk, **asdict(self)})
