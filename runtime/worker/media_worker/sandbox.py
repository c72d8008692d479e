"""Child processes that touch what users uploaded.

A child has no environment, hence no credentials, no file it may write, a limit on everything, and a
process group of its own that is killed as a whole. On Linux it dies with the worker, starts no
processes, and, where the kernel can do it (see ``launcher``), reads no files but programs and
connects to nothing but the loopback ports that its command line names.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from media_worker.cancellation import Cancellation
from media_worker.faults import TransientError

_LOG_BYTES = 64 * 1024
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one child may use.

    Attributes:
        wall_seconds: Time after which it is killed.
        cpu_seconds: Processor time of all its threads.
        memory_bytes: Address space; never more than :func:`child_memory`.
        open_files: File descriptors.
        file_bytes: Largest file that it may write in its working directory; by default none at all.
        processes: Whether it may start processes.
    """

    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    open_files: int = 64
    file_bytes: int = 0
    processes: bool = False

    def to_json(self, argv: Sequence[str], scratch: Path) -> str:
        """Return the rules of a child as the launcher takes them."""
        program = Path(argv[0]).resolve().parent
        ports = {int(port) for argument in argv for port in _LOOPBACK.findall(argument)}
        return json.dumps(
            {
                "limits": {
                    "CPU": self.cpu_seconds,
                    "AS": min(self.memory_bytes, child_memory()),
                    "NOFILE": self.open_files,
                    "FSIZE": self.file_bytes,
                    "CORE": 0,
                },
                "readable": [*_PROGRAMS, str(program), str(scratch.resolve())],
                "writable": [str(scratch.resolve())] if self.file_bytes else [],
                "ports": sorted(ports),
                "processes": self.processes,
            }
        )


_LOOPBACK = re.compile(r"http://127\.0\.0\.1:(\d+)/")
_LOOPBACK_URL = re.compile(r"http://127\.0\.0\.1:\d+[\w/.~-]*")

_PROGRAMS = tuple(
    str(path)
    for path in dict.fromkeys(
        Path(name).resolve()
        for name in (
            *("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"),
            *("/sys/devices/system/cpu", sys.prefix, sys.base_prefix, Path(__file__).parent),
        )
    )
)
"""What programs and their libraries are read from."""


def available_memory() -> int:
    """Return the bytes of memory that this task, or this machine, has."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            sizes.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(sizes)


def child_memory() -> int:
    """Return the address space of one child, so that it fails before the worker is killed.

    Three quarters of what there is; what a child reserves and does not use counts as well.
    """
    return available_memory() * 3 // 4


_CRASHES = frozenset(
    -getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGXCPU")
    if hasattr(signal, name)
)


def is_crash(code: int) -> bool:
    """Tell whether an exit code says that a child broke, or used up its processor time.

    What made it do so is the file, which would do the same the next time.
    """
    return code in _CRASHES


class Child:
    """A running child; leaving the ``with`` block kills it if it still runs.

    Args:
        argv: Program and arguments; the program is a path.
        limits: What it may use.
        cancellation: Stops it.
        scratch: Its working directory.
        pipes: Writing ends that it inherits; they are closed here once it has them.
        spent: Takes the processor time that it used, in seconds, once it has ended.

    Attributes:
        timed_out: Whether it was killed because its time was over.
        cpu_seconds: Processor time that it used, all threads together, once it has ended.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        cancellation: Cancellation,
        scratch: Path,
        pipes: Iterable[int] = (),
        spent: Callable[[float], None] | None = None,
    ) -> None:
        pipes = tuple(pipes)
        self._spent = spent
        self._stack = ExitStack()
        self._cancellation = cancellation
        self._log = bytearray()
        self._ended = threading.Event()
        self._reaping = threading.Lock()
        self._code = 0
        self.timed_out = False
        self.cpu_seconds = 0.0
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), limits.to_json(argv, scratch), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                cwd=scratch,
                pass_fds=pipes,
                start_new_session=True,
            )
        finally:
            for pipe in pipes:
                os.close(pipe)
        self._timer = threading.Timer(limits.wall_seconds, self._time_out)
        self._timer.daemon = True
        self._reader = threading.Thread(target=self._read_log, name="child-log", daemon=True)
        self._reaper = threading.Thread(target=self._reap, name="child-reaper", daemon=True)
        self._reaper.start()

    def __enter__(self) -> Self:
        self._timer.start()
        self._reader.start()
        self._stack.enter_context(self._cancellation.calling(self.kill))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._timer.cancel()
        self.kill()
        self._reaper.join()
        self._reader.join()
        self.output.close()
        if self._process.stderr:
            self._process.stderr.close()

    @property
    def output(self) -> IO[bytes]:
        """Its standard output."""
        assert self._process.stdout is not None  # noqa: S101 - opened above
        return self._process.stdout

    @property
    def log(self) -> str:
        """The end of what it wrote to standard error, without the address of the source."""
        return _LOOPBACK_URL.sub("<source>", self._log.decode(errors="replace"))

    def kill(self) -> None:
        """Kill it with everything that it started."""
        with self._reaping:
            if not self._ended.is_set():
                self._kill_group()

    def wait(self) -> int:
        """Wait for its end and return its exit code, negative for a signal.

        Raises:
            StoppedError: If the job was stopped.
            TransientError: If it ran out of time.
        """
        self._reaper.join()
        self._reader.join()
        self._cancellation.check()
        if self.timed_out:
            raise TransientError("a child process ran out of time")
        return self._code

    def _time_out(self) -> None:
        self.timed_out = True
        self.kill()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: nothing but a dead leader
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Wait for the end of the child, end what it started, and note what it used.

        The number of a group is free for others only once its leader was reaped, so what is left of
        the group is killed before that.
        """
        pid = self._process.pid
        if hasattr(os, "waitid"):  # not on macOS
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            self._kill_group()
        _, status, usage = os.wait4(pid, 0)
        with self._reaping:
            self.cpu_seconds = usage.ru_utime + usage.ru_stime
            self._code = self._process.returncode = os.waitstatus_to_exitcode(status)
            self._ended.set()
        if self._spent is not None:
            self._spent(self.cpu_seconds)

    def _read_log(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - opened above
        while block := self._process.stderr.read1(4096):  # type: ignore[attr-defined]
            self._log += block
            del self._log[:-_LOG_BYTES]
