"""Processes of the plane: started in sessions of their own, found again, and stopped for sure.

Invariants:

- Every process that the plane starts leads a session of its own, has a temporary folder of its own
  in the state folder (``TMPDIR``), named as the process, and has a record in the state folder, with
  its pid and its identity. Where a record was lost or damaged, the process is found by its
  temporary folder.
- A pid is signalled only while its identity is the recorded one, so a pid that was given to a
  stranger in the meantime is never touched.
- Stopping a process ends its whole session: what it started itself (ffmpeg, Lambda workers) ends
  with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from mediactl.local.launch_process import launching
from mediactl.local.state import read_state, write_json

_LINUX = sys.platform.startswith("linux")
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class ProcessRecord:
    """A process of the plane.

    Attributes:
        name: What it is, also the name of its record.
        pid: Process id, also the id of its session.
        identity: Tells it from any other process that ever had the pid.
    """

    name: str
    pid: int
    identity: str


def identity_of(pid: int) -> str | None:
    """Return what tells a process from others with its pid, ``None`` when it does not run.

    On Linux this is the start time in clock ticks with the id of the boot, which no clock change
    moves; elsewhere the start time that the system reports. A zombie does not run.
    """
    if _LINUX:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name in parentheses may hold anything, also spaces and parentheses.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def start(
    folder: Path,
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    working_folder: Path,
    end_with_parent: bool = False,
) -> ProcessRecord:
    """Start a process in a session of its own and record it.

    Args:
        folder: Where records are kept.
        name: Name of the record.
        command: Program and arguments.
        environment: Exactly the environment of the process.
        log: File to which its output is appended.
        working_folder: Its working folder.
        end_with_parent: Whether the system kills it when the calling process ends in any way
            (Linux only; elsewhere the record serves to find it).
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            launching(command, end_with_parent=end_with_parent),
            env=dict(environment),
            cwd=working_folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children.append(process)
    record = ProcessRecord(name, process.pid, identity_of(process.pid) or "ended")
    write_json(folder / f"{name}.json", asdict(record))
    return record


def records(folder: Path) -> list[ProcessRecord]:
    """Return all records in a folder; a damaged record is skipped."""
    return [
        record
        for file in sorted(folder.glob("*.json"))
        if (record := read_state(file, ProcessRecord)) is not None
        # The system's own first process is nobody's, and what is not positive names a group.
        and record.pid > 1
        and record.name == file.stem
    ]


def all_records(folder: Path, scratch: Path) -> list[ProcessRecord]:
    """Return all records in a folder, and new ones of processes whose record was lost or damaged.

    Args:
        folder: Where records are kept.
        scratch: Folder that holds the temporary folders of the processes.
    """
    found = records(folder)
    known = {record.pid for record in found if session_of(record)}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            temporary = Path(process.environ().get("TMPDIR", ""))
            # What such a process started itself belongs to its session, or to nobody of ours.
            if temporary.parent == scratch and os.getsid(process.pid) == process.pid:
                identity = identity_of(process.pid)
                if identity is not None and process.pid not in known:
                    found.append(ProcessRecord(temporary.name, process.pid, identity))
    return found


def forget(folder: Path, name: str) -> None:
    """Remove a record."""
    (folder / f"{name}.json").unlink(missing_ok=True)


def is_running(record: ProcessRecord) -> bool:
    """Return whether the recorded process itself still runs."""
    reap()
    return identity_of(record.pid) == record.identity


def exit_status(record: ProcessRecord) -> int | None:
    """Return the exit status of a child of this process that ended, as ``subprocess`` gives it.

    It is known until :func:`stop` has cleaned up after the process.
    """
    for child in _children:
        if child.pid == record.pid:
            return child.poll()
    return None


def reap() -> None:
    """Collect children of this process that ended."""
    for child in _children:
        child.poll()


def session_of(record: ProcessRecord) -> list[int]:
    """Return the pids that belong to the recorded session, whether its leader lives or not.

    The system gives no process a pid that still names a session, so as long as members live they
    are ours, unless a stranger leads a session of that id by now.
    """
    leader = identity_of(record.pid)
    if leader is not None and leader != record.identity:
        return []
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == record.pid and identity_of(pid) is not None:
                members.append(pid)
    return members


def signal_leader(record: ProcessRecord, number: signal.Signals) -> None:
    """Send a signal to the recorded process, if it still runs."""
    if is_running(record):
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)


def kill_session(record: ProcessRecord) -> None:
    """Kill everything that belongs to a recorded session."""
    for pid in session_of(record):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop(folder: Path, stopped: Iterable[ProcessRecord], *, grace_seconds: float) -> None:
    """Stop processes: SIGTERM, and SIGKILL for what is left of their sessions afterwards.

    Returns when nothing of them runs any more and their records are gone.
    """
    stopping = list(stopped)
    for record in stopping:
        signal_leader(record, signal.SIGTERM)
    wait_until_gone(stopping, grace_seconds)
    deadline = time.monotonic() + 30
    while any(session_of(record) for record in stopping):
        for record in stopping:
            kill_session(record)
        reap()
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes survive SIGKILL: {stopping}")
        time.sleep(0.02)
    gone = {record.pid for record in stopping}
    _children[:] = [child for child in _children if child.pid not in gone]
    for record in stopping:
        forget(folder, record.name)


def wait_until_gone(stopping: Sequence[ProcessRecord], seconds: float) -> None:
    """Wait until the recorded processes have ended, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    while any(is_running(record) for record in stopping) and time.monotonic() < deadline:
        time.sleep(0.05)
