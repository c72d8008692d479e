"""Where the spans of tasks go: to AWS X-Ray, by a collector in each task, or elsewhere by OTLP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._checks import check_range, reject
from media_platform.constructs._log_groups import log_group
from media_platform.constructs._media_cluster import AwsEndpoint, MediaCluster, Network
from media_platform.contract import metrics, tracing

COLLECTOR_IMAGE = "public.ecr.aws/aws-observability/aws-otel-collector:v0.50.0"
"""The AWS Distro for OpenTelemetry collector, of 2026-08-25; it holds no shell and no files that
are written."""

_COLLECTOR = "collector"
_COLLECTOR_USER = "10001:10001"
_CPU_UNITS = 32
_MEMORY_MEBIBYTES = 192
_MEMORY_LIMIT_MEBIBYTES = 128
"""From here on it refuses spans, long before the container is ended for its memory."""

_OTLP_PORT, _HEALTH_PORT = 4318, 13133
_DEFAULT_PORTS = {"https": 443, "http": 80}

_REFUSED = '{ $.logger = "opentelemetry*" }'
"""What OpenTelemetry has to say is that it cannot send, or has no room for what it cannot send."""

_DROPPED = '"Dropping data"'
"""What the collector says of spans that X-Ray would not take."""

_SAMPLED_PERCENT = 5.0


class Tracing:
    """Where the spans of tasks go, made by :meth:`x_ray` or :meth:`otlp`.

    No task waits for it: spans are sent by a thread beside the work, and dropped when they cannot
    be delivered. A client that traces itself says by its ``traceparent`` whether a trace is
    recorded; of the others it is a share, and what follows from a request goes with it.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        headers: secretsmanager.ISecret | None,
        collected: bool,
        collector_image: ecs.ContainerImage | None,
        sampled_percent: float,
    ) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._collected = collected
        self._collector_image = collector_image
        self._sampled_percent = sampled_percent

    @classmethod
    def x_ray(
        cls,
        *,
        collector_image: ecs.ContainerImage | None = None,
        sampled_percent: float = _SAMPLED_PERCENT,
    ) -> Self:
        """Send spans to AWS X-Ray, through a collector beside each task.

        The collector is the AWS Distro for OpenTelemetry. It may fail without the task: then its
        spans are lost, and its log says why. X-Ray costs $5 for a million traces that are recorded.

        Args:
            collector_image: Its image. Default: ``v0.50.0`` from the public registry of AWS, which
                tasks without a way to the internet cannot reach.
            sampled_percent: Share of requests that are traced, above 0 to 100. Default 5.

        Source: AWS Distro for OpenTelemetry, "Setting up AWS Distro for OpenTelemetry Collector in
        Amazon Elastic Container Service".
        """
        return cls(
            endpoint=f"http://127.0.0.1:{_OTLP_PORT}",
            headers=None,
            collected=True,
            collector_image=collector_image,
            sampled_percent=sampled_percent,
        )

    @classmethod
    def otlp(
        cls,
        endpoint: str,
        *,
        headers: secretsmanager.ISecret | None = None,
        sampled_percent: float = _SAMPLED_PERCENT,
    ) -> Self:
        """Send spans to a backend or collector that takes OTLP over HTTP.

        Args:
            endpoint: Its URL, without ``/v1/traces``; tasks are let out to its port.
            headers: Secret whose text is sent as headers, e.g. ``api-key=…``. Default: none.
            sampled_percent: Share of requests that are traced, above 0 to 100. Default 5.

        Source: OpenTelemetry, "OTLP Exporter Configuration".
        """
        return cls(
            endpoint=endpoint,
            headers=headers,
            collected=False,
            collector_image=None,
            sampled_percent=sampled_percent,
        )

    @property
    def calls(self) -> Sequence[AwsEndpoint]:
        """The services of AWS that tasks call for it."""
        if self._collected:
            return [AwsEndpoint.XRAY]
        return [] if self._headers is None else [AwsEndpoint.SECRETS_MANAGER]

    @property
    def port(self) -> int:
        """The TCP port that tasks must reach; what is within a task needs none."""
        if self._collected or cdk.Token.is_unresolved(self._endpoint):
            return _DEFAULT_PORTS["https"]
        url = urlsplit(self._endpoint)
        return url.port or _DEFAULT_PORTS[url.scheme]

    def check(self, scope: Construct, cluster: ecs.ICluster) -> None:
        """Check that tasks of ``cluster`` can send what they are told to.

        Raises:
            ValueError: If they cannot.
        """
        check_range(
            scope,
            "sampled_percent of tracing",
            self._sampled_percent,
            (0.001, 100),
            "leave tracing out for none",
        )
        private = isinstance(cluster, MediaCluster) and cluster.network is Network.ENDPOINTS
        if private and self._collected and self._collector_image is None:
            raise reject(
                scope,
                "tracing needs a collector_image, since network is 'endpoints', from where "
                "public.ecr.aws cannot be reached; copy the image to a repository of this region",
            )
        if cdk.Token.is_unresolved(self._endpoint):
            return
        url = urlsplit(self._endpoint)
        if url.scheme not in _DEFAULT_PORTS or not url.hostname or url.query or url.fragment:
            raise reject(
                scope,
                f"endpoint of tracing is {self._endpoint!r}, allowed are URLs such as "
                "https://otlp.example.com or http://collector.internal:4318; correct it",
            )

    def record(
        self,
        task: ecs.FargateTaskDefinition,
        container: ecs.ContainerDefinition,
        task_logs: logs.ILogGroup,
    ) -> None:
        """Tell the container of a task where to send spans, and give it a collector if need be.

        Args:
            task: The task.
            container: Its container.
            task_logs: Where it logs what becomes of them.
        """
        share = f"{self._sampled_percent / 100:g}"
        for name, value in tracing.exporting(self._endpoint, share=share).items():
            container.add_environment(name, value)
        if self._headers is not None:
            container.add_secret(
                tracing.OTLP_HEADERS, ecs.Secret.from_secrets_manager(self._headers)
            )
        lost = {"Refused": (task_logs, _REFUSED)}
        if self._collected:
            lost["Dropped"] = (self._collect(task, container), _DROPPED)
        _watch(task, lost, what=container.container_name)

    def _collect(
        self, task: ecs.FargateTaskDefinition, container: ecs.ContainerDefinition
    ) -> logs.ILogGroup:
        """Add the collector, and return where it logs."""
        group = log_group(task, "CollectorLogs")
        collector = task.add_container(
            "Collector",
            container_name=_COLLECTOR,
            image=self._collector_image or ecs.ContainerImage.from_registry(COLLECTOR_IMAGE),
            # A collector that fails takes no task with it.
            essential=False,
            environment={
                "AOT_CONFIG_CONTENT": json.dumps(_configuration(cdk.Stack.of(task).region)),
                "GOMEMLIMIT": f"{_MEMORY_LIMIT_MEBIBYTES}MiB",
            },
            user=_COLLECTOR_USER,
            readonly_root_filesystem=True,
            cpu=_CPU_UNITS,
            memory_limit_mib=_MEMORY_MEBIBYTES,
            stop_timeout=cdk.Duration.seconds(10),
            health_check=ecs.HealthCheck(
                command=["CMD", "/healthcheck"],
                interval=cdk.Duration.seconds(30),
                timeout=cdk.Duration.seconds(5),
                retries=3,
                start_period=cdk.Duration.seconds(30),
            ),
            logging=ecs.LogDrivers.aws_logs(stream_prefix=_COLLECTOR, log_group=group),
        )
        # It stops after the container whose last spans it takes.
        container.add_container_dependencies(
            ecs.ContainerDependency(
                container=collector, condition=ecs.ContainerDependencyCondition.START
            )
        )
        iam.Grant.add_to_principal(
            grantee=task.task_role, actions=["xray:PutTraceSegments"], resource_arns=["*"]
        )
        accept_wildcards(task.task_role, Accepted.SEGMENTS, "*")
        return group


