"""Ctrl-C, and other signals that ask a command to end: everything is left in order.

A note that is added to the interrupt on its way (``add_note``) is told at the end, beside the word
that the command was interrupted: what goes on without it, or how to go on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_OTHERS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a process at once unless it handles them: CI and service managers send the
first, a terminal that is closed the second."""


class TerminatedError(KeyboardInterrupt):
    """A signal other than that of Ctrl-C asks the command to end.

    Attributes:
        signal: The signal.
    """

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__()
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """Exit code of the process, as shells have it."""
        return 128 + self.signal


def end_like_interrupted() -> None:
    """Let what other signals ask for be done as after Ctrl-C, unless they are ignored."""

    def terminate(number: int, _: object) -> None:
        raise TerminatedError(number)

    for number in _OTHERS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, terminate)


def end_at_once() -> None:
    """Let signals end the process at once and without a word, unless they are ignored."""
    for number in (signal.SIGINT, *_OTHERS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait until the block is done, so that nothing is left half done by them."""
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread is interrupted.
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda sent, _: came.append(sent))
        for number in (signal.SIGINT, *_OTHERS)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
