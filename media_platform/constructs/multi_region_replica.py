"""The store of a replica region."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._checks import reject
from media_platform.constructs._distributions import distribution_conditions
from media_platform.constructs._log_groups import logs_use_key
from media_platform.constructs._regions import region_problem
from media_platform.constructs._replication import ReplicationTarget
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs.video_store import VideoStore

_MULTI_REGION_KEY_PREFIX = "mrk-"


class MultiRegionReplicaBase(Construct):
    """What a replica offers, whether it was made here or elsewhere.

    Attributes:
        key: The replica of the key, or ``None``.
        store: The store of this region.
    """

    key: kms.IKey | None
    store: VideoStoreBase


class MultiRegionReplica(MultiRegionReplicaBase):
    """What a replica region holds of the store: buckets copied both ways, the table's replica.

    The replica of the table itself is made by the primary region's store
    (``replica_table_regions``), since a global table is one resource; here it is imported.
    Everything comes in as plain values, because objects of stacks in other regions would make a
    cycle: the primary's buckets replicate to these and these to the primary's.

    That is why a region joins in two deployments: S3 refuses a replication rule whose destination
    does not exist, and DynamoDB a replica whose key does not. First comes this replica, which
    copies to the others, then the stores of the others with their rules and the replica of the
    table.

    Args:
        scope: Parent.
        construct_id: Id in it.
        primary_region: Region in which the table was made.
        table_name: Name of the table.
        raw_bucket_name: Name of the raw bucket of this region.
        media_bucket_name: Name of the media bucket of this region.
        site_bucket_name: Name of the bucket of this region for the pages of a site. Default: there
            is none.
        replicate_to: Stores of all other regions, the primary among them.
        replication_time_control: As for :class:`VideoStore`, and with the same price.
        opted_in_regions: Regions among this and the others that are off in new accounts and that
            this one has switched on. Default: none.
        primary_key_arn: Multi-region key of the primary store, of which a replica is made here.
            Default: none, where AWS owns the keys.
        upload_origins: As for :class:`VideoStore`.
        archive_after: As for :class:`VideoStore`.
        tier_media_after: As for :class:`VideoStore`.
        noncurrent_expiry: As for :class:`VideoStore`.
        access_logs: As for :class:`VideoStore`.
        access_logs_expiry: As for :class:`VideoStore`.
        quarantine_role_arns: As for :class:`VideoStore`.
        removal_policy: What happens to data when it leaves the template. Default ``RETAIN``.

    Raises:
        ValueError: If AWS would refuse it.

    Attributes:
        key: The replica of the key, or ``None``.
        store: The store of this region.

    Source: S3 User Guide, "Replicating objects"; KMS Developer Guide, "Multi-Region keys".
    """

    store: VideoStore

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        primary_region: str,
        table_name: str,
        raw_bucket_name: str,
        media_bucket_name: str,
        site_bucket_name: str | None = None,
        replicate_to: Sequence[ReplicationTarget],
        replication_time_control: bool = False,
        opted_in_regions: Sequence[str] = (),
        primary_key_arn: str | None = None,
        upload_origins: Sequence[str] | None = None,
        archive_after: cdk.Duration | None = None,
        tier_media_after: cdk.Duration | None = None,
        noncurrent_expiry: cdk.Duration | None = None,
        access_logs: bool | s3.IBucket = True,
        access_logs_expiry: cdk.Duration | None = None,
        quarantine_role_arns: Sequence[str] | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._check(primary_region, replicate_to, primary_key_arn, opted_in_regions)
        removal_policy = removal_policy or cdk.RemovalPolicy.RETAIN
        self.key = None
        if primary_key_arn is not None:
            self.key = self._replicate_key(primary_key_arn, removal_policy)
        self.store = VideoStore(
            self,
            "Store",
            imported_table_name=table_name,
            raw_bucket_name=raw_bucket_name,
            media_bucket_name=media_bucket_name,
            site=site_bucket_name is not None,
            site_bucket_name=site_bucket_name,
            encryption_key=self.key,
            upload_origins=upload_origins,
            archive_after=archive_after,
            tier_media_after=tier_media_after,
            noncurrent_expiry=noncurrent_expiry,
            access_logs=access_logs,
            access_logs_expiry=access_logs_expiry,
            quarantine_role_arns=quarantine_role_arns,
            removal_policy=removal_policy,
            replicate_to=replicate_to,
            replication_time_control=replication_time_control,
            opted_in_regions=opted_in_regions,
        )

    @classmethod
    def from_multi_region_replica_attributes(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        table_name: str,
        raw_bucket_name: str,
        media_bucket_name: str,
        site_bucket_name: str | None = None,
        encryption_key_arn: str | None = None,
        access_log_bucket_name: str | None = None,
    ) -> MultiRegionReplicaBase:
        """Return a replica of this region and account that another stack made.

        Args:
            scope: Parent.
            construct_id: Id in it.
            table_name: Name of the table.
            raw_bucket_name: Its raw bucket.
            media_bucket_name: Its media bucket.
            site_bucket_name: Its bucket for the pages of a site. Default: there is none.
            encryption_key_arn: Its replica of the key. Default: there is none.
            access_log_bucket_name: Bucket for access logs. Default: there is none.
        """
        replica = MultiRegionReplicaBase(scope, construct_id)
        replica.store = VideoStore.from_video_store_attributes(
            replica,
            "Store",
            table_name=table_name,
            raw_bucket_name=raw_bucket_name,
            media_bucket_name=media_bucket_name,
            site_bucket_name=site_bucket_name,
            encryption_key_arn=encryption_key_arn,
            access_log_bucket_name=access_log_bucket_name,
        )
        replica.key = replica.store.encryption_key
        return replica

    def _replicate_key(self, primary_key_arn: str, removal_policy: cdk.RemovalPolicy) -> kms.IKey:
        replica = kms.CfnReplicaKey(
            self,
            "Key",
            primary_key_arn=primary_key_arn,
            key_policy=_key_policy(self),
            description="Replica of the key of the primary region's store",
        )
        replica.apply_removal_policy(removal_policy)
        return kms.Key.from_key_arn(self, "ImportedKey", replica.attr_arn)

    def _check(
        self,
        primary_region: str,
        targets: Sequence[ReplicationTarget],
        key_arn: str | None,
        opted_in_regions: Sequence[str],
    ) -> None:
        region = cdk.Stack.of(self).region
        if cdk.Token.is_unresolved(region):
            raise reject(
                self,
                "the stack has no region; pass env=Environment(region=...), since a replica is "
                "defined by where it is",
            )
        if primary_region == region:
            raise reject(
                self,
                f"primary_region is {primary_region!r}, which is also the region of the stack; "
                "deploy the replica elsewhere",
            )
        if primary_region not in {target.region for target in targets}:
            raise reject(
                self,
                f"replicate_to lacks the primary region {primary_region!r}; add it, since whoever "
                "falls back to it would miss what was made here",
            )
        problem = region_problem(region, beside=primary_region, opted_in=opted_in_regions)
        if problem is not None:
            raise reject(self, f"the stack is in {problem}")
        if key_arn is not None and not cdk.Token.is_unresolved(key_arn):
            key_id = key_arn.rpartition("/")[2]
            if not key_id.startswith(_MULTI_REGION_KEY_PREFIX):
                raise reject(
                    self,
                    f"primary_key_arn is {key_arn!r}, which is no multi-region key (mrk-...); "
                    "make the primary key with multi_region=True",
                )
            if key_arn.split(":")[3] != primary_region:
                raise reject(
                    self,
                    f"primary_key_arn is {key_arn!r}, which is not in {primary_region!r}; pass "
                    "that of the primary key, of which a replica is made here",
                )


def _key_policy(scope: Construct) -> iam.PolicyDocument:
    """Return the policy of a replica key: this account's IAM, and services for what they keep.

    A replica key shares the material of its primary but not its policy.
    """
    return iam.PolicyDocument(
        statements=[
            iam.PolicyStatement(
                sid="AccountDelegatesToIam",
                actions=["kms:*"],
                principals=[iam.AccountRootPrincipal()],
                resources=["*"],
            ),
            iam.PolicyStatement(
                sid="DistributionsDecrypt",
                actions=["kms:Decrypt"],
                principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
                resources=["*"],
                conditions=distribution_conditions(scope),
            ),
            logs_use_key(scope),
        ]
    )
