"""Whether the process takes requests, and when it may stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from botocore.exceptions import BotoCoreError, ClientError

from media_api.load import Load
from media_api.logs import log

READINESS_SECONDS = 2
"""How long an answer about readiness holds, so that checks do not load the table."""

_CHECK_TIMEOUT_SECONDS = 2


class Lifecycle:
    """Knows what the process takes on, and whether it is stopping or ready.

    Attributes:
        load: Its requests in flight.
        is_draining: Whether it is stopping.

    Args:
        check: Raises if the service cannot work, e.g. because the table does not answer.
        load: Counts requests in flight. Default: a new one.
    """

    def __init__(self, check: Callable[[], Awaitable[None]], load: Load | None = None) -> None:
        self._check = check
        self.load = Load() if load is None else load
        self._idle = asyncio.Event()
        self._idle.set()
        self._lock = asyncio.Lock()
        self._checked_at = -float("inf")
        self._fault: str | None = None
        self.is_draining = False

    def begin(self) -> None:
        """Count a request in."""
        self.load.begin()
        self._idle.clear()

    async def wait(self) -> bool:
        """Let a request stand in line, and tell whether it was counted in after all."""
        self._idle.clear()
        try:
            return await self.load.wait()
        finally:
            self._note_idle()

    def end(self) -> None:
        """Count a request out."""
        self.load.end()
        self._note_idle()

    def _note_idle(self) -> None:
        if not (self.load.in_flight or self.load.in_line):
            self._idle.set()

    async def drain(self, timeout_seconds: float) -> bool:
        """Fail readiness and wait until no request is in flight or in line.

        Returns:
            Whether that happened within the time.
        """
        self.is_draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    async def fault(self) -> str | None:
        """Return why the service should get no requests, or ``None`` if it should."""
        if self.is_draining:
            return "the service is stopping"
        if self.load.is_full:
            # A table that is busy with what was taken on is no reason to send requests elsewhere.
            return self._fault
        async with self._lock:
            if time.monotonic() - self._checked_at > READINESS_SECONDS:
                self._fault = await self._look()
                self._checked_at = time.monotonic()
        return self._fault

    async def _look(self) -> str | None:
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
                await self._check()
        except (ClientError, BotoCoreError, TimeoutError, OSError) as error:
            log.warning("not_ready", error=repr(error))
            return "the table does not answer"
        return None
