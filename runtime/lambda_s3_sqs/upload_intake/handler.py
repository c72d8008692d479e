"""The function that is called for every new object of the raw bucket, and to start runs.

EventBridge calls it for objects. The topic of domain events calls it with those after which a run
may have to be started, or a part of a video is asked for (``contract.events.STARTING_EVENTS``), so
that nobody else needs to send jobs and wake workers.

Handler ``upload_intake.handler.handle``; environment
:class:`~media_platform.contract.environment.UploadIntakeEnvironment`; timeout 60 s. An error is
raised only for what a retry can cure, so the asynchronous invocation should be retried twice and
then go to a failure destination.

Rule: ``{"source": ["aws.s3"], "detail-type": ["Object Created"],
"detail": {"bucket": {"name": [<raw bucket>]}, "object": {"key": [{"prefix": "raw/"}]}}}``.

The role needs exactly this, beside writing its own logs:

- the table in this region: ``dynamodb:GetItem``; ``dynamodb:PutItem``, ``dynamodb:UpdateItem`` and
  ``dynamodb:DeleteItem``, as which DynamoDB authorizes the parts of its transaction;
- ``<raw bucket>/raw/*``: ``s3:GetObjectVersion``, as which S3 authorizes ``HeadObject`` of a
  version; and on the bucket ``s3:ListBucket``, without which one that is gone looks forbidden;
- both queues of transcode jobs, and where there are scanners the queue of each with its requests:
  ``sqs:SendMessage``;
- ``arn:<partition>:application-autoscaling:<region>:<account>:scalable-target/*`` (ids of targets
  are random): ``application-autoscaling:RegisterScalableTarget``, narrowed to the namespace
  ``ecs`` and the dimension ``ecs:service:DesiredCount``;
- the worker service: ``ecs:DescribeServices`` and ``ecs:UpdateService``, which
  ``RegisterScalableTarget`` asks of its caller, too;
- where the table has a customer managed key, on that key: ``kms:Decrypt``, ``kms:Encrypt``,
  ``kms:GenerateDataKey*``, ``kms:ReEncrypt*``, ``kms:DescribeKey``; where the queue has one, on
  that key: ``kms:Decrypt`` and ``kms:GenerateDataKey``; where the raw bucket has one, on that key:
  ``kms:Decrypt``, without which S3 keeps the checksum of an object to itself.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from media_platform.contract.environment import UploadIntakeEnvironment
from media_platform.contract.events import DomainEvent
from media_platform.contract.jobs import REQUESTED_PART
from media_platform.contract.logs import log_as_json
from upload_intake.intake import Intake
from upload_intake.s3_event import UploadedObject


def handle(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """Take in the object that ``event`` tells of, or send the job that it asks for.

    Returns:
        The outcome, for whoever invokes the function by hand.

    Raises:
        ValueError: If it is neither of a versioned object nor a domain event; rule, bucket or
            topic is wrong.
        ContendedVideoError: If the video changed at every attempt.
        botocore.exceptions.ClientError: If a service refused or was not reached.
    """
    records = event.get("Records")
    if records:
        # A call by SNS has one record.
        domain_event = DomainEvent.from_json(records[0]["Sns"]["Message"])
        if REQUESTED_PART in domain_event.data:
            return {"outcome": _intake().send_part(domain_event)}
        return {"outcome": _intake().start_awaited(domain_event.video_id)}
    return {"outcome": _intake().take(UploadedObject.from_event(event))}


@functools.cache
def _intake() -> Intake:
    """Read the environment and make the clients once, at the cold start."""
    log_as_json()
    environment = UploadIntakeEnvironment.from_variables(os.environ)
    return Intake.connect(environment)
