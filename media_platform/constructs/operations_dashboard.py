"""One page that shows how a region does: the way of a video, and those who serve it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.constructs._alarms import alarms_within
from media_platform.constructs._checks import DEFAULT_STAGE, check_stage
from media_platform.constructs._durations import duration
from media_platform.constructs._metrics import platform_metric
from media_platform.constructs.api_cluster import ApiCluster
from media_platform.constructs.transcode_pipeline import TranscodePipeline
from media_platform.constructs.video_store import VideoStore
from media_platform.contract import metrics

_COLUMNS = 24
_HEIGHT = 6
_MINUTE = timedelta(minutes=1)

_Metrics = Sequence[cloudwatch.IMetric]


class OperationsDashboard(Construct):
    """A dashboard of a region.

    First come all alarms, then the stations that a video passes, from left to right, from its
    upload to the events that tell of it; below stand what became of videos, the API, the table, and
    the copies to other regions.
    Make it behind everything that it shows, so that no alarm is missing.

    It costs 3 USD a month, unless it is among the three that an account has for nothing.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage. Default ``main``.
        store: Store of this region.
        pipeline: Pipeline of this region.
        api: API of this region. Default: none is shown.

    Attributes:
        dashboard: The dashboard.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str = DEFAULT_STAGE,
        store: VideoStore,
        pipeline: TranscodePipeline,
        api: ApiCluster | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        check_stage(self, stage)
        self._stage = stage
        shown = [store, pipeline, *([api] if api is not None else [])]
        alarms = [alarm for construct in shown for alarm in alarms_within(construct)]
        rows = {
            "The way of a video": self._way(pipeline),
            "What became of it": self._outcome(pipeline),
        }
        if api is not None:
            rows["API"] = self._api(api)
        rows["Table"] = _table(store)
        if store.replication_regions:
            rows["Copies to other regions"] = _copies(store)
        widgets: list[list[cloudwatch.IWidget]] = [
            [cloudwatch.AlarmStatusWidget(title="Alarms", width=_COLUMNS, alarms=alarms)]
        ]
        for title, graphs in rows.items():
            heading = cloudwatch.TextWidget(markdown=f"## {title}", width=_COLUMNS, height=1)
            widgets += [heading], [*graphs]
        self.dashboard = cloudwatch.Dashboard(
            self, "Dashboard", default_interval=cdk.Duration.hours(3), widgets=widgets
        )

    def _way(self, pipeline: TranscodePipeline) -> list[cloudwatch.GraphWidget]:
        scans = [scanner.queue for scanner in pipeline.scanners.values()]
        jobs = [pipeline.express_queue, pipeline.job_queue]
        stations: list[tuple[str, _Metrics, _Metrics]] = [
            ("Uploads", _calls(pipeline.intake.function), []),
            *([("Scans", _waiting(scans), _ages(scans))] if scans else []),
            ("Jobs", _waiting(jobs), _ages(jobs)),
            (
                "Workers",
                [_running_tasks(pipeline.workers.service)],
                [self._metric(metrics.ENCODE_SPEED_RATIO, "Average", "encoded seconds a second")],
            ),
            (
                "Seconds to playable",
                [
                    self._metric(metrics.TIME_TO_PLAYABLE_SECONDS, part, part)
                    for part in ("p50", "p95")
                ],
                [],
            ),
            (
                "Events",
                [pipeline.topic.metric_number_of_messages_published(label="published")],
                [pipeline.metric_relay_delay()],
            ),
        ]
        return [
            _graph(f"{number} {title}", len(stations), left, right)
            for number, (title, left, right) in enumerate(stations, start=1)
        ]

    def _outcome(self, pipeline: TranscodePipeline) -> list[cloudwatch.GraphWidget]:
        sums = (
            ("Videos", (metrics.JOBS_COMPLETED, metrics.JOBS_FAILED, metrics.CHUNK_RETRIES)),
            ("Webhooks", (metrics.WEBHOOKS_DELIVERED, metrics.WEBHOOKS_GIVEN_UP)),
            ("Bytes of workers", (metrics.BYTES_IN, metrics.BYTES_OUT)),
            ("Processor seconds of workers", (metrics.CPU_SECONDS,)),
        )
        return [
            *(
                _graph(title, len(sums) + 1, [self._metric(name, "Sum", name) for name in names])
                for title, names in sums
            ),
            _graph("Dead letters", len(sums) + 1, [pipeline.metric_dead_letters()]),
        ]

    def _api(self, api: ApiCluster) -> list[cloudwatch.GraphWidget]:
        requests = api.target_group.metrics.request_count(label="requests")
        graphs: list[tuple[str, _Metrics, _Metrics]] = [
            ("Requests", [requests], [api.metric_errors()]),
            ("Seconds to an answer", [api.metric_latency()], []),
            ("Playback", [self._metric(metrics.PLAYBACK_GRANTS, "Sum", "granted")], []),
            (
                "Tasks, per cent",
                [
                    api.api.service.metric_cpu_utilization(label="processor"),
                    api.api.service.metric_memory_utilization(label="memory"),
                ],
                [],
            ),
        ]
        if api.cache is not None:
            used = [api.cache.metric_bytes_used().with_(label="bytes")]
            graphs.append(("Cache", [api.cache.metric_units_used().with_(label="units")], used))
        return [_graph(title, len(graphs), left, right) for title, left, right in graphs]

    def _metric(self, name: str, statistic: str, label: str) -> cloudwatch.Metric:
        return platform_metric(self._stage, name, statistic=statistic, label=label)


