"""Synthesizing the stages beside as many plain L1 resources, and importing the constructs.

Each program is a process of its own, from its start to its end, without rule packs and validation.
The peer of a stage has as many stacks and as many resources in them, made of L1 constructs with
literal properties; what it lacks are references, policies, and the sources of services as assets.

    python bench/synth.py [--json] [--quick] [--runs N]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from harness.figures import Figure, arguments, median, report, say, show, stop_on_sigterm

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = ("local", "dev", "prod")
PROD_AIM = 2.5
IMPORT_AIM = 1.1

PLAIN = """
import json, sys
import aws_cdk as cdk
from aws_cdk import aws_cloudwatch, aws_iam, aws_lambda, aws_logs, aws_s3, aws_sqs

def queue(stack, name):
    aws_sqs.CfnQueue(stack, name, visibility_timeout=60, sqs_managed_sse_enabled=True)

def role(stack, name):
    aws_iam.CfnRole(stack, name, assume_role_policy_document={"Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "lambda.amazonaws.com"}}]})

def policy(stack, name):
    aws_iam.CfnPolicy(stack, name, policy_name=name, roles=["someone"], policy_document={
        "Statement": [{"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": "arn:q"}]})

def function(stack, name):
    aws_lambda.CfnFunction(stack, name, role="arn:role", runtime="python3.14", handler="a.b",
        code=aws_lambda.CfnFunction.CodeProperty(s3_bucket="bucket", s3_key="key"), timeout=60)

def alarm(stack, name):
    aws_cloudwatch.CfnAlarm(stack, name, comparison_operator="GreaterThanThreshold",
        evaluation_periods=3, threshold=0, metric_name="Errors", namespace="AWS/Lambda",
        period=300, statistic="Sum", alarm_description="something is the matter",
        dimensions=[aws_cloudwatch.CfnAlarm.DimensionProperty(name="FunctionName", value="f")])

def logs(stack, name):
    aws_logs.CfnLogGroup(stack, name, retention_in_days=30)

def bucket(stack, name):
    aws_s3.CfnBucket(stack, name, versioning_configuration=
        aws_s3.CfnBucket.VersioningConfigurationProperty(status="Enabled"))

KINDS = (queue, role, policy, function, alarm, logs, bucket)
app = cdk.App()
for number, resources in enumerate(json.loads(sys.argv[1])):
    stack = cdk.Stack(app, f"Stack{number}")
    for place in range(resources):
        KINDS[place % len(KINDS)](stack, f"R{place}")
app.synth()
"""

CONSTRUCTS = "import media_platform.constructs"
MODULES_OF_THE_CDK = f"""
import json, sys
{CONSTRUCTS}
print(json.dumps([name for name in sys.modules if name.split(".")[0] in ("aws_cdk", "constructs")]))
"""


def seconds(arguments_: list[str], environment: Mapping[str, str]) -> float:
    """Run Python from its start to its end, and return how long that took.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments_],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - begun


def stage_environment(stage: str, folder: Path) -> dict[str, str]:
    """Return the variables by which the app synthesizes a stage as the CDK CLI would let it."""
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    return {
        **plain_environment(folder),
        "CDK_CONTEXT_JSON": json.dumps({**context, "stage": stage, "nag": "false"}),
    }


def plain_environment(folder: Path) -> dict[str, str]:
    return {
        "CDK_OUTDIR": str(folder),
        "CDK_VALIDATION": "false",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
    }


def resource_counts(folder: Path) -> list[int]:
    """Return the numbers of resources of the stacks that were synthesized into a folder."""
    return [
        len(json.loads(template.read_text())["Resources"])
        for template in sorted(folder.glob("*.template.json"))
    ]


def import_programs() -> tuple[str, str]:
    """Return what imports the constructs, and what imports the same modules of the CDK."""
    listed = subprocess.run(
        [sys.executable, "-c", MODULES_OF_THE_CDK],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    modules = json.loads(listed.stdout)
    return CONSTRUCTS, "\n".join(f"import {name}" for name in modules)


def main() -> None:
    """Measure and print."""
    options = arguments((__doc__ or "").splitlines()[0], runs=5).parse_args()
    runs = 1 if options.quick else options.runs
    stop_on_sigterm()
    with tempfile.TemporaryDirectory() as text:
        base = Path(text)
        counts = {}
        for stage in STAGES:  # also the run that warms up
            seconds(["app.py"], stage_environment(stage, base / stage))
            counts[stage] = resource_counts(base / stage)
        programs = {
            "empty app": (["-c", PLAIN, "[]"], plain_environment(base / "empty")),
            **{stage: (["app.py"], stage_environment(stage, base / stage)) for stage in STAGES},
            **{
                f"{stage} as L1": (
                    ["-c", PLAIN, json.dumps(counts[stage])],
                    plain_environment(base / f"plain-{stage}"),
                )
                for stage in STAGES
            },
        }
        ours, theirs = import_programs()
        programs["import of the constructs"] = (["-c", ours], {})
        programs["import of the CDK's modules"] = (["-c", theirs], {})
        taken: dict[str, list[float]] = {name: [] for name in programs}
        for run in range(runs):
            say(f"run {run + 1} of {runs}")
            for name, (command, environment) in programs.items():
                taken[name].append(seconds(command, environment))
    times = {name: median(values) for name, values in taken.items()}
    show(
        "synthesizing",
        ("stage", "stacks", "resources", "seconds", "as L1", "ratio"),
        [
            (
                stage,
                len(counts[stage]),
                sum(counts[stage]),
                f"{times[stage]:.2f}",
                f"{times[f'{stage} as L1']:.2f}",
                f"{times[stage] / times[f'{stage} as L1']:.2f}",
            )
            for stage in STAGES
        ]
        + [("empty app", 0, 0, f"{times['empty app']:.2f}", "", "")],
    )
    figures = [
        Figure(name="synth_prod", value=times["prod"], peer=times["prod as L1"], aim=PROD_AIM),
        Figure(
            name="import_constructs",
            value=times["import of the constructs"],
            peer=times["import of the CDK's modules"],
            aim=IMPORT_AIM,
        ),
    ]
    report("synth", figures, as_json=options.json)


if __name__ == "__main__":
    main()
