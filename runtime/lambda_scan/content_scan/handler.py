"""The function that judges what its queue of scan requests names.

Handler ``content_scan.handler.handle``; no environment of its own, since a request says where to
read and where to answer; timeout 30 s; an event source mapping for the queue, with
``ReportBatchItemFailures``. A request that could not be judged stays in its queue and goes from
there to the dead-letter queue.

The role needs exactly this, beside writing its own logs:

- the queue of requests: ``sqs:ReceiveMessage``, ``sqs:DeleteMessage``, ``sqs:GetQueueAttributes``,
  with which Lambda reads it;
- ``<raw bucket>/raw/*``: ``s3:GetObjectVersion`` and ``s3:GetObjectVersionTagging``, by which a
  version that another scanner refused is told; and on the bucket ``s3:ListBucket``, without which
  one that is gone looks forbidden, too;
- the queue of verdicts: ``sqs:SendMessage``;
- where the bucket has a customer managed key, on that key: ``kms:Decrypt``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from content_scan.aws import Answers, ObjectVersions
from content_scan.scanner import judge
from media_platform.contract.logs import log_as_json
from media_platform.contract.scanning import ScanRequest
from media_platform.contract.tracing import TRACEPARENT, TraceContext

_LOG = logging.getLogger(__name__)


def handle(event: Mapping[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
    """Judge a batch of requests, each on its own.

    Returns:
        The messages that could not be dealt with, which Lambda leaves in the queue.
    """
    files, answers = _clients()
    failures = []
    for record in event["Records"]:
        try:
            request = ScanRequest.from_json(record["body"])
            verdict = judge(request, files)
            if verdict is not None:
                answers.send(request, verdict, _trace(record))
        except Exception:  # noqa: BLE001 - the other messages have nothing to do with it
            _LOG.exception("a file was not judged", extra={"message_id": record["messageId"]})
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def _trace(record: Mapping[str, Any]) -> TraceContext | None:
    attribute = record.get("messageAttributes", {}).get(TRACEPARENT, {})
    return TraceContext.parse(attribute.get("stringValue"))


@functools.cache
def _clients() -> tuple[ObjectVersions, Answers]:
    """Make the clients once, at the cold start."""
    log_as_json()
    return ObjectVersions(), Answers()
