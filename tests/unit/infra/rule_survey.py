"""What rules find in an app when nothing is accepted, and what the constructs would accept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
import cdk_nag
import pytest
from constructs import IConstruct
from infra_templates import new_app

from media_platform.constructs import _accepted
from media_platform.constructs._accepted import Accepted

REPORTED_PACKS = ("HIPAA.Security", "PCI.DSS.321", "Serverless")
"""Packs that no stage has to pass."""

NIST = "NIST.800.53.R5"
CHECKOV = "CKV"
VALIDATION = "CloudFormation-Validate::"

_REGION = re.compile(r"^(\w+)-[a-z]{2}-[a-z]+-\d/")
_EXPORT = re.compile(
    r"[\w-]+:ExportsOutput(?:FnGetAtt|Ref)(\w+?)[0-9A-F]{8}(\w*?)[0-9A-F]{8}(?=\W)"
)
_HASH = re.compile(r"(?<=\w)[0-9A-F]{8}(?=[.>])")


@dataclass(frozen=True, order=True)
class Finding:
    """One finding.

    Attributes:
        rule: Full name of the rule.
        path: Path of the resource in the construct tree.
    """

    rule: str
    path: str

    def __str__(self) -> str:
        return f"{self.rule} on {self.path}"


@dataclass(frozen=True)
class Acceptance:
    """One place where a row of the table was accepted.

    Attributes:
        row: The row.
        rule: Full name of the rule.
        path: Path of the construct.
    """

    row: Accepted
    rule: str
    path: str

    def covers(self, finding: Finding) -> bool:
        """Tell whether it accepts a finding, as the CDK does: on the construct or within it."""
        return self.rule == finding.rule and f"{finding.path}/".startswith(f"{self.path}/")

    def __str__(self) -> str:
        return f"{self.rule} of {self.row.name} on {self.path}"


@dataclass(frozen=True)
class Survey:
    """All findings of an app and all that it accepts.

    Attributes:
        findings: The findings.
        acceptances: What would be accepted.
    """

    findings: Sequence[Finding]
    acceptances: Sequence[Acceptance]

    def with_findings(self, findings: Sequence[Finding]) -> Survey:
        """Return the survey with what else was found."""
        return Survey([*self.findings, *findings], self.acceptances)

    def open(self) -> list[Finding]:
        """Return the findings that nothing accepts."""
        return [
            finding
            for finding in self.findings
            if not any(one.covers(finding) for one in self.acceptances)
        ]

    def findings_of(self, acceptance: Acceptance) -> list[Finding]:
        """Return what one acceptance accepts."""
        return [finding for finding in self.findings if acceptance.covers(finding)]


def survey(folder: Path, build: Callable[[cdk.App], object], *, validate: bool) -> Survey:
    """Build an app that accepts nothing, and ask all rules.

    Args:
        folder: Where it is synthesized to.
        build: What fills the app.
        validate: Whether the validation of the CDK itself is asked, too, which takes as long as all
            the rest.
    """
    acceptances: list[Acceptance] = []

    def withhold(construct: IConstruct, rows: Mapping[str, Accepted]) -> None:
        path = construct.node.path
        acceptances.extend(Acceptance(row, rule, path) for rule, row in rows.items())

    app = new_app(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_accepted, "acknowledge", withhold)
        build(app)
    cdk.Validations.of(app).add_plugins(
        cdk_nag.AwsSolutionsChecks(app),
        cdk_nag.NIST80053R5Checks(app),
        cdk_nag.HIPAASecurityChecks(app),
        cdk_nag.PCIDSS321Checks(app),
        cdk_nag.ServerlessChecks(app),
    )
    if validate:
        cdk.Validations.of(app).add_plugins(cdk.CloudFormationValidatePlugin())
    with pytest.raises(RuntimeError, match="AwsSolutions"):
        app.synth()
    report = json.loads((folder / "validation-report.json").read_text())
    findings = [
        Finding(_full_name(made["pluginName"], violation["ruleName"]), resource["constructPath"])
        for made in report["pluginReports"]
        for violation in made["violations"]
        for resource in violation["violatingConstructs"]
    ]
    return Survey(findings, acceptances)


def _full_name(plugin: str, rule: str) -> str:
    return f"{VALIDATION}{rule}" if plugin == "CloudFormation Validate" else rule


def bare_name(rule: str) -> str:
    """Return the name of a rule without that of its pack, which packs share."""
    for pack in (NIST, *REPORTED_PACKS):
        if rule.startswith(f"{pack}-"):
            return rule.removeprefix(f"{pack}-")
    return rule


def shown_rule(rule: str) -> str:
    """Return the name of a rule without what CloudFormation makes of names."""
    return _HASH.sub("", _EXPORT.sub(r"<\1.\2>", rule))


def shown_path(path: str) -> str:
    """Return the path of a resource, the same in every region."""
    return _REGION.sub(r"\1/", path).removesuffix("/Resource")
