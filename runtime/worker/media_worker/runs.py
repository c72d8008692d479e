"""A worker's hold on a run, and every write that depends on it.

A run is held by an attempt number and a lease. Whoever takes it over, once the lease has passed,
raises the number; every write here is on the condition that the number is still ours.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.items import to_wire
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import Rendition, Run, RunStatus
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


@dataclass(frozen=True)
class Settled:
    """Nothing is left to do for a job; its message may go.

    Attributes:
        why: For the log.
    """

    why: str


@dataclass(frozen=True)
class Busy:
    """Another worker holds the run.

    Attributes:
        seconds: Time until its lease passes.
    """

    seconds: int


class RunLedger:
    """Reads and takes runs.

    Args:
        client: Client for the home region of the videos.
        table_name: The table.
        region: The home region.
        lease_seconds: How long a run is held without a renewal.
    """

    def __init__(
        self, client: DynamoDBClient, table_name: str, region: str, lease_seconds: int
    ) -> None:
        self.client = client
        self.table_name = table_name
        self.region = region
        self.lease_seconds = lease_seconds

    def claim(self, job: TranscodeJob) -> HeldRun | Busy | Settled:
        """Take the run of ``job``, if it is to be worked on.

        Raises:
            TransientError: If others kept changing the video at the same time.
        """
        for _ in range(_CONFLICT_TRIES):
            video = self.video(job.video_id)
            if why := _settled(video, job):
                return Settled(why)
            run = self._run(job)
            taken = self._take(job, run)
            if not isinstance(taken, Run):
                if taken is not None:
                    return taken
                continue
            held = HeldRun(self, job, taken)
            if held.begin():
                return held
            with suppress(StoppedError):
                held.release()
        raise TransientError(f"video {job.video_id} changed {_CONFLICT_TRIES} times in a row")

    def video(self, video_id: str) -> Video | None:
        """Return a video as it is now."""
        answer = self.client.get_item(
            TableName=self.table_name, Key=table.video_key(video_id).to_wire(), ConsistentRead=True
        )
        return Video.from_item(answer["Item"]) if "Item" in answer else None

    def _run(self, job: TranscodeJob) -> Run | None:
        answer = self.client.get_item(
            TableName=self.table_name,
            Key=table.run_key(job.video_id, job.run_id).to_wire(),
            ConsistentRead=True,
        )
        return Run.from_item(answer["Item"]) if "Item" in answer else None

    def _take(self, job: TranscodeJob, run: Run | None) -> Run | Busy | Settled | None:
        """Hold the run; ``None`` if somebody else was faster."""
        now = int(time.time())
        if run is None:
            run = Run(
                video_id=job.video_id,
                run_id=job.run_id,
                status=RunStatus.RUNNING,
                started_at=timestamp(),
                lease_until=now + self.lease_seconds,
            )
            write: dict[str, Any] = {
                "Item": run.to_item(),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
            return run if self._succeeds(self.client.put_item, write) else None
        if run.status is not RunStatus.RUNNING:
            return Settled(f"the run is {run.status}")
        if run.lease_until > now:
            return Busy(run.lease_until - now)
        after = Run(
            **{
                **_fields(run),
                "attempt": run.attempt + 1,
                "lease_until": now + self.lease_seconds,
            }
        )
        write = run_update(
            job, run.attempt, {"attempt": after.attempt, "lease_until": after.lease_until}
        )
        write["ConditionExpression"] += " AND lease_until = :seen"
        write["ExpressionAttributeValues"][":seen"] = to_wire(run.lease_until)
        return after if self._succeeds(self.client.update_item, write) else None

    def _succeeds(self, operation: Any, write: dict[str, Any]) -> bool:
        try:
            operation(TableName=self.table_name, **write)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__dataclass_fields__}


def _settled(video: Video | None, job: TranscodeJob) -> str | None:
    """Return why there is nothing to do, or ``None`` if there is."""
    if video is None:
        return "the video is gone"
    if video.status is VideoStatus.DELETED:
        return "the video was deleted"
    if video.current_run != job.run_id or video.raw_version_id != job.version_id:
        return "the job is not the one that the video waits for"
    if (video.tenant, video.raw_key) != (job.tenant, job.key):
        # Whoever may send a job must not read another upload by it, or publish for another tenant.
        return "the job is of another tenant or upload than the video"
    if video.status is VideoStatus.READY:
        return "the video is ready"
    return None


def run_update(job: TranscodeJob, attempt: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an update of a run on the condition that ``attempt`` holds it, without the table."""
    names = {f"#{name}": name for name in values}
    return {
        "Key": table.run_key(job.video_id, job.run_id).to_wire(),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
        "ConditionExpression": "#attempt = :held AND #status = :running",
        "ExpressionAttributeNames": {**names, "#attempt": "attempt", "#status": "status"},
        "ExpressionAttributeValues": {
            **{f":{name}": to_wire(value) for name, value in values.items()},
            ":held": to_wire(attempt),
            ":running": to_wire(RunStatus.RUNNING.value),
        },
    }


