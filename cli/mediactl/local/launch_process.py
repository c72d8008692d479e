"""Become another program that ends together with the process that started it.

Usage: ``launch_process.py PARENT_PID|- PROGRAM [ARGUMENT ...]``. On Linux the kernel is asked to
kill this process when its parent ends, also by SIGKILL; the setting survives ``exec``. Elsewhere,
and with ``-``, it only becomes the program.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def launching(command: Sequence[str], *, end_with_parent: bool) -> list[str]:
    """Return a command that becomes ``command``.

    Args:
        command: Program and arguments.
        end_with_parent: Whether the system kills it when the calling thread ends in any way (Linux
            only).
    """
    parent = str(os.getpid()) if end_with_parent else "-"
    return [sys.executable, "-I", "-S", __file__, parent, *command]


def main() -> None:
    """Ask for the signal, check that the parent still lives, and become the program."""
    parent, program, *arguments = sys.argv[1:]
    if parent != "-" and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            # The parent ended before the kernel knew.
            sys.exit(1)
    os.execvp(program, [program, *arguments])  # noqa: S606 - a program with its arguments, no shell


if __name__ == "__main__":
    main()
