"""Thumbnails that people choose: what is asked for, whether it still is, and making it.

There is no lease: a thumbnail is made in a second or two, and one that two workers make is the
same, under the same key. Every write is on the condition that nobody asked for another meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.items import to_wire
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import picture_key, thumbnail_key, thumbnail_of_key
from media_platform.contract.purge import REPLACED_THUMBNAIL_TIME
from media_platform.contract.run import thumbnail_part
from media_platform.contract.thumbnails import Thumbnail, ThumbnailStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import Failure, Video, VideoStatus, change
from media_worker import ffmpeg, plans
from media_worker.claims import Settled
from media_worker.encode import make_frame, make_picture
from media_worker.faults import BadInputError, StoppedError, StopReason, TransientError
from media_worker.objects import IMMUTABLE, Upload
from media_worker.planning import Plan
from media_worker.runs import RunLedger
from media_worker.workplace import Workplace
from media_worker.writes import in_transaction, purge_note

THUMBNAIL_TYPE = "image/jpeg"

_CONFLICT_TRIES = 20


class HeldThumbnail:
    """A thumbnail that this worker makes; methods that write raise once it is not wanted any more.

    Args:
        ledger: Where videos and runs are.
        job: The job that asks for it.
        thumbnail: The request.
    """

    def __init__(self, ledger: RunLedger, job: TranscodeJob, thumbnail: Thumbnail) -> None:
        self._ledger = ledger
        self.job = job
        self.thumbnail = thumbnail

    @property
    def name(self) -> str:
        """What it is called as a part."""
        return thumbnail_part(self.thumbnail.thumbnail_id)

    @property
    def attempt(self) -> int:
        """The number of this try."""
        return self.thumbnail.failures + 1

    @property
    def failures(self) -> int:
        """Transient failures so far."""
        return self.thumbnail.failures

    @property
    def key(self) -> str:
        """Key of the picture."""
        return thumbnail_key(
            self._ledger.region,
            self.job.tenant,
            self.job.video_id,
            self.thumbnail.thumbnail_id,
        )

    def renew(self) -> None:
        """Look whether it is still wanted.

        Raises:
            StoppedError: If it is not.
        """
        stored = read(self._ledger, self.job.video_id)
        if stored is None or not _is_wanted(stored, self.thumbnail.thumbnail_id):
            raise StoppedError(StopReason.SETTLED)
        video_of(self._ledger, self.job)

    def spend(self, *, cpu_seconds: float = 0.0, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """Put nothing down: it belongs to no run."""

    def release(self) -> None:
        """Let go of nothing: there is no lease."""

    def count_failure(self) -> int:
        """Count a transient failure; return how many there were."""
        self._write({"failures": self.failures + 1})
        return self.failures + 1

    def fail(self, failure: Failure) -> None:
        """Give it up; the video keeps the picture that it has."""
        self._write(
            {
                "status": ThumbnailStatus.FAILED.value,
                "failure": {"code": failure.code, "message": failure.message},
                "finished_at": timestamp(),
            }
        )

    def complete(self) -> Video:
        """Let the video have it, with its event, and note that it is made, at once.

        What it had before is purged later.
        """
        ledger = self._ledger
        values = {"status": ThumbnailStatus.READY.value, "finished_at": timestamp()}
        for _ in range(_CONFLICT_TRIES):
            video = video_of(ledger, self.job)
            made = change(
                ledger.table_name,
                video,
                region=ledger.region,
                event_type=EventType.VIDEO_UPDATED,
                event_data={
                    "updated_by": self.thumbnail.requested_by,
                    "changed": {"thumbnail": self.key},
                },
                thumbnail=self.key,
            )
            writes = [*made.writes, in_transaction(ledger.table_name, self._update(values))]
            if video.thumbnail is not None:
                writes.append(
                    purge_note(
                        ledger.table_name,
                        video,
                        thumbnail_of_key(video.thumbnail),
                        seconds=int(REPLACED_THUMBNAIL_TIME.total_seconds()),
                    )
                )
            if ledger.write(writes):
                return made.video
            self.renew()
        raise TransientError(f"video {self.job.video_id} kept changing")

    def _write(self, values: Mapping[str, Any]) -> None:
        if not self._ledger.succeeds(self._ledger.client.update_item, self._update(values)):
            raise StoppedError(StopReason.SETTLED)

    def _update(self, values: Mapping[str, Any]) -> dict[str, Any]:
        seen = {"thumbnail_id": self.thumbnail.thumbnail_id, "status": self.thumbnail.status.value}
        return {
            "Key": table.thumbnail_key(self.job.video_id).to_wire(),
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ConditionExpression": " AND ".join(f"#{name} = :seen_{name}" for name in seen),
            "ExpressionAttributeNames": {f"#{name}": name for name in {*values, *seen}},
            "ExpressionAttributeValues": {
                **{f":{name}": to_wire(value) for name, value in values.items()},
                **{f":seen_{name}": to_wire(value) for name, value in seen.items()},
            },
        }


def read(ledger: RunLedger, video_id: str) -> Thumbnail | None:
    """Return the last request for a thumbnail of a video."""
    item = ledger.item(table.thumbnail_key(video_id))
    return Thumbnail.from_item(item) if item else None


def video_of(ledger: RunLedger, job: TranscodeJob) -> Video:
    """Return the video of a job.

    Raises:
        StoppedError: If it was deleted, or is another than the job says.
    """
    video = ledger.video(job.video_id)
    if video is None or video.status is VideoStatus.DELETED:
        raise StoppedError(StopReason.DELETED)
    named = (job.tenant, job.key, job.version_id)
    if (video.tenant, video.raw_key, video.raw_version_id) != named:
        raise StoppedError(StopReason.SETTLED)
    return video


def claim(
    ledger: RunLedger, job: TranscodeJob, thumbnail_id: str, *, forgive: bool
) -> HeldThumbnail | Settled:
    """Return the request that a job is about, if it is to be done.

    Args:
        ledger: Where videos and runs are.
        job: The job.
        thumbnail_id: Id of the request.
        forgive: Whether an operator wants one that was given up.
    """
    stored = read(ledger, job.video_id)
    if stored is None or not _is_wanted(stored, thumbnail_id, even_failed=forgive):
        return Settled("another thumbnail was asked for, or it is done")
    return HeldThumbnail(ledger, job, stored)


def _is_wanted(stored: Thumbnail, thumbnail_id: str, *, even_failed: bool = True) -> bool:
    wanted = {ThumbnailStatus.PENDING, *([ThumbnailStatus.FAILED] if even_failed else [])}
    return stored.thumbnail_id == thumbnail_id and stored.status in wanted


def make_thumbnail(held: HeldThumbnail, ledger: RunLedger, place: Workplace) -> int:
    """Make the picture, publish it, and return its size in bytes.

    Raises:
        BadInputError: If there is no such frame, or the file is no picture.
        TransientError: If something failed that may go right the next time.
        StoppedError: If the job was stopped.
    """
    held.renew()
    thumbnail = held.thumbnail
    if thumbnail.upload_id is not None:
        key = picture_key(held.job.tenant, held.job.video_id, thumbnail.upload_id)
        image = _picture(place.of_picture(key))
    else:
        image = _frame(_plan(ledger, held.job), Fraction(thumbnail.at_seconds or 0), place)
    upload = Upload(key=held.key, body=image, content_type=THUMBNAIL_TYPE, cache_control=IMMUTABLE)
    place.services.store.put(upload)
    place.wrote(len(image))
    return len(image)


def _plan(ledger: RunLedger, job: TranscodeJob) -> Plan:
    """Return the plan of the run that viewers have."""
    video = video_of(ledger, job)
    item = video.current_run and ledger.item(table.run_key(video.video_id, video.current_run))
    text = item and item.get("plan", {}).get("S")
    if not text:
        raise BadInputError("not_playable", "The video cannot be played, so it has no frames yet.")
    return plans.from_text(text)


def _frame(plan: Plan, at: Fraction, place: Workplace) -> bytes:
    number = int(at * plan.frame_rate)
    image = make_frame(plan, number, place.bench)
    # The planned length is an estimate: where there is no such frame, the last one may be near.
    if image is None and plan.frames is not None and number - plan.frames < plan.frame_rate:
        image = make_frame(plan, max(0, plan.frames - 1), place.bench)
    if image is None:
        raise BadInputError(
            "no_such_frame", f"The video has no picture at {float(at):.3f} seconds."
        )
    return image


def _picture(place: Workplace) -> bytes:
    head = place.source.head
    for kind, magic in ffmpeg.PICTURES.items():
        if re.match(re.escape(magic).replace(rb"\.", b"."), head, re.DOTALL):
            return make_picture(kind, place.bench)
    raise BadInputError("not_a_picture", "The file is neither a JPEG nor a PNG nor a WebP picture.")
