"""How an environment does, region by region, and what of it needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from media_platform.contract import table
from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput, stack_name
from media_platform.contract.run import Run
from media_platform.contract.scanning import Scan
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video
from mediactl.asking import ask_regions, is_missing, is_unreachable
from mediactl.deployed import (
    count,
    dead_letter_urls,
    items_by_key,
    queue_urls,
    regions_of,
    resources,
    shard_query,
    side_by_side,
)
from mediactl.errors import NOT_FOUND, CommandError

if TYPE_CHECKING:
    from mediactl.environment import Environment

VIDEOS_OF_A_SHARD = 25
"""Videos in flight that are read of each shard, oldest first: there may be many thousands."""

_METRIC_WINDOW = timedelta(minutes=15)
"""SQS, DynamoDB and S3 report by the minute or by five, and some minutes late."""

_METRIC_PERIOD = 300


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """A service of ECS.

    Attributes:
        name: What it is called.
        desired: Tasks that should run.
        running: Tasks that run.
        pending: Tasks that are being started.
        rollout: State of its last deployment (``IN_PROGRESS``, ``COMPLETED``, ``FAILED``), if ECS
            tells.
    """

    name: str
    desired: int
    running: int
    pending: int
    rollout: str | None


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """A queue, in numbers that SQS estimates.

    Attributes:
        name: What it is called.
        visible: Messages that wait.
        in_flight: Messages that are worked on.
        delayed: Messages that are not to be seen yet.
        oldest_seconds: Age of the oldest message, as CloudWatch was told within the last minutes,
            if it was.
    """

    name: str
    visible: int
    in_flight: int
    delayed: int
    oldest_seconds: int | None


@dataclass(frozen=True, kw_only=True)
class DeadLetterCount:
    """A queue of what failed for good.

    Attributes:
        queue: What it is called.
        messages: How many dead letters it has.
    """

    queue: str
    messages: int


@dataclass(frozen=True, kw_only=True)
class VideoInFlight:
    """A video that waits for a worker or is transcoded.

    Attributes:
        video_id: The video.
        tenant: Its tenant.
        status: Its status.
        doing: ``scanning``, ``waiting``, ``held back`` (its tenant spent the budget of the day) or
            ``encoding``.
        progress: Per cent of the frames that are encoded, once a worker took it.
        since: Time at which a worker took it, or from which on it waits (RFC 3339, UTC).
        seconds: Seconds since then.
    """

    video_id: str
    tenant: str
    status: str
    doing: str
    progress: int | None
    since: str
    seconds: int


@dataclass(frozen=True, kw_only=True)
class AlarmState:
    """An alarm that tells of something.

    Attributes:
        name: Its name.
        description: What is the matter, and what to do about it.
        since: Time from which on it does (RFC 3339, UTC).
    """

    name: str
    description: str
    since: str


@dataclass(frozen=True, kw_only=True)
class ReplicationState:
    """How late another region gets what this one writes, as CloudWatch was told, if it was.

    Attributes:
        region: The other region.
        table_seconds: Seconds until it has a change of the table, on average.
        raw_seconds: Most seconds that an upload takes to it.
        raw_pending_bytes: Bytes of uploads that wait to be copied.
        media_seconds: Most seconds that media take to it.
        media_pending_bytes: Bytes of media that wait to be copied.
        under_way: Changes and copies that have not arrived, on a local plane, which knows no times.
    """

    region: str
    table_seconds: float | None
    raw_seconds: float | None
    raw_pending_bytes: int | None
    media_seconds: float | None
    media_pending_bytes: int | None
    under_way: int | None


@dataclass(frozen=True, kw_only=True)
class StackState:
    """A stack of CloudFormation.

    Attributes:
        part: What it holds: ``Store``, ``Media``, ``Edge``.
        status: Its status.
        deployed_at: Time at which it was deployed last (RFC 3339, UTC).
    """

    part: str
    status: str
    deployed_at: str


@dataclass(frozen=True, kw_only=True)
class RegionStatus:
    """A region.

    Attributes:
        region: Its name.
        reachable: Whether it answers; nothing else is known of one that does not.
        reason: What was seen in place of an answer, if it does not.
        stacks: Its stacks.
        services: Its services.
        queues: Its queues of work.
        dead_letters: Its queues of what failed for good, with messages in them.
        videos_in_flight: Videos that wait for a worker or are transcoded, as far as they were
            counted.
        more_in_flight: Whether there are more.
        videos: Those of them that wait longest.
        events_unpublished: Events that were not published yet.
        alarms: Alarms that tell of something; those by which services scale do not count.
        replication: How late every other region gets what it writes.
    """

    region: str
    reachable: bool = True
    reason: str | None = None
    stacks: list[StackState] = field(default_factory=list)
    services: list[ServiceState] = field(default_factory=list)
    queues: list[QueueState] = field(default_factory=list)
    dead_letters: list[DeadLetterCount] = field(default_factory=list)
    videos_in_flight: int = 0
    more_in_flight: bool = False
    videos: list[VideoInFlight] = field(default_factory=list)
    events_unpublished: int = 0
    alarms: list[AlarmState] = field(default_factory=list)
    replication: list[ReplicationState] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that needs a person.

    Attributes:
        text: What is the matter.
        command: The command that helps, if one does.
    """

    text: str
    command: str | None = None


