"""Names of the metrics that the runtime emits and alarms watch.

Emitted in the CloudWatch embedded metric format; units are part of the name.
"""

NAMESPACE = "MediaPlatform"
"""Namespace of all metrics of the platform."""

JOBS_COMPLETED = "JobsCompleted"
JOBS_FAILED = "JobsFailed"
QUEUE_WAIT_SECONDS = "QueueWaitSeconds"
TIME_TO_PLAYABLE_SECONDS = "TimeToPlayableSeconds"
TIME_TO_READY_SECONDS = "TimeToReadySeconds"
ENCODE_SPEED_RATIO = "EncodeSpeedRatio"
CHUNKS_COMPLETED = "ChunksCompleted"
CHUNK_RETRIES = "ChunkRetries"
BYTES_IN = "BytesIn"
BYTES_OUT = "BytesOut"
CPU_SECONDS = "CpuSeconds"
"""Processor time of all workers for one video, in seconds of one virtual CPU."""
