"""The scanner as a process: clamd, the threads that take requests, and signals.

The role of the task needs exactly what ``Scanner.grant_scan`` grants.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from clamav_scan.aws import Message, ObjectVersions, Requests, client_config
from clamav_scan.daemons import DaemonError, Daemons
from clamav_scan.scanner import Scanner
from media_platform.contract.environment import CLAMAV_READY_FILE, ClamAvScannerEnvironment
from media_platform.contract.logs import log_as_json
from media_platform.contract.scanning import ScanRequest

_LOG = logging.getLogger(__name__)

SCANS_AT_A_TIME = 2
"""So that a small file need not wait for a large one."""

STOP_SECONDS = 8
"""Time in which requests are given back; then the process ends anyway."""

_LOOK_SECONDS = 0.5
_PAUSE_SECONDS = 1
"""After a call that failed."""


_PR_SET_DUMPABLE = 4


class StoppedError(Exception):
    """The process is to end."""


class Consumer:
    """Takes requests one after the other.

    Args:
        requests: The queue.
        scanner: Judges files.
        stopping: Set when the process is to end.
    """

    def __init__(self, requests: Requests, scanner: Scanner, stopping: threading.Event) -> None:
        self._requests = requests
        self._scanner = scanner
        self._stopping = stopping

    def run(self) -> None:
        """Take requests until the process is to end."""
        while not self._stopping.is_set():
            try:
                message = self._requests.receive()
                if message is not None:
                    self._take(message)
            except Exception:  # noqa: BLE001 - whatever it is, the next may go well
                _LOG.exception("requests cannot be taken")
                self._stopping.wait(_PAUSE_SECONDS)

    def _take(self, message: Message) -> None:
        """Judge what a message names; what fails comes again, and at last is a dead letter."""
        keep = self._keep(message)
        try:
            keep()
            request = ScanRequest.from_json(message.body)
            verdict = self._scanner.judge(request, keep)
            if verdict is not None:
                self._requests.answer(request, verdict, message.trace)
            self._requests.delete(message)
        except StoppedError:
            self._requests.give_back(message)
        except Exception:  # noqa: BLE001 - the other requests have nothing to do with it
            _LOG.exception("a file was not judged", extra={"message_id": message.message_id})

    def _keep(self, message: Message) -> Callable[[], None]:
        """Return what keeps a message hidden while it is called."""
        hidden_at = time.monotonic()

        def keep() -> None:
            nonlocal hidden_at
            if self._stopping.is_set():
                raise StoppedError
            if time.monotonic() - hidden_at > self._requests.hide_seconds / 3:
                self._requests.hide(message)
                hidden_at = time.monotonic()

        return keep


def keep_secrets_from_children() -> None:
    """Let no other process of our user read our environment and memory through ``/proc``.

    clamd looks into hostile files and has no environment of its own, but the path to the
    credentials of the role stands in ours. Source: prctl(2), ``PR_SET_DUMPABLE``.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def serve(environment: ClamAvScannerEnvironment) -> int:
    """Scan until SIGTERM or SIGINT; return the exit code of the process.

    Args:
        environment: The variables of the service.
    """
    log_as_json()
    keep_secrets_from_children()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    ready = Path(tempfile.gettempdir()) / CLAMAV_READY_FILE
    with tempfile.TemporaryDirectory(prefix="clamav-") as folder:
        daemons = Daemons.prepare(
            Path(folder),
            max_bytes=environment.max_scan_bytes,
            mirror=environment.signature_mirror,
        )
        try:
            daemons.fetch_signatures()
            clamd = daemons.start()
        except DaemonError as error:
            _LOG.error("ClamAV cannot be used", extra={"reason": str(error)})
            return 1
        try:
            threads = _start(environment, daemons, stopping)
            ready.touch()
            while not stopping.wait(_LOOK_SECONDS) and clamd.poll() is None:
                pass
            ended = clamd.returncode
            if ended is not None:
                _LOG.error("clamd ended", extra={"exit_code": ended})
            stopping.set()
            last = time.monotonic() + STOP_SECONDS
            for thread in threads:
                # A poll under way may yet bring what another thread has just given back.
                thread.join(max(0.0, last - time.monotonic()))
        finally:
            ready.unlink(missing_ok=True)
            clamd.kill()
            clamd.wait()
    return int(ended is not None)


def _start(
    environment: ClamAvScannerEnvironment, daemons: Daemons, stopping: threading.Event
) -> list[threading.Thread]:
    config = client_config(environment.home_region)
    scanner = Scanner(
        files=ObjectVersions(config),
        clamd=daemons.clamd,
        max_bytes=environment.max_scan_bytes,
        unscanned=environment.unscanned,
    )
    requests = Requests(
        config, environment.queue_url, hide_seconds=environment.visibility_timeout_seconds
    )
    threads = [
        threading.Thread(target=Consumer(requests, scanner, stopping).run, daemon=True)
        for _ in range(SCANS_AT_A_TIME)
    ]
    for thread in (*threads, threading.Thread(target=daemons.keep_fresh, daemon=True)):
        thread.start()
    return threads
