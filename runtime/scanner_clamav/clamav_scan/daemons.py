"""clamd and freshclam: their settings, their start, and signatures that stay fresh."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clamav_scan.clamd import Clamd

_LOG = logging.getLogger(__name__)

SCAN_SECONDS = 600
"""Longest that clamd looks at one file; then it has met a limit."""

UPDATE_SECONDS = 2 * 3600
"""Time between two looks for new signatures, of which there are a few a day."""

_START_SECONDS = 300
"""Loading all signatures takes half a minute on one processor."""

_FETCH_SECONDS = 1200
"""A fetch at the start, 300 MB, at a slow mirror."""


class DaemonError(Exception):
    """clamd or freshclam cannot be used; the message says why."""


@dataclass(frozen=True)
class Daemons:
    """Where the programs and their files are.

    Attributes:
        folder: Folder that belongs to this process alone.
        clamd: Asks the daemon.
    """

    folder: Path
    clamd: Clamd

    @classmethod
    def prepare(cls, folder: Path, *, max_bytes: int, mirror: str) -> Self:
        """Write the settings of both programs.

        Args:
            folder: Folder that belongs to this process alone; its path must be short enough for a
                socket (100 characters).
            max_bytes: Largest file that is scanned.
            mirror: Host, or URL, that signatures are fetched from.
        """
        made = cls(folder, Clamd(folder / "clamd.sock", SCAN_SECONDS + 60))
        for name in ("signatures", "streams"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _write(
            folder / "clamd.conf",
            Foreground="yes",
            LocalSocket=made.clamd.path,
            LocalSocketMode="600",
            DatabaseDirectory=folder / "signatures",
            TemporaryDirectory=folder / "streams",
            StreamMaxLength=max_bytes,
            MaxFileSize=max_bytes,
            # Of what is unpacked of a file in all.
            MaxScanSize=2 * max_bytes,
            MaxScanTime=1000 * SCAN_SECONDS,
            # Else a file that was not looked at to its end would be called clean.
            AlertExceedsMax="yes",
        )
        _write(
            folder / "freshclam.conf",
            DatabaseDirectory=folder / "signatures",
            NotifyClamd=folder / "clamd.conf",
            # To load them once more beside those in use takes memory; clamd keeps the old ones if
            # it cannot load the new ones.
            TestDatabases="no",
            **({"PrivateMirror": mirror} if "://" in mirror else {"DatabaseMirror": mirror}),
        )
        return made

    def fetch_signatures(self) -> None:
        """Fetch what is new; clamd is told of it.

        Raises:
            DaemonError: If that failed.
        """
        command = [_program("freshclam"), f"--config-file={self.folder / 'freshclam.conf'}"]
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=_FETCH_SECONDS,
                env={},
            )
        except subprocess.TimeoutExpired as error:
            raise DaemonError(f"freshclam took more than {_FETCH_SECONDS} s") from error
        if done.returncode:
            last = " ".join(done.stdout.splitlines()[-3:])
            raise DaemonError(f"freshclam ended with {done.returncode}: {last}")

    def start(self) -> subprocess.Popen[bytes]:
        """Start clamd, and return it once it takes files.

        Raises:
            DaemonError: If it ended, or did not get there in time.
        """
        command = [_program("clamd"), f"--config-file={self.folder / 'clamd.conf'}"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={}
        )
        last = time.monotonic() + _START_SECONDS
        while not self.clamd.is_up():
            if process.poll() is not None:
                raise DaemonError(f"clamd ended with {process.returncode}")
            if time.monotonic() > last:
                process.kill()
                raise DaemonError(f"clamd was not ready after {_START_SECONDS} s")
            time.sleep(0.1)
        _LOG.info("clamd is ready", extra={"version": self.clamd.version()})
        return process

    def keep_fresh(self) -> None:
        """Fetch signatures every two hours, for as long as the process lives."""
        while True:
            time.sleep(UPDATE_SECONDS)
            try:
                self.fetch_signatures()
            except DaemonError as error:
                _LOG.error("signatures were not updated", extra={"reason": str(error)})
            else:
                _LOG.info("looked for signatures", extra={"version": self.clamd.version()})


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise DaemonError(
            f"there is no {name} on the PATH; install ClamAV, or turn the scanner off"
        )
    return found


def _write(path: Path, **settings: object) -> None:
    path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
