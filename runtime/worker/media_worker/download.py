"""The progressive MP4 of a run that is complete, made on request."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import RunKeys, audio_track, video_track
from media_platform.contract.run import SOUND, Run
from media_worker.cancellation import Cancellation
from media_worker.concatenation import Concatenation
from media_worker.ending import Verified
from media_worker.faults import TransientError
from media_worker.objects import FINISHED, ObjectStore, Upload
from media_worker.planning import Plan
from media_worker.progressive import PROGRESSIVE_TYPE, largest_size, make_progressive
from media_worker.runs import RunLedger
from media_worker.segments import segment_name

_LONGEST_STEM = 100
"""Characters, which take up to 1,200 bytes of a header."""


def make_download(
    *,
    plan: Plan,
    run: Run,
    height: int,
    file_name: str,
    job: TranscodeJob,
    ledger: RunLedger,
    keys: RunKeys,
    store: ObjectStore,
    scratch: Path,
    cancellation: Cancellation,
) -> int:
    """Make the file of one rung with the first sound track, publish it, and return its size.

    Args:
        plan: The plan of the run.
        run: The run, complete.
        height: Lines of the rung.
        file_name: Name of the file that was uploaded, after which this one is named.
        job: A job of the run.
        ledger: Where its parts are.
        keys: Its keys.
        store: Where it is published.
        scratch: Folder for the file.
        cancellation: Stops it.

    Raises:
        TransientError: If a segment cannot be read, or there is no room for the file.
        StoppedError: If the job was stopped.
    """
    chunks = ledger.chunks(job, 0, len(plan.chunks))
    complete = Verified(
        run=run,
        chunks=tuple(chunks),
        sound=ledger.part(job, SOUND),
        frames=sum(chunk.samples for chunk in chunks),
    )
    listing = complete.listing

    def track(name: str, attempts: tuple[int, ...]) -> Concatenation[str]:
        sizes = store.sizes(f"{keys.prefix}{name}/")
        pieces = [
            keys.init(name, (run.inits or {})[name]),
            *(
                keys.segment(name, attempt, segment_name(index))
                for index, attempt in enumerate(attempts)
            ),
        ]
        missing = [key for key in pieces if key not in sizes]
        if missing:
            raise TransientError(f"{len(missing)} objects are missing, the first is {missing[0]}")
        return Concatenation(
            [(key, sizes[key]) for key in pieces],
            lambda key, offset, count: store.read(key, offset, offset + count),
        )

    video = track(video_track(height), listing.picture)
    sound = track(audio_track(0), listing.sound) if plan.source.audio else None
    needed, free = largest_size(video, sound), shutil.disk_usage(scratch).free
    if needed > free:
        raise TransientError(
            f"the download takes up to {needed} bytes of scratch space, but {free} are free; give "
            "the workers more (worker_scratch_gibibytes)"
        )
    target = scratch / "download.mp4"
    size = make_progressive(
        video, sound, frames=complete.frames, target=target, cancellation=cancellation
    )
    store.upload(
        Upload(
            key=keys.download(height),
            body=b"",
            content_type=PROGRESSIVE_TYPE,
            cache_control=FINISHED,
            disposition=disposition(file_name, height),
        ),
        target,
    )
    return size


def disposition(file_name: str, height: int) -> str:
    """Return the ``Content-Disposition`` under which browsers save a download (RFC 6266).

    Args:
        file_name: Name of the file that was uploaded; any characters.
        height: Lines of the rung.
    """
    stem = (file_name.rpartition(".")[0] or file_name)[:_LONGEST_STEM]
    # Whoever reads it must not be led astray by what a user calls his file.
    name = quote(f"{stem}-{height}p.mp4", safe="", errors="replace")
    return f"attachment; filename=\"video-{height}p.mp4\"; filename*=UTF-8''{name}"
