"""The stock CDK CLI, as ``mediactl`` runs it for AWS and for a local plane."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
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
    if arguments[0] == "synth":
        # An app that writes nothing must not be taken for what it wrote before.
        assembly = Path(arguments[arguments.index("--output") + 1])
        (assembly / "manifest.json").unlink(missing_ok=True)
    lines: list[str] = []
    with log.open("ab", buffering=0) as output:
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
                _write(output, raw)
                lines.append(raw.decode(errors="replace").rstrip())
                heard(lines[-1])
            process.wait()
        finally:
            _end(process)
    if process.returncode == 0:
        return
    hint = f"the whole output is in {log}"
    if arguments[0] == "synth":
        problem = app_problem(lines)
        raise CommandError(f"the app in {app} cannot be synthesized: {problem}", hint=hint)
    raise CommandError(f"`cdk {arguments[0]}` failed: {cli_problem(lines)}", hint=hint)


def _write(file: FileIO, content: bytes) -> None:
    """Write to a file; an error names it, which one of a write does not."""
    try:
        file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, file.name) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a CLI that still runs, with all that it started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        return
    finally:
        # Whoever presses Ctrl-C again does not wait that long, and leaves nothing behind either.
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
    """Return what the output of ``cdk synth`` says is wrong with the app, in one line.

    That is what a traceback ends with, else the last line; the CLI only adds that the program
    failed.
    """
    said = [line for line in lines if line.strip() and "Subprocess exited with" not in line]
    frames = [number for number, line in enumerate(said) if line.startswith('  File "')]
    if frames:
        after = said[frames[-1] + 1 :]
        raised = next((n for n, line in enumerate(after) if not line.startswith(" ")), 0)
        return " ".join(" ".join(after[raised:]).split())
    if said and "ENOENT" in said[-1] and "manifest.json" in said[-1]:
        return "it writes no templates; does it call `app.synth()`?"
    return said[-1].strip() if said else "it says nothing"


def cli_problem(lines: Sequence[str]) -> str:
    """Return what the output of another command of the CDK CLI says went wrong, in one line.

    That is the resource that failed first, else an asset that cannot be published, else the line
    that the CLI ends with.
    """
    said = [line.strip() for line in lines if line.strip()]
    for line in said:
        if "_FAILED " in line and "Resource creation cancelled" not in line:
            return " ".join(line.split(" | ")[-2:])
    for number, line in enumerate(said):
        asset = _ASSET.match(line)
        if asset and asset["what"] == "fail":
            # Docker prints much before it says what it ended with.
            more = list(itertools.takewhile(lambda one: not _ASSET.match(one), said[number + 1 :]))
            return " … ".join([asset["rest"], *more[-1:]])
    return said[-1].lstrip("❌‣ ") if said else "it says nothing"


_ASSET = re.compile(
    r"\S+: (?P<what>start|success|fail): (?P<rest>.*)|Failed to (build|publish) asset"
)
"""Lines about assets; more lines may belong to one that failed."""
