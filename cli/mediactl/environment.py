"""Environments: what ``--env NAME`` names, and how it is reached.

``local`` and ``local-…`` are planes on this machine, in the state folders ``.local`` and
``.local-…``. Every other name is a stage in AWS. What is known of it comes from, the first that
says it:

1. ``mediactl.toml`` of this folder or the nearest above, or the file ``MEDIACTL_CONFIG`` names;
2. ``mediactl/config.toml`` in ``$XDG_CONFIG_HOME`` (``~/.config``);
3. the stage of that name in ``cdk.json`` of the app.

```toml
env = "dev"                            # environment of commands that name none

[environments.prod]
stage = "prod"                         # default: the name of the environment
regions = ["us-east-1", "eu-west-1"]   # the first has the users; default: those of cdk.json
profile = "media-prod"                 # AWS profile; default: the usual AWS variables
account = "111122223333"               # others are refused; default: that of cdk.json, else any
protected = true                       # default: unless cdk.json says "retain_data": false
app = "."                              # folder of the CDK app, from here; default: this folder

[environments.local]
state_dir = ".local"                   # a plane on this machine
```
"""

from __future__ import annotations

import json
import os
import re
import threading
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media_platform.contract.outputs import (
    EdgeOutput,
    MediaOutput,
    StackPart,
    StoreOutput,
    stack_name,
)
from mediactl.errors import (
    NOT_FOUND,
    REFUSED,
    USAGE,
    CommandError,
    LostRegionError,
    NotDeployedError,
)
from mediactl.limits import AWS, patient
from mediactl.suggestions import meant

if TYPE_CHECKING:
    from mediactl.local.plane import Plane

PROJECT_FILE = "mediactl.toml"
LOCAL = "local"
CLOUDFRONT_REGION = "us-east-1"
"""Region of what CloudFront takes from no other: certificates and web ACLs."""

_PLANE_NAME = re.compile(r"[\w.-]{1,64}")
"""Names of planes are also those of their folders."""

_KEYS: dict[str, type] = {
    "stage": str,
    "regions": list,
    "profile": str,
    "account": str,
    "protected": bool,
    "app": str,
    "state_dir": str,
}


