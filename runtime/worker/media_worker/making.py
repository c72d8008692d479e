"""Making the parts of a run: the plan, the chunks of the picture, the sound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from media_platform.contract import metrics
from media_platform.contract.object_keys import text_track, video_track
from media_platform.contract.run import Part, Span
from media_worker import loudness, plans
from media_worker.cancellation import Cancellation
from media_worker.encode import TrackSink, encode_sound, encode_video, make_poster
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.held import HeldPart
from media_worker.objects import FINISHED, Upload
from media_worker.planning import FrameRange, Plan, check_source, make_plan
from media_worker.probe import Workbench, probe
from media_worker.publisher import sounds
from media_worker.recorder import Recorder
from media_worker.segments import Segment, audio_segment_samples
from media_worker.uploads import Uploader
from media_worker.workplace import Workplace

_FIRST_SOUND = 2
"""Segments of sound that are made at once: what the first chunk of the picture needs to be played.
"""

_LOOK_SECONDS = 0.2

POSTER_TYPE = "image/jpeg"
TEXT_TYPE = "text/vtt"


def plan_run(place: Workplace, held: HeldPart) -> Plan:
    """Look at the source, and write down how it becomes a ladder.

    Args:
        place: What the work needs.
        held: The part for which it is done.

    Raises:
        BadInputError: If it cannot become a video.
        TransientError: If it could not be read.
        StoppedError: If the job was stopped, or the run has ended.
    """
    settings = place.services.settings
    source = probe(place.bench_for(held), place.source.head)
    check_source(
        source,
        max_pixels=settings.max_pixels,
        max_duration_seconds=settings.max_duration_seconds,
        max_frame_rate=settings.max_frame_rate,
    )
    plan = make_plan(
        source,
        settings.chunk_seconds,
        settings.chunks_in_flight,
        ladder=settings.ladder,
        profile=place.job.profile,
        quality=place.job.quality,
    )
    place.log.info(
        "planned",
        format=source.format_name,
        frame_rate=str(plan.frame_rate),
        frames=plan.frames,
        chunks=len(plan.chunks),
        rungs=[rung.height for rung in plan.rungs],
        crf=plan.crf,
        audio=len(source.audio),
        texts=len(source.texts),
    )
    place.services.ledger.plan(
        place.job,
        plan=plans.to_text(plan),
        chunks=len(plan.chunks),
        frame_rate=str(plan.frame_rate),
        has_audio=bool(source.audio),
        **({} if plan.seconds is None else {"duration_seconds": round(float(plan.seconds), 3)}),
    )
    # Another worker may have been faster, with a newer version of this code.
    run = place.services.ledger.run(place.job)
    if run is None or run.plan is None:
        raise StoppedError(StopReason.SETTLED)
    plan = plans.from_text(run.plan)
    place.services.ledger.expect(place.job, run, _megapixels(plan))
    return plan


def _megapixels(plan: Plan) -> float:
    """Return the millions of pixels of all frames that a plan makes, 0 if nothing tells."""
    pixels = sum(rung.width * rung.height for rung in plan.rungs)
    return pixels * (plan.frames or 0) / 1e6


class Maker:
    """Makes parts of one run.

    Args:
        plan: The plan of the run.
        place: What the work needs.
        advanced: Called when more of a part was written down.
    """

    def __init__(self, plan: Plan, place: Workplace, advanced: Callable[[], None]) -> None:
        self._plan = plan
        self._place = place
        self._advanced = advanced

    def chunk(self, number: int, held: HeldPart, *, finishing: Callable[[], None]) -> None:
        """Encode what is left of a chunk, and write it down.

        Args:
            number: The chunk.
            held: Its part.
            finishing: Called before it is written down that the chunk is complete.
        """
        plan, grid = self._plan, self._plan.grid
        frames, bench = plan.chunks[number], self._place.bench_for(held)
        begun = time.monotonic()
        with (
            self._place.uploader() as uploader,
            Recorder(
                held,
                self._place.services.ledger,
                tracks=[video_track(rung.height) for rung in plan.rungs],
                picture=True,
                first_segment=frames.start // grid.segment_frames,
                keys=self._place.keys,
                uploader=uploader,
                cancellation=self._place.cancellation,
                recorded=self._advanced,
            ) as recorder,
        ):
            left = FrameRange(frames.start + held.part.samples, frames.end)
            encoded, took = 0, 0.0
            # After a segment that is not full nothing can follow.
            if left.start % grid.segment_frames == 0 and left.start != left.end:
                encoded = encode_video(plan, left, bench, recorder).decoded
                took = time.monotonic() - begun
            if number == 0:
                self._make_poster(uploader, bench)
            self._place.put_down_reading(held)
            finishing()
            recorder.finish()
        self._place.log.info(
            "chunk done",
            chunk=number,
            frames=held.part.samples,
            encoded=encoded,
            seconds=round(time.monotonic() - begun, 3),
            cpu_seconds=round(held.part.cpu_seconds, 3),
        )
        self._place.emit(
            {
                metrics.CHUNKS_COMPLETED: 1,
                metrics.CHUNK_RETRIES: held.attempt - 1,
                **(
                    {metrics.ENCODE_SPEED_RATIO: float(encoded / plan.frame_rate) / took}
                    if encoded and took
                    else {}
                ),
            }
        )

    def _make_poster(self, uploader: Uploader, bench: Workbench) -> None:
        uploader.submit(
            Upload(
                key=self._place.keys.poster,
                body=make_poster(self._plan, bench),
                content_type=POSTER_TYPE,
                cache_control=FINISHED,
            ),
            lambda: None,
        )

    def sound(self, held: HeldPart, go_on: threading.Event | None = None) -> None:
        """Encode what is left of the sound, and write it down, with the subtitles.

        Args:
            held: The sound.
            go_on: If there is one, no more than the first segments are made until it is set.
        """
        plan, bench = self._plan, self._place.bench_for(held)
        frames = plan.frames if held.part.frames is None else held.part.frames
        gains = held.part.gains
        if gains is None:
            gains = tuple(
                loudness.gain(
                    loudness.measure(
                        bench,
                        stream,
                        format_name=plan.source.format_name,
                        seek_origin=plan.source.origin - plan.source.format_start,
                        seconds=plan.seconds,
                    )
                )
                for stream in plan.source.audio
            )
            held.note(gains=gains)
            self._place.log.info("loudness measured", gains=gains)
        with (
            self._place.uploader() as uploader,
            Recorder(
                held,
                self._place.services.ledger,
                tracks=[sound.track for sound in sounds(plan)],
                picture=False,
                first_segment=0,
                keys=self._place.keys,
                uploader=uploader,
                cancellation=self._place.cancellation,
                recorded=self._advanced,
            ) as recorder,
        ):
            encoded = encode_sound(
                plan,
                bench,
                _Waiting(recorder, go_on, self._place.cancellation) if go_on else recorder,
                loudness=[
                    loudness.filters(gain, stream.channels)
                    for gain, stream in zip(gains, plan.source.audio, strict=True)
                ],
                frames=frames,
            )
            self._place.put_down_reading(held)
            recorder.finish(texts=self._upload_texts(encoded.texts, held.attempt, uploader))
        self._place.log.info("sound done", samples=held.part.samples, texts=len(held.part.texts))

    def _upload_texts(
        self, texts: tuple[str | None, ...], attempt: int, uploader: Uploader
    ) -> tuple[str, ...]:
        """Publish the subtitles; return the paths of their files below the run, in order."""
        paths = []
        for number, text in enumerate(texts):
            path = ""
            if text is not None:
                path = f"{text_track(number)}/{attempt}/subtitles.vtt"
                upload = Upload(
                    key=self._place.keys.prefix + path, body=text.encode(), content_type=TEXT_TYPE
                )
                uploader.submit(upload, lambda: None)
            paths.append(path)
        return tuple(paths)

    def reopen_sound(self, sound: Part, frames: int) -> HeldPart:
        """Take the sound to make its end again, now that the end of the picture is known.

        What is kept may be listed already: no more than lies before the last segment of the
        picture.
        """
        grid = self._plan.grid
        keep = min(sound.segments, -(-frames // grid.segment_frames)) - 1
        held = self._place.services.ledger.reopen(
            self._place.job,
            sound,
            frames=frames,
            spans=_first(sound.spans, keep),
            samples=sum(
                audio_segment_samples(grid.segment_seconds, index) for index in range(keep)
            ),
        )
        if held is None:
            raise TransientError("the sound changed while it was verified")
        self._place.log.info("sound is made again from a segment on", segment=keep, frames=frames)
        return held


class _Waiting:
    """Hands the first segments on, and the others once it may; the encoder waits meanwhile.

    The sound of an hour would else take its share of the processors from the first chunk, and a
    long video be playable later than a short one.
    """

    def __init__(self, sink: TrackSink, go_on: threading.Event, cancellation: Cancellation) -> None:
        self._sink = sink
        self._go_on = go_on
        self._cancellation = cancellation

    def init(self, track: int, data: bytes) -> None:
        """Hand the init segment of a track on."""
        self._sink.init(track, data)

    def segment(self, track: int, segment: Segment) -> None:
        """Hand a segment of a track on."""
        while segment.index >= _FIRST_SOUND and not self._go_on.wait(_LOOK_SECONDS):
            self._cancellation.check()
        self._sink.segment(track, segment)


def _first(spans: tuple[Span, ...], segments: int) -> tuple[Span, ...]:
    """Return the spans of the first ``segments`` segments."""
    kept = []
    for span in spans:
        count = min(span.segments, segments)
        if count > 0:
            kept.append(replace(span, segments=count))
        segments -= count
    return tuple(kept)
