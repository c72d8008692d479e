"""``mediactl deploy``, ``diff``, ``synth``, ``destroy``, ``bootstrap``: the CDK app of a stage."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mediactl import output
from mediactl.deployed import count
from mediactl.errors import DEGRADED, CommandError
from mediactl.options import (
    Consent,
    consent_option,
    dry_run_option,
    environment_option,
    json_option,
)

if TYPE_CHECKING:
    from mediactl.checking.smoke import SmokeReport
    from mediactl.deploying.bootstrap import Bootstraps
    from mediactl.deploying.changes import ResourceChange, StackChange
    from mediactl.deploying.deployment import Deployment
    from mediactl.deploying.destruction import Destruction
    from mediactl.deploying.difference import Difference
    from mediactl.deploying.synthesis import Synthesis
    from mediactl.environment import Environment


@click.command("deploy")
@environment_option
@click.option(
    "--stack", "only", multiple=True, metavar="ID", help="Only this stack, with those it needs."
)
@click.option(
    "--wait",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="Seconds that API and admin service have to answer afterwards; 0 asks neither.",
)
@click.option(
    "--smoke", is_flag=True, help="Upload, play and delete a clip afterwards, as `mediactl smoke`."
)
@consent_option
@dry_run_option
@json_option("mediactl.deploying.deployment:Deployment")
def deploy_command(
    *,
    environment: Environment,
    only: tuple[str, ...],
    wait: int,
    smoke: bool,
    consent: Consent,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Deploy the app of this folder to an environment.

    It runs the stock CDK CLI, in as many deployments as the regions of the stage need: a region
    that is new gets its store first and becomes a member with the next. What was interrupted goes
    on where it stood. A plane on this machine is brought up, as by `mediactl local up`.

    Before anything changes, it checks credentials, bootstrap and the state of the stacks. A change
    that would replace or remove what holds data needs --yes, or --confirm NAME where the
    environment is protected. If a deployment fails, what failed first is told.

    \b
    Examples:
      mediactl deploy -e local
      mediactl deploy -e dev --dry-run
      mediactl deploy -e prod --json
    """
    from mediactl.checking.reach import reach  # noqa: PLC0415
    from mediactl.deploying.deployment import deploy  # noqa: PLC0415 - slow to import
    from mediactl.deploying.versions import remember_working, way_back  # noqa: PLC0415

    done = deploy(environment, consent=consent, say=output.say, only=only, dry_run=dry_run)
    if wait and not dry_run and not only:
        done = replace(done, reached=reach(environment.base_url, seconds=wait))
    if smoke and not dry_run and not done.problems:
        done = replace(done, smoke=_smoke(environment))
    output.show(done, as_json, _show_deployment)
    if done.problems:
        raise CommandError(
            f"it is deployed, but does not work: {'; '.join(done.problems)}",
            hint=f"{way_back(environment)}; `mediactl doctor -e {environment.name}` says more",
            exit_code=DEGRADED,
        )
    if done.reached:
        remember_working(environment)


def _smoke(environment: Environment) -> SmokeReport:
    from mediactl.checking.smoke import CLIP, Smoke, Step  # noqa: PLC0415 - slow to import

    def tell(what: str | Step) -> None:
        if isinstance(what, Step):
            output.say(f"{what.name}: {what.result}, {what.seconds:.1f} s")

    token = os.environ.get("MEDIACTL_TOKEN") or None
    # What is purged later is purged by a schedule that no deployment has to wait for.
    return Smoke(environment, CLIP, purge=False, access_token=token, tell=tell).run()


def _show_deployment(done: Deployment) -> None:
    if not done.stacks:
        for command in done.commands:
            click.echo(command)
        return
    for stack in done.stacks:
        click.echo(f"{stack.stack} in {stack.region}: {stack.status}")
        # What stacks export to each other tells people nothing, and maps of URLs are for programs.
        named = {
            name: value
            for name, value in stack.outputs.items()
            if not name.startswith(_EXPORT) and not value.startswith("{")
        }
        width = max(map(len, named), default=0)
        for name, value in sorted(named.items()):
            click.echo(f"  {name:{width}}  {value}")
    for reached in done.reached:
        output.say(f"{reached.name}: {reached.seen}")


@click.command("diff")
@environment_option
@click.option("--full", is_flag=True, help="Show also what `cdk diff` says, e.g. of policies.")
@json_option("mediactl.deploying.difference:Difference")
@click.pass_context
def diff_command(ctx: click.Context, environment: Environment, full: bool, as_json: bool) -> None:
    """Show what a deployment would change, and what of that would lose data.

    Exit code 0: nothing differs; 5: something does. It tells of every resource that holds data, or
    that others know by its id, and would be replaced or removed. Whether any other is replaced,
    CloudFormation decides; `--full` asks it.

    \b
    Examples:
      mediactl diff -e local
      mediactl diff -e prod --json
    """
    from mediactl.deploying.difference import difference  # noqa: PLC0415 - slow to import
    from mediactl.deploying.stage import CdkStage  # noqa: PLC0415

    stage = CdkStage(environment, output.say)
    found = difference(stage)
    output.show(found, as_json, _show_difference)
    if full:
        stage.run(["diff", "--all", "--app", str(stage.assembly)], heard=output.say)
    ctx.exit(DEGRADED if found.differs else 0)


_EXPORT = "ExportsOutput"
"""How the CDK begins the names of outputs that it makes for other stacks."""

_MARKS = {"add": "+", "change": "~", "replace": "!", "remove": "-"}


