"""From an upload to something that can be played, and the events that tell of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.constructs._checks import (
    DEFAULT_STAGE,
    DEFAULT_UPLOAD_GIBIBYTES,
    check_networks,
    check_range,
    check_region,
    check_stage,
    check_upload_max,
    in_days,
    in_seconds,
    reject,
)
from media_platform.constructs._clamav_scanner import (
    CLAMAV_MOST_MEBIBYTES,
    CLAMAV_VISIBILITY,
    ClamAvScanner,
)
from media_platform.constructs._durations import duration
from media_platform.constructs._log_groups import encrypt_logs
from media_platform.constructs._media_cluster import (
    MediaCluster,
    Network,
    check_network,
    media_vpc,
)
from media_platform.constructs._outbox_relay import OutboxRelay
from media_platform.constructs._outbox_sweep import OutboxSweep
from media_platform.constructs._queues import dead_letter_queue, job_queue
from media_platform.constructs._run_purge import RunPurge
from media_platform.constructs._scanning import Scanner, Scanning
from media_platform.constructs._tracing import Tracing
from media_platform.constructs._transcode_pipeline_base import TranscodePipelineBase
from media_platform.constructs._upload_intake import UploadIntake
from media_platform.constructs._upload_sweep import UploadSweep
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs._webhook_dispatcher import WebhookDispatcher
from media_platform.constructs._worker_service import WorkerService
from media_platform.contract.events import STARTING_EVENTS
from media_platform.contract.jobs import EXPRESS, JOBS
from media_platform.contract.ladder import DEFAULT_LADDER, LadderRung, ladder_problem
from media_platform.contract.run import SEGMENT_SECONDS
from media_platform.contract.scanning import MALWARE_SCANNER, Unscanned

_MAX_RECEIVE_COUNT = 100
_MINUTE = 60
_FEWEST_CHUNKS, _MOST_CHUNKS = 2, 1000


class TranscodePipeline(TranscodePipelineBase):
    """Takes uploads in, transcodes them on workers that cost nothing while idle, tells of it.

    Args:
        scope: Parent.
        construct_id: Id in it.
        store: Store of this region.
        stage: Name of the stage, 1 to 16 lower-case letters and digits; the same in every
            construct that belongs together. Default ``main``.
        cluster: ECS cluster of the workers, with the providers ``FARGATE`` and ``FARGATE_SPOT``.
            Workers are placed as other tasks of an :class:`ApiCluster`; in any other cluster they
            are in private subnets, which must have a way to AWS. Default: a new one.
        vpc: Network of the new cluster. Default: a new one with two zones.
        network: How workers of the new cluster reach AWS, as for :class:`ApiCluster`: by one NAT
            gateway of the new network (``nat``), by addresses of their own (``public``), or by five
            interface endpoints (``endpoints``, $73 a month in two zones of us-east-1).
            Default ``nat``.
        max_workers: Most workers at a time. Default 10.
        worker_image: Image of the worker, for ARM64, of a team that builds its own, e.g. from an
            :class:`ImageRepository`; it runs ``python -m media_worker`` as user 10001 and writes to
            ``/tmp`` alone. Default: one that ``cdk deploy`` builds.
        worker_cpu_units: 1024 for one virtual CPU. Default 4096.
        worker_memory_mebibytes: Memory of a worker. Default 8192.
        worker_scratch_gibibytes: Disk of a worker, 21 to 200 GiB. Default: the 20 GiB that Fargate
            includes; segments leave as they are made, so that sources of any size fit.
        on_demand_weight: Workers that are not Spot for every four that are. Default 1, so that
            jobs go on, slower, while there is no Spot capacity.
        visibility_timeout: Time after which the job of a worker that died is taken by another, 15 s
            to 12 h. Default 2 minutes; live workers renew it.
        max_failures: Transient failures of a part of a run before it goes to the dead-letter queue.
            Default 3; interruptions do not count.
        max_duration: Longest video. Default 4 hours.
        max_pixels: Most pixels of a source frame. Default 3840 x 2160.
        max_frame_rate: Most frames per second of a source, 1 to 1000. Default 240; what is above 60
            is encoded at 60.
        max_tenant_parts: Most parts of runs that all workers do for one tenant at a time, 0 for any
            number. Default 0; the queues hand out the jobs of busy tenants behind those of others.
        max_tenant_daily_cpu_hours: Hours of a virtual CPU that transcodes of one tenant may take on
            a day (UTC), 0 for any number; above that no further one begins on that day, and what
            has begun goes on. Default 0. An hour costs about $0.018 in us-east-1 with the default
            workers, and makes 20 to 30 minutes of 1080p.
        chunk_duration: Length of the chunks of the picture that workers share, 8 to 300 s and a
            multiple of the 4 s of a segment. Default 16 s. It is what a lost worker costs at most,
            and every chunk costs the start of an encoder.
        chunks_in_flight: Most chunks of one video in the queue at a time, 2 to 1000. Default:
            ``max_workers``, at least 2, so that one video can use them all; fewer let others in.
        ladder: Renditions that sources are made into, highest first, 1 to 8 of at most 4K; none is
            larger than its source. Default: 1080p, 720p, 480p and 360p with peaks of 4.5, 2.6, 1.2
            and 0.7 Mbit/s. Videos keep what they were made into until they are transcoded again.
        measure_quality: Whether a VMAF sample of every rendition is taken and kept with the run.
            Default ``False``.
        old_run_grace: Time that the objects of a run that was replaced are kept for those who watch
            it, whole seconds, up to 30 days. Default 1 day; it should outlast playback signatures.
        purge_interval: Time between two looks for such runs, whole minutes, up to a day.
            Default 15 minutes.
        upload_max: Largest upload, up to the 5 TiB of an object. Default 5 GiB.
        sweep_interval: Time between two looks for uploads, jobs and events that were left, whole
            minutes, up to a day. Default 5 minutes.
        scan_content: Whether every upload must pass the built-in scanner, which looks at container
            and codecs before a worker does. Default ``True``.
        idle: Time without a job after which workers go. Default 5 minutes.
        event_retention: Time that published events stay in the table, whole days. Default 30 days.
        webhook_allowed_networks: Networks (CIDR) that webhooks may be sent to although they are not
            public, also over plain HTTP. Default: none.
        max_webhook_batches: Most batches of ten webhooks that are sent at a time, 2 to 1000.
            Default 20.
        tracing: Where spans of workers go, as for :class:`ApiCluster`. Default: nowhere.
        removal_policy: What happens to kept failures of the relay. Default ``RETAIN``.

    Raises:
        ValueError: If a number is out of range, ``vpc`` or ``network`` is given beside
            ``cluster``, workers cannot make the ladder, or the stage has no proper name.

    Attributes:
        express_queue: Queue of the jobs that start a run; workers look there first.
        job_queue: Queue of the jobs of all further parts.
        dead_letter_queue: Jobs that failed for good.
        intake: What takes uploads in.
        sweep: What looks after uploads and jobs that were left.
        workers: The worker service.
        relay: What publishes events.
        event_sweep: What publishes events that the relay gave up.
        purge: What deletes runs that were replaced.
        topic: SNS topic of domain events.
        webhooks: What sends them to the webhook endpoints of tenants.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: VideoStoreBase,
        stage: str = DEFAULT_STAGE,
        cluster: ecs.ICluster | None = None,
        vpc: ec2.IVpc | None = None,
        network: str | None = None,
        max_workers: int = 10,
        worker_image: ecs.ContainerImage | None = None,
        worker_cpu_units: int = 4096,
        worker_memory_mebibytes: int = 8192,
        worker_scratch_gibibytes: int | None = None,
        on_demand_weight: int = 1,
        visibility_timeout: cdk.Duration | None = None,
        max_failures: int = 3,
        max_duration: cdk.Duration | None = None,
        max_pixels: int = 3840 * 2160,
        max_frame_rate: int = 240,
        max_tenant_parts: int = 0,
        max_tenant_daily_cpu_hours: float = 0,
        chunk_duration: cdk.Duration | None = None,
        chunks_in_flight: int | None = None,
        ladder: Sequence[LadderRung] = DEFAULT_LADDER,
        measure_quality: bool = False,
        old_run_grace: cdk.Duration | None = None,
        purge_interval: cdk.Duration | None = None,
        upload_max: cdk.Size | None = None,
        sweep_interval: cdk.Duration | None = None,
        scan_content: bool = True,
        idle: cdk.Duration | None = None,
        event_retention: cdk.Duration | None = None,
        webhook_allowed_networks: Sequence[str] = (),
        max_webhook_batches: int = 20,
        tracing: Tracing | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._store = store
        check_stage(self, stage)
        check_region(self, "store", cdk.Stack.of(store).region)
        check_range(self, "max_workers", max_workers, (1, 1000), "split the load over regions")
        visibility_timeout = visibility_timeout or cdk.Duration.minutes(2)
        max_duration = max_duration or cdk.Duration.hours(4)
        chunk_duration = chunk_duration or cdk.Duration.seconds(16)
        if chunks_in_flight is None:
            chunks_in_flight = min(max(_FEWEST_CHUNKS, max_workers), _MOST_CHUNKS)
        old_run_grace = old_run_grace or cdk.Duration.days(1)
        purge_interval = purge_interval or cdk.Duration.minutes(15)
        upload_max = upload_max or cdk.Size.gibibytes(DEFAULT_UPLOAD_GIBIBYTES)
        sweep_interval = sweep_interval or cdk.Duration.minutes(5)
        idle = idle or cdk.Duration.minutes(5)
        event_retention = event_retention or cdk.Duration.days(30)
        self._check_limits(visibility_timeout, max_failures, upload_max, event_retention)
        self._check_sources(max_duration, max_pixels, max_frame_rate)
        self._check_tenants(max_tenant_parts, max_tenant_daily_cpu_hours)
        daily_cpu_seconds = math.ceil(max_tenant_daily_cpu_hours * 3600)
        self._check_chunks(chunk_duration, chunks_in_flight)
        self._check_ladder(ladder)
        self._check_times(old_run_grace, idle)
        self._check_interval("purge_interval", purge_interval)
        self._check_interval("sweep_interval", sweep_interval)
        self._check_webhooks(webhook_allowed_networks, max_webhook_batches)
        encrypt_logs(self, store.encryption_key)

        self.dead_letter_queue = dead_letter_queue(self, "DeadLetters", what="transcode jobs")
        # SQS has no priorities, hence a queue of its own for what viewers wait for.
        self.express_queue, self.job_queue = (
            job_queue(
                self,
                name,
                visibility_timeout=visibility_timeout,
                dead_letter_queue=self.dead_letter_queue,
                # The worker counts failures and moves what failed; this is the backstop for jobs
                # that kill every worker, far above what Spot interruptions add up to.
                max_receive_count=_MAX_RECEIVE_COUNT,
                max_age=max_age,
                late=f"{what} wait for workers; see whether they start, or allow more max_workers",
            )
            for name, max_age, what in (
                ("ExpressJobs", timedelta(minutes=10), "New uploads"),
                ("Jobs", timedelta(hours=1), "Parts of videos"),
            )
        )
        self.workers = WorkerService(
            self,
            "Workers",
            stage=stage,
            cluster=self._place(cluster, vpc, network),
            store=store,
            express_queue=self.express_queue,
            job_queue=self.job_queue,
            dead_letter_queue=self.dead_letter_queue,
            visibility_timeout=visibility_timeout,
            max_workers=max_workers,
            max_failures=max_failures,
            max_duration=max_duration,
            max_pixels=max_pixels,
            max_frame_rate=max_frame_rate,
            max_tenant_parts=max_tenant_parts,
            max_tenant_daily_cpu_seconds=daily_cpu_seconds,
            chunk_duration=chunk_duration,
            chunks_in_flight=chunks_in_flight,
            ladder=ladder,
            measure_quality=measure_quality,
            old_run_grace=old_run_grace,
            idle=idle,
            image=worker_image,
            cpu_units=worker_cpu_units,
            memory_mebibytes=worker_memory_mebibytes,
            scratch_gibibytes=worker_scratch_gibibytes,
            on_demand_weight=on_demand_weight,
            tracing=tracing,
        )
        self.intake = UploadIntake(
            self,
            "Uploads",
            store=store,
            express_queue=self.express_queue,
            job_queue=self.job_queue,
            workers=self.workers,
            upload_max_bytes=int(upload_max.to_bytes()),
        )
        self.sweep = UploadSweep(
            self,
            "LeftUploads",
            store=store,
            intake=self.intake,
            interval=sweep_interval,
            max_tenant_daily_cpu_seconds=daily_cpu_seconds,
        )
        self.relay = OutboxRelay(
            self,
            "Outbox",
            store=store,
            event_retention=event_retention,
            removal_policy=removal_policy or cdk.RemovalPolicy.RETAIN,
        )
        self.topic, self._subscriptions = self.relay.topic, self.relay
        self.event_sweep = OutboxSweep(
            self, "LeftEvents", store=store, relay=self.relay, interval=sweep_interval
        )
        self.relay.subscribe_function(self.intake.function, event_types=STARTING_EVENTS)
        self._scanning: Scanning | None = None
        self._listeners: list[Callable[[], None]] = []
        if scan_content:
            self._scan().add_content_scanner()
        self.webhooks = WebhookDispatcher(
            self,
            "Webhooks",
            stage=stage,
            store=store,
            relay=self.relay,
            allowed_networks=webhook_allowed_networks,
            max_concurrency=max_webhook_batches,
        )
        self.purge = RunPurge(self, "OldRuns", store=store, interval=purge_interval)

    def _place(
        self, cluster: ecs.ICluster | None, vpc: ec2.IVpc | None, network: str | None
    ) -> ecs.ICluster:
        """Return the cluster of the workers, a new one unless it is given."""
        if cluster is None:
            way_out = check_network(self, Network.NAT if network is None else network)
            vpc = vpc or media_vpc(self, "Vpc", network=way_out)
            return MediaCluster(self, "Cluster", vpc=vpc, network=way_out)
        for name, value in (("vpc", vpc), ("network", network)):
            if value is not None:
                raise reject(
                    self,
                    f"{name} is given beside cluster, which has one already; leave one of them out",
                )
        return cluster

    @classmethod
    def from_transcode_pipeline_attributes(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        topic_arn: str,
        express_queue_arn: str,
        job_queue_arn: str,
        dead_letter_queue_arn: str,
    ) -> TranscodePipelineBase:
        """Return a pipeline of this region and account that another stack made.

        Args:
            scope: Parent.
            construct_id: Id in it.
            topic_arn: Its topic.
            express_queue_arn: Its express queue.
            job_queue_arn: Its job queue.
            dead_letter_queue_arn: Its queue of jobs that failed for good.
        """
        pipeline = TranscodePipelineBase(scope, construct_id)
        pipeline.topic = sns.Topic.from_topic_arn(pipeline, "Topic", topic_arn)
        pipeline.express_queue, pipeline.job_queue, pipeline.dead_letter_queue = (
            sqs.Queue.from_queue_arn(pipeline, name, arn)
            for name, arn in (
                ("ExpressJobs", express_queue_arn),
                ("Jobs", job_queue_arn),
                ("DeadLetters", dead_letter_queue_arn),
            )
        )
        pipeline._subscriptions = pipeline  # noqa: SLF001  it is of the class that it is made for
        return pipeline

    def add_scanner(self, name: str, *, visibility_timeout: cdk.Duration | None = None) -> Scanner:
        """Add a scanner that somebody else runs: every upload must pass it, too.

        A video stays UPLOADED until all scanners let it pass, so run the scanner before, or with,
        the deployment that adds it. Whoever runs it gets its rights by ``grant_scan``.

        Args:
            name: Its name: 1 to 32 lower-case letters, digits and hyphens.
            visibility_timeout: Time after which a request that nobody holds on to is seen again.
                Default 5 minutes.

        Raises:
            ValueError: If there is one of that name, or it is no proper name.
        """
        scanner = self._scan().add(f"Scanner-{name}", name, visibility_timeout=visibility_timeout)
        self._tell_of_queues()
        return scanner

    def add_clamav_scanner(
        self,
        *,
        min_tasks: int = 1,
        max_tasks: int = 4,
        max_scan: cdk.Size | None = None,
        unscanned: str = Unscanned.PASS,
        signature_mirror: str | None = None,
        cpu_units: int = 1024,
        memory_mebibytes: int = 4096,
    ) -> ClamAvScanner:
        """Add the scanner ``malware``, which refuses every upload in which ClamAV finds malware.

        One task is always there, since loading the signatures takes longer than an upload should
        wait: about $34 a month in us-east-1 (1 virtual CPU and 4 GiB on ARM, on demand). Further
        ones come with the backlog, four of five on Spot.

        Args:
            min_tasks: Tasks that are always there, at least 1. Default 1.
            max_tasks: Most tasks. Default 4.
            max_scan: Largest file that is scanned. Default and most 2047 MiB: ClamAV looks at none
                that is larger.
            unscanned: What becomes of a larger file, and of one for which another limit of ClamAV
                is met, such as ten minutes for a file: ``pass`` or ``refuse``. Default ``pass``,
                with a line in the log.
            signature_mirror: Host that signatures are fetched from every two hours, or URL of a
                private mirror. Default ``database.clamav.net``, which tasks without a way to the
                internet cannot reach.
            cpu_units: 1024 for one virtual CPU. Default 1024; it scans some 20 MB a second.
            memory_mebibytes: Memory. Default 4096; the signatures take 1.3 GiB, and twice that
                while new ones are loaded.

        Raises:
            ValueError: If a number is out of range, or there is a scanner ``malware`` already.

        Source: clamd.conf(5) and freshclam.conf(5).
        """
        scanner = self._scan().add(
            "Malware", MALWARE_SCANNER, visibility_timeout=duration(CLAMAV_VISIBILITY)
        )
        self._tell_of_queues()
        return ClamAvScanner(
            scanner,
            "ClamAv",
            scanner=scanner,
            store=self._store,
            cluster=self.workers.cluster,
            min_tasks=min_tasks,
            max_tasks=max_tasks,
            max_scan=max_scan or cdk.Size.mebibytes(CLAMAV_MOST_MEBIBYTES),
            unscanned=unscanned,
            signature_mirror=signature_mirror,
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
        )

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """The scanners by name."""
        return self._scanning.scanners if self._scanning is not None else {}

    @property
    def queues(self) -> Mapping[str, sqs.IQueue]:
        """The queues of work by name, those of the scanners that were added so far among them."""
        scanners = self.scanners.items()
        return {
            EXPRESS: self.express_queue,
            JOBS: self.job_queue,
            **{f"scan-requests-{name}": scanner.queue for name, scanner in scanners},
            **{f"scan-verdicts-{name}": scanner.verdict_queue for name, scanner in scanners},
            "webhook-events": self.webhooks.events,
            "webhook-deliveries": self.webhooks.deliveries,
        }

    @property
    def dead_letter_queues(self) -> Mapping[str, sqs.IQueue]:
        """The queues of what failed for good by name; thumbnails and downloads are jobs."""
        scanning = {} if self._scanning is None else {"scans": self._scanning.dead_letter_queue}
        return {
            JOBS: self.dead_letter_queue,
            "uploads": self.intake.dead_letter_queue,
            "sweeps": self.sweep.dead_letter_queue,
            "event-sweeps": self.event_sweep.dead_letter_queue,
            **scanning,
            "webhook-events": self.webhooks.dead_letter_queue,
            "webhook-deliveries": self.webhooks.delivery_dead_letter_queue,
            "purges": self.purge.dead_letter_queue,
        }

    def tell_of_queues(self, listener: Callable[[], None]) -> None:
        """Call a function now, and whenever :attr:`queues` or :attr:`dead_letter_queues` grow."""
        self._listeners.append(listener)
        listener()

    def _tell_of_queues(self) -> None:
        for listener in self._listeners:
            listener()

    def _scan(self) -> Scanning:
        """Return what takes verdicts; a pipeline without scanners has none."""
        if self._scanning is None:
            self._scanning = Scanning(
                self,
                "Scanning",
                store=self._store,
                asking=[self.intake.function, self.sweep.function],
                express_queue=self.express_queue,
                workers=self.workers,
            )
        return self._scanning

    def metric_relay_delay(self) -> cloudwatch.IMetric:
        """Return how long events wait for the relay (milliseconds, largest within a minute)."""
        return self.relay.metric_delay()

    def metric_webhook_backlog(self) -> cloudwatch.IMetric:
        """Return the webhooks that wait to be sent (count, largest within a minute).

        Those that wait for a later attempt are not among them.
        """
        return self.webhooks.deliveries.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=cdk.Duration.minutes(1)
        )

    def _check_limits(
        self,
        visibility_timeout: cdk.Duration,
        max_failures: int,
        upload_max: cdk.Size,
        event_retention: cdk.Duration,
    ) -> None:
        check_range(
            self,
            "visibility_timeout in seconds",
            in_seconds(self, "visibility_timeout", visibility_timeout),
            (15, 43_200),
            "a worker renews it at a third, so shorter ones are lost to a slow call",
        )
        check_range(
            self,
            "max_failures",
            max_failures,
            (1, _MAX_RECEIVE_COUNT // 2),
            "beyond that the queue's own limit of receives ends the job without a reason",
        )
        check_upload_max(self, upload_max)
        days = in_days(self, "event_retention", event_retention)
        check_range(self, "event_retention in days", days, (1, 365), "pass whole days")

    def _check_sources(
        self,
        max_duration: cdk.Duration,
        max_pixels: int,
        max_frame_rate: int,
    ) -> None:
        check_range(
            self,
            "max_duration in seconds",
            in_seconds(self, "max_duration", max_duration),
            (1, 7 * 86_400),
            "what plays for longer than a week is a channel, not a video",
        )
        check_range(
            self,
            "max_pixels",
            max_pixels,
            (1, 7680 * 4320),
            "a frame of 8K has no more",
        )
        check_range(
            self,
            "max_frame_rate",
            max_frame_rate,
            (1, 1000),
            "no camera of the web is faster, and files that say so are broken",
        )

    def _check_tenants(self, max_parts: int, max_daily_cpu_hours: float) -> None:
        check_range(
            self,
            "max_tenant_parts",
            max_parts,
            (0, 10_000),
            "pass 0 for any number, since no pipeline has more workers than that",
        )
        check_range(
            self,
            "max_tenant_daily_cpu_hours",
            max_daily_cpu_hours,
            (0, 100_000),
            "pass 0 for any number, since a thousand workers do not work more in a day",
        )

    def _check_chunks(self, chunk_duration: cdk.Duration, chunks_in_flight: int) -> None:
        seconds = in_seconds(self, "chunk_duration", chunk_duration)
        check_range(
            self,
            "chunk_duration in seconds",
            seconds,
            (2 * SEGMENT_SECONDS, 300),
            "shorter chunks are mostly the start of an encoder, longer ones are lost with a worker",
        )
        if seconds % SEGMENT_SECONDS:
            raise reject(
                self,
                f"chunk_duration in seconds is {seconds}, allowed are multiples of "
                f"{SEGMENT_SECONDS}; a chunk is cut between segments",
            )
        check_range(
            self,
            "chunks_in_flight",
            chunks_in_flight,
            (_FEWEST_CHUNKS, _MOST_CHUNKS),
            "with fewer, workers wait for each other; with more, one video fills the queue",
        )

    def _check_ladder(self, ladder: Sequence[LadderRung]) -> None:
        problem = ladder_problem(ladder)
        if problem is not None:
            raise reject(self, problem)

    def _check_webhooks(self, allowed_networks: Sequence[str], max_batches: int) -> None:
        check_networks(self, "webhook_allowed_networks", allowed_networks)
        check_range(
            self,
            "max_webhook_batches",
            max_batches,
            (2, 1000),
            "an event source mapping takes no other concurrency",
        )

    def _check_times(self, old_run_grace: cdk.Duration, idle: cdk.Duration) -> None:
        check_range(
            self,
            "idle in seconds",
            in_seconds(self, "idle", idle),
            (1, 86_400),
            "workers that never go cost money day and night",
        )
        check_range(
            self,
            "old_run_grace in seconds",
            in_seconds(self, "old_run_grace", old_run_grace),
            (1, 30 * 86_400),
            "who watches the old run needs some time, and objects cost money",
        )

    def _check_interval(self, name: str, interval: cdk.Duration) -> None:
        seconds = in_seconds(self, name, interval)
        check_range(
            self,
            f"{name} in seconds",
            seconds,
            (_MINUTE, 86_400),
            "EventBridge counts in minutes, and every region needs its turn within a day",
        )
        if seconds % _MINUTE:
            raise reject(
                self,
                f"{name} in seconds is {seconds}, allowed are multiples of {_MINUTE}; "
                "EventBridge counts in minutes",
            )
