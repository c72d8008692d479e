"""Publishing a run while it is encoded.

Segments go up as they come; playlists follow with the part that has no gap, at most once in an
interval; the multivariant playlist is written once, when every track can be played. Playlists stand
under keys that attempts share, so each is replaced only in the state in which it was last seen, and
never by a shorter one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from media_platform.contract.object_keys import AUDIO_TRACK, RunKeys, video_track
from media_platform.contract.run import Rendition
from media_worker.boxes import avc_codec
from media_worker.cancellation import Cancellation
from media_worker.faults import TransientError
from media_worker.ffmpeg import AUDIO_BANDWIDTH
from media_worker.objects import (
    FINISHED,
    GROWING,
    ObjectChangedError,
    ObjectStore,
    StoredObject,
    Upload,
)
from media_worker.planning import Plan
from media_worker.playlists import (
    AUDIO_CODEC,
    PLAYLIST_TYPE,
    Entry,
    master_playlist,
    media_playlist,
    read_entries,
)
from media_worker.segments import Segment
from media_worker.uploads import Uploader

VIDEO_TYPE = "video/mp4"
SEGMENT_TYPE = "video/iso.segment"
AUDIO_TYPE = "audio/mp4"
POSTER_TYPE = "image/jpeg"
INIT_NAME = "init.mp4"


@dataclass(frozen=True)
class Progress:
    """How far a run is published.

    Attributes:
        percent: Per cent of the planned frames, 0 to 100.
        renditions: The ladder with the frames of each rung, or nothing before the first segments.
        playable: Whether the multivariant playlist is there.
    """

    percent: int
    renditions: tuple[Rendition, ...]
    playable: bool


@dataclass(frozen=True)
class _Standing:
    """The playlist of a track that stands in the store."""

    etag: str
    seconds: Fraction
    ended: bool
    ours: bool

    def gives_way_to(self, seconds: Fraction, *, ended: bool) -> bool:
        """Tell whether a playlist of ours may take its place: viewers never lose a segment.

        A complete one always may; it was verified.
        """
        if ended:
            return not (self.ours and self.ended)
        rounding = Fraction(1, 1000)
        enough = seconds > self.seconds if self.ours else seconds >= self.seconds - rounding
        return enough and not self.ended


@dataclass
class _Track:
    name: str
    codec: str = ""
    init_uploaded: bool = False
    uploaded: dict[int, Segment] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    samples: int = 0
    standing: _Standing | None = None

    @property
    def playable(self) -> bool:
        return bool(self.codec) and self.standing is not None


class Publisher:
    """Publishes one attempt of a run; a :class:`media_worker.encode.TrackSink`.

    Args:
        plan: The plan of the run.
        keys: Keys of the run.
        attempt: Number of the attempt; part of the keys of segments.
        store: Where it publishes.
        uploader: Writes the segments.
        cancellation: Stops the job.
        report: Takes the progress, at most once in an interval and at the end; called from a
            thread of the publisher.
        interval_seconds: Least time between two versions of the playlists.
        still_ours: Raises if another worker holds the run; asked when a playlist has changed.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        keys: RunKeys,
        attempt: int,
        store: ObjectStore,
        uploader: Uploader,
        cancellation: Cancellation,
        report: Callable[[Progress], None],
        still_ours: Callable[[], None],
        interval_seconds: float,
    ) -> None:
        self._plan = plan
        self._keys = keys
        self._attempt = attempt
        self._store = store
        self._uploader = uploader
        self._cancellation = cancellation
        self._report = report
        self._still_ours = still_ours
        self._interval = interval_seconds
        self._lock = threading.Lock()
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self.playable = threading.Event()
        self._rungs = [_Track(video_track(rung.height)) for rung in plan.rungs]
        self._audio = _Track(AUDIO_TRACK) if plan.source.audio_index is not None else None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def _tracks(self) -> list[_Track]:
        return [*self._rungs, *([self._audio] if self._audio else [])]

    def start(self) -> None:
        """Begin; what an earlier attempt published is looked at first.

        Raises:
            botocore.exceptions.ClientError: If the store cannot be read.
        """
        if self._attempt > 1:
            for track in self._tracks:
                self._see(track, self._store.get(self._keys.playlist(track.name)))
        self._thread.start()

    def init(self, track: int | None, data: bytes) -> None:
        """Publish the init segment of a track."""
        target = self._track(track)
        target.codec = AUDIO_CODEC if track is None else avc_codec(data)

        def done() -> None:
            target.init_uploaded = True
            self._dirty.set()

        kind = AUDIO_TYPE if track is None else VIDEO_TYPE
        self._uploader.submit(self._upload(target, INIT_NAME, data, kind), done)

    def segment(self, track: int | None, segment: Segment) -> None:
        """Publish a segment of a track; blocks while too many are under way."""
        target = self._track(track)

        def done() -> None:
            with self._lock:
                target.uploaded[segment.index] = replace(segment, data=b"")
                self._extend(target)
            self._dirty.set()

        self._uploader.submit(self._upload(target, segment.name, segment.data, SEGMENT_TYPE), done)

    def no_audio(self) -> None:
        """Publish without an audio track after all: there was nothing to be heard in it."""
        self._audio = None
        self._dirty.set()

    def poster(self, image: bytes) -> None:
        """Publish the poster."""
        upload = Upload(
            key=self._keys.poster, body=image, content_type=POSTER_TYPE, cache_control=FINISHED
        )
        self._uploader.submit(upload, lambda: None)

    def finish(self) -> tuple[Rendition, ...]:
        """End every playlist, once everything is uploaded; return the renditions.

        Raises:
            StoppedError: If the job was stopped.
            TransientError: If a segment is missing.
        """
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        self._cancellation.check()
        for track in self._tracks:
            if track.uploaded or not track.entries:
                raise TransientError(
                    f"track {track.name} has a gap after {len(track.entries)} segments"
                )
        self._publish(ended=True)
        return self._renditions()

    def close(self) -> None:
        """End the thread without ending the playlists."""
        self._closing.set()
        self._dirty.set()

    def _track(self, number: int | None) -> _Track:
        if number is not None:
            return self._rungs[number]
        if self._audio is None:
            raise ValueError("the plan has no audio track")
        return self._audio

    def _upload(self, track: _Track, name: str, body: bytes, content_type: str) -> Upload:
        key = self._keys.segment(track.name, self._attempt, name)
        return Upload(key=key, body=body, content_type=content_type)

    def _extend(self, track: _Track) -> None:
        """Take the segments that follow without a gap into the playlist."""
        while (segment := track.uploaded.pop(len(track.entries), None)) is not None:
            track.entries.append(Entry(f"{self._attempt}/{segment.name}", segment.duration))
            track.samples += segment.samples

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._dirty.wait()
                self._dirty.clear()
                if self._cancellation.reason is not None:
                    return
                self._publish(ended=False)
                self._closing.wait(self._interval if self.playable.is_set() else 0)
        except Exception as error:  # noqa: BLE001 - the job raises it
            self._cancellation.fail(error)

    def _publish(self, *, ended: bool) -> None:
        """Bring the playlists up to date, then the multivariant one, then the run item."""
        tracks = self._tracks
        for track in tracks:
            with self._lock:
                entries = list(track.entries) if track.init_uploaded else []
            if entries:
                self._write(track, entries, ended=ended)
        if not self.playable.is_set() and all(track.playable for track in tracks):
            self._write_master()
            self.playable.set()
        if self.playable.is_set() or ended:
            self._report(
                Progress(
                    100 if ended else self._percent(),
                    self._renditions(),
                    self.playable.is_set(),
                )
            )

    def _write(self, track: _Track, entries: list[Entry], *, ended: bool) -> None:
        text = media_playlist(
            entries,
            init_uri=f"{self._attempt}/{INIT_NAME}",
            target_duration=self._target_duration(),
            ended=ended,
        )
        upload = Upload(
            key=self._keys.playlist(track.name),
            body=text.encode(),
            content_type=PLAYLIST_TYPE,
            cache_control=FINISHED if ended else GROWING,
        )
        seconds = sum((entry.duration for entry in entries), Fraction(0))
        while track.standing is None or track.standing.gives_way_to(seconds, ended=ended):
            try:
                etag = self._store.replace(upload, track.standing.etag if track.standing else None)
            except ObjectChangedError:
                self._still_ours()
                self._see(track, self._store.get(upload.key))
            else:
                track.standing = _Standing(etag, seconds, ended=ended, ours=True)

    def _see(self, track: _Track, stored: StoredObject | None) -> None:
        """Note the playlist of another attempt."""
        if stored is None:
            track.standing = None
            return
        text = stored.body.decode()
        track.standing = _Standing(
            stored.etag,
            sum((entry.duration for entry in read_entries(text)), Fraction(0)),
            ended="#EXT-X-ENDLIST" in text,
            ours=False,
        )

    def _target_duration(self) -> int:
        """Seconds that no segment of any track exceeds when rounded."""
        longest = self._plan.grid.segment_seconds + Fraction(4, 15)
        return max(1, int(longest + Fraction(1, 2)))

    def _write_master(self) -> None:
        text = master_playlist(
            self._renditions(),
            frame_rate=self._plan.frame_rate,
            audio_bandwidth=AUDIO_BANDWIDTH if self._audio else None,
        )
        upload = Upload(
            key=self._keys.master_playlist,
            body=text.encode(),
            content_type=PLAYLIST_TYPE,
            cache_control=FINISHED,
        )
        self._store.put(upload)

    def _percent(self) -> int:
        """Per cent of the planned frames that every rung has; 100 is for complete runs only."""
        if not self._plan.frames:
            return 0
        least = min(track.samples for track in self._rungs)
        return min(99, 100 * least // self._plan.frames)

    def _renditions(self) -> tuple[Rendition, ...]:
        return tuple(
            Rendition(
                height=rung.height,
                width=rung.width,
                frames=track.samples,
                bandwidth=rung.bandwidth,
                codecs=track.codec,
            )
            for rung, track in zip(self._plan.rungs, self._rungs, strict=True)
        )
