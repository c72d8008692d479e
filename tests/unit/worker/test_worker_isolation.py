"""What children get, what they may do, and how they and the rest of a job are stopped."""

from __future__ import annotations

import ctypes
import errno
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from media_worker import metrics, source_proxy
from media_worker.cancellation import Cancellation
from media_worker.ecs_service import TaskProtection
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.sandbox import Child, Limits, available_memory, child_memory, is_crash
from media_worker.source_proxy import BLOCK_BYTES, SourceProxy

LIMITS = Limits(wall_seconds=30, cpu_seconds=10, memory_bytes=1024**3)


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def run(code: str, scratch: Path, limits: Limits = LIMITS) -> tuple[int, str, str]:
    cancellation = Cancellation()
    with Child(python(code), limits=limits, cancellation=cancellation, scratch=scratch) as child:
        output = child.output.read().decode()
        return child.wait(), output, child.log


def test_child_has_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    code, output, _ = run("import os; print(dict(os.environ), os.getcwd())", tmp_path)
    assert code == 0
    assert "hush" not in output
    assert "AWS" not in output
    assert output.strip().endswith(str(tmp_path))


def test_child_writes_no_file(tmp_path: Path) -> None:
    code, _, log = run("f = open('x', 'w', 1); f.write('some text\\n')", tmp_path)
    assert code != 0
    assert "File too large" in log or "Permission denied" in log
    assert [path.read_bytes() for path in tmp_path.iterdir()] in ([], [b""])


def test_child_has_no_more_memory_than_it_is_given(tmp_path: Path) -> None:
    code, _, log = run(f"bytearray({2 * 1024**3})", tmp_path)
    assert code != 0
    assert "MemoryError" in log


def test_child_inherits_no_file_descriptors(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        code, output, _ = run(
            "import os; print([os.readlink(f'/proc/self/fd/{n}')"
            " for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')])",
            tmp_path,
        )
    assert code == 0
    assert "pipe:" in output
    assert "secret" not in output


LINUX = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"},
    reason="seccomp is a part of Linux, and its filter is for two machines",
)
TRIES = """
import sys
try:
    {code}
except OSError as error:
    print(error.errno)
else:
    print("done")
"""


def errno_of(code: str, scratch: Path, limits: Limits = LIMITS, *more: str) -> str:
    argv = [*python(TRIES.format(code=code)), *more]
    with Child(argv, limits=limits, cancellation=Cancellation(), scratch=scratch) as child:
        output = child.output.read().decode().strip()
        assert child.wait() == 0, child.log
    return output


@LINUX
def test_child_starts_no_process_and_signals_nobody(tmp_path: Path) -> None:
    assert errno_of("import os; os.fork()", tmp_path) == str(errno.EPERM)
    spawn = "import os; os.posix_spawn('/bin/true', ['true'], dict())"
    assert errno_of(spawn, tmp_path) == str(errno.EPERM)
    assert errno_of(f"import os; os.kill({os.getpid()}, 0)", tmp_path) == str(errno.EPERM)
    threads = "import threading; t = threading.Thread(target=int); t.start(); t.join()"
    assert errno_of(threads, tmp_path) == "done"


@LINUX
@pytest.mark.parametrize(
    "kind", ["AF_INET, socket.SOCK_DGRAM", "AF_UNIX", "AF_INET6", "AF_INET, socket.SOCK_RAW"]
)
def test_child_has_no_sockets_but_tcp(kind: str, tmp_path: Path) -> None:
    code = f"import socket; socket.socket(socket.{kind})"
    assert errno_of(code, tmp_path) == str(errno.EAFNOSUPPORT)


def landlock() -> int:
    """Return the version of Landlock that the kernel offers, 0 or less for none."""
    if sys.platform != "linux":
        return 0
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


