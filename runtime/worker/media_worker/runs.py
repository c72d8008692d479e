"""A worker's hold on the parts of a run, and every write that depends on it.

A part is held by an attempt number and a lease. Whoever takes it over, once the lease has passed,
raises the number; every write to it is on the condition that the number is still ours.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.items import to_wire
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.purge import Purge
from media_platform.contract.run import (
    SOUND,
    Part,
    Rendition,
    Run,
    RunStatus,
    Span,
    video_part,
)
from media_platform.contract.video import (
    Change,
    Failure,
    TransactItem,
    Video,
    VideoStatus,
    change,
    timestamp,
)
from media_worker.faults import StoppedError, StopReason, TransientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CONFLICT_TRIES = 20
"""Times that a change is decided again when somebody else changed the video meanwhile."""

_CONFLICT_PAUSE_SECONDS = 0.05

_CONDITION_FAILED = "ConditionalCheckFailed"
_CONFLICT = "TransactionConflict"

_PAGE = 16
"""Chunks that are read at a time when looking how far a run is joined."""


@dataclass(frozen=True)
class Settled:
    """Nothing is left to do for a job; its message may go.

    Attributes:
        why: For the log.
    """

    why: str


@dataclass(frozen=True)
class Busy:
    """Another worker holds the part.

    Attributes:
        seconds: Time until its lease passes.
    """

    seconds: int


@dataclass(frozen=True)
class Done:
    """The part is complete already.

    Attributes:
        part: The part.
    """

    part: Part


@dataclass(frozen=True)
class Opened:
    """A run that is to be worked on.

    Attributes:
        run: The run.
    """

    run: Run


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a run is.

    Attributes:
        run: The run.
        joined: Chunks that are complete, from the first on without a gap.
        partial: The chunk behind them, as far as it is, or ``None``.
        sound: The sound, or ``None`` if nobody has begun with it.
    """

    run: Run
    joined: int
    partial: Part | None
    sound: Part | None

    @property
    def picture_complete(self) -> bool:
        """Whether all chunks are complete."""
        return self.joined == self.run.chunks


