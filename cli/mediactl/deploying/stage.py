"""The CDK app of an environment: synthesized, looked up in CloudFormation, deployed, destroyed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from mediactl.deploying.assembly import AssemblyStack, assembly_stacks
from mediactl.deploying.cdk import (
    OPTIONS,
    cdk_command,
    deploying,
    destroying,
    require_app,
    run_cdk,
    synthesizing,
)
from mediactl.deploying.settled import check_not_busy, failed_change, is_busy
from mediactl.environment import PROJECT_FILE, Environment, LocalEnvironment
from mediactl.errors import REFUSED, USAGE, CommandError
from mediactl.failures import explain
from mediactl.local.state import StateFolder
from mediactl.locks import alone

CHANGES = "changes"
"""Folder of who deploys or destroys."""

TOOLKIT = "CDKToolkit"
"""Name of the stack of the CDK bootstrap."""

_OVERTAKEN = "_IN_PROGRESS state and can not be updated"
"""How CloudFormation refuses a change while there is another."""

NOWHERE = "http://127.0.0.1:9"
"""Endpoint that answers nobody: a plane that is down can be synthesized, too."""


class CdkStage:
    """The CDK app of an environment: synthesized, compared with what is deployed, deployed.

    Args:
        environment: The environment.
        say: Tells the person a line.
        offline: Whether nobody is asked for the account; the app gets that of the configuration,
            if there is one.
        folder: Folder of what is written, below that of the environment. Who deploys has one of
            his own, so that others may look meanwhile.

    Raises:
        CommandError: If its folder holds no app, or one whose stage has another home region.
    """

    def __init__(
        self,
        environment: Environment,
        say: Callable[[str], None],
        *,
        offline: bool = False,
        folder: str = "",
    ) -> None:
        self.environment = environment
        self._say = say
        self._offline = offline
        self._app = environment.app.resolve()
        require_app(self._app)
        _check_home_region(environment)
        self._root = stage_folder(environment) / folder
        self.assembly = self._root / "assembly"
        self.log = self._root / "cdk.log"
        self._claims = ExitStack()

    @cached_property
    def account(self) -> str:
        """Account of the environment: that of the configuration, else that of the credentials."""
        known: str | None = getattr(self.environment, "account", None)
        return known or self.environment.client("sts").get_caller_identity()["Account"]

    # --- the CDK CLI ----------------------------------------------------------------------

    def command(self, arguments: Sequence[str]) -> str:
        """Return a command of the CDK CLI as a person would type it."""
        import shlex  # noqa: PLC0415 - for --dry-run alone

        return shlex.join([*cdk_command(self._app), *arguments, *self._profile(), *OPTIONS])

    def run(
        self,
        arguments: Sequence[str],
        *,
        in_app: bool = False,
        schemas: bool = False,
        heard: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run a command of the CDK CLI.

        Args:
            arguments: The command and its arguments.
            in_app: Whether it runs in the folder of the app, which makes it synthesize.
            schemas: Whether the CDK asks the schemas of CloudFormation.
            heard: Called with every line of its output.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        run_cdk(
            self._app,
            [*arguments, *self._profile()],
            folder=self._app if in_app else self._root,
            log=self.log,
            environment={
                **self._variables(),
                "CDK_VALIDATION": "true" if schemas else "false",
            },
            heard=heard,
        )

    def _profile(self) -> list[str]:
        profile = getattr(self.environment, "profile", None)
        return ["--profile", profile] if profile else []

    def _variables(self) -> Mapping[str, str]:
        if isinstance(self.environment, LocalEnvironment):
            from mediactl.local.deploy import plane_variables  # noqa: PLC0415 - slow to import
            from mediactl.local.emulator_process import running_emulator  # noqa: PLC0415

            emulator = running_emulator(StateFolder(self.environment.state_dir))
            return plane_variables(emulator.url if emulator else NOWHERE)
        return {
            **os.environ,
            "AWS_REGION": self.environment.home_region,
        }

    def synthesizing(self, joining: Sequence[str] = (), *, rules: bool = False) -> list[str]:
        """Return the arguments that write the cloud assembly.

        Args:
            joining: Regions that get their store and nothing else yet.
            rules: Whether the rule packs of the stage are asked.
        """
        context = {"stage": self.environment.stage}
        if self._offline:
            known = getattr(self.environment, "account", None)
            context |= {"account": known} if known else {}
        elif not self.environment.is_local:
            context["account"] = self.account
        if joining:
            context["joining"] = ",".join(joining)
        if not rules:
            context["nag"] = "false"
        return synthesizing(self.assembly, context)

    def synthesize(
        self, joining: Sequence[str] = (), *, rules: bool = False, schemas: bool = False
    ) -> list[AssemblyStack]:
        """Write the cloud assembly, and return its stacks in the order of their deployment.

        Args:
            joining: Regions that get their store and nothing else yet.
            rules: Whether the rule packs of the stage are asked, which takes seconds.
            schemas: Whether the schemas of CloudFormation are asked, which takes more.

        Raises:
            CommandError: If it cannot be synthesized, or another command does so in this folder.
        """
        arguments = self.synthesizing(joining, rules=rules)
        self._root.mkdir(parents=True, exist_ok=True)
        self._claim()
        self._say("synthesizing the templates")
        self.log.unlink(missing_ok=True)
        self.run(arguments, in_app=True, schemas=schemas)
        return self.stacks()

    def _claim(self) -> None:
        """Keep others out of the folder until the command ends."""
        self._claims.close()
        command = click.get_current_context(silent=True)
        if command is not None:
            # An error that was caught may keep this object long after.
            command.call_on_close(self._claims.close)
        file = self._claims.enter_context((self._root / "lock").open("w"))
        what = f"at work on {self.environment.name} in {self._app}"
        self._claims.enter_context(alone(file, what))

    def stacks(self) -> list[AssemblyStack]:
        """Return the stacks that were synthesized last."""
        return assembly_stacks(self.assembly, default_region=self.environment.home_region)

    # --- what is deployed -----------------------------------------------------------------

    def template(self, name: str, region: str) -> dict[str, Any] | None:
        """Return the template of a deployed stack, ``None`` if there is no such stack."""
        if self.environment.stack_status(name, region) in {None, "REVIEW_IN_PROGRESS"}:
            return None
        body = self.environment.client("cloudformation", region).get_template(
            StackName=name, TemplateStage="Original"
        )["TemplateBody"]
        if isinstance(body, str):
            raise CommandError(
                f"the template of {name} in {region} is no JSON, so the CDK did not deploy it",
                hint="check the stage of the environment",
            )
        return dict(body)

    # --- changes of it --------------------------------------------------------------------

    def deploy(self, stacks: Sequence[AssemblyStack], only: Sequence[str] = ()) -> None:
        """Deploy what was synthesized.

        Args:
            stacks: Its stacks.
            only: Ids of the stacks that are meant, with those they need. Default: all.

        Raises:
            CommandError: If it fails; the text names what failed first.
            KeyboardInterrupt: On Ctrl-C, after it was told what CloudFormation still does.
        """
        self._change(deploying(self.assembly, only), stacks)

    def destroy(
        self, stacks: Sequence[AssemblyStack], only: Sequence[str] = (), *, alone: bool = False
    ) -> None:
        """Destroy what was synthesized, as :meth:`deploy` deploys.

        Args:
            stacks: Its stacks.
            only: Ids of the stacks that are meant, with those that need them. Default: all.
            alone: Whether those that need them stay.

        Raises:
            CommandError: As :meth:`deploy`, or if somebody else changes one of them.
        """
        check_not_busy(self.environment, stacks)
        self._change(destroying(self.assembly, only, alone=alone), list(reversed(stacks)))

    def bootstrap(self, region: str) -> None:
        """Bootstrap a region, as :meth:`deploy` deploys."""
        toolkit = AssemblyStack(TOOLKIT, TOOLKIT, TOOLKIT, region, self.assembly)
        with self._telling([toolkit]):
            self.run(self.bootstrapping(region))

    def bootstrapping(self, region: str) -> list[str]:
        """Return the arguments that bootstrap a region."""
        return ["bootstrap", f"aws://{self.account}/{region}"]

    def _change(self, arguments: list[str], stacks: Sequence[AssemblyStack]) -> None:
        from mediactl.deploying.progress import shown  # noqa: PLC0415 - imports rich

        with self._telling(stacks), shown(stacks, self._say) as heard:
            self.run(arguments, heard=heard)

    @contextmanager
    def _telling(self, stacks: Sequence[AssemblyStack]) -> Iterator[None]:
        """Tell of a change of stacks what failed first, or what goes on without it."""
        since = datetime.now(UTC)
        try:
            yield
        except KeyboardInterrupt:
            self._say(f"the CDK CLI was ended; {self._what_goes_on(stacks)}")
            raise
        except CommandError as error:
            if _OVERTAKEN in str(error):
                hint = "somebody else was faster: wait until that is over, and do it again"
                raise CommandError(str(error), hint=hint, exit_code=REFUSED) from None
            raise failed_change(self.environment, stacks, since, log=self.log) or error from None

    def _what_goes_on(self, stacks: Sequence[AssemblyStack]) -> str:
        tells = f"`mediactl doctor -e {self.environment.name}` tells"
        try:
            going = [
                f"{stack.name} in {stack.region} ({status})"
                for stack in stacks
                if is_busy(status := self.environment.stack_status(stack.name, stack.region))
            ]
        except Exception as error:  # noqa: BLE001 - whatever it is, the interruption counts
            return f"CloudFormation may go on, {tells}: {explain(error)}"
        if not going:
            return "CloudFormation changes no stack"
        return f"CloudFormation goes on with {', '.join(going)}: {tells} when that is over"


def stage_folder(environment: Environment) -> Path:
    """Return the folder of what is written about an environment, below that of its app."""
    if isinstance(environment, LocalEnvironment):
        return StateFolder(environment.state_dir).commands
    return environment.app.resolve() / "cdk.out" / "mediactl" / environment.name


def _check_home_region(environment: Environment) -> None:
    """Check that the app has the same region first as the configuration.

    Raises:
        CommandError: If not: its users and its table would be looked for in the wrong place.
    """
    if environment.is_local or environment.stage_regions[0] == environment.home_region:
        return
    raise CommandError(
        f"the first region of {environment.name} is {environment.home_region}, and that of its"
        f" stage {environment.stage!r} in cdk.json is {environment.stage_regions[0]}",
        hint=f"let `regions` of {environment.name} in {PROJECT_FILE} begin with that, or leave it"
        " out",
        exit_code=USAGE,
    )
