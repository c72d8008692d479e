"""``mediactl local``: the whole platform on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.errors import DEGRADED, NOT_UP, CommandError
from mediactl.local.state import DEFAULT_FOLDER, StateFolder

if TYPE_CHECKING:
    from mediactl.commands.demo import Platform
    from mediactl.local.plane import Endpoints, Plane, Status

FOLLOW_SECONDS = 0.3

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder that holds everything the plane writes.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(name="local", context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Run the whole platform on this machine, from the templates that `cdk deploy` ships."""


def _plane(state_dir: Path, stage: str | None = None) -> Plane:
    try:
        from mediactl.local.plane import Plane  # noqa: PLC0415 - slow to import
    except ImportError as error:
        raise CommandError(
            f"the dependencies of the local plane are not installed: {error.name}",
            hint="pip install 'media-platform[local]'",
        ) from None
    return Plane(state_dir, stage=stage, say=output.say)


@group.command()
@state_dir_option
@json_option
@click.option("--redeploy", is_flag=True, help="Synthesize even if nothing seems to have changed.")
@click.option(
    "--stage",
    help="Stage of the app, e.g. `pair` for two regions. Default: that of the plane that is up, "
    "else `local`.",
)
def up(state_dir: Path, as_json: bool, redeploy: bool, stage: str | None) -> None:
    """Deploy the app of this folder to a local emulator and start its services.

    Does what is missing: nothing on a healthy plane, everything after a crash. The same templates
    are deployed as to AWS, with the stock CDK CLI.
    """
    started = time.monotonic()
    endpoints = _plane(state_dir, stage).up(redeploy=redeploy)
    if as_json:
        output.data(asdict(endpoints))
        return
    output.say(f"the plane is up ({time.monotonic() - started:.1f} s)")
    click.echo(f"edge      {endpoints.edge_url}")
    click.echo(f"emulator  {endpoints.emulator_url}")


@group.command()
@state_dir_option
def down(state_dir: Path) -> None:
    """Stop everything and remove what is volatile; virtual environments and logs are kept."""
    stopped = _plane(state_dir).down()
    output.say("the plane is down" if stopped else "nothing was running")


@group.command()
@state_dir_option
@click.argument("region")
def cut(state_dir: Path, region: str) -> None:
    """Cut a region off: nothing of it stops, and nobody reaches it, nor it anybody."""
    _plane(state_dir).cut(region)
    output.say(f"{region} is cut off until `mediactl local rejoin {region}`")


@group.command()
@state_dir_option
@click.argument("region")
def rejoin(state_dir: Path, region: str) -> None:
    """Make a region reachable again that was cut off."""
    _plane(state_dir).rejoin(region)
    output.say(f"{region} is reachable")


@group.command()
@state_dir_option
@json_option
@click.pass_context
def status(ctx: click.Context, state_dir: Path, as_json: bool) -> None:
    """Show services, queues and endpoints.

    Exit code 0: healthy; 5: up, but not healthy; 3: not up.
    """
    found = _plane(state_dir).status()
    if as_json:
        output.data(asdict(found))
    else:
        _show(found)
    if not found.up:
        ctx.exit(NOT_UP)
    if not found.healthy:
        ctx.exit(DEGRADED)


def _show(found: Status) -> None:
    if not found.up:
        click.echo("the plane is not up")
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    if found.endpoints:
        console.print(f"edge      {found.endpoints.edge_url}", highlight=False)
        console.print(f"emulator  {found.endpoints.emulator_url}", highlight=False)
    services = Table(title="Services")
    services.add_column("service", overflow="fold")
    for heading in ("region", "desired", "running", "healthy"):
        services.add_column(heading)
    for service in found.services:
        counts = (str(service[name]) for name in ("desired", "running", "healthy"))
        services.add_row(service["name"], service["region"], *counts)
    queues = Table(title="Queues")
    queues.add_column("queue", overflow="fold")
    for heading in ("region", "visible", "in flight"):
        queues.add_column(heading)
    for queue in found.queues:
        name = f"{queue['name']} (dead letters)" if queue["dead_letter"] else queue["name"]
        queues.add_row(name, queue["region"], str(queue["visible"]), str(queue["in_flight"]))
    console.print(services, queues)
    for problem in found.problems:
        console.print(f"problem: {problem}", highlight=False, markup=False)
    console.print("healthy" if found.healthy else "not healthy", highlight=False)


