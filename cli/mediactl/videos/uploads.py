"""Sends files to S3 by URLs that the API signs, and goes on with what was interrupted.

A file in parts is sent by several threads, and one more that hashes the next parts and gets them
signed meanwhile; so hashing costs no time unless it is slower than the network. What S3 has already
is compared by its SHA-256, not sent again.

Before a video is created, a record of the upload is written below the person's state folder, with
the key by which the API knows the request again. So a command that is killed at any moment, and run
again, goes on with the same video.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import mimetypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import urllib3

from media_platform.contract import media_types
from media_platform.contract.ids import new_id
from media_platform.contract.upload import MULTIPART_TIME
from mediactl.client import TRANSIENT, ApiError, MediaClient, Upload, UploadInParts, backoff
from mediactl.errors import CommandError
from mediactl.local.state import read_state, write_json
from mediactl.locks import alone

ATTEMPTS = 10
"""How often a part is sent, in all, before the upload stops: more than half a minute."""

ROUNDS = 3
"""How often parts are sent that S3 turns out to lack when the upload is completed."""

BLOCK_BYTES = 1 << 18
"""Bytes that are read, and handed to the network, at a time; few enough for a slow line."""

KEY_SECONDS = 24 * 3600
"""Time for which the API knows a request again by its key."""

_RENEWED = frozenset({400, 403})
"""Answers of S3 after which a new signature helps: expired, or over other bytes."""

_ALREADY_THERE = 412
_JOIN_SECONDS = 2
_LOOK_AGAIN_SECONDS = 0.1

Progress = Callable[[int], None]
"""Called with the number of bytes that arrived, less than zero for what has to be sent again."""


class FileChangedError(CommandError):
    """A file is not what it was when its upload began."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        super().__init__(
            f"{path} was changed while it was uploaded",
            hint="run the same command again once nothing writes to it; parts that are still the "
            "same are not sent again",
        )


class Source:
    """A file that is uploaded, as it is when it is opened.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._known = self._looks()

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self._known[0]

    def __enter__(self) -> Self:
        """Return it; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._file.close()

    def blocks(self, start: int, length: int) -> Iterator[bytes]:
        """Yield a part of it, block by block.

        Raises:
            FileChangedError: If it has become shorter.
        """
        end = start + length
        while start < end:
            block = os.pread(self._file.fileno(), min(BLOCK_BYTES, end - start), start)
            if not block:
                raise FileChangedError(self.path)
            yield block
            start += len(block)

    def sha256(self, start: int, length: int) -> str:
        """Return the SHA-256 of a part of it in base64."""
        digest = hashlib.sha256()
        for block in self.blocks(start, length):
            digest.update(block)
        return base64.b64encode(digest.digest()).decode()

    def check_unchanged(self) -> None:
        """Check that nobody wrote to it since it was opened.

        Raises:
            FileChangedError: If somebody did.
        """
        if self._looks() != self._known:
            raise FileChangedError(self.path)

    def _looks(self) -> tuple[int, int]:
        now = os.fstat(self._file.fileno())
        return now.st_size, now.st_mtime_ns


def content_type_of(path: Path) -> str:
    """Return the content type of a video file by its name.

    Raises:
        CommandError: If files of this kind are not accepted.
    """
    extension = path.suffix.lower().lstrip(".")
    kind = media_types.CONTENT_TYPES.get(extension) or mimetypes.guess_type(path.name)[0]
    if kind not in media_types.EXTENSIONS:
        raise CommandError(
            f"{path} ends in {path.suffix!r}, which is not a video type that is accepted",
            hint=f"accepted are {', '.join(sorted(media_types.CONTENT_TYPES))}",
        )
    return kind


