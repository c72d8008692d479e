"""The function that takes the verdicts of scanners from their queues.

Handler ``upload_intake.verdicts.handle``; environment
:class:`~media_platform.contract.environment.ScanVerdictsEnvironment`; timeout 60 s; one event
source mapping for the verdict queue of each scanner, with ``ReportBatchItemFailures``. A message
that is no verdict, or that could not be taken in, stays in its queue and goes from there to the
dead-letter queue.

The role needs exactly this, beside writing its own logs:

- the table in this region: ``dynamodb:GetItem``; ``dynamodb:PutItem`` and ``dynamodb:UpdateItem``,
  as which DynamoDB authorizes the parts of its transaction;
- ``<raw bucket>/raw/*``: ``s3:PutObjectVersionTagging``;
- the verdict queue of each scanner: ``sqs:ReceiveMessage``, ``sqs:DeleteMessage``,
  ``sqs:GetQueueAttributes``, with which Lambda reads them;
- the express queue of transcode jobs: ``sqs:SendMessage``;
- ``application-autoscaling:RegisterScalableTarget``, ``ecs:DescribeServices`` and
  ``ecs:UpdateService`` as ``upload_intake.handler`` needs them;
- where the table has a customer managed key, on that key what ``upload_intake.handler`` needs.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any

from media_platform.contract.environment import ScanVerdictsEnvironment
from media_platform.contract.logs import log_as_json
from media_platform.contract.scanning import ScannerQueues, Verdict
from upload_intake.onward import Onward
from upload_intake.scans import Quarantine
from upload_intake.verdict_intake import VerdictIntake

_LOG = logging.getLogger(__name__)


def handle(event: Mapping[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
    """Take a batch of verdicts in, each on its own.

    Returns:
        The messages that could not be taken in, which Lambda leaves in the queue.
    """
    intake = _intake()
    failures = []
    for record in event["Records"]:
        try:
            verdict = Verdict.from_json(record["body"])
            intake.take(verdict, scanner_of(record["eventSourceARN"], intake.onward.scanners))
        except Exception:  # noqa: BLE001 - the other messages have nothing to do with it
            fields = {"message_id": record["messageId"]}
            _LOG.exception("a verdict was not taken in", extra=fields)
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def scanner_of(queue_arn: str, scanners: Mapping[str, ScannerQueues]) -> str | None:
    """Return whose verdict queue an ARN names, or ``None`` if it is that of no scanner."""
    queue = queue_arn.rpartition(":")[2]
    names = (
        name for name, queues in scanners.items() if queues.verdicts_url.rpartition("/")[2] == queue
    )
    return next(names, None)


@functools.cache
def _intake() -> VerdictIntake:
    """Read the environment and make the clients once, at the cold start."""
    log_as_json()
    environment = ScanVerdictsEnvironment.from_variables(os.environ)
    onward = Onward.connect(environment)
    return VerdictIntake(
        environment=environment,
        videos=onward.videos,
        scans=onward.scans,
        onward=onward,
        quarantine=Quarantine(environment.raw_bucket),
    )