class Environment(ABC):
    """A deployed stage, on this machine or in AWS.

    Attributes:
        name: As the person calls it.
        protected: Whether what destroys must be confirmed by the name.
        app: Folder of the CDK app.
    """

    def __init__(self, name: str, *, protected: bool, app: Path) -> None:
        self.name = name
        self.protected = protected
        self.app = app
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.RLock()
        self._lost: dict[str, LostRegionError] = {}
        self._outputs: dict[tuple[StackPart, str], dict[str, str]] = {}

    @property
    @abstractmethod
    def stage(self) -> str:
        """Stage of the CDK app."""

    @property
    @abstractmethod
    def regions(self) -> tuple[str, ...]:
        """Regions of the stage, the first of which is :attr:`home_region`."""

    @property
    @abstractmethod
    def base_url(self) -> str:
        """The one origin that clients know, without a final slash."""

    @property
    def stage_regions(self) -> tuple[str, ...]:
        """Regions that the stage is to have: those of cdk.json, else those that are known."""
        stage = _stage(self.app, self.stage) or {}
        return tuple(one["name"] for one in stage.get("regions", [])) or self.regions

    @property
    def home_region(self) -> str:
        """Region of the users and of the admin service."""
        return self.regions[0]

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        return isinstance(self, LocalEnvironment)

    @abstractmethod
    def _make_client(self, service: str, region: str) -> Any:
        """Return a new botocore client; nothing is asked over the network."""

    def _check_region(self, region: str) -> None:  # noqa: B027 - most have nothing to check
        """Check that a region may be asked, before it is for the first time."""

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a botocore client, made once for each service and region; threads may ask for it.

        Args:
            service: Name of the service as botocore knows it.
            region: Region. Default: the home region.

        Raises:
            CommandError: If the credentials are those of another account, the plane is not up, or
                the region is lost.
        """
        key = (service, region or self.home_region)
        if key[1] in self._lost:
            raise self._lost[key[1]]
        if key not in self._clients:
            # It asks the region, and regions do not wait for each other.
            self._check_region(key[1])
            with self._lock:
                if key not in self._clients:
                    self._clients[key] = self._make_client(*key)
        return self._clients[key]

    def require_reachable(self, region: str) -> None:  # noqa: B027 - AWS is asked itself
        """Check that nobody knows already that a region does not answer.

        Raises:
            LostRegionError: If it does not.
        """

    def lose(self, region: str, error: LostRegionError) -> None:
        """Ask a region no more, since it does not answer: each time would cost a limit.

        Args:
            region: The region.
            error: What is raised in place of it.
        """
        self._lost[region] = error

    def find_lost(self) -> None:
        """Ask those regions again that did not answer."""
        self._lost.clear()

    def outputs(self, part: StackPart, region: str | None = None) -> dict[str, str]:
        """Return the outputs of a stack by name; they are read once.

        Args:
            part: Which stack.
            region: Region. Default: the home region, and for the Edge stack where that is.

        Raises:
            CommandError: If the stack is not deployed there.
        """
        return self._found(part, region)[1]

    @cached_property
    def edge_region(self) -> str:
        """Region of the Edge stack.

        Raises:
            CommandError: If it is not deployed.
        """
        return self._found(StackPart.EDGE, None)[0]

    def _found(self, part: StackPart, region: str | None) -> tuple[str, dict[str, str]]:
        """Return where a stack is, and its outputs."""
        if region is not None:
            places = [region]
        elif part is StackPart.EDGE:
            places = list(dict.fromkeys([CLOUDFRONT_REGION, *self.regions]))
        else:
            places = [self.home_region]
        for place in places:
            found = self._outputs.get((part, place)) or self._read_outputs(part, place)
            if found is not None:
                self._outputs[part, place] = found
                return place, found
        raise NotDeployedError(
            f"{self.name} is not deployed: there is no stack {stack_name(self.stage, part)}"
            f" in {', '.join(places)}",
            hint=f"run `mediactl deploy -e {self.name}`, or check stage and regions of the"
            " environment",
            exit_code=NOT_FOUND,
        )

    def output(
        self, name: StoreOutput | MediaOutput | EdgeOutput, region: str | None = None
    ) -> str:
        """Return an output of the stack that has outputs of this kind.

        Args:
            name: Name of the output.
            region: Region of the stack. Default: as for :meth:`outputs`.

        Raises:
            CommandError: If the stack is not deployed, or has no such output.
        """
        part = _PART_OF[type(name)]
        outputs = self.outputs(part, region)
        if name.value not in outputs:
            raise NotDeployedError(
                f"stack {stack_name(self.stage, part)} has no output {name.value}",
                hint="the stage does not have it, or an older version deployed it",
                exit_code=NOT_FOUND,
            )
        return outputs[name.value]

    def plane(self, stage: str | None = None) -> Plane:
        """Return the plane of a local environment.

        Args:
            stage: Stage to bring it up with. Default: that which is deployed, else ``local``.

        Raises:
            CommandError: If it is in AWS.
        """
        del stage
        raise CommandError(
            f"{self.name} is in AWS, and this can be done on this machine only",
            hint="name a local environment, e.g. `-e local`",
            exit_code=USAGE,
        )

    def stack(self, name: str, region: str) -> dict[str, Any] | None:
        """Return what CloudFormation says of a stack now, ``None`` if it is not deployed.

        Args:
            name: Name of the stack.
            region: Its region.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

        try:
            (stack,) = self.client("cloudformation", region).describe_stacks(StackName=name)[
                "Stacks"
            ]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        described: dict[str, Any] = stack
        return described

    def stack_status(self, name: str, region: str) -> str | None:
        """Return the status of a stack now, ``None`` if it is not deployed.

        Args:
            name: Name of the stack.
            region: Its region.
        """
        described = self.stack(name, region)
        return None if described is None else str(described["StackStatus"])

    def stands(self, part: StackPart, region: str) -> bool:
        """Return whether a stack stands now, and is no remnant of one that could not be made.

        Args:
            part: Which stack.
            region: Its region.
        """
        return is_made(self.stack_status(stack_name(self.stage, part), region))

    def _read_outputs(self, part: StackPart, region: str) -> dict[str, str] | None:
        stack = self.stack(stack_name(self.stage, part), region)
        return outputs_of(stack) if stack and is_made(stack["StackStatus"]) else None


_NEVER_MADE = {
    "REVIEW_IN_PROGRESS",
    "CREATE_FAILED",
    "ROLLBACK_IN_PROGRESS",
    "ROLLBACK_FAILED",
    "ROLLBACK_COMPLETE",
    "DELETE_COMPLETE",
}
"""Statuses of stacks that nobody can use, although they have a name."""


