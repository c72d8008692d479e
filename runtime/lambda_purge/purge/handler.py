"""The function that EventBridge calls every few minutes, in every region.

Handler ``purge.handler.handle``; environment
:class:`~media_platform.contract.environment.RunPurgeEnvironment`; timeout 5 minutes. What is not
done in time is left to the next turn. An error is raised after everything else was done, so that an
alarm tells of runs that stay.

A run that was replaced, and a video that was deleted, has a note (``contract.purge.Purge``) that
stands in the index of due work. Each region deletes the objects that it holds; the home region of
the video then deletes the items of the run or the video, and the note, one day after it became due,
so that every region has seen it by then. The video itself goes last, in one transaction with its
note and what it counts for in the use of its tenant. The items of a video that an administrator
purges at once go with the first turn; its note has the key of the upload, and stands alone for that
day.

The role needs exactly this, beside writing its own logs:

- the table in this region: ``dynamodb:GetItem``, ``dynamodb:Query``, ``dynamodb:DeleteItem``, and
  ``dynamodb:UpdateItem`` for the use of a tenant, as which DynamoDB authorizes the parts of its
  transactions; and ``dynamodb:Query`` on the index ``due``;
- the media and the raw bucket of this region: ``s3:ListBucketVersions``; and on ``media/*`` and
  ``raw/*`` in them ``s3:DeleteObjectVersion``, with which delete markers go, too;
- where the table has a customer managed key, on that key: ``kms:Decrypt``, ``kms:Encrypt``,
  ``kms:GenerateDataKey*``, ``kms:ReEncrypt*``, ``kms:DescribeKey``. Deleting objects needs no key.
"""

from __future__ import annotations

import functools
import os
from typing import Protocol

from media_platform.contract.environment import RunPurgeEnvironment
from media_platform.contract.logs import log_as_json
from purge.aws import Objects, Runs
from purge.purger import Purger

KEPT_BACK_MILLISECONDS = 40_000
"""Time that must be left to begin a call: its attempts, with their timeouts and pauses."""


class LambdaContext(Protocol):
    """The part of the context of an invocation that is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the invocation is ended."""


def handle(_event: object, context: LambdaContext) -> dict[str, int]:
    """Purge what is due.

    Returns:
        How many runs came to which outcome, for whoever invokes the function by hand.

    Raises:
        PurgeError: If runs could not be purged.
        botocore.exceptions.ClientError: If a service refused or was not reached.
    """
    return _purger().turn(lambda: context.get_remaining_time_in_millis() > KEPT_BACK_MILLISECONDS)


@functools.cache
def _purger() -> Purger:
    """Read the environment and make the clients once, at the cold start."""
    log_as_json()
    environment = RunPurgeEnvironment.from_variables(os.environ)
    return Purger(
        environment=environment,
        runs=Runs(environment.table_name),
        media=Objects(environment.media_bucket),
        uploads=Objects(environment.raw_bucket),
    )
