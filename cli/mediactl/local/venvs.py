"""Virtual environments by lock file, made by uv and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mediactl.errors import CommandError


def uv_binary() -> str:
    """Return the path of uv.

    Raises:
        CommandError: If the local plane's dependencies are not installed.
    """
    try:
        import uv  # noqa: PLC0415 - only the local plane has it
    except ImportError:
        raise CommandError(
            "uv is not installed", hint="pip install 'media-platform[local]'"
        ) from None
    return uv.find_uv_bin()


def ensure_venv(folder: Path, lock: Path, log: Path) -> Path:
    """Return a virtual environment that holds exactly what a lock file names.

    Environments are kept under a key of the lock's text and the Python version, so they are made
    once. One that was half made when its maker died is not under its key yet. Hashes are checked.

    Args:
        folder: Where environments are kept.
        lock: ``requirements.txt`` with a hash for every file.
        log: Where uv's output goes.

    Raises:
        CommandError: If uv cannot install it.
    """
    text = lock.read_text()
    version = f"{sys.implementation.cache_tag}-{sys.platform}"
    key = hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()[:24]
    ready = folder / key
    if (ready / "bin" / "python").exists():
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=folder))
    try:
        _uv(log, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(building))
        if text.strip():
            _uv(
                log,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--require-hashes",
                "--python",
                str(building / "bin" / "python"),
                "--requirement",
                str(lock),
            )
        try:
            building.rename(ready)
        except OSError:
            # Another command made the same environment meanwhile.
            if not (ready / "bin" / "python").exists():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return ready


def _uv(log: Path, *arguments: str) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"}
    }
    with log.open("ab") as output:
        done = subprocess.run(
            [uv_binary(), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise CommandError(
            f"uv {arguments[0]} failed with status {done.returncode}:\n{tail}",
            hint=f"the whole output is in {log}",
        )
