"""From encoder to record: segments are uploaded, and then written down in their part.

A segment counts once it stands in every track of the part and the part's item says so. What is
recorded is never taken back, so playlists may list it, and whoever takes the part over goes on
behind it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from media_platform.contract.object_keys import RunKeys
from media_worker.boxes import avc_codec
from media_worker.cancellation import Cancellation
from media_worker.held import HeldPart
from media_worker.objects import Upload
from media_worker.playlists import AUDIO_CODEC
from media_worker.runs import RunLedger
from media_worker.segments import Segment
from media_worker.threads import make_thread
from media_worker.uploads import Uploader

VIDEO_TYPE = "video/mp4"
SEGMENT_TYPE = "video/iso.segment"
AUDIO_TYPE = "audio/mp4"


def init_name(data: bytes) -> str:
    """Return the file name of an init segment: equal bytes are one object, whoever wrote it."""
    return f"init-{hashlib.sha256(data).hexdigest()[:16]}.mp4"


@dataclass
class _Track:
    name: str
    init: str = ""
    codec: str = ""
    init_uploaded: bool = False
    uploaded: dict[int, Segment] = field(default_factory=dict)


class Recorder:
    """Takes what the encoders of one part make; a :class:`media_worker.encode.TrackSink`.

    Args:
        held: The part.
        ledger: Where the init segments of the run are noted.
        tracks: Names of the tracks of the part.
        picture: Whether they are rungs of the picture, not sound.
        first_segment: Number, on the grid of the whole video, of the part's first segment.
        keys: Keys of the run.
        uploader: Writes the segments.
        cancellation: Stops the job.
        recorded: Called, from a thread of the recorder, when more was written down.
    """

    def __init__(
        self,
        held: HeldPart,
        ledger: RunLedger,
        *,
        tracks: Sequence[str],
        picture: bool,
        first_segment: int,
        keys: RunKeys,
        uploader: Uploader,
        cancellation: Cancellation,
        recorded: Callable[[], None],
    ) -> None:
        self._held = held
        self._ledger = ledger
        self._tracks = [_Track(name) for name in tracks]
        self._picture = picture
        self._next = first_segment + held.part.segments
        self._keys = keys
        self._uploader = uploader
        self._cancellation = cancellation
        self._recorded = recorded
        self._inits_noted = False
        self._lock = threading.Lock()
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread = make_thread("recorder", self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def init(self, track: int, data: bytes) -> None:
        """Publish the init segment of a track."""
        target = self._tracks[track]
        target.init = init_name(data)
        target.codec = avc_codec(data) if self._picture else AUDIO_CODEC

        def done() -> None:
            target.init_uploaded = True
            self._dirty.set()

        self._uploader.submit(
            Upload(
                key=self._keys.init(target.name, target.init),
                body=data,
                content_type=VIDEO_TYPE if self._picture else AUDIO_TYPE,
            ),
            done,
        )

    def segment(self, track: int, segment: Segment) -> None:
        """Publish a segment of a track, unless an earlier attempt did; may block."""
        target = self._tracks[track]
        if segment.index < self._next:
            return

        def done() -> None:
            with self._lock:
                target.uploaded[segment.index] = replace(segment, data=b"")
            self._held.spend(bytes_out=len(segment.data))
            self._dirty.set()

        self._uploader.submit(
            Upload(
                key=self._keys.segment(target.name, self._held.attempt, segment.name),
                body=segment.data,
                content_type=SEGMENT_TYPE,
            ),
            done,
        )

    def finish(self, **values: object) -> None:
        """Write down the rest, once all is uploaded, and that the part is done.

        Args:
            **values: Other fields of the part.

        Raises:
            StoppedError: If the job was stopped.
        """
        self._uploader.drain()
        self._stop()
        self._cancellation.check()
        self._record(done=True, lease_until=0, **values)

    def _stop(self) -> None:
        self._closing.set()
        self._dirty.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._dirty.wait()
                self._dirty.clear()
                if self._closing.is_set() or self._cancellation.reason is not None:
                    return
                if self._record():
                    self._recorded()
        except Exception as error:  # noqa: BLE001 - the job raises it
            self._cancellation.fail(error)

    def _record(self, **values: object) -> bool:
        """Write down what follows without a gap in every track; tell whether something does."""
        rows = self._complete_rows()
        if rows and not self._inits_noted:
            self._ledger.note_inits(
                self._held.job,
                {track.name: track.init for track in self._tracks},
                {track.name: track.codec for track in self._tracks},
            )
            self._inits_noted = True
        if rows or values:
            self._held.record(
                segments=len(rows),
                samples=sum(row[0].samples for row in rows),
                key_frames=[tuple(segment.key_frames for segment in row) for row in rows]
                if self._picture
                else [],
                **values,
            )
        return bool(rows)

    def _complete_rows(self) -> list[list[Segment]]:
        rows: list[list[Segment]] = []
        with self._lock:
            if not all(track.init_uploaded for track in self._tracks):
                return rows
            while all(self._next in track.uploaded for track in self._tracks):
                rows.append([track.uploaded.pop(self._next) for track in self._tracks])
                self._next += 1
        return rows
