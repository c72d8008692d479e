"""The queues of a stage, and what failed for good: jobs, scans, webhooks, turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from media_api.problems import Kind, Problem, invalid
from media_platform.contract import table
from media_platform.contract.jobs import DEAD_LETTER_REASON, EXPRESS, JOBS, START, TranscodeJob
from media_platform.contract.times import timestamp
from media_platform.contract.tracing import TRACEPARENT

PEEK_MAX_LETTERS = 100
"""Most dead letters that one look shows."""

HELD_SECONDS = 30
"""Time for which a look hides a dead letter from others, should it not give it back."""

_BATCH = 10
"""Most messages of one call (Amazon SQS API Reference, "ReceiveMessage")."""

_WAIT_SECONDS = 1
"""Waiting makes SQS ask all its servers; without, a look misses messages of short queues."""

_SEARCHED_LETTERS = 1000
"""Dead letters through which one is looked for by its id, since SQS finds none by it."""

_NO_REASON = "put back by an operator"


@dataclass(frozen=True)
class QueueDepth:
    """How much is in a queue.

    Attributes:
        name: What the queue is for.
        visible: Messages that wait, as SQS estimates it.
        in_flight: Messages that are worked on.
        delayed: Messages that are not to be seen yet.
    """

    name: str
    visible: int
    in_flight: int
    delayed: int


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message that failed for good.

    Attributes:
        message_id: Its id in the queue.
        receipt: What it is deleted by.
        body: What it says.
        reason: Why it failed, if a worker said so.
        trace: Its trace, if it has one.
        sent_at: Time at which it came here (RFC 3339, UTC).
        looks: How often it was looked at.
        job: The job, if it is one.
    """

    message_id: str
    receipt: str
    body: str
    reason: str | None
    trace: str | None
    sent_at: str
    looks: int
    job: TranscodeJob | None


