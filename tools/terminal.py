"""A terminal: what a person sees who runs a program in a window of a certain size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b\][^\x07]*\x07")

# Only the terminal of a session sends Ctrl-C to what runs in it.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A program that runs in a terminal.

    Args:
        command: Its words.
        environment: Its variables.
        columns: Width of the window.
        rows: Height of the window.
        folder: What it runs in. Default: that of this process.

    Attributes:
        process: The program.
        blocks: What it wrote, each with the seconds since it began.
    """

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
        folder: Path | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        without_size = {
            name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**without_size, "TERM": "xterm-256color"},
            cwd=folder,
            start_new_session=True,
        )
        os.close(slave)
        self._shown = b""
        self._began = time.monotonic()
        self.blocks: list[tuple[float, bytes]] = []

    def press(self, keys: bytes) -> None:
        r"""Type something; ``b"\x03"`` is Ctrl-C."""
        os.write(self._master, keys)

    def wait_for(self, text: str) -> None:
        """Wait until a text is shown.

        Raises:
            EOFError: If the program ends before; the error holds what it showed.
        """
        while text not in self.shown:
            if not self._read():
                raise EOFError(self.shown)

    def end(self) -> int:
        """Wait until the program ends; return its exit code."""
        while self._read():
            pass
        code = self.process.wait()
        os.close(self._master)
        return code

    @property
    def shown(self) -> str:
        """All that was shown until now, without colours and movements of the cursor."""
        text = self._shown.decode(errors="replace").replace("\r\n", "\n")
        return _CONTROL.sub("", text)

    @property
    def lines(self) -> list[str]:
        """Lines that were shown; one that was written over counts as it was at last."""
        return [line.rstrip("\r").rpartition("\r")[2] for line in self.shown.split("\n")]

    def _read(self) -> bool:
        with contextlib.suppress(OSError):  # how Linux says that the program has ended
            block = os.read(self._master, 65536)
            self._shown += block
            self.blocks.append((time.monotonic() - self._began, block))
            return bool(block)
        return False
