"""What could keep an environment from working, each with what was seen and how to mend it.

A check is a small function that yields findings; :data:`CHECKS` lists them in the order in which
people read them. What an environment cannot answer, such as the quotas of an emulator, is skipped
with the reason: nothing is called good that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mediactl.checking import account, deployed_stage, machine
from mediactl.checking.findings import Check, Finding, Patient, UnseenError
from mediactl.checking.quotas import quotas
from mediactl.environment import Environment
from mediactl.failures import explain


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

    if isinstance(error, UnseenError):
        return Finding(check=check.name, state="skipped", seen=str(error))
    explained = explain(error)
    if isinstance(error, ClientError) and patient.is_emulated:
        seen = f"the emulator does not answer {error.operation_name}"
        return Finding(check=check.name, state="skipped", seen=seen)
    if isinstance(error, ClientError) and "may not call" in str(explained):
        return Finding(check=check.name, state="skipped", seen=str(explained), fix=explained.hint)
    return Finding(check=check.name, state="fail", seen=str(explained), fix=explained.hint)


CHECKS = (
    Check("Python", machine.python, offline=True),
    Check("Node", machine.node, offline=True),
    Check("CDK CLI", machine.cdk_cli, offline=True),
    Check("ffmpeg", machine.ffmpeg, offline=True, where="local"),
    Check("disk", machine.disk, offline=True, where="local"),
    Check("ports", machine.ports, offline=True, where="local"),
    Check("leftovers", machine.leftovers, offline=True, where="local"),
    Check("configuration", account.configuration, offline=True),
    Check("account", account.credentials),
    Check("templates", account.templates, offline=True),
    Check("Docker", machine.docker, offline=True, where="aws"),
    Check("region", account.regions, where="aws"),
    Check("bootstrap", account.bootstrap),
    Check("quota", quotas, where="aws"),
    Check("stacks", deployed_stage.stacks),
    Check("certificate", deployed_stage.certificates),
    Check("DNS", deployed_stage.dns, where="aws"),
    Check("images", deployed_stage.images, where="aws"),
    Check("drift", deployed_stage.drift, where="aws"),
    Check("platform", deployed_stage.needs),
    Check("answers", deployed_stage.answers),
)
"""All checks, in the order in which people read them."""
