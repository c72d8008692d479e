"""Entry point of ``mediactl``.

Groups are imported when they are used, so that ``mediactl --help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys

import click

from mediactl.errors import CommandError

GROUPS = {
    "local": ("mediactl.commands.local", "Run the whole platform on this machine"),
    "region": ("mediactl.commands.region", "Take a lost region over, and let it in again"),
}
"""Module and one-line help of every group."""


class LazyGroup(click.Group):
    """A group whose subgroups are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the groups."""
        del ctx
        return sorted(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a group."""
        del ctx
        if cmd_name not in GROUPS:
            return None
        group = importlib.import_module(GROUPS[cmd_name][0]).group
        if not isinstance(group, click.Command):
            raise TypeError(f"{GROUPS[cmd_name][0]}.group is not a click command")
        return group

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the groups without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, GROUPS[name][1]) for name in sorted(GROUPS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="media-platform", prog_name="mediactl")
def cli() -> None:
    """Operate the media platform."""


def main() -> None:
    """Run ``mediactl`` and exit with the code of the command."""
    try:
        # Without its standalone mode, click returns the code of a command that asked to exit.
        code = cli.main(standalone_mode=False)
    except CommandError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
