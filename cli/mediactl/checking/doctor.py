"""What could keep an environment from working, each with what was seen and how to mend it.

A check is a small function that yields findings; :data:`CHECKS` lists them in the order in which
people read them. What an environment cannot answer, such as the quotas of an emulator, is skipped
with the reason: nothing is called good that nobody looked at.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from media_platform.contract.outputs import EdgeOutput, StackPart
from mediactl.checking.quotas import quota_findings
from mediactl.deployed import regions_of, resources
from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.cdk import CDK_VERSION, cdk_command
from mediactl.deploying.deployment import STUCK, CdkStage
from mediactl.environment import Environment, LocalEnvironment
from mediactl.errors import CommandError
from mediactl.failures import explain

State = Literal["ok", "warn", "fail", "skipped"]

OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
SUPPORTED_NODE = 22
"""Node 20 still works; its maintenance ended in April 2026 (nodejs.org, "Releases")."""

MOST_RESOURCES = 500
"""Resources of a stack (CloudFormation User Guide, "Understand CloudFormation quotas")."""

MOST_TEMPLATE_BYTES = 1_000_000
"""Size of a template in S3, likewise."""

CLOCK_FAILS = timedelta(minutes=5)
"""AWS refuses signatures that are older (IAM User Guide, "Signature Version 4")."""

CLOCK_WARNS = timedelta(minutes=1)
CERTIFICATE_WARNS = timedelta(days=30)
"""ACM renews certificates 60 days before they end; one that is older has a problem."""

DISK_FAILS_BYTES = 500 * 1024**2
DISK_WARNS_BYTES = 2 * 1024**3
TOOL_SECONDS = 30
"""Longest wait for a tool to tell its version."""

DRIFT_SECONDS = 900
"""Longest wait until CloudFormation has compared a stack with what there is."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        check: Name of the check.
        state: ``ok``, ``warn``, ``fail``, or ``skipped`` where nobody could look.
        seen: What was seen, or why nobody could look.
        region: The region, if it is about one.
        fix: What to do about it, a command where one does.
    """

    check: str
    state: State
    seen: str
    region: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was found of an environment.

    Attributes:
        environment: Its name.
        healthy: Whether nothing failed.
        findings: All that was found.
    """

    environment: str
    healthy: bool
    findings: list[Finding]


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: Its name, for people.
        look: Yields what it finds.
        offline: Whether it asks nobody over the network.
        where: Whether it is for planes on this machine, for AWS alone, or for both; an emulator is
            no AWS.
    """

    name: str
    look: Callable[[Patient], Iterator[Finding]]
    offline: bool = False
    where: Literal["local", "aws", "both"] = "both"


class Patient:
    """An environment that is looked at, and what more than one check wants to know.

    Args:
        environment: The environment.
        say: Tells the person a line.
        offline: Whether nobody is asked over the network.
        drift: Whether CloudFormation compares stacks with what there is, which takes minutes.
    """

    def __init__(
        self, environment: Environment, say: Callable[[str], None], *, offline: bool, drift: bool
    ) -> None:
        self.environment = environment
        self.offline = offline
        self.drift = drift
        self.is_emulated = environment.is_local or bool(os.environ.get("AWS_ENDPOINT_URL"))
        self.unreachable: str | None = None
        """Why nothing can be asked over the network."""
        self.templates: list[AssemblyStack] | None = None
        """What the app synthesizes to, once a check has tried it."""
        self._say = say

    @cached_property
    def stage(self) -> CdkStage:
        """The CDK app of the environment."""
        return CdkStage(self.environment, self._say, offline=self.offline)


def diagnose(
    environment: Environment,
    *,
    say: Callable[[str], None],
    offline: bool = False,
    drift: bool = False,
) -> Diagnosis:
    """Look at everything that could keep an environment from working.

    Args:
        environment: The environment.
        say: Tells the person a line.
        offline: Whether to look only at what needs no network: this machine and the templates.
        drift: Whether to look also for resources that were changed by hand, which takes minutes.
    """
    patient = Patient(environment, say, offline=offline, drift=drift)
    findings = [finding for check in CHECKS for finding in _findings(check, patient)]
    healthy = all(finding.state != "fail" for finding in findings)
    return Diagnosis(environment.name, healthy, findings)


def _findings(check: Check, patient: Patient) -> Iterator[Finding]:
    if check.where == "local" and not patient.environment.is_local:
        return
    reason = _reason_to_skip(check, patient)
    if reason is not None:
        yield Finding(check=check.name, state="skipped", seen=reason)
        return
    try:
        yield from check.look(patient)
    except Exception as error:  # noqa: BLE001 - one check that fails says nothing of the others
        yield _broken(check, patient, error)


def _reason_to_skip(check: Check, patient: Patient) -> str | None:
    if check.where == "aws" and patient.is_emulated:
        return "an emulator has nothing to look at"
    if not check.offline and patient.offline:
        return "not asked offline"
    if not check.offline and patient.unreachable is not None:
        return patient.unreachable
    return None


def _broken(check: Check, patient: Patient, error: Exception) -> Finding:
    """Return what it means that a check could not look."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    explained = explain(error)
    if isinstance(error, ClientError) and patient.is_emulated:
        seen = f"the emulator does not answer {error.operation_name}"
        return Finding(check=check.name, state="skipped", seen=seen)
    if isinstance(error, ClientError) and "may not call" in str(explained):
        return Finding(check=check.name, state="skipped", seen=str(explained), fix=explained.hint)
    return Finding(check=check.name, state="fail", seen=str(explained), fix=explained.hint)


