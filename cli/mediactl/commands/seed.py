"""``mediactl seed``: users, tenants and videos to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.errors import FAILED
from mediactl.options import (
    Consent,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
)

if TYPE_CHECKING:
    from mediactl.environment import Environment
    from mediactl.seeds.seeding import SeedReport


@click.command(name="seed")
@environment_option
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Seed file. Default: two tenants with users and short videos, which come with mediactl.",
)
@click.option(
    "--passwords",
    is_flag=True,
    help="Give users who never signed in a first password, and print it.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the videos are READY.")
@consent_option
@dry_run_option
@json_option("mediactl.seeds.seeding:SeedReport")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    environment: Environment,
    file: Path | None,
    passwords: bool,
    no_wait: bool,
    consent: Consent,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let tenants, users and videos be there, for trying and testing.

    What is there is found, users by their address and videos by their title or file, and left as it
    is: it may be run again, also after it was killed, and twice at the same time. Where the
    environment is protected, it needs --confirm NAME.

    It needs AWS credentials that may call ListUsers, AdminCreateUser, AdminAddUserToGroup and
    AdminSetUserPassword on the user pool: each tenant gets an account `mediactl-seed-TENANT` that
    owns the videos and whose password nobody knows. Quotas take an operator who is signed in.

    A seed file is TOML. A user needs `email` and `tenant`, a video `tenant`, `title`, and one of
    `file` and `sample`; all else may be left out:

    \b
      [[tenants]]
      name = "acme"
      quota = { videos = 100, stored_bytes = 10_000_000_000, uploads = 5 }
      [[users]]
      email = "ada@acme.example"
      tenant = "acme"
      groups = ["admin", "editor"]     # else: viewer
      name = "Ada"
      password = "…"                   # one that everybody may know
      invite = true                    # or: Cognito sends it one
      [[videos]]
      tenant = "acme"
      title = "Holiday"
      file = "films/holiday.mp4"       # from the folder of the seed file
      sample = { seconds = 6, width = 640, height = 360 }  # or: is made
      description = "…"
      tags = ["sea"]
      visibility = "PUBLIC"            # else: TENANT

    \b
    Examples:
      mediactl seed
      mediactl seed --dry-run --json
    """
    from mediactl.seeds.seed_file import BUILT_IN, read_seed_file  # noqa: PLC0415 - slow to import
    from mediactl.seeds.seeding import Seeding  # noqa: PLC0415 - slow to import

    chosen = file or BUILT_IN
    content = read_seed_file(chosen)
    if environment.protected and not dry_run:
        consent.require(environment, "make users and videos for trying")
    report = Seeding(
        environment,
        content,
        chosen.parent,
        dry_run=dry_run,
        passwords=passwords,
        wait=not no_wait,
        tell=output.say,
    ).run()
    output.show(report, as_json, _show)
    if any(video.result == "failed" for video in report.videos):
        ctx.exit(FAILED)


def _show(report: SeedReport) -> None:
    title = "is there" if report.changed else "would be there"
    table = output.table(
        "what", "tenant", "name", "result", title=f"What {title} in {report.environment}"
    )
    for tenant in report.tenants:
        table.add_row("tenant", tenant.tenant, "", tenant.result)
    for user in report.users:
        table.add_row("user", user.tenant, user.email, user.result)
    for video in report.videos:
        result = video.result if video.status is None else f"{video.result}, {video.status}"
        table.add_row("video", video.tenant, output.printable(video.title), result)
    output.console().print(table)
    for user in report.users:
        if user.first_password:
            click.echo(f"first password of {user.email}: {user.first_password}")
    for video in report.videos:
        if video.error:
            click.echo(output.printable(f"{video.title}: {video.error}"))
