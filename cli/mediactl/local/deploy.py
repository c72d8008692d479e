"""Deploys the app of a folder onto the emulator, with the stock CDK CLI.

Whether anything has to be done is decided in two steps, and both only ever save work that would
change nothing:

1. The *inputs* are hashed: every file of the app's folder except hidden ones, tests, documents and
   what tools generate, the packages of the interpreter with their versions, and the CDK CLI. Equal
   inputs, on the emulator that has them deployed, need no synth. A stack that reads something else
   (the network, the clock, a file elsewhere) is not noticed; ``up --redeploy`` skips this step.
2. Otherwise the app is synthesized. When all templates and asset manifests equal those that were
   deployed to this emulator, nothing is deployed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mediactl.deploying.assembly import AssemblyStack, assembly_regions, assembly_stacks
from mediactl.deploying.cdk import cdk_command, deploying, run_cdk, synthesizing
from mediactl.errors import CommandError
from mediactl.local.aws import ACCOUNT, DEFAULT_REGION, Emulator, root_environment
from mediactl.local.state import StateFolder, read_state, write_json
from mediactl.local.venvs import ensure_venv

STAGE = "local"
CONTEXT_FILE = "cdk.context.json"
_NOT_INPUTS = {
    "__pycache__",
    "bench",
    "build",
    "cdk.out",
    "dist",
    "docs",
    "node_modules",
    "tests",
}
"""Folders at the top of an app that its templates do not depend on, or that tools write."""


@dataclass(frozen=True)
class Deployed:
    """What was deployed, as ``deployed.json`` holds it.

    Attributes:
        emulator: Tells the emulator from others.
        inputs: Digest of the inputs of the app.
        assembly: Digest of the cloud assembly.
        regions: Regions of the assembly.
        stage: Stage of the app.
        joining: Regions that have nothing but their store yet.
    """

    emulator: str = ""
    inputs: str = ""
    assembly: str = ""
    regions: list[str] = field(default_factory=list)
    stage: str = STAGE
    joining: list[str] = field(default_factory=list)


class Deployment:
    """The deployment of one app to one emulator.

    Args:
        app: Folder of the CDK app, with its ``cdk.json``.
        state: State folder.
        emulator: Where to.
        say: Tells the person what happens.
        stage: Stage of the app. Default: that which is deployed, else :data:`STAGE`.
        joining: Regions of the stage that get their store first, as the app's context key of that
            name says. Default: none, all regions are members.
    """

    def __init__(
        self,
        app: Path,
        state: StateFolder,
        emulator: Emulator,
        say: Callable[[str], None],
        stage: str | None = None,
        *,
        joining: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._state = state
        self._emulator = emulator
        self._say = say
        deployed = read_state(state.deployed_file, Deployed) or Deployed()
        self._stage = stage or deployed.stage
        self._joining = list(joining)
        self._log = state.log_file("deploy")

    def is_current(self) -> bool:
        """Return whether the inputs are those that were deployed to this emulator."""
        deployed = read_state(self._state.deployed_file, Deployed) or Deployed()
        return (
            deployed.emulator == self._emulator_id()
            and deployed.stage == self._stage
            and deployed.joining == self._joining
            and deployed.inputs == inputs_digest(self._app)
            and self._state.assembly.exists()
        )

    def check_stage(self) -> None:
        """Check that the emulator has no other stage.

        Raises:
            CommandError: If it has.
        """
        deployed = read_state(self._state.deployed_file, Deployed)
        if (
            deployed is not None
            and deployed.emulator == self._emulator_id()
            and deployed.stage != self._stage
        ):
            raise CommandError(
                f"the plane that is up has the stage {deployed.stage!r}, not {self._stage!r}",
                hint=f"run `mediactl local down{self._state.option}` first, or bring another one up"
                f" beside it: `mediactl local up -e local-{self._stage} --stage {self._stage}`",
            )

    def run(self) -> bool:
        """Synthesize, and deploy what changed.

        Returns:
            Whether anything was deployed.

        Raises:
            CommandError: If the CDK CLI fails; the text holds the end of its output.
        """
        self._log.unlink(missing_ok=True)
        sources = inputs_digest(self._app, with_context=False)
        deployed = read_state(self._state.deployed_file, Deployed) or Deployed()
        here = deployed.emulator == self._emulator_id()
        regions = deployed.regions or [DEFAULT_REGION]
        with ThreadPoolExecutor(max_workers=4) as pool:
            early = pool.submit(self._bootstrap, regions) if not here else None
            self._say("synthesizing the templates")
            digest = self._synthesize()
            # Synth itself may write what it looked up. What a person changed meanwhile is not in.
            inputs = inputs_digest(self._app)
            if inputs_digest(self._app, with_context=False) != sources:
                inputs = "changed during synth"
            regions = assembly_regions(self.stacks())
            if here and deployed.assembly == digest:
                self._remember(inputs, digest, regions)
                return False
            warming = [pool.submit(self._warm, lock) for lock in self._image_locks()]
            if early:
                early.result()
            self._bootstrap(regions)
            self._say("deploying the stacks")
            # A deploy that fails leaves some stacks new and some old: that is nothing known.
            self._remember("", "", regions)
            self._deploy()
            _wait(warming)
        self._remember(inputs, digest, regions)
        return True

    def stacks(self) -> list[AssemblyStack]:
        """Return the stacks that were synthesized last."""
        return assembly_stacks(self._state.assembly, default_region=DEFAULT_REGION)

    def outputs(self) -> dict[str, dict[str, str]]:
        """Return the outputs of all stacks, by stack and name, as the emulator has them."""
        found: dict[str, dict[str, str]] = {}
        for stack in self.stacks():
            client = self._emulator.client("cloudformation", stack.region)
            described = client.describe_stacks(StackName=stack.name)["Stacks"][0]
            key = stack.name
            if key in found:
                key = f"{stack.name}@{stack.region}"
            found[key] = {
                output["OutputKey"]: output["OutputValue"]
                for output in described.get("Outputs", [])
            }
        return found

    def _emulator_id(self) -> str:
        return hashlib.sha256(self._emulator.control_token.encode()).hexdigest()

    def _remember(self, inputs: str, digest: str, regions: list[str]) -> None:
        deployed = Deployed(
            self._emulator_id(), inputs, digest, regions, self._stage, self._joining
        )
        write_json(self._state.deployed_file, asdict(deployed))

    def _synthesize(self) -> str:
        fresh = self._state.root / "cdk.out.new"
        shutil.rmtree(fresh, ignore_errors=True)
        context = {"stage": self._stage}
        if self._joining:
            context["joining"] = ",".join(self._joining)
        self._cdk(synthesizing(fresh, context), self._app)
        digest = assembly_digest(fresh)
        shutil.rmtree(self._state.assembly, ignore_errors=True)
        fresh.rename(self._state.assembly)
        return digest

    def _bootstrap(self, regions: list[str]) -> None:
        missing = [region for region in regions if not self._is_bootstrapped(region)]
        if missing:
            # Outside the app's folder, or the CLI would synthesize the app for it.
            environments = [f"aws://{ACCOUNT}/{region}" for region in missing]
            self._cdk(["bootstrap", *environments], self._state.scratch)

    def _is_bootstrapped(self, region: str) -> bool:
        client = self._emulator.client("cloudformation", region)
        try:
            stacks = client.describe_stacks(StackName="CDKToolkit")["Stacks"]
        except client.exceptions.ClientError:
            return False
        return bool(stacks) and str(stacks[0]["StackStatus"]).endswith("_COMPLETE")

    def _deploy(self) -> None:
        self._cdk(
            [
                *deploying(self._state.assembly),
                *("--method", "direct"),
                *("--outputs-file", str(self._state.outputs_file)),
            ],
            self._state.scratch,
        )

    def _image_locks(self) -> Iterator[Path]:
        """Yield the lock files of the images, whose environments tasks will soon need."""
        seen = set()
        for folder in sorted(self._state.assembly.glob("asset.*")):
            lock = folder / "requirements.txt"
            if (folder / "Dockerfile").exists() and lock.exists():
                text = lock.read_text()
                if text not in seen:
                    seen.add(text)
                    yield lock

    def _warm(self, lock: Path) -> None:
        ensure_venv(self._state.venvs, lock, self._state.log_file("install"))

    def _cdk(self, arguments: list[str], folder: Path) -> None:
        # `bootstrap` knows the option under another name.
        options = [] if arguments[0] == "bootstrap" else ["--no-version-reporting"]
        run_cdk(
            self._app,
            [*arguments, *options],
            folder=folder,
            log=self._log,
            environment=plane_variables(self._emulator.url),
        )


def plane_variables(emulator_url: str) -> dict[str, str]:
    """Return the variables of a CDK CLI that deploys to an emulator, and reaches nothing else."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **root_environment(emulator_url),
        # Nothing is built: services run from their staged sources.
        "CDK_DOCKER": "true",
        "CDK_VALIDATION": "false",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def inputs_digest(app: Path, *, with_context: bool = True) -> str:
    """Return the digest of everything in sight that an app's templates can depend on.

    Args:
        app: Folder of the app.
        with_context: Whether look-ups that synth saved in ``cdk.context.json`` count.
    """
    digest = hashlib.sha256()
    for file in _input_files(app):
        if not with_context and file == app / CONTEXT_FILE:
            continue
        digest.update(f"{file.relative_to(app)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    packages = sorted(
        f"{distribution.name}=={distribution.version}"
        for distribution in importlib.metadata.distributions()
    )
    digest.update(json.dumps([sys.version, packages, cdk_command(app)]).encode())
    return digest.hexdigest()


def _input_files(app: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(app):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in {"__pycache__", "node_modules"}
            and not name.endswith(".egg-info")
            and not (here == app and name in _NOT_INPUTS)
        )
        for name in sorted(files):
            file = here / name
            if not name.startswith(".") and not name.endswith(".pyc") and file.is_file():
                yield file


def assembly_digest(assembly: Path) -> str:
    """Return the digest of all templates and asset manifests of a cloud assembly."""
    digest = hashlib.sha256()
    files = [*assembly.rglob("*.template.json"), *assembly.rglob("*.assets.json")]
    for file in sorted(files):
        digest.update(f"{file.relative_to(assembly)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _wait(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()
