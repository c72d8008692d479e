"""Videos as people read them, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mediactl.output import printable
from mediactl.output import table as new_table
from mediactl.progress import size
from mediactl.videos.timelines import why_it_waits

if TYPE_CHECKING:
    from mediactl.videos.timelines import Moment, RunShown, VideoReport, VideoSummary

_STYLES = {"READY": "green", "FAILED": "red", "DELETED": "dim", "PROCESSING": "yellow"}


def listed(videos: list[VideoSummary]) -> Table:
    """Return a list of videos."""
    table = new_table("video", "status", "length", "age", "title")
    now = datetime.now(UTC)
    for video in videos:
        table.add_row(
            video.video_id,
            _status(video),
            length(video.duration_seconds),
            age((now - _time(video.created_at)).total_seconds()),
            Text(printable(video.title), no_wrap=True, overflow="ellipsis"),
        )
    # Ids are there to be copied: titles alone give way.
    for column in table.columns[:4]:
        column.no_wrap = True
    for column in table.columns[2:4]:
        column.justify = "right"
    return table


def report(found: VideoReport, *, parts: bool) -> Iterator[Any]:
    """Yield what is shown of a video.

    Args:
        found: The video.
        parts: Whether every part of every run is shown.
    """
    yield _facts(found)
    yield ""
    yield _timeline(found.timeline)
    if found.renditions:
        yield ""
        ladder = new_table("rendition", "frames", "Mbit/s", "codecs", numbers=("frames", "Mbit/s"))
        for one in found.renditions:
            ladder.add_row(
                f"{one.width} x {one.height}",
                str(one.frames),
                f"{one.bandwidth / 1e6:.1f}",
                one.codecs,
            )
        yield ladder
    if found.runs:
        yield ""
        yield _runs(found.runs)
    for run in found.runs if parts else ():
        yield ""
        yield _parts(run)


def length(seconds: float | None) -> str:
    """Return a length as players show it."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """Return how long ago something was, in its greatest unit."""
    for unit, length_ in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length_:
            return f"{int(seconds // length_)} {unit}"
    return f"{max(0, int(seconds))} s"


def _status(video: VideoSummary) -> Text:
    text = video.status
    if video.held_back:
        text += ", waits"
    elif video.status == "PROCESSING":
        text += f" {video.progress}%"
    return Text(text, style=_STYLES.get(video.status, ""))


def _facts(found: VideoReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")

    def row(name: str, *values: str | Text | None) -> None:
        shown = [one for one in values if one]
        if shown:
            table.add_row(
                name, Text(", ").join(Text(s) if isinstance(s, str) else s for s in shown)
            )

    row("title", printable(found.title))
    row("video", found.video_id)
    row("status", _status(found))
    if found.held_back:
        row("waits", why_it_waits(found.tenant))
    if found.next_progress is not None:
        row("again", f"the run that will replace it is at {found.next_progress} %")
    if found.file_name is not None:
        row("file", printable(found.file_name), found.content_type, size(found.size_bytes or 0))
    row("picture", f"{found.width} x {found.height}" if found.width else None)
    row("length", length(found.duration_seconds))
    row("tenant", found.tenant, found.visibility)
    row("owner", found.owner)
    row("tags", *found.tags)
    row("home", found.home_region)
    row("deleted", found.deleted_at)
    row("until", found.restorable_until)
    if found.failure:
        message = printable(found.failure.message)
        row("failure", Text(f"{message} ({found.failure.code})", style="red"))
        row("remedy", found.failure.remedy)
    row("same file", found.duplicate_of)
    return table


def _timeline(moments: list[Moment]) -> Table:
    table = new_table("time (UTC)", "after", "what", "")
    first = _time(moments[0].at)
    for moment in moments:
        after = (_time(moment.at) - first).total_seconds()
        table.add_row(
            _time(moment.at).strftime("%m-%d %H:%M:%S"),
            f"{after:.1f} s" if after < 60 else length(after),  # noqa: PLR2004
            moment.what,
            Text(printable(moment.detail), overflow="fold"),
        )
    table.columns[0].no_wrap = True
    table.columns[1].justify = "right"
    return table


def _runs(runs: list[RunShown]) -> Table:
    table = new_table("run", "role", "status", "done", "chunks", "CPU s", numbers=("done", "CPU s"))
    for run in runs:
        chunks = f"{run.chunks_done} of {run.chunks}" if run.chunks is not None else ""
        table.add_row(
            run.run_id, run.role, run.status, f"{run.progress} %", chunks, f"{run.cpu_seconds:.1f}"
        )
    table.columns[0].no_wrap = True
    return table


def _parts(run: RunShown) -> Table:
    table = new_table(
        f"parts of {run.run_id}",
        "state",
        *("attempt", "failures", "CPU s"),
        numbers=("attempt", "failures", "CPU s"),
    )
    for part in run.parts:
        table.add_row(
            part.name, part.state, str(part.attempt), str(part.failures), f"{part.cpu_seconds:.1f}"
        )
    return table


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