def _graph(
    title: str,
    in_row: int,
    left: _Metrics,
    right: _Metrics = (),
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        width=_COLUMNS // in_row,
        height=_HEIGHT,
        left=list(left),
        right=list(right),
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        right_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
    )


def _calls(function: lambda_.IFunction) -> list[cloudwatch.IMetric]:
    return [
        function.metric_invocations(label="calls"),
        function.metric_errors(label="errors"),
    ]


def _waiting(queues: Sequence[sqs.IQueue]) -> list[cloudwatch.IMetric]:
    return [
        queue.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=duration(_MINUTE), label=f"{queue.node.id} waiting"
        )
        for queue in queues
    ]


def _ages(queues: Sequence[sqs.IQueue]) -> list[cloudwatch.IMetric]:
    return [
        queue.metric_approximate_age_of_oldest_message(
            statistic="Maximum", period=duration(_MINUTE), label=f"{queue.node.id} oldest, seconds"
        )
        for queue in queues
    ]


def _running_tasks(service: ecs.FargateService) -> cloudwatch.Metric:
    """Return the tasks of a service, from Container Insights."""
    return cloudwatch.Metric(
        namespace="ECS/ContainerInsights",
        metric_name="RunningTaskCount",
        dimensions_map={
            "ClusterName": service.cluster.cluster_name,
            "ServiceName": service.service_name,
        },
        statistic="Maximum",
        period=duration(_MINUTE),
        label="running",
    )


def _table(store: VideoStore) -> list[cloudwatch.GraphWidget]:
    delays = [
        store.metric_replication_delay(region).with_(label=region)
        for region in store.replication_regions
    ]
    graphs: list[tuple[str, _Metrics]] = [
        ("Units used", [store.metric_table_use("Read"), store.metric_table_use("Write")]),
        (
            "Throttled",
            [
                store.metric_throttles().with_(label="table"),
                store.metric_index_throttles("Read").with_(label="indexes, reads"),
                store.metric_index_throttles("Write").with_(label="indexes, writes"),
            ],
        ),
    ]
    if delays:
        graphs.append(("Milliseconds to other regions", delays))
    return [_graph(title, len(graphs), metrics_) for title, metrics_ in graphs]


def _copies(store: VideoStore) -> list[cloudwatch.GraphWidget]:
    regions = store.replication_regions
    return [
        _graph(title, 2, [metric(region).with_(label=region) for region in regions])
        for title, metric in (
            ("Bytes to copy", store.metric_copies_pending),
            ("Failed copies", store.metric_copies_failed),
        )
    ]
