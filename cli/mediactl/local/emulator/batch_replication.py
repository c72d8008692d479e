"""Jobs of S3 Batch Replication: copies of what is older than the rule of replication.

MiniStack has no jobs. Here one sends everything that a rule of the source copies and that has one
of the statuses it asks for, the way that copies always go, and is complete once all have arrived.
Versions that are no longer current are left out, unlike on S3.

Source: Amazon S3 API Reference, CreateJob, DescribeJob, ListJobs with ``S3ReplicateObject``.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from ministack import app
from ministack.core.responses import get_account_id, get_region, now_iso

from .object_replication import ObjectReplication

Response = tuple[int, dict[str, str], bytes]
Handler = Callable[..., Awaitable[Response | None]]

PATH = "/v20180820/jobs"
_NAMESPACE = "http://awss3control.amazonaws.com/doc/2018-08-20/"


@dataclass
class Job:
    """A job.

    Attributes:
        job_id: Its id.
        place: Account and region.
        description: What whoever made it says of it.
        created: When it was made.
        total: Objects to be copied.
        copied: Those that arrived everywhere.
    """

    job_id: str
    place: tuple[str, str]
    description: str
    created: str
    total: int = 0
    copied: int = 0

    @property
    def status(self) -> str:
        """``Active`` until all copies are there."""
        return "Complete" if self.copied == self.total else "Active"


class BatchReplication:
    """The jobs of an emulator.

    Args:
        objects: Carries copies.
    """

    def __init__(self, objects: ObjectReplication) -> None:
        self._objects = objects
        self._jobs: dict[str, Job] = {}

    def install(self) -> None:
        """Answer calls of jobs before MiniStack says that it has none."""
        known: Handler = app._handle_s3_control_request  # noqa: SLF001

        async def handle(  # noqa: PLR0917 - as MiniStack calls it
            path: str,
            method: str,
            body: bytes,
            query_params: dict[str, Any],
            request_id: str,
            headers: dict[str, str] | None = None,
        ) -> Response | None:
            if not path.startswith(PATH):
                return await known(path, method, body, query_params, request_id, headers)
            refused: Response | None = app._authenticate_only(  # noqa: SLF001
                "s3", headers, query_params, request_id
            )
            return refused or self._answer(method, path.removeprefix(PATH).strip("/"), body)

        app._handle_s3_control_request = handle  # noqa: SLF001

    def _answer(self, method: str, job_id: str, body: bytes) -> Response:
        if method == "POST" and not job_id:
            return self._create(body)
        if method == "GET" and not job_id:
            root = Element("ListJobsResult", xmlns=_NAMESPACE)
            jobs = SubElement(root, "Jobs")
            for job in self._here():
                _describe(SubElement(jobs, "member"), job)
            return _ok(root)
        found = next((job for job in self._here() if job.job_id == job_id), None)
        if found is None:
            return _refusal(404, "NoSuchJob", f"there is no job {job_id!r}")
        root = Element("DescribeJobResult", xmlns=_NAMESPACE)
        _describe(SubElement(root, "Job"), found)
        return _ok(root)

    def _here(self) -> list[Job]:
        place = get_account_id(), get_region()
        return [job for job in self._jobs.values() if job.place == place]

    def _create(self, body: bytes) -> Response:
        request = fromstring(body)  # noqa: S314 - of whoever owns this machine
        for element in request.iter():
            element.tag = element.tag.rpartition("}")[2]
        if request.find("Operation/S3ReplicateObject") is None:
            return _refusal(400, "InvalidRequest", "jobs replicate objects here, and nothing else")
        bucket = request.findtext("ManifestGenerator/S3JobManifestGenerator/SourceBucket", "")
        statuses = {
            element.text or ""
            for element in request.findall(
                "ManifestGenerator/S3JobManifestGenerator/Filter/ObjectReplicationStatuses/*"
            )
        }
        job = Job(
            str(uuid.uuid4()),
            (get_account_id(), get_region()),
            request.findtext("Description", ""),
            now_iso(),
        )
        self._jobs[job.job_id] = job

        def copied() -> None:
            job.copied += 1

        job.total = self._objects.copy_existing(bucket.rpartition(":")[2], statuses, copied)
        root = Element("CreateJobResult", xmlns=_NAMESPACE)
        SubElement(root, "JobId").text = job.job_id
        return _ok(root)


def _describe(parent: Element, job: Job) -> None:
    for name, value in (
        ("JobId", job.job_id),
        ("Description", job.description),
        ("Status", job.status),
        ("CreationTime", job.created),
    ):
        SubElement(parent, name).text = value
    progress = SubElement(parent, "ProgressSummary")
    for name, count in (
        ("TotalNumberOfTasks", job.total),
        ("NumberOfTasksSucceeded", job.copied),
        ("NumberOfTasksFailed", 0),
    ):
        SubElement(progress, name).text = str(count)


def _ok(root: Element) -> Response:
    return 200, {"Content-Type": "application/xml"}, tostring(root)


def _refusal(status: int, code: str, message: str) -> Response:
    root = Element("ErrorResponse")
    error = SubElement(root, "Error")
    SubElement(error, "Code").text = code
    SubElement(error, "Message").text = message
    return status, {"Content-Type": "application/xml"}, tostring(root)
