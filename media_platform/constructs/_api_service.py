"""The service of the video API, and what it may do."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._http_service import HttpService
from media_platform.constructs._media_cluster import AwsEndpoint
from media_platform.constructs._tracing import Tracing
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table
from media_platform.contract.delivery import SLOTS, signing_secret_name
from media_platform.contract.environment import ApiEnvironment

_SECRET_SUFFIX = "-??????"  # noqa: S105  what Secrets Manager adds to a name in an ARN
_LISTED_INDEXES = (
    table.TENANT_VIDEOS,
    table.TENANT_STATUS_VIDEOS,
    table.OWNER_VIDEOS,
    table.OWNER_STATUS_VIDEOS,
    table.TAG_VIDEOS,
    table.WEBHOOK_DELIVERIES,
)


class ApiService(HttpService):
    """The service of the video API.

    Args:
        scope: Parent.
        construct_id: Id in it.
        cluster: Cluster that it runs in.
        store: Store of this region.
        environment: Its variables, complete.
        calls: The services of AWS from which it has the keys of tokens.
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
        environment: ApiEnvironment,
        calls: Sequence[AwsEndpoint],
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
            name=Service.API.value,
            command=["python", "-m", "media_api"],
            environment=environment.to_variables(),
            calls=[AwsEndpoint.SSM, AwsEndpoint.SECRETS_MANAGER, *calls],
            min_tasks=min_tasks,
            max_tasks=max_tasks,
            cpu_units=cpu_units,
            memory_mebibytes=memory_mebibytes,
            requests_per_minute=requests_per_minute,
            tracing=tracing,
        )
        self._grant(store, environment)

    def _grant(self, store: VideoStoreBase, environment: ApiEnvironment) -> None:
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
        # Who changes a video does so in the region that is home to it.
        store.grant_use_replicas(
            role,
            regions=[
                region for region in environment.region_names if region != cdk.Stack.of(self).region
            ],
            actions=[
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
            ],
        )
        store.grant_upload(role)
        store.grant_upload_pictures(role)
        store.grant_read_published(role)
        stack = cdk.Stack.of(self)
        parameter = stack.format_arn(
            service="ssm",
            resource="parameter",
            resource_name=environment.delivery_parameter.removeprefix("/"),
        )
        secrets = [
            stack.format_arn(
                service="secretsmanager",
                resource="secret",
                resource_name=f"{signing_secret_name(environment.stage, slot)}{_SECRET_SUFFIX}",
                arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
            )
            for slot in SLOTS
        ]
        for action, resources in (
            ("ssm:GetParameter", [parameter]),
            ("secretsmanager:GetSecretValue", secrets),
        ):
            iam.Grant.add_to_principal(grantee=role, actions=[action], resource_arns=resources)
        accept_wildcards(
            role,
            Accepted.API_OBJECTS,
            store.raw_objects_arn,
            store.pictures_arn,
            store.media_objects_arn,
        )