# --- this machine -------------------------------------------------------------------------


def _python(patient: Patient) -> Iterator[Finding]:
    del patient
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding(check="Python", state="fail", seen=version, fix="install Python 3.11")
    else:
        yield Finding(check="Python", state="ok", seen=version)


def _node(patient: Patient) -> Iterator[Finding]:
    del patient
    fix = f"install Node {SUPPORTED_NODE} or newer"
    if shutil.which("node") is None:
        yield Finding(check="Node", state="fail", seen="not installed", fix=fix)
        return
    version = _output(["node", "--version"])
    major = int(version.removeprefix("v").partition(".")[0])
    if major < OLDEST_NODE:
        yield Finding(check="Node", state="fail", seen=version, fix=fix)
    elif major < SUPPORTED_NODE:
        seen = f"{version}, which works and gets no more fixes"
        yield Finding(check="Node", state="warn", seen=seen, fix=fix)
    else:
        yield Finding(check="Node", state="ok", seen=version)


def _cdk_cli(patient: Patient) -> Iterator[Finding]:
    command = cdk_command(patient.environment.app.resolve())
    if Path(command[0]).name == "npx":
        seen = f"not installed with the app; npx fetches version {CDK_VERSION} when it is needed"
        yield Finding(check="CDK CLI", state="warn", seen=seen, fix="npm ci")
        return
    version = _output([*command, "--version"])
    if version.startswith("2."):
        yield Finding(check="CDK CLI", state="ok", seen=version)
    else:
        yield Finding(
            check="CDK CLI",
            state="fail",
            seen=f"{version}, and the libraries need version 2",
            fix="npm ci",
        )


def _docker(patient: Patient) -> Iterator[Finding]:
    if patient.templates is not None and not _has_images(patient.stage.assembly):
        yield Finding(check="Docker", state="ok", seen="the app has no image to build")
        return
    program = os.environ.get("CDK_DOCKER", "docker")
    fix = "start Docker, or name another program in CDK_DOCKER"
    if shutil.which(program) is None:
        yield Finding(check="Docker", state="fail", seen=f"{program} is not installed", fix=fix)
        return
    done = subprocess.run(
        [program, "version"], capture_output=True, timeout=TOOL_SECONDS, check=False
    )
    if done.returncode:
        seen = f"`{program} version` fails with status {done.returncode}"
        yield Finding(check="Docker", state="fail", seen=seen, fix=fix)
    else:
        yield Finding(check="Docker", state="ok", seen=f"{program} answers")


def _has_images(assembly: Path) -> bool:
    manifests = (json.loads(file.read_text()) for file in assembly.rglob("*.assets.json"))
    return any(manifest.get("dockerImages") for manifest in manifests)


def _ffmpeg(patient: Patient) -> Iterator[Finding]:
    del patient
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - needed on planes on this machine only

        seen = _output([imageio_ffmpeg.get_ffmpeg_exe(), "-version"]).splitlines()[0]
    except (ImportError, RuntimeError, OSError) as error:
        fix = "pip install 'media-platform[local]'"
        yield Finding(check="ffmpeg", state="fail", seen=" ".join(str(error).split()), fix=fix)
    else:
        yield Finding(check="ffmpeg", state="ok", seen=" ".join(seen.split()[:3]))