def _watch(
    task: ecs.FargateTaskDefinition,
    lost: Mapping[str, tuple[logs.ILogGroup, str]],
    *,
    what: str,
) -> None:
    """Add the alarm that spans are lost for a quarter of an hour; some are in every deployment.

    Args:
        task: The task.
        lost: Log groups, with the lines that tell of it.
        what: Who runs in it.
    """
    name = cdk.Names.unique_resource_name(task, separator="-", allowed_special_characters="-")
    filters = [
        logs.MetricFilter(
            task,
            construct_id,
            log_group=group,
            filter_pattern=logs.FilterPattern.literal(pattern),
            metric_namespace=metrics.NAMESPACE,
            # A metric of its own, since lines that are no JSON carry no dimensions.
            metric_name=f"SpansLost-{name}",
        )
        for construct_id, (group, pattern) in lost.items()
    ]
    OperatorAlarm(
        task,
        "SpansLost",
        metric=filters[0].metric(statistic="Sum", period=cdk.Duration.minutes(5)),
        above=0,
        periods=3,
        description=f"Spans of {what} are lost; its log or that of its collector says why",
    )


def _configuration(region: str) -> dict[str, object]:
    """Return what the collector does; it listens to its own task alone."""
    return {
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{_HEALTH_PORT}"}},
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{_OTLP_PORT}"}}}},
        "processors": {
            "memory_limiter": {
                "check_interval": "1s",
                "limit_mib": _MEMORY_LIMIT_MEBIBYTES,
                "spike_limit_mib": _MEMORY_LIMIT_MEBIBYTES // 4,
            },
            "batch": {"timeout": "1s", "send_batch_size": 50},
        },
        "exporters": {"awsxray": {"region": region}},
        "service": {
            "extensions": ["health_check"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter", "batch"],
                    "exporters": ["awsxray"],
                }
            },
            "telemetry": {"logs": {"level": "warn"}, "metrics": {"level": "none"}},
        },
    }
