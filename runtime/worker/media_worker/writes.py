"""Conditional writes of runs and parts, as the DynamoDB API takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from media_platform.contract import table
from media_platform.contract.items import TransactItem, to_wire
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.purge import GIVEN_UP_TIME, Purge
from media_platform.contract.run import Part, RunStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video

ABANDONED_RUN_SECONDS = int(GIVEN_UP_TIME.total_seconds())
"""Time after which a run is purged that no viewer ever had."""


def in_transaction(table_name: str, update: dict[str, Any]) -> TransactItem:
    """Return an update as an action of ``TransactWriteItems``."""
    return {"Update": {"TableName": table_name, **update}}


def run_update(job: TranscodeJob, status: RunStatus, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an update of the run on the condition that it is in a status."""
    return {
        "Key": table.run_key(job.video_id, job.run_id).to_wire(),
        "UpdateExpression": _set(values),
        "ConditionExpression": "#status = :in_status",
        "ExpressionAttributeNames": {f"#{name}": name for name in {*values, "status"}},
        "ExpressionAttributeValues": {
            **{f":{name}": to_wire(value) for name, value in values.items()},
            ":in_status": to_wire(status.value),
        },
    }


def part_update(before: Part, after: Part) -> dict[str, Any]:
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
        "UpdateExpression": _set(changed),
        "ConditionExpression": " AND ".join(f"#{name} = :seen_{name}" for name in seen),
        "ExpressionAttributeNames": {f"#{name}": name for name in {*changed, *seen}},
        "ExpressionAttributeValues": {
            **{f":{name}": value for name, value in changed.items()},
            **{f":seen_{name}": to_wire(value) for name, value in seen.items()},
        },
    }


def is_written(stored: Part, before: Part, after: Part) -> bool:
    """Tell whether a change of a part is in the table."""
    return stored.attempt == after.attempt and all(
        getattr(stored, field.name) == getattr(after, field.name)
        for field in fields(after)
        if getattr(before, field.name) != getattr(after, field.name)
    )


def purge_note(table_name: str, video: Video, run_id: str, *, seconds: int) -> TransactItem:
    """Return the note that a run of ``video`` is to be purged.

    Args:
        table_name: The table.
        video: The video.
        run_id: The run.
        seconds: Time from now after which it is.
    """
    note = Purge.after(
        timedelta(seconds=seconds),
        video_id=video.video_id,
        run_id=run_id,
        tenant=video.tenant,
        region=video.region_of(run_id),
    )
    return note.put(table_name)


def ended(status: RunStatus) -> dict[str, Any]:
    """Return the values of a run that ends now."""
    return {"status": status.value, "finished_at": timestamp()}


def _set(values: Mapping[str, Any]) -> str:
    return "SET " + ", ".join(f"#{name} = :{name}" for name in values)
