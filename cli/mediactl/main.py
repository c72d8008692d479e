"""Entry point of ``mediactl``.

Commands are imported when they are used, so that ``mediactl --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import traceback

import click

from mediactl.errors import FAILED, INTERRUPTED, Asked
from mediactl.interrupts import TerminatedError, end_at_once, end_like_interrupted
from mediactl.suggestions import SuggestingGroup

COMMANDS = {
    "bootstrap": (
        "mediactl.commands.deploy",
        "bootstrap_command",
        "Make the regions of an environment ready for the CDK",
    ),
    "costs": ("mediactl.commands.costs", "group", "Tell what transcoding took"),
    "deploy": (
        "mediactl.commands.deploy",
        "deploy_command",
        "Deploy the app of this folder to an environment",
    ),
    "destroy": (
        "mediactl.commands.deploy",
        "destroy_command",
        "Destroy an environment, and say what stays",
    ),
    "diff": (
        "mediactl.commands.deploy",
        "diff_command",
        "Show what a deployment would change, and what it would lose",
    ),
    "dlq": ("mediactl.commands.dlq", "group", "Look at what failed for good, and try it again"),
    "doctor": (
        "mediactl.commands.doctor",
        "doctor_command",
        "Look for what could keep an environment from working",
    ),
    "drill": (
        "mediactl.commands.drill",
        "drill",
        "Try out what happens when a region is lost",
    ),
    "estimate": (
        "mediactl.commands.estimate",
        "estimate",
        "Tell what a stage will cost in a month",
    ),
    "events": ("mediactl.commands.events", "group", "Follow domain events, and replay them"),
    "keys": ("mediactl.commands.keys", "group", "Show and rotate the keys that sign playback"),
    "local": ("mediactl.commands.local", "group", "Run the whole platform on this machine"),
    "logs": ("mediactl.commands.logs", "command", "Show what services and workers log"),
    "region": (
        "mediactl.commands.region",
        "group",
        "Let regions join a stage; take a lost one over, and let it in again",
    ),
    "seed": ("mediactl.commands.seed", "command", "Let tenants, users and videos be there"),
    "smoke": (
        "mediactl.commands.smoke",
        "command",
        "Upload, play and delete a clip as a user does",
    ),
    "status": ("mediactl.commands.status", "command", "Show how an environment does"),
    "synth": ("mediactl.commands.deploy", "synth_command", "Write the templates of an environment"),
    "tenants": ("mediactl.commands.tenants", "group", "List tenants, and say what they may use"),
    "token": ("mediactl.commands.token", "group", "Sign in, and get access tokens"),
    "top": ("mediactl.commands.top", "command", "Show the slowest and the costliest jobs"),
    "users": ("mediactl.commands.users", "group", "List and change the users of a tenant"),
    "videos": ("mediactl.commands.videos", "group", "Upload, look at, play and change videos"),
}
"""Module, attribute and one-line help of every command and group."""


class LazyGroup(SuggestingGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="media-platform", prog_name="mediactl")
def cli() -> None:
    """Operate the media platform."""


def main() -> None:
    """Run ``mediactl`` and exit with the code of the command."""
    end_like_interrupted()
    code = run(sys.argv[1:])
    # All is said. Who presses Ctrl-C now ends what still runs.
    end_at_once()
    limits = sys.modules.get("mediactl.limits")
    if limits is not None:
        # Threads that ask who does not answer would keep the process for as long as that takes.
        limits.hurry()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command and tell what went wrong, in one line and with a remedy.

    Args:
        arguments: What follows ``mediactl`` on the command line.

    Returns:
        The exit code.
    """
    asked = Asked()
    try:
        # Without its standalone mode, click returns the code of a command that asked to exit.
        _write_any_letter()
        code = cli.main(arguments, prog_name="mediactl", standalone_mode=False, obj=asked)
        if sys.stdout is not None:
            # What cannot be written is found out here, and not when Python ends.
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as end:
        # Click raises the first in place of the second.
        code = _tell_interrupt(end.__cause__ or end)
        _write_rest()
        return code
    except BrokenPipeError:
        # Who read has read enough.
        _write_nowhere()
        return FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is, no traceback reaches a person
        behind = error.__context__
        # On a terminal that was closed, click cannot end the line of an interrupt.
        if isinstance(behind, KeyboardInterrupt):
            code = _tell_interrupt(behind)
        else:
            code = _tell(error, asked)
        _write_rest()
        return code
    return code if isinstance(code, int) else 0


def _write_any_letter() -> None:
    """Write a question mark for a letter that the terminal does not know, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _write_nowhere() -> None:
    """Let what is still to be written go nowhere: Python would fail again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_rest() -> None:
    """Write what was printed before an error, unless that cannot be written."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        _write_nowhere()


def _tell_interrupt(end: BaseException) -> int:
    """Tell in one line that the command was interrupted, and what was noted on the way."""
    word, code = "interrupted", INTERRUPTED
    if isinstance(end, TerminatedError):
        word, code = f"ended by {end.signal.name}", end.exit_code
    notes = "; ".join(dict.fromkeys(getattr(end, "__notes__", ())))
    with contextlib.suppress(OSError):  # the terminal may be gone
        click.echo(f"{word}: {notes}" if notes else word, err=True)
    return code


def _tell(error: Exception, asked: Asked) -> int:
    from mediactl.failures import explain, wants_traceback  # noqa: PLC0415 - only when needed
    from mediactl.output import printable_lines  # noqa: PLC0415

    explained = explain(error)
    with contextlib.suppress(OSError):  # stderr may be closed, or on a disk that is full
        if wants_traceback():
            traceback.print_exception(error)
        click.echo(f"error: {printable_lines(str(explained))}", err=True)
        if explained.hint:
            hint = asked.in_environment(explained.hint)
            click.echo(f"hint: {printable_lines(hint)}", err=True)
    return explained.exit_code


if __name__ == "__main__":
    main()
