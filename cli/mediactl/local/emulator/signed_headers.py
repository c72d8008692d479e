"""A presigned URL is good for the headers that it binds, and for no other ``x-amz-*`` header.

Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature
Version 4)", ``X-Amz-SignedHeaders``: any ``x-amz-*`` header that is sent must be signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import s3


def install() -> None:
    """Refuse presigned requests with ``x-amz-*`` headers that were not signed."""
    verify: Callable[..., Any] = s3._verify_presigned_sigv4  # noqa: SLF001

    def verify_presigned(
        method: str, path: str, headers: dict[str, str], query: dict[str, Any]
    ) -> Any:
        error = verify(method, path, headers, query)
        signed = {name.lower(): value for name, value in query.items()}.get("x-amz-signedheaders")
        if error is not None or signed is None:
            return error
        listed = str(signed[0] if isinstance(signed, list) else signed).lower().split(";")
        sent = {name.lower() for name in headers}
        if any(name.startswith("x-amz-") for name in sent - set(listed)):
            return s3._error(  # noqa: SLF001
                "AccessDenied",
                "There were headers present in the request which were not signed",
                403,
                path,
            )
        return None

    s3._verify_presigned_sigv4 = verify_presigned  # noqa: SLF001
