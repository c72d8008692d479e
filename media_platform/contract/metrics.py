"""Names of the metrics that the runtime emits and alarms watch.

Emitted in the CloudWatch embedded metric format; units are part of the name.
"""

NAMESPACE = "MediaPlatform"
"""Namespace of all metrics of the platform."""

JOBS_COMPLETED = "JobsCompleted"
"""Runs that became what viewers see."""

JOBS_FAILED = "JobsFailed"
"""Runs that ended FAILED, because of the upload or after too many tries."""

TRANSCODES_HELD_BACK = "TranscodesHeldBack"
"""Videos that wait because their tenant spent the budget of the day; once for each wait."""

QUEUE_WAIT_SECONDS = "QueueWaitSeconds"
"""From the upload to the first worker that takes the first chunk; once a run."""

CHUNK_WAIT_SECONDS = "ChunkWaitSeconds"
"""From the message of a later chunk to the first worker that takes it; once a chunk."""

TIME_TO_PLAYABLE_SECONDS = "TimeToPlayableSeconds"
"""From the upload to the first playlists; once a run."""

TIME_TO_READY_SECONDS = "TimeToReadySeconds"
"""From the upload to READY; once a run that gets there."""

ENCODE_SPEED_RATIO = "EncodeSpeedRatio"
"""Seconds of video that a worker encodes into all rungs in a second; once a chunk."""

CHUNKS_COMPLETED = "ChunksCompleted"
CHUNK_RETRIES = "ChunkRetries"
"""Workers that took a chunk before the one that completed it, or 0; once a chunk."""

BYTES_IN = "BytesIn"
"""Bytes that workers read of uploads, whether for a part that was completed or not."""

BYTES_OUT = "BytesOut"
"""Bytes of segments, pictures, subtitles and downloads that workers wrote, likewise."""

CPU_SECONDS = "CpuSeconds"
"""Processor time that encoders and whatever else looks at the video spent on a run, in seconds of
one virtual CPU; once a run that becomes READY.
"""

API_LATENCY_SECONDS = "ApiLatencySeconds"
"""From a request that was taken up to its answer, by class of route and class of status. Its number
of samples is that of requests, exactly, so there is no metric for that.
"""

API_IN_FLIGHT = "ApiInFlight"
"""Most requests that one process of the API had in flight in a minute."""

API_REFUSED = "ApiRefused"
"""Requests that were refused because the process had enough to do."""

CALL_SECONDS = "CallSeconds"
"""Time of a call to an AWS service with all of its attempts, by service."""

CALL_ERRORS = "CallErrors"
"""Calls that failed for good and not because of what was asked, by service."""

CACHE_HIT_RATIO = "CacheHitRatio"
"""Share of the reads of single videos that the API answered from memory."""

PLAYBACK_GRANTS = "PlaybackGrants"
"""Playbacks that were granted."""

EVENTS_WRITTEN = "EventsWritten"
"""Events that the API wrote to the outbox."""

WEBHOOKS_DELIVERED = "WebhooksDelivered"
"""Deliveries that an endpoint took."""

WEBHOOK_ATTEMPTS_FAILED = "WebhookAttemptsFailed"
"""Attempts that no 2xx answered."""

WEBHOOKS_GIVEN_UP = "WebhooksGivenUp"
"""Deliveries that failed for good."""

WEBHOOK_DELAY_SECONDS = "WebhookDelaySeconds"
"""From the event, or the request for another delivery, to the answer 2xx; once a delivery."""