def _disk(patient: Patient) -> Iterator[Finding]:
    folder = _state_dir(patient)
    free = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    seen = f"{free / 1024**3:.1f} GiB free for {folder}"
    state: State = "ok"
    if free < DISK_WARNS_BYTES:
        state = "fail" if free < DISK_FAILS_BYTES else "warn"
    fix = None if state == "ok" else "make room; `mediactl local reset` removes what a plane keeps"
    yield Finding(check="disk", state=state, seen=seen, fix=fix)


def _leftovers(patient: Patient) -> Iterator[Finding]:
    """Find processes of planes whose folder was removed while they ran."""
    import psutil  # noqa: PLC0415 - needed on planes on this machine only

    del patient
    found = False
    for process in psutil.process_iter():
        try:
            temporary = Path(process.environ().get("TMPDIR", ""))
            is_leader = os.getsid(process.pid) == process.pid
        except (psutil.Error, OSError):
            continue
        root = temporary.parent.parent
        if is_leader and temporary.parent.name == "scratch" and not root.exists():
            found = True
            yield Finding(
                check="leftovers",
                state="warn",
                seen=f"{temporary.name} of a plane whose folder {root} is gone still runs",
                fix=f"kill {process.pid}",
            )
    if not found:
        yield Finding(check="leftovers", state="ok", seen="none of planes that were removed")


def _ports(patient: Patient) -> Iterator[Finding]:
    """Look whether the ports of a plane that is down are free, so that its URLs stay."""
    from mediactl.local.aws import Emulator  # noqa: PLC0415 - slow to import
    from mediactl.local.emulator_process import running_emulator  # noqa: PLC0415
    from mediactl.local.ports import is_free  # noqa: PLC0415
    from mediactl.local.state import StateFolder, read_state  # noqa: PLC0415

    state = StateFolder(_state_dir(patient))
    last = read_state(state.emulator_file, Emulator)
    if last is None:
        yield Finding(check="ports", state="ok", seen="any that are free will be taken")
    elif running_emulator(state) is not None:
        yield Finding(check="ports", state="ok", seen=f"{last.port} and {last.edge_port}, in use")
    else:
        taken = [str(port) for port in (last.port, last.edge_port) if not is_free(port)]
        if taken:
            yield Finding(
                check="ports",
                state="warn",
                seen=f"{', '.join(taken)} of the plane is taken by another; it will get others",
                fix="end what listens there, if URLs must stay as they were",
            )
        else:
            yield Finding(
                check="ports", state="ok", seen=f"{last.port} and {last.edge_port} are free"
            )


def _state_dir(patient: Patient) -> Path:
    if not isinstance(patient.environment, LocalEnvironment):
        raise TypeError(f"{patient.environment.name} is no plane on this machine")
    return patient.environment.state_dir.resolve()


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
    )
    if done.returncode:
        raise CommandError(f"`{' '.join(command)}` fails with status {done.returncode}")
    return done.stdout.strip()


# --- the app ------------------------------------------------------------------------------


def _configuration(patient: Patient) -> Iterator[Finding]:
    environment = patient.environment
    kind = "a plane on this machine" if environment.is_local else "in AWS"
    seen = f"{environment.name} is stage {environment.stage}, {kind}"
    if not environment.is_local:
        seen += f", in {', '.join(environment.regions)}"
    yield Finding(check="configuration", state="ok", seen=seen)


def _templates(patient: Patient) -> Iterator[Finding]:
    stacks = patient.stage.synthesize(rules=True)
    patient.templates = stacks
    count = sum(len(stack.template.get("Resources", {})) for stack in stacks)
    yield Finding(
        check="templates", state="ok", seen=f"{len(stacks)} stacks with {count} resources"
    )
    for stack in stacks:
        made = len(stack.template.get("Resources", {}))
        size = stack.file.stat().st_size
        if made > MOST_RESOURCES or size > MOST_TEMPLATE_BYTES:
            yield Finding(
                check="templates",
                state="fail",
                region=stack.region,
                seen=f"{stack.name} has {made} resources in {size} bytes; allowed are"
                f" {MOST_RESOURCES} in {MOST_TEMPLATE_BYTES}",
                fix="split the stack",
            )


