"""The local plane as a whole: up, status, logs, down.

``up`` may be called in any state of affairs: on a fresh folder, on a running plane, after a crash
of any part. It finds out what is true and does what is missing.

>>> from pathlib import Path
>>> from mediactl.local.plane import Plane
>>> plane = Plane(Path(".local"))           # doctest: +SKIP
>>> plane.up().edge_url                     # doctest: +SKIP
'http://127.0.0.1:40975'
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mediactl.deploying.assembly import AssemblyStack, assembly_regions
from mediactl.deploying.cdk import require_app
from mediactl.errors import NOT_FOUND, CommandError
from mediactl.local import processes
from mediactl.local.aws import Emulator
from mediactl.local.deploy import Deployment
from mediactl.local.emulator_process import running_emulator, start_emulator
from mediactl.local.gateway import FILE as GATEWAYS_FILE
from mediactl.local.gateway import PREFIX as GATEWAY_PREFIX
from mediactl.local.gateway import assign_ports, gateway_ports, publish_ports, running_gateways
from mediactl.local.ports import is_free
from mediactl.local.processes import ProcessRecord
from mediactl.local.runner_address import RUNNER_FILE, RunnerAddress
from mediactl.local.state import StateFolder, read_state, write_json

RUNNER = "runner"
STEADY_SECONDS = 180
"""Longest wait until all services run and are healthy."""

STOP_SECONDS = 40
"""Longest wait for the runner, which gives its tasks less than that to end."""

REPEATED_FAILURES = 4
"""Starts in a row that fail before ``up`` gives up waiting for a service."""


@dataclass(frozen=True)
class Endpoints:
    """Where a running plane is found, as ``plane.json`` holds it.

    Attributes:
        edge_url: The one origin that clients know.
        emulator_url: Endpoint of all AWS APIs.
        regions: Regions that it is deployed to.
        outputs: Outputs of the stacks, by stack and name.
        state_dir: State folder.
    """

    edge_url: str
    emulator_url: str
    regions: list[str]
    outputs: dict[str, dict[str, str]]
    state_dir: str

    def output(self, name: str) -> str:
        """Return the output of that name, of whichever stack has it.

        Raises:
            KeyError: If no stack has it.
        """
        for outputs in self.outputs.values():
            if name in outputs:
                return outputs[name]
        raise KeyError(f"no stack has an output {name!r}")


@dataclass(frozen=True)
class Status:
    """State of a plane.

    Attributes:
        up: Whether emulator and runner run.
        healthy: Whether every service has all its tasks, and all are healthy.
        endpoints: Where it is found, if it was up once.
        services: Services, as the runner sees them.
        queues: Depth of every queue.
        problems: What is wrong, for people.
    """

    up: bool
    healthy: bool
    endpoints: Endpoints | None = None
    services: list[dict[str, Any]] = field(default_factory=list)
    queues: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Plane:
    """The plane of a state folder.

    Args:
        state_dir: State folder.
        app: Folder of the CDK app that is deployed. Default: the current folder.
        stage: Stage of the app that is deployed. Default: that of the plane that is up, else
            ``local``.
        say: Called with a line about every step. Default: nobody is told.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        app: Path | None = None,
        stage: str | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.state = StateFolder(state_dir)
        self._app = (app or Path.cwd()).resolve()
        self._stage = stage
        self._say = say

    def up(
        self, *, anew: bool = False, redeploy: bool = False, joining: Sequence[str] = ()
    ) -> Endpoints:
        """Bring the plane up and wait until it is healthy.

        On a healthy plane whose app has not changed, this changes nothing.

        Args:
            anew: Take it down first, with all its data; nobody else can change it in between.
            redeploy: Synthesize even when the inputs look unchanged.
            joining: Regions of the stage that get their store and nothing else yet. Default: none;
                a region that was joining becomes a member.

        Raises:
            CommandError: If a part does not come up; what runs by then is left for a look at it.
            KeyboardInterrupt: On Ctrl-C, after everything that this call started was stopped.
        """
        require_app(self._app)
        with self.state.locked():
            ran_before = not anew and running_emulator(self.state) is not None
            try:
                if anew:
                    self._down()
                return self._up(redeploy=redeploy, joining=joining)
            except KeyboardInterrupt as end:
                if ran_before:
                    end.add_note("the plane that was up before is left as it is")
                    raise
                try:
                    self._down()
                except KeyboardInterrupt as again:
                    again.add_note(
                        f"not all is stopped: run `mediactl local down{self.state.option}`"
                    )
                    raise
                end.add_note("the plane is down")
                raise

    def down(self) -> bool:
        """Stop everything that belongs to the plane and remove what is volatile.

        Returns:
            Whether anything ran.
        """
        # The folder may have been removed under a plane that runs.
        if not self.state.root.exists() and not self._processes():
            return False
        with self.state.locked():
            return self._down()

    def status(self) -> Status:
        """Return the state of the plane."""
        endpoints = read_state(self.state.plane_file, Endpoints)
        emulator = running_emulator(self.state)
        if emulator is None:
            return Status(up=False, healthy=False, endpoints=endpoints)
        seen = self._ask_runner(emulator)
        if seen is None:
            problems = ["the process runner does not run or does not answer"]
            return Status(up=True, healthy=False, endpoints=endpoints, problems=problems)
        problems = [problem for service in seen["services"] for problem in _problems_of(service)]
        if seen["distribution"] is None:
            problems.append("no distribution is deployed")
        problems += [
            f"region {region} is cut off; `mediactl local rejoin {region}{self.state.option}`"
            " ends that"
            for region in self.cut_off()
        ]
        if endpoints is None:
            problems.append(f"the plane was never up as a whole; {self._remedy}")
        return Status(
            up=True,
            healthy=not problems,
            endpoints=endpoints,
            services=seen["services"],
            queues=_queues(emulator, endpoints.regions if endpoints else []),
            problems=problems,
        )

    def endpoints(self) -> Endpoints:
        """Return where the running plane is found.

        Raises:
            CommandError: If it is not up.
        """
        status = self.status()
        if not status.up or status.endpoints is None:
            raise self._not_up("the local plane is not up")
        return status.endpoints

    def refresh(self) -> None:
        """Make the edge read what is deployed now, in place of within seconds.

        Raises:
            CommandError: If the plane is not up.
        """
        if self._ask_runner(self.emulator(), "refresh") is None:
            raise self._not_up("the process runner does not answer")

    def stacks(self) -> list[AssemblyStack]:
        """Return the stacks that are deployed, in the order of their deployment.

        Raises:
            CommandError: If the plane is not up.
        """
        return Deployment(self._app, self.state, self.emulator(), self._say).stacks()

    def forget_deployment(self) -> None:
        """Make the next :meth:`up` deploy everything: the stacks were destroyed.

        Raises:
            CommandError: If the plane is not up.
        """
        with self.state.locked():
            for path in (self.state.deployed_file, self.state.plane_file):
                path.unlink(missing_ok=True)
            self._ask_runner(self.emulator(), "refresh")

    def cut(self, region: str) -> None:
        """Cut a region off: nothing of it stops, and nobody reaches it, nor it anybody.

        Raises:
            CommandError: If the plane is not up, or has no such region beside another.
        """
        gateway = self._gateway(region)
        if gateway is not None:
            processes.stop(self.state.processes, [gateway], grace_seconds=0)

    def rejoin(self, region: str) -> None:
        """Make a region reachable again that was cut off.

        Raises:
            CommandError: If the plane is not up, or has no such region beside another.
        """
        self._gateway(region)
        self._open_gateways(self.emulator(), sorted(gateway_ports(self.state)))

    def cut_off(self) -> list[str]:
        """Return the regions that are cut off."""
        return sorted(gateway_ports(self.state).keys() - running_gateways(self.state))

    def _gateway(self, region: str) -> ProcessRecord | None:
        """Return the gateway of a region, ``None`` if it is cut off."""
        self.emulator()
        regions = sorted(gateway_ports(self.state))
        if region not in regions:
            allowed = f"allowed are {', '.join(regions)}" if regions else "the plane has one only"
            raise CommandError(
                f"region {region!r} cannot be cut off, {allowed}",
                hint="`mediactl local up -e local-pair --stage pair` brings up one of two regions",
            )
        return running_gateways(self.state).get(region)

    def emulator(self) -> Emulator:
        """Return the running emulator, whose clients are those of the root user.

        Raises:
            CommandError: If it does not run.
        """
        emulator = running_emulator(self.state)
        if emulator is None:
            raise self._not_up("the local plane is not up")
        return emulator

    def _not_up(self, what: str) -> CommandError:
        return CommandError(what, hint=self._remedy, exit_code=NOT_FOUND)

    @property
    def _remedy(self) -> str:
        """What to do where this plane, and not the one beside it, is to be up."""
        return f"run `mediactl local up{self.state.option}`"

    # --- up -------------------------------------------------------------------------------

    def _up(self, *, redeploy: bool, joining: Sequence[str]) -> Endpoints:
        self.state.create()
        emulator = running_emulator(self.state)
        if emulator is None:
            self._stop_processes()
            self._say("starting the emulator")
            emulator = start_emulator(self.state)
        deployment = Deployment(
            self._app, self.state, emulator, self._say, self._stage, joining=joining
        )
        deployment.check_stage()
        changed = False
        if redeploy or not deployment.is_current():
            changed = deployment.run()
        regions = assembly_regions(deployment.stacks())
        self._open_gateways(emulator, regions)
        if not self._runner_runs(emulator):
            self._say("starting the process runner")
            self._start_runner(emulator)
        elif changed:
            self._ask_runner(emulator, "refresh")
        self._wait_until_steady(emulator)
        endpoints = Endpoints(
            edge_url=emulator.edge_url,
            emulator_url=emulator.url,
            regions=regions,
            outputs=deployment.outputs(),
            state_dir=str(self.state.root),
        )
        if read_state(self.state.plane_file, Endpoints) != endpoints:
            write_json(self.state.plane_file, asdict(endpoints))
        return endpoints

    def _open_gateways(self, emulator: Emulator, regions: list[str]) -> None:
        """Start what does not run of the gateways, which a plane of several regions has."""
        wanted = regions if len(regions) > 1 else []
        known, running = gateway_ports(self.state), running_gateways(self.state)
        if not wanted and not known and not running:
            return
        # A start was interrupted before anybody was told of these.
        unknown = [running.pop(region) for region in running.keys() - known.keys()]
        processes.stop(self.state.processes, unknown, grace_seconds=0)
        ports = assign_ports(known, wanted, running)
        missing = [region for region in wanted if region not in running]
        for region in missing:
            name = f"{GATEWAY_PREFIX}{region}"
            self._start_own(name, "mediactl.local.gateway", region, str(ports[region]))
        deadline = time.monotonic() + STEADY_SECONDS
        while any(is_free(ports[region]) for region in missing):
            if time.monotonic() > deadline:
                raise CommandError(
                    f"the gateways of {', '.join(missing)} do not start",
                    hint=f"their logs are in {self.state.logs}",
                )
            time.sleep(0.05)
        # Whoever is told of a gateway uses it: not before all of them listen.
        publish_ports(self.state, ports)
        emulator.control("gateways", ports)
        left = [running[region] for region in running.keys() - set(wanted)]
        if left:
            # The edge still goes through those of regions that left.
            self._ask_runner(emulator, "refresh")
            processes.stop(self.state.processes, left, grace_seconds=0)

    def _start_own(self, name: str, module: str, *arguments: str) -> ProcessRecord:
        """Start a program of the plane itself."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and name not in {"PYTHONPATH", "PYTHONHOME"}
        }
        # The packages that run here are those of the interpreter that runs `mediactl`.
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        environment["NO_PROXY"] = "127.0.0.1"
        temporary = self.state.scratch / name
        temporary.mkdir(exist_ok=True)
        environment["TMPDIR"] = str(temporary)
        return processes.start(
            self.state.processes,
            name,
            [sys.executable, "-m", module, str(self.state.root), *arguments],
            environment=environment,
            log=self.state.log_file(name),
            working_folder=self.state.root,
        )

    def _start_runner(self, emulator: Emulator) -> None:
        left = [record for record in self._processes() if record.name == RUNNER]
        processes.stop(self.state.processes, left, grace_seconds=5)
        (self.state.root / RUNNER_FILE).unlink(missing_ok=True)
        record = self._start_own(RUNNER, "mediactl.local.runner")
        deadline = time.monotonic() + STEADY_SECONDS
        while self._ask_runner(emulator) is None:
            if not processes.is_running(record) or time.monotonic() > deadline:
                raise CommandError(
                    f"the process runner does not start:\n{_tail(self.state.log_file(RUNNER))}",
                    hint=f"its log is {self.state.log_file(RUNNER)}",
                )
            time.sleep(0.1)

    def _runner_runs(self, emulator: Emulator) -> bool:
        alive = any(
            record.name == RUNNER and processes.is_running(record)
            for record in processes.records(self.state.processes)
        )
        return alive and self._ask_runner(emulator) is not None

    def _ask_runner(self, emulator: Emulator, what: str = "status") -> dict[str, Any] | None:
        address = read_state(self.state.root / RUNNER_FILE, RunnerAddress)
        if address is None:
            return None
        call = urllib.request.Request(  # noqa: S310 - our own loopback URL
            f"{address.url}/plane/{what}",
            headers={"x-mediactl-token": emulator.control_token},
            method="GET" if what == "status" else "POST",
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(call, timeout=60) as answer:
                value = json.load(answer)
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def _wait_until_steady(self, emulator: Emulator) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        told = False
        before: dict[str, int] = {}
        while True:
            seen = self._ask_runner(emulator)
            for service in seen["services"] if seen else []:
                # Failures of the past, of which a service may have recovered, do not count.
                key = service["task_definition"]
                known = min(before.get(key, service["failures"]), service["failures"])
                before[key] = known
                service["failures"] -= known
            waiting = (
                [service for service in seen["services"] if _problems_of(service)] if seen else []
            )
            if seen and not waiting and seen["distribution"] and seen["services"]:
                return
            failing = [service for service in waiting if service["failures"] >= REPEATED_FAILURES]
            if failing or time.monotonic() > deadline:
                raise self._not_steady(failing or waiting)
            if not told:
                self._say("waiting until the services are healthy")
                told = True
            time.sleep(0.2)

    def _not_steady(self, services: list[dict[str, Any]]) -> CommandError:
        if not services:
            return CommandError(
                f"the edge does not come up:\n{_tail(self.state.log_file(RUNNER))}",
                hint=f"the runner's log is {self.state.log_file(RUNNER)}",
            )
        service = services[0]
        log = self.state.service_log_file(service["name"], service["region"])
        text = service.get("problem") or _tail(log)
        return CommandError(
            f"service {service['name']} does not become healthy ({service['healthy']} of "
            f"{service['desired']} tasks):\n{text}",
            hint=f"its log is {log}, the runner's is {self.state.log_file(RUNNER)}",
        )

    # --- down -----------------------------------------------------------------------------

    def _down(self) -> bool:
        ran = self._stop_processes()
        for path in (
            self.state.plane_file,
            self.state.root / RUNNER_FILE,
            self.state.root / GATEWAYS_FILE,
        ):
            path.unlink(missing_ok=True)
        for path in (self.state.deployed_file, self.state.outputs_file):
            path.unlink(missing_ok=True)
        for folder in (
            self.state.scratch,
            self.state.images,
            self.state.assembly,
            self.state.commands,
        ):
            shutil.rmtree(folder, ignore_errors=True)
        return ran

    def _stop_processes(self) -> bool:
        """Stop the runner, which stops its tasks, then tasks that it left, then the emulator."""
        found = self._processes()
        ran = any(processes.session_of(record) for record in found)
        if ran:
            self._say("stopping the processes of the plane")
        runner = [record for record in found if record.name == RUNNER]
        processes.stop(self.state.processes, runner, grace_seconds=STOP_SECONDS)
        processes.stop(self.state.processes, self._processes(), grace_seconds=5)
        for damaged in self.state.processes.glob("*.json"):
            self._say(f"{damaged} did not describe a process and is removed")
            damaged.unlink()
        return ran

    def _processes(self) -> list[ProcessRecord]:
        return processes.all_records(self.state.processes, self.state.scratch)


def _problems_of(service: dict[str, Any]) -> list[str]:
    """Return what is wrong with a service as the runner sees it."""
    problems = []
    name, desired = service["name"], service["desired"]
    if service["problem"]:
        problems.append(f"{name}: {service['problem']}")
    if service["current"] < desired:
        problems.append(f"{name}: {service['current']} of {desired} tasks are healthy and current")
    elif service["running"] > service["current"]:
        problems.append(f"{name}: an older version is still running")
    return problems


def _queues(emulator: Emulator, regions: list[str]) -> list[dict[str, Any]]:
    """Return the depth of every queue; those that others move failed messages to are marked."""
    found: list[dict[str, Any]] = []
    dead_letter_arns: set[str] = set()
    for region in regions:
        sqs = emulator.client("sqs", region)
        for url in sqs.list_queues().get("QueueUrls", []):
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
                "Attributes"
            ]
            redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
            if redrive:
                dead_letter_arns.add(redrive["deadLetterTargetArn"])
            found.append(
                {
                    "name": url.rpartition("/")[2],
                    "region": region,
                    "arn": attributes["QueueArn"],
                    "visible": int(attributes["ApproximateNumberOfMessages"]),
                    "in_flight": int(attributes["ApproximateNumberOfMessagesNotVisible"]),
                }
            )
    for queue in found:
        queue["dead_letter"] = queue.pop("arn") in dead_letter_arns
    return found


def _tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return "(no log yet)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