def send_file(
    client: MediaClient,
    video_id: str,
    upload: Upload | UploadInParts,
    source: Source,
    *,
    parallel: int = 8,
    progress: Progress = lambda _: None,
) -> int:
    """Send the file of a video, or what of it S3 does not have yet.

    Args:
        client: A client of the API.
        video_id: The video.
        upload: How it is sent, as the API says.
        source: The file.
        parallel: Most parts that are sent at a time.
        progress: Called as bytes arrive, also from threads, one at a time.

    Returns:
        The number of parts that S3 had and that were sent again, since the file has others now.

    Raises:
        ApiError: If the API or S3 refuses it.
        FileChangedError: If the file is changed meanwhile.
        urllib3.exceptions.HTTPError: If the network fails for longer than is waited.
    """
    if isinstance(upload, Upload):
        _Whole(client, video_id, source, progress).send(upload)
        return 0
    changed = 0
    for round_ in range(1, ROUNDS + 1):
        parts = _Parts(client, video_id, upload, source, parallel=parallel, progress=progress)
        parts.send()
        changed += parts.changed
        source.check_unchanged()
        try:
            client.complete_upload(video_id)
        except ApiError as error:
            if error.kind != "upload-incomplete" or round_ == ROUNDS:
                raise
            progress(-source.size_bytes)
            found = client.upload_of(video_id)
            if not isinstance(found, UploadInParts):
                raise
            upload = found
        else:
            break
    return changed


def _deliver(
    client: MediaClient,
    upload: Upload,
    blocks: Callable[[], Iterator[bytes]],
    renewed: Callable[[], Upload],
    wait: Callable[[float], object],
) -> None:
    """Send something once it works, with new signatures where those it has do not hold.

    Args:
        client: A client of the API.
        upload: Where to.
        blocks: Begins to read it.
        renewed: Returns where to, signed anew.
        wait: Waits for some seconds.
    """
    pauses = backoff(ATTEMPTS)
    refused = 0
    while True:
        pause = next(pauses, None)
        try:
            client.put(upload, blocks())
        except urllib3.exceptions.HTTPError:
            if pause is None:
                raise
        except ApiError as error:
            refused += error.status in _RENEWED
            hopeless = error.status not in TRANSIENT | _RENEWED or refused == ROUNDS
            if pause is None or hopeless:
                raise
            if error.status in _RENEWED:
                upload = renewed()
        else:
            return
        wait(pause)


class _Whole:
    """Sends a file with one PUT."""

    def __init__(
        self, client: MediaClient, video_id: str, source: Source, progress: Progress
    ) -> None:
        self._client = client
        self._video_id = video_id
        self._source = source
        self._progress = progress
        self._sent = 0

    def send(self, upload: Upload) -> None:
        """Send it, unless it is there."""
        try:
            _deliver(self._client, upload, self._blocks, self._renewed, time.sleep)
        except ApiError as error:
            if error.status != _ALREADY_THERE:
                raise

    def _blocks(self) -> Iterator[bytes]:
        self._progress(-self._sent)
        self._sent = 0
        for block in self._source.blocks(0, self._source.size_bytes):
            yield block
            self._sent += len(block)
            self._progress(len(block))

    def _renewed(self) -> Upload:
        self._source.check_unchanged()
        upload = self._client.upload_of(self._video_id)
        if not isinstance(upload, Upload):
            raise FileChangedError(self._source.path)
        return upload


@dataclass(frozen=True)
class _Part:
    """A part that is ready to be sent."""

    number: int
    start: int
    length: int
    sha256: str
    upload: Upload


class _StoppedError(Exception):
    """Another part failed, or the person interrupted."""


