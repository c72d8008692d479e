"""``mediactl tenants``: what tenants use and may use."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.errors import USAGE, CommandError
from mediactl.options import (
    HELP,
    Group,
    dry_run_option,
    environment_option,
    json_option,
    tenant_name,
)

if TYPE_CHECKING:
    from mediactl.access.admin import Amounts, ChangedTenant, TenantList, TenantUse
    from mediactl.environment import Environment

_UNITS = {
    "": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGTP", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGTP", start=1)},
}
_SIZE = re.compile(r"([0-9]+) ?([A-Za-z]*)")


class _Size(click.ParamType[int]):
    """A number of bytes, with a unit or without."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value))
        if found is None or found[2] not in _UNITS:
            self.fail(f"{value!r} is no size; write it as 500GB, 2TiB or in bytes", param, ctx)
        number, unit = found.groups()
        return int(number) * int(_UNITS[unit])


@click.group(name="tenants", cls=Group, context_settings=HELP)
def group() -> None:
    """List tenants, and say how much they may use.

    All of it takes an operator, but for `show`, which administrators have for their own tenant.
    """


@group.command("list")
@environment_option
@json_option("mediactl.access.admin:TenantList")
def list_tenants(environment: Environment, as_json: bool) -> None:
    """List all tenants, by name.

    A tenant is there once it was created here, has a user that an administrator created, a quota,
    or had a video.

    \b
    Examples:
      mediactl tenants list
      mediactl tenants list --json
    """
    from mediactl.access.admin import AdminClient, TenantList  # noqa: PLC0415 - slow to import

    found = TenantList(tenants=list(AdminClient.of(environment).tenants()))
    output.show(found, as_json, _show_list)


@group.command()
@environment_option
@click.argument("tenant", callback=tenant_name)
@json_option("mediactl.access.admin:TenantUse")
def show(environment: Environment, tenant: str, as_json: bool) -> None:
    """Show what a tenant uses, in every region, and what it may use.

    \b
    Examples:
      mediactl tenants show TENANT
    """
    from mediactl.access.admin import AdminClient  # noqa: PLC0415 - slow to import

    output.show(AdminClient.of(environment).tenant_use(tenant), as_json, _show_use)


@group.command()
@environment_option
@click.argument("tenant", callback=tenant_name)
@json_option("mediactl.access.admin:ChangedTenant")
def create(environment: Environment, tenant: str, as_json: bool) -> None:
    """List a tenant before it has a user or a video.

    Once more changes nothing.

    \b
    Examples:
      mediactl tenants create TENANT
    """
    from mediactl.access.admin import AdminClient, ChangedTenant  # noqa: PLC0415 - slow to import

    made = ChangedTenant(changed=True, tenant=AdminClient.of(environment).create_tenant(tenant))
    output.show(made, as_json, lambda done: click.echo(f"tenant {done.tenant.tenant} is listed"))


@group.command()
@environment_option
@click.argument("tenant", callback=tenant_name)
@click.option("--videos", type=click.IntRange(min=0), help="Most videos.")
@click.option("--stored-bytes", type=_Size(), help="Most bytes of their files, e.g. 500GB.")
@click.option("--uploads", type=click.IntRange(min=0), help="Most uploads at a time.")
@dry_run_option
@json_option("mediactl.access.admin:ChangedTenant")
def quota(
    *,
    environment: Environment,
    tenant: str,
    videos: int | None,
    stored_bytes: int | None,
    uploads: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set how much a tenant may use.

    What is left out stays as it was set before; where nothing was set yet, all three are needed.
    What a tenant has beyond its quota stays, and nothing is added.

    \b
    Examples:
      mediactl tenants quota TENANT --videos 900 --stored-bytes 500GB --uploads 10
      mediactl tenants quota TENANT --videos 2000 --dry-run
    """
    given = {"videos": videos, "stored_bytes": stored_bytes, "uploads": uploads}
    if all(value is None for value in given.values()):
        raise click.UsageError("say what the tenant may use: --videos, --stored-bytes, --uploads")
    from mediactl.access.admin import AdminClient, ChangedTenant  # noqa: PLC0415 - slow to import

    client = AdminClient.of(environment)
    now = client.tenant_use_or_new(tenant)
    wanted = _completed(tenant, given, now.quota)
    if dry_run:
        done = ChangedTenant(changed=False, tenant=replace(now, quota=wanted))
    else:
        done = ChangedTenant(changed=True, tenant=client.put_quota(tenant, wanted))
    output.show(done, as_json, _show_changed)


def _completed(tenant: str, given: dict[str, int | None], now: Amounts | None) -> Amounts:
    """Return the whole quota: what was given, and of the rest what was set before.

    Raises:
        CommandError: If nothing was set before and something is missing.
    """
    from mediactl.access.admin import Amounts  # noqa: PLC0415 - slow to import

    missing = [name for name, value in given.items() if value is None]
    if now is None and missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise CommandError(
            f"tenant {tenant} has no quota of its own yet, so {options} must be given, too",
            hint="give --videos, --stored-bytes and --uploads",
            exit_code=USAGE,
        )
    before = asdict(now) if now else {}
    return Amounts(**{name: before[name] if v is None else v for name, v in given.items()})


def _show_list(found: TenantList) -> None:
    if not found.tenants:
        output.say("no tenants")
        return
    table = output.table("tenant", "first met")
    for one in found.tenants:
        table.add_row(one.tenant, one.first_seen_at)
    output.console().print(table)


def _show_changed(done: ChangedTenant) -> None:
    if not done.changed:
        click.echo("with that quota it would be:")
    _show_use(done.tenant)


def _show_use(use: TenantUse) -> None:
    table = output.table("", title=f"Tenant {use.tenant}")
    for heading in ("videos", "bytes", "uploads"):
        table.add_column(heading, justify="right")
    for region, amounts in use.regions.items():
        table.add_row(f"uses in {region}", *_columns(amounts))
    table.add_row("uses", *_columns(use.usage))
    if use.quota is not None:
        table.add_row("may use", *_columns(use.quota))
    output.console().print(table)
    if use.quota is None:
        click.echo("it has no quota of its own, that of the stage holds")


def _columns(amounts: Any) -> tuple[str, ...]:
    return tuple(f"{n:,}" for n in (amounts.videos, amounts.stored_bytes, amounts.uploads))
