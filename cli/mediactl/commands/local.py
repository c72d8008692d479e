"""``mediactl local``: the whole platform on this machine."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.environment import LOCAL, LocalEnvironment, is_local_name, load_environment
from mediactl.errors import DEGRADED, NOT_FOUND, USAGE, CommandError
from mediactl.local.state import DEFAULT_FOLDER, StateFolder
from mediactl.options import HELP, Command, Group, complete_environment, json_option

if TYPE_CHECKING:
    from mediactl.local.plane import Endpoints, Status

FOLLOW_SECONDS = 0.3


@click.group(name="local", cls=Group, context_settings=HELP)
def group() -> None:
    """Run the whole platform on this machine, from the templates that `cdk deploy` ships.

    Several planes run side by side, each in a state folder of its own: `local` in `.local`,
    `local-blue` in `.local-blue`.
    """


def _complete_plane(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in complete_environment(ctx, param, incomplete) if is_local_name(name)]


def plane_option(command: Command) -> Command:
    """Add ``--env`` and ``--state-dir``, passed together as ``environment``, which is local."""

    @click.option(
        "-e",
        "--env",
        "name",
        metavar="NAME",
        default=LOCAL,
        show_default=True,
        shell_complete=_complete_plane,
        help="The plane: `local`, or `local-…` for others beside it.",
    )
    @click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder that holds everything the plane writes. Default: that of the environment.",
    )
    @functools.wraps(command)
    def with_plane(*args: Any, name: str, state_dir: Path | None, **kwargs: Any) -> Any:
        environment = load_environment(name)
        if not isinstance(environment, LocalEnvironment):
            raise CommandError(
                f"environment {name!r} is in AWS, and this is for planes on this machine",
                hint=f"name `{LOCAL}`, or `{LOCAL}-…`",
                exit_code=USAGE,
            )
        if state_dir is not None:
            environment = LocalEnvironment(name, state_dir=state_dir, app=environment.app)
        return command(*args, environment=environment, **kwargs)

    return with_plane  # type: ignore[return-value]


@dataclass(frozen=True)
class Change:
    """What a command did to a plane.

    Attributes:
        changed: Whether anything was to be done.
        region: Region that it was done to, if not to the plane as a whole.
    """

    changed: bool
    region: str | None = None


@dataclass(frozen=True)
class LogLine:
    """A line of a log of a plane.

    Attributes:
        log: Name of the log: a service, or a part of the plane.
        line: The line.
    """

    log: str
    line: str


@dataclass(frozen=True)
class CallMade:
    """A call that a role made.

    Attributes:
        role: Name of the role.
        action: The action, as policies write it.
        resource: ARN of what it was made on.
        allowed: Whether its policies allow it.
    """

    role: str
    action: str
    resource: str
    allowed: bool


@group.command()
@plane_option
@json_option("mediactl.local.plane:Endpoints")
@click.option("--redeploy", is_flag=True, help="Synthesize even if nothing seems to have changed.")
@click.option(
    "--stage",
    help="Stage of the app, e.g. `pair` for two regions. Default: that of the plane that is up, "
    "else `local`.",
)
def up(environment: LocalEnvironment, as_json: bool, redeploy: bool, stage: str | None) -> None:
    """Deploy the app of this folder to a local emulator and start its services.

    Does what is missing: nothing on a healthy plane, everything after a crash. The same templates
    are deployed as to AWS, with the stock CDK CLI.

    \b
    Examples:
      mediactl local up
      mediactl local up -e local-blue --stage pair
    """
    _bring_up(environment, as_json, redeploy=redeploy, stage=stage)


def _bring_up(
    environment: LocalEnvironment,
    as_json: bool,
    *,
    stage: str | None,
    redeploy: bool = False,
    anew: bool = False,
) -> None:
    started = time.monotonic()
    endpoints = environment.plane(stage).up(redeploy=redeploy, anew=anew)
    output.say(f"the plane is up ({time.monotonic() - started:.1f} s)")
    output.show(endpoints, as_json, _show_endpoints)


def _show_endpoints(endpoints: Endpoints) -> None:
    click.echo(f"edge      {endpoints.edge_url}")
    click.echo(f"emulator  {endpoints.emulator_url}")


@group.command()
@plane_option
@json_option(Change)
def down(environment: LocalEnvironment, as_json: bool) -> None:
    """Stop everything and remove what is volatile; virtual environments and logs are kept.

    Users, videos and all else that was made on the plane go with it.

    \b
    Examples:
      mediactl local down
    """
    stopped = environment.plane().down()
    output.say("the plane is down" if stopped else "nothing was running")
    output.show(Change(stopped), as_json, lambda _: None)


@group.command()
@plane_option
@json_option("mediactl.local.plane:Endpoints")
def reset(environment: LocalEnvironment, as_json: bool) -> None:
    """Take the plane down and bring the same stage up again, without any data.

    \b
    Examples:
      mediactl local reset
    """
    _bring_up(environment, as_json, stage=environment.stage, anew=True)


@group.command()
@plane_option
@json_option(Change)
@click.argument("region")
def cut(environment: LocalEnvironment, as_json: bool, region: str) -> None:
    """Cut a region off: nothing of it stops, and nobody reaches it, nor it anybody.

    \b
    Examples:
      mediactl local cut us-east-1
    """
    plane = environment.plane()
    plane.cut(region)
    output.say(f"{region} is cut off until `mediactl local rejoin {region}{plane.state.option}`")
    output.show(Change(True, region), as_json, lambda _: None)


@group.command()
@plane_option
@json_option(Change)
@click.argument("region")
def rejoin(environment: LocalEnvironment, as_json: bool, region: str) -> None:
    """Make a region reachable again that was cut off.

    \b
    Examples:
      mediactl local rejoin us-east-1
    """
    environment.plane().rejoin(region)
    output.say(f"{region} is reachable")
    output.show(Change(True, region), as_json, lambda _: None)


@group.command()
@plane_option
@json_option("mediactl.local.plane:Status")
@click.pass_context
def status(ctx: click.Context, environment: LocalEnvironment, as_json: bool) -> None:
    """Show the processes of the plane: services, queues and endpoints.

    Exit code 0: healthy; 5: up, but not healthy; 3: not up.

    \b
    Examples:
      mediactl local status --json
    """
    found = environment.plane().status()
    output.show(found, as_json, _show_status)
    if not found.up:
        ctx.exit(NOT_FOUND)
    if not found.healthy:
        ctx.exit(DEGRADED)


def _short(name: str) -> str:
    """Return a physical name without its stack and its hash, so that a line has room for it."""
    return re.sub(r"^MediaPlatform-[^-]+-[^-]+-|-?[0-9A-F]{8}(-?[0-9A-F]*)$", "", name)


def _show_status(found: Status) -> None:
    if not found.up:
        click.echo("the plane is not up")
        return
    console = output.console()
    if found.endpoints:
        console.print(f"edge      {found.endpoints.edge_url}")
        console.print(f"emulator  {found.endpoints.emulator_url}")
    services = output.table(
        "service",
        "region",
        *("desired", "running", "healthy"),
        numbers=("desired", "running", "healthy"),
    )
    for service in found.services:
        counts = (str(service[name]) for name in ("desired", "running", "healthy"))
        services.add_row(_short(service["name"]), service["region"], *counts)
    queues = output.table(
        "queue", "region", "visible", "in flight", numbers=("visible", "in flight")
    )
    for queue in found.queues:
        counts = (str(queue[name]) for name in ("visible", "in_flight"))
        queues.add_row(_short(queue["name"]), queue["region"], *counts)
    console.print(services, "", queues, sep="\n")
    for problem in found.problems:
        console.print(f"problem: {output.printable(problem)}")
    console.print("healthy" if found.healthy else "not healthy")


@group.command()
@plane_option
@json_option(LogLine, stream=True)
@click.option("--service", help="Only logs whose name contains this, e.g. api, worker, emulator.")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--lines", "-n", default=50, show_default=True, help="Lines of the past, per log.")
def logs(
    environment: LocalEnvironment, as_json: bool, service: str | None, follow: bool, lines: int
) -> None:
    """Show what the services and the plane itself log, log by log.

    \b
    Examples:
      mediactl local logs --service worker --lines 10
    """
    folder = StateFolder(environment.state_dir).logs
    chosen = _chosen_logs(folder, service)
    if not chosen and not follow:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        raise CommandError(
            f"no log in {folder} has {service!r} in its name"
            if service
            else f"there are no logs in {folder}",
            hint=f"logs: {known}",
            exit_code=NOT_FOUND,
        )

    def tell(file: Path, line: str) -> None:
        if as_json:
            output.line(LogLine(file.stem, line))
        else:
            click.echo(output.printable(f"{file.stem} | {line}"))

    positions: dict[Path, int] = {}
    for file in chosen:
        content = file.read_bytes()
        positions[file] = len(content)
        past = content.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []
        for line in past:
            tell(file, line)
    while follow:
        for file in _chosen_logs(folder, service):
            for line in _new_lines(file, positions):
                tell(file, line)
        time.sleep(FOLLOW_SECONDS)


def _chosen_logs(folder: Path, service: str | None) -> list[Path]:
    wanted = (service or "").lower()
    return sorted(file for file in folder.glob("*.log") if wanted in file.stem.lower())


def _new_lines(file: Path, positions: dict[Path, int]) -> Iterator[str]:
    """Yield whole lines that were added to a log since the last call."""
    start = positions.get(file, 0)
    if file.stat().st_size < start:
        start = 0
    with file.open("rb") as stream:
        stream.seek(start)
        added = stream.read()
    whole, newline, _ = added.rpartition(b"\n")
    positions[file] = start + len(whole) + len(newline)
    yield from whole.decode(errors="replace").splitlines()


@group.command()
@plane_option
@click.option("--role", help="Only roles whose name contains this.")
@click.option("--denied", is_flag=True, help="Only calls that were refused.")
@json_option(list[CallMade])
def calls(environment: LocalEnvironment, role: str | None, denied: bool, as_json: bool) -> None:
    """Show which calls roles made, and whether their policies allow them.

    Objects are shown by the start of their key; JSON names each.

    \b
    Examples:
      mediactl local calls --denied
    """
    from mediactl.local.recorded_calls import grouped, read_calls  # noqa: PLC0415

    found = sorted(
        {
            (call.role, call.action, call.resource if as_json else grouped(call), call.allowed)
            for call in read_calls(StateFolder(environment.state_dir).calls_file)
            if (role or "").lower() in call.role.lower() and not (denied and call.allowed)
        }
    )
    output.show([CallMade(*call) for call in found], as_json, _show_calls)


def _show_calls(found: list[CallMade]) -> None:
    if not found:
        output.say("no calls")
    for call in found:
        verdict = "allowed" if call.allowed else "DENIED "
        click.echo(output.printable(f"{verdict} {call.role} {call.action} {call.resource}"))


@group.command()
@plane_option
@json_option("mediactl.commands.demo:Report")
@click.option(
    "--video",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to upload. Default: a 20 s clip with motion, a clock and sound, made here.",
)
def demo(environment: LocalEnvironment, as_json: bool, video: Path | None) -> None:
    """Run the main job once: sign in, upload, transcode, play. The plane stays up.

    \b
    Examples:
      mediactl local demo --video FILE
    """
    from mediactl.commands import demo as main_job  # noqa: PLC0415
    from mediactl.videos.uploads import content_type_of  # noqa: PLC0415

    if video is not None:
        content_type_of(video)
    file = environment.state_dir / "demo.json"
    file.unlink(missing_ok=True)
    environment.plane().up()
    chosen = video or main_job.sample_video(environment.state_dir)
    report = main_job.run(environment, chosen, output.talk())
    main_job.write(report, file)
    output.show(
        report, as_json, lambda found: output.console().print(main_job.summary(found, chosen))
    )
    output.say(
        f"the report is {file}; the plane stays up until `mediactl local down`"
        " (in a checkout: `make down`)"
    )


@contextlib.contextmanager
def running_plane(state_dir: Path = DEFAULT_FOLDER) -> Iterator[LocalEnvironment]:
    """Bring a plane up for a program, and take it down afterwards if it was not up before."""
    environment = LocalEnvironment(LOCAL, state_dir=state_dir, app=Path())
    was_up = environment.plane().status().up
    try:
        environment.plane().up()
        yield environment
    finally:
        if not was_up:
            environment.plane().down()
