"""Both services do what their OpenAPI documents say: schemathesis asks them all it can think of.

The requests are those of a fixed seed. To look for more than these, run it for longer and with
seeds that were not tried::

    SEED=7 EXAMPLES=500 .venv/bin/pytest tests/integration/test_api_described.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from admin_stage import OPERATORS, AdminStage, running_admin_stage

from media_platform.contract.times import timestamp
from media_platform.contract.video import Failure, VideoStatus
from tests.unit.api.api_keys import new_pair
from tests.unit.api.api_process import Api

SEED = os.environ.get("SEED", "1")
EXAMPLES = os.environ.get("EXAMPLES", "2")
"""Requests an operation, and sequences of requests along the links."""

TENANT = "acme"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminStage]:
    with running_admin_stage(tmp_path_factory.mktemp("described")) as stage:
        stage.stage.deliver(new_pair())
        fill(stage)
        yield stage
        assert stage.emulator.denied() == []


def fill(stage: AdminStage) -> None:
    """Let there be what no request makes: runs, failures, dead letters."""
    api, owner = stage.stage, stage.stage.person("ada", TENANT)
    for visibility in ("TENANT", "PUBLIC"):
        keys = api.start_run(owner.new_video(visibility=visibility), playable_at=timestamp())
        api.publish(keys.master_playlist, "#EXTM3U\n")
    ready = owner.new_video()
    api.start_run(ready)
    api.change(ready, status=VideoStatus.READY, duration_seconds=2.5, width=1280, height=720)
    failure = Failure(code="processing_failed", message="it was no film")
    api.change(owner.new_video(), status=VideoStatus.FAILED, failure=failure)
    stage.dead_letter("no job")
    stage.account(TENANT, "viewer")


def check(stage: AdminStage, api: Api, description: str, tenant: str) -> None:
    """Let schemathesis ask a service as an administrator of a tenant."""
    token = stage.stage.person("root", tenant, "admin").token
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"),),
            *("--config-file", HERE / "schemathesis.toml", "run", api.url + description),
            *("--header", f"Authorization: Bearer {token}"),
            *("--seed", SEED, "--max-examples", EXAMPLES),
        ],
        check=False,
        cwd=api.log_file.parent,
        env={"PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_api_does_what_its_description_says(stage: AdminStage) -> None:
    check(stage, stage.stage.api, "/api/openapi.json", TENANT)


def test_the_admin_service_does_what_its_description_says(stage: AdminStage) -> None:
    check(stage, stage.admin, "/api/admin/openapi.json", OPERATORS)
