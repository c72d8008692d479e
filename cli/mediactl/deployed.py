"""What is deployed where: stacks of an environment, and what they consist of."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from media_platform.contract import table
from media_platform.contract.outputs import MediaOutput, StackPart, stack_name
from mediactl.environment import CLOUDFRONT_REGION

if TYPE_CHECKING:
    from mediactl.environment import Environment

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

SUBSCRIPTIONS = "subscriptions"
"""What a queue of dead letters of the topic is called; several have numbers."""

BATCH = 10
"""Most messages of one call (Amazon SQS and SNS API References, "PublishBatch" and others)."""

_BATCH_BYTES = 200_000
"""Most bytes of bodies of one call; SNS takes 256 KiB with attributes, SQS a MiB."""

SIDE_BY_SIDE = 8
"""Calls to one region that are made at a time."""

_PAUSE_SECONDS = 0.2
"""Pause before asking for what a table left out because it was asked for too much."""

_HASH = re.compile(r"[0-9A-F]{8}$")
_NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OUTER = ("Transcode", "Api")
"""Ids of the constructs around most others, which tell people nothing."""


@dataclass(frozen=True)
class Resource:
    """A resource of a stack.

    Attributes:
        name: What people call it, made from its logical id, e.g. ``workers``.
        physical_id: Its name or ARN in AWS.
    """

    name: str
    physical_id: str


def regions_of(environment: Environment) -> tuple[str, ...]:
    """Return all regions in which stacks of a stage may stand, that of the Edge stack last."""
    return tuple(dict.fromkeys([*environment.regions, CLOUDFRONT_REGION]))


def resources(
    environment: Environment, part: StackPart, region: str, kind: str, *endings: str
) -> list[Resource]:
    """Return the resources of a kind in a stack; none if it does not stand there.

    Args:
        environment: The environment.
        part: The stack.
        region: Its region.
        kind: Their type in CloudFormation.
        *endings: Last words of their logical ids that tell people nothing.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to import

    pages = environment.client("cloudformation", region).get_paginator("list_stack_resources")
    found = []
    try:
        for page in pages.paginate(StackName=stack_name(environment.stage, part)):
            found += [
                Resource(
                    friendly_name(one["LogicalResourceId"], *endings), one["PhysicalResourceId"]
                )
                for one in page["StackResourceSummaries"]
                # One that failed to be made has no physical id.
                if one["ResourceType"] == kind and one.get("PhysicalResourceId")
            ]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return []
        raise
    return found


def friendly_name(logical_id: str, *endings: str) -> str:
    """Return what people call a resource, made from its logical id.

    >>> friendly_name("TranscodeWorkersTaskLogsC6F0EC41", "Logs", "Task")
    'workers'
    """
    words = _HASH.sub("", logical_id)
    for ending in endings:
        words = words.removesuffix(ending)
    for outer in _OUTER:
        inner = words.removeprefix(outer)
        if inner and inner != words:
            words = inner
            break
    return _NEW_WORD.sub("-", words).lower()


def queue_urls(environment: Environment, region: str) -> dict[str, str]:
    """Return the URLs of the queues of work of a region, by what they are called."""
    urls: dict[str, str] = json.loads(environment.output(MediaOutput.QUEUE_URLS, region))
    return urls


def dead_letter_urls(environment: Environment, region: str) -> dict[str, str]:
    """Return the URLs of the queues of what failed for good in a region, by what they are called.

    Those of the topic, with events that a subscribed queue did not take, are found by what they
    are: whoever subscribes a queue has one.
    """
    urls: dict[str, str] = json.loads(
        environment.output(MediaOutput.DEAD_LETTER_QUEUE_URLS, region)
    )
    queues = resources(environment, StackPart.MEDIA, region, "AWS::SQS::Queue", "DeadLetters")
    left = [one for one in queues if "subscription" in one.name]
    for number, one in enumerate(left, start=1):
        urls[SUBSCRIPTIONS if len(left) == 1 else f"{SUBSCRIPTIONS}-{number}"] = one.physical_id
    return urls


def side_by_side(call: Callable[[Asked], Answer], asked: Iterable[Asked]) -> list[Answer]:
    """Return the answers to calls that are made a few at a time, in the order of the questions."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    try:
        return list(pool.map(call, asked))
    finally:
        # Whoever is interrupted need not wait for the answers; threads end before the process does.
        pool.shutdown(wait=False, cancel_futures=True)


def batches(things: Iterable[Asked], length: Callable[[Asked], str]) -> Iterator[list[Asked]]:
    """Yield things as many at a time as one call of SQS or SNS takes.

    Args:
        things: What is sent.
        length: Returns what is sent of one.
    """
    batch: list[Asked] = []
    size = 0
    for thing in things:
        more = len(length(thing).encode(errors="replace"))
        if batch and (len(batch) == BATCH or size + more > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(thing)
        size += more
    if batch:
        yield batch


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its word: ``1 job``, ``2 jobs``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def shard_query(table_name: str, index: table.Index, partition: str) -> dict[str, Any]:
    """Return the arguments of the ``Query`` for a partition of an index.

    Args:
        table_name: The table.
        index: The index.
        partition: Value of its partition key.
    """
    return {
        "TableName": table_name,
        "IndexName": index.name,
        "KeyConditionExpression": "#partition = :partition",
        "ExpressionAttributeNames": {"#partition": index.partition_key},
        "ExpressionAttributeValues": {":partition": {"S": partition}},
    }


def in_flight(client: Any, table_name: str, region: str) -> Iterator[dict[str, Any]]:
    """Yield the items of the videos that wait for a worker of a region, or are with one.

    Args:
        client: A client of DynamoDB, of any region: each has the videos of all.
        table_name: The table.
        region: Home region of the videos.
    """
    for shard in range(table.SHARDS):
        partition = table.in_flight_of_shard(region, shard)
        pages = client.get_paginator("query").paginate(
            **shard_query(table_name, table.IN_FLIGHT, partition)
        )
        for page in pages:
            yield from page["Items"]


def items_by_key(
    client: Any, table_name: str, keys: Iterable[dict[str, dict[str, str]]]
) -> list[dict[str, Any]]:
    """Return those items of a table that exist, read a hundred at a time."""
    left = list(keys)
    found: list[dict[str, Any]] = []
    while left:
        asked, left = left[:100], left[100:]
        answer = client.batch_get_item(RequestItems={table_name: {"Keys": asked}})
        found += answer["Responses"].get(table_name, [])
        throttled = answer.get("UnprocessedKeys", {}).get(table_name, {}).get("Keys", [])
        if throttled:
            time.sleep(_PAUSE_SECONDS)
            left += throttled
    return found
