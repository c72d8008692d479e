"""Uploads in parallel, with back-pressure: what waits in memory is bounded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

from media_worker.cancellation import Cancellation
from media_worker.objects import ObjectStore, Upload
from media_worker.threads import start_thread

_Task: TypeAlias = tuple[Upload, Callable[[], None]]


class Uploader:
    """Writes objects in threads of its own until it is closed.

    The first error stops the job.

    Args:
        store: Where objects are written.
        cancellation: Stops the job.
        threads: Uploads at a time.
        max_bytes: Bytes that may wait or be under way; more make :meth:`submit` block, and with it
            the encoder.
    """

    def __init__(
        self,
        store: ObjectStore,
        cancellation: Cancellation,
        *,
        threads: int,
        max_bytes: int,
    ) -> None:
        self._store = store
        self._cancellation = cancellation
        self._max_bytes = max_bytes
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._bytes = 0
        self._count = 0
        self.bytes_written = 0
        self._threads = [start_thread(f"upload-{number}", self._work) for number in range(threads)]

    def submit(self, upload: Upload, done: Callable[[], None]) -> None:
        """Write an object soon; ``done`` is called, from a thread of the uploader, once it is.

        Raises:
            StoppedError: If the job was stopped.
        """
        size = len(upload.body)
        with self._cancellation.calling(self._wake), self._changed:
            while self._bytes and self._bytes + size > self._max_bytes:
                self._cancellation.check()
                self._changed.wait()
            self._cancellation.check()
            self._bytes += size
            self._count += 1
        self._tasks.put((upload, done))

    def drain(self) -> None:
        """Wait until everything is written.

        Raises:
            StoppedError: If the job was stopped.
        """
        with self._cancellation.calling(self._wake), self._changed:
            while self._count and self._cancellation.reason is None:
                self._changed.wait()
        self._cancellation.check()

    def close(self) -> None:
        """Let the threads end; what waits is dropped if the job was stopped."""
        for _ in self._threads:
            self._tasks.put(None)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            upload, done = task
            try:
                if self._cancellation.reason is None:
                    self._store.put(upload)
                    with self._changed:
                        self.bytes_written += len(upload.body)
                    done()
            except Exception as error:  # noqa: BLE001 - the job raises it
                self._cancellation.fail(error)
            with self._changed:
                self._bytes -= len(upload.body)
                self._count -= 1
                self._changed.notify_all()
