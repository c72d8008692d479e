"""One synth of every stage for the whole session."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aws_cdk as cdk
import pytest
from infra_templates import (
    REGION,
    REPOSITORY,
    STAGES,
    Stages,
    Synth,
    Template,
    stage_config,
    synthesize,
    synthesize_stage,
)


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return {
        stage: synthesize_stage(tmp_path_factory.mktemp(stage), stage_config(stage))
        for stage in STAGES
    }


@pytest.fixture(scope="session")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Synth:
    # Once for each function that builds: most tests look at the template of the defaults.
    @functools.cache
    def run(build: Callable[[cdk.Stack], object], *, region: str | None = REGION) -> Template:
        return synthesize(tmp_path_factory.mktemp("construct"), build, region=region)

    return run


@pytest.fixture(scope="session")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def stack() -> cdk.Stack:
    """A stack that is never synthesized: for errors, which constructs raise at once."""
    return cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region=REGION))