class _Parts:
    """Sends what is missing of a file in parts, and compares the rest.

    Attributes:
        changed: Parts that arrived before and are others now.
    """

    def __init__(
        self,
        client: MediaClient,
        video_id: str,
        plan: UploadInParts,
        source: Source,
        *,
        parallel: int,
        progress: Progress,
    ) -> None:
        self.changed = 0
        self._client = client
        self._video_id = video_id
        self._plan = plan
        self._source = source
        self._parallel = parallel
        self._tell = progress
        everything = range(1, plan.parts + 1)
        # Sending begins at once; what arrived is compared meanwhile and afterwards.
        self._waiting = deque(sorted(everything, key=lambda number: number in plan.arrived))
        self._signed: deque[_Part] = deque()
        self._batch = 1
        self._all_signed = False
        self._ready = threading.Condition()
        self._telling = threading.Lock()
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    def send(self) -> None:
        """Send it, and raise what went wrong first."""
        self._progress(sum(self._length(number) for number in self._plan.arrived))
        senders = min(self._parallel, self._plan.parts)
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._prepare, *[self._deliver_parts] * senders)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop.set()
            # One that waits for an answer is left behind: the process may end without it.
            deadline = time.monotonic() + _JOIN_SECONDS
            for thread in threads:
                thread.join(max(0, deadline - time.monotonic()))
            raise
        if self._errors:
            raise self._errors[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._errors.append(error)
            self._stop.set()

    def _prepare(self) -> None:
        """Hash and sign parts, a few ahead of those that are sent."""
        while self._waiting:
            signed = self._sign_more()
            with self._ready:
                self._signed.extend(signed)
                self._ready.notify_all()
                while len(self._signed) > self._parallel:
                    self._look_again()
        with self._ready:
            self._all_signed = True
            self._ready.notify_all()

    def _deliver_parts(self) -> None:
        while True:
            with self._ready:
                while not self._signed and not self._all_signed:
                    self._look_again()
                if not self._signed:
                    return
                part = self._signed.popleft()
                self._ready.notify_all()
            self._send_part(part)

    def _look_again(self) -> None:
        """Wait until parts come or go.

        Raises:
            _StoppedError: If there is no use in waiting.
        """
        self._ready.wait(_LOOK_AGAIN_SECONDS)
        if self._stop.is_set():
            raise _StoppedError

    def _sign_more(self) -> list[_Part]:
        """Hash and sign the next parts: one at first, so that something is sent at once."""
        digests: dict[int, str] = {}
        while self._waiting and len(digests) < self._batch:
            if self._stop.is_set():
                raise _StoppedError
            number = self._waiting.popleft()
            sha256 = self._sha256(number)
            known = self._plan.arrived.get(number)
            if known == sha256:
                continue
            if known is not None:
                self.changed += 1
                self._progress(-self._length(number))
            digests[number] = sha256
        if not digests:
            return []
        self._batch = min(self._batch * 2, self._parallel)
        signed = self._client.sign_parts(self._video_id, digests)
        return [self._part(number, digests[number], upload) for number, upload in signed.items()]

    def _part(self, number: int, sha256: str, upload: Upload) -> _Part:
        start = (number - 1) * self._plan.part_bytes
        return _Part(number, start, self._length(number), sha256, upload)

    def _length(self, number: int) -> int:
        start = (number - 1) * self._plan.part_bytes
        return min(self._plan.part_bytes, self._source.size_bytes - start)

    def _sha256(self, number: int) -> str:
        return self._source.sha256((number - 1) * self._plan.part_bytes, self._length(number))

    def _send_part(self, part: _Part) -> None:
        sent = 0

        def blocks() -> Iterator[bytes]:
            nonlocal sent
            self._progress(-sent)
            sent = 0
            for block in self._source.blocks(part.start, part.length):
                if self._stop.is_set():
                    raise _StoppedError
                yield block
                sent += len(block)
                self._progress(len(block))

        def renewed() -> Upload:
            if self._sha256(part.number) != part.sha256:
                raise FileChangedError(self._source.path)
            digests = {part.number: part.sha256}
            return self._client.sign_parts(self._video_id, digests)[part.number]

        try:
            _deliver(self._client, part.upload, blocks, renewed, self._stop.wait)
        except BaseException:
            self._progress(-sent)
            raise

    def _progress(self, arrived: int) -> None:
        with self._telling:
            self._tell(arrived)


# --- what is known of uploads that were interrupted ----------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UploadRecord:
    """An upload that was begun from this machine.

    Attributes:
        path: The file.
        body: What the API was asked to create.
        key: Idempotency key of that request.
        begun_at: Time, in Unix seconds.
        modified_ns: Time at which the file was written to last, in Unix nanoseconds.
        video_id: The video, once the API has told it.
    """

    path: str
    body: dict[str, Any]
    key: str
    begun_at: float
    modified_ns: int
    video_id: str | None = None


@dataclass(frozen=True)
class Begun:
    """An upload that can be gone on with.

    Attributes:
        video_id: The video.
        upload: How its file is sent, or ``None`` if the platform has it.
        resumed: Whether it was begun before.
        changed: Whether the file is another than when it was begun before, so that it is begun
            anew.
        duplicate: Whether another video has the file, and no new one was made.
    """

    video_id: str
    upload: Upload | UploadInParts | None
    resumed: bool = False
    changed: bool = False
    duplicate: bool = False


class UploadRecords:
    """The record of one upload, held by one process at a time.

    Args:
        folder: Where records lie.
        client: A client of the API, with which the upload is begun.
        path: The file.
        body: What the API is to create, ``docs/api.md``.
    """

    def __init__(
        self, folder: Path, client: MediaClient, path: Path, body: Mapping[str, Any]
    ) -> None:
        self._folder = folder
        self._client = client
        self._path = str(path.resolve())
        self._modified_ns = path.stat().st_mtime_ns
        self._body = dict(body)
        # What a person said, and not what the file is now: a file that changed is to be noticed.
        said = {key: value for key, value in body.items() if key not in {"size_bytes", "sha256"}}
        name = json.dumps([client.base_url, self._path, said], sort_keys=True)
        self._file = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from the same upload while the block runs.

        Raises:
            CommandError: If one has it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_old()
        lock = self._file.with_suffix(".lock")
        with lock.open("w") as file, alone(file, f"uploading {self._path}"):
            yield

    def begin(self) -> Begun:
        """Go on with the upload if it was begun and nothing has ended it, else begin it.

        Raises:
            ApiError: If the API refuses it.
        """
        record = read_state(self._file, UploadRecord)
        changed = record is not None and record.body != self._body
        if record is not None and changed:
            self._give_up(record)
            record = None
        if record is not None and record.video_id is not None:
            begun = self._go_on(record, record.video_id)
            if begun is not None:
                return begun
            record = None
        if record is None or time.time() - record.begun_at > KEY_SECONDS:
            record = UploadRecord(
                path=self._path,
                body=self._body,
                key=new_id(),
                begun_at=time.time(),
                modified_ns=self._modified_ns,
            )
            write_json(self._file, asdict(record))
        try:
            video, upload = self._client.create(self._body, key=record.key)
        except ApiError as error:
            if error.status not in TRANSIENT:
                self.forget()
            raise
        video_id = str(video["video_id"])
        if upload is None:
            self.forget()
            return Begun(video_id, None, duplicate=True)
        write_json(self._file, asdict(replace(record, video_id=video_id)))
        return Begun(video_id, upload, changed=changed)

    def forget(self) -> None:
        """Remove the record: the platform has the file, or never will."""
        self._file.unlink(missing_ok=True)

    def _go_on(self, record: UploadRecord, video_id: str) -> Begun | None:
        """Return the upload of a video, or ``None`` if there is nothing to go on with.

        Of one that is complete nothing can be compared any more: the file must be as old as it was.
        """
        try:
            return Begun(video_id, self._client.upload_of(video_id), resumed=True)
        except ApiError as error:
            if error.kind == "not-uploading":
                ended = error.problem.get("video_status") in {"FAILED", "DELETED"}
                other = record.modified_ns != self._modified_ns
                return None if ended or other else Begun(video_id, None, resumed=True)
            if error.kind in {"video-not-found", "forbidden"}:
                return None
            raise

    def _give_up(self, record: UploadRecord) -> None:
        """End the upload of a file that has become another."""
        if record.video_id is not None:
            # Whatever became of it meanwhile, nothing of it is needed any more.
            with contextlib.suppress(ApiError):
                self._client.abort_upload(record.video_id)
        self.forget()

    def _forget_old(self) -> None:
        """Remove what uploads left that nobody can go on with."""
        over = time.time() - MULTIPART_TIME.total_seconds()
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_mtime < over:
                    file.unlink()
