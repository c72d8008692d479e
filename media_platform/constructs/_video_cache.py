"""A Valkey that keeps metadata of videos for all tasks of the API and the admin service."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from constructs import Construct

from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._checks import check_range

_PORT = 6379
_FULL_PERCENT = 80
_NAME_CHARACTERS = 40
"""Longest name of a serverless cache (CreateServerlessCache)."""


class VideoCache(Construct):
    """ElastiCache Serverless for Valkey, reached over TLS by those who are let in, and nobody else.

    It holds nothing that is not in the table, for seconds, and keeps no snapshots.

    Args:
        scope: Parent.
        construct_id: Id in it.
        vpc: Network.
        subnets: Where it is in it.
        max_gibibytes: Most data.
        max_units_per_second: Most ElastiCache Processing Units a second.

    Attributes:
        cache: The cache.
        connections: Who may reach it.
        url: Where services find it.

    Raises:
        ValueError: If a limit is out of range.

    Source: Amazon ElastiCache User Guide, "Scaling ElastiCache Serverless".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        max_gibibytes: int,
        max_units_per_second: int,
    ) -> None:
        super().__init__(scope, construct_id)
        check_range(
            self, "cache_max_gibibytes", max_gibibytes, (1, 5000), "a serverless cache has no more"
        )
        check_range(
            self,
            "cache_max_units_per_second",
            max_units_per_second,
            (1000, 15_000_000),
            "a serverless cache takes no other limit",
        )
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="Valkey of the API",
            allow_all_outbound=False,
        )
        self.connections = ec2.Connections(
            security_groups=[group], default_port=ec2.Port.tcp(_PORT)
        )
        self.cache = elasticache.CfnServerlessCache(
            self,
            "Cache",
            engine="valkey",
            major_engine_version="8",
            # CloudFormation makes up no name for it; this one is made from the path, so stable.
            serverless_cache_name=cdk.Names.unique_resource_name(
                self, max_length=_NAME_CHARACTERS, separator="-", allowed_special_characters="-"
            ).lower(),
            description="Metadata of videos, for seconds",
            security_group_ids=[group.security_group_id],
            subnet_ids=vpc.select_subnets(subnet_type=subnets.subnet_type).subnet_ids,
            cache_usage_limits=elasticache.CfnServerlessCache.CacheUsageLimitsProperty(
                data_storage=elasticache.CfnServerlessCache.DataStorageProperty(
                    unit="GB", maximum=max_gibibytes
                ),
                ecpu_per_second=elasticache.CfnServerlessCache.ECPUPerSecondProperty(
                    maximum=max_units_per_second
                ),
            ),
            snapshot_retention_limit=0,
        )
        self.url = f"rediss://{self.cache.attr_endpoint_address}:{_PORT}"
        self._watch(cdk.Size.gibibytes(max_gibibytes))

    def allow(self, service: ec2.IConnectable) -> None:
        """Let a service reach it."""
        self.connections.allow_default_port_from(service)

    def metric_bytes_used(self) -> cloudwatch.Metric:
        """Return the data in it (bytes, most of five minutes)."""
        return self._metric("BytesUsedForCache", "Maximum")

    def metric_units_used(self) -> cloudwatch.Metric:
        """Return the ElastiCache Processing Units that were used (count, sum of five minutes)."""
        return self._metric("ElastiCacheProcessingUnits", "Sum")

    def _metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/ElastiCache",
            metric_name=name,
            dimensions_map={"clusterId": self.cache.ref},
            statistic=statistic,
        )

    def _watch(self, limit: cdk.Size) -> None:
        """Add the alarms that it is at a limit; the API goes on without it, from the table.

        Source: Amazon ElastiCache User Guide, "Serverless cache metrics".
        """
        for name, metric, above, problem in (
            (
                "Throttled",
                self._metric("ThrottledCmds", "Sum"),
                0,
                "refuses requests, which go to the table; raise cache_max_units_per_second",
            ),
            (
                "Full",
                self.metric_bytes_used(),
                limit.to_bytes() * _FULL_PERCENT / 100,
                f"uses more than {_FULL_PERCENT} % of what it may; raise cache_max_gibibytes",
            ),
            (
                "Evicts",
                self._metric("Evictions", "Sum"),
                0,
                "drops metadata before their time; raise cache_max_gibibytes",
            ),
        ):
            OperatorAlarm(
                self,
                name,
                metric=metric,
                above=above,
                periods=3,
                description=f"The cache of the API {problem}",
            )
