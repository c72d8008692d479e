"""Playlists that grow with a run.

They say what the table says: the segments of the chunks that follow each other without a gap from
the start. So any worker may write them at any time, and it does not matter which one does; each is
replaced only in the state in which it was last seen, and never by a shorter one. Workers take turns
by a conditional write to the run, so that playlists are written once in an interval at most,
however many workers share the video.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

import structlog

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RunKeys, audio_track, text_track, video_track
from media_platform.contract.run import Rendition, Run
from media_platform.contract.times import timestamp
from media_worker.claims import Standing
from media_worker.ffmpeg import AUDIO_BANDWIDTH
from media_worker.languages import language_tag
from media_worker.objects import (
    FINISHED,
    GROWING,
    ObjectChangedError,
    ObjectStore,
    Upload,
)
from media_worker.planning import AudioStream, Plan, TextStream
from media_worker.playlists import (
    END_OF_LIST,
    PLAYLIST_TYPE,
    Alternative,
    Entry,
    count_entries,
    master_playlist,
    media_playlist,
)
from media_worker.runs import RunLedger
from media_worker.segments import AUDIO_RATE, audio_segment_samples, segment_name
from media_worker.threads import make_pool

_TRIES = 20


@dataclass(frozen=True)
class Listing:
    """What playlists list.

    Attributes:
        picture: Attempt that made each segment of the picture.
        frames: Frames in them.
        sound: Attempt that made each segment of the sound.
        samples: Samples in them.
    """

    picture: tuple[int, ...]
    frames: int
    sound: tuple[int, ...]
    samples: int


@dataclass(frozen=True)
class _Seen:
    """A playlist as it stands in the store."""

    etag: str
    entries: int
    ended: bool


class Publisher:
    """Publishes one run.

    Args:
        plan: The plan of the run.
        job: A job of the run.
        keys: Keys of the run.
        store: Where it publishes.
        ledger: What it publishes.
        interval_seconds: Least time between two versions of the playlists.
        playable: Called once the run can be played.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        job: TranscodeJob,
        keys: RunKeys,
        store: ObjectStore,
        ledger: RunLedger,
        interval_seconds: float,
        playable: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._job = job
        self._keys = keys
        self._store = store
        self._ledger = ledger
        self._interval = interval_seconds
        self._playable = playable
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._attempts: list[int] = []
        self._attempts_of = 0

    def advance(self) -> Standing:
        """Look how far the run is, and bring the playlists up to date if it is time.

        Raises:
            StoppedError: If the run has ended.
        """
        with self._lock:
            return self._advance(self._ledger.running(self._job))

    def recorded(self) -> None:
        """Bring the playlists up to date if it is time, now that more was written down.

        Mostly somebody did a moment ago; then the run alone is read, and not its parts. A thousand
        workers on one video would else read more than its partition of the table gives.

        Raises:
            StoppedError: If the run has ended.
        """
        with self._lock:
            run = self._ledger.running(self._job)
            if self._is_time(run):
                self._advance(run)

    def _advance(self, run: Run) -> Standing:
        standing = self._ledger.standing(self._job, run)
        listing = self._listing(standing)
        if self._is_due(run, listing):
            # Read after the parts: what stands in them has its init segments noted in the run.
            turn = self._ledger.take_turn(self._job, run)
            if turn is not None:
                self._publish(replace(standing, run=turn), listing)
        return standing

    def finish(self, run: Run, listing: Listing, master: str) -> None:
        """End every playlist, and replace the multivariant one by ``master``."""
        with self._lock:
            self._write_playlists(run, listing, ended=True)
            self._store.put(self._master(master, final=True))
            if run.playable_at is None and self._ledger.note(
                self._job, run, playable_at=timestamp()
            ):
                self._tell_playable()

    def renditions(self, run: Run, frames: int) -> tuple[Rendition, ...]:
        """Return the ladder with ``frames`` of each rung."""
        codecs = run.codecs or {}
        return tuple(
            Rendition(
                height=rung.height,
                width=rung.width,
                frames=frames,
                bandwidth=rung.bandwidth,
                codecs=codecs.get(video_track(rung.height), ""),
            )
            for rung in self._plan.rungs
        )

    def picture_entries(self, listing: Listing) -> list[Entry]:
        """Return the entries of every rung."""
        grid, left = self._plan.grid, listing.frames
        entries = []
        for index, attempt in enumerate(listing.picture):
            frames = min(left, grid.segment_frames)
            left -= frames
            duration = Fraction(frames * grid.frame_ticks, grid.timescale)
            entries.append(Entry(f"{attempt}/{segment_name(index)}", duration))
        return entries

    def sound_entries(self, listing: Listing) -> list[Entry]:
        """Return the entries of every sound track."""
        left = listing.samples
        entries = []
        for index, attempt in enumerate(listing.sound):
            samples = min(left, audio_segment_samples(self._plan.grid.segment_seconds, index))
            left -= samples
            entries.append(Entry(f"{attempt}/{segment_name(index)}", Fraction(samples, AUDIO_RATE)))
        return entries

    def _listing(self, standing: Standing) -> Listing:
        """Return what can be listed while the run is not complete.

        Of the sound nothing is listed beyond the picture. And what ends with the picture waits
        until it is known where that is, the last segment of both: the number of frames is an
        estimate up to then, and the sound is made to end with it.
        """
        grid, last = self._plan.grid, len(self._plan.chunks) - 1
        picture = self._attempts_until(standing.joined)
        partial = standing.partial.attempts if standing.partial else ()
        if standing.joined > last:
            picture = picture[:-1]
        elif standing.joined == last:
            partial = partial[:-1]
        picture = (*picture, *partial)
        sound = standing.sound.attempts[:-1][: len(picture)] if standing.sound else ()
        return Listing(
            picture=picture,
            frames=len(picture) * grid.segment_frames,
            sound=sound,
            samples=sum(
                audio_segment_samples(grid.segment_seconds, index) for index in range(len(sound))
            ),
        )

    def _attempts_until(self, chunk: int) -> tuple[int, ...]:
        """Return who made the segments of all chunks before ``chunk``, which are complete."""
        if chunk > self._attempts_of:
            for part in self._ledger.chunks(self._job, self._attempts_of, chunk):
                self._attempts += part.attempts
            self._attempts_of = chunk
        return tuple(self._attempts)

    def _is_due(self, run: Run, listing: Listing) -> bool:
        if not listing.picture or (self._plan.source.audio and not listing.sound):
            return False
        return self._is_time(run)

    def _is_time(self, run: Run) -> bool:
        now = time.time() * 1000
        return run.published_at == 0 or now - run.published_at >= self._interval * 1000

    def _publish(self, standing: Standing, listing: Listing) -> None:
        run = standing.run
        self._write_playlists(run, listing, ended=False)
        values: dict[str, object] = {
            "joined": max(run.joined, standing.joined),
            "progress": self._percent(listing.frames),
            "renditions": [asdict(one) for one in self.renditions(run, listing.frames)],
        }
        if run.playable_at is None:
            text = master_playlist(
                self.renditions(run, listing.frames),
                frame_rate=self._plan.frame_rate,
                sounds=sounds(self._plan),
                audio_bandwidth=AUDIO_BANDWIDTH,
            )
            with suppress(ObjectChangedError):  # somebody was faster
                self._store.replace(self._master(text, final=False), None)
            values["playable_at"] = timestamp()
        if self._ledger.note(self._job, run, **values) and run.playable_at is None:
            self._tell_playable()

    def _tell_playable(self) -> None:
        structlog.get_logger().info("playable")
        self._playable()

    def _percent(self, frames: int) -> int:
        """Per cent of the planned frames; 100 is for complete runs only."""
        return min(99, 100 * frames // self._plan.frames) if self._plan.frames else 0

    def _write_playlists(self, run: Run, listing: Listing, *, ended: bool) -> None:
        grid, inits = self._plan.grid, run.inits or {}
        picture = self.picture_entries(listing)
        sound = self.sound_entries(listing)
        # No segment of any track exceeds it when rounded; it never changes.
        longest = grid.segment_seconds + Fraction(4, 15)
        target = max(1, int(longest + Fraction(1, 2)))
        tracks: list[tuple[str, Sequence[Entry]]] = [
            *((video_track(rung.height), picture) for rung in self._plan.rungs),
            *((one.track, sound) for one in sounds(self._plan)),
        ]

        def write(track: str, entries: Sequence[Entry]) -> None:
            text = media_playlist(
                entries, init_uri=inits[track], target_duration=target, ended=ended
            )
            self._replace(track, text, len(entries), ended=ended)

        with make_pool("playlist", len(tracks)) as pool:
            for done in [pool.submit(write, *track) for track in tracks]:
                done.result()

    def _replace(self, track: str, text: str, entries: int, *, ended: bool) -> None:
        """Put a playlist where a shorter one stands, or none."""
        upload = Upload(
            key=self._keys.playlist(track),
            body=text.encode(),
            content_type=PLAYLIST_TYPE,
            cache_control=FINISHED if ended else GROWING,
            final=ended,
        )
        for _ in range(_TRIES):
            seen = self._seen.get(track)
            if seen is not None and not ended and (seen.ended or seen.entries >= entries):
                return
            try:
                etag = self._store.replace(upload, seen.etag if seen else None)
            except ObjectChangedError:
                stored = self._store.get(upload.key)
                if stored is None:
                    self._seen.pop(track, None)
                    continue
                standing = stored.body.decode()
                self._seen[track] = _Seen(
                    stored.etag, count_entries(standing), END_OF_LIST in standing
                )
            else:
                self._seen[track] = _Seen(etag, entries, ended)
                return

    def _master(self, text: str, *, final: bool) -> Upload:
        return Upload(
            key=self._keys.master_playlist,
            body=text.encode(),
            content_type=PLAYLIST_TYPE,
            cache_control=FINISHED if final else GROWING,
            final=final,
        )


def sounds(plan: Plan) -> list[Alternative]:
    """Return the sound tracks of a plan as viewers can choose them."""
    return [
        Alternative(track=audio_track(number), name=name, language=tag, default=number == 0)
        for number, (name, tag) in enumerate(_labels(plan.source.audio, "main"))
    ]


def texts(plan: Plan) -> list[Alternative]:
    """Return the subtitles of a plan as viewers can choose them."""
    streams = plan.source.texts
    labels = _labels(streams, "subtitles")
    return [
        Alternative(track=text_track(number), name=name, language=tag, forced=stream.forced)
        for number, (stream, (name, tag)) in enumerate(zip(streams, labels, strict=True))
    ]


def _labels(
    streams: Sequence[AudioStream | TextStream], otherwise: str
) -> list[tuple[str, str | None]]:
    """Return a name of each stream, with a number where an earlier one has it, and its language."""
    tags = [language_tag(stream.language) for stream in streams]
    names = [stream.title or tag or otherwise for stream, tag in zip(streams, tags, strict=True)]
    return [
        (f"{name} {number + 1}" if name in names[:number] else name, tag)
        for number, (name, tag) in enumerate(zip(names, tags, strict=True))
    ]