@pytest.mark.skipif(landlock() < 4, reason="the kernel has no Landlock with rules for ports")
def test_child_connects_only_to_what_its_command_line_names(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as named,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        port = named.getsockname()[1]
        url = f"http://127.0.0.1:{port}/source"
        connect = "import socket; socket.create_connection(('127.0.0.1', {}), 5)"
        assert errno_of(connect.format(port), tmp_path, LIMITS, url) == "done"
        refused = connect.format(other.getsockname()[1])
        assert errno_of(refused, tmp_path, LIMITS, url) == str(errno.EACCES)
        listen = "import socket; socket.create_server(('127.0.0.1', 0))"
        assert errno_of(listen, tmp_path, LIMITS, url) == str(errno.EACCES)


@pytest.mark.skipif(landlock() < 1, reason="the kernel has no Landlock")
def test_child_reads_no_files_but_programs(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "secret").write_text("hush")
    assert errno_of(f"open({str(tmp_path / 'secret')!r})", scratch) == str(errno.EACCES)
    assert errno_of("open('/etc/passwd')", scratch) == str(errno.EACCES)
    assert errno_of(f"open('/proc/{os.getpid()}/environ')", scratch) == str(errno.EACCES)
    assert errno_of("import json, ssl", scratch) == "done"
    writer = replace(LIMITS, file_bytes=10)
    assert errno_of("open('x', 'w').write('text')", scratch, writer) == "done"
    assert (scratch / "x").read_text() == "text"
    outside = f"open({str(tmp_path / 'y')!r}, 'w')"
    assert errno_of(outside, scratch, writer) == str(errno.EACCES)


def test_child_tells_its_processor_time(tmp_path: Path) -> None:
    busy = (
        "import threading, time, hashlib\n"
        "def work():\n"
        "    while time.thread_time() < 0.2: hashlib.sha256(bytes(10**6))\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    cancellation = Cancellation()
    with Child(python(busy), limits=LIMITS, cancellation=cancellation, scratch=tmp_path) as child:
        assert child.wait() == 0
    assert 0.4 <= child.cpu_seconds < 10


def test_child_that_breaks_or_takes_too_much_time_is_known(tmp_path: Path) -> None:
    frugal = replace(LIMITS, cpu_seconds=1)
    assert is_crash(run("while True: pass", tmp_path, frugal)[0])
    assert is_crash(run("import os; os.abort()", tmp_path)[0])
    assert not is_crash(run("raise SystemExit(1)", tmp_path)[0])
    assert not is_crash(run("pass", tmp_path)[0])


def test_memory_of_a_child_is_a_part_of_what_there_is() -> None:
    assert 0 < child_memory() < available_memory()


def test_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    short = Limits(wall_seconds=0.2, cpu_seconds=10, memory_bytes=1024**3)
    with pytest.raises(TransientError, match="out of time"):
        run("import time; time.sleep(60)", tmp_path, short)


def test_stop_kills_the_child_and_its_children(tmp_path: Path) -> None:
    cancellation = Cancellation()
    spawn = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)']);"
        "print('started', flush=True); time.sleep(60)"
    )
    limits = replace(LIMITS, processes=True)
    with Child(python(spawn), limits=limits, cancellation=cancellation, scratch=tmp_path) as child:
        assert child.output.readline() == b"started\n"
        cancellation.cancel(StopReason.INTERRUPTED)
        with pytest.raises(StoppedError, match="interrupted"):
            child.wait()
        # The grandchild holds the same standard output, which ends once nobody does any more.
        assert child.output.read() == b""


