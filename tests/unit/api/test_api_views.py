"""Views are added exactly once, whatever becomes of requests and answers.

The table is one that knows the token of a transaction, as DynamoDB does and the emulator does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum, auto
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from media_api.views import Views
from media_platform.contract import table
from media_platform.contract.items import from_wire
from media_platform.contract.views import view_keys

REGION = "eu-central-1"
VIDEOS = [f"video-{number}" for number in range(60)]


class Fault(Enum):
    """What becomes of a request."""

    LOST_REQUEST = auto()
    LOST_ANSWER = auto()
    CANCELLED = auto()
    REFUSED = auto()


class Table:
    """The counters, and the tokens of the transactions that were made."""

    def __init__(self) -> None:
        self.views: Counter[str] = Counter()
        self.tokens: dict[str, Any] = {}
        self.fault: Fault | None = None

    async def transact_write_items(self, **request: Any) -> None:
        fault, self.fault = self.fault, None
        items, token = request["TransactItems"], request["ClientRequestToken"]
        assert 0 < len(items) <= 100
        match fault:
            case Fault.LOST_REQUEST:
                raise ReadTimeoutError(endpoint_url="https://dynamodb")
            case Fault.CANCELLED if token not in self.tokens:
                raise _error("TransactionCanceledException")
            case Fault.REFUSED:
                raise _error("ProvisionedThroughputExceededException")
        if token not in self.tokens:
            self.tokens[token] = items
            for item in items:
                update = item["Update"]
                (views,) = update["ExpressionAttributeValues"].values()
                self.views[update["Key"]["pk"]["S"]] += from_wire(views)
        assert self.tokens[token] == items
        if fault is Fault.LOST_ANSWER:
            raise ReadTimeoutError(endpoint_url="https://dynamodb")

    def of(self, video_id: str) -> int:
        return sum(self.views[key.pk] for key in view_keys(video_id, [REGION]))


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "TransactWriteItems")


@given(st.lists(st.sampled_from(VIDEOS) | st.sampled_from(Fault) | st.none(), max_size=80))
def test_every_view_is_added_once(steps: list[str | Fault | None]) -> None:
    """Count the video of a step, or flush and let it meet a fault, if the step has one."""
    counters, counted = Table(), Counter[str]()
    views = Views(counters, "videos", region=REGION, regions=[REGION])

    async def run() -> None:
        for step in steps:
            if isinstance(step, str):
                views.count("acme", step)
                counted[step] += 1
            else:
                counters.fault = step
                await views.flush()
                assert all(counters.of(video) <= counted[video] for video in VIDEOS)
        counters.fault = None
        await views.flush()

    asyncio.run(run())
    assert {video: counters.of(video) for video in VIDEOS} == {v: counted[v] for v in VIDEOS}
    assert counters.views[table.tenant_key("acme").pk] == counted.total()


def test_what_was_counted_is_added_in_the_end() -> None:
    counters = Table()
    views = Views(counters, "videos", region=REGION, regions=[REGION])

    async def run() -> None:
        async with views.adding():
            for video in VIDEOS:
                views.count("acme", video)

    asyncio.run(run())
    assert {counters.of(video) for video in VIDEOS} == {1}


def test_counters_are_those_of_every_region_and_shard() -> None:
    keys = view_keys("v", ["eu-central-1", "us-west-2"])
    assert len(set(keys)) == 2 * table.SHARDS
    assert table.view_counter_key("v", "us-west-2", table.SHARDS - 1) in keys
