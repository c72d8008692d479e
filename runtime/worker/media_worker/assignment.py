"""What one message asks for, from the claim of a part to what follows from it.

A message names a part, but it stands for more: the one that starts a run for its plan, its first
chunk, its sound and its poster; and whichever completes the last part, for the end of the run. It
is deleted only when all of that is done, so that nothing depends on a worker that may die.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from structlog.contextvars import bound_contextvars

from media_platform.contract import metrics
from media_platform.contract.ids import is_id
from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.run import END, SOUND, Part, download_part, video_part
from media_platform.contract.tracing import TraceContext
from media_worker import plans
from media_worker.cancellation import Cancellation
from media_worker.claims import Busy, Done, HeldBack, Settled
from media_worker.download import make_download
from media_worker.ending import Ending
from media_worker.faults import BadInputError, StoppedError, StopReason, TransientError
from media_worker.held import Held, HeldPart
from media_worker.making import Maker, plan_run
from media_worker.metrics import seconds_since
from media_worker.planning import Plan
from media_worker.publisher import Publisher
from media_worker.tenants import RETRY_SECONDS, Slot
from media_worker.threads import start_thread
from media_worker.thumbnails import claim as claim_thumbnail
from media_worker.thumbnails import make_thumbnail
from media_worker.workplace import Services, Workplace

_PART = re.compile(r"(?P<kind>video|download)#(?P<number>[0-9]{1,9})")
"""A forged name may hold more digits than a number, or the key of an item, can have."""

_SHOWN = 80
"""How much of an unknown name stands in the log."""

THUMBNAIL = "thumbnail"
"""Kind of the part that makes a thumbnail (``run.thumbnail_part``)."""


class BusyError(Exception):
    """Another worker holds what is needed.

    Attributes:
        seconds: Time until its lease passes.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"another worker holds the part for {seconds} s more")
        self.seconds = seconds


