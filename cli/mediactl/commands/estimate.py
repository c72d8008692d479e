"""``mediactl estimate``: what a stage will cost, before it is deployed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.environment import Environment
from mediactl.errors import NOT_FOUND, REFUSED, USAGE, CommandError
from mediactl.options import Amount, environment_option, json_option
from mediactl.pricing import EVERYWHERE

if TYPE_CHECKING:
    from mediactl.pricing.book import PriceBook
    from mediactl.pricing.estimate import Estimate, RegionCost, StageCost
    from mediactl.pricing.template import Stage

_SHOWN_USD = 0.005
"""What is less shows as nothing, and is left out of tables."""


@click.command(name="estimate")
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@click.option(
    "--assembly",
    type=click.Path(path_type=Path),
    help="Cloud assembly (`cdk.out`) to read instead of synthesizing stages.",
)
@click.option("--profile", type=click.Path(path_type=Path), help="TOML file with the workload.")
@click.option("--uploads", type=float, help="Videos uploaded in a month. Default 100.")
@click.option("--minutes", type=float, help="Length of each in minutes. Default 10.")
@click.option("--source-megabits", type=float, help="Bit rate of uploads, Mbit/s. Default 8.")
@click.option("--source-lines", type=int, help="Height of uploads. Default 1080.")
@click.option("--uploads-at-once", type=float, help="Uploads that come together. Default 1.")
@click.option("--views", type=float, help="Videos watched in a month. Default 2,000.")
@click.option("--delivered-gb", type=float, help="GB that viewers load. Default: of the views.")
@click.option("--api-requests", type=float, help="Requests to the API. Default 100,000.")
@click.option("--users", type=float, help="Users who sign in. Default 100.")
@click.option("--months-kept", type=float, help="Months of uploads that are stored. Default 12.")
@click.option(
    "--prices",
    type=click.Choice(["auto", "table", "api"]),
    default="auto",
    show_default=True,
    help="Where prices come from: the AWS Price List API if there are credentials, or the table.",
)
@click.option("--no-free-tier", is_flag=True, help="Take nothing off that is free for an account.")
@click.option("--lines", is_flag=True, help="Show every line of the bill.")
@click.option("--fail-over", type=Amount(), metavar="USD", help="Exit with 4 if it costs more.")
@environment_option
@json_option("mediactl.pricing.estimate:Estimate")
def estimate(
    *,
    stages: tuple[str, ...],
    assembly: Path | None,
    profile: Path | None,
    prices: str,
    no_free_tier: bool,
    lines: bool,
    fail_over: float | None,
    environment: Environment,
    as_json: bool,
    **workload: Any,
) -> None:
    """Tell what stages will cost in a month, from their templates and a workload.

    Stages are synthesized as they stand in cdk.json. Default: that of the environment. Beside the
    sum stands what MediaConvert, Mux and Cloudflare Stream ask for the same. docs/costs.md says
    what is assumed, and which prices the table has.

    \b
    Examples:
      mediactl estimate dev --uploads 500 --views 20000 --fail-over 500
    """
    from mediactl.pricing.estimate import estimate as estimate_stages  # noqa: PLC0415
    from mediactl.pricing.workload import read_workload  # noqa: PLC0415

    month = read_workload(profile, workload)
    read = _stages(stages, assembly, environment)
    book = _book(prices, environment, sorted({one for s in read.values() for one in s.regions}))
    found = estimate_stages(read, month, book, with_free=not no_free_tier, budget_usd=fail_over)
    output.show(found, as_json, lambda one: _show(one, lines=lines))
    if fail_over is not None and found.usd > fail_over:
        raise CommandError(
            f"it would cost {_usd(found.usd)} a month, more than {_usd(fail_over)}",
            hint="`--lines` shows what costs how much",
            exit_code=REFUSED,
        )


def _stages(
    names: tuple[str, ...], assembly: Path | None, environment: Environment
) -> dict[str, Stage]:
    from mediactl.deploying.assembly import assembly_stacks  # noqa: PLC0415
    from mediactl.pricing.template import Stage  # noqa: PLC0415

    def read(folder: Path) -> Stage:
        return Stage(assembly_stacks(folder, default_region="us-east-1"))

    if assembly is None:
        found = {}
        for name in dict.fromkeys(names or (environment.stage,)):
            with _synthesized(environment.app, name) as folder:
                found[name] = read(folder)
        return found
    if names:
        raise CommandError(
            "--assembly is one stage, and others are named, too",
            hint="leave out one of the two",
            exit_code=USAGE,
        )
    if not (assembly / "manifest.json").is_file():
        raise CommandError(
            f"{assembly} is no cloud assembly: it has no manifest.json",
            hint="`cdk synth --output FOLDER` writes one",
            exit_code=NOT_FOUND,
        )
    return {assembly.resolve().name: read(assembly)}


@contextmanager
def _synthesized(app: Path, stage: str) -> Iterator[Path]:
    """Synthesize a stage; its folder is gone afterwards, unless that failed."""
    from mediactl.deploying.cdk import require_app, run_cdk, synthesizing  # noqa: PLC0415

    require_app(app)
    output.say(f"synthesizing {stage}")
    scratch = Path(tempfile.mkdtemp(prefix="mediactl-estimate-"))
    folder = scratch / stage
    run_cdk(
        app.resolve(),
        synthesizing(folder, {"stage": stage}),
        folder=app.resolve(),
        log=scratch / "cdk.log",
        environment={**os.environ, "CDK_VALIDATION": "false"},
    )
    try:
        yield folder
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _book(prices: str, environment: Environment, regions: list[str]) -> PriceBook:
    """Return the table, with the prices of today where they can be had."""
    from mediactl.pricing.book import price_table  # noqa: PLC0415

    book = price_table()
    if prices == "table" or (prices == "auto" and environment.is_local):
        return book
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

    from mediactl.pricing.price_list import API_REGION, list_prices  # noqa: PLC0415

    try:
        client = environment.client("pricing", API_REGION)
        found = list_prices(client, book, regions)
    except (BotoCoreError, ClientError, CommandError) as error:
        if prices == "api":
            raise
        output.say(f"prices are those of the table, since AWS does not tell them: {error}")
        return book
    output.say(f"the AWS Price List API told {len(found)} prices")
    return book.with_list_prices(found, datetime.now(UTC).date().isoformat())


def _show(found: Estimate, *, lines: bool) -> None:
    for cost in found.stages:
        _show_stage(cost, lines=lines)
    console = output.console()
    if len(found.stages) > 1:
        console.print(f"{_usd(found.usd)} a month together", style="bold")
    days = sorted(price.date for price in found.prices)
    recalled = sum(price.read == "recalled" for price in found.prices)
    if days:
        how = f", {recalled} of them not read but recalled" if recalled else ""
        console.print(
            f"{len(found.prices)} prices, of {days[0]} to {days[-1]}{how}.\n`--json` has each with"
            " its source; docs/costs.md says what is assumed."
        )


def _show_stage(cost: StageCost, *, lines: bool) -> None:
    console = output.console()
    table = output.table("service", title=f"{cost.stage} in {', '.join(cost.regions)}: a month")
    table.add_column("USD", justify="right")
    table.add_column("if nobody comes", justify="right")
    for service in cost.services:
        if service.usd >= _SHOWN_USD:
            table.add_row(service.service, f"{service.usd:,.2f}", f"{service.idle_usd:,.2f}")
    table.add_section()
    table.add_row("all", f"{cost.usd:,.2f}", f"{cost.idle_usd:,.2f}", style="bold")
    console.print(table)
    if len(cost.regions) > 1:
        console.print("Of it " + ", ".join(map(_in_region, cost.by_region)) + ".")
    if cost.usd_per_minute is not None:
        console.print(
            f"A minute of uploaded video costs {_usd(cost.usd_per_minute, 4)},"
            f" a further one {_usd(cost.usd_per_further_minute or 0, 4)}."
        )
    if cost.worker_cpu_hours:
        console.print(
            f"Workers are paid for {cost.worker_cpu_hours:,.0f} hours of a processor, of which"
            f" {cost.worker_busy_share:.0%} transcode."
        )
    for kind in cost.unpriced:
        console.print(f"not counted: {kind}, of which no price is known", style="bold")
    if lines:
        _show_lines(cost)
    others = output.table("service", "what", title="The same elsewhere, a month")
    others.add_column("USD", justify="right")
    others.add_column("here", justify="right")
    for one in cost.alternatives:
        others.add_row(one.name, one.what, f"{one.usd:,.2f}", f"{one.ours_usd:,.2f}")
    console.print(others)


def _in_region(part: RegionCost) -> str:
    where = "in no region" if part.region == EVERYWHERE else f"in {part.region}"
    return f"{_usd(part.usd)} {where}"


def _show_lines(cost: StageCost) -> None:
    table = output.table("what", "region", title="Lines of the bill")
    table.add_column("quantity", justify="right")
    table.add_column("USD", justify="right")
    for line in sorted(cost.lines, key=lambda one: -one.usd):
        if line.usd < _SHOWN_USD:
            continue
        table.add_row(
            f"{line.service}: {line.what}",
            line.region,
            f"{line.quantity:,.2f} {line.unit}",
            f"{line.usd:,.2f}",
        )
    output.console().print(table)


def _usd(amount: float, digits: int = 2) -> str:
    return f"${amount:,.{digits}f}"
