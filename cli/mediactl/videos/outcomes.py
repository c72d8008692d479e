"""Waits for what becomes of a video."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from media_platform.contract.video import VideoStatus
from mediactl import output
from mediactl.errors import CommandError
from mediactl.progress import working
from mediactl.videos.timelines import FailureShown

if TYPE_CHECKING:
    from mediactl.client import MediaClient

POLL_SECONDS = 1.0

_HELD_BACK = "waits for the budget of another day"

ENDS = frozenset({VideoStatus.READY, VideoStatus.FAILED, VideoStatus.DELETED})


def wait_until_done(
    client: MediaClient, video_id: str, name: str, deadline: float | None
) -> dict[str, Any]:
    """Return a video once nothing is being done for it any more.

    Args:
        client: A client of the API.
        video_id: The video.
        name: What it is called where its progress is shown.
        deadline: Time until which it is waited for, of the monotonic clock. Default: none.

    Raises:
        CommandError: If that takes too long.
    """
    try:
        with working(name) as show_progress:
            while True:
                video = client.video(video_id)
                following = video.get("next_run")
                if video["status"] in ENDS and not following:
                    show_progress(video["progress"], video["status"])
                    return video
                percent = following["progress"] if following else video["progress"]
                word = "again" if following else video["status"]
                show_progress(percent, _HELD_BACK if video.get("held_back") else word)
                if deadline is not None and time.monotonic() > deadline:
                    raise CommandError(
                        f"video {video_id} is still {video['status']}, at {percent} %",
                        hint=f"it goes on by itself: mediactl videos show {video_id}",
                    )
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt as end:
        end.add_note(f"video {video_id} goes on by itself: mediactl videos show {video_id}")
        raise


def played_run(client: MediaClient, video_id: str) -> str | None:
    """Return the run that viewers have of a video, ``None`` if they have none."""
    from mediactl.client import ApiError  # noqa: PLC0415 - slow to import

    try:
        return str(client.call("GET", f"/api/videos/{video_id}/downloads")["run_id"])
    except ApiError as error:
        if error.kind != "not-downloadable":
            raise
        return None


def unreplaced(client: MediaClient, video_id: str, before: str | None) -> CommandError | None:
    """Return what to tell if viewers still have the run of before, although a new one has ended.

    Args:
        client: A client of the API.
        video_id: A READY video.
        before: The run that they had.
    """
    if before is None or played_run(client, video_id) != before:
        return None
    return CommandError(
        f"video {video_id} is what it was: the new run failed, or was cancelled",
        hint=f"mediactl videos show {video_id} tells why",
    )


def failure_of(video: dict[str, Any]) -> CommandError | None:
    """Return why a video is not READY, if it is not."""
    if video["status"] == VideoStatus.READY:
        return None
    failure = FailureShown.of(video.get("failure"), video["video_id"])
    why = f": {output.printable(failure.message)} ({failure.code})" if failure else ""
    if video.get("duplicate_of"):
        why += f"; the other is {video['duplicate_of']}"
    return CommandError(
        f"video {video['video_id']} is {video['status']}{why}",
        hint=failure.remedy if failure else None,
    )
