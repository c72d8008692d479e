"""What the scanner makes of answers of clamd, of large files, and of files that it may not read."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from clam_programs import (
    BROKEN_MIRROR,
    CUT,
    EICAR,
    ENDLESS,
    LIMIT,
    SIGNATURE,
    TROUBLE,
    VERSION,
    ClamdServer,
    install,
)

from clamav_scan.clamd import Clamd, ClamdError, UnscannedError
from clamav_scan.daemons import DaemonError, Daemons
from clamav_scan.scanner import RANGE_BYTES, GoneError, QuarantinedError, Scanner
from media_platform.contract.environment import CLAMAV_READY_FILE, ClamAvScannerEnvironment
from media_platform.contract.scanning import Outcome, ScanRequest, Unscanned, Verdict

REQUEST = ScanRequest(
    video_id="v",
    run_id="r",
    tenant="acme",
    scanner="malware",
    bucket="raw",
    key="raw/acme/ada/v.mp4",
    version_id="1",
    size_bytes=7,
    content_type="video/mp4",
    sent_at="2026-11-21T09:21:58.120Z",
    answer_to="https://sqs.example/verdicts",
)


def nothing() -> None:
    """Keep a request that nobody else wants."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="clam-") as made:
        yield Path(made)


@pytest.fixture
def server(folder: Path) -> Iterator[ClamdServer]:
    with ClamdServer(folder / "clamd.sock", most=3 * RANGE_BYTES) as made:
        made.start()
        yield made
        made.shutdown()


@pytest.fixture
def clamd(server: ClamdServer, folder: Path) -> Clamd:
    return Clamd(folder / "clamd.sock", answer_seconds=30)


@dataclass
class Stored:
    """A file in the storage, and the ranges that were read of it."""

    content: bytes = b""
    problem: Exception | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def size(self, request: ScanRequest) -> int:  # noqa: ARG002
        if self.problem is not None:
            raise self.problem
        return len(self.content)

    def read(self, request: ScanRequest, start: int, end: int) -> bytes:  # noqa: ARG002
        self.ranges.append((start, end))
        return self.content[start:end]


Judge = Callable[..., Verdict | None]


@pytest.fixture
def judge(clamd: Clamd) -> Judge:
    def run(
        file: Stored | bytes, *, max_bytes: int = 1 << 30, unscanned: Unscanned = Unscanned.PASS
    ) -> Verdict | None:
        stored = Stored(file) if isinstance(file, bytes) else file
        scanner = Scanner(files=stored, clamd=clamd, max_bytes=max_bytes, unscanned=unscanned)
        return scanner.judge(REQUEST, nothing)

    return run