def is_made(status: str | None) -> bool:
    """Return whether a stack with a status was ever made, and has outputs.

    Args:
        status: Its status, ``None`` if there is no such stack.
    """
    return status is not None and status not in _NEVER_MADE


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of a stack that CloudFormation described, by name."""
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}


_PART_OF: dict[type, StackPart] = {
    StoreOutput: StackPart.STORE,
    MediaOutput: StackPart.MEDIA,
    EdgeOutput: StackPart.EDGE,
}


class LocalEnvironment(Environment):
    """A plane on this machine; its stage and regions are those that were deployed to it.

    Attributes:
        state_dir: State folder of the plane.
    """

    def __init__(self, name: str, *, state_dir: Path, app: Path, protected: bool = False) -> None:
        super().__init__(name, protected=protected, app=app)
        self.state_dir = state_dir

    @cached_property
    def stage(self) -> str:
        """Stage that is deployed, ``local`` before anything is."""
        from mediactl.local.deploy import Deployed  # noqa: PLC0415 - slow to import
        from mediactl.local.state import StateFolder, read_state  # noqa: PLC0415

        deployed = read_state(StateFolder(self.state_dir).deployed_file, Deployed)
        return deployed.stage if deployed else LOCAL

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Regions that are deployed, that with the users first.

        Raises:
            CommandError: If the plane is not up.
        """
        found = self.plane().endpoints().regions
        if len(found) == 1:
            return tuple(found)
        # As the plane itself knows them: one that is cut off may be the one with the users.
        outputs = self.plane().endpoints().outputs
        media = stack_name(self.stage, StackPart.MEDIA)
        home, pool = outputs.get(media, {}), MediaOutput.USER_POOL_ID
        return tuple(sorted(found, key=lambda one: pool not in outputs.get(f"{media}@{one}", home)))

    @cached_property
    def base_url(self) -> str:
        """URL of the edge.

        Raises:
            CommandError: If the plane is not up.
        """
        return self.plane().endpoints().edge_url

    def plane(self, stage: str | None = None) -> Plane:
        """Return the plane.

        Args:
            stage: Stage to bring it up with. Default: that which is deployed, else ``local``.
        """
        try:
            from mediactl.local.plane import Plane  # noqa: PLC0415 - slow to import
        except ImportError as error:
            raise CommandError(
                f"the dependencies of the local plane are not installed: {error.name}",
                hint="pip install 'media-platform[local]'",
            ) from None
        from mediactl import output  # noqa: PLC0415

        return Plane(self.state_dir, app=self.app, stage=stage, say=output.say)

    def require_reachable(self, region: str) -> None:
        """Check that a region is not cut off: its emulator would answer nevertheless.

        Raises:
            LostRegionError: If it is.
        """
        if region in self.plane().cut_off():
            raise LostRegionError(
                f"{region} is cut off", hint=f"mediactl local rejoin {region} -e {self.name}"
            )

    def _make_client(self, service: str, region: str) -> Any:
        return self.plane().emulator().patient_client(service, region)


