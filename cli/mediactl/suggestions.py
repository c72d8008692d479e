"""What a person may have meant who mistyped a word."""

from __future__ import annotations

from collections.abc import Iterable

import click

from mediactl.errors import USAGE, CommandError


def meant(given: str, known: Iterable[str]) -> str | None:
    """Return a question for what is like a word, ``None`` if nothing is.

    Args:
        given: The word.
        known: Words that there are.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - not needed for help

    found = get_close_matches(given.lower(), known)
    return f"did you mean {' or '.join(found)}?" if found else None


class SuggestingGroup(click.Group):
    """A group that tells what was meant by a command or an option that it does not have."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that stand before the command.

        Raises:
            CommandError: If it has none like that, but a command may.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities or ctx.resilient_parsing:
                raise
            raise CommandError(
                f"`{ctx.command_path}` has no option {error.option_name}",
                hint=f"options stand behind the command: `{ctx.command_path} COMMAND"
                f" {error.option_name} …`",
                exit_code=USAGE,
            ) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, and the arguments of it.

        Raises:
            CommandError: If there is none.
        """
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise CommandError(
                f"there is no command `{ctx.command_path} {args[0]}`",
                hint=meant(args[0], known) or f"`{ctx.command_path} --help` lists those there are",
                exit_code=USAGE,
            )
        return super().resolve_command(ctx, args)
