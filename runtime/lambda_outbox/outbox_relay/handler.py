"""The function that Lambda calls with batches of the table stream.

Handler ``outbox_relay.handler.handle``; environment
:class:`~media_platform.contract.environment.OutboxRelayEnvironment`; timeout 60 s.

Event source mapping: the stream of the table in this region (``NEW_AND_OLD_IMAGES``),
``TRIM_HORIZON``, at most 100 records a batch, ``ReportBatchItemFailures``, bisect on error, a
bounded number of retries, and a failure destination for what they do not cure. Filter, so that
nothing is invoked in vain: ``{"eventName": ["INSERT"], "dynamodb": {"Keys": {"sk": {"S":
[{"prefix": "EVENT#"}]}}, "NewImage": {"region": {"S": [<this region>]}}}}``; and changes of videos
that were taken over, which a lost region may write over (:mod:`media_platform.contract.takeover`):
``{"eventName": ["MODIFY"], "dynamodb": {"Keys": {"sk": {"S": ["META"]}}, "OldImage": {"epoch":
{"N": [{"anything-but": ["0"]}]}}}}``.

The role needs exactly this, beside writing its own logs:

- the stream: ``dynamodb:DescribeStream``, ``dynamodb:GetRecords``, ``dynamodb:GetShardIterator``,
  and ``dynamodb:ListStreams`` (which takes no resource: ``*``), all used by Lambda itself;
- the table in this region: ``dynamodb:UpdateItem``, which may be narrowed by the condition
  ``ForAllValues:StringLike`` ``dynamodb:LeadingKeys`` = ``VIDEO#*``; and ``dynamodb:Query``;
- the topic: ``sns:Publish``, as which SNS authorizes ``PublishBatch``;
- the failure destination: ``s3:PutObject`` on its objects and ``s3:ListBucket`` on it, or
  ``sqs:SendMessage``, used by Lambda itself;
- where the table has a customer managed key, on that key: ``kms:Decrypt``, ``kms:Encrypt``,
  ``kms:GenerateDataKey*``, ``kms:ReEncrypt*``, ``kms:DescribeKey``; where the topic has one, on
  that key: ``kms:Decrypt`` and ``kms:GenerateDataKey``.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from media_platform.contract.environment import OutboxRelayEnvironment
from media_platform.contract.logs import log_as_json
from outbox_relay.aws import Outbox, Topic
from outbox_relay.relay import Relay


def handle(event: dict[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
    """Publish the events among the records of ``event``.

    Returns:
        A partial batch response: nothing, or the one record from which Lambda tries again.
        Source: AWS Lambda Developer Guide, "Reporting batch item failures", DynamoDB streams.
    """
    failed = _relay().publish(event["Records"])
    return {"batchItemFailures": [] if failed is None else [{"itemIdentifier": failed}]}


@functools.cache
def _relay() -> Relay:
    """Read the environment and make the clients once, at the cold start."""
    log_as_json()
    environment = OutboxRelayEnvironment.from_variables(os.environ)
    return Relay(
        environment=environment,
        topic=Topic(environment.topic_arn),
        outbox=Outbox(environment.table_name),
    )
