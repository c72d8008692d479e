"""Where a video stands and how it came there: what the API says of it, and what the table keeps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from media_platform.contract import table
from media_platform.contract.events import OUTBOX_BODY, DomainEvent, EventType
from media_platform.contract.outputs import StoreOutput
from media_platform.contract.run import END, SOUND, Part, Run, RunStatus
from media_platform.contract.video import Video, VideoStatus

if TYPE_CHECKING:
    from mediactl.client import MediaClient
    from mediactl.environment import Environment

REMEDIES = {
    "cancelled": "transcode it again: mediactl videos transcode VIDEO",
    "processing_failed": "look at the reason with `mediactl dlq list`, then transcode it again: "
    "mediactl videos transcode VIDEO",
    "duplicate": "use the video that has the file, or upload it with --duplicates keep",
    "upload_aborted": "upload the file again",
    "upload_abandoned": "upload the file again",
    "wrong_size": "the file was changed while it was uploaded: upload it again",
    "wrong_type": "upload it with the content type that it has",
    "empty_file": "the file has no bytes: upload another",
    "empty": "the file has no bytes: upload another",
    "too_large": "upload a smaller or more compressed file, or raise `upload_max_mebibytes`",
    "too_long": "cut it, or raise `max_duration_seconds` of the stage",
    "too_many_pixels": "scale it down before it is uploaded",
    "too_many_frames": "lower its frame rate before it is uploaded",
    "unsupported_codec": "encode it with a usual codec, such as H.264, and without encryption",
    "truncated": "the end of the file is missing: upload it again from the original",
    "damaged": "the file is damaged: upload it again from the original",
    "unreadable": "the file is damaged: upload it again from the original",
    "not_a_video": "the file is no video: upload another",
    "no_video": "the file has no picture: upload another",
    "no_decodable_frames": "the file has no picture that can be decoded: encode it anew",
    "source_missing": "its file is gone: upload it again",
    "file_gone": "its file is gone: upload it again",
}
"""What to do about a failure, by its code; those of scanners of one's own are not known here."""


@dataclass(frozen=True)
class FailureShown:
    """Why something failed.

    Attributes:
        code: Stable code for programs.
        message: A sentence for people.
        remedy: What to do about it, where that is known.
    """

    code: str
    message: str
    remedy: str | None

    @classmethod
    def of(cls, failure: Mapping[str, Any] | None, video_id: str) -> Self | None:
        """Return what the API or the table says, with a remedy."""
        if failure is None:
            return None
        remedy = REMEDIES.get(failure["code"])
        return cls(
            failure["code"],
            failure["message"],
            remedy.replace("VIDEO", video_id) if remedy else None,
        )


@dataclass(frozen=True, kw_only=True)
class VideoSummary:
    """A video; the fields are called as the API calls them.

    Some of a PUBLIC video are not told to those who are not of its tenant.

    Attributes:
        video_id: Its id.
        status: Where it stands.
        title: Its title.
        tenant: Its tenant.
        owner: User who created it.
        visibility: Who may play it.
        tags: Its tags.
        file_name: Name of the file at the uploader's.
        content_type: Content type of the file.
        size_bytes: Size of the file.
        version: Rises with every change.
        created_at: Time of creation.
        updated_at: Time of the last change.
        duration_seconds: Length, once known.
        width: Width of the source, once known.
        height: Height of the source, once known.
        playable: Whether playback is granted.
        progress: Per cent of the frames that are published.
        next_progress: The same of the run that will replace them, while there is one.
        profile: Ladder that was asked for last.
        quality: Quality that was asked for last.
        held_back: Why its transcoding waits, ``daily_budget`` if the tenant spent what it may of
            the day; ``None`` if nothing holds it back.
        failure: Why it failed, if it did.
        duplicate_of: The video that has the same file, if it was refused for that.
        deleted_at: Time of deletion, where that is told.
        restorable_until: Time until which it may be restored, where that is told.
    """

    video_id: str
    status: str
    title: str
    tenant: str | None
    owner: str | None
    visibility: str
    tags: list[str]
    file_name: str | None
    content_type: str | None
    size_bytes: int | None
    version: int
    created_at: str
    updated_at: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    playable: bool
    progress: int
    next_progress: int | None
    profile: str | None
    quality: str | None
    held_back: str | None
    failure: FailureShown | None
    duplicate_of: str | None
    deleted_at: str | None
    restorable_until: str | None

    @classmethod
    def of(cls, body: Mapping[str, Any], **more: Any) -> Self:
        """Return what the API says of a video.

        Args:
            body: Its representation.
            **more: Fields that a kind of summary has besides.
        """
        following = body.get("next_run")
        named = {f.name: body.get(f.name) for f in fields(VideoSummary)}
        return cls(
            **{
                **named,
                "tags": list(body.get("tags") or ()),
                "next_progress": following["progress"] if following else None,
                "failure": FailureShown.of(body.get("failure"), body["video_id"]),
                **more,
            }
        )


@dataclass(frozen=True)
class VideoList:
    """Videos, newest first.

    Attributes:
        videos: The videos.
        more: Whether there are more than were asked for.
    """

    videos: list[VideoSummary]
    more: bool


