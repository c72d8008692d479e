"""The queues of jobs, as far as the API sends any."""

from __future__ import annotations

from typing import Any

from media_platform.contract.jobs import START, TranscodeJob
from media_platform.contract.tracing import TraceContext


class JobSender:
    """Sends jobs to the workers.

    It needs ``sqs:SendMessage`` on both queues.

    Args:
        client: An SQS client of the home region.
        express_queue_url: Queue of jobs that start a run.
        queue_url: Queue of all other jobs.
    """

    def __init__(self, client: Any, *, express_queue_url: str, queue_url: str) -> None:
        self._client = client
        self._express_queue_url = express_queue_url
        self._queue_url = queue_url

    async def send(self, job: TranscodeJob, trace: TraceContext) -> None:
        """Send a job; it may arrive more than once.

        Args:
            job: The job.
            trace: What the work on it continues.
        """
        await self._client.send_message(
            QueueUrl=self._express_queue_url if job.part == START else self._queue_url,
            MessageBody=job.to_json(),
            MessageGroupId=job.tenant,
            MessageAttributes=trace.message_attributes(),
            MessageSystemAttributes=trace.system_attributes(),
        )
