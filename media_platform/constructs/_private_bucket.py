"""A bucket as the platform wants every bucket: private, versioned, encrypted, TLS only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._bucket_emptier import empty_on_removal
from media_platform.constructs._durations import duration

INCOMPLETE_UPLOAD_EXPIRY = timedelta(days=7)
"""Parts of an upload that nobody finished cost money and are in no listing."""


def private_bucket(
    scope: Construct,
    construct_id: str,
    *,
    noncurrent_expiry: cdk.Duration,
    removal_policy: cdk.RemovalPolicy,
    encryption_key: kms.IKey | None = None,
    bucket_name: str | None = None,
    expiry: cdk.Duration | None = None,
    expiry_below: Mapping[str, cdk.Duration] | None = None,
    transitions: Sequence[s3.Transition] = (),
    cors: Sequence[s3.CorsRule] = (),
    replication_role: iam.IRole | None = None,
    replication_rules: Sequence[s3.ReplicationRule] = (),
) -> s3.Bucket:
    """Return a new bucket.

    Args:
        scope: Parent.
        construct_id: Id in it.
        noncurrent_expiry: Age at which a version that was replaced or deleted vanishes.
        removal_policy: What happens to it when it leaves the template; ``DESTROY`` takes along what
            is in it.
        encryption_key: Key of its objects. Default: a key that S3 manages.
        bucket_name: Physical name, which only cross-region replication needs. Default: generated.
        expiry: Age at which objects are deleted. Default: never.
        expiry_below: The same for objects below a prefix. Default: there is none.
        transitions: Cheaper storage classes by age.
        cors: Rules for browsers. Default: none.
        replication_role: Role that S3 takes to replicate.
        replication_rules: Where objects are copied to. Default: nowhere.
    """
    bucket = s3.Bucket(
        scope,
        construct_id,
        bucket_name=bucket_name,
        versioned=True,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=encryption_key,
        bucket_key_enabled=True if encryption_key else None,
        removal_policy=removal_policy,
        cors=list(cors) or None,
        lifecycle_rules=[
            s3.LifecycleRule(
                id="Housekeeping",
                abort_incomplete_multipart_upload_after=duration(INCOMPLETE_UPLOAD_EXPIRY),
                noncurrent_version_expiration=noncurrent_expiry,
                expiration=expiry,
                transitions=list(transitions) or None,
            ),
            *(
                s3.LifecycleRule(
                    id=f"Expire-{prefix.strip('/')}", prefix=prefix, expiration=expiration
                )
                for prefix, expiration in (expiry_below or {}).items()
            ),
        ],
        replication_role=replication_role if replication_rules else None,
        replication_rules=list(replication_rules) or None,
    )
    if removal_policy == cdk.RemovalPolicy.DESTROY:
        empty_on_removal(bucket)
    return bucket
