"""Options that many commands have.

>>> @click.command()
... @environment_option
... @consent_option
... @json_option(Removed)
... def remove(environment: Environment, consent: Consent, as_json: bool) -> None:
...     consent.require(environment, "remove everything")        # doctest: +SKIP
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mediactl.errors import REFUSED, USAGE, Asked, CommandError
from mediactl.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from mediactl.environment import Environment

_LONGEST_SENTENCE = 1000

Command = TypeVar("Command", bound=Callable[..., Any])


class Group(SuggestingGroup):
    """A group that lists its commands with whole sentences."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; click alone would cut off what is longer than a line."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(limit=_LONGEST_SENTENCE).removesuffix("."))
                    for name, command in sorted(self.commands.items())
                ]
            )


HELP = {"help_option_names": ["-h", "--help"]}
"""Context settings of every group."""


def _environment_of(ctx: click.Context, param: click.Parameter, value: str | None) -> Environment:
    del param
    from mediactl.environment import load_environment  # noqa: PLC0415 - not needed for help

    if isinstance(ctx.obj, Asked):
        ctx.obj.environment = value
    return load_environment(value)


def complete_environment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the environments whose names begin so, for the completion of words in a shell."""
    del ctx, param
    from mediactl.environment import environment_names  # noqa: PLC0415 - not needed for help

    try:
        return [name for name in environment_names() if name.startswith(incomplete)]
    except CommandError:
        # A shell that completes shows no errors; the command that is run tells.
        return []


environment_option = click.option(
    "-e",
    "--env",
    "environment",
    metavar="NAME",
    envvar="MEDIACTL_ENV",
    is_eager=True,  # other options are checked against it
    callback=_environment_of,
    shell_complete=complete_environment,
    help="Environment: `local`, or a stage in AWS. Default: `env` of mediactl.toml, else `local`.",
)
"""Passes ``environment``; nothing is asked over the network for it."""


def tenant_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check the name of a tenant, as the callback of a parameter.

    Raises:
        CommandError: If it is none.
    """
    del ctx, param
    from media_platform.contract.identity import TENANT_CHARACTERS  # noqa: PLC0415 - not for help
    from media_platform.contract.object_keys import is_key_segment  # noqa: PLC0415

    if value is None or (is_key_segment(value) and len(value) <= TENANT_CHARACTERS):
        return value
    raise CommandError(
        f"{value!r} is no name of a tenant",
        hint=f"names have 1 to {TENANT_CHARACTERS} letters, digits and _.:-, none of these first",
        exit_code=USAGE,
    )


tenant_option = click.option(
    "--tenant",
    envvar="MEDIACTL_TENANT",
    callback=tenant_name,
    help="Tenant of the user. Default: that of who is signed in; on a plane on this machine, where"
    " a user of any tenant is made on the spot, `demo`.",
)
"""Passes ``tenant``, as functions of :mod:`mediactl.access.sessions` take it."""

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and change nothing."
)
"""Passes ``dry_run``."""


@dataclass(frozen=True)
class JsonKind:
    """What a command prints with ``--json``.

    Attributes:
        kind: Data class of the object.
        stream: Whether one object a line is printed, instead of one.
    """

    kind: Any
    stream: bool = False


def json_option(kind: Any, *, stream: bool = False) -> Callable[[Command], Command]:
    """Return a decorator that adds ``--json``, passed as ``as_json``.

    The kind stands at the command, so that a test holds the schemas of all.

    Args:
        kind: Data class of what is printed.
        stream: Whether one object a line is printed, for commands that go on.
    """

    def decorate(command: Command) -> Command:
        each = ", an object a line" if stream else ""
        option = click.option(
            "--json", "as_json", is_flag=True, help=f"Print JSON on stdout{each}."
        )
        decorated = option(command)
        decorated.json_kind = JsonKind(kind, stream)  # type: ignore[attr-defined]
        return decorated

    return decorate


