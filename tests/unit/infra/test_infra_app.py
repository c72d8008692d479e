"""The app as the CDK CLI runs it: a program with context and an output folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra_templates import REPOSITORY, app_context


def run_app(folder: Path, **context: Any) -> subprocess.CompletedProcess[str]:
    """Run ``app.py`` without credentials, as the CLI does after it has read ``cdk.json``."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))
    }
    environment["CDK_OUTDIR"] = str(folder)
    environment["CDK_CONTEXT_JSON"] = json.dumps({**app_context(), **context})
    environment["CDK_VALIDATION"] = "false"
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_app_builds_the_stage_it_is_told(tmp_path: Path) -> None:
    done = run_app(tmp_path, stage="prod", account="111111111111", joining="eu-west-1")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    environments = {
        name: artifact["environment"]
        for name, artifact in manifest["artifacts"].items()
        if artifact["type"] == "aws:cloudformation:stack"
    }
    assert environments == {
        "Store-us-east-1": "aws://111111111111/us-east-1",
        "Media-us-east-1": "aws://111111111111/us-east-1",
        "Edge": "aws://111111111111/us-east-1",
        "Store-eu-west-1": "aws://111111111111/eu-west-1",
    }
    # Whatever is missing here would be looked up, with credentials.
    assert "missing" not in manifest


def test_a_wrong_stage_is_told_in_one_line(tmp_path: Path) -> None:
    done = run_app(tmp_path, stage="qa")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        done.stderr.splitlines()[-1]
        == "stage is 'qa', allowed are dev, local, pair, prod; choose one"
    )


def test_what_a_construct_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    """The configuration leaves some limits to the constructs, which say them with their path."""
    stages = app_context()["stages"]
    odd = {**stages["dev"], "api": {"quota_videos": 10**16}}
    done = run_app(tmp_path, stage="odd", stages={**stages, "odd": odd})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"quota_videos is {10**16}, allowed are 1 to {2**53}; a tenant that may have nothing needs "
        "no platform (path: Media-us-east-1/Api)"
    )
