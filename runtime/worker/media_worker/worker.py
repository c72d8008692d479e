"""The loop of a worker: receive, claim, do, settle; and how it ends when it is asked to."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract import metrics
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RunKeys
from media_platform.contract.video import Failure
from media_worker.cancellation import Cancellation
from media_worker.ecs_service import Resting, TaskProtection
from media_worker.faults import BadInputError, StoppedError, StopReason
from media_worker.job import JobSettings, Outcome, run_job
from media_worker.job_queue import (
    POLL_SECONDS,
    Heartbeat,
    JobQueue,
    Message,
    NotAJobError,
    read_job,
)
from media_worker.metrics import emit
from media_worker.objects import ObjectStore
from media_worker.runs import Busy, HeldRun, RunLedger, Settled
from media_worker.source_proxy import RangeReader

RECEIVE_HIDE_SECONDS = 10
"""How long a message is hidden that is handed to a worker which has just gone."""

PROCESSING_FAILED = Failure(
    code="processing_failed",
    message="The video could not be processed because of a fault on our side. It was kept, and"
    " will be looked at.",
)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker deals with its queue.

    Attributes:
        stage: Stage, a dimension of its metrics.
        visibility_timeout_seconds: How long a job is held without a renewal.
        max_failures: Transient failures of a run before it is given up.
        backoff_seconds: Wait after the first failure; it doubles with each.
        max_backoff_seconds: Longest wait.
        poll_pause_seconds: Wait after a poll that failed.
    """

    stage: str
    visibility_timeout_seconds: int
    max_failures: int
    backoff_seconds: float = 10.0
    max_backoff_seconds: float = 900.0
    poll_pause_seconds: float = 5.0


class _Stop:
    """Put into the inbox to wake the worker up."""


