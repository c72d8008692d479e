"""The raw bucket, as far as the API uses it: it signs requests of clients and ends uploads.

Bytes go from clients straight to S3. What a URL admits is one request with exactly the headers that
are given with it: their type, length and checksum are part of the signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from botocore.exceptions import ClientError

from media_api.aws import error_code
from media_platform.contract.upload import UploadSession
from media_platform.contract.video import Video

_ALGORITHM = "SHA256"
_CHECKSUM_HEADER = "x-amz-checksum-sha256"
_NO_UPLOAD = "NoSuchUpload"


@dataclass(frozen=True)
class SignedPut:
    """A PUT that a client may send.

    Attributes:
        url: Where to.
        headers: Headers that the request must carry exactly so; the signature covers them.
    """

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ArrivedPart:
    """A part that S3 has.

    Attributes:
        number: Its number.
        size_bytes: Its size.
        etag: Its ETag.
        sha256: Its SHA-256 in base64.
    """

    number: int
    size_bytes: int
    etag: str
    sha256: str | None


class Completion(Enum):
    """What S3 says when an upload in parts is to become an object."""

    DONE = "done"
    GONE = "gone"
    """There is no such upload: it was completed or aborted before."""

    OTHERS = "others"
    """Another request was quicker, or a part was replaced meanwhile: look again."""


_REFUSALS = {
    _NO_UPLOAD: Completion.GONE,
    "PreconditionFailed": Completion.GONE,
    "ConditionalRequestConflict": Completion.OTHERS,
    "InvalidPart": Completion.OTHERS,
}


class RawBucket:
    """The raw bucket.

    Args:
        client: An S3 client that signs with SigV4.
        bucket: Its name.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def sign_put(self, video: Video, *, sha256: str | None, seconds: int) -> SignedPut:
        """Return the PUT of the whole file of ``video``.

        Args:
            video: The video.
            sha256: SHA-256 of the file in base64, which S3 then verifies and records.
            seconds: Lifetime of the URL.
        """
        return await self.sign_object(
            video.raw_key,
            content_type=video.content_type,
            size_bytes=video.size_bytes,
            sha256=sha256,
            seconds=seconds,
        )

    async def sign_object(
        self, key: str, *, content_type: str, size_bytes: int, sha256: str | None, seconds: int
    ) -> SignedPut:
        """Return the PUT of an object.

        ``If-None-Match: *`` makes S3 refuse a second PUT, so that what was taken in is never
        replaced.

        Args:
            key: Its key.
            content_type: Its content type.
            size_bytes: Its size.
            sha256: SHA-256 of the file in base64, which S3 then verifies and records.
            seconds: Lifetime of the URL.
        """
        checksum = {"ChecksumSHA256": sha256} if sha256 else {}
        url = await self._client.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ContentType": content_type,
                "ContentLength": size_bytes,
                "IfNoneMatch": "*",
                **checksum,
            },
            ExpiresIn=seconds,
            HttpMethod="PUT",
        )
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(size_bytes),
            "If-None-Match": "*",
        }
        if sha256:
            headers[_CHECKSUM_HEADER] = sha256
        return SignedPut(url, headers)

    async def sign_part(
        self, session: UploadSession, number: int, *, sha256: str, seconds: int
    ) -> SignedPut:
        """Return the PUT of one part.

        Args:
            session: The upload.
            number: The part.
            sha256: SHA-256 of its bytes in base64.
            seconds: Lifetime of the URL.
        """
        length = session.part_length(number)
        url = await self._client.generate_presigned_url(
            "upload_part",
            Params={
                **self._upload(session),
                "PartNumber": number,
                "ContentLength": length,
                "ChecksumSHA256": sha256,
            },
            ExpiresIn=seconds,
            HttpMethod="PUT",
        )
        return SignedPut(url, {"Content-Length": str(length), _CHECKSUM_HEADER: sha256})

    async def begin(self, video: Video) -> str:
        """Begin an upload in parts, each with its SHA-256, and return S3's id of it."""
        answer = await self._client.create_multipart_upload(
            Bucket=self._bucket,
            Key=video.raw_key,
            ContentType=video.content_type,
            ChecksumAlgorithm=_ALGORITHM,
        )
        return str(answer["UploadId"])

    async def parts(self, session: UploadSession) -> list[ArrivedPart] | None:
        """Return the parts that arrived, by number; ``None`` if there is no such upload."""
        found: list[ArrivedPart] = []
        marker: dict[str, Any] = {}
        try:
            while True:
                answer = await self._client.list_parts(**self._upload(session), **marker)
                found += [
                    ArrivedPart(
                        number=part["PartNumber"],
                        size_bytes=part["Size"],
                        etag=part["ETag"],
                        sha256=part.get("ChecksumSHA256"),
                    )
                    for part in answer.get("Parts", ())
                ]
                if not answer.get("IsTruncated"):
                    return found
                marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}
        except ClientError as error:
            if error_code(error) == _NO_UPLOAD:
                return None
            raise

    async def complete(self, session: UploadSession, parts: list[ArrivedPart]) -> Completion:
        """Make the object of its parts, unless there is one already.

        Args:
            session: The upload.
            parts: All its parts, by number.
        """
        listed = [
            {
                "PartNumber": part.number,
                "ETag": part.etag,
                **({"ChecksumSHA256": part.sha256} if part.sha256 else {}),
            }
            for part in parts
        ]
        try:
            await self._client.complete_multipart_upload(
                **self._upload(session), MultipartUpload={"Parts": listed}, IfNoneMatch="*"
            )
        except ClientError as error:
            refusal = _REFUSALS.get(error_code(error))
            if refusal is None:
                raise
            return refusal
        return Completion.DONE

    async def abort(self, session: UploadSession) -> None:
        """End an upload in parts without an object; one that is gone already stays so."""
        try:
            await self._client.abort_multipart_upload(**self._upload(session))
        except ClientError as error:
            if error_code(error) != _NO_UPLOAD:
                raise

    async def has(self, key: str) -> bool:
        """Tell whether there is an object; listing needs no right to read it."""
        answer = await self._client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in answer.get("Contents", ()))

    def _upload(self, session: UploadSession) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": session.raw_key, "UploadId": session.upload_id}


def expiry(now: datetime, seconds: int) -> str:
    """Return the time at which a URL ends that is signed now (RFC 3339, UTC)."""
    end = now.astimezone(UTC) + timedelta(seconds=seconds)
    return end.isoformat(timespec="seconds").replace("+00:00", "Z")