@dataclass(frozen=True, kw_only=True)
class EnvironmentStatus:
    """An environment.

    Attributes:
        environment: Its name.
        stage: Stage of the CDK app.
        base_url: The one origin that clients know, if it is deployed.
        asked_at: Time at which it was asked (RFC 3339, UTC).
        regions: Its regions.
        needs: What needs a person; an environment without is healthy.
    """

    environment: str
    stage: str
    base_url: str | None
    asked_at: str
    regions: list[RegionStatus]
    needs: list[Need]


def status_of(environment: Environment, asked: Sequence[str]) -> EnvironmentStatus:
    """Return how an environment does.

    Args:
        environment: The environment.
        asked: Regions that are looked at, and with all of them that of the Edge stack.

    Raises:
        CommandError: If nothing of it is deployed.
    """
    everything = {*asked} == {*environment.regions}
    places = regions_of(environment) if everything else tuple(asked)
    found = ask_regions(
        environment,
        places,
        lambda region: _Region(environment, region).status(),
        # One of several that is asked alone may be lost; if all are, it is rather the network.
        all_may_miss=len(environment.regions) > len(asked),
    )
    lost = {one.region: one.reason for one in found.missing}
    regions = [
        found.by_region.get(region)
        or RegionStatus(region=region, reachable=False, reason=lost[region])
        for region in places
    ]
    # What CloudFront needs may be all that a region has, and then often there is nothing.
    regions = [
        one
        for one in regions
        if one.stacks or not one.reachable or one.region in environment.regions
    ]
    if all(one.reachable and not one.stacks for one in regions):
        raise CommandError(
            f"{environment.name} is not deployed in {', '.join(places)}",
            hint=f"run `mediactl deploy -e {environment.name}`, or check stage and regions of the"
            " environment",
            exit_code=NOT_FOUND,
        )
    return EnvironmentStatus(
        environment=environment.name,
        stage=environment.stage,
        base_url=_base_url(environment),
        asked_at=timestamp(),
        regions=regions,
        needs=[*_plane_needs(environment), *needs_of(environment, regions)],
    )


def _base_url(environment: Environment) -> str | None:
    try:
        return environment.base_url
    except CommandError:
        return None
    except Exception as error:
        if is_unreachable(error):
            return None
        raise


