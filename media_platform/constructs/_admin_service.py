"""The admin service: a second service of the API's image, with a role of its own."""

from __future__ import annotations

import json

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from media_platform.constructs._http_service import HttpService
from media_platform.constructs._media_cluster import AwsEndpoint
from media_platform.constructs._tracing import Tracing
from media_platform.constructs._user_directory import UserDirectory
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs.transcode_pipeline import TranscodePipeline
from media_platform.contract import table
from media_platform.contract.environment import AdminEnvironment

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

_LOOKING_ACTIONS = [
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
]
"""A look at a dead letter receives it, and gives it back."""


class AdminService(HttpService):
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
        requests_per_minute: Requests of a task beyond which there are more tasks. Default: 60 % of
            what a task of its size bears.
        tracing: Where its spans go. Default: nowhere.

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
        requests_per_minute: int | None,
        tracing: Tracing | None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            cluster=cluster,
            name="admin",
            command=["python", "-m", "media_api.admin"],
            environment=environment.to_variables(),
            calls=[AwsEndpoint.SQS, AwsEndpoint.COGNITO_IDP],
            min_tasks=min_tasks,
            max_tasks=max_tasks,
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            requests_per_minute=requests_per_minute,
            tracing=tracing,
        )
        self._grant(store, users, pipeline)
        self._pipeline = pipeline
        self._seen: set[sqs.IQueue] = set()
        pipeline.tell_of_queues(self._look_into_queues)

    def _look_into_queues(self) -> None:
        """Let it see all queues that the pipeline has by now; scanners may be added later."""
        container = self.task.default_container
        assert container is not None  # noqa: S101 - a task has one
        role = self.task.task_role
        for variable, queues, actions in (
            ("QUEUES", self._pipeline.queues, ["sqs:GetQueueAttributes"]),
            ("DEAD_LETTER_QUEUES", self._pipeline.dead_letter_queues, _LOOKING_ACTIONS),
        ):
            urls = {name: queue.queue_url for name, queue in queues.items()}
            container.add_environment(variable, json.dumps(urls, sort_keys=True))
            for queue in queues.values():
                if queue not in self._seen:
                    self._seen.add(queue)
                    iam.Grant.add_to_principal(
                        grantee=role, actions=actions, resource_arns=[queue.queue_arn]
                    )

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
        for actions, resources in (
            (_USER_ACTIONS, [users.user_pool.user_pool_arn]),
            (("sqs:SendMessage",), job_queues),
            (("sqs:DeleteMessage",), [pipeline.dead_letter_queue.queue_arn]),
        ):
            iam.Grant.add_to_principal(grantee=role, actions=list(actions), resource_arns=resources)
