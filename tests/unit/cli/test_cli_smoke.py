"""What ``mediactl smoke`` tells CI, and how things are named that a run leaves."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mediactl.checking.junit import junit_xml
from mediactl.checking.smoke import Step
from mediactl.commands.smoke import command
from mediactl.errors import USAGE, CommandError
from mediactl.temporary import TemporaryName


def test_junit_tells_what_failed_why_and_what_to_look_at() -> None:
    steps = [
        Step(name="sign in", result="passed", seconds=0.25, detail="as <ada> & \x1b[31mothers"),
        Step(name="upload", result="failed", seconds=1.5, detail="status 500", hint="logs"),
        Step(name="purge", result="skipped", seconds=0, detail="not reached"),
    ]
    document = junit_xml("mediactl smoke dev", steps, started_at="2026-11-26T05:35:08.517Z")
    root = ET.fromstring(document)  # noqa: S314 - we wrote it
    assert root.tag == "testsuites"
    (suite,) = root
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    assert (suite.get("time"), suite.get("timestamp")) == ("1.750", "2026-11-26T05:35:08")
    passed, failed, skipped = suite
    assert passed.findtext("system-out") == "as <ada> & \ufffd[31mothers"
    failure = failed.find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("status 500", "status 500\nlogs")
    left_out = skipped.find("skipped")
    assert left_out is not None
    assert left_out.get("message") == "not reached"


def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "smoke.xml"
    with pytest.raises(CommandError, match="there is no folder") as refused:
        command.main(["--junit", str(file)], standalone_mode=False)
    assert refused.value.exit_code == USAGE


def test_a_name_outlives_what_is_over_of_its_kind_and_stage_alone() -> None:
    name = TemporaryName.make("smoke", "dev-2", seconds=60)
    assert TemporaryName.parse(str(name)) == name
    assert str(name).startswith(name.prefix)
    assert len(str(name)) <= 80  # as names of queues may have
    over = TemporaryName.make("smoke", "dev-2", seconds=-1)
    assert name.outlives(str(over))
    assert not name.outlives(str(name))
    for other in (
        str(TemporaryName.make("smoke", "dev", seconds=-1)),
        str(TemporaryName.make("events", "dev-2", seconds=-1)),
        f"{over}x",
        "mediactl-smoke-dev-2",
        "somebody's video",
    ):
        assert not name.outlives(other)