class HeldRun:
    """A run that this worker holds, for as long as nobody else takes it.

    Every method that writes raises :class:`StoppedError` once the hold is lost.

    Args:
        ledger: Where it was taken.
        job: The job it belongs to.
        run: The run as it was taken.
    """

    def __init__(self, ledger: RunLedger, job: TranscodeJob, run: Run) -> None:
        self._ledger = ledger
        self.job = job
        self.run = run

    @property
    def attempt(self) -> int:
        """The number that fences every write."""
        return self.run.attempt

    def begin(self) -> bool:
        """Move the video to PROCESSING; tell whether it is to be worked on."""

        def decide(video: Video) -> Change | None:
            if video.status is VideoStatus.PROCESSING:
                return None
            return self._change(video, status=VideoStatus.PROCESSING, failure=None)

        try:
            self._decide(decide, None)
        except StoppedError:
            return False
        return True

    def renew(self) -> None:
        """Hold the run for another lease, and look whether the video still wants it."""
        self._update({"lease_until": int(time.time()) + self._ledger.lease_seconds})
        video = self._ledger.video(self.job.video_id)
        if video is None or video.status is VideoStatus.DELETED:
            raise StoppedError(StopReason.DELETED)

    def note(self, **values: Any) -> None:
        """Write progress or what was planned."""
        self._update(values)

    def release(self) -> None:
        """Let the next worker take the run at once."""
        self._update({"lease_until": 0})

    def count_failure(self) -> int:
        """Count a transient failure and let go of the run; return how many there were."""
        failures = self.run.failures + 1
        self._update({"failures": failures, "lease_until": 0})
        return failures

    def cancel(self) -> None:
        """End the run of a deleted video."""
        self._update(_ended(RunStatus.CANCELLED))

    def complete(
        self, *, duration_seconds: float, size: tuple[int, int], renditions: Sequence[Rendition]
    ) -> Video:
        """Make the video READY, with its event and the end of the run, in one transaction.

        Args:
            duration_seconds: Length of the video.
            size: Width and height of the source as displayed.
            renditions: The ladder with its frames.
        """
        stored = [asdict(rendition) for rendition in renditions]

        def decide(video: Video) -> Change:
            return self._change(
                video,
                event_type=EventType.VIDEO_READY,
                event_data={
                    "run_id": self.run.run_id,
                    "duration_seconds": duration_seconds,
                    "renditions": stored,
                },
                status=VideoStatus.READY,
                duration_seconds=duration_seconds,
                width=size[0],
                height=size[1],
                ready_at=timestamp(),
            )

        values = {
            **_ended(RunStatus.COMPLETE),
            "progress": 100,
            "duration_seconds": duration_seconds,
            "renditions": stored,
        }
        return self._decide(decide, values)

    def fail(self, failure: Failure) -> Video:
        """Make the video FAILED, with its event and the end of the run, in one transaction."""

        def decide(video: Video) -> Change:
            return self._change(
                video,
                event_type=EventType.VIDEO_FAILED,
                event_data={"run_id": self.run.run_id, **asdict(failure)},
                status=VideoStatus.FAILED,
                failure=failure,
            )

        return self._decide(decide, _ended(RunStatus.FAILED))

    def _change(self, video: Video, **changes: Any) -> Change:
        return change(self._ledger.table_name, video, region=self._ledger.region, **changes)

    def _decide(self, decide: Any, run_values: dict[str, Any] | None) -> Video:
        """Change video and run together, deciding again whenever the video changed meanwhile."""
        for _ in range(_CONFLICT_TRIES):
            video = self._ledger.video(self.job.video_id)
            if video is None or _settled(video, self.job):
                raise StoppedError(StopReason.DELETED)
            decision: Change | None = decide(video)
            if decision is None:
                return video
            writes = list(decision.writes)
            if run_values is not None:
                update = run_update(self.job, self.attempt, run_values)
                writes.append({"Update": {"TableName": self._ledger.table_name, **update}})
            if self._write(writes, fenced=run_values is not None):
                return decision.video
            time.sleep(_CONFLICT_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311
        raise TransientError(f"video {self.job.video_id} kept changing")

    def _write(self, writes: list[TransactItem], *, fenced: bool) -> bool:
        """Write all or nothing; tell whether it was written or has to be decided again."""
        try:
            self._ledger.client.transact_write_items(TransactItems=writes)  # type: ignore[arg-type]
        except self._ledger.client.exceptions.TransactionCanceledException as error:
            codes = [reason.get("Code") for reason in error.response["CancellationReasons"]]
            if fenced and codes[-1] == _CONDITION_FAILED:
                raise StoppedError(StopReason.FENCE_LOST) from error
            if _CONDITION_FAILED in codes or _CONFLICT in codes:
                return False
            raise
        return True

    def _update(self, values: Mapping[str, Any]) -> None:
        write = run_update(self.job, self.attempt, values)
        try:
            self._ledger.client.update_item(TableName=self._ledger.table_name, **write)
        except self._ledger.client.exceptions.ConditionalCheckFailedException as error:
            raise StoppedError(StopReason.FENCE_LOST) from error


def _ended(status: RunStatus) -> dict[str, Any]:
    return {"status": status.value, "finished_at": timestamp(), "lease_until": 0}