class JobQueues:
    """Data access: the queues.

    Args:
        client: An SQS client.
        queues: URLs of the queues of work by name, :data:`jobs.EXPRESS` and ``JOBS`` among them.
        dead_letter_queues: URLs of the queues of what failed for good by name, ``JOBS`` among them.

    Attributes:
        dead_letter_queues: As given.
    """

    def __init__(
        self, client: Any, *, queues: Mapping[str, str], dead_letter_queues: Mapping[str, str]
    ) -> None:
        self._client = client
        self._queues = queues
        self.dead_letter_queues = dead_letter_queues

    async def depths(self) -> tuple[list[QueueDepth], list[QueueDepth]]:
        """Return how much is in each queue of work, and in each of what failed for good."""
        work = [self._depth(name, url) for name, url in self._queues.items()]
        failed = [self._depth(name, url) for name, url in self.dead_letter_queues.items()]
        found = await asyncio.gather(*work, *failed)
        return found[: len(work)], found[len(work) :]

    async def _depth(self, name: str, url: str) -> QueueDepth:
        answer = await self._client.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesDelayed",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )
        found = answer["Attributes"]
        return QueueDepth(
            name=name,
            visible=int(found["ApproximateNumberOfMessages"]),
            in_flight=int(found["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(found["ApproximateNumberOfMessagesDelayed"]),
        )

    async def take(self, name: str) -> list[DeadLetter]:
        """Return up to ten dead letters, which others do not see for :data:`HELD_SECONDS`."""
        answer = await self._client.receive_message(
            QueueUrl=self.dead_letter_queues[name],
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=HELD_SECONDS,
            WaitTimeSeconds=_WAIT_SECONDS,
            MessageAttributeNames=[DEAD_LETTER_REASON, TRACEPARENT],
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        return [_letter(message) for message in answer.get("Messages", ())]

    async def give_back(self, name: str, letters: list[DeadLetter]) -> None:
        """Let others see dead letters again at once."""
        for start in range(0, len(letters), _BATCH):
            await self._client.change_message_visibility_batch(
                QueueUrl=self.dead_letter_queues[name],
                Entries=[
                    {"Id": str(n), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                    for n, letter in enumerate(letters[start : start + _BATCH])
                ],
            )

    async def put_back(self, letter: DeadLetter, job: TranscodeJob) -> None:
        """Send a dead letter to the queue it came from, then delete it.

        Whoever dies in between leaves it twice, which is harmless: jobs may come again. It always
        has a reason, since that is what tells workers that an operator wants it.
        """
        attributes = {DEAD_LETTER_REASON: letter.reason or _NO_REASON, TRACEPARENT: letter.trace}
        await self._client.send_message(
            QueueUrl=self._queues[EXPRESS if job.part == START else JOBS],
            MessageBody=letter.body,
            # As workers send jobs: those of one tenant do not hold up those of others.
            MessageGroupId=job.tenant,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
                if value
            },
        )
        await self._client.delete_message(
            QueueUrl=self.dead_letter_queues[JOBS], ReceiptHandle=letter.receipt
        )


@dataclass(frozen=True)
class Work:
    """What is being done in a region.

    Attributes:
        queues: How much is in each queue of work.
        dead_letters: How much failed for good, by where.
        videos_in_flight: Videos that wait for a worker or are transcoded.
        events_unpublished: Events that were not published yet.
    """

    queues: list[QueueDepth]
    dead_letters: list[QueueDepth]
    videos_in_flight: int
    events_unpublished: int


class Jobs:
    """What operators see of jobs, and what they may do.

    Args:
        queues: The queues.
        dynamodb: A DynamoDB client.
        table_name: The table.
        region: The region.
    """

    def __init__(self, queues: JobQueues, dynamodb: Any, table_name: str, *, region: str) -> None:
        self._queues = queues
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._region = region

    async def work(self) -> Work:
        """Return what is being done."""
        (queues, failed), videos, events = await asyncio.gather(
            self._queues.depths(),
            self._count(table.IN_FLIGHT, table.in_flight_of_shard),
            self._count(table.UNPUBLISHED, table.unpublished_of_shard),
        )
        return Work(queues, failed, videos, events)

    async def dead_letters(self, name: str, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first, and leave them where they are.

        Args:
            name: What their queue is called.
            limit: Most of them.

        Raises:
            Problem: If there is no such queue.
        """
        if name not in self._queues.dead_letter_queues:
            raise invalid(
                "query.queue",
                f"there is no {name!r}; name one of {', '.join(self._queues.dead_letter_queues)}",
            )
        seen: dict[str, DeadLetter] = {}
        try:
            while len(seen) < limit:
                taken = {letter.message_id: letter for letter in await self._queues.take(name)}
                known = taken.keys() <= seen.keys()
                seen |= taken
                if known:
                    break
        finally:
            await self._queues.give_back(name, [*seen.values()])
        return sorted(seen.values(), key=lambda letter: letter.sent_at)[:limit]

    async def redrive(self, message_id: str) -> DeadLetter:
        """Put a dead letter back into its queue, for workers to try again.

        Raises:
            Problem: If there is none with this id, or it is no job.
        """
        others: dict[str, DeadLetter] = {}
        letter: DeadLetter | None = None
        try:
            while letter is None and len(others) < _SEARCHED_LETTERS:
                taken = {found.message_id: found for found in await self._queues.take(JOBS)}
                letter = taken.pop(message_id, None)
                known = taken.keys() <= others.keys()
                others |= taken
                if known:
                    break
            if letter is None:
                raise Problem(
                    Kind.DEAD_LETTER_NOT_FOUND,
                    f"no dead letter has the id {message_id}, or somebody looks at it just now; "
                    f"list them, or try again in {HELD_SECONDS} s",
                )
            if letter.job is None:
                others[message_id] = letter
                raise Problem(
                    Kind.NOT_REDRIVABLE,
                    f"dead letter {message_id} is no transcode job, so no worker can do it; "
                    "delete it with the tools of SQS",
                )
            await self._queues.put_back(letter, letter.job)
        finally:
            await self._queues.give_back(JOBS, [*others.values()])
        return letter

    async def _count(self, index: table.Index, of_shard: Callable[[str, int], str]) -> int:
        """Return how many items a sparse index holds of this region."""
        counts = await asyncio.gather(
            *(
                self._count_partition(index, of_shard(self._region, number))
                for number in range(table.SHARDS)
            )
        )
        return sum(counts)

    async def _count_partition(self, index: table.Index, partition: str) -> int:
        count = 0
        start: dict[str, Any] = {}
        while True:
            answer = await self._dynamodb.query(
                TableName=self._table_name,
                IndexName=index.name,
                KeyConditionExpression="#partition = :partition",
                ExpressionAttributeNames={"#partition": index.partition_key},
                ExpressionAttributeValues={":partition": {"S": partition}},
                Select="COUNT",
                **start,
            )
            count += int(answer["Count"])
            if "LastEvaluatedKey" not in answer:
                return count
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _letter(message: Mapping[str, Any]) -> DeadLetter:
    attributes = message.get("MessageAttributes", {})
    system = message.get("Attributes", {})
    sent_at = datetime.fromtimestamp(int(system.get("SentTimestamp", 0)) / 1000, UTC)
    try:
        job = TranscodeJob.from_json(message["Body"])
    except ValueError:
        job = None
    return DeadLetter(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        reason=attributes.get(DEAD_LETTER_REASON, {}).get("StringValue"),
        trace=attributes.get(TRACEPARENT, {}).get("StringValue"),
        sent_at=timestamp(sent_at),
        looks=int(system.get("ApproximateReceiveCount", 0)),
        job=job,
    )
