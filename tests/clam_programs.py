"""Stand-ins for clamd and freshclam, which a machine of a developer or of CI need not have.

``clamd`` speaks the part of the protocol that the scanner uses (clamd(8)), on the socket that its
settings name. It finds EICAR as the real one does, and does on request what the real one does only
after gigabytes or minutes. ``freshclam`` writes a database of one signature, which the real clamd
reads, too.
"""

from __future__ import annotations

import os
import shutil
import socketserver
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""What every scanner takes for malware; source: eicar.org, "Anti Malware Testfile"."""

SIGNATURE = "Eicar-Signature"
LIMIT, TROUBLE, ENDLESS, CUT = (f"<{n}>".encode() for n in ("limit", "trouble", "endless", "cut"))
"""Contents that the stand-in does not scan: it meets a limit, fails, takes for ever, breaks off."""

VERSION = "ClamAV 1.4.3/27600/Wed Nov 25 10:00:00 2026"
BROKEN_MIRROR = "broken.invalid"


def install(folder: Path, *, real_clamd: str | None = None) -> Path:
    """Return a folder to put on the ``PATH``, with both programs.

    Args:
        folder: Where they are put.
        real_clamd: The real clamd, to take instead of the stand-in.
    """
    for name in ("clamd", "freshclam"):
        program = folder / name
        if name == "clamd" and real_clamd is not None:
            program.symlink_to(real_clamd)
            continue
        program.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
        program.chmod(0o755)
    return folder


def real_clamd() -> str | None:
    """Return the path of the real clamd, if this machine has one."""
    return shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin")


class _Connection(socketserver.StreamRequestHandler):
    server: ClamdServer

    def handle(self) -> None:
        command = b""
        while not command.endswith(b"\0"):
            command += self.rfile.read(1)
        match command:
            case b"zPING\0":
                self._tell("PONG")
            case b"zVERSION\0":
                self._tell(VERSION)
            case b"zINSTREAM\0":
                self._scan()
            case _:
                self._tell("UNKNOWN COMMAND")

    def _scan(self) -> None:
        content = b""
        while length := int.from_bytes(self.rfile.read(4)):
            if len(content) + length > self.server.most:
                self._tell("INSTREAM size limit exceeded. ERROR")
                return
            content += self.rfile.read(length)
            if CUT in content:
                return
        self.server.scanned.append(content)
        if ENDLESS in content:
            self.rfile.read(1)  # until the other side gives up
        elif TROUBLE in content:
            self._tell("stream: Can't allocate memory ERROR")
        elif LIMIT in content:
            self._tell("stream: Heuristics.Limits.Exceeded.MaxScanTime FOUND")
        elif EICAR in content:
            self._tell(f"stream: {SIGNATURE} FOUND")
        else:
            self._tell("stream: OK")

    def _tell(self, answer: str) -> None:
        self.wfile.write(f"{answer}\0".encode())


class ClamdServer(socketserver.ThreadingUnixStreamServer):
    """A clamd.

    Args:
        path: The socket that it listens on.
        most: Longest stream that it takes.

    Attributes:
        scanned: What it scanned.
    """

    daemon_threads = True

    def __init__(self, path: Path, *, most: int = 1 << 31) -> None:
        super().__init__(str(path), _Connection)
        self.most = most
        self.scanned: list[bytes] = []

    def start(self) -> None:
        """Serve from a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


def _clamd(settings: Mapping[str, str]) -> None:
    if not any(Path(settings["DatabaseDirectory"]).iterdir()):
        sys.exit("no signatures")
    path = Path(settings["LocalSocket"])
    ClamdServer(path, most=int(settings["StreamMaxLength"])).serve_forever()


def _freshclam(settings: Mapping[str, str]) -> None:
    if settings.get("DatabaseMirror") == BROKEN_MIRROR:
        sys.exit("mirror cannot be reached")
    database = Path(settings["DatabaseDirectory"]) / "own.ndb"
    database.write_text(f"{SIGNATURE}:0:*:{EICAR.hex()}\n")


def _settings() -> dict[str, str]:
    (path,) = (a.partition("=")[2] for a in sys.argv if a.startswith("--config-file="))
    return dict(line.split(" ", 1) for line in Path(path).read_text().splitlines())


if __name__ == "__main__":
    {"clamd": _clamd, "freshclam": _freshclam}[Path(sys.argv[0]).name](_settings())
