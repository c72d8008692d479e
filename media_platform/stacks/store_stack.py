"""Store stacks: what must outlive everything else."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from constructs import Construct

from media_platform.constructs import (
    AlarmTopic,
    MonthlyBudget,
    MultiRegionReplica,
    ReplicationTarget,
    VideoStore,
)
from media_platform.constructs._accepted import Accepted, accept
from media_platform.contract.outputs import StoreOutput
from media_platform.stacks.config import StageConfig, bucket_name
from media_platform.stacks.removal import removal_policy


class StoreStack(cdk.Stack):
    """The store of the primary region.

    Args:
        scope: The app.
        construct_id: Id in it.
        config: The stage.
        **kwargs: Arguments of :class:`aws_cdk.Stack`.

    Attributes:
        store: The store.
        alarms: Who is told when something is the matter in this region.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, config: StageConfig, **kwargs: Any
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        key: kms.Key | None = None
        if config.customer_managed_key:
            key = kms.Key(
                self,
                "Key",
                description=f"Videos of media-platform {config.name}",
                # KMS never changes it, and a region may join later.
                multi_region=True,
                enable_key_rotation=True,
                removal_policy=removal_policy(config),
            )
        copies = [region for region in config.members if region != config.primary]
        # Named although nobody may ask for them yet: under another name they would be replaced
        # when a region joins.
        names = store_names(config, config.primary.name)
        self.store = VideoStore(
            self,
            "Store",
            table_name=table_name(config),
            raw_bucket_name=names.raw_bucket_name,
            media_bucket_name=names.media_bucket_name,
            site=config.site is not None,
            site_bucket_name=names.site_bucket_name,
            encryption_key=key,
            access_logs=config.access_logs,
            **storage(config),
            quarantine_role_arns=config.scanning.quarantine_roles,
            removal_policy=removal_policy(config),
            replicate_to=[store_names(config, region.name) for region in copies],
            replication_time_control=config.replication_time_control and bool(copies),
            replica_table_regions=[region.name for region in copies],
            opted_in_regions=config.opted_in_regions,
        )
        self.store.grant_distributions_read()
        if config.replicas and not copies:
            kept = (self.store.raw_bucket, self.store.media_bucket, self.store.site_bucket)
            for bucket in kept:
                if bucket is not None:
                    accept(bucket, Accepted.JOINING_COPIES)
        self.alarms = alarm_topic(self, config)
        if config.monthly_budget_usd is not None:
            MonthlyBudget(
                self,
                "Budget",
                stage=config.name,
                limit_usd=config.monthly_budget_usd,
                topic=self.alarms.topic,
            )
        _output(self, self.store)


class ReplicaStoreStack(cdk.Stack):
    """The store of another region.

    Args:
        scope: The app.
        construct_id: Id in it.
        config: The stage.
        primary_key_arn: Multi-region key of the primary store, or ``None``.
        **kwargs: Arguments of :class:`aws_cdk.Stack`.

    Attributes:
        store: The store.
        alarms: Who is told when something is the matter in this region.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        primary_key_arn: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        here = store_names(config, self.region)
        self.store = MultiRegionReplica(
            self,
            "Replica",
            primary_region=config.primary.name,
            primary_key_arn=primary_key_arn,
            table_name=table_name(config),
            raw_bucket_name=here.raw_bucket_name,
            media_bucket_name=here.media_bucket_name,
            site_bucket_name=here.site_bucket_name,
            replicate_to=[
                store_names(config, region.name)
                for region in config.members
                if region.name != self.region
            ],
            replication_time_control=config.replication_time_control,
            opted_in_regions=config.opted_in_regions,
            access_logs=config.access_logs,
            **storage(config),
            quarantine_role_arns=config.scanning.quarantine_roles,
            removal_policy=removal_policy(config),
        ).store
        self.store.grant_distributions_read()
        self.alarms = alarm_topic(self, config)
        _output(self, self.store)


def storage(config: StageConfig) -> dict[str, Any]:
    """Return what a stage says of its stores, as arguments that both constructs take."""
    return {
        "archive_after": cdk.Duration.days(config.storage.archive_days),
        "tier_media_after": cdk.Duration.days(config.storage.tier_media_days),
        "noncurrent_expiry": cdk.Duration.days(config.storage.noncurrent_days),
        "access_logs_expiry": (
            cdk.Duration.days(config.storage.access_logs_days) if config.access_logs else None
        ),
        "upload_origins": config.storage.upload_origins,
    }


def alarm_topic(stack: cdk.Stack, config: StageConfig) -> AlarmTopic:
    """Return a topic that hears of all alarms of ``stack``."""
    topic = AlarmTopic(stack, "Alarms", email_addresses=config.alarm_emails)
    topic.watch(stack)
    return topic


def table_name(config: StageConfig) -> str:
    """Return the physical name of the table, by which replica regions import it."""
    return f"media-platform-{config.name}"


def store_names(config: StageConfig, region: str) -> ReplicationTarget:
    """Return the physical names of the buckets of a region, which its peers have to know."""
    return ReplicationTarget(
        region=region,
        raw_bucket_name=bucket_name(config.name, "raw", cdk.Aws.ACCOUNT_ID, region),
        media_bucket_name=bucket_name(config.name, "media", cdk.Aws.ACCOUNT_ID, region),
        site_bucket_name=(
            bucket_name(config.name, "site", cdk.Aws.ACCOUNT_ID, region) if config.site else None
        ),
    )


def _output(stack: cdk.Stack, store: VideoStore) -> None:
    values = {
        StoreOutput.TABLE_NAME: store.table.table_name,
        StoreOutput.RAW_BUCKET: store.raw_bucket.bucket_name,
        StoreOutput.MEDIA_BUCKET: store.media_bucket.bucket_name,
    }
    if store.site_bucket is not None:
        values[StoreOutput.SITE_BUCKET] = store.site_bucket.bucket_name
    if store.encryption_key is not None:
        values[StoreOutput.KEY_ARN] = store.encryption_key.key_arn
    for name, value in values.items():
        cdk.CfnOutput(stack, name.value, value=value)
