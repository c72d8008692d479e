"""The loop of a worker: receive, do, settle; and how it ends when it is asked to."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from structlog.contextvars import bound_contextvars

from media_platform.contract import metrics
from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.video import Failure
from media_worker.assignment import Assignment, BusyError, NothingToDoError, PostponedError
from media_worker.cancellation import Cancellation
from media_worker.ecs_service import Resting, TaskProtection
from media_worker.faults import BadInputError, StoppedError, StopReason
from media_worker.held import Held
from media_worker.job_queue import (
    POLL_SECONDS,
    Heartbeat,
    JobQueue,
    Message,
    NotAJobError,
    read_job,
)
from media_worker.metrics import seconds_since
from media_worker.threads import make_thread
from media_worker.tracing import Span
from media_worker.workplace import Services

RECEIVE_HIDE_SECONDS = 10
"""How long a message is hidden that is handed to a worker which has just gone."""

PROCESSING_FAILED = Failure(
    code="processing_failed",
    message="The video could not be processed because of a fault on our side. It was kept, and"
    " will be looked at.",
)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker deals with its queues.

    Attributes:
        visibility_timeout_seconds: How long a job is held without a renewal.
        max_failures: Transient failures of a part before it is given up.
        backoff_seconds: Wait after the first failure; it doubles with each.
        max_backoff_seconds: Longest wait.
        poll_pause_seconds: Wait after a poll that failed.
    """

    visibility_timeout_seconds: int
    max_failures: int
    backoff_seconds: float = 10.0
    max_backoff_seconds: float = 900.0
    poll_pause_seconds: float = 5.0


@dataclass(frozen=True)
class _Received:
    """A message, and where it came from."""

    message: Message
    source: JobQueue


