"""The end of a run: every part is held against the plan, and what only exists at the end is made.

All of it is a function of what is recorded, so it may be done again by whoever comes after a worker
that died on the way, and yields the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from media_platform.contract.object_keys import (
    video_track,
)
from media_platform.contract.run import SOUND, Part, Rendition, Run
from media_worker import dash, quality
from media_worker.faults import TransientError
from media_worker.ffmpeg import AUDIO_BANDWIDTH
from media_worker.key_frames import KeyFrame, bandwidth, key_frame_playlist, on_grid
from media_worker.objects import FINISHED, Upload
from media_worker.planning import Plan, check_frames
from media_worker.playlists import AUDIO_CODEC, PLAYLIST_TYPE, Alternative, master_playlist
from media_worker.probe import Workbench
from media_worker.publisher import Listing, Publisher, sounds, texts
from media_worker.segments import AUDIO_RATE, segment_name
from media_worker.storyboard import make_storyboard
from media_worker.subtitles import subtitle_playlist
from media_worker.workplace import Workplace

DRIFT_SECONDS = 0.02
"""Most by which sound and picture may end apart."""

_TYPES = {".jpg": "image/jpeg", ".vtt": "text/vtt"}


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A run of which all parts fit together.

    Attributes:
        run: The run.
        chunks: Its chunks, all of them.
        sound: Its sound, if there is any.
        frames: Frames of every rung.
    """

    run: Run
    chunks: tuple[Part, ...]
    sound: Part | None
    frames: int

    @property
    def listing(self) -> Listing:
        """All of its segments."""
        return Listing(
            picture=tuple(attempt for chunk in self.chunks for attempt in chunk.attempts),
            frames=self.frames,
            sound=self.sound.attempts if self.sound else (),
            samples=self.sound.samples if self.sound else 0,
        )


