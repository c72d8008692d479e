"""Loads files down: to a hidden file beside the target, which takes its name once it is complete.

What was interrupted goes on where it stopped: files of a run, and versions of uploads, are written
once, so what is there of one is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import urllib3

from mediactl.client import TRANSIENT, ApiError, backoff, storage_refusal
from mediactl.errors import REFUSED, CommandError, naming
from mediactl.locks import alone
from mediactl.web import Web

ATTEMPTS = 10
"""How often a file is asked for, in all, while nothing more of it comes."""

BLOCK_BYTES = 1 << 20

_OK = 200
_PARTIAL = 206
_FORBIDDEN = 403
_NOTHING_LEFT = 416

Shown = Callable[[int, int], contextlib.AbstractContextManager[Callable[[int], None]]]
"""Called with the size of a file, and the bytes of it that were there before; returns what is
called with the bytes of each step, until it is left."""


def partial_file(target: Path, identity: str) -> Path:
    """Return where a file grows until it is complete.

    Args:
        target: What it becomes.
        identity: What its content is, so that another one does not go on with it.
    """
    mark = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return target.with_name(f".{target.name}.{mark}.part")


def load(
    url: Callable[[], str], target: Path, identity: str, shown: Shown, *, replaces: bool = False
) -> tuple[int, int]:
    """Load a file down.

    Args:
        url: Returns where it is, signed anew when the last one is not accepted any more.
        target: Where to.
        identity: What its content is.
        shown: Shows how far it is.
        replaces: Whether it may take the place of a file. Default: it may not, also of one that
            came meanwhile.

    Returns:
        The size of the file, and the bytes of it that were there before.

    Raises:
        ApiError: If it is refused.
        CommandError: If another process loads the same, or the file is there.
        urllib3.exceptions.HTTPError: If the network fails for longer than is waited.
    """
    partial = partial_file(target, identity)
    with (
        naming(partial),
        partial.open("ab") as file,
        alone(file, f"loading {target}"),
        contextlib.ExitStack() as stack,
    ):
        if not _is(file, partial):
            raise CommandError(
                f"another mediactl has just loaded {target}",
                hint="run the same command again if that is to be done once more",
                exit_code=REFUSED,
            )
        before = file.tell()
        loading = _Loading(url, file, lambda size: stack.enter_context(shown(size, before)))
        size = loading.run()
        file.flush()
        os.fsync(file.fileno())
        if not replaces:
            check_free(target)
        partial.replace(target)
    return size, before


def check_free(target: Path) -> None:
    """Check that there is no file yet.

    Raises:
        CommandError: If there is one.
    """
    if target.exists():
        raise CommandError(f"{target} exists", hint="add --force to replace it", exit_code=REFUSED)


def _is(file: IO[bytes], path: Path) -> bool:
    """Return whether an open file still has its name: whoever completed it took that away."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


class _Loading:
    """A file that is being loaded.

    Args:
        url: Returns where it is.
        file: Where to; what is in it is the start of it.
        shown: Called once with the size of the file.
    """

    def __init__(
        self,
        url: Callable[[], str],
        file: IO[bytes],
        shown: Callable[[int], Callable[[int], None]],
    ) -> None:
        self._url = url
        self._file = file
        self._shown = shown
        self._step: Callable[[int], None] | None = None
        self._address = url()
        self._http = Web()

    def run(self) -> int:
        """Load it, asking again while more of it comes, and return its size."""
        pauses = backoff(ATTEMPTS)
        renewed = False
        while True:
            before = self._file.tell()
            try:
                return self._ask()
            except (ApiError, urllib3.exceptions.HTTPError) as error:
                if self._file.tell() != before:
                    pauses, renewed = backoff(ATTEMPTS), False
                if isinstance(error, ApiError) and error.status == _FORBIDDEN and not renewed:
                    self._address, renewed = self._url(), True
                    continue
                hopeless = isinstance(error, ApiError) and error.status not in TRANSIENT
                pause = next(pauses, None)
                if hopeless or pause is None:
                    raise
                time.sleep(pause)

    def _ask(self) -> int:
        """Ask for the rest of it once."""
        at = self._file.tell()
        headers = {"Range": f"bytes={at}-"}
        answer = self._http.request("GET", self._address, headers=headers, preload_content=False)
        with contextlib.closing(answer):
            if answer.status == _NOTHING_LEFT and at:
                return at
            if answer.status not in {_OK, _PARTIAL}:
                raise ApiError(answer.status, {"detail": storage_refusal(answer.read(4096))})
            if answer.status == _OK:
                # Whoever answers knows no ranges: all of it comes again.
                self._file.truncate(0)
                size = int(answer.headers["Content-Length"])
            else:
                size = int(answer.headers["Content-Range"].rpartition("/")[2])
            if self._step is None:
                self._step = self._shown(size)
            while block := answer.read1(BLOCK_BYTES):
                self._file.write(block)
                self._step(len(block))
        return size