class PostponedError(Exception):
    """Enough is done for the tenant at the moment.

    Attributes:
        seconds: When to look again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__("all slots of the tenant are taken")
        self.seconds = seconds


class NothingToDoError(Exception):
    """The job is settled already; the text says why."""


class Assignment:
    """Does what one message asks for.

    Args:
        job: The job of the message.
        services: What it works with.
        cancellation: Stops it.
        light: Set once what is left to do takes little of the machine, so that the worker may begin
            with something else.
        forgive: Id of the message if an operator sent it again: failures so far are forgotten.
        waited: Seconds from the sending of the message to its receipt, if they are known.
        trace: What the messages that it sends continue. Default: nothing.

    Attributes:
        job: The job of the message.
        failing: The part in which an error arose, once one did.
    """

    def __init__(
        self,
        job: TranscodeJob,
        services: Services,
        cancellation: Cancellation,
        *,
        light: threading.Event,
        forgive: str | None,
        waited: float | None = None,
        trace: TraceContext | None = None,
    ) -> None:
        self.job = job
        self.failing: Held | None = None
        self._place = Workplace(job, services, cancellation)
        self._light = light
        self._forgive = forgive
        self._waited = waited
        self._trace = trace
        self._first_chunk_done = threading.Event()
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._slot: Slot | None = None
        self._plan: Plan | None = None
        self._was_done = False
        self._sound_busy: BusyError | None = None

    @property
    def _kind(self) -> str:
        """The kind of part that the message names."""
        return self.job.part.partition("#")[0]

    @property
    def held(self) -> list[Held]:
        """The parts that are held at the moment."""
        with self._lock:
            return list(self._held.values())

    def renew(self) -> None:
        """Hold what is held for another lease, and look whether it is still wanted.

        Raises:
            StoppedError: If it is not, or a part was taken over.
        """
        for held in self.held:
            held.renew()
        if self._slot is not None:
            self._place.services.slots.renew(self._slot)
        if self._kind != THUMBNAIL:
            self.check()

    def check(self) -> None:
        """Look whether what is done is still wanted.

        Raises:
            StoppedError: If it is not.
        """
        if self._kind == THUMBNAIL:
            for held in self.held:
                held.renew()
        else:
            self._place.services.ledger.check(self.job)

    def run(self) -> None:
        """Do it.

        Raises:
            NothingToDoError: If the job is settled already.
            BusyError: If another worker holds the part.
            PostponedError: If enough is done for the tenant at the moment.
            BadInputError: If the source cannot become a video.
            TransientError: If something failed that may go right the next time.
            StoppedError: If the job was stopped.
            botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: If AWS failed.
        """
        cancellation = self._place.cancellation
        with self._place:
            try:
                self._run()
            except StoppedError:
                if cancellation.reason is StopReason.SIBLING_FAILED and cancellation.error:
                    raise cancellation.error from None
                raise
            except Exception as error:
                # Whatever still runs for the job ends now; a stop that came first is what counts.
                cancellation.fail(error)
                if cancellation.reason is not StopReason.SIBLING_FAILED:
                    cancellation.check()
                raise

    def _run(self) -> None:
        if self._kind == THUMBNAIL and is_id(self.job.part.removeprefix(f"{THUMBNAIL}#")):
            self._thumbnail(self.job.part.removeprefix(f"{THUMBNAIL}#"))
            return
        part = _PART.fullmatch(self.job.part)
        if part is not None and part["kind"] == "download":
            self._download(int(part["number"]))
            return
        if part is None and self.job.part != START:
            raise NothingToDoError(f"{self.job.part[:_SHOWN]!r} is not a part that is known")
        self._take_slot()
        self._open()
        if self._forgive is not None:
            # Each time that it comes: whoever opened the run again may have died before this.
            self._send_unfinished()
        if part is None:
            self._start()
        else:
            self._chunk(int(part["number"]))

    def _open(self) -> None:
        """Read the run, and its plan if it has one."""
        services = self._place.services
        run = services.ledger.open(
            self.job, forgive=self._forgive is not None, budgets=services.budgets
        )
        if isinstance(run, HeldBack):
            if run.first:
                self._place.emit({metrics.TRANSCODES_HELD_BACK: 1})
            # The sweep sends the job again, so that no message waits in a queue for a day.
            raise NothingToDoError("the tenant spent the budget of the day, the video waits")
        if isinstance(run, Settled):
            raise NothingToDoError(run.why)
        if run.plan is not None:
            self._plan = plans.from_text(run.plan)

    def _start(self) -> None:
        """Plan the run; encode its first chunk, and its sound beside it."""
        held = self._claim(video_part(0))
        if held is None and self._plan is None:
            # Since the run was read, another worker planned it and did this chunk.
            self._open()
        if held is not None:
            self._tell_wait(held, {metrics.QUEUE_WAIT_SECONDS: seconds_since(self.job.queued_at)})
            with self._holding(held):
                if self._plan is None:
                    with self._place.span("plan"):
                        self._plan = plan_run(self._place, held)
                for number in range(1, self._plan.chunks_in_flight):
                    self._send_chunk(number)
                # Two threads are about to use these.
                _ = self._place.bench, self._maker, self._publisher
        with self._sound_beside():
            if held is not None:
                with self._doing("encode", held):
                    self._make_chunk(0, held)
            self._first_chunk_done.set()
            if held is not None:
                self._advance()
            self._light.set()
        self._place.cancellation.check()
        if self._sound_busy is not None:
            raise self._sound_busy
        if held is None:
            self._advance()

    @contextmanager
    def _sound_beside(self) -> Iterator[None]:
        """Do the sound while the block runs, and until it is done or stopped.

        It never goes on behind the block: what it holds is let go of by whoever settles the job.
        """
        if not self._has_sound:
            yield
            return
        sound = start_thread("sound", self._do_sound)
        try:
            yield
        except Exception as error:
            self._place.cancellation.fail(error)
            raise
        finally:
            sound.join()

    def _do_sound(self) -> None:
        """Do the sound in a thread of its own; an error stops the whole assignment."""
        try:
            held = self._claim(SOUND)
            if held is not None:
                with self._doing("sound", held):
                    self._maker.sound(held, self._first_chunk_done)
                self._advance()
        except BusyError as error:
            self._sound_busy = error
        except Exception as error:  # noqa: BLE001 - raised again by run()
            self._place.cancellation.fail(error)

    def _chunk(self, number: int) -> None:
        if self._plan is None or not 0 < number < len(self._plan.chunks):
            raise NothingToDoError(f"there is no chunk {number} in the plan of the run")
        held = self._claim(video_part(number))
        if held is not None:
            if self._waited is not None:
                self._tell_wait(held, {metrics.CHUNK_WAIT_SECONDS: self._waited})
            with self._doing("encode", held):
                self._make_chunk(number, held)
        self._advance()

    def _make_chunk(self, number: int, held: HeldPart) -> None:
        """Encode a chunk, and let the next one of the video into the queue.

        That one is sent before it is written down that this one is done, and by nobody who finds it
        done: it is not forgotten when a worker dies, and messages that come twice do not multiply.
        """
        following = number + self._known_plan.chunks_in_flight
        self._maker.chunk(number, held, finishing=lambda: self._send_chunk(following))

    def _download(self, height: int) -> None:
        """Make the progressive MP4 of a rung."""
        services = self._place.services
        run = services.ledger.finished(self.job)
        if isinstance(run, Settled):
            raise NothingToDoError(run.why)
        if run.plan is None or height not in {one.height for one in run.renditions}:
            raise NothingToDoError(f"the run has no rendition with {height} lines")
        video = services.ledger.video(self.job.video_id)
        held = self._claim(download_part(height))
        if held is None or video is None:
            return
        with self._doing("download", held):
            size = make_download(
                plan=plans.from_text(run.plan),
                run=run,
                height=height,
                file_name=video.file_name,
                job=self.job,
                ledger=services.ledger,
                keys=self._place.keys,
                store=services.store,
                scratch=self._place.scratch,
                cancellation=self._place.cancellation,
            )
            services.ledger.note_download(self.job, height)
            held.spend(bytes_out=size)
            held.note(done=True, lease_until=0)
            self._place.wrote(size)
        self._place.log.info("download made", height=height, bytes=size)

    def _thumbnail(self, thumbnail_id: str) -> None:
        """Make a thumbnail that somebody chose; what is wrong with it is told to him alone."""
        ledger = self._place.services.ledger
        held = claim_thumbnail(ledger, self.job, thumbnail_id, forgive=self._forgive is not None)
        if isinstance(held, Settled):
            raise NothingToDoError(held.why)
        with self._doing("thumbnail", held):
            try:
                size = make_thumbnail(held, ledger, self._place)
            except BadInputError as error:
                held.fail(error.failure)
                self._place.log.info("no thumbnail", code=error.failure.code)
                return
            held.complete()
        self._place.log.info("thumbnail made", bytes=size)

    def _advance(self) -> None:
        """Publish what follows from a part that is complete; end the run if it was the last.

        Whoever finds that another worker does what is left may leave it to him, since his message
        stays until it is done. But a message that had been here before may be all that is left of
        him, and waits.
        """
        standing = self._publisher.advance()
        if not standing.picture_complete:
            return
        try:
            if self._has_sound and not (standing.sound and standing.sound.done):
                if not self._was_done:
                    return
                held = self._claim(SOUND)
                if held is not None:
                    with self._doing("sound", held):
                        self._maker.sound(held)
            held = self._claim(END)
        except BusyError:
            if self._was_done:
                raise
            return
        if held is not None:
            with self._doing("end", held):
                self._end(held)

    def _end(self, held: HeldPart) -> None:
        """Verify the run and make the video READY."""
        plan, settings = self._known_plan, self._place.services.settings
        ending = Ending(
            plan=plan,
            place=self._place,
            publisher=self._publisher,
            bench=self._place.bench_for(held),
        )
        verified = ending.verify(self._mend_sound)
        renditions = ending.publish(verified)
        quality = ending.quality(verified) if settings.measure_quality else {}
        seconds = round(float(verified.frames / plan.frame_rate), 3)
        parts = (*verified.chunks, verified.sound)
        cpu = sum(part.cpu_seconds for part in parts if part) + held.cpu_seconds
        held.complete(
            duration_seconds=seconds,
            size=plan.source.displayed_size,
            renditions=renditions,
            old_run_seconds=settings.old_run_seconds,
            cpu_seconds=round(cpu, 3),
            quality={str(height): score for height, score in quality.items()},
        )
        self._place.log.info("video ready", duration_seconds=seconds, cpu_seconds=round(cpu, 3))
        self._place.emit(
            {
                metrics.JOBS_COMPLETED: 1,
                metrics.TIME_TO_READY_SECONDS: seconds_since(self.job.queued_at),
                metrics.CPU_SECONDS: cpu,
            }
        )

    def _mend_sound(self, sound: Part, frames: int) -> Part:
        held = self._maker.reopen_sound(sound, frames)
        with self._doing("sound", held):
            self._maker.sound(held)
        return held.part

    def _claim(self, name: str) -> HeldPart | None:
        """Take a part; ``None`` if it is complete already.

        Raises:
            BusyError: If another worker holds it.
        """
        claim = self._place.services.ledger.claim(self.job, name, forgive=self._forgive)
        match claim:
            case Busy():
                raise BusyError(claim.seconds)
            case Done():
                self._was_done = True
                return None
        self._place.log.info(
            "part taken", part=name, attempt=claim.attempt, failures=claim.part.failures
        )
        return claim

    def _tell_wait(self, held: HeldPart, waited: dict[str, float]) -> None:
        """Emit how long a part waited for its first worker."""
        if held.attempt == 1:
            self._place.emit(waited)

    @contextmanager
    def _doing(self, name: str, held: Held) -> Iterator[None]:
        """Hold a part while the block makes it, as a span of its own."""
        with (
            self._holding(held),
            self._place.span(name, media__part=held.name, media__attempt=held.attempt),
        ):
            yield

    @contextmanager
    def _holding(self, held: Held) -> Iterator[None]:
        """Renew the lease of a part while the block runs; remember it if an error arises there.

        Errors of uploads and records arise in threads of their own and stop the block: they count
        for the part whose block notices first.
        """
        with self._lock:
            self._held[held.name] = held
        try:
            self._place.cancellation.check()
            with bound_contextvars(part=held.name, attempt=held.attempt):
                yield
        except BaseException as error:
            ours = not isinstance(error, StoppedError) or error.reason is StopReason.SIBLING_FAILED
            if self.failing is None and ours:
                self.failing = held
            raise
        with self._lock:
            del self._held[held.name]

    def _take_slot(self) -> None:
        """Hold one of the slots of the tenant, if these are limited.

        Raises:
            PostponedError: If all are taken.
        """
        slots = self._place.services.slots
        if not slots.limited:
            return
        slot = slots.take(self.job.tenant)
        if slot is None:
            raise PostponedError(RETRY_SECONDS)
        self._slot = slot
        self._place.stack.callback(slots.release, slot)

    def _send_chunk(self, number: int) -> None:
        if number < len(self._known_plan.chunks):
            self._send(video_part(number))

    def _send_unfinished(self) -> None:
        """Send every part again that is to be done now and is not: their messages may be gone."""
        if self._plan is None:
            return
        count, window = len(self._plan.chunks), self._plan.chunks_in_flight
        chunks = self._place.services.ledger.chunks(self.job, 0, count)
        done = {part.name for part in chunks if part.done}
        for number in range(1, count):
            released = number < window or video_part(number - window) in done
            if released and video_part(number) not in done:
                self._send_chunk(number)
        if self.job.part != START:
            self._send(START)

    def _send(self, part: str) -> None:
        self._place.services.jobs.send(self.job.for_part(part), trace=self._trace)

    @property
    def _known_plan(self) -> Plan:
        if self._plan is None:
            raise TransientError("the run has no plan")
        return self._plan

    @property
    def _has_sound(self) -> bool:
        source = self._known_plan.source
        return bool(source.audio or source.texts)

    @cached_property
    def _publisher(self) -> Publisher:
        return self._place.publisher(self._known_plan)

    @cached_property
    def _maker(self) -> Maker:
        return Maker(self._known_plan, self._place, self._publish)

    def _publish(self) -> None:
        self._publisher.recorded()
