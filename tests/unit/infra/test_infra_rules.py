"""Rule packs: what is found is accepted by the table, row by row and resource by resource."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import aws_cdk as cdk
import pytest
from infra_templates import REGION, REPOSITORY, Stages, stage_config
from rule_survey import (
    CHECKOV,
    NIST,
    REPORTED_PACKS,
    VALIDATION,
    Finding,
    Survey,
    bare_name,
    shown_path,
    shown_rule,
    survey,
)

from media_platform.constructs import (
    AlarmTopic,
    ApiCluster,
    CdnDistribution,
    MediaOrigin,
    VideoStore,
)
from media_platform.constructs._accepted import Accepted
from media_platform.stacks.platform import build_platform
from media_platform.stacks.store_stack import StoreStack

COMPLIANCE = REPOSITORY / "docs" / "compliance.md"
CHECKOV_COMMAND = Path(__file__).parent / "checkov" / ".venv" / "bin" / "checkov"
CHECKOV_OPTIONS = (
    *("--framework", "cloudformation", "--output", "json"),
    *("--skip-download", "--quiet", "--compact"),
)

OPTIONS = {
    "ALBHttpToHttpsRedirection": "`domain`",
    "ALBWAFEnabled": "`waf`",
    "CloudWatchLogGroupEncrypted": "`customer_managed_key`",
    "EC2RestrictedCommonPorts": "`domain`; the rule cannot read the addresses of the network",
    "EC2RestrictedSSH": "`domain`; the rule cannot read the addresses of the network",
    "ELBDeletionProtectionEnabled": "`retain_data`",
    "ELBLoggingEnabled": "`access_logs`",
    "ELBv2ACMCertificateRequired": "`domain`",
    "S3BucketLoggingEnabled": "`access_logs`",
    "S3BucketReplicationEnabled": "a second region",
    "S3DefaultEncryptionKMS": "`customer_managed_key`",
    "SecretsManagerUsingKMSKey": "`customer_managed_key`",
}
"""Keys of a stage that close what is found where they are off, as they are on ``prod``."""

SERVERLESS = {
    "LambdaEventSourceMappingDestination": (
        "What a function fails at stays in its queue, which has a dead-letter queue; the mapping "
        "of the stream has a destination."
    ),
    "LambdaTracing": (
        "Traces go from the API through queues to the worker in the messages themselves (W3C Trace "
        "Context), and into the logs."
    ),
    "SNSRedrivePolicy": "A sweep does what a notification that is lost would have started.",
    "SQSRedrivePolicy": Accepted.DEAD_LETTERS.reason,
}
"""Why rules stay open that no pack of our stages has."""


@pytest.fixture(scope="module")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return survey(
        tmp_path_factory.mktemp("prod"),
        lambda app: build_platform(app, stage_config("prod")),
        validate=True,
    )


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Survey]:
    """What ``prod`` has not: options, and constructs in an app of another team."""
    config = stage_config(
        "local",
        access_logs=False,
        scanning={"clamav": {}},
        allowed_countries=None,
        api={"cache": True},
        tracing={"x_ray": True},
    )
    return [
        survey(
            tmp_path_factory.mktemp("options"),
            lambda app: build_platform(app, config),
            validate=True,
        ),
        survey(tmp_path_factory.mktemp("library"), another_team, validate=False),
    ]


def another_team(app: cdk.App) -> None:
    """Fill an app with constructs as they come, and with a store that other regions join."""
    for region in (REGION, None):
        stack = cdk.Stack(app, f"In{region or 'NoRegion'}", env=cdk.Environment(region=region))
        store = VideoStore(stack, "Store", access_logs=False)
        api = ApiCluster(stack, "Api", store=store)
        CdnDistribution(
            stack,
            "Cdn",
            media_origins=[MediaOrigin(region=REGION, bucket_name="media")],
            load_balancer=api.load_balancer,
        )
        AlarmTopic(stack, "Alarms").watch(stack)
    joining = stage_config("prod", joining="eu-west-1")
    StoreStack(app, "Joining", config=joining, env=cdk.Environment(region=REGION))


def surveys(prod: Survey, others: list[Survey]) -> Iterator[tuple[Survey, tuple[str, ...]]]:
    """Yield all surveys, and what was not asked in each."""
    with_options, library = others
    yield prod, (CHECKOV,)
    yield with_options, (CHECKOV,)
    yield library, (CHECKOV, VALIDATION)


def test_prod_has_no_finding_beside_the_table(prod: Survey) -> None:
    unexplained = [found for found in prod.open() if not found.rule.startswith(REPORTED_PACKS)]
    assert not unexplained, f"fix, or add to {Accepted.__module__}: {list(map(str, unexplained))}"
    asked = {found.rule.partition("-")[0] for found in prod.findings}
    assert {"AwsSolutions", NIST, "CloudFormation", *REPORTED_PACKS} <= asked


def test_others_have_no_finding_of_aws_solutions_and_of_the_cdk(others: list[Survey]) -> None:
    unexplained = [
        found
        for survey_ in others
        for found in survey_.open()
        if found.rule.startswith(("AwsSolutions", VALIDATION))
    ]
    assert not unexplained, list(map(str, unexplained))


def test_what_nist_finds_for_others_can_be_closed_by_arguments(others: list[Survey]) -> None:
    found = {
        bare_name(finding.rule)
        for survey_ in others
        for finding in survey_.open()
        if finding.rule.startswith(NIST)
    }
    assert found == set(OPTIONS)


def test_what_is_accepted_is_found_on_one_resource(prod: Survey, others: list[Survey]) -> None:
    """Stale rows, and those that would hide what comes later, are named."""
    wrong = [
        f"{one}: {len(found)} findings"
        for survey_, unasked in surveys(prod, others)
        for one in survey_.acceptances
        if not one.rule.startswith(unasked)
        for found in [survey_.findings_of(one)]
        # The annotation is of the origins, which are no resources of their own.
        if not (len(found) == 1 or (found and one.rule.startswith("Annotation::")))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_row_of_the_table_is_used(prod: Survey, others: list[Survey]) -> None:
    used = {
        (one.row, one.rule.partition("[")[0])
        for survey_, _ in surveys(prod, others)
        for one in survey_.acceptances
    }
    assert {(row, rule) for row in Accepted for rule in row.rules} == used


def test_nothing_is_accepted_for_a_whole_stack(prod: Survey, others: list[Survey]) -> None:
    for survey_, _ in surveys(prod, others):
        assert all("/" in one.path for one in survey_.acceptances)


def test_checkov_finds_nothing_beside_the_table(prod: Survey, stages: Stages) -> None:
    if not CHECKOV_COMMAND.exists():
        missing = "checkov is not installed; run make checkov, which needs PyPI once"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    templates = stages["prod"].values()
    files = [argument for made in templates for argument in ("--file", str(made.path))]
    done = subprocess.run(
        [CHECKOV_COMMAND, *CHECKOV_OPTIONS, *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout, done.stderr
    made = json.loads(done.stdout)
    assert made["summary"]["parsing_errors"] == 0
    assert made["summary"]["passed"] > 500
    found = prod.with_findings(
        [
            Finding(failed["check_id"], path_of(Path(failed["file_abs_path"]), failed["resource"]))
            for failed in made["results"]["failed_checks"]
        ]
    )
    unexplained = [one for one in found.open() if one.rule.startswith(CHECKOV)]
    assert not unexplained, list(map(str, unexplained))
    stale = [
        str(one)
        for one in found.acceptances
        if one.rule.startswith(CHECKOV) and len(found.findings_of(one)) != 1
    ]
    assert not stale, stale


def path_of(template: Path, resource: str) -> str:
    """Return the path of a resource, which checkov names by type and logical id."""
    logical_id = resource.rpartition(".")[2]
    metadata = json.loads(
        template.with_name(template.name.replace(".template.", ".metadata.")).read_text()
    )
    (path,) = (
        path
        for path, entries in metadata.items()
        if {"type": "aws:cdk:logicalId", "data": logical_id}
        in [{"type": entry["type"], "data": entry.get("data")} for entry in entries]
    )
    return str(path).removeprefix("/")


def test_compliance_tells_what_is_found(
    prod: Survey, others: list[Survey], request: pytest.FixtureRequest
) -> None:
    """Written anew by ``pytest --snapshot-update``, like the snapshots of templates."""
    text = told = COMPLIANCE.read_text()
    for name, lines in (
        ("open", open_rules(prod)),
        ("options", options(prod, others[0])),
        ("accepted", accepted_findings(prod)),
    ):
        first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = told.partition(first)
        told = "\n".join((f"{before}{first}", "", *lines, "", last + rest.partition(last)[2]))
    if request.config.getoption("update_snapshots"):
        COMPLIANCE.write_text(told)
    else:
        assert text == told


def open_rules(prod: Survey) -> list[str]:
    """Return the lines of the table of what the other packs find on ``prod``."""
    counts = counted(prod.findings, REPORTED_PACKS)
    reasons: dict[str, set[str]] = {rule: {reason} for rule, reason in SERVERLESS.items()}
    for one in prod.acceptances:
        if one.rule.startswith(NIST):
            reasons.setdefault(bare_name(one.rule), set()).add(one.row.reason)
    assert set(SERVERLESS) <= set(counts), "each is found"
    return [
        "| rule | HIPAA | PCI | Serverless | why nothing closes it |",
        "|---|---|---|---|---|",
        *(
            f"| {rule} | {found} | {' '.join(sorted(reasons[rule]))} |"
            for rule, found in counts.items()
        ),
    ]


def options(prod: Survey, without: Survey) -> list[str]:
    """Return the lines of the table of what is found where keys of a stage are off."""
    counts = counted(without.open(), (NIST, *REPORTED_PACKS[:2]))
    explained = {bare_name(one.rule) for one in prod.acceptances}
    assert set(counts) - explained <= set(OPTIONS), "the key that closes it is named"
    assert set(OPTIONS) <= set(counts), "each key closes something"
    return [
        "| rule | NIST | HIPAA | PCI | what closes it |",
        "|---|---|---|---|---|",
        *(f"| {rule} | {counts[rule]} | {closed_by} |" for rule, closed_by in OPTIONS.items()),
    ]


def counted(findings: Sequence[Finding], packs: Sequence[str]) -> dict[str, str]:
    """Return cells of how many findings each pack has, by the name that rules share."""
    counts = Counter(
        (bare_name(finding.rule), pack)
        for finding in findings
        for pack in packs
        if finding.rule.startswith(pack)
    )
    rules = sorted({rule for rule, _ in counts})
    return {rule: " | ".join(str(counts[rule, pack]) for pack in packs) for rule in rules}


def accepted_findings(prod: Survey) -> list[str]:
    """Return the lines of the table of what is accepted."""
    rows = {
        (shown_rule(one.rule), shown_path(one.path), one.row.reason) for one in prod.acceptances
    }
    return [
        "| id | resource | reason |",
        "|---|---|---|",
        *(f"| `{rule}` | {path} | {reason} |" for rule, path, reason in sorted(rows)),
    ]