class Worker:
    """Does one job at a time until it is stopped.

    Args:
        jobs: The queue.
        ledger: The runs.
        store: Where runs are published.
        open_source: Opens the source of a job.
        protection: Scale-in protection of the task.
        resting: Lets the service rest.
        settings: How it deals with the queue.
        job_settings: How it does a job.
    """

    def __init__(
        self,
        *,
        jobs: JobQueue,
        ledger: RunLedger,
        store: ObjectStore,
        open_source: Callable[[TranscodeJob], RangeReader],
        protection: TaskProtection,
        resting: Resting,
        settings: WorkerSettings,
        job_settings: JobSettings,
    ) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._store = store
        self._open_source = open_source
        self._protection = protection
        self._resting = resting
        self._settings = settings
        self._job_settings = job_settings
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._cancellation: Cancellation | None = None
        self._inbox: queue.SimpleQueue[Message | Exception | _Stop | None] = queue.SimpleQueue()
        self._log = structlog.get_logger()

    def stop(self) -> None:
        """End soon: the job under way is given back. Safe from any thread, not from a handler."""
        self._stopping.set()
        self._inbox.put(_Stop())
        with self._lock:
            if self._cancellation is not None:
                self._cancellation.cancel(StopReason.INTERRUPTED)

    def run(self) -> None:
        """Work until :meth:`stop` is called."""
        self._log.info("worker started")
        while not self._stopping.is_set():
            message = self._poll()
            if message is None:
                self._resting.idle()
                continue
            self._resting.busy()
            self.handle(message)
            self._resting.busy()
        self._log.info("worker stopped")

    def _poll(self) -> Message | None:
        """Wait for a message, or for the end of a poll, or for the end of the worker.

        The call itself cannot be interrupted, so it runs in a thread that is left behind when the
        worker stops; a message that it still receives is given back, or comes back by itself.
        """
        threading.Thread(target=self._receive, name="poll", daemon=True).start()
        received = self._inbox.get()
        if isinstance(received, Exception):
            self._log.warning("polling failed", error=str(received))
            self._stopping.wait(self._settings.poll_pause_seconds)
            return None
        return None if isinstance(received, _Stop) else received

    def _receive(self) -> None:
        hide = min(RECEIVE_HIDE_SECONDS, self._settings.visibility_timeout_seconds)
        try:
            message = self._jobs.receive(wait_seconds=POLL_SECONDS, hide_seconds=hide)
            if message is not None and self._stopping.is_set():
                self._jobs.hide(message, 0)
                return
        except Exception as error:  # noqa: BLE001 - whatever it was, the next poll tries again
            self._inbox.put(error)
            return
        self._inbox.put(message)

    def handle(self, message: Message) -> None:
        """Do the job of a message, and settle the message; errors of AWS leave it to the queue."""
        log = self._log
        try:
            job = read_job(message.body)
        except NotAJobError as error:
            log.exception("not a job")
            self._give_up(message, str(error))
            return
        log = log.bind(video_id=job.video_id, run_id=job.run_id)
        try:
            self._jobs.hide(message, self._settings.visibility_timeout_seconds)
            claim = self._ledger.claim(job)
            match claim:
                case Settled():
                    log.info("nothing to do", why=claim.why)
                    self._jobs.delete(message)
                case Busy():
                    log.info("another worker holds the run", seconds=claim.seconds)
                    self._jobs.hide(message, claim.seconds + 1)
                case HeldRun():
                    self._work(message, job, claim, log.bind(attempt=claim.attempt))
        except Exception:
            # The run is not held, or cannot be let go of; the message comes back by itself.
            log.exception("the job is left to the queue")

    def _give_up(self, message: Message, reason: str) -> None:
        try:
            self._jobs.dead_letter(message, reason)
            self._jobs.delete(message)
        except (BotoCoreError, ClientError):
            self._log.exception("a message cannot be moved to the dead-letter queue")

    def _work(self, message: Message, job: TranscodeJob, held: HeldRun, log: Any) -> None:
        cancellation = Cancellation()
        with self._lock:
            self._cancellation = cancellation
        if self._stopping.is_set():
            cancellation.cancel(StopReason.INTERRUPTED)
        visibility = self._settings.visibility_timeout_seconds
        wait = _seconds_since(job.queued_at)
        log.info("job started", queue_wait_seconds=round(wait, 3), failures=held.run.failures)
        self._protection.protect()
        verdict: Outcome | Exception
        try:
            with Heartbeat(
                lambda: self._jobs.hide(message, visibility),
                held.renew,
                self._protection.protect,
                interval_seconds=visibility / 3,
                cancellation=cancellation,
            ):
                verdict = self._attempt(job, held, cancellation)
                if isinstance(verdict, Outcome):
                    verdict = self._complete(held, verdict)
            self._settle(message, held, verdict, log)
        finally:
            with self._lock:
                self._cancellation = None
            self._protection.unprotect()
        if isinstance(verdict, Outcome):
            emit(
                self._settings.stage,
                {
                    metrics.JOBS_COMPLETED: 1,
                    metrics.QUEUE_WAIT_SECONDS: wait,
                    metrics.TIME_TO_PLAYABLE_SECONDS: wait + verdict.playable_after_seconds,
                    metrics.TIME_TO_READY_SECONDS: _seconds_since(job.queued_at),
                    metrics.ENCODE_SPEED_RATIO: verdict.duration_seconds / verdict.encode_seconds,
                },
                video_id=job.video_id,
                run_id=job.run_id,
            )

    def _attempt(
        self, job: TranscodeJob, held: HeldRun, cancellation: Cancellation
    ) -> Outcome | Exception:
        try:
            return run_job(
                held,
                reader=self._open_source(job),
                store=self._store,
                keys=RunKeys(self._ledger.region, job.tenant, job.video_id, job.run_id),
                settings=self._job_settings,
                cancellation=cancellation,
            )
        except Exception as error:  # noqa: BLE001 - every error gets its verdict in _settle
            return error

    def _complete(self, held: HeldRun, outcome: Outcome) -> Outcome | Exception:
        try:
            held.complete(
                duration_seconds=outcome.duration_seconds,
                size=outcome.size,
                renditions=outcome.renditions,
            )
        except Exception as error:  # noqa: BLE001 - every error gets its verdict in _settle
            return error
        return outcome

    def _settle(
        self, message: Message, held: HeldRun, verdict: Outcome | Exception, log: Any
    ) -> None:
        """Write the verdict down, and then let the message go, come back later or at once."""
        match verdict:
            case Outcome():
                log.info(
                    "video ready",
                    duration_seconds=verdict.duration_seconds,
                    playable_after_seconds=round(verdict.playable_after_seconds, 3),
                    encode_seconds=round(verdict.encode_seconds, 3),
                )
                self._jobs.delete(message)
            case StoppedError(reason=StopReason.INTERRUPTED):
                log.info("interrupted, the job goes back")
                held.release()
                self._jobs.hide(message, 0)
            case StoppedError(reason=StopReason.DELETED):
                log.info("the video was deleted")
                held.cancel()
                self._jobs.delete(message)
            case StoppedError():
                log.warning("gave up", why=verdict.reason)
            case BadInputError(failure=failure):
                log.info("video failed", code=failure.code, reason=failure.message)
                self._fail(held, failure)
                self._jobs.delete(message)
            case _:
                self._retry(message, held, verdict, log)

    def _retry(self, message: Message, held: HeldRun, error: Exception, log: Any) -> None:
        """Count a failure; try again later, or give the job up."""
        reason = f"{type(error).__name__}: {error}"
        failures = held.run.failures + 1
        if failures >= self._settings.max_failures:
            log.error("given up", failures=failures, reason=reason, exc_info=error)
            self._jobs.dead_letter(message, reason)
            self._fail(held, PROCESSING_FAILED)
            self._jobs.delete(message)
            return
        held.count_failure()
        pause = self._settings.backoff_seconds * 2 ** (failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        pause = min(self._settings.max_backoff_seconds, pause)
        log.warning(
            "failed, will be tried again",
            seconds=round(pause, 1),
            failures=failures,
            reason=reason,
            exc_info=error,
        )
        self._jobs.hide(message, round(pause))

    def _fail(self, held: HeldRun, failure: Failure) -> None:
        held.fail(failure)
        emit(
            self._settings.stage,
            {metrics.JOBS_FAILED: 1},
            video_id=held.job.video_id,
            run_id=held.job.run_id,
            code=failure.code,
        )


def _seconds_since(stamp: str) -> float:
    """Return the seconds since a stored time, 0 if it cannot be read or lies ahead."""
    try:
        since = datetime.fromisoformat(stamp)
    except ValueError:
        return 0.0
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return max(0.0, time.time() - since.timestamp())
