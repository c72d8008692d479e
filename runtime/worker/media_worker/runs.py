"""The runs of a table: reading them, taking their parts, and writing what all workers share.

A part is held by an attempt number and a lease. Whoever takes it over, once the lease has passed,
raises the number; every write to it is on the condition that the number is still ours.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from media_platform.contract import table
from media_platform.contract.budget import HELD_BACK
from media_platform.contract.items import TransactItem, to_wire
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import (
    SOUND,
    Part,
    Run,
    RunStatus,
    video_part,
)
from media_platform.contract.spend import Spend
from media_platform.contract.times import timestamp
from media_platform.contract.video import (
    Video,
    VideoStatus,
    change,
)
from media_worker.budgets import TenantBudgets
from media_worker.claims import Busy, Done, HeldBack, Settled, Standing, why_settled
from media_worker.faults import StoppedError, StopReason, TransientError
from media_worker.held import HeldPart
from media_worker.writes import (
    ABANDONED_RUN_SECONDS,
    ended,
    in_transaction,
    is_written,
    part_update,
    purge_note,
    run_update,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CONFLICT_TRIES = 20
"""Times that a change is decided again when somebody else changed the video meanwhile."""

_CONFLICT_PAUSE_SECONDS = 0.05

_CONDITION_FAILED = "ConditionalCheckFailed"
_CONFLICT = "TransactionConflict"

_PAGE = 16
"""Chunks that are read at a time when looking how far a run is joined."""


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
        item = self.item(table.video_key(video_id))
        return Video.from_item(item) if item else None

    def run(self, job: TranscodeJob) -> Run | None:
        """Return the run of a job as it is now."""
        item = self.item(table.run_key(job.video_id, job.run_id))
        return Run.from_item(item) if item else None

    def part(self, job: TranscodeJob, name: str) -> Part | None:
        """Return a part of the run as it is now."""
        item = self.item(table.part_key(job.video_id, job.run_id, name))
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

    def open(
        self, job: TranscodeJob, *, forgive: bool, budgets: TenantBudgets | None = None
    ) -> Run | Settled | HeldBack:
        """Return the run of a job that is to be worked on; create it if there is none.

        Args:
            job: The job.
            forgive: Whether an operator wants a run that failed for good to go on.
            budgets: Tell whether a run may begin. Default: any may.

        Raises:
            TransientError: If others kept changing the video at the same time.
        """
        for _ in range(_CONFLICT_TRIES):
            video, run = self.video(job.video_id), self.run(job)
            redriven = forgive and run is not None and run.status is RunStatus.FAILED
            if why := why_settled(video, job, even_failed=redriven):
                return Settled(why)
            assert video is not None  # noqa: S101 - it would be settled
            writes: list[TransactItem] = []
            if run is None:
                if budgets is not None and not budgets.allows(job.tenant):
                    held_back = self._hold_back(video)
                    if held_back is None:
                        continue
                    return held_back
                run, writes = self._new_run(job)
            elif redriven:
                run = replace(run, status=RunStatus.RUNNING)
                reopened = run_update(job, RunStatus.FAILED, {"status": "RUNNING"})
                writes = [in_transaction(self.table_name, reopened)]
            elif run.status is not RunStatus.RUNNING:
                return Settled(f"the run is {run.status}")
            elif video.status in {VideoStatus.PROCESSING, VideoStatus.READY}:
                return run
            if self.write([*self._begin(video), *writes]):
                return run
        raise TransientError(f"video {job.video_id} changed {_CONFLICT_TRIES} times in a row")

    def _new_run(self, job: TranscodeJob) -> tuple[Run, list[TransactItem]]:
        """Return a run that begins now, and what writes it unless somebody did."""
        run = Run(
            video_id=job.video_id,
            run_id=job.run_id,
            status=RunStatus.RUNNING,
            started_at=timestamp(),
        )
        put: TransactItem = {
            "Put": {
                "TableName": self.table_name,
                "Item": run.to_item(),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }
        return run, [put]

    def _begin(self, video: Video) -> list[TransactItem]:
        """Return what makes a video one that is worked on, nothing if it is already."""
        changes: dict[str, Any] = {}
        if video.status is not VideoStatus.READY and video.status is not VideoStatus.PROCESSING:
            changes = {"status": VideoStatus.PROCESSING, "failure": None}
        if video.held_back is not None:
            changes["held_back"] = None
        if not changes:
            return []
        return change(self.table_name, video, region=self.region, **changes).writes

    def _hold_back(self, video: Video) -> HeldBack | None:
        """Let a video say that it waits; ``None`` if it changed meanwhile."""
        if video.held_back is not None:
            return HeldBack(first=False)
        held_back = change(self.table_name, video, region=self.region, held_back=HELD_BACK)
        return HeldBack(first=True) if self.write(held_back.writes) else None

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
        update = run_update(job, RunStatus.RUNNING, values)
        update["ConditionExpression"] += " AND attribute_not_exists(#plan)"
        self.succeeds(self.client.update_item, update)

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
            update = run_update(
                job,
                RunStatus.RUNNING,
                {"inits": {**known, **inits}, "codecs": {**(run.codecs or {}), **codecs}},
            )
            if run.inits is None:
                update["ConditionExpression"] += " AND attribute_not_exists(#inits)"
            else:
                update["ConditionExpression"] += " AND #inits = :seen"
                update["ExpressionAttributeValues"][":seen"] = to_wire(known)
            if self.succeeds(self.client.update_item, update):
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
        update = run_update(job, RunStatus.RUNNING, values)
        update["ConditionExpression"] += " AND #published_at = :seen"
        update["ExpressionAttributeNames"]["#published_at"] = "published_at"
        update["ExpressionAttributeValues"][":seen"] = to_wire(run.published_at)
        return update

    def note_download(self, job: TranscodeJob, height: int) -> None:
        """Write down that a progressive MP4 exists."""
        for _ in range(_CONFLICT_TRIES):
            run = self.run(job)
            if run is None or height in run.downloads:
                return
            update = run_update(job, run.status, {"downloads": sorted({*run.downloads, height})})
            update["ConditionExpression"] += " AND #downloads = :seen"
            update["ExpressionAttributeValues"][":seen"] = to_wire(run.downloads)
            if self.succeeds(self.client.update_item, update):
                return

    def check(self, job: TranscodeJob) -> None:
        """Look whether the video still wants the run.

        Raises:
            StoppedError: If it does not: it was deleted, the run has ended, or it was cancelled,
                which also a restored video says of the run that it had before.
        """
        video = self.video(job.video_id)
        if video is None or video.status is VideoStatus.DELETED:
            raise StoppedError(StopReason.DELETED)
        run = self.run(job)
        if run is None or run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            raise StoppedError(StopReason.SETTLED)
        if run.status is RunStatus.RUNNING and why_settled(video, job):
            raise StoppedError(StopReason.CANCELLED)

    def expect(self, job: TranscodeJob, run: Run, megapixels: float) -> None:
        """Write down what a planned run will take, unless it is known what it took.

        Args:
            job: A job of the run.
            run: The run.
            megapixels: Millions of pixels of all frames of all renditions.
        """
        expected = self._expected(job, run, megapixels)
        put = {"Item": expected.to_item(), "ConditionExpression": "attribute_not_exists(pk)"}
        self.succeeds(self.client.put_item, put)

    def spend(
        self, job: TranscodeJob, run: Run, status: RunStatus, ours: Part | None = None
    ) -> Spend:
        """Return what a run took that ends now.

        Args:
            job: A job of the run.
            run: The run.
            status: How it ends.
            ours: A part as it is written with the end. Default: all parts are as they stand there.
        """
        parts = {part.name: part for part in self._parts(job)}
        if ours is not None:
            parts[ours.name] = ours
        return self._expected(job, run, 0).ended(status, parts.values())

    def _expected(self, job: TranscodeJob, run: Run, megapixels: float) -> Spend:
        return Spend.expected(run, tenant=job.tenant, region=self.region, megapixels=megapixels)

    def cancel(self, job: TranscodeJob) -> None:
        """End a run that nobody wants any more, unless it has ended; viewers never had it."""
        run = self.run(job)
        if run is None:
            return
        update = run_update(job, RunStatus.RUNNING, ended(RunStatus.CANCELLED))
        writes = [
            in_transaction(self.table_name, update),
            self.spend(job, run, RunStatus.CANCELLED).put(self.table_name),
        ]
        video = self.video(job.video_id)
        # All that a deleted video had is purged with it.
        if video is not None and video.status is not VideoStatus.DELETED:
            writes.append(
                purge_note(self.table_name, video, job.run_id, seconds=ABANDONED_RUN_SECONDS)
            )
        self.write(writes)

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

    def item(self, key: table.Key) -> dict[str, Any] | None:
        """Return an item as it is now."""
        answer = self.client.get_item(
            TableName=self.table_name, Key=key.to_wire(), ConsistentRead=True
        )
        return answer.get("Item")

    def _parts(self, job: TranscodeJob) -> list[Part]:
        """Return all parts of a run that somebody has taken."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table_name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :parts)",
            ExpressionAttributeValues={
                ":pk": {"S": table.video_partition(job.video_id)},
                ":parts": {"S": table.part_prefix(job.run_id)},
            },
            ConsistentRead=True,
        )
        return [Part.from_item(item) for page in pages for item in page["Items"]]

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
        write = part_update(part, after)
        write["ConditionExpression"] += " AND lease_until = :seen_lease"
        write["ExpressionAttributeValues"][":seen_lease"] = to_wire(part.lease_until)
        return after if self.succeeds(self.client.update_item, write) else None

    def write_part(self, before: Part, after: Part) -> bool:
        """Change a part, unless somebody took it since it was read; tell whether it worked.

        When the answer is lost the client tries again, and is refused where the first try has
        changed what the condition is about: then what stands in the table is what we wrote.
        """
        write = part_update(before, after)
        try:
            self.client.update_item(
                TableName=self.table_name,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **write,
            )
        except self.client.exceptions.ConditionalCheckFailedException as error:
            item: Any = error.response.get("Item")
            return item is not None and is_written(Part.from_item(item), before, after)
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
