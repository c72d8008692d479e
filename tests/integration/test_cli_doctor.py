"""``mediactl doctor`` on the plane of the session, and in an account that is not ready."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Answer, Mediactl
from conftest import REPOSITORY, RunningPlane

from mediactl.checking.account import regions
from mediactl.checking.deployed_stage import dns, image_finding
from mediactl.checking.findings import Patient
from mediactl.deploying.assembly import AssemblyStack
from mediactl.environment import load_environment
from mediactl.errors import DEGRADED
from mediactl.local.aws import root_environment

APP = Path(__file__).with_name("stage_app")
Findings = dict[str, list[dict[str, Any]]]


def findings(answer: Answer) -> Findings:
    """Return what was found, by check."""
    found: Findings = {}
    for one in json.loads(answer.stdout)["findings"]:
        found.setdefault(one["check"], []).append(one)
    return found


def states(found: Findings) -> dict[str, set[str]]:
    return {check: {one["state"] for one in ones} for check, ones in found.items()}


@pytest.fixture
def leftover(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a plane whose folder was removed while it ran."""
    folder = tmp_path / "gone" / "scratch" / "emulator"
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        env={"TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()


def test_a_plane_is_looked_at_and_what_nobody_can_see_is_skipped(
    mediactl: Mediactl, plane: RunningPlane, leftover: subprocess.Popen[bytes]
) -> None:
    found = findings(mediactl("doctor", "-e", "local", "--json"))
    seen = states(found)
    good = ("Python", "CDK CLI", "ffmpeg", "ports", "account", "clock", "templates", "bootstrap")
    assert {check: seen[check] for check in (*good, "stacks", "answers")} == {
        check: {"ok"} for check in (*good, "stacks", "answers")
    }
    for check in ("Docker", "region", "quota", "DNS", "images", "drift", "certificate"):
        assert seen[check] == {"skipped"}
    assert {one["seen"] for one in found["answers"]} == {
        "API: it answers",
        "admin service: it answers",
    }
    assert f"kill {leftover.pid}" in {one["fix"] for one in found["leftovers"]}
    assert len(found["stacks"]) == len(plane.endpoints.outputs)


class Person:
    """A person with the stage ``dev`` of the smallest app, and nothing that is ready for it."""

    def __init__(self, folder: Path) -> None:
        app = folder / "app"
        shutil.copytree(APP, app)
        (app / "node_modules").symlink_to(REPOSITORY / "node_modules")
        self.app = app
        settings = folder / "mediactl.toml"
        settings.write_text(
            f"[environments.dev]\napp = {json.dumps(str(app))}\n"
            'regions = ["eu-west-1", "us-west-2"]\n'
        )
        self.mediactl = Mediactl(folder, {"MEDIACTL_CONFIG": str(settings)})


def test_an_account_that_is_not_ready_is_told_with_what_makes_it_so(
    plane: RunningPlane, tmp_path: Path
) -> None:
    person = Person(tmp_path)
    answer = person.mediactl(
        "doctor", "-e", "dev", "--json", **root_environment(plane.emulator.url)
    )
    assert answer.exit_code == DEGRADED
    found = findings(answer)
    assert {(one["region"], one["state"], one["fix"]) for one in found["bootstrap"]} == {
        ("eu-west-1", "fail", "mediactl bootstrap -e dev"),
        ("us-west-2", "fail", "mediactl bootstrap -e dev"),
    }
    (stacks,) = found["stacks"]
    assert (stacks["state"], stacks["fix"]) == ("warn", "mediactl deploy -e dev")
    assert states(found)["quota"] == {"skipped"}


def test_without_network_or_app_the_rest_is_looked_at(tmp_path: Path) -> None:
    person = Person(tmp_path)
    (person.app / "change.json").write_text('{"refused": "domain is missing; add one"}')
    answer = person.mediactl(
        "doctor", "-e", "dev", "--json", **root_environment("http://127.0.0.1:9")
    )
    assert answer.exit_code == DEGRADED
    found = findings(answer)
    (account,) = found["account"]
    assert account["state"] == "fail"
    assert "does not answer" in account["seen"]
    assert states(found)["stacks"] == {"skipped"}
    offline = person.mediactl("doctor", "-e", "dev", "--offline", CDK_DOCKER="no-such-program")
    assert offline.exit_code == DEGRADED
    assert "domain is missing; add one" in offline.stdout
    assert "no-such-program is not installed" in offline.stdout
    assert "→ start Docker" in offline.stdout


def test_an_image_that_is_gone_is_told_before_a_task_cannot_start(
    mediactl: Mediactl, plane: RunningPlane
) -> None:
    with mediactl.settings():
        environment = load_environment("local")
    ecr = plane.client("ecr")
    ecr.create_repository(repositoryName="doctor")
    ecr.put_image(repositoryName="doctor", imageTag="there", imageManifest="{}")
    registry = f"000000000000.dkr.ecr.{plane.region}.amazonaws.com"
    found = {
        image: image_finding(environment, image, plane.region)
        for image in (f"{registry}/doctor:there", f"{registry}/doctor:gone", "nginx:1")
    }
    assert [one.state for one in found.values()] == ["ok", "fail", "skipped"]
    assert found[f"{registry}/doctor:gone"].fix == "mediactl deploy -e local"


def test_a_region_that_is_off_and_a_domain_nobody_knows_are_told(
    mediactl: Mediactl, plane: RunningPlane
) -> None:
    with mediactl.settings():
        patient = Patient(load_environment("local"), lambda _: None, offline=False, drift=False)
    patient.environment.__dict__["regions"] = (plane.region, "xx-nowhere-9")
    assert {one.region: one.state for one in regions(patient)} == {
        plane.region: "ok",
        "xx-nowhere-9": "fail",
    }
    distribution = {
        "Type": "AWS::CloudFront::Distribution",
        "Properties": {"DistributionConfig": {"Aliases": ["media.invalid"]}},
    }
    edge = AssemblyStack("Edge", "Edge", "Edge", plane.region, Path("unused"))
    edge.__dict__["template"] = {"Resources": {"Distribution": distribution}}
    patient.templates = [edge]
    (found,) = dns(patient)
    assert (found.state, found.seen) == ("fail", "media.invalid is not known")