class RunLedger:
    """The runs of a table.

    Args:
        client: Client for the home region of the videos.
        table_name: The table.
        region: The home region.
        lease_seconds: How long a part is held without a renewal.
    """

    def __init__(
        self, client: DynamoDBClient, table_name: str, region: str, lease_seconds: int
    ) -> None:
        self.client = client
        self.table_name = table_name
        self.region = region
        self.lease_seconds = lease_seconds

    def video(self, video_id: str) -> Video | None:
        """Return a video as it is now."""
        item = self._get(table.video_key(video_id))
        return Video.from_item(item) if item else None

    def run(self, job: TranscodeJob) -> Run | None:
        """Return the run of a job as it is now."""
        item = self._get(table.run_key(job.video_id, job.run_id))
        return Run.from_item(item) if item else None

    def part(self, job: TranscodeJob, name: str) -> Part | None:
        """Return a part of the run as it is now."""
        item = self._get(table.part_key(job.video_id, job.run_id, name))
        return Part.from_item(item) if item else None

    def chunks(self, job: TranscodeJob, start: int, end: int) -> list[Part]:
        """Return the chunks from ``start`` to before ``end`` that somebody has taken, in order."""
        found: list[Part] = []
        while start < end:
            page = self._chunk_page(job, start, end)
            found += page
            if len(page) < _PAGE:
                break
            start = int(page[-1].name.rpartition("#")[2]) + 1
        return found

    def running(self, job: TranscodeJob) -> Run:
        """Return the run of a job that is planned and goes on.

        Raises:
            StoppedError: If the run has ended.
        """
        run = self.run(job)
        if run is None or run.status is not RunStatus.RUNNING or run.chunks is None:
            raise StoppedError(StopReason.SETTLED)
        return run

    def standing(self, job: TranscodeJob, run: Run | None = None) -> Standing:
        """Return how far the run is; reads on from where it was known to be.

        Args:
            job: A job of the run.
            run: The run as it was read just now. By default, it is read.

        Raises:
            StoppedError: If the run has ended.
        """
        run = run or self.running(job)
        assert run.chunks is not None  # noqa: S101 - it is planned
        joined, partial = run.joined, None
        while joined < run.chunks:
            page = {part.name: part for part in self._chunk_page(job, joined, run.chunks)}
            before = joined
            while (part := page.get(video_part(joined))) is not None and part.done:
                joined += 1
            if part is not None or joined - before < _PAGE:
                partial = part
                break
        return Standing(run=run, joined=joined, partial=partial, sound=self.part(job, SOUND))

    def settled(self, job: TranscodeJob) -> str | None:
        """Return why nothing is to be done for a job, or ``None`` if something is."""
        return _settled(self.video(job.video_id), job)

    def open(self, job: TranscodeJob, *, forgive: bool) -> Opened | Settled:
        """Return the run of a job that is to be worked on; create it if there is none.

        Args:
            job: The job.
            forgive: Whether an operator wants a run that failed for good to go on.

        Raises:
            TransientError: If others kept changing the video at the same time.
        """
        for _ in range(_CONFLICT_TRIES):
            video = self.video(job.video_id)
            if why := _settled(video, job):
                return Settled(why)
            assert video is not None  # noqa: S101 - it would be settled
            run = self.run(job)
            if run is None:
                run = Run(
                    video_id=job.video_id,
                    run_id=job.run_id,
                    status=RunStatus.RUNNING,
                    started_at=timestamp(),
                )
                writes: list[TransactItem] = [
                    {
                        "Put": {
                            "TableName": self.table_name,
                            "Item": run.to_item(),
                            "ConditionExpression": "attribute_not_exists(pk)",
                        }
                    }
                ]
            elif run.status is RunStatus.FAILED and forgive:
                run = replace(run, status=RunStatus.RUNNING)
                writes = [self.run_update(job, RunStatus.FAILED, {"status": "RUNNING"})]
            elif run.status is not RunStatus.RUNNING:
                return Settled(f"the run is {run.status}")
            elif video.status in {VideoStatus.PROCESSING, VideoStatus.READY}:
                return Opened(run)
            else:
                writes = []
            if video.status is not VideoStatus.READY and video.status is not VideoStatus.PROCESSING:
                begin = change(
                    self.table_name,
                    video,
                    region=self.region,
                    status=VideoStatus.PROCESSING,
                    failure=None,
                )
                writes = [*begin.writes, *writes]
            if self.write(writes):
                return Opened(run)
        raise TransientError(f"video {job.video_id} changed {_CONFLICT_TRIES} times in a row")

    def finished(self, job: TranscodeJob) -> Run | Settled:
        """Return the run of a job that adds to what viewers have."""
        video, run = self.video(job.video_id), self.run(job)
        if video is None or video.status is not VideoStatus.READY:
            return Settled("the video is not ready")
        if run is None or video.current_run != job.run_id or run.status is not RunStatus.COMPLETE:
            return Settled("the run is not the one that viewers have")
        if video.tenant != job.tenant:
            return Settled("the job is of another tenant than the video")
        return run

    def claim(
        self, job: TranscodeJob, name: str, *, forgive: str | None = None
    ) -> HeldPart | Busy | Done:
        """Take a part of the run, if it is to be worked on.

        Args:
            job: The job that needs it.
            name: The part.
            forgive: Id of the message for which its failures are forgotten, once, however often
                the message comes. Default: they count on.
        """
        holder = secrets.token_hex(8)
        for _ in range(_CONFLICT_TRIES):
            now = int(time.time())
            part = self.part(job, name)
            if part is not None and part.done:
                return Done(part)
            if part is not None and part.holder == holder:
                # It was taken, but the answer was lost, and the client's next try refused.
                return HeldPart(self, job, part)
            if part is not None and part.lease_until > now:
                return Busy(part.lease_until - now)
            taken = self._take(job, name, part, now, holder=holder, forgive=forgive)
            if taken is not None:
                return HeldPart(self, job, taken)
        raise TransientError(f"part {name} changed {_CONFLICT_TRIES} times in a row")

    def reopen(self, job: TranscodeJob, part: Part, **changes: Any) -> HeldPart | None:
        """Take a part that is done, to change it; ``None`` if somebody else did meanwhile."""
        after = replace(
            part,
            **changes,
            done=False,
            attempt=part.attempt + 1,
            lease_until=int(time.time()) + self.lease_seconds,
            holder=secrets.token_hex(8),
        )
        return HeldPart(self, job, after) if self.write_part(part, after) else None

    def plan(self, job: TranscodeJob, **values: Any) -> None:
        """Write down what was planned, if nobody has yet: all plans of a source are equal."""
        update = self.run_update(job, RunStatus.RUNNING, values)["Update"]
        update["ConditionExpression"] += " AND attribute_not_exists(#plan)"
        self.succeeds(self.client.update_item, _without_table(update))

    def note_inits(
        self, job: TranscodeJob, inits: Mapping[str, str], codecs: Mapping[str, str]
    ) -> None:
        """Write down the init segments of tracks, or hold ours against those that stand there.

        Raises:
            TransientError: If they differ: a worker of another version is at work.
        """
        run = self.run(job)
        for _ in range(_CONFLICT_TRIES):
            if run is None or run.status is not RunStatus.RUNNING:
                raise StoppedError(StopReason.SETTLED)
            known = dict(run.inits or {})
            for track, name in inits.items():
                if known.get(track, name) != name:
                    raise TransientError(
                        f"the init segment of {track} is {name}, but {known[track]} was published"
                    )
            if inits.keys() <= known.keys():
                return
            update = self.run_update(
                job,
                RunStatus.RUNNING,
                {"inits": {**known, **inits}, "codecs": {**(run.codecs or {}), **codecs}},
            )["Update"]
            if run.inits is None:
                update["ConditionExpression"] += " AND attribute_not_exists(#inits)"
            else:
                update["ConditionExpression"] += " AND #inits = :seen"
                update["ExpressionAttributeValues"][":seen"] = to_wire(known)
            if self.succeeds(self.client.update_item, _without_table(update)):
                return
            run = self.run(job)
        raise TransientError(f"the inits of run {job.run_id} kept changing")

    def take_turn(self, job: TranscodeJob, run: Run) -> Run | None:
        """Be the one who publishes now; return the run as it is then, ``None`` if another is."""
        now = max(int(time.time() * 1000), run.published_at + 1)
        update = self._in_turn(job, run, {"published_at": now})
        try:
            answer = self.client.update_item(
                TableName=self.table_name, ReturnValues="ALL_NEW", **update
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return Run.from_item(answer["Attributes"])

    def note(self, job: TranscodeJob, run: Run, **values: Any) -> bool:
        """Write down what was published; tell whether it was still our turn.

        Args:
            job: A job of the run.
            run: The run as :meth:`take_turn` returned it.
            **values: Fields of the run.
        """
        return self.succeeds(self.client.update_item, self._in_turn(job, run, values))

    def _in_turn(self, job: TranscodeJob, run: Run, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return an update of a run on the condition that nobody took a turn since it was read."""
        update = self.run_update(job, RunStatus.RUNNING, values)["Update"]
        update["ConditionExpression"] += " AND #published_at = :seen"
        update["ExpressionAttributeNames"]["#published_at"] = "published_at"
        update["ExpressionAttributeValues"][":seen"] = to_wire(run.published_at)
        return _without_table(update)

    def note_download(self, job: TranscodeJob, height: int) -> None:
        """Write down that a progressive MP4 exists."""
        for _ in range(_CONFLICT_TRIES):
            run = self.run(job)
            if run is None or height in run.downloads:
                return
            update = self.run_update(
                job, run.status, {"downloads": sorted({*run.downloads, height})}
            )["Update"]
            update["ConditionExpression"] += " AND #downloads = :seen"
            update["ExpressionAttributeValues"][":seen"] = to_wire(run.downloads)
            if self.succeeds(self.client.update_item, _without_table(update)):
                return

    def check(self, job: TranscodeJob) -> None:
        """Look whether the video still wants the run.

        Raises:
            StoppedError: If it does not.
        """
        video = self.video(job.video_id)
        if video is None or video.status is VideoStatus.DELETED:
            raise StoppedError(StopReason.DELETED)
        run = self.run(job)
        if run is None or run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            raise StoppedError(StopReason.SETTLED)

    def cancel(self, job: TranscodeJob) -> None:
        """End the run of a deleted video."""
        update = self.run_update(job, RunStatus.RUNNING, _ended(RunStatus.CANCELLED))["Update"]
        self.succeeds(self.client.update_item, _without_table(update))

    def write(self, writes: list[TransactItem]) -> bool:
        """Write all or nothing; tell whether it was written or has to be decided again."""
        try:
            self.client.transact_write_items(TransactItems=writes)  # type: ignore[arg-type]
        except self.client.exceptions.TransactionCanceledException as error:
            codes = [reason.get("Code") for reason in error.response["CancellationReasons"]]
            if _CONDITION_FAILED in codes or _CONFLICT in codes:
                time.sleep(_CONFLICT_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311
                return False
            raise
        return True

    def _get(self, key: table.Key) -> dict[str, Any] | None:
        answer = self.client.get_item(
            TableName=self.table_name, Key=key.to_wire(), ConsistentRead=True
        )
        return answer.get("Item")

    def _chunk_page(self, job: TranscodeJob, start: int, end: int) -> list[Part]:
        first = table.part_key(job.video_id, job.run_id, video_part(start))
        last = table.part_key(job.video_id, job.run_id, video_part(end - 1))
        answer = self.client.query(
            TableName=self.table_name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": first.pk},
                ":first": {"S": first.sk},
                ":last": {"S": last.sk},
            },
            ConsistentRead=True,
            Limit=_PAGE,
        )
        return [Part.from_item(item) for item in answer["Items"]]

    def _take(
        self,
        job: TranscodeJob,
        name: str,
        part: Part | None,
        now: int,
        *,
        holder: str,
        forgive: str | None,
    ) -> Part | None:
        """Hold the part; ``None`` if somebody else was faster, or an earlier try of ours."""
        if part is None:
            part = Part(
                video_id=job.video_id,
                run_id=job.run_id,
                name=name,
                lease_until=now + self.lease_seconds,
                holder=holder,
                forgiven=forgive,
            )
            put = {"Item": part.to_item(), "ConditionExpression": "attribute_not_exists(pk)"}
            return part if self.succeeds(self.client.put_item, put) else None
        after = replace(
            part,
            attempt=part.attempt + 1,
            lease_until=now + self.lease_seconds,
            holder=holder,
        )
        if forgive is not None and forgive != part.forgiven:
            after = replace(after, failures=0, forgiven=forgive)
        write = _part_update(part, after)
        write["ConditionExpression"] += " AND lease_until = :seen_lease"
        write["ExpressionAttributeValues"][":seen_lease"] = to_wire(part.lease_until)
        return after if self.succeeds(self.client.update_item, write) else None

    def run_update(
        self, job: TranscodeJob, status: RunStatus, values: Mapping[str, Any]
    ) -> TransactItem:
        """Return an update of the run on the condition that it is in a status."""
        return {
            "Update": {
                "TableName": self.table_name,
                "Key": table.run_key(job.video_id, job.run_id).to_wire(),
                "UpdateExpression": _set(values),
                "ConditionExpression": "#status = :in_status",
                "ExpressionAttributeNames": {
                    **{f"#{name}": name for name in values},
                    "#status": "status",
                },
                "ExpressionAttributeValues": {
                    **{f":{name}": to_wire(value) for name, value in values.items()},
                    ":in_status": to_wire(status.value),
                },
            }
        }

    def write_part(self, before: Part, after: Part) -> bool:
        """Change a part, unless somebody took it since it was read; tell whether it worked.

        When the answer is lost the client tries again, and is refused where the first try has
        changed what the condition is about: then what stands in the table is what we wrote.
        """
        write = _part_update(before, after)
        try:
            self.client.update_item(
                TableName=self.table_name,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **write,
            )
        except self.client.exceptions.ConditionalCheckFailedException as error:
            item: Any = error.response.get("Item")
            return item is not None and _is_written(Part.from_item(item), before, after)
        return True

    def succeeds(self, operation: Any, write: dict[str, Any]) -> bool:
        """Do a conditional write of one item; tell whether its condition held."""
        try:
            operation(TableName=self.table_name, **write)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _settled(video: Video | None, job: TranscodeJob) -> str | None:
    """Return why there is nothing to do, or ``None`` if there is."""
    if video is None:
        return "the video is gone"
    if video.status is VideoStatus.DELETED:
        return "the video was deleted"
    wanted = video.next_run if video.status is VideoStatus.READY else video.current_run
    if wanted != job.run_id or video.raw_version_id != job.version_id:
        return "the job is not one that the video waits for"
    if (video.tenant, video.raw_key) != (job.tenant, job.key):
        # Whoever may send a job must not read another upload by it, or publish for another tenant.
        return "the job is of another tenant or upload than the video"
    return None


def _set(values: Mapping[str, Any]) -> str:
    return "SET " + ", ".join(f"#{name} = :{name}" for name in values)


def _without_table(update: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in update.items() if name != "TableName"}


def _part_update(before: Part, after: Part) -> dict[str, Any]:
    """Return an update of a part on the condition that nobody took it since it was read.

    Segments are added to those that were there: a write that was given up for lost, and arrives
    after later ones, takes none back.
    """
    old, new = before.to_item(), after.to_item()
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    seen = {"attempt": before.attempt, "done": before.done}
    if after.samples != before.samples:
        seen["samples"] = before.samples
    return {
        "Key": table.part_key(after.video_id, after.run_id, after.name).to_wire(),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in changed),
        "ConditionExpression": " AND ".join(f"#{name} = :seen_{name}" for name in seen),
        "ExpressionAttributeNames": {f"#{name}": name for name in {*changed, *seen}},
        "ExpressionAttributeValues": {
            **{f":{name}": value for name, value in changed.items()},
            **{f":seen_{name}": to_wire(value) for name, value in seen.items()},
        },
    }


def _is_written(stored: Part, before: Part, after: Part) -> bool:
    """Tell whether a change of a part is in the table."""
    return stored.attempt == after.attempt and all(
        getattr(stored, field.name) == getattr(after, field.name)
        for field in fields(after)
        if getattr(before, field.name) != getattr(after, field.name)
    )


def _ended(status: RunStatus) -> dict[str, Any]:
    return {"status": status.value, "finished_at": timestamp()}


class HeldPart:
    """A part that this worker holds, for as long as nobody else takes it.

    Every method that writes raises :class:`StoppedError` once the hold is lost.

    Args:
        ledger: Where it was taken.
        job: The job it belongs to.
        part: The part as it was taken.
    """

    def __init__(self, ledger: RunLedger, job: TranscodeJob, part: Part) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._spent = {"cpu_seconds": 0.0, "bytes_in": 0, "bytes_out": 0}
        self.job = job
        self.part = part

    @property
    def attempt(self) -> int:
        """The number that fences every write."""
        return self.part.attempt

    @property
    def cpu_seconds(self) -> float:
        """Processor time that was spent on the part so far, over all attempts that told."""
        with self._counting:
            return self.part.cpu_seconds + self._spent["cpu_seconds"]

    def spend(self, *, cpu_seconds: float = 0.0, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """Put something down to the part; the next write says so. Safe from any thread.

        Args:
            cpu_seconds: Processor time.
            bytes_in: Bytes read.
            bytes_out: Bytes written.
        """
        with self._counting:
            self._spent["cpu_seconds"] += cpu_seconds
            self._spent["bytes_in"] += bytes_in
            self._spent["bytes_out"] += bytes_out

    def renew(self) -> None:
        """Hold the part for another lease."""
        self._write(lease_until=int(time.time()) + self._ledger.lease_seconds)

    def record(
        self,
        *,
        segments: int,
        samples: int,
        key_frames: Sequence[tuple[tuple[tuple[int, int], ...], ...]] = (),
        **values: Any,
    ) -> None:
        """Write down segments that are uploaded, and whatever else is known by then.

        Args:
            segments: Number of further segments.
            samples: Frames in them, or samples of sound.
            key_frames: Their key frames, by segment, rung and GOP.
            **values: Other fields of the part.
        """
        spans = list(self.part.spans)
        if segments and spans and spans[-1].attempt == self.attempt:
            spans[-1] = Span(attempt=self.attempt, segments=spans[-1].segments + segments)
        elif segments:
            spans.append(Span(attempt=self.attempt, segments=segments))
        self._write(
            spans=tuple(spans),
            samples=self.part.samples + samples,
            key_frames=(*self.part.key_frames, *key_frames),
            **values,
        )

    def note(self, **values: Any) -> None:
        """Write fields of the part."""
        self._write(**values)

    def release(self) -> None:
        """Let the next worker take the part at once."""
        self._write(lease_until=0)

    def count_failure(self) -> int:
        """Count a transient failure and let go of the part; return how many there were."""
        self._write(failures=self.part.failures + 1, lease_until=0)
        return self.part.failures

    def complete(
        self,
        *,
        duration_seconds: float,
        size: tuple[int, int],
        renditions: Sequence[Rendition],
        old_run_seconds: int,
        **values: Any,
    ) -> Video:
        """Make the video READY with this run, with its event and the end of the run, at once.

        Args:
            duration_seconds: Length of the video.
            size: Width and height of the source as displayed.
            renditions: The ladder with its frames.
            old_run_seconds: Time after which a run that is replaced is purged.
            **values: Other fields of the run.
        """
        stored = [asdict(rendition) for rendition in renditions]
        run_id = self.job.run_id

        def decide(video: Video) -> tuple[Change, list[TransactItem]]:
            made = self._change(
                video,
                event_type=EventType.VIDEO_READY,
                event_data={
                    "run_id": run_id,
                    "duration_seconds": duration_seconds,
                    "renditions": stored,
                },
                status=VideoStatus.READY,
                current_run=run_id,
                next_run=None,
                duration_seconds=duration_seconds,
                width=size[0],
                height=size[1],
                ready_at=timestamp(),
            )
            if video.current_run in {None, run_id}:
                return made, []
            due = datetime.now(UTC) + timedelta(seconds=old_run_seconds)
            purge = Purge(
                video_id=video.video_id,
                run_id=str(video.current_run),
                tenant=video.tenant,
                region=video.home_region,
                due_at=due.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
            return made, [{"Put": {"TableName": self._ledger.table_name, "Item": purge.to_item()}}]

        return self._decide(
            decide,
            {
                **_ended(RunStatus.COMPLETE),
                "progress": 100,
                "duration_seconds": duration_seconds,
                "renditions": stored,
                **values,
            },
            done=True,
        )

    def fail(self, failure: Failure) -> Video:
        """End the run as FAILED, and the video with it unless viewers have an older run."""

        def decide(video: Video) -> tuple[Change, list[TransactItem]]:
            data = {"run_id": self.job.run_id, **asdict(failure)}
            if video.status is VideoStatus.READY:
                return self._change(
                    video, event_type=EventType.VIDEO_UPDATED, event_data=data, next_run=None
                ), []
            return self._change(
                video,
                event_type=EventType.VIDEO_FAILED,
                event_data=data,
                status=VideoStatus.FAILED,
                failure=failure,
            ), []

        return self._decide(decide, _ended(RunStatus.FAILED), done=False)

    def _change(self, video: Video, **changes: Any) -> Change:
        return change(self._ledger.table_name, video, region=self._ledger.region, **changes)

    def _decide(
        self,
        decide: Callable[[Video], tuple[Change, list[TransactItem]]],
        run_values: dict[str, Any],
        *,
        done: bool,
    ) -> Video:
        """Change video, run and part together, deciding again whenever the video changed."""
        ledger, job = self._ledger, self.job
        for _ in range(_CONFLICT_TRIES):
            video = ledger.video(job.video_id)
            if video is None or video.status is VideoStatus.DELETED:
                raise StoppedError(StopReason.DELETED)
            run, part = ledger.run(job), ledger.part(job, self.part.name)
            if run is None or run.status is not RunStatus.RUNNING or _settled(video, job):
                raise StoppedError(StopReason.SETTLED)
            if part is None or part.attempt != self.attempt:
                raise StoppedError(StopReason.FENCE_LOST)
            decision, further = decide(video)
            after = self._after(done=done, lease_until=0)
            writes = [
                *decision.writes,
                *further,
                ledger.run_update(job, RunStatus.RUNNING, run_values),
                {
                    "Update": {
                        "TableName": ledger.table_name,
                        **_part_update(self.part, after),
                    }
                },
            ]
            if ledger.write(writes):
                self._written(after)
                return decision.video
        raise TransientError(f"video {job.video_id} kept changing")

    def _write(self, **values: Any) -> None:
        with self._lock:
            after = self._after(**values)
            if after == self.part:
                return
            if not self._ledger.write_part(self.part, after):
                raise StoppedError(StopReason.FENCE_LOST)
            self._written(after)

    def _after(self, **values: Any) -> Part:
        """Return the part with new values, and with what was spent on it."""
        with self._counting:
            for name, spent in self._spent.items():
                values[name] = getattr(self.part, name) + spent
        return replace(self.part, **values)

    def _written(self, after: Part) -> None:
        """Note what the table holds now; what was spent meanwhile is still to be told."""
        with self._counting:
            for name in self._spent:
                self._spent[name] -= getattr(after, name) - getattr(self.part, name)
            self.part = after
