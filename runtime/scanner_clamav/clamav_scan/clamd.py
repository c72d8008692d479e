"""Asks clamd about a stream of bytes.

Source: clamd(8), "COMMANDS": ``INSTREAM``, ``PING`` and ``VERSION``, each with ``z`` before it and
a zero byte behind it.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_SEND_SECONDS = 60
"""Longest wait until clamd takes more of a file."""

_LOOK_SECONDS = 1
"""Time between two looks whether a scan should go on."""

_MAX_ANSWER = 64 * 1024

_FOUND = re.compile(r"stream: (?P<name>.+) FOUND")
_LIMIT = "Heuristics.Limits.Exceeded"
"""What clamd calls a file that it did not look at to its end, with ``AlertExceedsMax``."""

_TOO_LONG = "INSTREAM size limit exceeded. ERROR"


class ClamdError(Exception):
    """clamd could not be asked, or could not tell; it may be asked again."""


class UnscannedError(Exception):
    """clamd did not look at the whole file, and will not if it is asked again.

    Attributes:
        limit: The limit that was met.
    """

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(frozen=True)
class Clamd:
    """A clamd that listens on a local socket.

    Attributes:
        path: The socket.
        answer_seconds: Longest time from the end of a file to the answer.
    """

    path: Path
    answer_seconds: float

    def is_up(self) -> bool:
        """Return whether it has its signatures and takes files."""
        try:
            return self._ask("PING") == "PONG"
        except (ClamdError, OSError):
            return False

    def version(self) -> str:
        """Return the version of program and signatures, e.g. ``ClamAV 1.4.3/27600/<date>``.

        Raises:
            ClamdError: If it does not answer.
        """
        return self._ask("VERSION")

    def scan(self, parts: Iterable[bytes], keep: Callable[[], None]) -> str | None:
        """Return the name of the malware in a file, or ``None`` if there is none.

        Args:
            parts: The file, in its order.
            keep: Called every second or after every part; what it raises ends the scan.

        Raises:
            UnscannedError: If clamd did not look at all of it.
            ClamdError: If clamd broke off, or could not tell.
        """
        with self._connect() as connection:
            try:
                connection.sendall(b"zINSTREAM\0")
                for part in parts:
                    keep()
                    connection.sendall(len(part).to_bytes(4) + part)
                connection.sendall(bytes(4))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has told why, and listens no more
            except TimeoutError as error:
                raise ClamdError(f"took nothing for {_SEND_SECONDS} s") from error
            return _verdict(self._answer(connection, keep))

    def _ask(self, command: str) -> str:
        with self._connect() as connection:
            connection.sendall(f"z{command}\0".encode())
            return self._answer(connection, lambda: None)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_SEND_SECONDS)
        try:
            connection.connect(str(self.path))
        except OSError as error:
            connection.close()
            raise ClamdError(f"clamd takes no connection: {error}") from error
        return connection

    def _answer(self, connection: socket.socket, keep: Callable[[], None]) -> str:
        connection.settimeout(_LOOK_SECONDS)
        last = time.monotonic() + self.answer_seconds
        answer = b""
        while not answer.endswith(b"\0"):
            keep()
            if time.monotonic() > last or len(answer) > _MAX_ANSWER:
                raise ClamdError(f"no answer within {self.answer_seconds:g} s")
            try:
                more = connection.recv(_MAX_ANSWER)
            except TimeoutError:
                continue
            except OSError as error:
                raise ClamdError(f"clamd broke off: {error}") from error
            if not more:
                raise ClamdError("clamd broke off")
            answer += more
        return answer.removesuffix(b"\0").decode(errors="replace")


def _verdict(answer: str) -> str | None:
    if answer == "stream: OK":
        return None
    if answer == _TOO_LONG:
        raise UnscannedError("StreamMaxLength")
    found = _FOUND.fullmatch(answer)
    if found is None:
        raise ClamdError(f"clamd could not tell: {answer}")
    name = found["name"]
    if name.startswith(_LIMIT):
        raise UnscannedError(name)
    return name