def test_child_started_after_the_stop_is_killed(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel(StopReason.FENCE_LOST)
    with (
        Child(
            python("import time; time.sleep(60)"),
            limits=LIMITS,
            cancellation=cancellation,
            scratch=tmp_path,
        ) as child,
        pytest.raises(StoppedError, match="fence lost"),
    ):
        child.wait()


def test_first_reason_to_stop_is_kept() -> None:
    cancellation = Cancellation()
    cancellation.fail(OSError("first"))
    cancellation.fail(OSError("second"))
    cancellation.cancel(StopReason.INTERRUPTED)
    assert cancellation.reason is StopReason.SIBLING_FAILED
    assert str(cancellation.error) == "first"

    interrupted = Cancellation()
    interrupted.cancel(StopReason.INTERRUPTED)
    interrupted.fail(OSError("a consequence"))
    assert interrupted.reason is StopReason.INTERRUPTED
    assert interrupted.error is None


class Source:
    """A source of numbered bytes that counts what is read, and can break."""

    def __init__(self, size: int) -> None:
        self.data = bytes(range(251)) * (size // 251 + 1)
        self._size = size
        self.reads: list[tuple[int, int]] = []
        self.broken: Exception | None = None

    def size(self) -> int:
        return self._size

    def read(self, start: int, end: int) -> bytes:
        if self.broken:
            raise self.broken
        self.reads.append((start, end))
        return self.data[start:end]


def fetch(url: str, byte_range: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    headers = {"Range": byte_range} if byte_range else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.status, answer.read(), dict(answer.headers)


def test_proxy_serves_ranges() -> None:
    source = Source(3 * BLOCK_BYTES + 100)
    with SourceProxy(source, source.size()) as proxy:
        status, body, headers = fetch(proxy.url, f"bytes={BLOCK_BYTES - 2}-{BLOCK_BYTES + 1}")
        assert (status, body) == (206, source.data[BLOCK_BYTES - 2 : BLOCK_BYTES + 2])
        assert headers["Content-Range"] == f"bytes 1048574-1048577/{source.size()}"
        status, body, _ = fetch(proxy.url)
        assert (status, body) == (200, source.data[: source.size()])
        status, body, _ = fetch(proxy.url, f"bytes={source.size() - 5}-")
        assert (status, body) == (206, source.data[source.size() - 5 : source.size()])
        with pytest.raises(urllib.error.HTTPError, match="416"):
            fetch(proxy.url, f"bytes={source.size()}-")
        assert proxy.failure is None


def test_proxy_reads_each_block_once_and_only_what_is_asked_for() -> None:
    source = Source(20 * BLOCK_BYTES)
    with SourceProxy(source, source.size()) as proxy:
        for _ in range(3):
            fetch(proxy.url, f"bytes={5 * BLOCK_BYTES}-{6 * BLOCK_BYTES - 1}")
    assert source.reads == [(5 * BLOCK_BYTES, 6 * BLOCK_BYTES)]
    assert max(end - start for start, end in source.reads) <= BLOCK_BYTES


def test_proxy_reads_ahead_only_for_who_reads_on() -> None:
    source = Source(40 * BLOCK_BYTES)
    with SourceProxy(source, source.size()) as proxy:
        for start in (0, 20 * BLOCK_BYTES):  # as ffmpeg seeks: open to the end, and soon closed
            request = urllib.request.Request(  # noqa: S310
                proxy.url, headers={"Range": f"bytes={start}-"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                assert len(answer.read(1000)) == 1000
    assert len(source.reads) <= 8
    source.reads.clear()
    with SourceProxy(source, source.size()) as proxy:
        assert len(fetch(proxy.url)[1]) == source.size()
    assert sorted(source.reads) == [
        (n * BLOCK_BYTES, (n + 1) * BLOCK_BYTES) for n in range(source.size() // BLOCK_BYTES)
    ]


def test_proxy_turns_away_more_connections_than_children_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_proxy, "CONNECTIONS", 2)
    source = Source(64 * BLOCK_BYTES)
    with SourceProxy(source, source.size()) as proxy, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(urllib.request.urlopen(proxy.url, timeout=10))  # noqa: S310
        with pytest.raises((ConnectionError, http.client.HTTPException, urllib.error.URLError)):
            fetch(proxy.url, "bytes=0-9")
        stack.close()
        while True:  # room is made once both have noticed
            with suppress(ConnectionError, http.client.HTTPException, urllib.error.URLError):
                assert fetch(proxy.url, "bytes=0-9")[0] == 206
                break


def test_proxy_serves_no_more_than_it_is_told_to() -> None:
    source = Source(10 * BLOCK_BYTES)
    with SourceProxy(source, source.size()) as proxy:
        with proxy.serving_at_most(3 * BLOCK_BYTES) as served:
            with pytest.raises(http.client.IncompleteRead):
                fetch(proxy.url)
            assert served.exhausted
        assert proxy.failure is None
        assert len(fetch(proxy.url)[1]) == source.size()


READERS = """
import resource, sys, threading, urllib.request
import media_worker.worker
from media_worker.source_proxy import SourceProxy

class Reader:
    def size(self): return 10 * 1024**3
    def read(self, start, end): return bytes(end - start)

def follow(url, start):
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"})
    with urllib.request.urlopen(request) as answer:
        for _ in range(1000): answer.read(100_000)

with SourceProxy(Reader(), Reader().size()) as proxy:
    threads = [threading.Thread(target=follow, args=(proxy.url, n * 1024**3)) for n in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
if sys.platform == "linux":  # where getrusage tells of the process that started this one as well
    status = open("/proc/self/status").read()
    print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_worker_stays_small_however_large_the_source_is() -> None:
    """Six children read 100 MB each of ten GiB; the modules of the worker are counted as well."""
    done = subprocess.run(
        [sys.executable, "-c", READERS],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert int(done.stdout.split()[-1]) < 120 * 1024**2


def test_proxy_keeps_a_bounded_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_proxy, "CACHED_BLOCKS", 2)
    source = Source(4 * BLOCK_BYTES)
    cache = source_proxy.BlockCache(source, source.size())
    for number in (0, 1, 2, 0):
        cache.block(number)
    assert [start // BLOCK_BYTES for start, _ in source.reads] == [0, 1, 2, 0]


def test_proxy_answers_nobody_else() -> None:
    source = Source(100)
    with SourceProxy(source, source.size()) as proxy:
        root = proxy.url.rpartition("/")[0]
        assert root.startswith("http://127.0.0.1:")
        for path in ("/", "/other", f"/{'x' * 32}"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetch(root + path)
        url = proxy.url
    with pytest.raises(urllib.error.URLError):
        fetch(url)
    assert source.reads == []


def test_source_that_cannot_be_read_is_known() -> None:
    source = Source(100)
    source.broken = OSError("gone")
    with SourceProxy(source, source.size()) as proxy:
        with pytest.raises(http.client.IncompleteRead):
            fetch(proxy.url)
        assert str(proxy.failure) == "gone"


class Agent(BaseHTTPRequestHandler):
    """Takes protection states as the ECS agent does."""

    states: list[tuple[str, dict[str, Any]]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.states.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def agent() -> Iterator[str]:
    Agent.states = []
    with HTTPServer(("127.0.0.1", 0), Agent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/task"
        server.shutdown()
        thread.join()


def test_busy_task_is_protected_and_not_at_every_heartbeat(agent: str) -> None:
    protection = TaskProtection(agent)
    for _ in range(3):
        protection.protect()
    protection.unprotect()
    protection.protect()
    path = "/api/task/task-protection/v1/state"
    on = {"ProtectionEnabled": True, "ExpiresInMinutes": 60}
    assert Agent.states == [(path, on), (path, {"ProtectionEnabled": False}), (path, on)]


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:9"])
def test_absent_agent_is_no_hindrance(uri: str | None) -> None:
    protection = TaskProtection(uri)
    protection.protect()
    protection.unprotect()


def test_metrics_name_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    metrics.emit("test", {"JobsCompleted": 1, "TimeToReadySeconds": 2.5}, video_id="v")
    line = json.loads(capsys.readouterr().out)
    (definition,) = line["_aws"]["CloudWatchMetrics"]
    assert definition["Namespace"] == "MediaPlatform"
    assert definition["Metrics"] == [
        {"Name": "JobsCompleted", "Unit": "Count"},
        {"Name": "TimeToReadySeconds", "Unit": "Seconds"},
    ]
    assert (line["Stage"], line["JobsCompleted"], line["video_id"]) == ("test", 1, "v")
