"""What follows for a video that is UPLOADED: its scan, or at once its run.

Everybody who takes such a video on goes through here, the sweeper of those that got stuck as well:
so there is one place that decides whether a job may be sent. That the workers take none for a file
that did not pass is decided apart from it (``Video.scan``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from media_platform.contract import video as videos
from media_platform.contract.environment import ScanVerdictsEnvironment, UploadIntakeEnvironment
from media_platform.contract.scanning import (
    CONTENT_SCANNER,
    Scan,
    ScannerQueues,
    scanners_from_json,
)
from media_platform.contract.tracing import TraceContext
from media_platform.contract.video import Video
from upload_intake.aws import Jobs, Videos, Workers
from upload_intake.decision import job_of, request_of
from upload_intake.scans import Scans


class Next(StrEnum):
    """What was done."""

    STARTED = "started"
    SCANNING = "scanning"
    CHANGED = "changed"
    """Nothing: somebody else changed the video since it was read; read it and decide again."""


@dataclass(frozen=True, kw_only=True)
class Onward:
    """Takes UPLOADED videos on; may be asked any number of times for the same one.

    Attributes:
        table_name: The table.
        home_region: Region it runs in.
        scanners: The scanners of the stage by name; all of them must let a file pass.
        videos: The videos in the table.
        scans: Requests to scanners, and what they said.
        jobs: The express queue.
        workers: The worker service.
    """

    table_name: str
    home_region: str
    scanners: Mapping[str, ScannerQueues]
    videos: Videos
    scans: Scans
    jobs: Jobs
    workers: Workers

    @classmethod
    def connect(cls, environment: UploadIntakeEnvironment | ScanVerdictsEnvironment) -> Self:
        """Make the clients that the environment of a function calls for."""
        return cls(
            table_name=environment.table_name,
            home_region=environment.home_region,
            scanners=scanners_from_json(environment.scanners),
            videos=Videos(environment.table_name),
            scans=Scans(environment.table_name),
            jobs=Jobs(environment.express_queue_url),
            workers=Workers(cluster=environment.worker_cluster, service=environment.worker_service),
        )

    @property
    def first_scan(self) -> Scan | None:
        """Where the scan of a file stands that was just taken in."""
        return Scan.WAITING if self.scanners else None

    def go_on(self, video: Video, bucket: str, *, ask: bool = True) -> Next:
        """Ask the scanners that did not answer yet; when all are content, start the run.

        Which scanners a file must pass is what the stage has now: one that was removed is not
        waited for, and one that was added is asked when this is called again.

        Args:
            video: The video as it was read.
            bucket: The raw bucket.
            ask: Whether scanners are asked again; not when one of them has just answered.

        Raises:
            ValueError: If no version was pinned or no run was begun.
            botocore.exceptions.ClientError: If a service refused or was not reached.
        """
        if video.scan is Scan.WAITING:
            missing = self.scans.verdicts(video).missing(self.scanners)
            if missing:
                if ask:
                    self._ask(video, bucket, missing)
                return Next.SCANNING
            change = videos.change(self.table_name, video, region=self.home_region, scan=Scan.CLEAN)
            if not self.videos.write(change):
                return Next.CHANGED
            video = change.video
        self._start(video, bucket)
        return Next.STARTED

    def _ask(self, video: Video, bucket: str, missing: list[str]) -> None:
        trace = TraceContext.parse(video.traceparent)
        for name in missing:
            queues = self.scanners[name]
            self.scans.request(request_of(video, bucket, name, queues), queues, trace)
        if missing == [CONTENT_SCANNER]:
            # It answers before a worker that stands at zero could have started.
            self.workers.wake()

    def _start(self, video: Video, bucket: str) -> None:
        """Send the job, then wake a worker.

        When waking fails, the error is raised although the job is in the queue: the retry of the
        event wakes again, and the second copy of the job is dropped by the worker. To swallow it
        would leave the job lying until somebody else's upload wakes the service.
        """
        self.jobs.send(job_of(video, bucket), TraceContext.parse(video.traceparent))
        self.workers.wake()
