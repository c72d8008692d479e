"""Processes: told from strangers, ended with all that they started, ended with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mediactl.local import processes
from mediactl.local.plane import Plane
from mediactl.local.processes import ProcessRecord

PATIENCE_SECONDS = 20
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def eventually(condition: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
    return found


Start = Callable[..., ProcessRecord]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    def run(program: str, name: str = "it", **options: bool) -> ProcessRecord:
        return processes.start(
            tmp_path,
            name,
            [sys.executable, "-c", program],
            environment={"PATH": os.environ["PATH"], "ONLY": "this"},
            log=tmp_path / f"{name}.log",
            working_folder=tmp_path,
            **options,
        )

    yield run
    processes.stop(tmp_path, processes.records(tmp_path), grace_seconds=0)


def said(tmp_path: Path, name: str = "it") -> str:
    log = tmp_path / f"{name}.log"
    return str(eventually(lambda: log.exists() and log.read_text().strip()))


def test_a_process_has_its_environment_and_nothing_else(tmp_path: Path, start: Start) -> None:
    start("import os; print(sorted(set(os.environ) - {'LC_CTYPE'}), os.getcwd(), flush=True)")
    assert said(tmp_path) == f"['ONLY', 'PATH'] {tmp_path}"


def test_stopping_ends_the_children_too(tmp_path: Path, start: Start) -> None:
    record = start(FAMILY)
    child = int(said(tmp_path))
    assert set(processes.session_of(record)) == {record.pid, child}
    processes.stop(tmp_path, [record], grace_seconds=5)
    assert processes.identity_of(child) is None
    assert processes.records(tmp_path) == []


def test_children_are_found_when_their_parent_was_killed(tmp_path: Path, start: Start) -> None:
    record = start(FAMILY)
    child = int(said(tmp_path))
    os.kill(record.pid, signal.SIGKILL)
    eventually(lambda: not processes.is_running(record))
    assert processes.session_of(record) == [child]
    processes.stop(tmp_path, [record], grace_seconds=0)
    assert processes.identity_of(child) is None


def test_who_ignores_sigterm_is_killed(tmp_path: Path, start: Start) -> None:
    record = start(STUBBORN)
    assert said(tmp_path) == "deaf"
    processes.stop(tmp_path, [record], grace_seconds=0.2)
    assert not processes.is_running(record)


def test_a_pid_that_belongs_to_somebody_else_is_left_alone(tmp_path: Path, start: Start) -> None:
    record = start("import time; time.sleep(600)")
    stale = replace(record, identity="another boot:1")
    assert not processes.is_running(stale)
    assert processes.session_of(stale) == []
    processes.signal_leader(stale, signal.SIGKILL)
    processes.kill_session(stale)
    assert processes.is_running(record)


def test_a_process_ends_with_its_parent_even_by_sigkill(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux ends processes with their parent")
    program = f"""
import sys, time
from pathlib import Path
from mediactl.local import processes
folder = Path({str(tmp_path)!r})
record = processes.start(folder, "child", [sys.executable, "-c", "import time; time.sleep(600)"],
    environment={{}}, log=folder / "child.log", working_folder=folder, end_with_parent=True)
print(record.pid, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        (record,) = processes.records(tmp_path)
        # The launcher has become the program only when its command says so.
        command = Path(f"/proc/{child}/cmdline")  # empty for a moment while it is replaced
        eventually(lambda: any(b"sleep" in a for a in command.read_bytes().split(b"\0")[2:3]))
        assert processes.is_running(record)
    finally:
        parent.kill()
        parent.communicate()
    eventually(lambda: not processes.is_running(record))


def test_the_exit_status_is_kept(start: Start) -> None:
    record = start("raise SystemExit(7)")
    eventually(lambda: not processes.is_running(record))
    assert processes.exit_status(record) == 7


DAMAGED = [
    "",
    '{"pid": 1',
    "[]",
    '{"unknown": 1}',
    '{"name": "emulator", "pid": 0, "identity": "x"}',
    '{"name": "emulator", "pid": -1, "identity": "x"}',
    '{"name": "emulator", "pid": 1, "identity": "x"}',
    '{"name": "emulator", "pid": true, "identity": "x"}',
    '{"name": "emulator", "pid": 99999999, "identity": null}',
    '{"name": "../other", "pid": 99999999, "identity": "x"}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / "emulator.json").write_text(text)
    assert processes.records(tmp_path) == []


@pytest.mark.parametrize("text", [*DAMAGED, None])
def test_down_finds_processes_whose_record_was_damaged_or_lost(
    tmp_path: Path, text: str | None
) -> None:
    said: list[str] = []
    plane = Plane(tmp_path / "state", say=said.append)
    state = plane.state
    state.create()
    temporary = state.scratch / "emulator"
    temporary.mkdir()
    log = state.log_file("it")
    options: dict[str, Any] = {"working_folder": tmp_path, "log": log}
    sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    record = processes.start(
        state.processes, "emulator", sleep, environment={"TMPDIR": str(temporary)}, **options
    )
    stranger = processes.start(tmp_path, "stranger", sleep, environment={}, **options)
    try:
        # Until it runs its own program, a process is still on the way to its environment.
        deadline = time.monotonic() + 60
        while log.read_text().count("up") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        file = state.processes / "emulator.json"
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        assert plane.down()
        assert not processes.is_running(record)
        assert processes.is_running(stranger)
        assert list(state.processes.iterdir()) == []
        assert not plane.down()
    finally:
        processes.stop(tmp_path, [stranger], grace_seconds=0)
        processes.stop(tmp_path, [record], grace_seconds=0)


def test_a_damaged_record_of_nothing_is_said_and_removed(tmp_path: Path) -> None:
    said: list[str] = []
    plane = Plane(tmp_path, say=said.append)
    plane.state.create()
    file = plane.state.processes / "task-x.json"
    file.write_text("{half")
    assert not plane.down()
    assert said == [f"{file} did not describe a process and is removed"]
    assert not file.exists()
