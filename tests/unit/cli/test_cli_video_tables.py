"""Videos as people read them: in 80 columns, whatever titles hold, and with what to do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.run import END, SOUND, Part, Rendition, Run, RunStatus, video_part
from media_platform.contract.video import Failure, Video, VideoStatus
from mediactl.videos import outcomes, timelines
from mediactl.videos import tables as video_tables
from mediactl.videos.timelines import Kept, VideoReport, VideoSummary

VIDEO, RUN, NEXT = new_id(), new_id(), new_id()
BEGUN = "2026-11-25T10:00:00.000Z"


def video(**changes: Any) -> Video:
    made = Video(
        video_id=VIDEO,
        tenant="acme",
        owner=new_id(),
        home_region="eu-central-1",
        title="Harbour",
        file_name="harbour.mp4",
        content_type="video/mp4",
        size_bytes=73_400_320,
        raw_key=f"raw/acme/ada/{VIDEO}.mp4",
        created_at=BEGUN,
        updated_at="2026-11-25T10:00:09.000Z",
        status=VideoStatus.READY,
        current_run=RUN,
        uploaded_at="2026-11-25T10:00:02.000Z",
        ready_at="2026-11-25T10:00:09.000Z",
        duration_seconds=3725.4,
    )
    return replace(made, **changes)


def run(run_id: str = RUN, **changes: Any) -> Run:
    rung = Rendition(height=720, width=1280, frames=500, bandwidth=3_210_000, codecs="avc1.64001f")
    made = Run(
        video_id=VIDEO,
        run_id=run_id,
        status=RunStatus.RUNNING,
        started_at="2026-11-25T10:00:03.000Z",
        progress=40,
        chunks=3,
        renditions=(rung,),
        playable_at="2026-11-25T10:00:05.000Z",
    )
    return replace(made, **changes)


def part(name: str, **changes: Any) -> Part:
    return Part(video_id=VIDEO, run_id=RUN, name=name, **changes)


def event(kind: EventType, **data: Any) -> DomainEvent:
    return DomainEvent(
        event_id=new_id(),
        event_type=kind,
        video_id=VIDEO,
        tenant="acme",
        region="eu-central-1",
        sequence=1,
        occurred_at=BEGUN,
        data=data,
    )


def found(kept: Kept) -> VideoReport:
    return timelines.report(timelines.body_of(kept), kept)


def shown(report: VideoReport) -> list[str]:
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as captured:
        for table in video_tables.report(report, parts=True):
            console.print(table)
    return captured.get().splitlines()


def test_a_title_does_nothing_to_the_terminal() -> None:
    wild = video(title="\x1b]0;owned\x07\x1b[2J Harbour\nat dawn " + "long " * 30)
    report = found(Kept(wild, [run()], [], []))
    body = timelines.body_of(Kept(wild, [], [], []))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(video_tables.listed([VideoSummary.of(body)]))
    for line in [*shown(report), *captured.get().splitlines()]:
        assert cell_len(line) <= 80
        assert not {"\x1b", "\x07"} & set(line)


def test_a_title_leaves_all_else_of_a_list_whole() -> None:
    long = timelines.body_of(Kept(video(title="Harbour at dawn, " * 9), [], [], []))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(video_tables.listed([VideoSummary.of(long)]))
    heading, *_, row = captured.get().splitlines()
    assert row.startswith(f"{VIDEO}  {long['status']} ")
    assert "Harbour" in row
    assert heading.split() == ["video", "status", "length", "age", "title"]


def test_parts_stand_in_the_order_of_the_work_with_their_state() -> None:
    soon = int(time.time()) + 60
    kept = Kept(
        video(status=VideoStatus.PROCESSING),
        [run()],
        [
            part(END, attempt=0),
            part(SOUND, done=True, cpu_seconds=1.5),
            part(video_part(1), lease_until=soon, attempt=2, failures=1),
            part(video_part(0), done=True, cpu_seconds=2),
        ],
        [],
    )
    report = found(kept)
    (only,) = report.runs
    assert [(one.name, one.state) for one in only.parts] == [
        ("video#00000", "done"),
        ("video#00001", "running"),
        ("sound", "done"),
        ("end", "waiting"),
    ]
    assert (only.chunks_done, only.chunks, only.cpu_seconds) == (1, 3, 3.5)
    assert (report.playable, report.progress) == (True, 40)
    assert all(cell_len(line) <= 80 for line in shown(report))


def test_a_run_that_will_replace_the_other_is_told_apart() -> None:
    report = found(Kept(video(next_run=NEXT), [run(), run(NEXT, progress=7)], [], []))
    assert [one.role for one in report.runs] == ["current", "next"]
    assert (report.progress, report.next_progress) == (100, 7)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ({"changed": {"title": "A", "tags": []}, "updated_by": "ada"}, "tags, title"),
        ({"run_id": NEXT, "updated_by": "ada"}, "to be transcoded again"),
        ({"part": "download#720", "updated_by": "ada"}, "asked for download"),
        ({"cancelled_run_id": NEXT}, "its transcoding was ended"),
        ({"run_id": NEXT, "code": "too_long", "message": "M."}, "a run failed, too_long: M."),
    ],
)
def test_a_change_is_told_in_words(data: dict[str, Any], detail: str) -> None:
    report = found(Kept(video(), [], [], [event(EventType.VIDEO_UPDATED, **data)]))
    assert [m.detail for m in report.timeline if m.what == "changed"] == [detail]


def test_a_public_video_of_others_is_shown_as_far_as_it_is_told() -> None:
    hidden = {"tenant", "owner", "file_name", "content_type", "size_bytes", "profile", "quality"}
    told = timelines.body_of(Kept(video(), [run()], [], [])).items()
    report = timelines.report({key: value for key, value in told if key not in hidden}, None)
    assert (report.tenant, report.table_read, report.runs) == (None, False, [])
    assert any("Harbour" in line for line in shown(report))


def test_what_events_tell_no_more_is_told_by_the_video() -> None:
    report = found(Kept(video(), [run()], [], []))
    assert [moment.what for moment in report.timeline] == [
        "created",
        "uploaded",
        "a worker began",
        "playable",
        "ready",
    ]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("cancelled", f"transcode it again: mediactl videos transcode {VIDEO}"),
        ("unlawful", None),  # of a scanner of one's own
    ],
)
def test_a_failure_comes_with_what_to_do_where_that_is_known(code: str, remedy: str | None) -> None:
    failed = video(status=VideoStatus.FAILED, failure=Failure(code=code, message="Why."))
    report = found(Kept(failed, [], [], []))
    assert report.failure is not None
    assert report.failure.remedy == remedy
    assert any("Why. (" in line for line in shown(report))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0:00"), (75, "1:15"), (3725.4, "1:02:05")]
)
def test_lengths_are_those_of_players(seconds: float | None, text: str) -> None:
    assert video_tables.length(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (60, "1 m"), (7199, "1 h"), (200_000, "2 d")]
)
def test_ages_are_in_their_greatest_unit(seconds: float, text: str) -> None:
    assert video_tables.age(seconds) == text


def test_a_video_that_is_held_back_says_for_what_it_waits() -> None:
    waiting = video(status=VideoStatus.UPLOADED, held_back="daily_budget", ready_at=None)
    text = " ".join(" ".join(shown(found(Kept(waiting, [], [], [])))).split())
    assert "UPLOADED, waits" in text
    assert "acme spent the budget of this one" in text
    assert "mediactl costs breaker" in text


def test_whoever_waits_for_a_video_is_told_that_it_is_held_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Client:
        def __init__(self) -> None:
            waits = {"status": "UPLOADED", "held_back": "daily_budget", "progress": 0}
            self.answers = [waits, waits, {"status": "READY", "held_back": None, "progress": 100}]

        def video(self, _: str) -> dict[str, Any]:
            return self.answers.pop(0)

    monkeypatch.setattr(outcomes, "POLL_SECONDS", 0)
    client: Any = Client()
    assert outcomes.wait_until_done(client, VIDEO, "film.mp4", None)["status"] == "READY"
    assert capsys.readouterr().err.splitlines() == [
        "film.mp4: waits for the budget of another day 0 %",
        "film.mp4: READY 100 %",
    ]
