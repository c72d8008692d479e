"""What the app and its account have to be: templates, credentials, clock, regions, quotas."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from mediactl.asking import ask_regions
from mediactl.checking.findings import Finding, Patient, State
from mediactl.deployed import regions_of
from mediactl.deploying.bootstrap import bootstrap_versions
from mediactl.environment import PROJECT_FILE
from mediactl.errors import CommandError
from mediactl.failures import explain

MOST_RESOURCES = 500
"""Resources of a stack (CloudFormation User Guide, "Understand CloudFormation quotas")."""

MOST_TEMPLATE_BYTES = 1_000_000
"""Size of a template in S3, likewise."""

CLOCK_FAILS = timedelta(minutes=5)
"""AWS refuses signatures that are older (IAM User Guide, "Signature Version 4")."""

CLOCK_WARNS = timedelta(minutes=1)


def configuration(patient: Patient) -> Iterator[Finding]:
    """Tell what the name of the environment stands for, and whether cdk.json says the same."""
    environment = patient.environment
    kind = "a plane on this machine" if environment.is_local else "in AWS"
    seen = f"{environment.name} is stage {environment.stage}, {kind}"
    if not environment.is_local:
        seen += f", in {', '.join(environment.regions)}"
    yield Finding(check="configuration", state="ok", seen=seen)
    if environment.is_local or {*environment.regions} == {*environment.stage_regions}:
        return
    yield Finding(
        check="configuration",
        state="warn",
        seen=f"cdk.json has the stage in {', '.join(environment.stage_regions)}: it is deployed"
        " there, and other commands look only at the regions of the configuration",
        fix=f"take `regions` of {environment.name} out of {PROJECT_FILE}, or write the same there",
    )


def templates(patient: Patient) -> Iterator[Finding]:
    """Synthesize the app, and look whether its templates can be deployed."""
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


def credentials(patient: Patient) -> Iterator[Finding]:
    """Look whose credentials these are; without any, nothing else is asked."""
    environment = patient.environment
    try:
        found = ask_regions(
            environment,
            regions_of(environment),
            lambda region: environment.client("sts", region).get_caller_identity(),
        )
        patient.lost = frozenset(one.region for one in found.missing)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing else can be asked
        explained = explain(error)
        patient.unreachable = "there is nobody to ask; see account"
        if isinstance(error, CommandError) and patient.environment.is_local:
            patient.unreachable = str(error)
            yield Finding(check="account", state="warn", seen=str(error), fix=explained.hint)
            return
        yield Finding(check="account", state="fail", seen=str(explained), fix=explained.hint)
        return
    answer = found.by_region[patient.regions[0]]
    seen = "the emulator" if patient.is_emulated else f"{answer['Account']}, as {answer['Arn']}"
    yield Finding(check="account", state="ok", seen=seen)
    # The home region, which would be asked for it, may be the one that is lost.
    patient.stage.account = answer["Account"]
    yield clock(answer)
    for one in found.missing:
        yield Finding(
            check="region",
            state="fail",
            region=one.region,
            seen=f"{one.reason}; nothing else is asked there",
            fix=one.remedy,
        )


def clock(answer: dict[str, Any]) -> Finding:
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


def regions(patient: Patient) -> Iterator[Finding]:
    """Look whether the account may use the regions of the stage."""
    ec2 = patient.environment.client("ec2", patient.regions[0])
    answer = ec2.describe_regions(AllRegions=True)
    states = {one["RegionName"]: one["OptInStatus"] for one in answer["Regions"]}
    for region in patient.regions:
        state = states.get(region, "not known to AWS")
        enabled = state in {"opted-in", "opt-in-not-required"}
        yield Finding(
            check="region",
            state="ok" if enabled else "fail",
            region=region,
            seen="enabled" if enabled else state,
            fix=None if enabled else f"aws account enable-region --region-name {region}",
        )


def bootstrap(patient: Patient) -> Iterator[Finding]:
    """Look whether the regions are ready for the CDK."""
    versions = bootstrap_versions(patient.environment, patient.reached_templates())
    for region, (version, needed) in versions.items():
        enough = version >= needed
        yield Finding(
            check="bootstrap",
            state="ok" if enough else "fail",
            region=region,
            seen=f"version {version}, needed is {needed}" if version else "none",
            fix=None if enough else f"mediactl bootstrap -e {patient.environment.name}",
        )