def picture_of(plan: Plan, chunks: Sequence[Part]) -> int:
    """Return the frames of every rung, after a look whether they are what was planned.

    That decode times continue was checked with each fragment, and that the rungs of a chunk have
    what its one decode yielded with each chunk.

    Raises:
        BadInputError: If frames are missing that the source promised.
        TransientError: If a chunk is not what its record says.
    """
    if len(chunks) != len(plan.chunks):
        raise TransientError(f"{len(chunks)} of {len(plan.chunks)} chunks are there")
    for frames, chunk in zip(plan.chunks, chunks, strict=True):
        if frames.end is not None and chunk.samples != frames.end - frames.start:
            raise TransientError(
                f"{chunk.name} has {chunk.samples} of {frames.end - frames.start} frames"
            )
        needed = -(-chunk.samples // plan.grid.segment_frames)
        if chunk.segments != needed or len(chunk.key_frames) != needed:
            raise TransientError(f"{chunk.name} has {chunk.segments} of {needed} segments")
    total = sum(chunk.samples for chunk in chunks)
    check_frames(plan, total)
    return total


def drift(plan: Plan, frames: int, samples: int) -> float:
    """Return by how many seconds the sound ends after the picture; negative if before."""
    return samples / AUDIO_RATE - float(frames / plan.frame_rate)


class Ending:
    """Makes what exists at the end of a run.

    Args:
        plan: The plan.
        place: What the work needs.
        publisher: Publishes the playlists.
        bench: What children are given.
    """

    def __init__(
        self, *, plan: Plan, place: Workplace, publisher: Publisher, bench: Workbench
    ) -> None:
        self._plan = plan
        self._bench = bench
        self._publisher = publisher
        self._place = place
        self._job = place.job
        self._keys = place.keys
        self._store = place.services.store
        self._ledger = place.services.ledger

    def verify(self, mend_sound: Callable[[Part, int], Part]) -> Verified:
        """Hold the parts against the plan.

        Args:
            mend_sound: Makes the end of the sound again, for a number of frames that is only known
                now.

        Raises:
            BadInputError: If frames are missing that the source promised.
            TransientError: If something is not as it should be.
        """
        run = self._ledger.run(self._job)
        sound = self._ledger.part(self._job, SOUND)
        chunks = self._ledger.chunks(self._job, 0, len(self._plan.chunks))
        if run is None:
            raise TransientError("the run is gone")
        frames = picture_of(self._plan, chunks)
        if not self._plan.source.audio:
            return Verified(run=run, chunks=tuple(chunks), sound=sound, frames=frames)
        if sound is None or not sound.done:
            raise TransientError("the sound is missing")
        if abs(drift(self._plan, frames, sound.samples)) >= DRIFT_SECONDS:
            sound = mend_sound(sound, frames)
        apart = drift(self._plan, frames, sound.samples)
        if abs(apart) >= DRIFT_SECONDS:
            raise TransientError(f"the sound ends {apart:.3f} s after the picture")
        self._place.log.info("verified", frames=frames, drift_seconds=round(apart, 4))
        return Verified(run=run, chunks=tuple(chunks), sound=sound, frames=frames)

    def publish(self, verified: Verified) -> tuple[Rendition, ...]:
        """End the playlists, and publish what goes with them; return the ladder."""
        renditions = self._publisher.renditions(verified.run, verified.frames)
        seconds = verified.frames / self._plan.frame_rate
        pictures = [self._key_frames(verified, number) for number in range(len(renditions))]
        for rendition, frames in zip(renditions, pictures, strict=True):
            track = video_track(rendition.height)
            text = key_frame_playlist(frames, init_uri=self._init(verified, track))
            self._put(self._keys.key_frame_playlist(track), text.encode(), PLAYLIST_TYPE)
        subtitles = self._subtitles(verified, seconds)
        self._storyboard(verified, renditions[-1], pictures[-1])
        self._put(
            self._keys.dash_manifest,
            self._manifest(verified, renditions, subtitles, seconds).encode(),
            dash.MANIFEST_TYPE,
        )
        master = master_playlist(
            renditions,
            frame_rate=self._plan.frame_rate,
            sounds=sounds(self._plan),
            audio_bandwidth=AUDIO_BANDWIDTH,
            texts=[text for text, _ in subtitles],
            key_frames=[bandwidth(frames) for frames in pictures],
        )
        self._publisher.finish(verified.run, verified.listing, master)
        return renditions

    def quality(self, verified: Verified) -> dict[int, float]:
        """Return the VMAF score of each rendition by its height, nothing if it has none.

        It tells of the encoding and is no condition for it, so a comparison that fails is logged.
        """
        listing = verified.listing
        tracks = [video_track(rung.height) for rung in self._plan.rungs]

        def segment(rung: int, index: int) -> bytes:
            name = segment_name(index)
            return self._body(self._keys.segment(tracks[rung], listing.picture[index], name))

        try:
            return quality.measure(
                self._bench,
                self._plan,
                frames=verified.frames,
                inits=[
                    self._body(self._keys.init(track, self._init(verified, track)))
                    for track in tracks
                ],
                segment=segment,
            )
        except TransientError as error:
            self._place.log.warning("the quality cannot be measured", error=str(error))
            return {}

    def _body(self, key: str) -> bytes:
        stored = self._store.get(key)
        if stored is None:
            raise TransientError(f"{key} is gone")
        return stored.body

    def _key_frames(self, verified: Verified, rung: int) -> list[KeyFrame]:
        """Return the key frames of a rung; URIs are relative to its playlist."""
        entries = self._publisher.picture_entries(verified.listing)
        places = [rungs[rung] for chunk in verified.chunks for rungs in chunk.key_frames]
        return on_grid(
            [(entry.uri, gops) for entry, gops in zip(entries, places, strict=True)],
            grid=self._plan.grid,
            frames=verified.frames,
        )

    def _init(self, verified: Verified, track: str) -> str:
        inits = verified.run.inits or {}
        if track not in inits:
            raise TransientError(f"no init segment of {track} is known")
        return inits[track]

    def _subtitles(self, verified: Verified, seconds: Fraction) -> list[tuple[Alternative, str]]:
        """Publish the playlists of the subtitles that there are; return them with their files."""
        found = []
        files = verified.sound.texts if verified.sound else ()
        for text, path in zip(texts(self._plan), files, strict=False):
            if not path:
                continue
            uri = path.removeprefix(f"{text.track}/")
            playlist = subtitle_playlist(uri, seconds)
            self._put(self._keys.playlist(text.track), playlist.encode(), PLAYLIST_TYPE)
            found.append((text, path))
        return found

    def _storyboard(
        self, verified: Verified, rendition: Rendition, frames: Sequence[KeyFrame]
    ) -> None:
        track = video_track(rendition.height)
        init = self._body(self._keys.init(track, self._init(verified, track)))
        folder = f"{self._keys.prefix}{track}/"

        def read(uri: str, offset: int, size: int) -> bytes:
            return self._store.read(folder + uri, offset, offset + size)

        files = make_storyboard(
            frames,
            init=init,
            size=(rendition.width, rendition.height),
            read=read,
            cancellation=self._bench.cancellation,
            scratch=self._bench.scratch,
            spent=self._bench.spent,
        )
        for name, body in files.items():
            kind = _TYPES[name[name.rindex(".") :]]
            self._put(self._keys.storyboard(name), body, kind)

    def _manifest(
        self,
        verified: Verified,
        renditions: Sequence[Rendition],
        subtitles: Sequence[tuple[Alternative, str]],
        seconds: Fraction,
    ) -> str:
        grid, listing = self._plan.grid, verified.listing
        picture = [
            (entry.uri, int(entry.duration * grid.timescale))
            for entry in self._publisher.picture_entries(listing)
        ]
        sound = self._publisher.sound_entries(listing)

        def track(
            name: str, timescale: int, segments: Sequence[tuple[str, int]]
        ) -> dash.MediaTrack:
            return dash.MediaTrack(
                timescale=timescale,
                init_uri=f"{name}/{self._init(verified, name)}",
                segments=[(f"{name}/{uri}", ticks) for uri, ticks in segments],
            )

        return dash.manifest(
            seconds=seconds,
            frame_rate=self._plan.frame_rate,
            videos=[
                dash.VideoRepresentation(
                    name=video_track(one.height),
                    width=one.width,
                    height=one.height,
                    bandwidth=one.bandwidth,
                    codecs=one.codecs,
                    track=track(video_track(one.height), grid.timescale, picture),
                )
                for one in renditions
            ],
            sounds=[
                dash.AudioRepresentation(
                    name=one.track,
                    bandwidth=AUDIO_BANDWIDTH,
                    codecs=AUDIO_CODEC,
                    channels=2,
                    language=one.language,
                    label=one.name,
                    default=one.default,
                    track=track(
                        one.track,
                        AUDIO_RATE,
                        [(entry.uri, int(entry.duration * AUDIO_RATE)) for entry in sound],
                    ),
                )
                for one in sounds(self._plan)
            ],
            texts=[
                dash.TextRepresentation(
                    name=text.track,
                    uri=path,
                    language=text.language,
                    label=text.name,
                    forced=text.forced,
                )
                for text, path in subtitles
            ],
        )

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._store.put(
            Upload(key=key, body=body, content_type=content_type, cache_control=FINISHED)
        )
