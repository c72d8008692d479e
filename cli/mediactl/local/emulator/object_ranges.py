"""Ranges of object versions: MiniStack answers a range request for a version with all of it.

Source: Amazon S3 API Reference, "GetObject", request header ``Range``, which holds for versions as
for current objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import s3

_OK, _PARTIAL, _NOT_SATISFIABLE = 200, 206, 416


def install() -> None:
    """Answer ranges of versions with the part that was asked for."""
    get: Callable[..., Any] = s3._get_object  # noqa: SLF001

    def get_object(bucket: str, key: str, headers: dict[str, str], query: Any = None) -> Any:
        status, answer, body = get(bucket, key, headers, query)
        asked = headers.get("range", "")
        if not asked or status != _OK or "Content-Range" in answer:
            return status, answer, body
        size = len(body)
        found = s3._parse_range(asked, size)  # noqa: SLF001
        if found is None:
            refused = s3._xml_body(s3._range_error_xml(bucket, key))  # noqa: SLF001
            kind = {"Content-Type": "application/xml", "Content-Range": f"bytes */{size}"}
            return _NOT_SATISFIABLE, kind, refused
        start, end = found
        part = body[start : end + 1]
        # A checksum of the whole object cannot be that of a part.
        answer = {n: v for n, v in answer.items() if not n.lower().startswith("x-amz-checksum-")}
        answer |= {
            "Content-Length": str(len(part)),
            "Content-Range": f"bytes {start}-{end}/{size}",
        }
        return _PARTIAL, answer, part

    s3._get_object = get_object  # noqa: SLF001