class _Region:
    """Asks a region."""

    def __init__(self, environment: Environment, region: str) -> None:
        self._environment = environment
        self._region = region
        self._cloudformation, self._cloudwatch, self._dynamodb, self._ecs, self._sqs = (
            environment.client(service, region)
            for service in ("cloudformation", "cloudwatch", "dynamodb", "ecs", "sqs")
        )

    def status(self) -> RegionStatus:
        stacks = [found for part in StackPart if (found := self._stack(part)) is not None]
        parts = {stack.part for stack in stacks}
        seen: dict[str, Any] = {}
        # The outputs of a stack are there when it was made as a whole, once.
        if StackPart.STORE in parts and self._environment.outputs(StackPart.STORE, self._region):
            seen |= self._table_state()
            seen["replication"] = self._replication()
        if StackPart.MEDIA in parts and self._environment.outputs(StackPart.MEDIA, self._region):
            seen["services"] = self._services()
            seen |= self._queue_states()
        return RegionStatus(region=self._region, stacks=stacks, alarms=self._alarms(parts), **seen)

    def _stack(self, part: StackPart) -> StackState | None:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

        name = stack_name(self._environment.stage, part)
        try:
            (stack,) = self._cloudformation.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        at = stack.get("LastUpdatedTime") or stack["CreationTime"]
        return StackState(part=part, status=stack["StackStatus"], deployed_at=timestamp(at))

    def _services(self) -> list[ServiceState]:
        deployed = resources(
            self._environment, StackPart.MEDIA, self._region, "AWS::ECS::Service", "Service"
        )
        cluster = self._environment.output(MediaOutput.CLUSTER_NAME, self._region)
        states: dict[str, dict[str, Any]] = {}
        for start in range(0, len(deployed), _MOST_SERVICES):
            arns = [one.physical_id for one in deployed[start : start + _MOST_SERVICES]]
            answer = self._ecs.describe_services(cluster=cluster, services=arns)
            states |= {one["serviceArn"]: one for one in answer["services"]}
        return [_service(one.name, states.get(one.physical_id, {})) for one in deployed]

    def _queue_states(self) -> dict[str, Any]:
        work = queue_urls(self._environment, self._region)
        failed = dead_letter_urls(self._environment, self._region)
        ages = self._metrics(
            [
                _query(
                    name,
                    "AWS/SQS",
                    "ApproximateAgeOfOldestMessage",
                    "Maximum",
                    period=60,
                    QueueName=url.rpartition("/")[2],
                )
                for name, url in work.items()
            ]
        )
        depths = side_by_side(self._depth, [*work.values(), *failed.values()])
        queues = [
            # What CloudWatch was told may be of a message that is gone by now.
            QueueState(
                name=name,
                oldest_seconds=_whole(ages[name]) if sum(depth.values()) else None,
                **depth,
            )
            for name, depth in zip(work, depths, strict=False)
        ]
        dead = [
            DeadLetterCount(queue=name, messages=sum(depth.values()))
            for name, depth in zip(failed, depths[len(work) :], strict=True)
        ]
        return {"queues": queues, "dead_letters": [one for one in dead if one.messages]}

    def _depth(self, url: str) -> dict[str, int]:
        answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[*_DEPTHS])
        return {name: int(answer["Attributes"][known]) for known, name in _DEPTHS.items()}

    def _table_state(self) -> dict[str, Any]:
        name = self._environment.output(StoreOutput.TABLE_NAME, self._region)
        pages = side_by_side(
            lambda shard: self._dynamodb.query(
                Limit=VIDEOS_OF_A_SHARD,
                **shard_query(name, table.IN_FLIGHT, table.in_flight_of_shard(self._region, shard)),
            ),
            range(table.SHARDS),
        )
        videos = [Video.from_item(item) for page in pages for item in page["Items"]]
        runs = {
            run.video_id: run
            for item in items_by_key(
                self._dynamodb,
                name,
                [table.run_key(one.video_id, _run_of(one)).to_wire() for one in videos],
            )
            for run in [Run.from_item(item)]
        }
        unpublished = side_by_side(
            lambda shard: self._count(
                name, table.UNPUBLISHED, table.unpublished_of_shard(self._region, shard)
            ),
            range(table.SHARDS),
        )
        now = datetime.now(UTC)
        shown = [_video(video, runs.get(video.video_id), now) for video in videos]
        return {
            "videos": sorted(shown, key=lambda one: one.since),
            "videos_in_flight": len(videos),
            "more_in_flight": any("LastEvaluatedKey" in page for page in pages),
            "events_unpublished": sum(unpublished),
        }

    def _count(self, table_name: str, index: table.Index, partition: str) -> int:
        pages = self._dynamodb.get_paginator("query").paginate(
            Select="COUNT", **shard_query(table_name, index, partition)
        )
        return sum(int(page["Count"]) for page in pages)

    def _alarms(self, parts: set[str]) -> list[AlarmState]:
        paginator = self._cloudwatch.get_paginator("describe_alarms")
        return [
            AlarmState(
                name=alarm["AlarmName"],
                description=alarm.get("AlarmDescription") or alarm.get("StateReason", ""),
                since=timestamp(alarm["StateUpdatedTimestamp"]),
            )
            for part in StackPart
            if part in parts
            for page in paginator.paginate(
                # The dash keeps out the stacks of a stage whose name only begins so.
                AlarmNamePrefix=f"{stack_name(self._environment.stage, part)}-",
                StateValue="ALARM",
            )
            for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]
            if not _only_scales(alarm)
        ]

    def _replication(self) -> list[ReplicationState]:
        others = [region for region in self._environment.regions if region != self._region]
        if not others or self._region not in self._environment.regions:
            return []
        return [self._replication_to(region) for region in others]

    def _replication_to(self, region: str) -> ReplicationState:
        def output(name: StoreOutput, where: str) -> str:
            return self._environment.output(name, where)

        table_name = output(StoreOutput.TABLE_NAME, self._region)
        queries = [
            _query(
                "table",
                "AWS/DynamoDB",
                "ReplicationLatency",
                "Average",
                TableName=table_name,
                ReceivingRegion=region,
            )
        ]
        try:
            queries += [
                _query(
                    f"{kind} {metric}",
                    "AWS/S3",
                    metric,
                    "Maximum",
                    SourceBucket=output(bucket, self._region),
                    DestinationBucket=output(bucket, region),
                    RuleId=region,
                )
                for kind, bucket in (
                    ("raw", StoreOutput.RAW_BUCKET),
                    ("media", StoreOutput.MEDIA_BUCKET),
                )
                for metric in ("ReplicationLatency", "BytesPendingReplication")
            ]
        except Exception as error:
            # Of a region that is lost or joins, the name of the bucket is not known.
            if not is_missing(error):
                raise
        values = self._metrics(queries)
        milliseconds = values["table"]
        return ReplicationState(
            region=region,
            table_seconds=None if milliseconds is None else milliseconds / 1000,
            raw_seconds=values.get("raw ReplicationLatency"),
            raw_pending_bytes=_whole(values.get("raw BytesPendingReplication")),
            media_seconds=values.get("media ReplicationLatency"),
            media_pending_bytes=_whole(values.get("media BytesPendingReplication")),
            under_way=self._under_way(region),
        )

    def _under_way(self, region: str) -> int | None:
        if not self._environment.is_local:
            return None
        ways = self._environment.plane().emulator().control("waiting")
        return sum(
            int(way["parcels"])
            for way in ways
            if (way["source"], way["destination"]) == (self._region, region)
        )

    def _metrics(self, queries: Sequence[dict[str, Any]]) -> dict[str, float | None]:
        """Return the latest value of metrics by their label."""
        now = datetime.now(UTC)
        pages = self._cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[{**query, "Id": f"m{n}"} for n, query in enumerate(queries)],
            StartTime=now - _METRIC_WINDOW,
            EndTime=now,
            ScanBy="TimestampDescending",
        )
        values: dict[str, float | None] = {query["Label"]: None for query in queries}
        for page in pages:
            for result in page.get("MetricDataResults", []):
                label = queries[int(result["Id"][1:])]["Label"]
                if values[label] is None and result["Values"]:
                    values[label] = float(result["Values"][0])
        return values


