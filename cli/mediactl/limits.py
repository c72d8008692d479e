"""How long calls may take: who waits is told so, and then in one line what did not answer.

A server that is lost often accepts a connection and never answers, or sends a byte now and then,
which no timeout of a socket ends. So a call runs in a thread of its own, and whoever made it waits
as long as it may take; ``docs/operations.md`` lists for how long that is.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mediactl.errors import USAGE, CommandError

Answer = TypeVar("Answer")

CONNECT_SECONDS = 5.0
"""Longest wait for a connection."""

WORD_SECONDS = 5.0
"""Time after which the person is told what is waited for."""

VARIABLE = "MEDIACTL_ANSWER_SECONDS"
"""Variable by which a person lets calls take longer."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long calls may take.

    Attributes:
        answer_seconds: Longest wait for an answer.
        connect_seconds: Longest wait for a connection.
        word_seconds: Time after which the person is told what is waited for.
        asked: How often one is asked that does not answer in time.
        attempts: How often a call is made in all, when it is refused for the moment.
    """

    answer_seconds: float
    connect_seconds: float = CONNECT_SECONDS
    word_seconds: float = WORD_SECONDS
    asked: int = 2
    attempts: int = 4


AWS = Limits(answer_seconds=10)
"""AWS answers within a second; who does not within ten is asked once more."""

PLANE = Limits(answer_seconds=60, asked=1, attempts=3)
"""All services of a plane share one process, on a machine that may have much else to do."""

API = Limits(answer_seconds=10, attempts=5)
"""The API answers within a second."""

BLOCK_SECONDS = 60.0
"""Longest wait for the next bytes of what takes as long as it is large."""


HURRY_SECONDS = 2.0
"""How long calls may take once the command has ended: what threads give back is still sent."""

_LOOK_SECONDS = 0.2

_hurried: list[float] = []


def hurry() -> None:
    """Let threads wait no longer than a moment for answers: the command has ended."""
    _hurried.append(time.monotonic())


def is_hurried() -> bool:
    """Tell whether the command has ended."""
    return bool(_hurried)


def patient(limits: Limits) -> Limits:
    """Return limits as the person wants them.

    Raises:
        CommandError: If the variable holds no number of seconds.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return limits
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour
        raise CommandError(
            f"{VARIABLE} is {given!r}, and must be a number of seconds up to 3600",
            hint="unset it: calls may take 10 s then",
            exit_code=USAGE,
        )
    return replace(limits, answer_seconds=seconds)


class NoAnswerError(Exception):
    """A call took too long."""


def within(
    call: Callable[[], Answer], seconds: float, *, word_after: float, word: Callable[[], None]
) -> Answer:
    """Return what a call returns.

    Args:
        call: The call; one that takes too long goes on in its thread until the process ends.
        seconds: How long it may take.
        word_after: Time after which ``word`` is called.
        word: Tells the person what is waited for.

    Raises:
        NoAnswerError: If it takes longer.
    """
    ended = threading.Event()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
            outcome.append((None, error))
        ended.set()

    threading.Thread(target=run, daemon=True, name="call").start()
    began, told = time.monotonic(), False
    while not ended.wait(min(_LOOK_SECONDS, word_after, seconds)):
        now = time.monotonic()
        if not told and now - began >= word_after:
            told = True
            word()
        hurried = _hurried and now - max(began, _hurried[0]) >= HURRY_SECONDS
        if hurried or now - began >= seconds:
            raise NoAnswerError
    result, error = outcome[0]
    if error is not None:
        raise error
    answer: Answer = result
    return answer
