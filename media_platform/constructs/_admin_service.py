"""The admin service: a second service of the API's image, with a role of its own."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._checks import reject
from media_platform.constructs._fargate_task import fargate_task
from media_platform.constructs._user_directory import UserDirectory
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs.transcode_pipeline import TranscodePipeline
from media_platform.contract import table
from media_platform.contract.environment import API_PORT, AdminEnvironment

_STOP_TIMEOUT = cdk.Duration.seconds(30)
_CPU_TARGET_PERCENT = 60
_LISTED_INDEXES = (
    table.TENANT_VIDEOS,
    table.TENANT_STATUS_VIDEOS,
    table.OWNER_VIDEOS,
    table.OWNER_STATUS_VIDEOS,
    table.IN_FLIGHT,
    table.UNPUBLISHED,
    table.DIRECTORY,
)
_USER_ACTIONS = (
    "cognito-idp:AdminAddUserToGroup",
    "cognito-idp:AdminCreateUser",
    "cognito-idp:AdminDisableUser",
    "cognito-idp:AdminEnableUser",
    "cognito-idp:AdminGetUser",
    "cognito-idp:AdminListGroupsForUser",
    "cognito-idp:AdminRemoveUserFromGroup",
    "cognito-idp:AdminUserGlobalSignOut",
    "cognito-idp:ListUsers",
    "cognito-idp:ListUsersInGroup",
)


class AdminService(Construct):
    """The service behind ``/api/admin/*``.

    It alone may change users, see every tenant and look into the queues; the API, which takes what
    the world sends, may do none of it.

    Args:
        scope: Parent.
        construct_id: Id in it.
        cluster: Cluster that it runs in.
        store: Store of this region.
        users: The users that it administers.
        pipeline: The pipeline whose queues it looks into.
        environment: Its variables, complete.
        min_tasks: Fewest tasks.
        max_tasks: Most tasks.
        cpu_units: 1024 for one virtual CPU.
        memory_mebibytes: Memory.

    Attributes:
        service: The ECS service.
        task: Its task definition.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: ecs.ICluster,
        store: VideoStoreBase,
        users: UserDirectory,
        pipeline: TranscodePipeline,
        environment: AdminEnvironment,
        min_tasks: int,
        max_tasks: int,
        cpu_units: int,
        memory_mebibytes: int,
    ) -> None:
        super().__init__(scope, construct_id)
        if not 1 <= min_tasks <= max_tasks:
            raise reject(
                self,
                f"min_tasks is {min_tasks} and max_tasks {max_tasks}, allowed is "
                "1 <= min_tasks <= max_tasks; leave the service out to have none",
            )
        self.task = fargate_task(
            self,
            "Task",
            service=Service.API,
            name="admin",
            command=["python", "-m", "media_api.admin"],
            environment=environment.to_variables(),
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            port=API_PORT,
            stop_timeout=_STOP_TIMEOUT,
        )
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=self.task,
            desired_count=min_tasks,
            min_healthy_percent=100,
            max_healthy_percent=200,
            health_check_grace_period=cdk.Duration.seconds(30),
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )
        scaling = self.service.auto_scale_task_count(min_capacity=min_tasks, max_capacity=max_tasks)
        scaling.scale_on_cpu_utilization("Cpu", target_utilization_percent=_CPU_TARGET_PERCENT)
        self._grant(store, users, pipeline)

    def _grant(
        self, store: VideoStoreBase, users: UserDirectory, pipeline: TranscodePipeline
    ) -> None:
        role = self.task.task_role
        store.grant_use_table(
            role,
            actions=[
                "dynamodb:BatchGetItem",
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ],
            indexes=_LISTED_INDEXES,
        )
        job_queues = [pipeline.express_queue.queue_arn, pipeline.job_queue.queue_arn]
        dead_letters = [pipeline.dead_letter_queue.queue_arn]
        for actions, resources in (
            (_USER_ACTIONS, [users.user_pool.user_pool_arn]),
            (("sqs:GetQueueAttributes",), [*job_queues, *dead_letters]),
            (("sqs:SendMessage",), job_queues),
            (
                ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"),
                dead_letters,
            ),
        ):
            iam.Grant.add_to_principal(grantee=role, actions=list(actions), resource_arns=resources)
