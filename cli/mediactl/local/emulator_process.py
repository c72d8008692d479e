"""The emulator's process: MiniStack in a virtual environment of its own, with our additions."""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from mediactl.errors import CommandError
from mediactl.local import ports, processes
from mediactl.local.aws import Emulator
from mediactl.local.state import StateFolder, read_state, write_json
from mediactl.local.venvs import ensure_venv

NAME = "emulator"
REQUIREMENTS = Path(__file__).with_name("emulator-requirements.txt")
ADDITIONS = Path(__file__).with_name("emulator") / "launch.py"
START_SECONDS = 120
"""Longest wait for the emulator on a machine that is busy with other things."""

ATTEMPTS = 3
"""Starts with fresh ports when somebody else took one in between."""


def running_emulator(state: StateFolder) -> Emulator | None:
    """Return the emulator of a state folder if it runs and answers as the one recorded."""
    emulator = read_state(state.emulator_file, Emulator)
    record = emulator_record(state)
    if emulator is None or record is None or not processes.is_running(record):
        return None
    try:
        answer = emulator.control("identity", timeout=30)
    except (OSError, ValueError):
        return None
    return emulator if answer.get("pid") == record.pid else None


def start_emulator(state: StateFolder) -> Emulator:
    """Start an emulator with empty state.

    The ports of the last one are used again when they are free, so that links survive a crash.

    Raises:
        CommandError: If it does not come up.
    """
    venv = ensure_venv(state.venvs, REQUIREMENTS, state.log_file("install"))
    last = read_state(state.emulator_file, Emulator)
    wanted = [last.port, last.edge_port] if last else []
    for _ in range(ATTEMPTS):
        if not wanted or not all(port > 0 and ports.is_free(port) for port in wanted):
            wanted = ports.free_ports(2)
        emulator = Emulator(wanted[0], wanted[1], secrets.token_urlsafe(24))
        if _start(state, venv, emulator):
            return emulator
        wanted = ports.free_ports(2)
    tail = "\n".join(state.log_file(NAME).read_text(errors="replace").splitlines()[-15:])
    raise CommandError(
        f"the emulator does not start:\n{tail}",
        hint=f"its log is {state.log_file(NAME)}",
    )


def _start(state: StateFolder, venv: Path, emulator: Emulator) -> bool:
    scratch = state.scratch / NAME
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    # The calls of the last emulator say nothing about this one.
    state.calls_file.unlink(missing_ok=True)
    state.calls_file.touch(mode=0o600)
    write_json(state.emulator_file, asdict(emulator))
    record = processes.start(
        state.processes,
        NAME,
        [str(venv / "bin" / "python"), "-P", str(ADDITIONS)],
        environment={
            "PATH": f"{venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "LANG": "C.UTF-8",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(emulator.port),
            "MINISTACK_HOST": "127.0.0.1",
            "AUTH": "true",
            # These two would listen on all interfaces.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "MEDIACTL_EDGE_AUTHORITY": f"127.0.0.1:{emulator.edge_port}",
            "MEDIACTL_CALLS_FILE": str(state.calls_file),
            "MEDIACTL_CONTROL_TOKEN": emulator.control_token,
        },
        log=state.log_file(NAME),
        working_folder=scratch,
    )
    deadline = time.monotonic() + START_SECONDS
    while processes.is_running(record) and time.monotonic() < deadline:
        if running_emulator(state):
            return True
        time.sleep(0.1)
    processes.stop(state.processes, [record], grace_seconds=2)
    return False


def emulator_record(state: StateFolder) -> processes.ProcessRecord | None:
    """Return the record of the emulator of a state folder."""
    return next(
        (record for record in processes.records(state.processes) if record.name == NAME), None
    )
