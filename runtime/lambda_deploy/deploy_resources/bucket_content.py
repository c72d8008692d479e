"""``Custom::BucketContent``: what is in a bucket, which goes before the bucket does.

Handler ``deploy_resources.bucket_content.handle``; no environment; timeout 15 minutes, and the
custom resource with ``ServiceTimeout`` 3600, since Lambda tries an event three times. Property
``BucketName``; no attributes. CloudFormation deletes no bucket that holds something.

Only a bucket that still carries :data:`EMPTIED_TAG` is emptied: this resource also goes when a
stage decides to keep its data, and then the tag went before it.

The role needs exactly this, beside writing its own logs:

- the bucket: ``s3:GetBucketTagging``, ``s3:ListBucketVersions``;
- its objects: ``s3:DeleteObjectVersion``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy_resources.custom_resource import (
    CLIENT_CONFIG,
    CustomResourceError,
    Request,
    Result,
    serve,
)
from media_platform.contract.object_keys import EMPTIED_TAG

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_DELETE_SECONDS = 60
"""For an answer to a request that deletes a thousand versions."""


def handle(event: Mapping[str, Any], _context: object) -> None:
    """Answer one request of CloudFormation."""
    serve(event, fulfil)


def fulfil(request: Request) -> Result:
    """Empty the bucket if it is to be deleted, else do nothing.

    Raises:
        CustomResourceError: If a property is missing, or S3 keeps an object.
    """
    name = request.text("BucketName")
    if request.is_delete:
        config = CLIENT_CONFIG.merge(Config(read_timeout=_DELETE_SECONDS))
        client: S3Client = boto3.client("s3", config=config)
        with suppress(client.exceptions.NoSuchBucket):
            _empty(client, name)
    return Result(physical_id=f"bucket-content/{name}")


def _empty(client: S3Client, name: str) -> None:
    if not _is_to_be_emptied(client, name):
        return
    for versions in _pages(client, name):
        answer = client.delete_objects(Bucket=name, Delete={"Objects": versions, "Quiet": True})
        for kept in answer.get("Errors", ()):
            raise CustomResourceError(
                f"S3 keeps {kept.get('Key')!r} in {name}: {kept.get('Code')}: {kept.get('Message')}"
            )


def _is_to_be_emptied(client: S3Client, name: str) -> bool:
    try:
        tags = client.get_bucket_tagging(Bucket=name)["TagSet"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchTagSet":
            return False
        raise
    return any(tag["Key"] == EMPTIED_TAG for tag in tags)


def _pages(client: S3Client, name: str) -> Iterator[list[ObjectIdentifierTypeDef]]:
    """Yield versions and delete markers, as many as one request deletes, until there are none."""
    while True:
        # From the start each time: what was there before is gone.
        page = client.list_object_versions(Bucket=name)
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if not found:
            return
        yield [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
