"""The main job once through, on the local plane: sign in, upload, transcode, play."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from media_platform.contract import identity
from media_platform.contract.ids import new_id
from mediactl.access.sessions import UserPool
from mediactl.checking import journey
from mediactl.client import ApiError, MediaClient
from mediactl.environment import Environment
from mediactl.errors import CommandError
from mediactl.local import player, sample
from mediactl.videos.uploads import content_type_of


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the demo did, as ``demo.json`` holds it.

    Attributes:
        video_id: The video.
        status: Its status at the end.
        playback_url: Multivariant playlist, playable with the cookies.
        playback_cookies: Cookies that sign the playback.
        signed_playlist_url: Multivariant playlist for players without cookies.
        renditions: Height of every rendition, and the frames that were decoded of it.
        unsigned_status: HTTP status of the playlist without cookies.
        seconds: Duration of the upload, and time from its end until playable and until ready.
    """

    video_id: str
    status: str
    playback_url: str
    playback_cookies: dict[str, str]
    signed_playlist_url: str
    renditions: list[dict[str, int]]
    unsigned_status: int
    seconds: dict[str, float]


def run(environment: Environment, video: Path, talk: Console) -> Report:
    """Take ``video`` through the platform and play what comes out.

    Args:
        environment: A plane that is up.
        video: The file.
        talk: Where progress is shown.

    Raises:
        CommandError: If the video fails, with the reason that the platform gives.
    """
    content_type = content_type_of(video)
    token = UserPool.of(environment).sign_in_as(
        "demo", tenant="demo", groups=[identity.EDITOR_GROUP]
    )
    client = MediaClient(environment.base_url, token)

    def tell(text: str) -> None:
        """Say where a progress bar cannot be seen how far the job is."""
        if not talk.is_terminal:
            talk.print(text, highlight=False)

    columns = (TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn())
    try:
        with Progress(*columns, TimeElapsedColumn(), console=talk) as progress:
            created, uploaded_in = _upload(client, video, content_type, progress)
            tell(f"uploaded as {created['video_id']}")
            final, playable_in, ready_in = _wait(client, created["video_id"], progress)
            tell("transcoded, now playing")
            report_playing = progress.add_task("play", total=None)
            grant = client.playback(final["video_id"])
            renditions = journey.decode(grant)
            unsigned = player.status_without_grant(grant["playlist_url"])
            progress.update(report_playing, total=1, completed=1)
    except ApiError as error:
        raise CommandError(f"the API refused: {error}") from error
    return Report(
        video_id=final["video_id"],
        status=final["status"],
        playback_url=grant["playlist_url"],
        playback_cookies=grant["cookies"],
        signed_playlist_url=grant["signed_playlist_url"],
        renditions=renditions,
        unsigned_status=unsigned,
        seconds={"upload": uploaded_in, "playable": playable_in, "ready": ready_in},
    )


def _upload(
    client: MediaClient, video: Path, content_type: str, progress: Progress
) -> tuple[dict[str, Any], float]:
    size = video.stat().st_size
    bar = progress.add_task("upload", total=size)
    body = {
        "title": video.stem[:200] or "untitled",
        "file_name": video.name,
        "content_type": content_type,
        "size_bytes": size,
    }
    started = time.monotonic()
    created = journey.upload(
        client, video, body, key=new_id(), progress=lambda sent: progress.advance(bar, sent)
    )
    return created, round(time.monotonic() - started, 3)


def _wait(
    client: MediaClient, video_id: str, progress: Progress
) -> tuple[dict[str, Any], float, float]:
    bar = progress.add_task("transcode", total=100)
    started = time.monotonic()
    playable = elapsed = 0.0
    video: dict[str, Any] = {}
    for video in journey.follow(client, video_id):
        elapsed = round(time.monotonic() - started, 3)
        progress.update(bar, completed=video["progress"])
        if video["playable"] and not playable:
            playable = elapsed
    return video, playable, elapsed


def summary(report: Report, video: Path) -> Table:
    """Return the table that people see at the end."""
    table = Table(title=f"{video.name} → {report.status}", show_header=False)
    for name, seconds in report.seconds.items():
        table.add_row(name if name == "upload" else f"{name} after upload", f"{seconds:.1f} s")
    for rendition in report.renditions:
        table.add_row(f"{rendition['height']}p", f"{rendition['frames']} frames decoded")
    table.add_row("without a signature", f"status {report.unsigned_status}")
    return table


def write(report: Report, path: Path) -> None:
    """Write the report as JSON, readable by its owner only, since the cookies are a grant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")


def sample_video(folder: Path) -> Path:
    """Return the sample video, made on first use."""
    path = folder / "sample-1080p.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.mp4")
        sample.make_sample(unfinished)
        unfinished.replace(path)
    return path