def test_a_file_goes_to_clamd_by_ranges_and_whole(server: ClamdServer, judge: Judge) -> None:
    stored = Stored(bytes(range(256)) * (RANGE_BYTES // 256) + b"the end")
    assert judge(stored) == REQUEST.clean()
    assert server.scanned == [stored.content]
    assert stored.ranges == [(0, RANGE_BYTES), (RANGE_BYTES, RANGE_BYTES + 7)]


def test_an_empty_file_is_clean(server: ClamdServer, judge: Judge) -> None:
    assert judge(b"") == REQUEST.clean()
    assert server.scanned == [b""]


def test_malware_is_named(judge: Judge) -> None:
    verdict = judge(b"film" + EICAR)
    assert verdict == REQUEST.refused("malware", f"The file holds malware: {SIGNATURE}.")


def test_malware_across_two_ranges_is_found(judge: Judge) -> None:
    verdict = judge(bytes(RANGE_BYTES - 10) + EICAR)
    assert verdict is not None
    assert verdict.code == "malware"


@pytest.mark.parametrize(
    ("file", "max_bytes"),
    [
        pytest.param(bytes(100), 99, id="larger than allowed"),
        pytest.param(bytes(3 * RANGE_BYTES + 1), 1 << 30, id="larger than clamd takes"),
        pytest.param(LIMIT, 1 << 30, id="a limit of clamd"),
    ],
)
@pytest.mark.parametrize("unscanned", Unscanned)
def test_what_is_not_scanned_is_as_the_stage_wants(
    judge: Judge, unscanned: Unscanned, file: bytes, max_bytes: int
) -> None:
    verdict = judge(file, max_bytes=max_bytes, unscanned=unscanned)
    assert verdict is not None
    if unscanned is Unscanned.PASS:
        assert verdict == REQUEST.clean()
    else:
        assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, "not_scanned")


def test_a_file_of_the_largest_size_is_scanned(server: ClamdServer, judge: Judge) -> None:
    assert judge(EICAR, max_bytes=len(EICAR), unscanned=Unscanned.REFUSE) == REQUEST.refused(
        "malware", f"The file holds malware: {SIGNATURE}."
    )
    assert judge(bytes(3 * RANGE_BYTES), unscanned=Unscanned.REFUSE) == REQUEST.clean()


def test_a_file_that_is_gone_is_refused(judge: Judge) -> None:
    verdict = judge(Stored(problem=GoneError()))
    assert verdict is not None
    assert verdict.code == "file_gone"


def test_nothing_is_said_of_a_file_that_another_scanner_refused(judge: Judge) -> None:
    assert judge(Stored(problem=QuarantinedError())) is None


@pytest.mark.parametrize("content", [TROUBLE, CUT], ids=["error", "broke off"])
def test_a_clamd_that_cannot_tell_gives_no_verdict(judge: Judge, content: bytes) -> None:
    with pytest.raises(ClamdError):
        judge(content)


def test_a_scan_ends_when_it_need_not_go_on(clamd: Clamd) -> None:
    class EnoughError(Exception):
        pass

    looks = itertools.count()

    def keep() -> None:
        if next(looks) == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        clamd.scan([ENDLESS], keep)


def test_an_answer_is_not_awaited_for_ever(server: ClamdServer, folder: Path) -> None:
    with pytest.raises(ClamdError, match="no answer within 0 s"):
        Clamd(folder / "clamd.sock", answer_seconds=0).scan([ENDLESS], nothing)


def test_a_name_with_anything_in_it_becomes_a_sentence(folder: Path) -> None:
    """Signatures of others may have any name; a verdict has printable text."""

    class Odd(Clamd):
        def scan(self, parts: Iterable[bytes], keep: Callable[[], None]) -> str:  # noqa: ARG002
            return "\x1b[31m" + "x" * 600

    clamd = Odd(folder, answer_seconds=1)
    scanner = Scanner(files=Stored(), clamd=clamd, max_bytes=1, unscanned=Unscanned.PASS)
    verdict = scanner.judge(REQUEST, nothing)
    assert verdict is not None
    assert verdict.message is not None
    assert verdict.message.startswith("The file holds malware: \N{REPLACEMENT CHARACTER}[31mxx")


def test_a_clamd_without_signatures_or_socket_is_not_up(folder: Path) -> None:
    assert not Clamd(folder / "none.sock", answer_seconds=1).is_up()


def daemons(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Daemons:
    monkeypatch.setenv("PATH", str(install(folder)))
    given = {"mirror": "database.example", **settings}
    return Daemons.prepare(folder / "state", max_bytes=1000, **given)


def test_clamd_is_started_with_signatures_and_all_limits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = daemons(folder, monkeypatch)
    made.fetch_signatures()
    process = made.start()
    try:
        assert made.clamd.version() == VERSION
        assert made.clamd.scan([EICAR], nothing) == SIGNATURE
        with pytest.raises(UnscannedError):
            made.clamd.scan([bytes(1001)], nothing)
    finally:
        process.kill()
        process.wait()
    settings = dict(
        line.split(" ", 1) for line in (folder / "state/clamd.conf").read_text().splitlines()
    )
    # Without this one, what is beyond a limit would be called clean.
    assert settings["AlertExceedsMax"] == "yes"
    assert settings["MaxFileSize"] == settings["StreamMaxLength"] == "1000"


def test_clamd_without_signatures_does_not_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DaemonError, match="clamd ended with 1"):
        daemons(folder, monkeypatch).start()


def test_a_mirror_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = daemons(folder, monkeypatch, mirror=BROKEN_MIRROR)
    with pytest.raises(DaemonError, match="freshclam ended with 1"):
        made.fetch_signatures()


@pytest.mark.parametrize(
    ("mirror", "line"),
    [
        ("database.example", "DatabaseMirror database.example"),
        ("https://mirror.example/clamav", "PrivateMirror https://mirror.example/clamav"),
    ],
)
def test_signatures_come_from_the_mirror_of_the_stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mirror: str, line: str
) -> None:
    made = daemons(folder, monkeypatch, mirror=mirror)
    assert line in (made.folder / "freshclam.conf").read_text().splitlines()


def test_a_machine_without_clamav_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Daemons.prepare(folder, max_bytes=1, mirror="database.example")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DaemonError, match="there is no freshclam on the PATH; install ClamAV"):
        made.fetch_signatures()


ROOT = Path(__file__).parents[3]


@contextmanager
def task(folder: Path, *, mirror: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the scanner as its task does, with a queue that nobody can reach."""
    environment = ClamAvScannerEnvironment(
        home_region="eu-central-1",
        queue_url="http://127.0.0.1:9/requests",
        visibility_timeout_seconds=60,
        max_scan_bytes=1000,
        unscanned=Unscanned.PASS,
        signature_mirror=mirror,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "clamav_scan"],
        env={
            **environment.to_variables(),
            "PATH": f"{install(folder)}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime/scanner_clamav'}",
            "TMPDIR": str(folder),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_a_task_without_signatures_ends(folder: Path) -> None:
    with task(folder, mirror=BROKEN_MIRROR) as process:
        assert process.wait(30) == 1
    assert not (folder / CLAMAV_READY_FILE).exists()


def test_a_task_is_ready_with_its_clamd_and_ends_with_it(folder: Path) -> None:
    with task(folder, mirror="database.example") as process:
        last = time.monotonic() + 60
        while not (folder / CLAMAV_READY_FILE).exists():
            assert process.poll() is None
            assert time.monotonic() < last
            time.sleep(0.05)
        (clamd,) = psutil.Process(process.pid).children()
        clamd.kill()
        assert process.wait(30) == 1
    assert not (folder / CLAMAV_READY_FILE).exists()


def test_a_task_that_is_told_too_little_says_what(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clamav_scan"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'runtime/scanner_clamav'}", "UNSCANNED": "maybe"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    assert "QUEUE_URL is missing" in done.stderr
    assert "UNSCANNED is 'maybe', not Unscanned" in done.stderr