@dataclass(frozen=True)
class Moment:
    """Something that happened to a video.

    Attributes:
        at: Time.
        what: What happened.
        detail: More about it, or nothing.
    """

    at: str
    what: str
    detail: str


@dataclass(frozen=True)
class PartShown:
    """A part of a run: a chunk of the picture, the sound, the end, a download.

    Attributes:
        name: Its name.
        state: ``done``, ``running``, ``waiting`` (nobody holds it) or ``failed``.
        attempt: How many workers took it so far.
        failures: Transient failures so far.
        cpu_seconds: Processor time that was spent on it.
    """

    name: str
    state: str
    attempt: int
    failures: int
    cpu_seconds: float


@dataclass(frozen=True)
class RunShown:
    """A run.

    Attributes:
        run_id: Its id.
        status: Where it stands.
        role: ``current``: what viewers have or get; ``next``: what will replace it; ``former``.
        progress: Per cent of the frames.
        started_at: Time at which the first worker took it.
        playable_at: Time from which it could be played.
        finished_at: Time at which it ended.
        cpu_seconds: Processor time of all workers, so far.
        chunks: Chunks of the picture, once planned.
        chunks_done: Those of them that are done.
        parts: All its parts that a worker took, or somebody asked for.
    """

    run_id: str
    status: str
    role: str
    progress: int
    started_at: str
    playable_at: str | None
    finished_at: str | None
    cpu_seconds: float
    chunks: int | None
    chunks_done: int
    parts: list[PartShown]


@dataclass(frozen=True)
class RenditionShown:
    """A rung of the ladder.

    Attributes:
        height: Lines.
        width: Pixels a line.
        frames: Frames that are published.
        bandwidth: Peak bits per second.
        codecs: RFC 6381 codecs.
    """

    height: int
    width: int
    frames: int
    bandwidth: int
    codecs: str


@dataclass(frozen=True, kw_only=True)
class VideoReport(VideoSummary):
    """A video, and how it came to where it stands.

    Attributes:
        home_region: Region that changes it, if the table could be read.
        renditions: Its ladder, highest first.
        timeline: What happened to it, oldest first.
        runs: Its runs that are kept, oldest first, if the table could be read.
        table_read: Whether it could.
    """

    home_region: str | None
    renditions: list[RenditionShown]
    timeline: list[Moment]
    runs: list[RunShown]
    table_read: bool


@dataclass(frozen=True)
class Kept:
    """What the table keeps of a video.

    Attributes:
        video: The video.
        runs: Its runs, oldest first.
        parts: Parts of its runs.
        events: Its events, for as long as they are kept.
    """

    video: Video
    runs: list[Run]
    parts: list[Part]
    events: list[DomainEvent]


def read_kept(environment: Environment, video_id: str) -> Kept | None:
    """Return what the table keeps of a video, ``None`` if it knows none of that id.

    Raises:
        botocore.exceptions.ClientError: If the credentials may not read the table.
    """
    dynamodb = environment.client("dynamodb")
    pages = dynamodb.get_paginator("query").paginate(
        TableName=environment.output(StoreOutput.TABLE_NAME),
        KeyConditionExpression="#pk = :video",
        ExpressionAttributeNames={"#pk": table.PARTITION_KEY},
        ExpressionAttributeValues={":video": {"S": table.video_partition(video_id)}},
    )
    items = {item[table.SORT_KEY]["S"]: item for page in pages for item in page["Items"]}
    meta = items.get(table.video_key(video_id).sk)
    if meta is None:
        return None
    kept = Kept(Video.from_item(meta), [], [], [])
    for key, item in items.items():
        if key.startswith(table.EVENT_SORT_PREFIX):
            with contextlib.suppress(ValueError):
                kept.events.append(DomainEvent.from_json(item[OUTBOX_BODY]["S"]))
        elif key.startswith("RUN#") and key.endswith("#STATE"):
            kept.runs.append(Run.from_item(item))
        elif key.startswith("RUN#") and "#PART#" in key:
            kept.parts.append(Part.from_item(item))
    kept.runs.sort(key=lambda run: run.started_at)
    return kept


def body_of(kept: Kept) -> dict[str, Any]:
    """Return a video as the API would, for operators whom it is not told."""
    video = kept.video
    run = next((run for run in kept.runs if run.run_id == video.current_run), None)
    following = next((run for run in kept.runs if run.run_id == video.next_run), None)
    ready = video.status is VideoStatus.READY
    return {
        **asdict(video),
        "playable": ready or bool(run and run.playable_at),
        "progress": 100 if ready else run.progress if run else 0,
        "next_run": {"progress": following.progress} if following else None,
        "renditions": [asdict(one) for one in run.renditions] if run else [],
    }