@dataclass(frozen=True)
class Consent:
    """What a person said about a change that cannot be undone.

    Attributes:
        yes: Whether ``--yes`` was given.
        confirm: The environment that ``--confirm`` named.
    """

    yes: bool
    confirm: str | None

    def require(self, environment: Environment, what: str) -> None:
        """Check that the person agreed.

        A protected environment has to be named, so that nobody destroys another than he means.

        Args:
            environment: Where it is to happen.
            what: What is to happen, e.g. ``delete video 01J… for good``.

        Raises:
            CommandError: If not; nothing happened then.
        """
        if self.confirm is not None and self.confirm != environment.name:
            raise CommandError(
                f"--confirm names {self.confirm!r}, and this would {what} in {environment.name!r}",
                hint="name the same environment with --env and --confirm",
                exit_code=REFUSED,
            )
        if self.confirm is None and environment.protected:
            raise CommandError(
                f"this would {what} in {environment.name!r}, which is protected",
                hint=f"if that is what you want, add --confirm {environment.name}",
                exit_code=REFUSED,
            )
        if self.confirm is None and not self.yes:
            raise CommandError(
                f"this would {what} in {environment.name!r}",
                hint="if that is what you want, add --yes",
                exit_code=REFUSED,
            )


def consent_option(command: Command) -> Command:
    """Add ``--yes`` and ``--confirm NAME``, passed together as ``consent``."""

    @click.option("--yes", is_flag=True, help="Do it without asking.")
    @click.option(
        "--confirm", metavar="NAME", help="Do it in this environment, also if it is protected."
    )
    @functools.wraps(command)
    def with_consent(*args: Any, yes: bool, confirm: str | None, **kwargs: Any) -> Any:
        return command(*args, consent=Consent(yes, confirm), **kwargs)

    return with_consent  # type: ignore[return-value]


def _known_regions(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    environment: Environment = ctx.params["environment"]
    unknown = sorted({*value} - {*environment.regions})
    if unknown:
        raise click.BadParameter(
            f"{environment.name} has no region {unknown[0]!r}, allowed are"
            f" {', '.join(environment.regions)}",
            ctx,
            param,
        )
    return value or environment.regions


regions_option = click.option(
    "--region",
    "regions",
    metavar="REGION",
    multiple=True,
    callback=_known_regions,
    help="Only this region; may be repeated. Default: all of the environment.",
)
"""Passes ``regions``, all of them by default; it stands below :data:`environment_option`."""


class Amount(click.FloatRange):
    """A number that ends somewhere: neither ``nan``, which no limit holds, nor ``inf``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number that ends somewhere", param, ctx)
        return number


_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""The first time that AWS knows of."""


class _Since(click.ParamType):  # type: ignore[type-arg]  # generic for mypy alone
    """A time in the past: how long ago, or when."""

    name = "time"

    _UNITS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86_400})

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time, with its zone; one that names none is taken as UTC."""
        if isinstance(value, datetime):
            return value
        try:
            found = self._ago(value) or datetime.fromisoformat(value)
        except OverflowError:
            found = datetime.min  # noqa: DTZ901  - it gets its zone below
        except ValueError:
            self.fail(
                f"{value!r} is neither 30s, 10m, 2h or 3d nor a time such as 2026-11-26T05:00Z",
                param,
                ctx,
            )
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if found < _BEGINNING:
            self.fail(f"{value!r} is before all time", param, ctx)
        return found

    def _ago(self, value: str) -> datetime | None:
        """Return the time of a text such as 10m, ``None`` if it is none of these."""
        number, unit = value[:-1], value[-1:]
        if unit not in self._UNITS or not number.isdecimal():
            return None
        return datetime.now(UTC) - timedelta(seconds=int(number) * self._UNITS[unit])


SINCE = _Since()
"""Type of options that name a time in the past."""


def video_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check the id of a video, as the callback of a parameter.

    Raises:
        CommandError: If it is none.
    """
    del ctx, param
    if value is not None and not _is_id(value):
        raise CommandError(
            f"{value!r} is no id of a video",
            hint="ids have 36 characters; `mediactl videos list` shows them",
            exit_code=USAGE,
        )
    return value


def _is_id(value: str) -> bool:
    """Return whether a text is an id, of a time that there is."""
    from media_platform.contract.ids import is_id, made_at  # noqa: PLC0415 - not needed for help

    try:
        return is_id(value) and made_at(value) >= _BEGINNING
    except OverflowError:
        return False


def video_ids(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Check the ids of videos, as the callback of a parameter that takes several."""
    for one in value:
        video_id(ctx, param, one)
    return value


video_option = click.option(
    "--video", metavar="VIDEO", callback=video_id, help="Only what is about this video."
)
"""Passes ``video``, an id or ``None``."""
