"""What every store of videos offers: its parts, and who may do what with them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._checks import reject
from media_platform.constructs._replication import key_arn_in
from media_platform.contract import table as table_contract
from media_platform.contract.object_keys import MEDIA_PREFIX, PICTURE_PREFIX, RAW_PREFIX

KEY_ACTIONS = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
"""What DynamoDB does with the key of a table on behalf of whoever uses it, and Logs with its own.

Source: DynamoDB Developer Guide, "Usage notes for encryption at rest"; CloudWatch Logs User Guide,
"Encrypt log data in CloudWatch Logs using AWS KMS".
"""


class VideoStoreBase(Construct):
    """What a store offers, whether it was made here or elsewhere.

    Attributes:
        table: The table.
        raw_bucket: Bucket that clients upload to.
        media_bucket: Bucket that workers publish to; the only one that CloudFront sees.
        site_bucket: Bucket of the pages that the distribution serves, or ``None``.
        encryption_key: Key of buckets and table, and of the log groups of what works on them, or
            ``None`` where AWS owns the keys.
        access_log_bucket: Bucket for access logs of this region, or ``None`` where there are none.
        table_stream_arn: Stream of the table in this region, or ``None`` where the table was made
            in another region, so that CloudFormation cannot know it.
    """

    table: dynamodb.ITableV2
    raw_bucket: s3.IBucket
    media_bucket: s3.IBucket
    site_bucket: s3.IBucket | None = None
    encryption_key: kms.IKey | None
    access_log_bucket: s3.IBucket | None
    table_stream_arn: str | None

    def grant_upload(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` create objects under ``raw/``, whole or in parts, also by URLs it signs.

        It sees which objects and parts are there, and reads none.
        """
        self._grant_key(grantee, "kms:GenerateDataKey", "kms:Decrypt")
        _grant(grantee, ["s3:ListBucket"], [self.raw_bucket.bucket_arn])
        return _grant(
            grantee,
            ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"],
            [self.raw_objects_arn],
        )

    def grant_upload_pictures(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` create pictures for thumbnails, by URLs that it signs."""
        self._grant_key(grantee, "kms:GenerateDataKey")
        return _grant(grantee, ["s3:PutObject"], [self.pictures_arn])

    def grant_read_pictures(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` read pictures for thumbnails, and learn that one is missing."""
        self._grant_key(grantee, "kms:Decrypt")
        _grant(grantee, ["s3:ListBucket"], [self.raw_bucket.bucket_arn])
        return _grant(grantee, ["s3:GetObject"], [self.pictures_arn])

    def grant_read_uploads(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` read uploads by version, and learn that one is gone."""
        self._grant_key(grantee, "kms:Decrypt")
        _grant(grantee, ["s3:ListBucket"], [self.raw_bucket.bucket_arn])
        return _grant(grantee, ["s3:GetObjectVersion"], [self.raw_objects_arn])

    def grant_clear_uploads(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` end uploads in parts and delete all versions under ``raw/``."""
        _grant(
            grantee,
            ["s3:ListBucketMultipartUploads", "s3:ListBucketVersions"],
            [self.raw_bucket.bucket_arn],
        )
        return _grant(
            grantee,
            ["s3:AbortMultipartUpload", "s3:DeleteObjectVersion"],
            [self.raw_objects_arn],
        )

    def grant_quarantine(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` tag versions of uploads, by which what was refused is kept from all."""
        return _grant(grantee, ["s3:PutObjectVersionTagging"], [self.raw_objects_arn])

    def grant_tell_quarantine(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` tell a version that was refused from one that it may not read."""
        return _grant(grantee, ["s3:GetObjectVersionTagging"], [self.raw_objects_arn])

    def grant_purge_uploads(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` list and delete all versions under ``raw/``, delete markers, too."""
        _grant(grantee, ["s3:ListBucketVersions"], [self.raw_bucket.bucket_arn])
        return _grant(grantee, ["s3:DeleteObjectVersion"], [self.raw_objects_arn])

    def grant_publish(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` write objects under ``media/``, with their tags, also in parts.

        Who names a tag in ``PutObject`` or ``CreateMultipartUpload`` needs the right to tag, too.
        """
        self._grant_key(grantee, "kms:GenerateDataKey", "kms:Decrypt")
        return _grant(
            grantee,
            ["s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectTagging"],
            [self.media_objects_arn],
        )

    def grant_read_published(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` read objects under ``media/``, and learn that one is missing."""
        self._grant_key(grantee, "kms:Decrypt")
        _grant(grantee, ["s3:ListBucket"], [self.media_bucket.bucket_arn])
        return _grant(grantee, ["s3:GetObject"], [self.media_objects_arn])

    def grant_publish_site(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` replace the pages of the site: list, write and delete them.

        Raises:
            ValueError: If the store has no bucket for them.
        """
        if self.site_bucket is None:
            raise reject(self, "grant_publish_site is called but there is no site; pass site=True")
        self._grant_key(grantee, "kms:GenerateDataKey", "kms:Decrypt")
        _grant(grantee, ["s3:ListBucket"], [self.site_bucket.bucket_arn])
        return _grant(
            grantee,
            ["s3:DeleteObject", "s3:PutObject"],
            [self.site_bucket.arn_for_objects("*")],
        )

    def grant_purge_published(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` list and delete all versions under ``media/``, delete markers, too."""
        _grant(grantee, ["s3:ListBucketVersions"], [self.media_bucket.bucket_arn])
        return _grant(grantee, ["s3:DeleteObjectVersion"], [self.media_objects_arn])

    def grant_use_table(
        self,
        grantee: iam.IGrantable,
        *,
        actions: Sequence[str],
        indexes: Sequence[table_contract.Index] = (),
    ) -> iam.Grant:
        """Let ``grantee`` use the table.

        Args:
            grantee: Who.
            actions: Item actions, e.g. ``dynamodb:GetItem``; transactions need those of their
                parts.
            indexes: Indexes that it may query. Default: none.
        """
        self._grant_key(grantee, *KEY_ACTIONS)
        table_arn = self.table.table_arn
        if indexes:
            arns = [f"{table_arn}/index/{index.name}" for index in indexes]
            _grant(grantee, ["dynamodb:Query"], arns)
        return _grant(grantee, actions, [table_arn])

    def grant_use_replicas(
        self, grantee: iam.IGrantable, *, regions: Sequence[str], actions: Sequence[str]
    ) -> None:
        """Let ``grantee`` use the replicas of the table in other regions.

        Args:
            grantee: Who.
            regions: The regions; their replicas and keys have the names of those here.
            actions: Item actions.
        """
        stack = cdk.Stack.of(self)
        for region in regions:
            arn = stack.format_arn(
                service="dynamodb",
                region=region,
                resource="table",
                resource_name=self.table.table_name,
            )
            _grant(grantee, actions, [arn])
            if self.encryption_key is not None:
                key = key_arn_in(self, self.encryption_key, region)
                _grant(grantee, KEY_ACTIONS, [key])

    @functools.cached_property
    def raw_objects_arn(self) -> str:
        """ARN of all uploads."""
        return self.raw_bucket.arn_for_objects(f"{RAW_PREFIX}*")

    @functools.cached_property
    def pictures_arn(self) -> str:
        """ARN of all pictures that were uploaded for thumbnails."""
        return self.raw_bucket.arn_for_objects(f"{PICTURE_PREFIX}*")

    @functools.cached_property
    def media_objects_arn(self) -> str:
        """ARN of everything that was published."""
        return self.media_bucket.arn_for_objects(f"{MEDIA_PREFIX}*")

    def _grant_key(self, grantee: iam.IGrantable, *actions: str) -> None:
        if self.encryption_key is not None:
            self.encryption_key.grant(grantee, *actions)


def _grant(grantee: iam.IGrantable, actions: Sequence[str], resources: Sequence[str]) -> iam.Grant:
    return iam.Grant.add_to_principal(
        grantee=grantee, actions=list(actions), resource_arns=list(resources)
    )
