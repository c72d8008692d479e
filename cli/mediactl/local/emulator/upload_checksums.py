"""Uploads in parts are as strict as on S3: with a checksum for each part, and no small ones.

MiniStack computes what a client does not send, and takes parts of any size.

Sources: Amazon S3 User Guide, "Checking object integrity for data uploads in Amazon S3": an upload
that was created with a checksum algorithm takes parts with that checksum only, and completing it
names them again; Amazon S3 API Reference, "CompleteMultipartUpload", ``EntityTooSmall``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import s3

STRICT = frozenset({"SHA1", "SHA256"})
"""Algorithms of which S3 makes composite checksums and no others."""

SMALLEST_PART = 5 * 1024**2
"""Smallest part but the last (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""


def install() -> None:
    """Refuse what S3 refuses."""
    upload_part: Callable[..., Any] = s3._upload_part  # noqa: SLF001
    complete: Callable[..., Any] = s3._complete_multipart_upload  # noqa: SLF001

    def upload_with_checksum(
        bucket: str, key: str, body: bytes, query_params: dict[str, Any], headers: dict[str, str]
    ) -> Any:
        algorithm = _algorithm(query_params)
        if algorithm in STRICT and not _sends(headers, algorithm):
            return s3._error(  # noqa: SLF001
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.lower()}, "
                "actual checksum Type: null",
                400,
                f"/{bucket}/{key}",
            )
        return upload_part(bucket, key, body, query_params, headers)

    def complete_with_checksums(
        bucket: str, key: str, body: bytes, query_params: dict[str, Any], headers: Any = None
    ) -> Any:
        refusal = _refusal(bucket, key, body, query_params)
        return refusal or complete(bucket, key, body, query_params, headers)

    s3._upload_part = upload_with_checksum  # noqa: SLF001
    s3._complete_multipart_upload = complete_with_checksums  # noqa: SLF001


def _upload(query_params: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = s3._multipart_uploads.get(s3._qp(query_params, "uploadId")) or {}  # noqa: SLF001
    return found


def _algorithm(query_params: dict[str, Any]) -> str:
    return str(_upload(query_params).get("checksum_algorithm") or "")


def _sends(headers: dict[str, str], algorithm: str) -> bool:
    named = headers.get("x-amz-sdk-checksum-algorithm", "").upper()
    return f"x-amz-checksum-{algorithm.lower()}" in headers or named == algorithm


def _refusal(bucket: str, key: str, body: bytes, query_params: dict[str, Any]) -> Any:
    upload, algorithm = _upload(query_params), _algorithm(query_params)
    try:
        parts = s3.fromstring(body).findall("{*}Part")
    except s3.ParseError:
        return None
    numbers = [int(part.findtext("{*}PartNumber") or 0) for part in parts]
    for number, part in zip(numbers, parts, strict=True):
        if algorithm in STRICT and not part.findtext(f"{{*}}Checksum{algorithm}"):
            return s3._error(  # noqa: SLF001
                "InvalidRequest",
                f"The upload was created using a {algorithm.lower()} checksum. The complete "
                "request must include the checksum for each part. It was missing for part "
                f"{number} in the request.",
                400,
                f"/{bucket}/{key}",
            )
    for number in sorted(numbers)[:-1]:
        if upload.get("parts", {}).get(number, {}).get("size", SMALLEST_PART) < SMALLEST_PART:
            return s3._error(  # noqa: SLF001
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed object size.",
                400,
                f"/{bucket}/{key}",
            )
    return None
