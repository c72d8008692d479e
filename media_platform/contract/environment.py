"""The environment variables of every service, one frozen class each.

A construct renders the class (``to_variables``), so a variable that is forgotten is a ``TypeError``
at synth; values may be CDK tokens and are never parsed there. The service reads the class once, in
``main`` (``from_variables``), and every variable that is missing or malformed is reported together.
The variable of a field is its name in upper case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, get_type_hints

from media_platform.contract.scanning import Unscanned

API_PORT = 8080
"""TCP port on which API and admin service listen, on the network interface of their tasks."""

LIVE_PATH = "/health/live"
"""Where a task tells that it runs."""

READY_PATH = "/health/ready"
"""Where a task tells whether it can answer."""

NO_CACHE = "none"
"""What stands for the URL of a Valkey where a stage has none."""

CLAMAV_READY_FILE = "clamav-is-ready"
"""File in the folder for temporary files that says that the ClamAV scanner takes requests."""

LISTEN_ADDRESS = "LISTEN_ADDRESS"
"""Variable with the ``host:port`` to listen on where a task has no interface of its own.

Only the local plane sets it; it stands for the network mode of the task, not for its configuration.
"""


class InvalidEnvironmentError(ValueError):
    """The environment of a service is incomplete; the message names every variable."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Base of the service classes: how fields and variables map onto each other."""

    @classmethod
    def variable_names(cls) -> frozenset[str]:
        """Return the names of all variables of the service."""
        return frozenset(field.name.upper() for field in fields(cls))

    def to_variables(self) -> dict[str, str]:
        """Return the variables by name, as a task definition or a Lambda function takes them."""
        return {field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Parse the environment of a process.

        Raises:
            InvalidEnvironmentError: If a variable is missing, empty, or not of its type.
        """
        kinds = get_type_hints(cls)
        values: dict[str, Any] = {}
        problems: list[str] = []
        for field in fields(cls):
            name = field.name.upper()
            text = variables.get(name, "")
            if not text:
                problems.append(f"{name} is missing")
                continue
            try:
                values[field.name] = kinds[field.name](text)
            except ValueError:
                problems.append(f"{name} is {text!r}, not {kinds[field.name].__name__}")
        if problems:
            raise InvalidEnvironmentError(f"{cls.__name__}: {'; '.join(problems)}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ApiEnvironment(Environment):
    """The video API.

    Attributes:
        stage: Name of the stage, as in ``StageConfig``.
        home_region: Region this service runs in; it writes only videos whose home this is.
        table_name: The table.
        raw_bucket: Bucket that clients upload to.
        media_bucket: Bucket that holds what workers publish.
        token_issuer: ``iss`` of the access tokens that are accepted.
        token_jwks_url: Where the keys of the issuer are read.
        token_client_id: ``client_id`` that access tokens must carry.
        delivery_parameter: SSM parameter that holds the delivery document.
        upload_max_bytes: Largest upload that is signed.
        upload_expiry_seconds: Lifetime of an upload URL.
        playback_expiry_seconds: Lifetime of a playback signature, rounded up to a slot.
        quota_videos: Most videos of a tenant for which nothing else was set.
        quota_bytes: Most bytes of their files.
        quota_uploads: Most uploads of a tenant at a time.
        regions: All regions of the stage, separated by commas; each counts views on its own.
        restore_days: Days for which a deleted video may be restored, from 0.
        webhook_allowed_networks: Networks (CIDR, with commas) that webhooks may be sent to although
            they are not public, or ``none``.
        cache_url: URL of the Valkey that keeps videos for all tasks (``rediss://``), or
            :data:`NO_CACHE`.
    """

    stage: str
    home_region: str
    table_name: str
    raw_bucket: str
    media_bucket: str
    token_issuer: str
    token_jwks_url: str
    token_client_id: str
    delivery_parameter: str
    upload_max_bytes: int
    upload_expiry_seconds: int
    playback_expiry_seconds: int
    quota_videos: int
    quota_bytes: int
    quota_uploads: int
    regions: str
    restore_days: int
    webhook_allowed_networks: str
    cache_url: str

    @property
    def region_names(self) -> tuple[str, ...]:
        """The regions of the stage."""
        return tuple(self.regions.split(","))


@dataclass(frozen=True, kw_only=True)
class AdminEnvironment(Environment):
    """The admin service, a second service of the API's image.

    Attributes:
        stage: Name of the stage.
        home_region: Region this service runs in, where the user pool is.
        table_name: The table.
        token_issuer: ``iss`` of the access tokens that are accepted.
        token_jwks_url: Where the keys of the issuer are read.
        token_client_id: ``client_id`` that access tokens must carry.
        user_pool_id: The user pool.
        operator_tenant: Tenant whose administrators are operators of the stage, or
            ``identity.NOBODY``.
        queues: URLs of the queues of the stage by name, as JSON; among them ``jobs.EXPRESS`` and
            ``jobs.JOBS``.
        dead_letter_queues: URLs of the queues of what failed for good, likewise; among them
            ``jobs.JOBS``.
        purge_interval_minutes: Time between two turns in which a region deletes what is due.
        cache_url: URL of the Valkey that keeps videos for all tasks (``rediss://``), or
            :data:`NO_CACHE`.
    """

    stage: str
    home_region: str
    table_name: str
    token_issuer: str
    token_jwks_url: str
    token_client_id: str
    user_pool_id: str
    operator_tenant: str
    queues: str
    dead_letter_queues: str
    purge_interval_minutes: int
    cache_url: str

    @property
    def queue_urls(self) -> dict[str, str]:
        """The queues of the stage by name."""
        return dict(json.loads(self.queues))

    @property
    def dead_letter_queue_urls(self) -> dict[str, str]:
        """The queues of what failed for good by name."""
        return dict(json.loads(self.dead_letter_queues))


@dataclass(frozen=True, kw_only=True)
class WorkerEnvironment(Environment):
    """The transcode worker.

    Attributes:
        stage: Name of the stage.
        home_region: Region this worker serves.
        table_name: The table.
        media_bucket: Bucket that it publishes to.
        express_queue_url: Queue of jobs that start a run; looked at before the other.
        queue_url: Queue of the jobs of all further parts.
        dead_letter_queue_url: Where it puts jobs that failed too often, with their reason.
        visibility_timeout_seconds: Visibility of a received job; the worker renews it at a third.
        max_failures: Transient failures of a part before it goes to the dead-letter queue.
        max_duration_seconds: Longest video that is accepted.
        max_pixels: Most pixels of a source frame (width x height).
        max_frame_rate: Most frames per second of a source.
        max_tenant_parts: Most parts that all workers do for one tenant at a time; 0 for any number.
        max_tenant_daily_cpu_seconds: Processor time that transcodes of one tenant may take on a day
            before no further one begins; 0 for any.
        chunk_seconds: Length of a chunk of the picture, a multiple of the segment length.
        chunks_in_flight: Most chunks of one video in the queue at a time.
        ladder: The renditions that are made, as ``ladder.ladder_to_json`` writes them.
        measure_quality: 1 if a VMAF sample of every rendition is taken, 0 if not.
        old_run_seconds: Time after which the objects of a run that was replaced are purged.
        scalable_target: Application Auto Scaling resource id of the worker service
            (``service/<cluster>/<service>``), which an idle worker lets rest again.
        idle_seconds: Time without a job after which it does so.
    """

    stage: str
    home_region: str
    table_name: str
    media_bucket: str
    express_queue_url: str
    queue_url: str
    dead_letter_queue_url: str
    visibility_timeout_seconds: int
    max_failures: int
    max_duration_seconds: int
    max_pixels: int
    max_frame_rate: int
    max_tenant_parts: int
    max_tenant_daily_cpu_seconds: int
    chunk_seconds: int
    chunks_in_flight: int
    ladder: str
    measure_quality: int
    old_run_seconds: int
    scalable_target: str
    idle_seconds: int


@dataclass(frozen=True, kw_only=True)
class UploadIntakeEnvironment(Environment):
    """The Lambda that takes S3 events in (``runtime/lambda_s3_sqs``).

    Attributes:
        home_region: Region it runs in; uploads of other home regions are ignored.
        table_name: The table.
        express_queue_url: Queue of jobs that start a run.
        queue_url: Queue of all other jobs.
        upload_max_bytes: Largest object that is accepted.
        worker_cluster: ECS cluster of the worker service.
        worker_service: Name of the worker service, woken when it stands at zero.
        scanners: The scanners that a file must pass, as ``scanning.scanners_to_json`` writes them.
        raw_bucket: Bucket of this region that clients upload to.
    """

    home_region: str
    table_name: str
    express_queue_url: str
    queue_url: str
    upload_max_bytes: int
    worker_cluster: str
    worker_service: str
    scanners: str
    raw_bucket: str


@dataclass(frozen=True, kw_only=True)
class ScanVerdictsEnvironment(Environment):
    """The Lambda that takes the verdicts of scanners in (also ``runtime/lambda_s3_sqs``).

    Attributes:
        home_region: Region it runs in; verdicts on videos of other home regions are ignored.
        table_name: The table.
        raw_bucket: Bucket of the files that are judged.
        express_queue_url: Queue of jobs that start a run.
        worker_cluster: ECS cluster of the worker service.
        worker_service: Name of the worker service, woken when it stands at zero.
        scanners: The scanners that a file must pass, as ``scanning.scanners_to_json`` writes them.
    """

    home_region: str
    table_name: str
    raw_bucket: str
    express_queue_url: str
    worker_cluster: str
    worker_service: str
    scanners: str


@dataclass(frozen=True, kw_only=True)
class ClamAvScannerEnvironment(Environment):
    """The scanner that asks ClamAV (``runtime/scanner_clamav``).

    Attributes:
        home_region: Region it runs in.
        queue_url: Queue of the scan requests.
        visibility_timeout_seconds: Visibility of a request, which is renewed at a third.
        max_scan_bytes: Largest file that is scanned.
        unscanned: What becomes of larger ones, and of those for which a limit of ClamAV is met.
        signature_mirror: Host, or URL of a private mirror, that signatures are fetched from.
    """

    home_region: str
    queue_url: str
    visibility_timeout_seconds: int
    max_scan_bytes: int
    unscanned: Unscanned
    signature_mirror: str


@dataclass(frozen=True, kw_only=True)
class UploadSweepEnvironment(UploadIntakeEnvironment):
    """The Lambda that looks after uploads and jobs that were left (``runtime/lambda_s3_sqs``).

    Attributes:
        interval_minutes: Time between two of its turns.
        max_tenant_daily_cpu_seconds: As the workers have it.
    """

    interval_minutes: int
    max_tenant_daily_cpu_seconds: int


@dataclass(frozen=True, kw_only=True)
class OutboxRelayEnvironment(Environment):
    """The Lambda that publishes events from the table stream (``runtime/lambda_outbox``).

    Attributes:
        home_region: Region whose events it publishes.
        table_name: The table.
        topic_arn: SNS topic of domain events.
        retention_days: Days that a published event stays in the table.
    """

    home_region: str
    table_name: str
    topic_arn: str
    retention_days: int


@dataclass(frozen=True, kw_only=True)
class RunPurgeEnvironment(Environment):
    """The Lambda that purges runs that were replaced (``runtime/lambda_purge``).

    Attributes:
        home_region: Region it runs in; only in the home region of a video are items deleted.
        table_name: The table.
        media_bucket: Bucket of this region from which published objects go.
        raw_bucket: Bucket of this region from which uploads go.
    """

    home_region: str
    table_name: str
    media_bucket: str
    raw_bucket: str


@dataclass(frozen=True, kw_only=True)
class WebhookEnvironment(Environment):
    """The three functions that send webhooks (``runtime/lambda_webhooks``).

    Attributes:
        stage: Name of the stage.
        home_region: Region whose events they deliver.
        table_name: The table.
        delivery_queue_url: Queue of the deliveries.
        allowed_networks: Networks (CIDR, with commas) that may be sent to although they are not
            public, or ``none``.
    """

    stage: str
    home_region: str
    table_name: str
    delivery_queue_url: str
    allowed_networks: str