class _Hand:
    """A message in work, in a thread of its own."""

    def __init__(self, worker: Worker, received: _Received) -> None:
        self._worker = worker
        self._received = received
        self.cancellation = Cancellation()
        self.light = threading.Event()
        self._thread = make_thread("assignment", self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._worker.handle(self._received, self)
        finally:
            self.light.set()
            self._worker.ended(self)


class Worker:
    """Works until it is stopped: on one heavy task at a time, and on light ones beside it.

    Args:
        express: The queue that is looked at first.
        services: What jobs work with, among it the queue of all other jobs.
        protection: Scale-in protection of the task.
        resting: Lets the service rest.
        settings: How it deals with the queues.
    """

    def __init__(
        self,
        *,
        express: JobQueue,
        services: Services,
        protection: TaskProtection,
        resting: Resting,
        settings: WorkerSettings,
    ) -> None:
        self._express = express
        self._services = services
        self._protection = protection
        self._resting = resting
        self._settings = settings
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._hands: set[_Hand] = set()
        self._polling: set[JobQueue] = set()
        self._wants_work = threading.Event()
        self._inbox: queue.SimpleQueue[_Received | Exception | None] = queue.SimpleQueue()
        self._log = structlog.get_logger()

    def stop(self) -> None:
        """End soon: what is in work is given back. Safe from any thread, not from a handler."""
        self._stopping.set()
        self._inbox.put(None)
        with self._lock:
            for hand in self._hands:
                hand.cancellation.cancel(StopReason.INTERRUPTED)

    def run(self) -> None:
        """Work until :meth:`stop` is called, and until all is given back then."""
        self._log.info("worker started")
        while not self._stopping.is_set():
            received = self._next()
            if received is None:
                if not self._hands:
                    self._resting.idle()
                continue
            self._resting.busy()
            self._protection.protect()
            hand = _Hand(self, received)
            with self._lock:
                self._hands.add(hand)
            hand.start()
            hand.light.wait()
            self._resting.busy()
        for hand in list(self._hands):
            hand.join()
        self._log.info("worker stopped")

    def ended(self, hand: _Hand) -> None:
        """Note that a message is dealt with."""
        with self._lock:
            self._hands.discard(hand)
            busy = bool(self._hands)
        if not busy:
            self._protection.unprotect()

    def _next(self) -> _Received | None:
        """Wait for a message, or for the end of a poll, or for the end of the worker."""
        try:
            message = self._receive(self._express, wait_seconds=0)
        except (BotoCoreError, ClientError, OSError) as error:
            self._inbox.put(error)
            message = None
        if message is not None:
            return _Received(message, self._express)
        self._wants_work.set()
        for source in (self._express, self._services.jobs):
            self._poll(source)
        received = self._inbox.get()
        self._wants_work.clear()
        if isinstance(received, Exception):
            self._log.warning("polling failed", error=str(received))
            self._stopping.wait(self._settings.poll_pause_seconds)
            return None
        return received

    def _poll(self, source: JobQueue) -> None:
        """Wait for a message of a queue, unless that is done already.

        The call cannot be interrupted, so it runs in a thread of its own, which goes on when the
        other queue was faster; a message that it receives while nobody wants one is given back.
        """
        with self._lock:
            if source in self._polling:
                return
            self._polling.add(source)
        threading.Thread(target=self._poll_once, args=(source,), name="poll", daemon=True).start()

    def _poll_once(self, source: JobQueue) -> None:
        result: _Received | Exception | None = None
        try:
            message = self._receive(source, wait_seconds=POLL_SECONDS)
            with self._lock:
                wanted = self._wants_work.is_set() and not self._stopping.is_set()
                if message is not None and wanted:
                    self._wants_work.clear()
                    result = _Received(message, source)
            if message is not None and not wanted:
                source.hide(message, 0)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next poll tries again
            result = error
        with self._lock:
            self._polling.discard(source)
        self._inbox.put(result)

    def _receive(self, source: JobQueue, *, wait_seconds: int) -> Message | None:
        hide = min(RECEIVE_HIDE_SECONDS, self._settings.visibility_timeout_seconds)
        return source.receive(wait_seconds=wait_seconds, hide_seconds=hide)

    def handle(self, received: _Received, hand: _Hand) -> None:
        """Do the job of a message, and settle the message; errors of AWS leave it to the queue."""
        message, source = received.message, received.source
        try:
            job = read_job(message.body)
        except NotAJobError as error:
            self._log.exception("not a job")
            self._give_up(message, source, str(error))
            return
        with (
            self._services.tracer.message(
                f"transcode {job.part}",
                message.trace,
                messaging__system="aws_sqs",
                messaging__operation__name="process",
                messaging__operation__type="process",
                messaging__message__id=message.message_id,
                media__video_id=job.video_id,
                media__run_id=job.run_id,
                media__part=job.part,
                media__tenant=job.tenant,
            ) as span,
            # For this thread, and for those that are made for the job.
            bound_contextvars(
                video_id=job.video_id,
                run_id=job.run_id,
                tenant=job.tenant,
                part=job.part,
                trace_id=span.context.trace_id,
            ),
        ):
            self._work(received, job, hand, span)

    def _work(self, received: _Received, job: TranscodeJob, hand: _Hand, span: Span) -> None:
        message = received.message
        # All chunks of a run stand below the message that started it, however many they are.
        trace = span.context if job.part == START else message.trace or span.context
        assignment = Assignment(
            job,
            self._services,
            hand.cancellation,
            light=hand.light,
            forgive=None if message.reason is None else message.message_id,
            waited=None if message.sent_at is None else max(0.0, time.time() - message.sent_at),
            trace=trace,
        )
        if self._stopping.is_set():
            hand.cancellation.cancel(StopReason.INTERRUPTED)
        try:
            verdict = self._do(received, assignment, hand.cancellation)
            _tell(span, verdict)
            self._settle(received, assignment, verdict, span)
        except Exception as error:  # noqa: BLE001 - logged
            # Nothing is held, or it cannot be let go of; the message comes back by itself.
            span.fail(error)
            self._log.error("the job is left to the queue", exc_info=error)

    def _do(
        self, received: _Received, assignment: Assignment, cancellation: Cancellation
    ) -> Exception | None:
        message, source, job = received.message, received.source, assignment.job
        visibility = self._settings.visibility_timeout_seconds
        source.hide(message, visibility)
        if job.part == START:
            wait = seconds_since(job.queued_at)
            self._log.info("job started", queue_wait_seconds=round(wait, 3))

        # Apart, so that a call to the queue which takes its time costs no part its lease. A message
        # that comes back too early finds the part held.
        with (
            Heartbeat(assignment.renew, interval_seconds=visibility / 3, cancellation=cancellation),
            Heartbeat(
                lambda: source.hide(message, visibility),
                self._protection.protect,
                interval_seconds=visibility / 3,
                cancellation=cancellation,
            ),
        ):
            try:
                assignment.run()
            except Exception as error:  # noqa: BLE001 - every error gets its verdict in _settle
                return error
        return None

    def _settle(
        self, received: _Received, assignment: Assignment, verdict: Exception | None, span: Span
    ) -> None:
        """Write the verdict down, and then let the message go, come back later or at once."""
        message, source, log = received.message, received.source, self._log
        match verdict:
            case None:
                source.delete(message)
            case NothingToDoError():
                log.info("nothing to do", why=str(verdict))
                source.delete(message)
            case BusyError():
                log.info("another worker holds the part", seconds=verdict.seconds)
                source.hide(message, verdict.seconds + 1)
            case PostponedError():
                # A new message, since receives are counted, and this may go on for long.
                self._services.jobs.send(
                    assignment.job,
                    delay_seconds=verdict.seconds,
                    reason=message.reason,
                    trace=message.trace or span.context,
                )
                source.delete(message)
            case StoppedError(reason=StopReason.INTERRUPTED):
                log.info("interrupted, the job goes back")
                _each(assignment.held, _release)
                source.hide(message, 0)
            case StoppedError(reason=StopReason.DELETED | StopReason.CANCELLED as why):
                log.info("the run is not wanted any more", why=why)
                self._services.ledger.cancel(assignment.job)
                source.delete(message)
            case StoppedError(reason=StopReason.SETTLED):
                log.info("the run has ended")
                source.delete(message)
            case StoppedError():
                log.warning("gave up", why=verdict.reason)
            case BadInputError(failure=failure) if assignment.failing is not None:
                log.info("video failed", code=failure.code, reason=failure.message)
                self._fail(assignment.failing, failure)
                source.delete(message)
            case _:
                self._retry(received, assignment, verdict, span)

    def _retry(
        self, received: _Received, assignment: Assignment, error: Exception, span: Span
    ) -> None:
        """Count a failure; try again later, or give the job up."""
        message, source, log = received.message, received.source, self._log
        reason = f"{type(error).__name__}: {error}"
        failing = assignment.failing
        _each([held for held in assignment.held if held is not failing], _release)
        failures = failing.failures + 1 if failing else 1
        if failing is not None and failures >= self._settings.max_failures:
            try:
                assignment.check()
            except StoppedError as stopped:
                # What nobody wants any more is no dead letter.
                self._settle(received, assignment, stopped, span)
                return
            log.error("given up", failures=failures, reason=reason, exc_info=error)
            source.dead_letter(message, reason)
            self._fail(failing, PROCESSING_FAILED)
            source.delete(message)
            return
        if failing is not None:
            failing.count_failure()
        pause = self._settings.backoff_seconds * 2 ** (failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        pause = min(self._settings.max_backoff_seconds, pause)
        log.warning(
            "failed, will be tried again",
            seconds=round(pause, 1),
            failures=failures,
            reason=reason,
            exc_info=error,
        )
        source.hide(message, round(pause))

    def _fail(self, held: Held, failure: Failure) -> None:
        """End the run; the parts of one that is complete already may fail without a consequence."""
        try:
            held.fail(failure)
        except StoppedError as error:
            self._log.info("the run has ended before", why=error.reason)
            return
        self._services.emit(
            {metrics.JOBS_FAILED: 1},
            video_id=held.job.video_id,
            run_id=held.job.run_id,
            code=failure.code,
        )

    def _give_up(self, message: Message, source: JobQueue, reason: str) -> None:
        try:
            source.dead_letter(message, reason)
            source.delete(message)
        except (BotoCoreError, ClientError):
            self._log.exception("a message cannot be moved to the dead-letter queue")


def _tell(span: Span, verdict: Exception | None) -> None:
    """Let the span of a message say how the work on it ended."""
    match verdict:
        case None:
            outcome = "done"
        case NothingToDoError():
            outcome = "nothing to do"
        case BusyError():
            outcome = "busy"
        case PostponedError():
            outcome = "postponed"
        case StoppedError():
            outcome = verdict.reason.value
        case BadInputError():
            outcome = verdict.failure.code
            span.fail(verdict)
        case _:
            outcome = "failed"
            span.fail(verdict)
    span.note(media__outcome=outcome)


def _release(held: Held) -> None:
    held.release()


def _each(parts: list[Held], what: Callable[[Held], None]) -> None:
    """Do something with every part that is still ours."""
    for held in parts:
        try:
            what(held)
        except StoppedError:
            continue