def _show_difference(found: Difference) -> None:
    for stack in found.stacks:
        _show_stack_change(stack)
    lost = [one for stack in found.stacks for one in stack.resources if one.loses]
    if lost:
        click.echo(
            f"{count(len(lost), 'resource')} would be lost to the stage, with what it holds:"
        )
        for resource in lost:
            click.echo(f"  {_told(resource)}")
    elif found.differs:
        click.echo("no data is lost")


def _show_stack_change(stack: StackChange) -> None:
    where = f"{stack.stack} in {stack.region}"
    if stack.change == "none":
        click.echo(f"{where}: no difference")
        return
    if stack.change == "left":
        click.echo(f"{where}: deployed, but no longer in the app; a deployment leaves it")
        return
    number = count(len(stack.resources), "resource")
    if stack.change == "new":
        click.echo(f"{where}: new, {number}")
        return
    click.echo(f"{where}: {number} differ" + ("s" if len(stack.resources) == 1 else ""))
    for resource in stack.resources:
        click.echo(f"  {_MARKS[resource.change]} {_told(resource)}")
    for section in stack.sections:
        click.echo(f"  ~ {section}")


def _told(resource: ResourceChange) -> str:
    text = f"{resource.path} ({resource.type})"
    if resource.properties:
        text += f": {', '.join(resource.properties)}"
    if resource.loses:
        what = "is replaced" if resource.change == "replace" else "is removed"
        text += f"; it {what}, and what it holds is {'kept outside' if resource.kept else 'LOST'}"
    return text


@click.command("synth")
@environment_option
@click.option(
    "--validate", is_flag=True, help="Ask also rule packs and schemas of CloudFormation (20 s)."
)
@json_option("mediactl.deploying.synthesis:Synthesis")
def synth_command(environment: Environment, validate: bool, as_json: bool) -> None:
    """Write the templates of an environment, and list them.

    It asks nobody but, for the account, AWS; where that is configured, it works offline.

    \b
    Examples:
      mediactl synth -e local
      mediactl synth -e prod --validate --json
    """
    from mediactl.deploying.synthesis import synthesize  # noqa: PLC0415 - slow to import

    made = synthesize(environment, say=output.say, validate=validate)
    output.show(made, as_json, _show_synthesis)


def _show_synthesis(made: Synthesis) -> None:
    table = output.table("stack", "region")
    table.add_column("resources", justify="right")
    for stack in made.stacks:
        table.add_row(stack.stack, stack.region, str(stack.resources))
    output.console().print(table)
    click.echo(f"templates are in {_short(made.assembly)}")


def _short(path: str) -> str:
    """Return a path as seen from here, if it is below."""
    return (
        str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
    )


@click.command("destroy")
@environment_option
@consent_option
@dry_run_option
@json_option("mediactl.deploying.destruction:Destruction")
def destroy_command(
    environment: Environment, consent: Consent, dry_run: bool, as_json: bool
) -> None:
    """Destroy all stacks of an environment, in every region, and say what stays.

    Buckets of a stage that keeps no data (`retain_data` is false) are emptied and go; else buckets,
    table, users, keys and secrets stay, and their names stay taken. What stays is listed, with
    --dry-run before. A plane on this machine stays up, without stacks.

    \b
    Examples:
      mediactl destroy -e dev --dry-run
      mediactl destroy -e dev --yes
      mediactl destroy -e prod --confirm prod
    """
    from mediactl.deploying.destruction import destroy  # noqa: PLC0415 - slow to import

    done = destroy(environment, consent=consent, say=output.say, dry_run=dry_run)
    output.show(done, as_json, _show_dry_destruction if dry_run else _show_destruction)


def _show_dry_destruction(done: Destruction) -> None:
    for command in done.commands:
        click.echo(command)
    for stack in done.stacks:
        click.echo(f"destroys {stack}")
    for one in done.left:
        click.echo(f"keeps {one.type} {one.id}, of {one.stack} in {one.region}")


def _show_destruction(done: Destruction) -> None:
    for stack in done.stacks:
        click.echo(f"destroyed {stack}")
    for one in done.left:
        click.echo(f"kept {one.type} {one.id}, of {one.stack} in {one.region}")
    output.say(
        "KMS keys that go wait 30 days; images and code stay in the CDK bootstrap until `cdk gc`"
    )


@click.command("bootstrap")
@environment_option
@dry_run_option
@json_option("mediactl.deploying.bootstrap:Bootstraps")
def bootstrap_command(environment: Environment, dry_run: bool, as_json: bool) -> None:
    """Make every region of an environment ready for the CDK, where it is not.

    That is once for each account and region, also for us-east-1, where CloudFront has its
    certificates. Regions whose bootstrap is new enough are left as they are.

    \b
    Examples:
      mediactl bootstrap -e dev --dry-run
      mediactl bootstrap -e prod
    """
    from mediactl.deploying.bootstrap import bootstrap  # noqa: PLC0415 - slow to import

    done = bootstrap(environment, say=output.say, dry_run=dry_run)
    output.show(done, as_json, lambda shown: _show_bootstraps(shown, dry_run=dry_run))


def _show_bootstraps(done: Bootstraps, *, dry_run: bool) -> None:
    for one in done.regions:
        if one.command is None:
            click.echo(f"{one.region}: version {one.version}, needed is {one.needed}")
        elif dry_run:
            click.echo(one.command)
        else:
            click.echo(f"{one.region}: bootstrapped")
