"""A bare emulator for tests of single functions: no templates, no runner, IAM enforced.

Where the whole stage is needed, tests use the ``plane`` fixture. Here every test builds the little
that its function touches, with a role that may do exactly what the function's module documents.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from template_grants import check_granted
from waiting import eventually

from media_platform import assets
from media_platform.contract import table
from mediactl.local import processes
from mediactl.local.aws import keep_address
from mediactl.local.emulator_process import start_emulator
from mediactl.local.state import DEFAULT_FOLDER, StateFolder

ACCOUNT = "000000000000"
REGION = "eu-central-1"
OTHER_REGION = "us-west-2"
STRANGE_REGION = "ap-southeast-2"
"""A region that no stage has."""

VENVS = Path(__file__).parents[2] / DEFAULT_FOLDER / "venvs"
"""Virtual environments by lock file, shared with the local plane."""

Statement = dict[str, Any]


_MAKING_CLIENTS = threading.Lock()


@functools.lru_cache(maxsize=64)
def _client(endpoint: str, service: str, region: str) -> Any:
    """Return the client of all who ask: to make one takes longer than most calls."""
    client = boto3.client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            max_pool_connections=32,
        ),
    )
    keep_address(client)
    return client


@dataclass(frozen=True)
class Emulator:
    """A running emulator, and short ways to make what a function needs.

    Attributes:
        endpoint: Endpoint of all AWS APIs.
        calls_file: File with the calls of roles.
        control: Calls its control door.
    """

    endpoint: str
    calls_file: Path
    control: Callable[..., Any]

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a client with every right; errors are not retried, so that tests see them."""
        with _MAKING_CLIENTS:
            return _client(self.endpoint, service, region)

    def role(
        self, name: str, service: str, statements: Sequence[Statement], *, stands_for: str = ""
    ) -> str:
        """Create a role and return its ARN.

        Args:
            name: Its name.
            service: Who assumes it.
            statements: What it may do.
            stands_for: The role of the templates that may do the same: see
                :func:`template_grants.check_granted`. Default: none.
        """
        if stands_for:
            check_granted(stands_for, statements)
        iam = self.client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy([trust]))
        if statements:
            iam.put_role_policy(
                RoleName=name, PolicyName="documented", PolicyDocument=_policy(statements)
            )
        return str(role["Role"]["Arn"])

    def function(
        self,
        name: str,
        service: assets.Service,
        handler: str,
        statements: Sequence[Statement],
        *,
        environment: Mapping[str, str] | None = None,
        region: str = REGION,
        timeout_seconds: int = 60,
    ) -> str:
        """Deploy a function from its build context, and return its ARN."""
        role = self.role(
            f"{name}-{region}",
            "lambda.amazonaws.com",
            [
                allow(
                    ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                    f"arn:aws:logs:{region}:{ACCOUNT}:*",
                ),
                *statements,
            ],
        )
        check_granted(handler, statements)
        client = self.client("lambda", region)
        made = client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler=handler,
            Role=role,
            Code={"ZipFile": _zip(assets.build_context(service))},
            Timeout=timeout_seconds,
            Environment={"Variables": dict(environment or {})},
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return str(made["FunctionArn"])

    def invoke(self, name: str, event: Mapping[str, Any], region: str = REGION) -> Any:
        """Invoke a function and return its answer.

        Raises:
            FunctionError: If the function raised.
        """
        answer = self.client("lambda", region).invoke(
            FunctionName=name, Payload=json.dumps(event).encode()
        )
        content = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise FunctionError(f"{content.get('errorType')}: {content.get('errorMessage')}")
        return content

    def table(self, name: str, *, replicas: Sequence[str] = ()) -> str:
        """Create the platform's table with a stream and return the ARN of the table."""
        client = self.client("dynamodb")
        keys = {key for i in table.INDEXES for key in (i.partition_key, i.sort_key)}
        keys |= {table.PARTITION_KEY, table.SORT_KEY}
        made = client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": key, "AttributeType": "S"} for key in sorted(keys)
            ],
            KeySchema=_key_schema(table.PARTITION_KEY, table.SORT_KEY),
            GlobalSecondaryIndexes=[
                {
                    "IndexName": index.name,
                    "KeySchema": _key_schema(index.partition_key, index.sort_key),
                    "Projection": {"ProjectionType": "ALL"},
                }
                for index in table.INDEXES
            ],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        for region in replicas:
            client.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": region}}])
        return str(made["TableDescription"]["TableArn"])

    def stream(self, table_name: str, region: str = REGION) -> str:
        """Return the ARN of a table's stream."""
        described = self.client("dynamodb", region).describe_table(TableName=table_name)
        return str(described["Table"]["LatestStreamArn"])

    def stream_records(self, table_name: str, region: str = REGION) -> list[dict[str, Any]]:
        """Return everything in a table's stream, in the form in which Lambda passes it on."""
        client = self.client("dynamodbstreams", region)
        arn = self.stream(table_name, region)
        records: list[dict[str, Any]] = []
        for shard in client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            iterator = client.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            records += client.get_records(ShardIterator=iterator)["Records"]
        return json.loads(json.dumps(records, default=str))  # type: ignore[no-any-return]

    def messages(self, queue_url: str) -> list[dict[str, Any]]:
        """Take what is in a queue, without waiting."""
        answer = self.client("sqs").receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        for message in found:
            self.client("sqs").delete_message(
                QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
        return found

    def settle(self) -> None:
        """Wait until nothing is under way from one region to another."""
        eventually(
            lambda: not any(way["parcels"] for way in self.control("waiting")) or None,
            "what was written reaches all regions",
        )

    def denied(self) -> list[dict[str, Any]]:
        """Return every call of a role that its policies did not allow."""
        if not self.calls_file.exists():
            return []
        calls = [json.loads(line) for line in self.calls_file.read_text().splitlines()]
        return [call for call in calls if not call["allowed"]]


class FunctionError(Exception):
    """A function raised; the message names the error."""


def allow(actions: Sequence[str], *resources: str) -> Statement:
    """Return a statement of a policy."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


@contextlib.contextmanager
def running_emulator(folder: Path) -> Iterator[Emulator]:
    """Start an emulator of its own on a free port, and stop it in the end.

    Args:
        folder: Empty folder for its state and its log.
    """
    state = StateFolder(folder)
    state.venvs = VENVS
    state.create()
    started = start_emulator(state)
    try:
        yield Emulator(started.url, state.calls_file, started.control)
    finally:
        processes.stop(state.processes, processes.records(state.processes), grace_seconds=0)


def _zip(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return content.getvalue()


def _policy(statements: Sequence[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _key_schema(partition_key: str, sort_key: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition_key, "KeyType": "HASH"},
        {"AttributeName": sort_key, "KeyType": "RANGE"},
    ]
