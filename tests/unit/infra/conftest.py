"""One synth of every stage for the whole session."""

from __future__ import annotations

from collections.abc import Callable

import aws_cdk as cdk
import pytest
from infra_templates import (
    REGION,
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
    def run(build: Callable[[cdk.Stack], object], *, region: str | None = REGION) -> Template:
        return synthesize(tmp_path_factory.mktemp("construct"), build, region=region)

    return run


@pytest.fixture
def stack() -> cdk.Stack:
    """A stack that is never synthesized: for errors, which constructs raise at once."""
    return cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region=REGION))
