"""Files of a video that can be loaded down: its renditions, and what was uploaded."""

from __future__ import annotations

import time
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from media_platform.contract.outputs import StoreOutput
from mediactl.errors import NOT_FOUND, REFUSED, CommandError
from mediactl.progress import working
from mediactl.videos import timelines
from mediactl.videos.outcomes import POLL_SECONDS

if TYPE_CHECKING:
    from mediactl.client import MediaClient
    from mediactl.environment import Environment


class Rendition:
    """A rendition of a video as one file.

    Attributes:
        height: Its lines.
        file_name: What it is called.
    """

    def __init__(
        self, client: MediaClient, video_id: str, height: int | None, deadline: float | None
    ) -> None:
        video = client.video(video_id)
        heights = [one["height"] for one in video["renditions"]]
        if height is None and not heights:
            raise CommandError(
                f"video {video_id} is {video['status']} and has no renditions yet",
                hint="wait until it is READY",
                exit_code=REFUSED,
            )
        self.height: int | None = height if height is not None else heights[0]
        name = Path(plain_name(video.get("file_name") or video_id))
        self.file_name = f"{name.stem}-{self.height}p.mp4"
        self.identity = ""
        self._client = client
        self._path = f"/api/videos/{video_id}/downloads"
        self._deadline = deadline

    def prepare(self) -> None:
        """Let it be made, unless it is there.

        Raises:
            CommandError: If that fails, or takes too long.
        """
        state = self._state()
        if state is None or state["status"] == "FAILED":
            state = self._client.call("POST", self._path, {"height": self.height})
        with working(self.file_name) as show_progress:
            while state["status"] != "READY":
                if state["status"] == "FAILED":
                    failure = state["failure"]
                    raise CommandError(
                        f"the file cannot be made: {failure['message']} ({failure['code']})",
                        hint="run the same command again to try once more",
                    )
                if self._deadline is not None and time.monotonic() > self._deadline:
                    raise CommandError(
                        f"the file is still {state['status']}",
                        hint="run the same command again later; it is made meanwhile",
                    )
                show_progress(0, state["status"])
                time.sleep(POLL_SECONDS)
                state = self._state() or state
        self.identity = f"{self._client.call('GET', self._path)['run_id']} {self.height}"

    def url(self) -> str:
        """Return where it is, signed anew."""
        url = (self._state() or {}).get("url")
        if not url:
            raise CommandError(
                "the file is gone: the video was transcoded again meanwhile",
                hint="run the same command again",
            )
        return str(url)

    def _state(self) -> dict[str, Any] | None:
        downloads = self._client.call("GET", self._path)["downloads"]
        return next((one for one in downloads if one["height"] == self.height), None)


class Original:
    """The file of a video as it was uploaded.

    Attributes:
        height: None.
        file_name: What it is called.
        identity: What its content is.
    """

    def __init__(self, environment: Environment, client: MediaClient, video_id: str) -> None:
        kept = timelines.read_kept(environment, video_id)
        if kept is None:
            client.video(video_id)
            raise CommandError(f"the table knows no video {video_id}", exit_code=NOT_FOUND)
        video = kept.video
        if video.raw_version_id is None:
            raise CommandError(
                f"the file of video {video_id} did not arrive: it is {video.status}",
                hint=f"mediactl videos show {video_id}",
                exit_code=REFUSED,
            )
        self.height: int | None = None
        self.file_name = plain_name(video.file_name)
        self.identity = f"{video.raw_key} {video.raw_version_id}"
        self._s3 = environment.client("s3", video.home_region)
        self._object = {
            "Bucket": environment.output(StoreOutput.RAW_BUCKET, video.home_region),
            "Key": video.raw_key,
            "VersionId": video.raw_version_id,
        }

    def prepare(self) -> None:
        """Do nothing: it is there."""

    def url(self) -> str:
        """Return where it is, signed anew."""
        return str(self._s3.generate_presigned_url("get_object", Params=self._object))


def plain_name(name: str) -> str:
    """Return the name of a file that somebody chose elsewhere, which leads out of no folder."""
    last = PureWindowsPath(name).name
    kept = "".join(letter for letter in last if letter.isprintable()).lstrip(".")
    return kept or "video"


def target_of(target: Path | None, name: str) -> Path:
    """Return where a file goes.

    Args:
        target: A file or a folder. Default: this folder.
        name: Its name in a folder.
    """
    if target is None:
        return Path(name)
    return target / name if target.is_dir() else target
