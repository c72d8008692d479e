"""Presigned uploads: one PUT of exactly the announced bytes, straight to the raw bucket."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from media_platform.contract.video import Video

SINGLE_PUT_MAX_BYTES = 5 * 1024**3
"""Most bytes that one PUT may carry.

Source: Amazon S3 User Guide, "Uploading objects".
"""


@dataclass(frozen=True)
class Upload:
    """What a client needs to upload a file.

    Attributes:
        url: Where to PUT it.
        headers: Headers that the request must carry exactly so; the signature covers them.
        expires_at: Time after which the URL is refused (RFC 3339, UTC).
    """

    url: str
    headers: dict[str, str]
    expires_at: str


class UploadSigner:
    """Signs uploads.

    Args:
        client: An S3 client that signs with SigV4.
        bucket: The raw bucket.
        expiry_seconds: Lifetime of a URL.
    """

    def __init__(self, client: Any, *, bucket: str, expiry_seconds: int) -> None:
        self._client = client
        self._bucket = bucket
        self._expiry_seconds = expiry_seconds

    async def sign(self, video: Video) -> Upload:
        """Return the upload of the file of ``video``.

        Type and length are part of the signature, and ``If-None-Match: *`` makes S3 refuse a
        second PUT, so that what was taken in is never replaced.
        """
        expires = datetime.now(UTC) + timedelta(seconds=self._expiry_seconds)
        url = await self._client.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": video.raw_key,
                "ContentType": video.content_type,
                "ContentLength": video.size_bytes,
                "IfNoneMatch": "*",
            },
            ExpiresIn=self._expiry_seconds,
            HttpMethod="PUT",
        )
        headers = {
            "Content-Type": video.content_type,
            "Content-Length": str(video.size_bytes),
            "If-None-Match": "*",
        }
        return Upload(url, headers, expires.isoformat(timespec="seconds").replace("+00:00", "Z"))
