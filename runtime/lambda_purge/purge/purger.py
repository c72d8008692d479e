"""One turn of a region: every run and video that is due, as far as the time goes."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract import table
from media_platform.contract.environment import RunPurgeEnvironment
from media_platform.contract.purge import Purge
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video
from purge.aws import Objects, ObjectsRemainError, Runs
from purge.decision import home_of, is_in_use, items_may_go, note_may_go, prefixes_of, upload_of

_LOG = logging.getLogger(__name__)

HasTime = Callable[[], bool]
"""Tells whether one more call fits into the invocation."""


class Outcome(StrEnum):
    """What became of a note in one turn of one region."""

    PURGED = "purged"
    """Nothing is left here; in the home region neither are items nor note."""

    SETTLING = "settling"
    """Nothing is left of the objects here; the note, and items with it or not, wait for other
    regions, or for home."""

    IN_USE = "in_use"
    """The run is current again or becoming that, or the video was restored: only the note goes."""

    UNFINISHED = "unfinished"
    """The time was over; the next turn goes on."""

    FAILED = "failed"
    """A call failed, or the note cannot be trusted; the next turn tries again."""


class PurgeError(RuntimeError):
    """Runs could not be purged; Lambda tries again, then raises an alarm."""


@dataclass(frozen=True)
class Purger:
    """Purges runs that were replaced or given up, and videos that were deleted.

    Attributes:
        environment: Settings of the function.
        runs: Notes and items.
        media: The media bucket of this region.
        uploads: The raw bucket of this region.
    """

    environment: RunPurgeEnvironment
    runs: Runs
    media: Objects
    uploads: Objects

    def turn(self, has_time: HasTime) -> dict[str, int]:
        """Do what is due; may be called any number of times, also at the same time.

        Args:
            has_time: Asked before every call that may be left to the next turn.

        Returns:
            How many notes came to which outcome.

        Raises:
            PurgeError: If one of them failed; the others are done all the same.
            botocore.exceptions.ClientError: If the notes cannot be read.
        """
        now = timestamp()
        notes = [note for shard in range(table.SHARDS) for note in self.runs.due(shard, now)]
        # A turn that is too short for all of them must not always leave the same ones.
        random.shuffle(notes)
        outcomes = Counter(self._look_after(note, now, has_time) for note in notes)
        counted = {outcome.value: outcomes[outcome] for outcome in Outcome}
        if notes:
            _LOG.info("looked after runs that are due", extra=counted)
        if outcomes[Outcome.FAILED]:
            raise PurgeError(
                f"{outcomes[Outcome.FAILED]} of {len(notes)} runs could not be purged; the log "
                "names each"
            )
        return counted

    def _look_after(self, item: Mapping[str, Any], now: str, has_time: HasTime) -> Outcome:
        """Do one note; what fails there does not stop the others."""
        if not has_time():
            return Outcome.UNFINISHED
        key = item.get(table.PARTITION_KEY), item.get(table.SORT_KEY)
        try:
            return self._purge(Purge.from_item(item), datetime.fromisoformat(now), has_time)
        except (
            BotoCoreError,
            ClientError,
            ObjectsRemainError,
            # What a malformed note or video leads to.
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            _LOG.exception(
                "a run was not purged: %s: %s",
                type(error).__name__,
                error,
                extra={"outcome": Outcome.FAILED.value, "note": key},
            )
            return Outcome.FAILED

    def _purge(self, note: Purge, now: datetime, has_time: HasTime) -> Outcome:
        fields: dict[str, Any] = {
            "video_id": note.video_id,
            "run_id": note.run_id,
            "tenant": note.tenant,
        }
        video = self.runs.video(note.video_id)
        prefixes = prefixes_of(note, video)
        at_home = home_of(note, video) == self.environment.home_region
        if is_in_use(note, video):
            if at_home:
                self.runs.delete_note(note)
            _LOG.warning("a run that is in use is kept", extra={**fields, "outcome": "in_use"})
            return Outcome.IN_USE

        deleted = 0
        for count in self._delete_objects(note, video, prefixes):
            deleted += count
            if not has_time():
                return Outcome.UNFINISHED
        if deleted:
            _LOG.info("deleted objects", extra={**fields, "objects": deleted})
        if note.run_id is None:
            self.runs.delete_counters(note.video_id, self.environment.home_region)
        if not (at_home and items_may_go(note, now)):
            return Outcome.SETTLING
        outcome = self._purge_items(note, video, now, has_time)
        _LOG.info("looked after items", extra={**fields, "outcome": outcome.value})
        return outcome

    def _purge_items(
        self, note: Purge, video: Video | None, now: datetime, has_time: HasTime
    ) -> Outcome:
        """Delete the items, at last the note, unless other regions still need it."""
        is_last = note_may_go(note, now)
        if note.run_id is None and (event := self.runs.waiting_event(note.video_id)):
            _LOG.warning(
                "an event is not published yet", extra={"video_id": note.video_id, "event": event}
            )
            return Outcome.SETTLING
        for _ in self.runs.delete_items(note):
            if not has_time():
                return Outcome.UNFINISHED
        if note.run_id is None and video is not None:
            self.runs.delete_guards(video)
            # The video goes last: until then its note is found again.
            if not self.runs.delete_video(note, video, with_note=is_last):
                return Outcome.UNFINISHED
        elif is_last:
            self.runs.delete_note(note)
        return Outcome.PURGED if is_last else Outcome.SETTLING

    def _delete_objects(
        self, note: Purge, video: Video | None, prefixes: list[str]
    ) -> Iterator[int]:
        for prefix in prefixes:
            yield from self.media.delete_versions(prefix)
        if note.run_id is None and (upload := upload_of(note, video)):
            yield from self.uploads.delete_versions(upload)
