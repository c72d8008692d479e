"""What API tests share: a stage with table, buckets and keys, and the API as a real process.

The API runs with the credentials of a role that may do exactly what ``docs/api.md`` lists, on an
emulator that enforces it. Tokens come from an issuer of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import urllib3
from emulator import ACCOUNT, REGION, Emulator, Statement, allow, running_emulator

from media_platform.contract import table
from media_platform.contract import video as videos
from media_platform.contract.delivery import (
    DeliveryDocument,
    SigningKeyPair,
    delivery_parameter_name,
    signing_secret_name,
)
from media_platform.contract.environment import ApiEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.ids import new_id
from media_platform.contract.items import from_item
from media_platform.contract.object_keys import RunKeys
from media_platform.contract.run import Rendition, Run, RunStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus
from tests.unit.api.api_issuer import Issuer, serving_issuer
from tests.unit.api.api_process import Answer, Api, api_environment, running_api

STAGE = "test"
BASE_URL = "https://media.example"
UPLOAD_MAX_BYTES = 100_000

RENDITION = Rendition(height=720, width=1280, frames=50, bandwidth=3_000_000, codecs="avc1.64001f")

DOCUMENTED_INDEXES = (
    table.TENANT_VIDEOS,
    table.TENANT_STATUS_VIDEOS,
    table.OWNER_VIDEOS,
    table.OWNER_STATUS_VIDEOS,
    table.TAG_VIDEOS,
    table.WEBHOOK_DELIVERIES,
)


def documented_permissions(environment: ApiEnvironment) -> list[Statement]:
    """Return what ``docs/api.md`` says the task role needs."""
    account = f"{REGION}:{ACCOUNT}"
    arn = f"arn:aws:dynamodb:{account}:table/{environment.table_name}"
    secrets = signing_secret_name(STAGE, "*")
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
            ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"],
            f"arn:aws:s3:::{environment.raw_bucket}/raw/*",
        ),
        allow(["s3:ListBucket"], f"arn:aws:s3:::{environment.raw_bucket}"),
        allow(["s3:GetObject"], f"arn:aws:s3:::{environment.media_bucket}/media/*"),
        allow(["s3:ListBucket"], f"arn:aws:s3:::{environment.media_bucket}"),
        allow(["s3:PutObject"], f"arn:aws:s3:::{environment.raw_bucket}/thumbnails/*"),
        allow(
            ["ssm:GetParameter"], f"arn:aws:ssm:{account}:parameter{environment.delivery_parameter}"
        ),
        allow(
            ["secretsmanager:GetSecretValue"], f"arn:aws:secretsmanager:{account}:secret:{secrets}"
        ),
    ]


@dataclass(frozen=True)
class Person:
    """A user who calls the API."""

    api: Api
    user: str
    tenant: str
    token: str

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """Call the API with the user's token."""
        return self.api.call(method, path, token=self.token, **options)

    def create(self, **changes: Any) -> dict[str, Any]:
        """Create a video and return the answer."""
        body = {
            "title": "A film",
            "file_name": "film.mp4",
            "content_type": "video/mp4",
            "size_bytes": 17,
            **changes,
        }
        answer = self.call("POST", "/api/videos", body=body)
        assert answer.status == 201, answer.content
        return dict(answer.json)

    def new_video(self, **changes: Any) -> str:
        """Create a video and return its id."""
        return str(self.create(**changes)["video"]["video_id"])

    def listed(self, query: str = "") -> list[str]:
        """Return the ids of all pages of a list."""
        found: list[str] = []
        cursor = ""
        while True:
            answer = self.call("GET", f"/api/videos?{query}{cursor}")
            assert answer.status == 200, answer.content
            found += [video["video_id"] for video in answer.json["videos"]]
            if answer.json["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer.json['next_cursor']}"


@dataclass(frozen=True)
class Stage:
    """A running API and what it works on."""

    emulator: Emulator
    issuer: Issuer
    api: Api
    environment: ApiEnvironment
    variables: Mapping[str, str]
    folder: Path

    @contextmanager
    def other_process(self, endpoint: str | None = None) -> Iterator[Stage]:
        """Start the API once more.

        Args:
            endpoint: What it takes for the endpoint of AWS. Default: the emulator.
        """
        variables = {**self.variables, "AWS_ENDPOINT_URL": endpoint or self.emulator.endpoint}
        with running_api(self.environment, variables, self.folder) as api:
            yield replace(self, api=api)

    def person(self, user: str, tenant: str = "acme", *groups: str) -> Person:
        """Return a user; without groups, an editor."""
        token = self.issuer.user(user, tenant, *(groups or ("editor",)))
        return Person(self.api, user, tenant, token)

    def video(self, video_id: str) -> Video:
        """Return a video as the table holds it."""
        item = self.emulator.client("dynamodb").get_item(
            TableName=self.environment.table_name, Key=table.video_key(video_id).to_wire()
        )["Item"]
        return Video.from_item(item)

    def events(self, video_id: str) -> list[DomainEvent]:
        """Return the events of a video, in the order of their sequence."""
        items = self.emulator.client("dynamodb").query(
            TableName=self.environment.table_name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :start)",
            ExpressionAttributeValues={
                ":pk": {"S": table.video_partition(video_id)},
                ":start": {"S": table.EVENT_SORT_PREFIX},
            },
        )["Items"]
        events = [DomainEvent.from_json(from_item(item)[OUTBOX_BODY]) for item in items]
        return sorted(events, key=lambda event: event.sequence)

    def change(self, video_id: str, **changes: Any) -> Video:
        """Change a video as another part of the platform would."""
        change = videos.change(
            self.environment.table_name, self.video(video_id), region=REGION, **changes
        )
        self.emulator.client("dynamodb").transact_write_items(TransactItems=change.writes)
        return change.video

    def replace(self, video: Video) -> None:
        """Store a video in a state of which no part of the platform need be asked."""
        self.emulator.client("dynamodb").put_item(
            TableName=self.environment.table_name, Item=video.to_item()
        )

    def start_run(self, video_id: str, **values: Any) -> RunKeys:
        """Store the run of a video that is being transcoded, and return its keys."""
        run_id = new_id()
        video = replace(
            self.video(video_id), status=VideoStatus.PROCESSING, current_run=run_id, version=3
        )
        self.replace(video)
        run = Run(
            video_id=video_id,
            run_id=run_id,
            status=RunStatus.RUNNING,
            started_at=timestamp(),
            renditions=(RENDITION,),
            **values,
        )
        self.put_run(run)
        return RunKeys(video.home_region, video.tenant, video_id, run_id)

    def put_run(self, run: Run) -> None:
        """Store a run."""
        self.emulator.client("dynamodb").put_item(
            TableName=self.environment.table_name, Item=run.to_item()
        )

    def publish(self, key: str, text: str) -> None:
        """Put a text into the media bucket."""
        self.emulator.client("s3").put_object(
            Bucket=self.environment.media_bucket, Key=key, Body=text.encode()
        )

    def deliver(self, pair: SigningKeyPair, *, slot: str = "a", key_pair_id: str = "KA") -> None:
        """Deploy a signing key and the delivery document, as the Edge stack does."""
        put_delivery(self.emulator, pair, slot=slot, key_pair_id=key_pair_id)


