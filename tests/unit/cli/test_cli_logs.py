"""How log lines are read and shown, and what a file of them gives while it grows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from media_platform.contract.ids import new_id
from mediactl.commands.logs import text_of
from mediactl.environment import load_environment
from mediactl.options import SINCE
from mediactl.watching.log_lines import LogFile, Logs, Wanted, read_line

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def line(at: datetime, message: str, **fields: Any) -> str:
    return json.dumps({"time": at.isoformat(), "level": "INFO", "message": message, **fields})


def read(text: str) -> Any:
    return read_line(text, NOON, region="us-east-1", service="api")


def log_file(path: Path, service: str = "api", **wanted: Any) -> LogFile:
    chosen = Wanted(**{"since": LONG_AGO, **wanted})
    return LogFile(path, region="us-east-1", service=service, wanted=chosen)


def messages(lines: Any) -> list[str]:
    return [one.message for one in lines]


def test_a_line_of_the_platform_is_read_with_its_own_time() -> None:
    found = read(line(NOON - timedelta(microseconds=1500), "request", status=200))
    assert (found.time, found.level) == ("2026-11-26T11:59:59.998Z", "INFO")
    assert (found.message, found.fields) == ("request", {"status": 200})


@pytest.mark.parametrize("text", ["no json", "[1]", "{", "[" * 100_000, '"text"', ""])
def test_any_other_line_is_a_message(text: str) -> None:
    found = read(text)
    assert (found.message, found.time) == (text, "2026-11-26T12:00:00.000Z")


@pytest.mark.parametrize("time", ["yesterday", 5, None, {}])
def test_a_time_that_is_none_counts_as_when_it_came(time: object) -> None:
    assert read(json.dumps({"time": time, "message": "m"})).time == "2026-11-26T12:00:00.000Z"


def test_people_get_no_control_characters_and_exceptions_on_lines_of_their_own() -> None:
    said = {"title": "\x1b[2J", "trace_id": "abc", "exception": "Traceback\n  broke"}
    shown = text_of(read(line(NOON, "failed", **said)))
    assert shown == (
        "12:00:00.000 api            INFO    failed  title=\N{REPLACEMENT CHARACTER}[2J\n"
        "    Traceback\n      broke"
    )


def test_a_file_gives_whole_lines_once_while_it_grows_and_when_it_begins_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "api.log"
    source = log_file(path)
    assert messages(source.lines()) == []
    path.write_text(line(NOON, "one") + "\nof no time\n" + line(NOON, "two")[:9])
    lines = list(source.lines())
    assert messages(lines) == ["one", "of no time"]
    assert lines[1].time == lines[0].time
    with path.open("a") as file:
        file.write(line(NOON, "two")[9:] + "\n")
    assert messages(source.lines()) == ["two"]
    path.write_text(line(NOON, "new") + "\n")
    assert messages(source.lines()) == ["new"]


def test_lines_are_chosen_by_time_video_and_sense(tmp_path: Path) -> None:
    path, video_id = tmp_path / "api.log", new_id()
    texts = [
        line(NOON - timedelta(hours=1), "old", video_id=video_id),
        line(NOON, "of the video", video_id=video_id),
        line(NOON, "by its path", path=f"/api/videos/{video_id}"),
        line(NOON, "of another", video_id=new_id()),
        json.dumps({"_aws": {}, "video_id": video_id, "time": NOON.isoformat()}),
        f"END RequestId: {video_id}",
    ]
    path.write_text("\n".join([*texts, ""]))
    half_past = NOON - timedelta(minutes=30)
    assert messages(log_file(path, since=half_past, video_id=video_id).lines()) == [
        "of the video",
        "by its path",
    ]
    everything = log_file(path, since=half_past, video_id=video_id, everything=True)
    assert len(list(everything.lines())) == 4


def test_lines_of_several_services_come_in_the_order_of_time(tmp_path: Path) -> None:
    for name, minutes in (("api", (0, 2, 4)), ("workers", (1, 3, 5))):
        texts = [line(NOON + timedelta(minutes=one), str(one)) for one in minutes]
        (tmp_path / name).write_text("\n".join([*texts, ""]))
    for lines in (Logs.lines, Logs.sorted_lines):
        chosen = [log_file(tmp_path / name, name) for name in ("workers", "api")]
        logs = Logs(load_environment("local"), [*chosen], [])
        assert messages(lines(logs)) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("text", "ago"), [("30s", 30), ("10m", 600), ("2h", 7200), ("3d", 259_200), ("0s", 0)]
)
def test_a_time_may_be_told_by_how_long_ago_it_was(text: str, ago: int) -> None:
    before = datetime.now(UTC)
    found = SINCE.convert(text, None, None)
    assert before <= found + timedelta(seconds=ago) <= datetime.now(UTC)


def test_a_time_may_be_told_itself() -> None:
    assert SINCE.convert("2026-11-26T12:00Z", None, None) == NOON
    assert SINCE.convert("2026-11-26T13:00+01:00", None, None) == NOON
    assert SINCE.convert("2026-11-26 12:00", None, None) == NOON


@pytest.mark.parametrize("text", ["", "m", "10", "10w", "-1h", "1.5h", "99999999999999d", "soon"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SINCE.convert(text, None, None)
