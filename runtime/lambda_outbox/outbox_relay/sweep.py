"""The function that EventBridge calls every few minutes, to find events that were left.

Handler ``outbox_relay.sweep.handle``; environment
:class:`~media_platform.contract.environment.OutboxRelayEnvironment`; timeout 5 minutes. What is not
done in time is left to the next turn. An error is raised after everything else was done, so that an
alarm tells of what stays.

Lambda gives a batch of the stream up after some attempts, while a topic may be away for longer.
What it gave up still stands in the index of events that were not published: each region publishes
those that it wrote, and those of a region that it has taken over. An event that the relay publishes
just then goes out twice.

The role needs exactly this, beside writing its own logs:

- the table in this region: ``dynamodb:UpdateItem`` and ``dynamodb:Query``, this also on its index
  ``unpublished``;
- the topic: ``sns:Publish``, as which SNS authorizes ``PublishBatch``;
- where table or topic have a customer managed key: what ``outbox_relay.handler`` says.
"""

from __future__ import annotations

import functools
import os
from typing import Protocol

from media_platform.contract.environment import OutboxRelayEnvironment
from media_platform.contract.logs import log_as_json
from outbox_relay.aws import Outbox, Topic
from outbox_relay.relay import Relay
from outbox_relay.sweeper import Sweeper

KEPT_BACK_MILLISECONDS = 60_000
"""Time that must be left to begin another batch: its calls, with their attempts and pauses."""


class LambdaContext(Protocol):
    """The part of the context of an invocation that is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the invocation is ended."""


def handle(_event: object, context: LambdaContext) -> dict[str, int]:
    """Publish what was left.

    Returns:
        How many events were published, for whoever invokes the function by hand.

    Raises:
        SweepError: If events could not be published.
        botocore.exceptions.ClientError: If the events cannot be listed.
    """
    published = _sweeper().turn(
        lambda: context.get_remaining_time_in_millis() > KEPT_BACK_MILLISECONDS
    )
    return {"published": published}


@functools.cache
def _sweeper() -> Sweeper:
    """Read the environment and make the clients once, at the cold start."""
    log_as_json()
    environment = OutboxRelayEnvironment.from_variables(os.environ)
    outbox = Outbox(environment.table_name)
    relay = Relay(environment=environment, topic=Topic(environment.topic_arn), outbox=outbox)
    return Sweeper(relay=relay, outbox=outbox)
