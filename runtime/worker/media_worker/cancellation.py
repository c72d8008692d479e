"""One switch per job that stops everything that runs for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from media_worker.faults import StoppedError, StopReason


class Cancellation:
    """Tells every thread of a job to stop; the first reason is kept.

    Attributes:
        error: The error that ended the job, if one did.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._reason: StopReason | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0
        self.error: Exception | None = None

    @property
    def reason(self) -> StopReason | None:
        """Why the job stops, or ``None`` while it may go on."""
        return self._reason

    def cancel(self, reason: StopReason) -> None:
        """Stop the job; later calls change nothing."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks = list(self._callbacks.values())
        self._event.set()
        for callback in callbacks:
            callback()

    def fail(self, error: Exception) -> None:
        """Stop the job because of ``error``, which is kept if it is the first reason to stop."""
        if isinstance(error, StoppedError):
            self.cancel(error.reason)
            return
        with self._lock:
            if self._reason is None:
                self.error = self.error or error
        self.cancel(StopReason.SIBLING_FAILED)

    def check(self) -> None:
        """Go on or not.

        Raises:
            StoppedError: If the job was stopped.
        """
        if self._reason is not None:
            raise StoppedError(self._reason)

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds``; tell at once whether the job was stopped meanwhile."""
        return self._event.wait(seconds)

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call ``callback`` from another thread if the job is stopped within the block."""
        with self._lock:
            stopped = self._reason is not None
            number = self._next
            self._next += 1
            self._callbacks[number] = callback
        if stopped:
            callback()
        try:
            yield
        finally:
            with self._lock:
                del self._callbacks[number]