def report(body: Mapping[str, Any], kept: Kept | None) -> VideoReport:
    """Return where a video stands.

    Args:
        body: What the API says of it.
        kept: What the table keeps of it, if it could be read.
    """
    moments = list(_moments(kept)) if kept else []
    if not any(one.what == "created" for one in moments):
        moments.append(Moment(body["created_at"], "created", ""))
    return VideoReport.of(
        body,
        home_region=kept.video.home_region if kept else None,
        renditions=[
            RenditionShown(**{f.name: one[f.name] for f in fields(RenditionShown)})
            for one in body.get("renditions") or ()
        ],
        timeline=sorted(moments, key=lambda moment: moment.at),
        runs=list(_runs(kept)) if kept else [],
        table_read=kept is not None,
    )


def why_it_waits(tenant: str | None) -> str:
    """Return why a video waits that is held back, and what lets it go on."""
    who = tenant or "its tenant"
    return (
        f"for the next day (UTC): {who} spent the budget of this one; operators see"
        " `mediactl costs breaker`"
    )


def with_audit(found: VideoReport, client: MediaClient) -> VideoReport:
    """Return a report that also tells who did what, on the days on which something happened.

    Args:
        found: The report.
        client: A client of an administrator.

    Raises:
        ApiError: If the caller does not administer the tenant.
    """
    moments = list(found.timeline)
    for day in sorted({moment.at[:10] for moment in moments} | {found.updated_at[:10]}):
        query = {"day": day, "video": found.video_id, "tenant": found.tenant, "limit": 200}
        for entry in client.listed("/api/admin/audit", "entries", query):
            changed = ", ".join(entry["changed"])
            detail = f"by {entry['actor']}{f': {changed}' if changed else ''}"
            moments.append(Moment(entry["at"], entry["action"], detail))
    return replace(found, timeline=sorted(moments, key=lambda moment: moment.at))


def _moments(kept: Kept) -> Iterator[Moment]:
    for event in kept.events:
        yield Moment(event.occurred_at, _EVENTS[event.event_type], _detail(event))
    for run in kept.runs:
        name = f"run {run.run_id}" if len(kept.runs) > 1 else ""
        yield Moment(run.started_at, "a worker began", name)
        if run.playable_at:
            yield Moment(run.playable_at, "playable", name)
        if run.finished_at and run.status is not RunStatus.COMPLETE:
            yield Moment(run.finished_at, f"run {run.status.value}", name)
    video = kept.video
    known = {event.event_type for event in kept.events}
    for at, kind in (
        (video.uploaded_at, EventType.VIDEO_UPLOADED),
        (video.ready_at, EventType.VIDEO_READY),
        (video.deleted_at, EventType.VIDEO_DELETED),
    ):
        if at and kind not in known:
            yield Moment(at, _EVENTS[kind], "")


_EVENTS = {
    EventType.VIDEO_CREATED: "created",
    EventType.VIDEO_UPLOADED: "uploaded",
    EventType.VIDEO_READY: "ready",
    EventType.VIDEO_FAILED: "failed",
    EventType.VIDEO_UPDATED: "changed",
    EventType.VIDEO_DELETED: "deleted",
    EventType.VIDEO_RESTORED: "restored",
}


def _detail(event: DomainEvent) -> str:
    data = event.data
    if event.event_type is EventType.VIDEO_FAILED:
        return f"{data.get('code', '')}: {data.get('message', '')}"
    if event.event_type is EventType.VIDEO_UPDATED:
        return _change(data)
    return ""


def _change(data: Mapping[str, Any]) -> str:
    """Return what a change was that is none of the status (``docs/events.md``)."""
    if "code" in data:
        return f"a run failed, {data['code']}: {data.get('message', '')}"
    if "cancelled_run_id" in data:
        return "its transcoding was ended"
    if "part" in data:
        return f"asked for {str(data['part']).partition('#')[0]}"
    if "run_id" in data:
        return "to be transcoded again"
    return ", ".join(sorted(data.get("changed") or ()))


def _runs(kept: Kept) -> Iterator[RunShown]:
    for run in kept.runs:
        parts = [part for part in kept.parts if part.run_id == run.run_id]
        pictures = [part for part in parts if part.name.startswith("video#")]
        spent = run.cpu_seconds
        yield RunShown(
            run_id=run.run_id,
            status=run.status.value,
            role=_role(kept.video, run.run_id),
            progress=run.progress,
            started_at=run.started_at,
            playable_at=run.playable_at,
            finished_at=run.finished_at,
            cpu_seconds=spent if spent is not None else sum(part.cpu_seconds for part in parts),
            chunks=run.chunks,
            chunks_done=sum(part.done for part in pictures),
            parts=[_part(part) for part in _in_order(parts)],
        )


def _role(video: Video, run_id: str) -> str:
    if run_id == video.current_run:
        return "current"
    return "next" if run_id == video.next_run else "former"


def _in_order(parts: Iterable[Part]) -> list[Part]:
    last = {SOUND: 1, END: 2}
    return sorted(parts, key=lambda part: (last.get(part.name, 0), part.name))


def _part(part: Part) -> PartShown:
    if part.done:
        state = "done"
    elif part.lease_until > time.time():
        state = "running"
    else:
        state = "failed" if part.failure else "waiting"
    return PartShown(part.name, state, part.attempt, part.failures, part.cpu_seconds)
