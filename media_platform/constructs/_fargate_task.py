"""A Fargate task of the runtime: ARM64, not root, nothing writable but a scratch volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from media_platform import assets
from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept, accept_wildcards
from media_platform.constructs._checks import reject
from media_platform.constructs._log_groups import log_group
from media_platform.constructs._media_cluster import AwsEndpoint, MediaCluster, Network
from media_platform.constructs._task_size import task_size_problem
from media_platform.constructs._tracing import Tracing

CONTAINER_USER = "10001:10001"
"""User and group of every container, as its Dockerfile makes them."""

SCRATCH_PATH = "/tmp"  # noqa: S108  the one writable folder of a task of its own
"""Where a task may write; its image declares it as a volume of the container's user."""


def fargate_task(
    scope: Construct,
    construct_id: str,
    *,
    service: Service,
    image: ecs.ContainerImage | None = None,
    name: str | None = None,
    command: Sequence[str],
    environment: Mapping[str, str],
    cpu_units: int,
    memory_mebibytes: int,
    port: int | None = None,
    scratch_gibibytes: int | None = None,
    stop_timeout: cdk.Duration,
    health_check: ecs.HealthCheck | None = None,
    tracing: Tracing | None = None,
) -> ecs.FargateTaskDefinition:
    """Return a task definition with one container.

    Args:
        scope: Parent.
        construct_id: Id in it.
        service: The service whose image it runs.
        image: Image that it runs instead, for ARM64. Default: one that is built of the service.
        name: Name of the container and of its log streams. Default: that of the service.
        command: What the container runs.
        environment: The variables of the service, complete.
        cpu_units: 1024 for one virtual CPU.
        memory_mebibytes: Memory.
        port: TCP port on which it listens. Default: none.
        scratch_gibibytes: Disk, 21 to 200 GiB. Default: the 20 GiB that cost nothing.
        stop_timeout: Time from SIGTERM to SIGKILL, 120 s at most.
        health_check: What tells that it does its work, for which a deployment waits. Default: it
            does as soon as it runs.
        tracing: Where its spans go. Default: nowhere.

    Raises:
        ValueError: If Fargate has no task of this size.
    """
    problem = task_size_problem(cpu_units, memory_mebibytes)
    if problem is not None:
        raise reject(scope, problem)
    task = ecs.FargateTaskDefinition(
        scope,
        construct_id,
        cpu=cpu_units,
        memory_limit_mib=memory_mebibytes,
        ephemeral_storage_gib=scratch_gibibytes,
        runtime_platform=ecs.RuntimePlatform(
            cpu_architecture=ecs.CpuArchitecture.ARM64,
            operating_system_family=ecs.OperatingSystemFamily.LINUX,
        ),
    )
    task.add_volume(name="scratch")
    logs = log_group(task, "Logs")
    container = task.add_container(
        "Container",
        container_name=name or service.value,
        image=image
        or ecs.ContainerImage.from_asset(
            str(assets.build_context(service)), platform=ecr_assets.Platform.LINUX_ARM64
        ),
        command=list(command),
        environment=dict(environment),
        user=CONTAINER_USER,
        readonly_root_filesystem=True,
        stop_timeout=stop_timeout,
        health_check=health_check,
        # A process with id 1 of its own reaps children and passes signals on.
        linux_parameters=ecs.LinuxParameters(task, "Linux", init_process_enabled=True),
        logging=ecs.LogDrivers.aws_logs(stream_prefix=name or service.value, log_group=logs),
        port_mappings=[ecs.PortMapping(container_port=port)] if port is not None else None,
    )
    container.add_mount_points(
        ecs.MountPoint(container_path=SCRATCH_PATH, read_only=False, source_volume="scratch")
    )
    if tracing is not None:
        tracing.record(task, container, logs)
    accept(task, Accepted.PLAIN_VARIABLES)
    execution_role = task.obtain_execution_role()
    accept_wildcards(execution_role, Accepted.REGISTRY_TOKEN, "*")
    for role in (task.task_role, execution_role):
        accept(role, Accepted.OWN_POLICY)
    return task


def fargate_service(
    scope: Construct,
    *,
    cluster: ecs.ICluster,
    task: ecs.FargateTaskDefinition,
    calls: Sequence[AwsEndpoint],
    desired_count: int,
    min_healthy_percent: int = 100,
    service_name: str | None = None,
    capacity_provider_strategies: Sequence[ecs.CapacityProviderStrategy] | None = None,
    health_check_grace_period: cdk.Duration | None = None,
    spread_again: bool = False,
    tracing: Tracing | None = None,
) -> ecs.FargateService:
    """Return a service, which nobody reaches who is not let in, and which reaches HTTPS alone.

    A deployment whose tasks do not become healthy is taken back. In a cluster that is no
    :class:`MediaCluster`, tasks are in private subnets, which must have a way to AWS.

    All that a task needs of AWS speaks HTTPS. Names, credentials and time come from addresses that
    security groups do not filter (Amazon VPC User Guide, "Security groups").

    Args:
        scope: Parent; the service is ``Service`` in it.
        cluster: Cluster that it runs in.
        task: Its task definition.
        calls: The services of AWS that the code calls, without S3 and DynamoDB. What ECS needs to
            start it comes in addition.
        desired_count: Tasks until it scales.
        min_healthy_percent: Share of them that a deployment leaves. Default 100.
        service_name: Its physical name. Default: one of CloudFormation's.
        capacity_provider_strategies: What its tasks run on. Default: Fargate, on demand.
        health_check_grace_period: Time that new tasks have until they must be healthy. Default: as
            ECS has it.
        spread_again: Whether tasks are moved when a zone has more than its share, as after the
            failure of another: a new one starts first, so a deployment may have more than its
            number (Amazon ECS Developer Guide, "Balancing an Amazon ECS service across
            Availability Zones"). Default ``False``, for tasks that are better left alone.
        tracing: Where its spans go, as for the task. Default: nowhere.
    """
    ours = cluster if isinstance(cluster, MediaCluster) else None
    group = ec2.SecurityGroup(
        scope,
        "SecurityGroup",
        vpc=cluster.vpc,
        description=f"Tasks of {scope.node.path}",
        allow_all_outbound=False,
    )
    group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "AWS")
    service = ecs.FargateService(
        scope,
        "Service",
        service_name=service_name,
        cluster=cluster,
        task_definition=task,
        security_groups=[group],
        vpc_subnets=None if ours is None else ours.task_subnets,
        assign_public_ip=ours is not None and ours.network is Network.PUBLIC,
        desired_count=desired_count,
        min_healthy_percent=min_healthy_percent,
        max_healthy_percent=200,
        capacity_provider_strategies=(
            list(capacity_provider_strategies) if capacity_provider_strategies else None
        ),
        health_check_grace_period=health_check_grace_period,
        availability_zone_rebalancing=(
            ecs.AvailabilityZoneRebalancing.ENABLED if spread_again else None
        ),
        circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
        propagate_tags=ecs.PropagatedTagSource.SERVICE,
    )
    if tracing is not None:
        tracing.check(scope, cluster)
        if tracing.port != 443:  # noqa: PLR2004 - that of HTTPS, which is open
            group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(tracing.port), "Spans")
        calls = [*calls, *tracing.calls]
    if ours is not None:
        by_ecs = (AwsEndpoint.ECR, AwsEndpoint.ECR_DOCKER, AwsEndpoint.CLOUDWATCH_LOGS)
        ours.let_out(service, calls=[*by_ecs, *calls])
    return service