@group.command()
@state_dir_option
@click.option("--service", help="Only logs whose name contains this, e.g. api, worker, emulator.")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--lines", "-n", default=50, show_default=True, help="Lines of the past, per log.")
def logs(state_dir: Path, service: str | None, follow: bool, lines: int) -> None:
    """Show what the services and the plane itself log."""
    folder = StateFolder(state_dir).logs
    chosen = _chosen_logs(folder, service)
    if not chosen and not follow:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        raise CommandError(
            f"no log in {folder} has {service!r} in its name"
            if service
            else f"there are no logs in {folder}",
            hint=f"logs: {known}",
        )
    positions: dict[Path, int] = {}
    for file in chosen:
        content = file.read_bytes()
        positions[file] = len(content)
        past = content.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []
        for line in past:
            click.echo(f"{file.stem} | {line}")
    while follow:
        for file in _chosen_logs(folder, service):
            for line in _new_lines(file, positions):
                click.echo(f"{file.stem} | {line}")
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
@state_dir_option
@click.option("--role", help="Only roles whose name contains this.")
@click.option("--denied", is_flag=True, help="Only calls that were refused.")
@json_option
def calls(state_dir: Path, role: str | None, denied: bool, as_json: bool) -> None:
    """Show which calls roles made, and whether their policies allow them.

    Objects are shown by the start of their key; JSON names each.
    """
    from mediactl.local.recorded_calls import grouped, read_calls  # noqa: PLC0415

    found = sorted(
        {
            (call.role, call.action, call.resource if as_json else grouped(call), call.allowed)
            for call in read_calls(StateFolder(state_dir).calls_file)
            if (role or "").lower() in call.role.lower() and not (denied and call.allowed)
        }
    )
    if as_json:
        names = ("role", "action", "resource", "allowed")
        output.data([dict(zip(names, call, strict=True)) for call in found])
        return
    if not found:
        output.say("no calls")
    for name, action, resource, allowed in found:
        click.echo(f"{'allowed' if allowed else 'DENIED ':7} {name} {action} {resource}")


@group.command()
@state_dir_option
@click.option(
    "--video",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to upload. Default: a 20 s clip with motion, a clock and sound, made here.",
)
def demo(state_dir: Path, video: Path | None) -> None:
    """Run the main job once: sign in, upload, transcode, play. The plane stays up."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    from mediactl.commands import demo as main_job  # noqa: PLC0415

    if video is not None:
        main_job.content_type_of(video)
    file = state_dir / "demo.json"
    file.unlink(missing_ok=True)
    platform = platform_of(_plane(state_dir).up())
    chosen = video or main_job.sample_video(state_dir)
    report = main_job.run(platform, chosen, Console(stderr=True))
    main_job.write(report, file)
    Console().print(main_job.summary(report, chosen))
    output.say(
        f"the report is {file}; the plane stays up until `mediactl local down`"
        " (in a checkout: `make down`)"
    )


def platform_of(endpoints: Endpoints) -> Platform:
    """Return what the demo needs to know of a running plane."""
    from media_platform.contract.outputs import MediaOutput  # noqa: PLC0415
    from mediactl.commands.demo import Platform  # noqa: PLC0415

    pool = endpoints.output(MediaOutput.USER_POOL_ID)
    return Platform(
        edge_url=endpoints.edge_url,
        endpoint_url=endpoints.emulator_url,
        region=pool.partition("_")[0],
        user_pool_id=pool,
        client_id=endpoints.output(MediaOutput.USER_POOL_CLIENT_ID),
    )


@contextlib.contextmanager
def running_platform(state_dir: Path = DEFAULT_FOLDER) -> Iterator[tuple[Any, Path]]:
    """Bring the plane up for a program, and take it down afterwards if it was not up before."""
    plane = _plane(state_dir)
    was_up = plane.status().up
    try:
        yield platform_of(plane.up()), state_dir
    finally:
        if not was_up:
            plane.down()
