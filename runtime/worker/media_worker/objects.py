"""Where a run is published: the media bucket, behind the three operations that a worker needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import stamina
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract.object_keys import REPLICATE_TAGGING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

IMMUTABLE = "public, max-age=31536000, immutable"
"""For objects that are written once: a year, the longest that caches honour."""

GROWING = "public, max-age=1"
"""For playlists that grow; players ask again every few seconds."""

FINISHED = "public, max-age=3600"
"""For what is complete, but stands under a key that a later attempt writes as well."""

_CONFLICT_STATUS = frozenset({404, 409, 412})
"""Status of refused conditional writes; the code beside it is lost with the body of an answer."""

_MISSING_CODES = frozenset({"NoSuchKey", "NoSuchVersion", "404"})


_READ_ATTEMPTS = 4

_IN_PARTS = TransferConfig(max_concurrency=2, multipart_chunksize=16 * 1024 * 1024)
"""Few parts at a time, so that they take little memory."""


class ObjectChangedError(Exception):
    """Somebody else wrote the object since it was read."""


@dataclass(frozen=True)
class StoredObject:
    """An object as it is stored.

    Attributes:
        body: The bytes.
        etag: Names this state of the object.
    """

    body: bytes
    etag: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An object to be written.

    Attributes:
        key: Its key.
        body: The bytes.
        content_type: Its media type.
        cache_control: How long caches may keep it.
        final: Whether it never changes again, so that it is copied to other regions.
        disposition: ``Content-Disposition`` of a file for people. Default: none, browsers show it.
    """

    key: str
    body: bytes
    content_type: str
    cache_control: str = IMMUTABLE
    final: bool = True
    disposition: str | None = None


class ObjectStore(Protocol):
    """The operations of a bucket that a worker needs."""

    def put(self, upload: Upload) -> None:
        """Write an object."""

    def replace(self, upload: Upload, etag: str | None) -> str:
        """Write an object if it still is in the state that ``etag`` names; return the new one.

        Args:
            upload: The object.
            etag: The state, or ``None`` if there must be no object.

        Raises:
            ObjectChangedError: If it is in another state.
        """

    def get(self, key: str) -> StoredObject | None:
        """Return an object, or ``None`` if there is none."""

    def read(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes of an object from ``start`` to before ``end``."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size in bytes of every object whose key starts with ``prefix``, by key."""

    def upload(self, upload: Upload, file: Path) -> None:
        """Write an object whose bytes are those of a file, whatever its size."""


class S3ObjectStore:
    """A bucket.

    Args:
        client: Client for the region of the bucket.
        bucket: Name of the bucket.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, upload: Upload) -> None:
        """Write an object."""
        self._put(upload, {})

    def replace(self, upload: Upload, etag: str | None) -> str:
        """Write an object if it still is in the state that ``etag`` names."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            return self._put(upload, condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _CONFLICT_STATUS:
                raise
        stored = self.get(upload.key)
        if stored is not None and stored.body == upload.body:
            return stored.etag  # an earlier try of ours arrived, though its answer did not
        raise ObjectChangedError(upload.key)

    @stamina.retry(on=(BotoCoreError, OSError), attempts=_READ_ATTEMPTS)
    def get(self, key: str) -> StoredObject | None:
        """Return an object, or ``None`` if there is none."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING_CODES:
                return None
            raise
        return StoredObject(answer["Body"].read(), answer["ETag"])

    @stamina.retry(on=(BotoCoreError, OSError), attempts=_READ_ATTEMPTS)
    def read(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes of an object from ``start`` to before ``end``.

        Raises:
            OSError: If fewer arrive.
        """
        answer = self._client.get_object(
            Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}"
        )
        return _whole(answer["Body"].read(), start, end)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size in bytes of every object whose key starts with ``prefix``, by key."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}

    def upload(self, upload: Upload, file: Path) -> None:
        """Write an object whose bytes are those of a file, in parts where it is large."""
        self._client.upload_file(
            str(file),
            self._bucket,
            upload.key,
            ExtraArgs={
                "ContentType": upload.content_type,
                "CacheControl": upload.cache_control,
                **({"Tagging": REPLICATE_TAGGING} if upload.final else {}),
                **({"ContentDisposition": upload.disposition} if upload.disposition else {}),
            },
            Config=_IN_PARTS,
        )

    def _put(self, upload: Upload, condition: dict[str, Any]) -> str:
        if upload.final:
            condition = {**condition, "Tagging": REPLICATE_TAGGING}
        answer = self._client.put_object(
            Bucket=self._bucket,
            Key=upload.key,
            Body=upload.body,
            ContentType=upload.content_type,
            CacheControl=upload.cache_control,
            **condition,
        )
        return answer["ETag"]


class S3RangeReader:
    """Reads the one object version that a job is about.

    Args:
        client: Client for the region of the bucket.
        bucket: Bucket of the source.
        key: Key of the source.
        version_id: The version. ``None``: the present one, of an object that is written once.
    """

    def __init__(self, client: S3Client, bucket: str, key: str, version_id: str | None) -> None:
        self._client = client
        self._object: Any = {"Bucket": bucket, "Key": key}
        if version_id is not None:
            self._object["VersionId"] = version_id

    def size(self) -> int:
        """Return the size of the source in bytes.

        Raises:
            FileNotFoundError: If the version is gone.
        """
        try:
            answer = self._client.head_object(**self._object)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING_CODES:
                raise FileNotFoundError(self._object["Key"]) from error
            raise
        return int(answer["ContentLength"])

    @stamina.retry(on=(BotoCoreError, OSError), attempts=_READ_ATTEMPTS)
    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``.

        Tried again when a connection breaks within the body, which the client does not do itself.

        Raises:
            OSError: If fewer arrive.
        """
        answer = self._client.get_object(**self._object, Range=f"bytes={start}-{end - 1}")
        return _whole(answer["Body"].read(), start, end)


def _whole(data: bytes, start: int, end: int) -> bytes:
    if len(data) != end - start:
        raise OSError(f"{len(data)} bytes arrived of {end - start} from {start}")
    return data
