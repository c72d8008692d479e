"""What tests of the admin service share: a stage with users and queues, and the service on it.

It runs as a real process with the credentials of a role that may do exactly what ``docs/admin.md``
lists, beside the API, on an emulator that enforces it. Tokens come from an issuer of the tests;
users are those of a pool of the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_stage import Stage, running_stage
from emulator import ACCOUNT, REGION, Emulator, Statement, allow

from media_platform.contract import table
from media_platform.contract.environment import AdminEnvironment
from media_platform.contract.identity import ADMIN_GROUP, GROUPS
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import EXPRESS, JOBS
from tests.unit.api.api_process import Answer, Api, running_api

OPERATORS = "operators"
ADMIN_ROLE = "admin"

QUEUES = (EXPRESS, JOBS, "webhook-deliveries")
DEAD_LETTERS = (JOBS, "webhook-deliveries")

DOCUMENTED_INDEXES = (
    table.TENANT_VIDEOS,
    table.TENANT_STATUS_VIDEOS,
    table.OWNER_VIDEOS,
    table.OWNER_STATUS_VIDEOS,
    table.IN_FLIGHT,
    table.UNPUBLISHED,
    table.DIRECTORY,
)


def documented_permissions(environment: AdminEnvironment) -> list[Statement]:
    """Return what ``docs/admin.md`` says the task role needs."""
    account = f"{REGION}:{ACCOUNT}"
    arn = f"arn:aws:dynamodb:{account}:table/{environment.table_name}"

    def queue(url: str) -> str:
        return f"arn:aws:sqs:{account}:{url.rpartition('/')[2]}"

    work = {name: queue(url) for name, url in environment.queue_urls.items()}
    dead = {name: queue(url) for name, url in environment.dead_letter_queue_urls.items()}
    return [
        allow(
            [
                "dynamodb:BatchGetItem",
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ],
            arn,
        ),
        allow(["dynamodb:Query"], *(f"{arn}/index/{index.name}" for index in DOCUMENTED_INDEXES)),
        allow(
            [
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
            ],
            f"arn:aws:cognito-idp:{account}:userpool/{environment.user_pool_id}",
        ),
        allow(["sqs:GetQueueAttributes"], *work.values(), *dead.values()),
        allow(["sqs:SendMessage"], work[EXPRESS], work[JOBS]),
        allow(["sqs:ChangeMessageVisibility", "sqs:ReceiveMessage"], *dead.values()),
        allow(["sqs:DeleteMessage"], dead[JOBS]),
    ]


@dataclass(frozen=True)
class Account:
    """A user of the pool, who calls the admin service."""

    api: Api
    username: str
    user: str
    tenant: str
    email: str
    token: str

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """Call the admin service with the user's token."""
        return self.api.call(method, f"/api/admin{path}", token=self.token, **options)

    def get(self, path: str) -> Any:
        """Return the body of what must be there."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer.content
        return answer.json


@dataclass(frozen=True)
class AdminStage:
    """A running admin service, and the stage that it administers."""

    stage: Stage
    admin: Api
    environment: AdminEnvironment

    def account(self, tenant: str, *groups: str) -> Account:
        """Make a user in the pool and a token for it; without groups, an administrator."""
        cognito, pool = self.emulator.client("cognito-idp"), self.environment.user_pool_id
        username = new_id()
        email = f"{username}@example.com"
        attributes = {"email": email, "email_verified": "true", "custom:tenant": tenant}
        made = cognito.admin_create_user(
            UserPoolId=pool,
            Username=username,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": n, "Value": v} for n, v in attributes.items()],
        )["User"]
        groups = groups or (ADMIN_GROUP,)
        for group in groups:
            cognito.admin_add_user_to_group(UserPoolId=pool, Username=username, GroupName=group)
        user = next(a["Value"] for a in made["Attributes"] if a["Name"] == "sub")
        token = self.stage.issuer.user(user, tenant, *groups)
        return Account(self.admin, username, user, tenant, email, token)

    @property
    def emulator(self) -> Emulator:
        """The emulator."""
        return self.stage.emulator

    def dead_letter(self, body: str, *, queue: str = JOBS, **attributes: str) -> str:
        """Put a message where something goes that failed for good, and return its id."""
        sent = self.emulator.client("sqs").send_message(
            QueueUrl=self.environment.dead_letter_queue_urls[queue],
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )
        return str(sent["MessageId"])


@contextmanager
def running_admin_stage(folder: Path, **changes: Any) -> Iterator[AdminStage]:
    """Start an emulator with a stage, the API and the admin service on it.

    Args:
        folder: Empty folder for state and logs.
        **changes: Other values of the environment of the API.
    """
    with running_stage(folder, **changes) as stage:
        environment = _make_environment(stage)
        credentials = task_credentials(
            stage.emulator, ADMIN_ROLE, documented_permissions(environment)
        )
        with running_api(environment, credentials, folder, module="media_api.admin") as admin:
            yield AdminStage(stage, admin, environment)


def task_credentials(emulator: Emulator, name: str, statements: list[Statement]) -> dict[str, str]:
    """Return the variables with which a task acts in a role that may do ``statements``."""
    role = emulator.role(
        name, "ecs-tasks.amazonaws.com", statements, stands_for="ApiAdminTaskTaskRole"
    )
    session = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="task")
    credentials = session["Credentials"]
    return {
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def _make_environment(stage: Stage) -> AdminEnvironment:
    cognito = stage.emulator.client("cognito-idp")
    pool = cognito.create_user_pool(
        PoolName="users",
        AliasAttributes=["email"],
        Schema=[{"Name": "tenant", "AttributeDataType": "String", "Mutable": True}],
    )["UserPool"]["Id"]
    for group in GROUPS:
        cognito.create_group(UserPoolId=pool, GroupName=group)

    def queue(name: str) -> str:
        return str(stage.emulator.client("sqs").create_queue(QueueName=name)["QueueUrl"])

    api = stage.environment
    return AdminEnvironment(
        stage=api.stage,
        home_region=api.home_region,
        table_name=api.table_name,
        token_issuer=api.token_issuer,
        token_jwks_url=api.token_jwks_url,
        token_client_id=api.token_client_id,
        user_pool_id=pool,
        operator_tenant=OPERATORS,
        queues=json.dumps({name: queue(name) for name in QUEUES}),
        dead_letter_queues=json.dumps({name: queue(f"dead-{name}") for name in DEAD_LETTERS}),
        purge_interval_minutes=15,
        cache_url=api.cache_url,
    )