_MOST_SERVICES = 10
"""Services that one call describes (ECS API Reference, "DescribeServices")."""

_DEPTHS = {
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}


def _query(
    label: str,
    namespace: str,
    metric: str,
    statistic: str,
    *,
    period: int = _METRIC_PERIOD,
    **dimensions: str,
) -> dict[str, Any]:
    """Return a query of ``GetMetricData``, without its id."""
    return {
        "Label": label,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
            },
            "Period": period,
            "Stat": statistic,
        },
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _service(name: str, found: dict[str, Any]) -> ServiceState:
    rollouts = (
        one.get("rolloutState")
        for one in found.get("deployments", [])
        if one.get("status") == "PRIMARY"
    )
    return ServiceState(
        name=name,
        desired=found.get("desiredCount", 0),
        running=found.get("runningCount", 0),
        pending=found.get("pendingCount", 0),
        rollout=next(rollouts, None),
    )


def _run_of(video: Video) -> str:
    return video.next_run or video.current_run or ""


def _video(video: Video, run: Run | None, now: datetime) -> VideoInFlight:
    waiting = "scanning" if video.scan is Scan.WAITING else "waiting"
    if video.held_back is not None:
        waiting = "held back"
    # A video that is transcoded again waits since it was asked for, not since its upload.
    asked_at = None if video.next_run else video.uploaded_at
    since = run.started_at if run else asked_at or video.updated_at
    return VideoInFlight(
        video_id=video.video_id,
        tenant=video.tenant,
        status=video.status.value,
        doing="encoding" if run else waiting,
        progress=run.progress if run else None,
        since=since,
        seconds=max(0, round((now - datetime.fromisoformat(since)).total_seconds())),
    )


