"""Names of the metrics that the runtime emits and alarms watch.

Emitted in the CloudWatch embedded metric format; units are part of the name.
"""

NAMESPACE = "MediaPlatform"
"""Namespace of all metrics of the platform."""

JOBS_COMPLETED = "JobsCompleted"
"""Runs that became what viewers see."""

JOBS_FAILED = "JobsFailed"
"""Runs that ended FAILED, because of the upload or after too many tries."""

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