class AwsEnvironment(Environment):
    """A stage in AWS.

    Attributes:
        account: The only account that is accepted, or ``None``.
    """

    def __init__(
        self,
        name: str,
        *,
        stage: str,
        regions: tuple[str, ...],
        app: Path,
        protected: bool = True,
        profile: str | None = None,
        account: str | None = None,
    ) -> None:
        super().__init__(name, protected=protected, app=app)
        self._stage = stage
        self._regions = regions
        self.profile = profile
        self.account = account
        self._account_is_right = account is None

    @property
    def stage(self) -> str:
        """Stage of the CDK app."""
        return self._stage

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions, as configured."""
        return self._regions

    @cached_property
    def base_url(self) -> str:
        """URL that the Edge stack tells."""
        return self.output(EdgeOutput.BASE_URL)

    @cached_property
    def _session(self) -> Any:
        import botocore.session  # noqa: PLC0415 - slow to import

        return botocore.session.Session(profile=self.profile)

    def _check_region(self, region: str) -> None:
        if not self._account_is_right:
            # Asked in the region that is needed: the home region may be the one that is lost.
            with self._lock:
                sts = self._make_client("sts", region)
            self._check_account(sts)
            self._account_is_right = True

    def _make_client(self, service: str, region: str) -> Any:
        from mediactl.aws_calls import hold, limited  # noqa: PLC0415 - slow to import

        limits = patient(AWS)
        config = limited(limits, user_agent_extra="mediactl")
        client = self._session.create_client(service, region, config=config)
        hold(client, limits)
        return client

    def _check_account(self, sts: Any) -> None:
        actual = sts.get_caller_identity()["Account"]
        if actual != self.account:
            raise CommandError(
                f"the credentials are of account {actual}, {self.name} is in {self.account}",
                hint=f"use a profile of that account: AWS_PROFILE, or `profile` in {PROJECT_FILE}",
                exit_code=REFUSED,
            )


def load_environment(name: str | None = None) -> Environment:
    """Return the environment of that name; nothing is asked over the network.

    Args:
        name: Its name. Default: ``env`` of the configuration, else ``local``.

    Raises:
        CommandError: If there is none, or the configuration cannot be read.
    """
    files = _configuration_files()
    tables = {file: _read_configuration(file) for file in files}
    if name is None:
        name = next((table["env"] for table in tables.values() if "env" in table), LOCAL)
    settings: dict[str, Any] = {}
    for file, table in reversed(tables.items()):
        for key, value in table.get("environments", {}).get(name, {}).items():
            # What a file names lies beside the file, wherever the command is run.
            is_path = key in {"app", "state_dir"}
            settings[key] = str(file.parent / Path(value).expanduser()) if is_path else value
    app = Path(settings.pop("app", "."))
    if "state_dir" in settings or is_local_name(name):
        if _PLANE_NAME.fullmatch(name) is None:
            raise CommandError(
                f"{name!r} is no name of a plane on this machine",
                hint=f"take letters, digits, dots and dashes, e.g. {LOCAL}-blue",
                exit_code=USAGE,
            )
        state_dir = Path(settings.get("state_dir", f".{name}"))
        return LocalEnvironment(
            name, state_dir=state_dir, app=app, protected=settings.get("protected", False)
        )
    return _aws_environment(name, settings, app, known=_names(tables, app))


def environment_names() -> list[str]:
    """Return the names of the environments that are known in this folder, and of its planes.

    Raises:
        CommandError: If a configuration cannot be read.
    """
    tables = {file: _read_configuration(file) for file in _configuration_files()}
    here = Path()
    planes = {folder.name.removeprefix(".") for folder in here.glob(f".{LOCAL}-*")}
    return sorted({*_names(tables, here), *planes})


def is_local_name(name: str) -> bool:
    """Return whether a name is one of a plane on this machine."""
    return name == LOCAL or name.startswith(f"{LOCAL}-")


def _aws_environment(
    name: str, settings: dict[str, Any], app: Path, known: list[str]
) -> AwsEnvironment:
    stage_name_ = settings.get("stage", name)
    stage = _stage(app, stage_name_)
    if stage is None and name not in known:
        raise CommandError(
            f"there is no environment {name!r}, known are {', '.join(known)}",
            hint=meant(name, known)
            or f"write [environments.{name}] to {PROJECT_FILE}, or add a stage to cdk.json",
            exit_code=USAGE,
        )
    stage = stage or {}
    regions = settings.get("regions") or [one["name"] for one in stage.get("regions", [])]
    if not regions:
        raise CommandError(
            f"the regions of environment {name!r} are not known",
            hint=f"write `regions = […]` below [environments.{name}] in {PROJECT_FILE}, or add"
            f" stage {stage_name_!r} to {app / 'cdk.json'}",
            exit_code=USAGE,
        )
    return AwsEnvironment(
        name,
        stage=stage_name_,
        regions=tuple(regions),
        app=app,
        protected=settings.get("protected", stage.get("retain_data", True)),
        profile=settings.get("profile"),
        account=settings.get("account", stage.get("account")),
    )


def _names(tables: Mapping[Path, dict[str, Any]], app: Path) -> list[str]:
    names = {LOCAL, *_stages(app)}
    for table in tables.values():
        names |= set(table.get("environments", {}))
    return sorted(names)


def _configuration_files() -> list[Path]:
    """Return the files that there are, the one that counts most first."""
    named = os.environ.get("MEDIACTL_CONFIG")
    if named:
        if not Path(named).is_file():
            raise CommandError(
                f"MEDIACTL_CONFIG names {named}, which is no file",
                hint="name a file, or unset the variable",
                exit_code=USAGE,
            )
        project: Path | None = Path(named)
    else:
        here = Path.cwd()
        found = (folder / PROJECT_FILE for folder in (here, *here.parents))
        # Also one that is a folder, or a link to nowhere: it says something that would be missed.
        project = next((file for file in found if os.path.lexists(file)), None)
    settings = user_folder("XDG_CONFIG_HOME", ".config")
    user = settings / "mediactl" / "config.toml" if settings else None
    there = [file for file in (project, user) if file is not None and os.path.lexists(file)]
    for file in there:
        if not file.is_file():
            raise CommandError(
                f"{file} is no file", hint="make it one, or remove it", exit_code=USAGE
            )
    return there


def user_folder(variable: str, default: str) -> Path | None:
    """Return a folder of the person on this machine, ``None`` if there is none.

    Args:
        variable: Variable that names it.
        default: Where it is below the home folder otherwise.
    """
    named = os.environ.get(variable)
    if named:
        return Path(named)
    try:
        return Path.home() / default
    except RuntimeError:
        # As in a container whose user has no name and no HOME.
        return None


def _read_configuration(file: Path) -> dict[str, Any]:
    """Return what a file says.

    Raises:
        CommandError: If it says what is not understood.
    """
    try:
        table = tomllib.loads(file.read_text())
        problem = _problem_of(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"it is no TOML: {error}"
    if problem is not None:
        raise CommandError(
            f"{file}: {problem}",
            hint="docs/mediactl.md says what may stand there",
            exit_code=USAGE,
        )
    return table


def _problem_of(table: dict[str, Any]) -> str | None:
    """Return what is wrong with a configuration."""
    unknown = table.keys() - {"env", "environments"}
    if unknown:
        return f"unknown key {min(unknown)!r}, allowed are env, environments"
    if not isinstance(table.get("env", ""), str):
        return f"env is {table['env']!r}, and must be the name of an environment"
    environments = table.get("environments", {})
    if not isinstance(environments, dict):
        return "environments is no table; write [environments.NAME]"
    problems = (_problem_of_one(name, settings) for name, settings in environments.items())
    return next((problem for problem in problems if problem is not None), None)


def _problem_of_one(name: str, settings: Any) -> str | None:
    """Return what is wrong with the settings of an environment."""
    where = f"environments.{name}"
    if not isinstance(settings, dict):
        return f"{where} is no table; write [{where}]"
    for key, value in settings.items():
        if key not in _KEYS:
            return f"unknown key {key!r} below {where}, allowed are {', '.join(sorted(_KEYS))}"
        kind = _KEYS[key]
        right = isinstance(value, kind)
        if kind is str:
            right = _is_text(value)
        if kind is list:
            right = right and bool(value) and all(_is_text(one) for one in value)
        if not right:
            return f"{where}.{key} is {value!r}, and must be {_EXPECTED[kind]}"
    return None


def _is_text(value: object) -> bool:
    """Return whether a value is a text that can be shown, and part of a path."""
    return isinstance(value, str) and value.isprintable()


_EXPECTED = {
    str: "a text in quotes, without control characters",
    bool: "true or false",
    list: "a list of texts, with one at least",
}


def _stages(app: Path) -> dict[str, Any]:
    """Return the stages of the app of a folder, by name; none where it is no such app.

    Raises:
        CommandError: If its ``cdk.json`` is no JSON.
    """
    file = app / "cdk.json"
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CommandError(
            f"{file} is no JSON: {error}", hint="mend it, or go to another folder", exit_code=USAGE
        ) from None
    context = content.get("context") if isinstance(content, dict) else None
    stages = context.get("stages") if isinstance(context, dict) else None
    return stages if isinstance(stages, dict) else {}


def _stage(app: Path, name: str) -> dict[str, Any] | None:
    """Return a stage of the app of a folder, ``None`` if it has none of that name.

    Raises:
        CommandError: If ``cdk.json`` is no JSON, or its stage has no regions as a stage has them.
    """
    stage = _stages(app).get(name)
    regions = stage.get("regions", []) if isinstance(stage, dict) else None
    if stage is None or (
        isinstance(regions, list)
        and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in regions)
    ):
        return stage
    raise CommandError(
        f"{app / 'cdk.json'}: the regions of stage {name!r} cannot be read",
        hint='a stage is an object with `"regions": [{"name": "eu-west-1", …}, …]`',
        exit_code=USAGE,
    )
