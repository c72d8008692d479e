"""Runs a program under limits; started as a script of its own, with nothing but the stdlib.

``python -I -S launcher.py LIMITS PROGRAM [ARGUMENT ...]``, where LIMITS is JSON: resource names of
:mod:`resource` without ``RLIMIT_``, and their values. Limits are set here and not in a
``preexec_fn``, which may deadlock in a process with threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Set the limits and become the program."""
    for name, value in json.loads(sys.argv[1]).items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (limit, limit))
        except (OSError, ValueError):
            if sys.platform == "linux":  # elsewhere some limits exist in name only
                raise
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execve(sys.argv[2], sys.argv[2:], {})  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