def put_delivery(
    emulator: Emulator,
    pair: SigningKeyPair,
    *,
    slot: str,
    key_pair_id: str,
    others: Mapping[str, str] | None = None,
) -> None:
    """Write a signing key and a delivery document that names it, and other keys by their slot."""
    name = signing_secret_name(STAGE, slot)
    emulator.client("secretsmanager").create_secret(Name=name, SecretString=pair.to_json())
    document = DeliveryDocument(
        base_url=BASE_URL,
        key_pair_id=key_pair_id,
        signing_secret=name,
        other_secrets={
            other: signing_secret_name(STAGE, slot) for other, slot in (others or {}).items()
        },
    )
    emulator.client("ssm").put_parameter(
        Name=delivery_parameter_name(STAGE),
        Value=document.to_json(),
        Type="String",
        Overwrite=True,
    )


@contextmanager
def running_stage(folder: Path, **changes: Any) -> Iterator[Stage]:
    """Start an emulator with a stage, and the API on it.

    Args:
        folder: Empty folder for state and logs.
        **changes: Other values of the environment of the API.
    """
    with running_emulator(folder) as emulator, serving_issuer() as issuer:
        values = {"upload_max_bytes": UPLOAD_MAX_BYTES, **changes}
        environment = api_environment(home_region=REGION, token_jwks_url=issuer.url, **values)
        emulator.table(environment.table_name)
        for bucket in (environment.raw_bucket, environment.media_bucket):
            emulator.client("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        statements = documented_permissions(environment)
        role = emulator.role(
            "api", "ecs-tasks.amazonaws.com", statements, stands_for="ApiTaskTaskRole"
        )
        session = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="task")
        credentials = session["Credentials"]
        variables = {
            "AWS_ENDPOINT_URL": emulator.endpoint,
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }
        with running_api(environment, variables, folder) as api:
            yield Stage(emulator, issuer, api, environment, variables, folder)


def send(method: str, url: str, *, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    """Send a request to S3 with exactly these headers and return the status."""
    return urllib3.request(
        method, url, body=body, headers=headers or {}, retries=False, redirect=False, timeout=20
    ).status
