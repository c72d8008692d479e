"""Tags that come with an object: the right to set them, and those of uploads in parts.

MiniStack lets whoever may write an object set its tags, too, and forgets the tags of a multipart
upload, so that a replication rule that chooses by a tag would never copy the object.

Source: Amazon S3 API Reference, "PutObject" and "CreateMultipartUpload", request header
``x-amz-tagging``, which needs ``s3:PutObjectTagging``.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from ministack.core import iam_actions
from ministack.services import s3

HEADER = "x-amz-tagging"
RIGHT = "s3:PutObjectTagging"
_OK = 200
_UPLOAD_TAGS = "object_tags"
"""Key under which the tags stand in MiniStack's record of a multipart upload."""

_tags: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("tags", default=None)


def install() -> None:
    """Ask for the right, and keep the tags of uploads in parts."""
    _ask_for_the_right()
    _keep_tags_of_parts()


def _ask_for_the_right() -> None:
    checks: Callable[..., list[tuple[str, str]]] = iam_actions.s3_additional_checks

    def s3_additional_checks(
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
    ) -> list[tuple[str, str]]:
        found = checks(method, path, headers, body, query_params)
        bucket, _, key = path.lstrip("/").partition("/")
        if headers.get(HEADER) and key and method in {"PUT", "POST"}:
            return [*found, (RIGHT, f"arn:aws:s3:::{bucket}/{key}")]
        return found

    iam_actions.s3_additional_checks = s3_additional_checks


def _keep_tags_of_parts() -> None:
    create, complete = s3._create_multipart_upload, s3._complete_multipart_upload  # noqa: SLF001
    replicate = s3._maybe_replicate  # noqa: SLF001

    def create_multipart_upload(bucket: str, key: str, headers: dict[str, str]) -> Any:
        answer = create(bucket, key, headers)
        tags = dict(parse_qsl(headers.get(HEADER, ""), keep_blank_values=True))
        if answer[0] == _OK and tags:
            upload_id = s3.fromstring(answer[2]).findtext("{*}UploadId")
            s3._multipart_uploads[upload_id][_UPLOAD_TAGS] = tags  # noqa: SLF001
        return answer

    def complete_multipart_upload(
        bucket: str, key: str, body: bytes, query_params: dict[str, Any], headers: Any = None
    ) -> Any:
        upload = s3._multipart_uploads.get(s3._qp(query_params, "uploadId")) or {}  # noqa: SLF001
        tags = upload.get(_UPLOAD_TAGS)
        token = _tags.set(tags)
        try:
            answer = complete(bucket, key, body, query_params, headers)
        finally:
            _tags.reset(token)
        if answer[0] == _OK and tags:
            _set_tags(bucket, key, tags)
        return answer

    def maybe_replicate(
        bucket: str, key: str, record: dict[str, Any], data: Any, tags: Any = None
    ) -> None:
        replicate(bucket, key, record, data, _tags.get() if tags is None else tags)

    s3._create_multipart_upload = create_multipart_upload  # noqa: SLF001
    s3._complete_multipart_upload = complete_multipart_upload  # noqa: SLF001
    s3._maybe_replicate = maybe_replicate  # noqa: SLF001


def _set_tags(bucket: str, key: str, tags: dict[str, str]) -> None:
    """Set the tags of the object that was just made."""
    record = s3._buckets[bucket]["objects"][key]  # noqa: SLF001
    s3._object_tags[bucket, key, record.get("version_id")] = tags  # noqa: SLF001
