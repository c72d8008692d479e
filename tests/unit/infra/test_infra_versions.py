"""The oldest and the newest packages that the ranges of the library allow, in a clean environment.

Each has the built wheel installed, as in an app of another team: its example has the assets of the
checkout, and the stages pass the rules, replace nothing and grant what they grant here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from infra_templates import REPOSITORY, STAGES, Template, app_context
from test_infra_replacement import RECORD, Record, replacements, stack_of, stateful_resources

UV = Path(sys.executable).with_name("uv")
SNAPSHOTS = Path(__file__).parent / "__snapshots__" / "test_infra_stages"
GUARDING = {
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}
"""Types that say who may do what, and who reaches whom."""


def run(command: list[str | Path], folder: Path, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "CDK_VALIDATION": "false", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module", params=["lowest-direct", "highest"])
def python(
    request: pytest.FixtureRequest, wheel_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An interpreter with the wheel and nothing but what it needs."""
    folder = tmp_path_factory.mktemp(request.param)
    found = folder / "venv" / "bin" / "python"
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--python", found]
    run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], folder)
    run([*install, "--resolution", request.param, "-r", REPOSITORY / "pyproject.toml"], folder)
    run([*install, "--no-deps", wheel_file], folder)
    return found


def assets_of_the_example(python: Path, folder: Path, **variables: str) -> set[str]:
    """Synthesize the example of the README; return its assets but for the template."""
    run([python, REPOSITORY / "examples" / "own_app.py"], folder, CDK_OUTDIR="out", **variables)
    manifest = json.loads((folder / "out" / "Video.assets.json").read_text())
    template = json.loads((folder / "out" / "Video.template.json").read_text())
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    assert kinds.count("AWS::ECS::Service") == kinds.count("AWS::EC2::VPC") == 1
    assert kinds.count("AWS::ECR::Repository") == 1
    assert kinds.count("AWS::SNS::Subscription") == 3  # its own, the intake's, the webhooks'
    # Its worker runs the image of the team, so that no other has to be built.
    assert manifest["dockerImages"] == {}
    return {
        asset
        for asset, file in manifest["files"].items()
        if not file["source"]["path"].endswith(".template.json")
    }


@pytest.fixture(scope="module")
def assets_of_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("checkout")
    return assets_of_the_example(Path(sys.executable), folder, PYTHONPATH=str(REPOSITORY))


def test_a_foreign_app_gets_equal_assets_from_the_wheel(
    python: Path, tmp_path: Path, assets_of_the_checkout: set[str]
) -> None:
    assert len(assets_of_the_checkout) == 5  # the code of functions
    assert assets_of_the_example(python, tmp_path) == assets_of_the_checkout


SYNTH = """
import json, sys
import aws_cdk as cdk
from media_platform.stacks.config import load_stage
from media_platform.stacks.platform import build_platform
from media_platform.stacks.rule_packs import add_rule_packs

context = json.loads(sys.argv[1])
for stage in sys.argv[2:]:
    app = cdk.App(outdir=stage, context=context)
    config = load_stage(stage, context["stages"])
    build_platform(app, config)
    add_rule_packs(app, config)
    app.synth()
"""
"""What the app does, for several stages in one process; a finding of a rule pack raises."""


def guards(content: Any) -> dict[str, Any]:
    found = content["Resources"].items()
    return {name: resource for name, resource in found if resource["Type"] in GUARDING}


def test_the_stages_are_what_they_are_here(python: Path, tmp_path: Path) -> None:
    run([python, "-c", SYNTH, json.dumps(app_context()), *STAGES], tmp_path)
    found: Record = {stage: {} for stage in STAGES}
    for stage in STAGES:
        for path in (tmp_path / stage).glob("*.template.json"):
            template = Template(json.loads(path.read_text()), path)
            found[stage][stack_of(template)] = stateful_resources(template)
            stack = path.name.partition(".")[0]
            file = SNAPSHOTS / f"test_stage_is_what_it_was[{stage}][{stage}-{stack}].json"
            masked = json.loads(re.sub(r"[0-9a-f]{64}", "ASSET", json.dumps(template.content)))
            assert guards(masked) == guards(json.loads(file.read_text()))
    assert "\n".join(replacements(json.loads(RECORD.read_text()), found)) == ""
