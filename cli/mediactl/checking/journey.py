"""The main job, step by step: upload, become playable and READY, play."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mediactl.client import MediaClient
from mediactl.errors import CommandError
from mediactl.local import player
from mediactl.videos.outcomes import ENDS, failure_of
from mediactl.videos.uploads import Source, send_file

POLL_SECONDS = 0.25


def upload(
    client: MediaClient,
    path: Path,
    body: Mapping[str, Any],
    *,
    key: str,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Create a video and send its file, unless the platform has it.

    Args:
        client: A client of the API.
        path: The file.
        body: What is said of the video, ``docs/api.md``.
        key: Idempotency key: with the same, the same body makes one video.
        progress: Called with the number of bytes that arrived.

    Returns:
        The video, as it was when it was created.

    Raises:
        ApiError: If the API or S3 refuses it.
    """
    video, how = client.create(body, key=key)
    if how is not None:
        with Source(path) as source:
            send_file(client, video["video_id"], how, source, progress=progress)
    return video


def follow(
    client: MediaClient, video_id: str, *, deadline: float | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a video again and again until it is READY.

    Args:
        client: A client of the API.
        video_id: The video.
        deadline: Time until which it is waited for, of the monotonic clock. Default: none.

    Raises:
        CommandError: If it fails, with the reason that the platform gives, or takes too long.
    """
    while True:
        video = client.video(video_id)
        yield video
        if video["status"] in ENDS:
            failure = failure_of(video)
            if failure is None:
                return
            raise failure
        if deadline is not None and time.monotonic() > deadline:
            raise CommandError(
                f"the video is still {video['status']}, at {video['progress']} %, and time is up"
            )
        time.sleep(POLL_SECONDS)


def decode(grant: Mapping[str, Any]) -> list[dict[str, int]]:
    """Decode every rendition with cookies, and one as players without cookies get it.

    Args:
        grant: What the API answers who asks for playback.

    Returns:
        Height of every rendition, and the frames that were decoded of it.

    Raises:
        CommandError: If something cannot be fetched or decoded.
    """
    cookies = grant["cookies"]
    playlist = player.fetch_playlist(grant["playlist_url"], cookies)
    renditions = [
        {"height": height, "frames": player.decode(url, cookies)}
        for height, url in playlist.variants.items()
    ]
    if playlist.audio:
        player.decode(playlist.audio, cookies, track="a")
    signed = player.fetch_playlist(grant["signed_playlist_url"], {})
    lowest = min(signed.variants)
    frames = player.decode(signed.variants[lowest], {})
    if frames != renditions[-1]["frames"]:
        raise CommandError(
            f"with signed URLs {frames} frames play, with cookies {renditions[-1]['frames']}"
        )
    return renditions
