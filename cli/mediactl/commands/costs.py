"""``mediactl costs``: what transcoding took."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.environment import Environment
from mediactl.options import (
    HELP,
    Amount,
    Consent,
    Group,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
)

if TYPE_CHECKING:
    from mediactl.costs.breaker import Breaker, ChangedBudget, Lifted
    from mediactl.costs.spending import Spending, SpendingRow


class _Since(click.ParamType[str]):
    """A day, or a number of days before today."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        today = datetime.now(UTC).date()
        days = re.fullmatch(r"(\d{1,4})d", str(value))
        if days is not None:
            return (today - timedelta(days=int(days[1]))).isoformat()
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
        except ValueError:
            self.fail(f"{value!r} is no day; write it as {today} or 30d", param, ctx)


def _this_month() -> str:
    return datetime.now(UTC).date().replace(day=1).isoformat()


@click.group(name="costs", cls=Group, context_settings=HELP)
def group() -> None:
    """Tell what transcoding took, and hold back who takes too much."""


@group.command("list")
@click.option(
    "--since",
    type=_Since(),
    default=_this_month,
    show_default="the first of this month",
    help="First day, as 2026-11-26 or 30d (UTC).",
)
@click.option("--tenant", metavar="TENANT", help="Only this tenant.")
@click.option(
    "--by",
    type=click.Choice(["video", "tenant", "day"]),
    default="tenant",
    show_default=True,
    help="What is summed up.",
)
@environment_option
@json_option("mediactl.costs.spending:Spending")
@click.pass_context
def list_costs(
    ctx: click.Context,
    *,
    since: str,
    tenant: str | None,
    by: str,
    environment: Environment,
    as_json: bool,
) -> None:
    """List what transcoding took, and what the work cost.

    Workers write down what each run took, interrupted and failed attempts among it; a run counts on
    the day on which it began. What tasks cost while they start, wait and stay is not in it, nor are
    downloads and thumbnails: `mediactl estimate` tells the share. docs/costs.md says how it is
    priced.

    \b
    Examples:
      mediactl costs list --since 30d
      mediactl costs list --by video --tenant TENANT --json
    """
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help
    from mediactl.costs.spending import SpendingStore, WorkerPrices, read_spending  # noqa: PLC0415
    from mediactl.pricing.book import price_table  # noqa: PLC0415

    book, store = price_table(), SpendingStore(environment)
    spending = read_spending(
        store,
        WorkerPrices(environment, book),
        book,
        since=since,
        by=by,
        tenants=store.tenants() if tenant is None else [tenant],
    )
    output.show(spending, as_json, _show)
    end_with(ctx, spending.missing_regions)


@group.command()
@environment_option
@json_option("mediactl.costs.breaker:Breaker")
@click.pass_context
def breaker(ctx: click.Context, *, environment: Environment, as_json: bool) -> None:
    """Show what tenants spent today of the budget of a day, and which videos wait.

    The budget is `worker.max_tenant_daily_cpu_hours` of the stage, or what `mediactl costs budget`
    gave a tenant. Who spent it begins no further transcode until the next day (UTC).

    \b
    Examples:
      mediactl costs breaker
    """
    from mediactl.asking import end_with  # noqa: PLC0415 - not needed for help
    from mediactl.costs.breaker import read_breaker  # noqa: PLC0415 - slow to import

    found = read_breaker(environment)
    output.show(found, as_json, _show_breaker)
    end_with(ctx, found.missing_regions)


_MOST_HOURS = 100_000


@group.command()
@click.argument("tenant")
@click.option(
    "--hours",
    type=Amount(min=0, min_open=True, max=_MOST_HOURS),
    help="Hours of a virtual CPU that it may take of a day.",
)
@click.option("--any", "any_", is_flag=True, help="Let it take as much as it wants.")
@click.option("--as-stage", is_flag=True, help="Let the budget of the stage hold again.")
@consent_option
@dry_run_option
@environment_option
@json_option("mediactl.costs.breaker:ChangedBudget")
def budget(
    *,
    tenant: str,
    hours: float | None,
    any_: bool,
    as_stage: bool,
    consent: Consent,
    dry_run: bool,
    environment: Environment,
    as_json: bool,
) -> None:
    """Give a tenant another budget of a day than the stage has.

    It holds from the next transcode on, every day, and stands in the audit trail. What has begun
    goes on. Videos that wait begin with the next turn of the sweep, within minutes, if the new
    budget lets them. A stage without a budget has none for a tenant, either.

    \b
    Examples:
      mediactl costs budget TENANT --hours 40 --dry-run
      mediactl costs budget TENANT --any --yes
    """
    if (hours is not None) + any_ + as_stage != 1:
        raise click.UsageError("say one of --hours, --any and --as-stage")
    # 0 is any, as everywhere else.
    limit = None if as_stage else math.ceil((hours or 0) * 3600)
    from mediactl.costs.breaker import budget_change, change_budget  # noqa: PLC0415 - slow to import

    found = budget_change(environment, tenant, limit)
    if dry_run:
        found = replace(found, changed=False)
    elif found.changed:
        consent.require(environment, f"let tenant {tenant} take {_of_a_day(found)}")
        change_budget(environment, tenant, limit)
    output.show(found, as_json, lambda one: _show_budget(one, dry_run=dry_run))


