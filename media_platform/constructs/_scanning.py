"""Scanners: their queues, who takes their verdicts, and the one that is built in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._checks import reject
from media_platform.constructs._durations import duration
from media_platform.constructs._python_function import python_function
from media_platform.constructs._queues import dead_letter_queue, job_queue
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs._worker_service import WorkerService
from media_platform.contract.environment import ScanVerdictsEnvironment
from media_platform.contract.scanning import (
    CONTENT_SCANNER,
    SCANNER_NAME,
    ScannerQueues,
    scanners_to_json,
)

_VERDICT_TIMEOUT = timedelta(seconds=60)
_CONTENT_TIMEOUT = timedelta(seconds=30)
_CONTENT_MEMORY_MEBIBYTES = 512
"""A third of a virtual CPU: most of the time of a cold start is spent on importing boto3."""

_QUEUE_TIMEOUTS = 6
"""Visibility in timeouts of the function (AWS Lambda Developer Guide, "Using Lambda with SQS")."""

_LATE = timedelta(minutes=15)
"""Age of a request or verdict that somebody should look at."""

_MAX_RECEIVE_COUNT = 5
_BATCH = 10
_SCANNER_VISIBILITY = timedelta(minutes=5)


class Scanner(Construct):
    """The queues of a scanner, which whoever scans reads and answers into.

    ``docs/scanning.md`` says what stands in the messages.

    Args:
        scope: Parent.
        construct_id: Id in it.
        scanner_name: Name of the scanner.
        store: Store whose uploads it judges.
        visibility_timeout: Time after which a request that nobody holds on to is seen again.
        dead_letter_queue: Where requests and verdicts go that were received five times.

    Attributes:
        scanner_name: Name of the scanner.
        queue: Queue of the requests.
        verdict_queue: Queue that takes its verdicts.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        scanner_name: str,
        store: VideoStoreBase,
        visibility_timeout: cdk.Duration,
        dead_letter_queue: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self._store = store
        self.scanner_name = scanner_name
        self.queue = job_queue(
            self,
            "Requests",
            visibility_timeout=visibility_timeout,
            dead_letter_queue=dead_letter_queue,
            max_receive_count=_MAX_RECEIVE_COUNT,
            max_age=_LATE,
            late=f"Uploads wait for the scanner {scanner_name}; see that it runs",
        )
        self.verdict_queue = job_queue(
            self,
            "Verdicts",
            visibility_timeout=duration(_QUEUE_TIMEOUTS * _VERDICT_TIMEOUT),
            dead_letter_queue=dead_letter_queue,
            max_receive_count=_MAX_RECEIVE_COUNT,
            max_age=_LATE,
            late=f"Verdicts of the scanner {scanner_name} are not taken; read the function's log",
        )

    def grant_scan(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` take requests, read the files that they name, and answer.

        A role of an app of its own gets a policy with wildcards for the files, since any upload
        is judged.
        """
        _grant(
            grantee,
            [
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            self.queue,
        )
        self._store.grant_read_uploads(grantee)
        self._store.grant_tell_quarantine(grantee)
        return _grant(grantee, ["sqs:SendMessage"], self.verdict_queue)


class Scanning(Construct):
    """The scanners of a pipeline, and the function that takes their verdicts.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store whose uploads are judged.
        asking: Functions that take UPLOADED videos on, and so ask the scanners.
        express_queue: Where the jobs go that start a run.
        workers: Service that is woken.

    Attributes:
        function: The Lambda function that takes verdicts.
        dead_letter_queue: Requests and verdicts that nobody could deal with.
        scanners: The scanners by name.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        asking: Sequence[lambda_.Function],
        express_queue: sqs.IQueue,
        workers: WorkerService,
    ) -> None:
        super().__init__(scope, construct_id)
        self._store = store
        self._asking = list(asking)
        self._scanners: dict[str, Scanner] = {}
        environment = ScanVerdictsEnvironment(
            home_region=cdk.Stack.of(self).region,
            table_name=store.table.table_name,
            raw_bucket=store.raw_bucket.bucket_name,
            express_queue_url=express_queue.queue_url,
            worker_cluster=workers.cluster.cluster_name,
            worker_service=workers.service_name,
            scanners=scanners_to_json({}),
        )
        self.dead_letter_queue = dead_letter_queue(
            self, "DeadLetters", what="scan requests or verdicts"
        )
        self.function = python_function(
            self,
            "Verdicts",
            service=Service.UPLOAD_INTAKE,
            handler="upload_intake.verdicts.handle",
            description="Takes the verdicts of scanners and sends transcode jobs",
            timeout=duration(_VERDICT_TIMEOUT),
            failures=Accepted.FAILURES_AT_SOURCE,
            environment=environment.to_variables(),
        )
        store.grant_use_table(
            self.function,
            actions=["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
        )
        store.grant_quarantine(self.function)
        _grant(self.function, ["sqs:SendMessage"], express_queue)
        workers.grant_wake(self.function)
        accept_wildcards(
            self.function,
            Accepted.REFUSED_UPLOADS,
            store.raw_objects_arn,
            workers.scalable_targets_arn,
        )

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """The scanners by name."""
        return dict(self._scanners)

    def add(
        self, construct_id: str, name: str, *, visibility_timeout: cdk.Duration | None = None
    ) -> Scanner:
        """Add a scanner, which every upload must pass from then on.

        Args:
            construct_id: Id of the scanner.
            name: Its name.
            visibility_timeout: Time after which a request that nobody holds on to is seen again.
                Default 5 minutes.

        Raises:
            ValueError: If there is one of that name, or it is no proper name.
        """
        if SCANNER_NAME.fullmatch(name) is None:
            raise reject(
                self,
                f"name of a scanner is {name!r}, allowed are 1 to 32 lower-case letters, digits "
                "and hyphens that start with a letter; rename it",
            )
        if name in self._scanners:
            raise reject(self, f"there is a scanner {name!r} already; give the other another name")
        scanner = Scanner(
            self,
            construct_id,
            scanner_name=name,
            store=self._store,
            visibility_timeout=visibility_timeout or duration(_SCANNER_VISIBILITY),
            dead_letter_queue=self.dead_letter_queue,
        )
        self._scanners[name] = scanner
        consume(scanner, "Answers", queue=scanner.verdict_queue, function=self.function)
        for function in self._asking:
            _grant(function, ["sqs:SendMessage"], scanner.queue)
        for function in (self.function, *self._asking):
            # What the function was made with names the scanners before this one.
            function.add_environment("SCANNERS", self._to_json())
        return scanner

    def add_content_scanner(self) -> Scanner:
        """Add the built-in scanner: a function that looks at containers and codecs."""
        scanner = self.add(
            "Content",
            CONTENT_SCANNER,
            visibility_timeout=duration(_QUEUE_TIMEOUTS * _CONTENT_TIMEOUT),
        )
        function = python_function(
            scanner,
            "Scan",
            service=Service.CONTENT_SCAN,
            handler="content_scan.handler.handle",
            description="Looks at the containers and codecs of uploads",
            timeout=duration(_CONTENT_TIMEOUT),
            failures=Accepted.FAILURES_AT_SOURCE,
            memory_mebibytes=_CONTENT_MEMORY_MEBIBYTES,
        )
        accept_wildcards(function, Accepted.JUDGED_UPLOADS, self._store.raw_objects_arn)
        self._store.grant_read_uploads(function)
        self._store.grant_tell_quarantine(function)
        _grant(function, ["sqs:SendMessage"], scanner.verdict_queue)
        consume(scanner, "Asks", queue=scanner.queue, function=function)
        return scanner

    def _to_json(self) -> str:
        return scanners_to_json(
            {
                name: ScannerQueues(
                    requests_url=scanner.queue.queue_url,
                    verdicts_url=scanner.verdict_queue.queue_url,
                )
                for name, scanner in self._scanners.items()
            }
        )


def consume(
    scope: Construct, construct_id: str, *, queue: sqs.IQueue, function: lambda_.Function
) -> None:
    """Let a function read a queue, each message settled on its own.

    Args:
        scope: Parent of the event source mapping.
        construct_id: Id in it.
        queue: The queue.
        function: The function; it reports the messages that failed.
    """
    grant = _grant(
        function, ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], queue
    )
    mapping = lambda_.EventSourceMapping(
        scope,
        construct_id,
        target=function,
        event_source_arn=queue.queue_arn,
        batch_size=_BATCH,
        report_batch_item_failures=True,
    )
    # Lambda refuses a mapping whose role may not read the queue.
    grant.apply_before(mapping)


def _grant(grantee: iam.IGrantable, actions: list[str], queue: sqs.IQueue) -> iam.Grant:
    return iam.Grant.add_to_principal(
        grantee=grantee, actions=actions, resource_arns=[queue.queue_arn]
    )
