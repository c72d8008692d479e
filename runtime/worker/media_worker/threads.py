"""Threads that know for what they work: what is bound for the log where they are made goes along.

Several jobs may be in work in one process; so ids are bound for a thread, never for the process.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def as_here(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return ``function`` so that it finds the present context variables, whichever thread calls.

    It may be called from several threads at a time; what one changes, the others do not see.
    """
    context = contextvars.copy_context()

    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return context.copy().run(function, *args, **kwargs)

    return call


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a thread that works for what its maker works for; it does not outlive the process."""
    thread = make_thread(name, target)
    thread.start()
    return thread


def make_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Return a thread, not started yet, as :func:`start_thread` starts it."""
    return threading.Thread(target=as_here(target), name=name, daemon=True)


def make_pool(name: str, threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads work for what its maker works for."""
    context = contextvars.copy_context()

    def adopt() -> None:
        for variable, value in context.items():
            variable.set(value)

    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=adopt)