# --- the account --------------------------------------------------------------------------


def _account(patient: Patient) -> Iterator[Finding]:
    try:
        answer = patient.environment.client("sts").get_caller_identity()
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing else can be asked
        explained = explain(error)
        patient.unreachable = "there is nobody to ask; see account"
        if isinstance(error, CommandError) and patient.environment.is_local:
            patient.unreachable = str(error)
            yield Finding(check="account", state="warn", seen=str(error), fix=explained.hint)
            return
        yield Finding(check="account", state="fail", seen=str(explained), fix=explained.hint)
        return
    seen = "the emulator" if patient.is_emulated else f"{answer['Account']}, as {answer['Arn']}"
    yield Finding(check="account", state="ok", seen=seen)
    yield _clock(answer)


def _clock(answer: dict[str, Any]) -> Finding:
    """Return how far the clock of this machine is from that of an answer."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if date is None:
        return Finding(check="clock", state="skipped", seen="the answer had no date")
    off = abs(datetime.now(UTC) - parsedate_to_datetime(date))
    state: State = "ok" if off < CLOCK_WARNS else "warn" if off < CLOCK_FAILS else "fail"
    return Finding(
        check="clock",
        state=state,
        # The date has whole seconds.
        seen=f"{off.total_seconds():.0f} s from that of AWS",
        fix=None if state == "ok" else "set the clock, e.g. `timedatectl set-ntp true`",
    )


def _regions(patient: Patient) -> Iterator[Finding]:
    answer = patient.environment.client("ec2").describe_regions(AllRegions=True)
    states = {one["RegionName"]: one["OptInStatus"] for one in answer["Regions"]}
    for region in regions_of(patient.environment):
        state = states.get(region, "not known to AWS")
        enabled = state in {"opted-in", "opt-in-not-required"}
        yield Finding(
            check="region",
            state="ok" if enabled else "fail",
            region=region,
            seen="enabled" if enabled else state,
            fix=None if enabled else f"aws account enable-region --region-name {region}",
        )


def _bootstrap(patient: Patient) -> Iterator[Finding]:
    versions = patient.stage.bootstrap_versions(_required_templates(patient))
    for region, (version, needed) in versions.items():
        enough = version >= needed
        yield Finding(
            check="bootstrap",
            state="ok" if enough else "fail",
            region=region,
            seen=f"version {version}, needed is {needed}" if version else "none",
            fix=None if enough else f"mediactl bootstrap -e {patient.environment.name}",
        )


def _quotas(patient: Patient) -> Iterator[Finding]:
    for check, region, state, seen, fix in quota_findings(
        patient.environment, _required_templates(patient)
    ):
        yield Finding(check=check, region=region, state=state, seen=seen, fix=fix)


def _required_templates(patient: Patient) -> list[AssemblyStack]:
    if patient.templates is None:
        raise CommandError("there are no templates", hint="mend what is told of them")
    return patient.templates


# --- what is deployed ---------------------------------------------------------------------


def _stacks(patient: Patient) -> Iterator[Finding]:
    name = patient.environment.name
    wanted = _required_templates(patient)
    statuses = {stack.id: patient.stage.status(stack) for stack in wanted}
    deployed = [stack for stack in wanted if statuses[stack.id] is not None]
    if not deployed:
        yield Finding(
            check="stacks",
            state="warn",
            seen="nothing is deployed",
            fix=f"mediactl deploy -e {name}",
        )
        return
    for stack in wanted:
        status = statuses[stack.id]
        state: State = "ok"
        fix = None
        if status is None:
            state, fix = "fail", f"mediactl deploy -e {name}"
        elif status in STUCK:
            state, fix = "fail", STUCK[status]
        elif status.endswith("_IN_PROGRESS"):
            state, fix = "warn", "wait until it is over"
        yield Finding(
            check="stacks",
            state=state,
            region=stack.region,
            seen=f"{stack.name}: {status or 'not deployed, while others are'}",
            fix=fix,
        )


def _certificates(patient: Patient) -> Iterator[Finding]:
    kind = "AWS::CertificateManager::Certificate"
    found = False
    for region in regions_of(patient.environment):
        for part in (StackPart.MEDIA, StackPart.EDGE):
            for one in resources(patient.environment, part, region, kind):
                found = True
                acm = patient.environment.client("acm", region)
                answer = acm.describe_certificate(CertificateArn=one.physical_id)
                yield certificate_finding(answer["Certificate"], region)
    if not found:
        has_one = any(
            resource["Type"] == kind
            for stack in _required_templates(patient)
            for resource in stack.template["Resources"].values()
        )
        seen = "it is not deployed" if has_one else "the stage has none of its own"
        yield Finding(check="certificate", state="skipped", seen=seen)


def certificate_finding(certificate: dict[str, Any], region: str) -> Finding:
    """Return how a certificate is, as ACM described it."""
    domain = certificate["DomainName"]
    status = certificate["Status"]
    if status != "ISSUED":
        record = next(
            (
                f"; add the record {option['ResourceRecord']['Name']}"
                f" {option['ResourceRecord']['Type']} {option['ResourceRecord']['Value']}"
                for option in certificate.get("DomainValidationOptions", [])
                if "ResourceRecord" in option
            ),
            "",
        )
        return Finding(
            check="certificate",
            state="fail",
            region=region,
            seen=f"that of {domain} is {status}",
            fix=f"delegate its zone to Route 53{record}",
        )
    left = certificate["NotAfter"] - datetime.now(UTC)
    if left < CERTIFICATE_WARNS:
        return Finding(
            check="certificate",
            state="warn" if left > timedelta() else "fail",
            region=region,
            seen=f"that of {domain} ends on {certificate['NotAfter']:%Y-%m-%d} and was not renewed",
            fix="the records that prove the domain must be in DNS: see the certificate in ACM",
        )
    return Finding(
        check="certificate",
        state="ok",
        region=region,
        seen=f"that of {domain} is good until {certificate['NotAfter']:%Y-%m-%d}",
    )


def _dns(patient: Patient) -> Iterator[Finding]:
    domains = [
        alias
        for stack in _required_templates(patient)
        for resource in stack.template["Resources"].values()
        if resource["Type"] == "AWS::CloudFront::Distribution"
        for alias in resource["Properties"]["DistributionConfig"].get("Aliases", [])
        if isinstance(alias, str)
    ]
    if not domains:
        yield Finding(check="DNS", state="skipped", seen="the stage has no domain of its own")
        return
    distribution = _addresses(patient.environment.output(EdgeOutput.DISTRIBUTION_DOMAIN))
    for domain in domains:
        found = _addresses(domain)
        if not found:
            yield Finding(
                check="DNS",
                state="fail",
                seen=f"{domain} is not known",
                fix="delegate its zone: give the registrar the name servers of the hosted zone",
            )
        elif not found & distribution:
            # CloudFront answers with other addresses from time to time.
            yield Finding(
                check="DNS",
                state="warn",
                seen=f"{domain} leads to {min(found)}, which is not the distribution",
                fix="`dig` it twice; if it stays so, another record is in the way",
            )
        else:
            yield Finding(check="DNS", state="ok", seen=f"{domain} leads to the distribution")


def _addresses(name: str) -> set[str]:
    try:
        return {str(one[4][0]) for one in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _images(patient: Patient) -> Iterator[Finding]:
    environment = patient.environment
    for region in environment.regions:
        ecs = environment.client("ecs", region)
        kind = "AWS::ECS::TaskDefinition"
        images = {
            container["image"]
            for one in resources(environment, StackPart.MEDIA, region, kind)
            for container in ecs.describe_task_definition(taskDefinition=one.physical_id)[
                "taskDefinition"
            ]["containerDefinitions"]
        }
        for image in sorted(images):
            yield image_finding(environment, image, region)


def image_finding(environment: Environment, image: str, region: str) -> Finding:
    """Return whether an image that tasks are started from is in its repository."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    registry, _, path = image.partition("/")
    parts = registry.split(".")
    repository, _, tag = path.rpartition(":")
    if "dkr" not in parts or not repository:
        return Finding(
            check="images", state="skipped", region=region, seen=f"{image} is in no ECR of AWS"
        )
    try:
        found = environment.client("ecr", parts[parts.index("dkr") + 2]).describe_images(
            registryId=parts[0], repositoryName=repository, imageIds=[{"imageTag": tag}]
        )["imageDetails"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in {
            "ImageNotFoundException",
            "RepositoryNotFoundException",
        }:
            raise
        found = []
    if not found:
        return Finding(
            check="images",
            state="fail",
            region=region,
            seen=f"{repository}:{tag[:12]} is gone; no new task can start",
            fix=f"mediactl deploy -e {environment.name}",
        )
    return Finding(
        check="images", state="ok", region=region, seen=f"{repository}:{tag[:12]} is there"
    )


def _drift(patient: Patient) -> Iterator[Finding]:
    if not patient.drift:
        yield Finding(
            check="drift", state="skipped", seen="it takes minutes", fix="mediactl doctor --drift"
        )
        return
    for stack in _required_templates(patient):
        if patient.stage.status(stack) is not None:
            yield from drift_findings(patient.environment, stack)


def drift_findings(environment: Environment, stack: AssemblyStack) -> Iterator[Finding]:
    """Yield what was changed by hand in a stack, once CloudFormation has compared it."""
    import time  # noqa: PLC0415 - for the one check that waits

    client = environment.client("cloudformation", stack.region)
    started = client.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"]
    deadline = time.monotonic() + DRIFT_SECONDS
    while True:
        answer = client.describe_stack_drift_detection_status(StackDriftDetectionId=started)
        if answer["DetectionStatus"] != "DETECTION_IN_PROGRESS" or time.monotonic() > deadline:
            break
        time.sleep(2)
    if answer["DetectionStatus"] != "DETECTION_COMPLETE":
        reason = answer.get("DetectionStatusReason", answer["DetectionStatus"])
        yield Finding(
            check="drift", region=stack.region, state="skipped", seen=f"{stack.name}: {reason}"
        )
    elif answer.get("StackDriftStatus") != "DRIFTED":
        yield Finding(
            check="drift", region=stack.region, state="ok", seen=f"{stack.name}: as it was deployed"
        )
    else:
        pages = client.get_paginator("describe_stack_resource_drifts").paginate(
            StackName=stack.name, StackResourceDriftStatusFilters=["MODIFIED", "DELETED"]
        )
        for page in pages:
            for one in page["StackResourceDrifts"]:
                yield Finding(
                    check="drift",
                    region=stack.region,
                    state="warn",
                    seen=f"{stack.name}: {one['LogicalResourceId']} ({one['ResourceType']}) is"
                    f" {one['StackResourceDriftStatus'].lower()}",
                    fix="undo it by hand: a deployment changes only what differs in the template",
                )


def _platform(patient: Patient) -> Iterator[Finding]:
    """Tell what ``mediactl status`` says needs a person."""
    from mediactl.watching.region_status import status_of  # noqa: PLC0415 - imports much

    status = status_of(patient.environment, patient.environment.regions)
    for need in status.needs:
        yield Finding(check="platform", state="fail", seen=need.text, fix=need.command)
    if not status.needs:
        yield Finding(check="platform", state="ok", seen="services, queues and alarms need nobody")


def _answers(patient: Patient) -> Iterator[Finding]:
    from mediactl.checking.reach import reach  # noqa: PLC0415

    for one in reach(patient.environment.base_url):
        yield Finding(
            check="answers",
            state="ok" if one.ok else "fail",
            seen=f"{one.name}: {one.seen}",
            fix=None if one.ok else f"mediactl status -e {patient.environment.name}",
        )


CHECKS = (
    Check("Python", _python, offline=True),
    Check("Node", _node, offline=True),
    Check("CDK CLI", _cdk_cli, offline=True),
    Check("ffmpeg", _ffmpeg, offline=True, where="local"),
    Check("disk", _disk, offline=True, where="local"),
    Check("ports", _ports, offline=True, where="local"),
    Check("leftovers", _leftovers, offline=True, where="local"),
    Check("configuration", _configuration, offline=True),
    Check("account", _account),
    Check("templates", _templates, offline=True),
    Check("Docker", _docker, offline=True, where="aws"),
    Check("region", _regions, where="aws"),
    Check("bootstrap", _bootstrap),
    Check("quota", _quotas, where="aws"),
    Check("stacks", _stacks),
    Check("certificate", _certificates),
    Check("DNS", _dns, where="aws"),
    Check("images", _images, where="aws"),
    Check("drift", _drift, where="aws"),
    Check("platform", _platform),
    Check("answers", _answers),
)
"""All checks, in the order in which people read them."""
