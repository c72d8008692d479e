"""What tasks that sign playback said that they cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mediactl.environment import LocalEnvironment
from mediactl.keys.signers import last_complaint
from mediactl.local.state import StateFolder

HOME, SECOND = REGIONS = ("us-east-1", "eu-west-1")
SERVICE = "media-api"
BEGUN = datetime(2026, 11, 26, 5, tzinfo=UTC)


class Pair(LocalEnvironment):
    """A plane of two regions, whose service is called the same in both."""

    def plane(self, stage: str | None = None) -> Any:
        del stage
        return SimpleNamespace(state=StateFolder(self.state_dir))

    def output(self, name: Any, region: str | None = None) -> str:
        del name, region
        return SERVICE


def pair(folder: Path) -> Pair:
    return Pair("local", state_dir=folder, app=folder)


def log(folder: Path, region: str, lines: Sequence[tuple[int, str]]) -> None:
    """Write lines, each so many minutes after :data:`BEGUN`, where a service of a plane does."""
    file = StateFolder(folder).service_log_file(SERVICE, region)
    file.parent.mkdir(parents=True, exist_ok=True)
    told = (
        json.dumps({"time": (BEGUN + timedelta(minutes=after)).isoformat(), "message": message})
        for after, message in lines
    )
    file.write_text("no JSON: delivery_unavailable\n" + "".join(f"{line}\n" for line in told))


def test_a_task_that_cannot_read_which_key_signs_is_seen_in_its_region(tmp_path: Path) -> None:
    log(tmp_path, HOME, [(1, "started"), (3, "request")])
    log(tmp_path, SECOND, [(1, "delivery_unavailable"), (2, "other_key_unavailable"), (4, "ready")])
    assert last_complaint(pair(tmp_path), HOME, since=BEGUN) is None
    assert last_complaint(pair(tmp_path), SECOND, since=BEGUN) == BEGUN + timedelta(minutes=2)


def test_what_was_said_before_does_not_count(tmp_path: Path) -> None:
    log(tmp_path, SECOND, [(1, "delivery_unavailable")])
    assert last_complaint(pair(tmp_path), SECOND, since=BEGUN + timedelta(minutes=2)) is None


def test_a_task_that_said_nothing_yet_complains_of_nothing(tmp_path: Path) -> None:
    assert last_complaint(pair(tmp_path), HOME, since=BEGUN) is None
