"""``mediactl smoke``: whether the main job works."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.errors import FAILED, USAGE, CommandError, naming
from mediactl.options import environment_option, json_option

if TYPE_CHECKING:
    from mediactl.checking.smoke import SmokeReport, Step
    from mediactl.environment import Environment

SHORTEST_SECONDS = 10
LONGEST_SECONDS = 3000
"""Somewhat less than an access token lives."""


@click.command(name="smoke")
@environment_option
@click.option(
    "--video",
    "clip",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to upload. Default: a clip of two seconds that comes with mediactl.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.IntRange(SHORTEST_SECONDS, LONGEST_SECONDS),
    default=1800,
    show_default=True,
    help="Longest time of the run in seconds.",
)
@click.option("--no-purge", is_flag=True, help="Do not wait until the files are gone.")
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the steps to, as JUnit XML.",
)
@json_option("mediactl.checking.smoke:SmokeReport")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    environment: Environment,
    clip: Path | None,
    seconds: int,
    no_purge: bool,
    junit_file: Path | None,
    as_json: bool,
) -> None:
    """Upload, play and delete a clip as a user does, and remove all that was made for it.

    Signs in, uploads, waits until the clip is playable and then READY, fetches every segment
    (decodes them, too, where ffmpeg is there), asks without a signature, waits for the event,
    deletes, and waits for the purge, which takes up to a turn of its schedule (a quarter of an hour
    unless the stage says otherwise); --no-purge does not. Exit code 1 if a step failed; it says
    which, why, and what to look at.

    It makes a user of the tenant `smoke` straight in Cognito, a queue and a subscription in every
    region, all called `mediactl-smoke-…`, and removes them however it ends. What a run leaves that
    was killed goes with the first run after the time of that one was up. Where MEDIACTL_TOKEN is
    set, no user is made, and the clip is a PRIVATE video of that user.

    It needs AWS credentials that may call, on the user pool, ListUsers, AdminCreateUser,
    AdminAddUserToGroup, AdminSetUserPassword and AdminDeleteUser; in SQS CreateQueue, ListQueues,
    GetQueueUrl, ReceiveMessage, DeleteMessage and DeleteQueue; on the topic Subscribe,
    ListSubscriptionsByTopic, and Unsubscribe; s3:ListBucketVersions on raw and media bucket;
    cloudformation:DescribeStacks.

    As a canary it is run by a schedule of yours, such as cron or a scheduled CI job, with --json or
    --junit; runs at the same time do not disturb each other.

    \b
    Examples:
      mediactl smoke --no-purge --timeout 300 --json
    """
    if junit_file is not None and not junit_file.absolute().parent.is_dir():
        raise CommandError(
            f"{junit_file} cannot be written: there is no folder {junit_file.absolute().parent}",
            hint="make the folder, or name another",
            exit_code=USAGE,
        )
    from mediactl.checking.smoke import CLIP, Smoke  # noqa: PLC0415 - slow to import

    with _told() as tell:
        report = Smoke(
            environment,
            clip or CLIP,
            seconds=seconds,
            purge=not no_purge,
            access_token=os.environ.get("MEDIACTL_TOKEN") or None,
            tell=tell,
        ).run()
    output.show(report, as_json, _show)
    if junit_file is not None:
        from mediactl.checking.junit import junit_xml  # noqa: PLC0415 - slow to import

        suite = f"mediactl smoke {environment.name}"
        with naming(junit_file):
            junit_file.write_bytes(junit_xml(suite, report.steps, started_at=report.started_at))
    if not report.passed:
        ctx.exit(FAILED)


@contextlib.contextmanager
def _told() -> Iterator[Any]:
    """Show what is being done: the present step at a terminal, and every step that was taken."""
    talk = output.talk()
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(talk.status("sign in")) if talk.is_terminal else None

        def tell(what: str | Step) -> None:
            if not isinstance(what, str):
                talk.print(f"{what.name}: {what.result}, {what.seconds:.1f} s")
            elif status is not None:
                status.update(what)

        yield tell


def _show(report: SmokeReport) -> None:
    failed = [step for step in report.steps if step.result == "failed"]
    verdict = "passed" if report.passed else f"failed: {', '.join(step.name for step in failed)}"
    table = output.table(title=f"smoke of {report.environment}: {verdict} ({report.seconds:.1f} s)")
    table.add_column("step", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("seen", overflow="fold")
    for step in report.steps:
        table.add_row(step.name, step.result, f"{step.seconds:.1f}", step.detail)
    output.console().print(table)
    # Nothing of this is cut into lines, so that it can be copied.
    if report.video_id:
        click.echo(f"video {report.video_id} of tenant {report.tenant}")
    for name in report.removed:
        click.echo(f"left by an earlier run and removed: {name}")
    for step in failed:
        click.echo(f"{step.name}: {step.hint or step.detail}")