def _of_a_day(changed: ChangedBudget) -> str:
    if changed.limit_cpu_hours is None:
        return "any processor time"
    return f"{changed.limit_cpu_hours:g} processor hours of a day"


@group.command()
@click.argument("tenant")
@dry_run_option
@environment_option
@json_option("mediactl.costs.breaker:Lifted")
def lift(*, tenant: str, dry_run: bool, environment: Environment, as_json: bool) -> None:
    """Let a tenant begin transcodes for the rest of the day, whatever it spent.

    Videos that wait begin with the next turn of the sweep, within minutes. On the next day (UTC)
    the budget holds again. It stands in the audit trail.

    \b
    Examples:
      mediactl costs lift TENANT --dry-run
      mediactl costs lift TENANT
    """
    from mediactl.costs.breaker import lift_breaker  # noqa: PLC0415 - slow to import

    output.show(lift_breaker(environment, tenant, dry_run=dry_run), as_json, _show_lifted)


def _show(spending: Spending) -> None:
    # Ids of videos leave little room in 80 columns, and are to be copied.
    table = output.table(title=f"Transcoding since {spending.since}", gap=1)
    table.add_column(spending.by, no_wrap=spending.by == "video", overflow="fold")
    for name in ("runs", "min", "CPU h", "GB in", "GB out", "USD", "a min"):
        table.add_column(name, justify="right")
    for row in spending.rows:
        table.add_row(*_cells(row))
    table.add_section()
    table.add_row(*_cells(spending.total), style="bold")
    console = output.console()
    console.print(table)
    if spending.total.running:
        console.print(f"Runs that go on, counted with what is expected: {spending.total.running}")
    if spending.unknown_videos:
        console.print(
            "Videos that an older version made, of which nothing is known:"
            f" {spending.unknown_videos}"
        )
    for price in spending.prices:
        read = "as deployed" if price.deployed else "assumed: no stack to read"
        console.print(
            f"{price.region}: {price.usd_per_cpu_hour:.4f} USD a processor hour"
            f" ({price.gb_per_cpu:g} GB, {price.spot_share:.0%} on Spot, {read})"
        )


def _cells(row: SpendingRow) -> list[str]:
    minute = "" if row.usd_per_minute is None else f"{row.usd_per_minute:.4f}"
    return [
        row.by,
        str(row.runs),
        f"{row.video_minutes:,.1f}",
        f"{row.cpu_hours:,.2f}",
        f"{row.gb_in:,.2f}",
        f"{row.gb_out:,.2f}",
        f"{row.usd:,.4f}",
        minute,
    ]


def _show_breaker(breaker: Breaker) -> None:
    console = output.console()
    if breaker.limit_cpu_hours is None:
        console.print("The stage has no budget: worker.max_tenant_daily_cpu_hours is not set.")
    else:
        console.print(f"A tenant may take {breaker.limit_cpu_hours:g} processor hours of a day.")
    if not breaker.tenants:
        console.print(f"On {breaker.day} (UTC) no tenant has taken any yet.")
        return
    table = output.table("tenant", title=f"Processor time of {breaker.day} (UTC)")
    for name in ("CPU h", "of", "videos wait"):
        table.add_column(name, justify="right")
    table.add_column("breaker")
    for one in breaker.tenants:
        limit = "any" if one.limit_cpu_hours is None else f"{one.limit_cpu_hours:,.2f}"
        state = "lifted" if one.lifted else "holds back" if one.holds_back else ""
        own = "own budget" if one.own_limit else ""
        told = ", ".join(filter(None, (state, own)))
        table.add_row(one.tenant, f"{one.cpu_hours:,.2f}", limit, str(one.waiting), told)
    console.print(table)
    if any(one.waiting for one in breaker.tenants):
        console.print(
            "Videos that wait begin on the next day (UTC), or once a budget lets them:\n"
            "mediactl costs lift TENANT, for today; mediactl costs budget TENANT, for good"
        )


def _show_budget(changed: ChangedBudget, *, dry_run: bool) -> None:
    whose = "its own budget" if changed.own_limit else "that of the stage"
    verb = "might" if dry_run else "may"
    click.echo(f"tenant {changed.tenant} {verb} take {_of_a_day(changed)}, {whose}")
    if changed.holds_back:
        click.echo("it has taken that today: no further transcode begins until tomorrow (UTC)")


def _show_lifted(lifted: Lifted) -> None:
    what = "would begin" if not lifted.changed else "begins"
    click.echo(f"tenant {lifted.tenant} {what} transcodes until {lifted.until}")
