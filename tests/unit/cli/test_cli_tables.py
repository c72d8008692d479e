"""Tables of figures, in 80 columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner

from mediactl.costs import spending
from mediactl.local.plane import Plane, Status
from mediactl.main import cli

COLUMNS = 80
VIDEO = "01a21699-19c4-7efd-8773-0fa19f34e6f5"


@pytest.fixture(autouse=True)
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def test_the_id_of_a_video_stands_in_one_line_beside_what_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = spending.SpendingRow(
        by=VIDEO,
        tenant="acme",
        runs=12,
        running=0,
        video_minutes=181.5,
        cpu_hours=12.34,
        gb_in=12.34,
        gb_out=12.34,
        usd=1.2345,
        usd_per_minute=0.0123,
        storage_usd=0.1,
    )
    found = spending.Spending(
        since="2026-11-01",
        by="video",
        rows=[row],
        total=replace(row, by="all"),
        unknown_videos=0,
        prices=[],
    )
    for name in ("SpendingStore", "WorkerPrices"):
        monkeypatch.setattr(spending, name, MagicMock())
    monkeypatch.setattr(spending, "read_spending", lambda *_, **__: found)
    lines = CliRunner().invoke(cli, ["costs", "list", "--by", "video"]).output.splitlines()
    (line,) = [one for one in lines if VIDEO in one]
    assert line.split()[1:] == ["12", "181.5", "12.34", "12.34", "12.34", "1.2345", "0.0123"]
    assert max(map(len, lines)) <= COLUMNS


def test_a_plane_shows_services_and_queues_by_names_that_people_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = "MediaPlatform-local-Media-"
    names = {
        "ApiService3B8CBE34": "ApiService",
        "Transcode-Workers-AA04D020": "Transcode-Workers",
        "TranscodeDeadLetters3EDAD525-60B951672E788": "TranscodeDeadLetters",
        "TranscodeWebhooksDeliveryDeadLetters94079F94DDB7B9346E": (
            "TranscodeWebhooksDeliveryDeadLetters"
        ),
    }
    where: dict[str, Any] = {"region": "us-east-1"}
    counts = {"desired": 1, "running": 1, "healthy": 1}
    depths = {"visible": 0, "in_flight": 0, "dead_letter": True}
    status = Status(
        up=True,
        healthy=True,
        services=[{"name": stack + name, **where, **counts} for name in names],
        queues=[{"name": stack + name, **where, **depths} for name in names]
        + [{"name": "mediactl-tail-local-1795718809-85d5234c", **where, **depths}],
    )
    monkeypatch.setattr(Plane, "status", lambda _: status)
    lines = CliRunner().invoke(cli, ["local", "status"]).output.splitlines()
    firsts = [line.split()[0] for line in lines if "us-east-1" in line]
    assert firsts == [*names.values(), *names.values(), "mediactl-tail-local-1795718809-85d5234c"]
    assert max(map(len, lines)) <= COLUMNS
