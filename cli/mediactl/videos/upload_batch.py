"""The files of one ``mediactl videos upload``: what the API is asked, and what became of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from media_platform.contract.upload import UPLOAD_MAX_BYTES, UploadKind, kind_of, part_bytes_of
from mediactl import output
from mediactl.access import sessions
from mediactl.errors import FAILED, USAGE, CommandError
from mediactl.failures import explain
from mediactl.progress import size, transferring
from mediactl.videos.outcomes import failure_of, wait_until_done
from mediactl.videos.uploads import Begun, Source, UploadRecords, content_type_of, send_file

if TYPE_CHECKING:
    from mediactl.client import MediaClient, Upload, UploadInParts


@dataclass(frozen=True)
class UploadedFile:
    """What became of a file.

    Attributes:
        path: The file.
        size_bytes: Its size.
        video_id: Its video, if there is one.
        status: Where the video stood at the end of the command.
        resumed: Whether an upload was gone on with that had been interrupted.
        duplicate: Whether the platform had the file already, in that video.
        error: Why it came to nothing, if it did.
    """

    path: str
    size_bytes: int
    video_id: str | None = None
    status: str | None = None
    resumed: bool = False
    duplicate: bool = False
    error: str | None = None

    @property
    def plan(self) -> str:
        """How it is sent, for people."""
        if kind_of(self.size_bytes) is UploadKind.SINGLE:
            return "one PUT"
        part_bytes = part_bytes_of(self.size_bytes)
        return f"{-(-self.size_bytes // part_bytes)} parts of {size(part_bytes)}"


UploadedFiles = list[UploadedFile]
"""What the command prints."""


def bodies_of(
    files: Iterable[Path], said: Mapping[str, Any], *, title: str | None, content_type: str | None
) -> dict[Path, dict[str, Any]]:
    """Return what the API is asked to create, by file.

    Args:
        files: The files.
        said: What the person said of all of them.
        title: Title. Default: the name of the file without its ending.
        content_type: Content type. Default: that of the ending of the name.

    Raises:
        CommandError: If a file can be none that is accepted; it names all of them.
    """
    bodies: dict[Path, dict[str, Any]] = {}
    refused: list[CommandError] = []
    for path in files:
        try:
            kind = content_type or content_type_of(path)
            count = _size_of(path)
        except CommandError as error:
            refused.append(error)
            continue
        name = os.fsencode(path.name).decode(errors="replace")
        bodies[path] = {
            "title": title if title is not None else Path(name).stem[:200],
            "file_name": name,
            "content_type": kind,
            "size_bytes": count,
            **said,
        }
    if refused:
        hints = dict.fromkeys(error.hint for error in refused if error.hint)
        raise CommandError("; ".join(map(str, refused)), hint="; ".join(hints), exit_code=USAGE)
    return bodies


def _size_of(path: Path) -> int:
    count = path.stat().st_size
    if not count:
        raise CommandError(f"{path} is empty", hint="upload a file that is complete")
    if count > UPLOAD_MAX_BYTES:
        raise CommandError(
            f"{path} has {size(count)}, and S3 takes {size(UPLOAD_MAX_BYTES)} at most",
            hint="cut it, or compress it more",
        )
    return count


class UploadBatch:
    """The files of one command.

    Args:
        client: A client of the API.
        parallel: Parts of a file that are sent at a time.

    Attributes:
        done: What became of each file so far.
    """

    def __init__(self, client: MediaClient, *, parallel: int) -> None:
        self.done: UploadedFiles = []
        self._client = client
        self._parallel = parallel
        self._errors: list[CommandError] = []

    def send(self, path: Path, body: Mapping[str, Any]) -> None:
        """Send a file; what goes wrong with it does not keep the others back."""
        try:
            self.done.append(self._send(path, body))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told of this file
            explained = explain(error)
            if str(path) not in str(explained):
                explained = CommandError(
                    f"{path}: {explained}", hint=explained.hint, exit_code=explained.exit_code
                )
            self._errors.append(explained)
            self.done.append(UploadedFile(str(path), body["size_bytes"], error=str(explained)))

    def wait(self, deadline: float | None) -> None:
        """Wait until every video that was uploaded is READY or has failed.

        Args:
            deadline: Time until which is waited, of the monotonic clock; ``None`` for ever.
        """
        for place, one in enumerate(self.done):
            if one.video_id is None:
                continue
            error: CommandError | None
            try:
                name = Path(one.path).name
                video = wait_until_done(self._client, one.video_id, name, deadline)
                one, error = replace(one, status=video["status"]), failure_of(video)  # noqa: PLW2901
            except CommandError as late:
                error = late
            if error is not None:
                self._errors.append(error)
                one = replace(one, error=str(error))  # noqa: PLW2901
            self.done[place] = one

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if not self._errors:
            return
        if len(self.done) == 1:
            raise self._errors[0]
        for error in self._errors:
            output.say(f"error: {error}")
        codes = {error.exit_code for error in self._errors}
        hints = dict.fromkeys(error.hint for error in self._errors if error.hint)
        raise CommandError(
            f"{len(self._errors)} of {len(self.done)} files came to nothing",
            hint="; ".join(hints) or None,
            exit_code=codes.pop() if len(codes) == 1 else FAILED,
        )

    def _send(self, path: Path, body: Mapping[str, Any]) -> UploadedFile:
        with Source(path) as source:
            wanted = {**body, "size_bytes": source.size_bytes}
            if kind_of(source.size_bytes) is UploadKind.SINGLE:
                wanted["sha256"] = source.sha256(0, source.size_bytes)
            records = UploadRecords(sessions.user_state() / "uploads", self._client, path, wanted)
            with records.held():
                begun = records.begin()
                _tell(path, begun)
                if begun.upload is not None:
                    self._transfer(begun.video_id, begun.upload, source)
                records.forget()
            return UploadedFile(
                str(path),
                source.size_bytes,
                begun.video_id,
                self._client.video(begun.video_id)["status"],
                resumed=begun.resumed,
                duplicate=begun.duplicate,
            )

    def _transfer(self, video_id: str, upload: Upload | UploadInParts, source: Source) -> None:
        path, arrived = source.path, 0

        def stopped() -> str:
            return f"the upload of {path} stopped at {100 * arrived // source.size_bytes} %"

        try:
            with transferring(path.name, source.size_bytes) as advance:

                def progress(step: int) -> None:
                    nonlocal arrived
                    arrived += step
                    advance(step)

                changed = send_file(
                    self._client,
                    video_id,
                    upload,
                    source,
                    parallel=self._parallel,
                    progress=progress,
                )
        except KeyboardInterrupt as end:
            end.add_note(f"{stopped()}; run the same command again to go on")
            raise
        except urllib3.exceptions.HTTPError as error:
            raise CommandError(
                f"{stopped()}: {explain(error)}",
                hint="run the same command again: it goes on where it stopped",
            ) from error
        if changed:
            output.say(
                f"{path} has changed since its upload began: {changed} parts were sent again"
            )


def _tell(path: Path, begun: Begun) -> None:
    """Say what is special about an upload."""
    if begun.duplicate:
        output.say(f"{path}: video {begun.video_id} has this file already; nothing is sent")
    elif begun.changed:
        output.say(f"{path} has changed since its upload began: it begins anew")
    elif begun.resumed:
        output.say(f"{path}: going on with the upload of video {begun.video_id}")
