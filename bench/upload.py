"""Megabytes a second of `mediactl videos upload`, beside the AWS CLI's own `s3 cp`.

Both are whole processes, from start to end, that send the same two gigabytes in parts to the raw
bucket of the same emulator, one after the other in the same run; ours signs in, creates the video,
gets every part signed, and completes it. Then one upload is killed at half, and run again: what the
emulator got of it is counted.

    python bench/upload.py [--json] [--quick] [--runs N]
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import CACHE, ROOT
from harness.figures import Figure, arguments, median, report, say, show, stop_on_sigterm
from harness.stage import wait_for

from media_platform.contract.outputs import StoreOutput
from media_platform.contract.upload import part_bytes_of
from mediactl.access import sessions
from mediactl.commands.local import running_plane
from mediactl.environment import Environment
from mediactl.local.aws import root_environment
from mediactl.local.recorded_calls import read_calls
from mediactl.local.state import StateFolder

SIZE, QUICK_SIZE = 2_000_000_000, 200_000_000
SPEED_AIM = 0.8
TWICE_AIM = 0.05
AWS_CLI = "awscli>=1.40,<2"
"""The AWS CLI of the package index; version 2 is not there, and sends files in the same way."""

_BLOCK = 1 << 24


@dataclass(frozen=True)
class Sent:
    """A file that a process sent.

    Attributes:
        seconds: How long that took.
        cpu_seconds: Processor time of the process.
        output: What it printed.
    """

    seconds: float
    cpu_seconds: float
    output: str

    def rate(self, size: int) -> float:
        """Return megabytes a second."""
        return size / self.seconds / 1e6


def aws_cli() -> Path:
    """Return the AWS CLI, installed once in an environment of its own."""
    folder = CACHE / "awscli"
    program = folder / "bin" / "aws"
    if not program.exists():
        say("installing the AWS CLI")
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", folder], check=True)
        python = folder / "bin" / "python"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, AWS_CLI], check=True)
    return program


def noise(size: int) -> Path:
    """Return a file that no two parts of are alike, which is kept."""
    path = CACHE / f"noise-{size}.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            while (left := size - file.tell()) > 0:
                file.write(os.urandom(min(_BLOCK, left)))
        unfinished.replace(path)
    return path


def checksum(path: Path) -> str:
    """Return the composite SHA-256 of a file in parts, as S3 computes it; it warms the cache."""
    part_bytes, digests = part_bytes_of(path.stat().st_size), []
    with path.open("rb") as file:
        while part := file.read(part_bytes):
            digests.append(hashlib.sha256(part).digest())
    whole = hashlib.sha256(b"".join(digests)).digest()
    return f"{base64.b64encode(whole).decode()}-{len(digests)}"


class Bench:
    """What both send to.

    Args:
        environment: The plane.
        state_dir: Its state folder.
        film: The file.
        home: Folder of a person who has nothing there yet.
    """

    def __init__(self, environment: Environment, state_dir: Path, film: Path, home: Path) -> None:
        self.film = film
        self._state = StateFolder(state_dir)
        self._s3 = environment.client("s3")
        self._bucket = environment.output(StoreOutput.RAW_BUCKET)
        self._client = sessions.client(environment)
        self._checksum = checksum(film)
        self._ours = {**os.environ, "XDG_STATE_HOME": str(home)}
        self._theirs = {
            **os.environ,
            **root_environment(environment.client("s3").meta.endpoint_url),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        self._aws = aws_cli()

    def ours(self) -> Sent:
        """Upload by ``mediactl``, and look whether what arrived is the file."""
        sent = self._run(self._command, self._ours)
        self._check(sent.output.strip())
        return sent

    def theirs(self) -> Sent:
        """Copy by the AWS CLI, to where no event starts anything."""
        target = f"s3://{self._bucket}/bench/{self.film.name}"
        command = [str(self._aws), "s3", "cp", "--no-progress", str(self.film), target]
        try:
            return self._run(command, self._theirs)
        finally:
            self._clear("bench/")

    def sent_twice(self) -> int:
        """Kill an upload at half, run it again, and return the bytes that were sent too often.

        A part of which only some bytes came counts whole.
        """
        parts = int(self._checksum.rpartition("-")[2])
        begun = time.time()
        with subprocess.Popen(
            self._command, cwd=ROOT, env=self._ours, stdout=subprocess.DEVNULL
        ) as process:
            wait_for(lambda: self._puts(begun) >= parts // 2, "half of the parts are sent")
            process.kill()
        if process.returncode == 0:
            raise SystemExit("the upload was complete before it was killed")
        say(f"killed after {self._puts(begun)} of {parts} parts")
        sent = self._run(self._command, self._ours)
        # That the parts become an object is a PUT to the emulator, too.
        puts = self._puts(begun) - 1
        self._check(sent.output.strip())
        return (puts - parts) * part_bytes_of(self.film.stat().st_size)

    @property
    def _command(self) -> list[str]:
        words = ("videos", "upload", str(self.film), "--duplicates", "keep")
        return [sys.executable, "-m", "mediactl.main", *words]

    def _run(self, command: list[str], environment: Mapping[str, str]) -> Sent:
        """Run a process to its end.

        Raises:
            SystemExit: If it fails.
        """
        with tempfile.TemporaryFile() as out:
            begun = time.monotonic()
            process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environment), stdout=out, stderr=subprocess.STDOUT
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begun
            out.seek(0)
            text = out.read().decode()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{text}")
        return Sent(seconds, used.ru_utime + used.ru_stime, text.splitlines()[-1])

    def _puts(self, since: float) -> int:
        return sum(
            call.action == "s3:PutObject" and "/raw/" in call.resource
            for call in read_calls(self._state.calls_file, since=since)
        )

    def _check(self, video_id: str) -> None:
        """Wait until the platform is done with a file, and look whether it is the file.

        Raises:
            SystemExit: If it is not.
        """

        def look() -> str | None:
            video = self._client.video(video_id)
            return video["checksum_sha256"] if video["status"] == "FAILED" else None

        found = wait_for(look, "the platform says that noise is no video")
        if found != self._checksum:
            raise SystemExit(f"what arrived has the checksum {found}, not {self._checksum}")
        self._clear("raw/")

    def _clear(self, prefix: str) -> None:
        """Delete what was sent: the emulator keeps it in memory."""
        pages = self._s3.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for version in page.get("Versions", ()):
                self._s3.delete_object(
                    Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"]
                )


@contextmanager
def running_bench(film: Path) -> Iterator[Bench]:
    """Bring the plane up for the block."""
    with running_plane() as environment, tempfile.TemporaryDirectory() as home:
        yield Bench(environment, environment.state_dir, film, Path(home))


def main() -> None:
    """Measure and print."""
    options = arguments((__doc__ or "").splitlines()[0], runs=3).parse_args()
    stop_on_sigterm()
    size = QUICK_SIZE if options.quick else SIZE
    film = noise(size)
    ours: list[Sent] = []
    theirs: list[Sent] = []
    with running_bench(film) as bench:
        for run in range(1 if options.quick else options.runs):
            say(f"run {run + 1}")
            # Who is first in one run is last in the next: what else the machine does is shared.
            turns = ((ours, bench.ours), (theirs, bench.theirs))
            for sent, send in turns if run % 2 else reversed(turns):
                sent.append(send())
        twice = bench.sent_twice()
    show(
        f"uploading {size / 1e6:.0f} MB",
        ("program", "seconds", "MB/s", "processor seconds of its own"),
        [
            (
                name,
                f"{median(one.seconds for one in sent):.1f}",
                f"{median(one.rate(size) for one in sent):.1f}",
                f"{median(one.cpu_seconds for one in sent):.1f}",
            )
            for name, sent in (("mediactl videos upload", ours), ("aws s3 cp", theirs))
        ],
    )
    figures = [
        Figure(
            name="upload",
            value=median(one.rate(size) for one in ours),
            peer=median(one.rate(size) for one in theirs),
            aim=SPEED_AIM,
            unit="MB/s",
            at_least=True,
        ),
        Figure(name="uploaded_twice", value=twice / 1e6, peer=size / 1e6, aim=TWICE_AIM, unit="MB"),
    ]
    report("upload", figures, as_json=options.json)


if __name__ == "__main__":
    main()
