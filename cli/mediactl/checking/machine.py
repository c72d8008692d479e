"""What this machine has to have: tools, disk, ports, and nothing left over."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mediactl.checking.findings import Finding, Patient, State
from mediactl.deploying.cdk import CDK_VERSION, cdk_command
from mediactl.environment import LocalEnvironment
from mediactl.errors import CommandError

OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
SUPPORTED_NODE = 22
"""Node 20 still works; its maintenance ended in April 2026 (nodejs.org, "Releases")."""

DISK_FAILS_BYTES = 500 * 1024**2
DISK_WARNS_BYTES = 2 * 1024**3
TOOL_SECONDS = 30
"""Longest wait for a tool to tell its version."""


def python(patient: Patient) -> Iterator[Finding]:
    """Look whether this Python is new enough."""
    del patient
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding(check="Python", state="fail", seen=version, fix="install Python 3.11")
    else:
        yield Finding(check="Python", state="ok", seen=version)


def node(patient: Patient) -> Iterator[Finding]:
    """Look whether Node is there, and new enough."""
    del patient
    fix = f"install Node {SUPPORTED_NODE} or newer"
    if shutil.which("node") is None:
        yield Finding(check="Node", state="fail", seen="not installed", fix=fix)
        return
    version = _output(["node", "--version"])
    major = int(version.removeprefix("v").partition(".")[0])
    if major < OLDEST_NODE:
        yield Finding(check="Node", state="fail", seen=version, fix=fix)
    elif major < SUPPORTED_NODE:
        seen = f"{version}, which works and gets no more fixes"
        yield Finding(check="Node", state="warn", seen=seen, fix=fix)
    else:
        yield Finding(check="Node", state="ok", seen=version)


def cdk_cli(patient: Patient) -> Iterator[Finding]:
    """Look whether the CDK CLI is one that goes with the libraries."""
    command = cdk_command(patient.environment.app.resolve())
    if Path(command[0]).name == "npx":
        seen = f"not installed with the app; npx fetches version {CDK_VERSION} when it is needed"
        yield Finding(check="CDK CLI", state="warn", seen=seen, fix="npm ci")
        return
    version = _output([*command, "--version"])
    if version.startswith("2."):
        yield Finding(check="CDK CLI", state="ok", seen=version)
    else:
        yield Finding(
            check="CDK CLI",
            state="fail",
            seen=f"{version}, and the libraries need version 2",
            fix="npm ci",
        )


def docker(patient: Patient) -> Iterator[Finding]:
    """Look whether there is what builds images, if the app has any."""
    if patient.templates is not None and not _has_images(patient.stage.assembly):
        yield Finding(check="Docker", state="ok", seen="the app has no image to build")
        return
    program = os.environ.get("CDK_DOCKER", "docker")
    fix = "start Docker, or name another program in CDK_DOCKER"
    if shutil.which(program) is None:
        yield Finding(check="Docker", state="fail", seen=f"{program} is not installed", fix=fix)
        return
    done = subprocess.run(
        [program, "version"], capture_output=True, timeout=TOOL_SECONDS, check=False
    )
    if done.returncode:
        seen = f"`{program} version` fails with status {done.returncode}"
        yield Finding(check="Docker", state="fail", seen=seen, fix=fix)
    else:
        yield Finding(check="Docker", state="ok", seen=f"{program} answers")


def _has_images(assembly: Path) -> bool:
    manifests = (json.loads(file.read_text()) for file in assembly.rglob("*.assets.json"))
    return any(manifest.get("dockerImages") for manifest in manifests)


def ffmpeg(patient: Patient) -> Iterator[Finding]:
    """Look whether there is an ffmpeg, for workers and tests."""
    del patient
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - needed on planes on this machine only

        seen = _output([imageio_ffmpeg.get_ffmpeg_exe(), "-version"]).splitlines()[0]
    except (ImportError, RuntimeError, OSError) as error:
        fix = "pip install 'media-platform[local]'"
        yield Finding(check="ffmpeg", state="fail", seen=" ".join(str(error).split()), fix=fix)
    else:
        yield Finding(check="ffmpeg", state="ok", seen=" ".join(seen.split()[:3]))


def disk(patient: Patient) -> Iterator[Finding]:
    """Look whether there is room for what a plane keeps."""
    folder = _state_dir(patient)
    free = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    seen = f"{free / 1024**3:.1f} GiB free for {folder}"
    state: State = "ok"
    if free < DISK_WARNS_BYTES:
        state = "fail" if free < DISK_FAILS_BYTES else "warn"
    fix = None if state == "ok" else "make room; `mediactl local reset` removes what a plane keeps"
    yield Finding(check="disk", state=state, seen=seen, fix=fix)


def leftovers(patient: Patient) -> Iterator[Finding]:
    """Find processes of planes whose folder was removed while they ran."""
    import psutil  # noqa: PLC0415 - needed on planes on this machine only

    del patient
    found = False
    for process in psutil.process_iter():
        try:
            temporary = Path(process.environ().get("TMPDIR", ""))
            is_leader = os.getsid(process.pid) == process.pid
        except (psutil.Error, OSError):
            continue
        root = temporary.parent.parent
        if is_leader and temporary.parent.name == "scratch" and not root.exists():
            found = True
            yield Finding(
                check="leftovers",
                state="warn",
                seen=f"{temporary.name} of a plane whose folder {root} is gone still runs",
                fix=f"kill {process.pid}",
            )
    if not found:
        yield Finding(check="leftovers", state="ok", seen="none of planes that were removed")


def ports(patient: Patient) -> Iterator[Finding]:
    """Look whether the ports of a plane that is down are free, so that its URLs stay."""
    from mediactl.local.aws import Emulator  # noqa: PLC0415 - slow to import
    from mediactl.local.emulator_process import running_emulator  # noqa: PLC0415
    from mediactl.local.ports import is_free  # noqa: PLC0415
    from mediactl.local.state import StateFolder, read_state  # noqa: PLC0415

    state = StateFolder(_state_dir(patient))
    last = read_state(state.emulator_file, Emulator)
    if last is None:
        yield Finding(check="ports", state="ok", seen="any that are free will be taken")
    elif running_emulator(state) is not None:
        yield Finding(check="ports", state="ok", seen=f"{last.port} and {last.edge_port}, in use")
    else:
        taken = [str(port) for port in (last.port, last.edge_port) if not is_free(port)]
        if taken:
            yield Finding(
                check="ports",
                state="warn",
                seen=f"{', '.join(taken)} of the plane is taken by another; it will get others",
                fix="end what listens there, if URLs must stay as they were",
            )
        else:
            yield Finding(
                check="ports", state="ok", seen=f"{last.port} and {last.edge_port} are free"
            )


def _state_dir(patient: Patient) -> Path:
    if not isinstance(patient.environment, LocalEnvironment):
        raise TypeError(f"{patient.environment.name} is no plane on this machine")
    return patient.environment.state_dir.resolve()


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
    )
    if done.returncode:
        raise CommandError(f"`{' '.join(command)}` fails with status {done.returncode}")
    return done.stdout.strip()