def _only_scales(alarm: dict[str, Any]) -> bool:
    """Tell whether an alarm is there for a service to scale, and no person is meant by it."""
    actions = alarm.get("AlarmActions", [])
    return bool(actions) and all(":autoscaling:" in action for action in actions)


def _plane_needs(environment: Environment) -> list[Need]:
    """Return what the process runner of a local plane tells."""
    if not environment.is_local:
        return []
    problems = environment.plane().status().problems
    command = f"mediactl local status -e {environment.name}"
    return [Need(text=problem, command=command) for problem in problems]


def needs_of(environment: Environment, regions: Sequence[RegionStatus]) -> Iterator[Need]:
    """Yield what of the regions of an environment needs a person."""
    several = len(environment.regions) > 1
    for region in regions:
        at = f"{region.region}: " if several else ""
        where = f" --region {region.region}" if several else ""
        yield from (
            Need(text=f"{at}{need.text}", command=need.command)
            for need in _needs_of_region(region, environment, where)
        )


def _needs_of_region(region: RegionStatus, environment: Environment, where: str) -> Iterator[Need]:
    name = f"-e {environment.name}"
    if not region.reachable:
        others = [one for one in environment.regions if one != region.region]
        yield Need(
            text="the region does not answer",
            command=f"mediactl region takeover {region.region} --by {others[0]} {name}"
            if others and region.region in environment.regions
            else None,
        )
        return
    yield from _stack_needs(region, environment)
    for service in region.services:
        short = service.running < service.desired
        # Tasks that are being started, or replaced, come by themselves; what fails does not.
        if service.rollout == "FAILED" or (
            short and not service.pending and service.rollout != "IN_PROGRESS"
        ):
            yield Need(
                text=f"{service.running} of {count(service.desired, 'task')} of {service.name}"
                f" run{', and its deployment failed' if service.rollout == 'FAILED' else ''}",
                command=f"mediactl logs {name}{where} --service {service.name}",
            )
    for dead in region.dead_letters:
        yield Need(
            text=f"{count(dead.messages, 'message')} of {dead.queue} failed for good",
            command=f"mediactl dlq list {name}{where} --queue {dead.queue}",
        )
    for alarm in region.alarms:
        yield Need(text=f"alarm since {alarm.since}: {alarm.description}")


def _stack_needs(region: RegionStatus, environment: Environment) -> Iterator[Need]:
    name = f"-e {environment.name}"
    missing = {StackPart.STORE, StackPart.MEDIA} - {stack.part for stack in region.stacks}
    if missing and region.region in environment.regions:
        yield Need(
            text=f"not deployed: {', '.join(sorted(missing))}", command=f"mediactl deploy {name}"
        )
    for stack in region.stacks:
        if "FAILED" in stack.status or "ROLLBACK" in stack.status:
            yield Need(
                text=f"the {stack.part} stack is in {stack.status}",
                command=f"mediactl deploy {name}",
            )
