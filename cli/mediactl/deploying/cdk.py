"""The stock CDK CLI, as ``mediactl`` runs it for AWS and for a local plane."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mediactl.errors import CommandError
from mediactl.local.launch_process import launching

CDK_VERSION = "2.1148.1"
"""The CDK CLI that is used where the app's folder has none installed."""

OPTIONS = ("--no-notices", "--no-color")
"""Options of every command: it asks nobody what is new, and its output is read."""

STOP_SECONDS = 10
"""Longest wait for a CDK CLI that was interrupted."""


def cdk_command(app: Path) -> list[str]:
    """Return the command of the CDK CLI: the one installed with the app, or the pinned one.

    Raises:
        CommandError: If there is no Node.
    """
    if shutil.which("node") is None:
        raise CommandError("Node is not installed", hint="install Node 20 or newer")
    for folder in (app, *app.parents):
        installed = folder / "node_modules" / ".bin" / "cdk"
        if installed.exists():
            return [str(installed)]
    npx = shutil.which("npx")
    if npx is None:
        raise CommandError(
            "neither the CDK CLI nor npx is installed", hint="run `npm ci`, or install npm"
        )
    return [npx, "--yes", f"aws-cdk@{CDK_VERSION}"]


def synthesizing(assembly: Path, context: Mapping[str, str]) -> list[str]:
    """Return the arguments that write a cloud assembly.

    Args:
        assembly: Folder that is written.
        context: Context that the app gets beside that of ``cdk.json``.
    """
    given = [part for name, value in context.items() for part in ("--context", f"{name}={value}")]
    return ["synth", "--quiet", "--output", str(assembly), *given]


def deploying(assembly: Path, stacks: Sequence[str] = ()) -> list[str]:
    """Return the arguments that deploy a cloud assembly, those who need others after these.

    Args:
        assembly: Its folder.
        stacks: Ids of stacks that are deployed, with those they need. Default: all.
    """
    return [
        "deploy",
        *(stacks or ["--all"]),
        *("--app", str(assembly)),
        *("--require-approval", "never"),
        *("--concurrency", "4"),
        *("--progress", "events"),
    ]


def destroying(assembly: Path, stacks: Sequence[str] = (), *, alone: bool = False) -> list[str]:
    """Return the arguments that destroy the stacks of a cloud assembly, those of others first.

    Args:
        assembly: Its folder.
        stacks: Ids of stacks that are destroyed, with those that need them. Default: all.
        alone: Whether those that need them stay.
    """
    exclusively = ["--exclusively"] if alone else []
    return ["destroy", *(stacks or ["--all"]), *exclusively, "--force", "--app", str(assembly)]


def require_app(app: Path) -> None:
    """Check that a folder holds a CDK app.

    Raises:
        CommandError: If not.
    """
    if not (app / "cdk.json").exists():
        raise CommandError(f"{app} holds no cdk.json", hint="run this in the folder of a CDK app")


def run_cdk(
    app: Path,
    arguments: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    heard: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a command of the CDK CLI until it ends; it ends with this process, too.

    Args:
        app: Folder of the app.
        arguments: The command and its arguments.
        folder: Working folder. That of the app makes the CLI synthesize it.
        log: File to which its output is appended.
        environment: Variables of the process, beside those that make its output readable.
        heard: Called with every line of its output.

    Raises:
        CommandError: If it fails; the text holds the lines that say why.
        KeyboardInterrupt: On Ctrl-C, after the CLI and all that it started has ended.
    """
    command = [*cdk_command(app), *arguments, *OPTIONS]
    lines: list[str] = []
    with log.open("ab") as output:
        process = subprocess.Popen(
            launching(command, end_with_parent=True),
            cwd=folder,
            env=_readable(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C of a terminal reaches this process alone, which ends the others in order.
            start_new_session=True,
        )
        try:
            for raw in process.stdout or ():
                output.write(raw)
                output.flush()
                lines.append(raw.decode(errors="replace").rstrip())
                heard(lines[-1])
            process.wait()
        finally:
            _end(process)
    if process.returncode and arguments[0] == "synth":
        raise CommandError(
            f"the app in {app} cannot be synthesized: {app_problem(lines)}",
            hint=f"the whole output is in {log}",
        )
    if process.returncode:
        telling = telling_lines("\n".join(lines))
        raise CommandError(
            f"cdk {arguments[0]} failed with status {process.returncode}:\n{telling}",
            hint=f"the whole output is in {log}",
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a CLI that still runs, with all that it started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _readable(environment: Mapping[str, str]) -> dict[str, str]:
    interpreters = str(Path(sys.executable).parent)
    kept = {
        name: value
        for name, value in environment.items()
        # The CDK imports slowly without compiled files, and the assembly has a place already.
        if name not in {"PYTHONDONTWRITEBYTECODE", "CDK_OUTDIR"}
    }
    return {
        **kept,
        # `python3 app.py` is that which has the packages of the app.
        "PATH": f"{interpreters}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "NO_COLOR": "1",
        "NODE_NO_WARNINGS": "1",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
    }


def app_problem(lines: Sequence[str]) -> str:
    """Return the line of the output of ``cdk synth`` that says what is wrong with the app.

    That is its last one, also of a traceback; the CLI only adds that the program failed.
    """
    telling = [
        line.strip() for line in lines if line.strip() and "Subprocess exited with" not in line
    ]
    return telling[-1] if telling else "it says nothing"


def telling_lines(text: str) -> str:
    """Return the lines of the CDK CLI's output that say what went wrong."""
    lines = [line for line in text.splitlines() if line.strip()]
    marks = ("FAILED", "❌", "Error", "error")
    telling = [
        line
        for line in lines
        if any(mark in line for mark in marks) and "Resource creation cancelled" not in line
    ]
    return "\n".join((telling or lines)[-12:])
