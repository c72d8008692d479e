"""The function that EventBridge calls every few minutes, to find what was left.

Handler ``upload_intake.sweep.handle``; environment
:class:`~media_platform.contract.environment.UploadSweepEnvironment`; timeout 5 minutes. What is not
done in time is left to the next turn. An error is raised after everything else was done, so that an
alarm tells of what stays.

Each region looks after the videos that are at home there:

- uploads that are due: if the file is there after all, it is taken in as an event of S3 would have
  it; else the upload is ended and the video FAILED. What arrived for a video that no longer waits
  is deleted;
- uploads in parts that belong to no video, because whoever began them died before he wrote it;
- runs that were asked for and that no worker took: their job is sent again, or while their file
  waits for its scan, the requests to the scanners that did not answer;
- runs that were held back by the budget of a day, once their tenant may begin more.

The role needs what that of ``upload_intake.handler`` does, and exactly this beside it:

- ``dynamodb:Query`` on the indexes ``due`` and ``in-flight`` of the table, and on the table itself
  where tenants have a budget of a day;
- the raw bucket: ``s3:ListBucketVersions`` and ``s3:ListBucketMultipartUploads``; and on ``raw/*``
  in it ``s3:DeleteObjectVersion``, with which delete markers go, too, and
  ``s3:AbortMultipartUpload``.
"""

from __future__ import annotations

import functools
import os
from typing import Protocol

from media_platform.contract.environment import UploadSweepEnvironment
from media_platform.contract.logs import log_as_json
from upload_intake.aws import LeftWork
from upload_intake.intake import Intake
from upload_intake.sweeper import Sweeper

KEPT_BACK_MILLISECONDS = 60_000
"""Time that must be left to begin another piece of work: some calls, with attempts and pauses."""


class LambdaContext(Protocol):
    """The part of the context of an invocation that is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the invocation is ended."""


def handle(_event: object, context: LambdaContext) -> dict[str, int]:
    """Look after what was left.

    Returns:
        How much came to which outcome, for whoever invokes the function by hand.

    Raises:
        SweepError: If something could not be looked after.
        botocore.exceptions.ClientError: If a service refused or was not reached.
    """
    return _sweeper().turn(lambda: context.get_remaining_time_in_millis() > KEPT_BACK_MILLISECONDS)


@functools.cache
def _sweeper() -> Sweeper:
    """Read the environment and make the clients once, at the cold start."""
    log_as_json()
    environment = UploadSweepEnvironment.from_variables(os.environ)
    return Sweeper(
        environment=environment,
        intake=Intake.connect(environment),
        left=LeftWork(environment.table_name),
    )
