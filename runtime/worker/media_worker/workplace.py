"""What the work on one job needs, opened when it is first asked for and closed at its end."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from media_platform.contract import metrics
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.ladder import LadderRung
from media_platform.contract.object_keys import RunKeys
from media_worker.budgets import TenantBudgets
from media_worker.cancellation import Cancellation
from media_worker.faults import BadInputError
from media_worker.held import HeldPart
from media_worker.job_queue import JobQueue
from media_worker.metrics import seconds_since
from media_worker.objects import ObjectStore
from media_worker.planning import Plan
from media_worker.probe import Workbench
from media_worker.publisher import Publisher
from media_worker.runs import RunLedger
from media_worker.source_proxy import RangeReader, SourceProxy
from media_worker.tenants import TenantSlots
from media_worker.tracing import Attribute, Span, Tracer
from media_worker.uploads import Uploader

_HEAD_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How a worker does its jobs.

    Attributes:
        max_pixels: Most pixels of a source frame.
        max_duration_seconds: Longest video that is accepted.
        max_frame_rate: Most frames per second of a source.
        threads: Threads of each encoder.
        chunk_seconds: Length of a chunk.
        chunks_in_flight: Most chunks of one video in the queue at a time.
        ladder: Renditions that are made, highest first.
        old_run_seconds: Time after which a run that was replaced is purged.
        measure_quality: Whether a VMAF sample of each rendition is taken.
        playlist_interval_seconds: Least time between two versions of the playlists.
        upload_threads: Uploads at a time.
        upload_bytes: Bytes that may wait for upload in memory.
    """

    max_pixels: int
    max_duration_seconds: int
    max_frame_rate: int
    threads: int
    chunk_seconds: int
    chunks_in_flight: int
    ladder: Sequence[LadderRung]
    old_run_seconds: int
    measure_quality: bool
    playlist_interval_seconds: float = 2.0
    upload_threads: int = 8
    upload_bytes: int = 24 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Services:
    """What assignments work with.

    Attributes:
        jobs: The queue of chunks.
        ledger: The runs.
        slots: What bounds how much is done for one tenant at a time.
        budgets: What bounds how much is begun for one tenant on a day.
        store: Where runs are published.
        open_source: Opens the source of a job.
        open_picture: Opens a picture, of a key beside the source of a job.
        settings: How jobs are done.
        emit: Takes metrics and what they are about.
        tracer: Makes spans. Default: they are not sent anywhere.
    """

    jobs: JobQueue
    ledger: RunLedger
    slots: TenantSlots
    budgets: TenantBudgets
    store: ObjectStore
    open_source: Callable[[TranscodeJob], RangeReader]
    open_picture: Callable[[TranscodeJob, str], RangeReader]
    settings: JobSettings
    emit: Callable[..., None]
    tracer: Tracer = field(default_factory=Tracer)


@dataclass(frozen=True)
class Source:
    """The source of an assignment.

    Attributes:
        proxy: Where children read it.
        head: Its first bytes.
    """

    proxy: SourceProxy
    head: bytes

    @property
    def bytes_read(self) -> int:
        """Bytes of it that were read so far."""
        return self.proxy.bytes_read


class Workplace:
    """What the work on one job needs; a context that closes what was opened.

    Args:
        job: The job.
        services: What all jobs work with.
        cancellation: Stops the job.

    Attributes:
        job: The job.
        services: What all jobs work with.
        cancellation: Stops the job.
        keys: Keys of the run.
        stack: What is closed at the end.
        log: The log.
    """

    def __init__(self, job: TranscodeJob, services: Services, cancellation: Cancellation) -> None:
        self.job = job
        self.services = services
        self.cancellation = cancellation
        self.keys = RunKeys(
            job.region or services.ledger.region, job.tenant, job.video_id, job.run_id
        )
        self.stack = ExitStack()
        self.log = structlog.get_logger()
        self._counting = threading.Lock()
        self._bytes_told = 0
        self._bytes_out = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stack.close()
        self._tell_bytes()

    @cached_property
    def source(self) -> Source:
        """The source of the job.

        Raises:
            BadInputError: If it is gone or empty.
        """
        reader = self.services.open_source(self.job)
        try:
            size = reader.size()
        except FileNotFoundError:
            raise BadInputError("source_missing", "The uploaded file is no longer there.") from None
        if size == 0:
            raise BadInputError("empty", "The file is empty.")
        proxy = self.stack.enter_context(SourceProxy(reader, size))
        return Source(proxy, reader.read(0, min(size, _HEAD_BYTES)))

    @cached_property
    def scratch(self) -> Path:
        """Folder for what has to be a file, and working directory of children."""
        return Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="job-")))

    @cached_property
    def bench(self) -> Workbench:
        """What children are given."""
        settings = self.services.settings
        return Workbench(
            source=self.source.proxy,
            cancellation=self.cancellation,
            scratch=self.scratch,
            max_pixels=settings.max_pixels,
            max_duration_seconds=settings.max_duration_seconds,
            threads=settings.threads,
        )

    def of_picture(self, key: str) -> Workplace:
        """Return a place for the same job whose source is a picture; it closes with this one."""

        def open_picture(job: TranscodeJob) -> RangeReader:
            return self.services.open_picture(job, key)

        services = replace(self.services, open_source=open_picture)
        return self.stack.enter_context(Workplace(self.job, services, self.cancellation))

    def publisher(self, plan: Plan) -> Publisher:
        """Return what publishes the playlists of the run."""
        return Publisher(
            plan=plan,
            job=self.job,
            keys=self.keys,
            store=self.services.store,
            ledger=self.services.ledger,
            interval_seconds=self.services.settings.playlist_interval_seconds,
            playable=lambda: self.emit(
                {metrics.TIME_TO_PLAYABLE_SECONDS: seconds_since(self.job.queued_at)}
            ),
        )

    @contextmanager
    def uploader(self) -> Iterator[Uploader]:
        """Write objects in the background while the block runs."""
        settings = self.services.settings
        uploader = Uploader(
            self.services.store,
            self.cancellation,
            threads=settings.upload_threads,
            max_bytes=settings.upload_bytes,
        )
        try:
            yield uploader
        finally:
            uploader.close()
            self.wrote(uploader.bytes_written)

    def bench_for(self, held: HeldPart) -> Workbench:
        """Return what children are given whose processor time is put down to a part."""
        return replace(self.bench, spent=lambda seconds: held.spend(cpu_seconds=seconds))

    def put_down_reading(self, held: HeldPart) -> None:
        """Put down to a part what was read of the source and not put down to any yet.

        Parts that are made at the same time read the same blocks, each of which counts once.
        """
        with self._counting:
            read = self.source.bytes_read
            held.spend(bytes_in=read - self._bytes_told)
            self._bytes_told = read

    def wrote(self, size: int) -> None:
        """Note that ``size`` bytes of media were published."""
        with self._counting:
            self._bytes_out += size

    def span(self, name: str, **attributes: Attribute) -> AbstractContextManager[Span]:
        """Do a part of the work as a span of its own."""
        return self.services.tracer.span(name, **attributes)

    def emit(self, values: Mapping[str, float]) -> None:
        """Emit metrics of the job."""
        self.services.emit(values, video_id=self.job.video_id, run_id=self.job.run_id)

    def _tell_bytes(self) -> None:
        """Emit what was read and written, whether it was of use or not."""
        source: Source | None = vars(self).get("source")
        moved = {
            metrics.BYTES_IN: source.bytes_read if source else 0,
            metrics.BYTES_OUT: self._bytes_out,
        }
        if any(moved.values()):
            self.emit(moved)
