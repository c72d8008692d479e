"""Where videos are kept: the raw and media buckets and the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, cast

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs import _replication
from media_platform.constructs._access_logs import access_log_bucket, log_objects
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._checks import (
    check_bucket_name,
    check_range,
    check_region,
    in_days,
    reject,
)
from media_platform.constructs._distributions import distribution_conditions
from media_platform.constructs._durations import duration
from media_platform.constructs._log_groups import logs_use_key
from media_platform.constructs._private_bucket import private_bucket
from media_platform.constructs._replication import ReplicationTarget
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.contract import table as table_contract
from media_platform.contract.object_keys import MEDIA_PREFIX, PICTURE_PREFIX, RAW_PREFIX
from media_platform.contract.scanning import QUARANTINE_TAG, QUARANTINE_VALUE

_KINDS_OF_USE: tuple[Literal["Read", "Write"], ...] = ("Read", "Write")

_PICTURE_EXPIRY = timedelta(days=7)
"""Age at which pictures that were uploaded for thumbnails go; what became of them is elsewhere."""


class VideoStore(VideoStoreBase):
    """The buckets and the table of one region.

    Both buckets are versioned, private, encrypted and TLS only; the raw bucket tells EventBridge of
    every object, so that whoever wants to hear of uploads adds a rule and nothing here.

    Args:
        scope: Parent.
        construct_id: Id in it.
        table_name: Physical name of the table, which only regions that import it need.
            Default: generated.
        imported_table_name: Name of a table of which another region's store makes the replica in
            this region. Default: a table is made here.
        raw_bucket_name: Physical name, which only replication needs. Default: generated.
        media_bucket_name: Physical name, which only replication needs. Default: generated.
        site_bucket_name: Physical name, which only replication needs. Default: generated.
        encryption_key: Customer managed key of buckets and table, and of the log groups and kept
            failures of what works on them; the policy of an imported one must let CloudWatch Logs
            use it. Default: keys that AWS owns, at no cost.
        upload_origins: Origins of the pages that may upload from a browser. Default: any, since a
            presigned URL, not the page, is the permission.
        archive_after: Age at which uploads move to Glacier Instant Retrieval, whole days.
            Default 30 days; they are read again only when a video is transcoded anew.
        tier_media_after: Age at which media move to Intelligent-Tiering, whole days, 0 to move at
            once. It moves what nobody watched for 30 days to cheaper storage and back, for $0.0025
            a month and 1,000 objects; smaller ones than 128 KB stay where they are. Default 30
            days, since it saves nothing before.
        noncurrent_expiry: Age at which replaced and deleted versions vanish. Default 30 days.
        site: Whether there is a bucket for the pages of a site, :attr:`site_bucket`, which
            :class:`CdnDistribution` serves to everybody. Default ``False``.
        access_logs: Whether requests on objects are logged, or the bucket for logs: of this region
            and account, encrypted with a key that S3 manages, and, where it is imported, with a
            policy that lets ``logging.s3.amazonaws.com`` write. Default ``True``: to a new bucket,
            :attr:`access_log_bucket`, which other constructs of the region use, too. Logs cost
            what they occupy.
        access_logs_expiry: Age at which logs are deleted from the new bucket, 1 to 3650 whole days.
            Default one year.
        quarantine_role_arns: Roles that may read and release uploads that a scanner refused.
            Default: none, so that nobody can; deleting them needs no reading.
        point_in_time_recovery: Whether the table can be restored to any second of the last 35
            days. Default ``True``.
        contributor_insights: Whether the keys of the table, its indexes and replicas that are
            throttled most are shown. It costs $0.02 for a million throttled requests. Default
            ``True``.
        removal_policy: What happens to data when it leaves the template. Default ``RETAIN``;
            ``DESTROY`` deletes buckets with what is in them, for which the stack gets a function.
        deletion_protection: Whether the table refuses to be deleted. Default: when it is retained.
        replicate_to: Stores of other regions that get copies of uploads and of what this region
            publishes; pages of a site, too, where they have a bucket for them. They must exist: S3
            refuses a rule without its destination. Default: none.
        replication_time_control: Whether S3 promises that 99.9 % of the copies are there within
            15 minutes (S3 Replication Time Control). It costs $0.015 for a GB that is copied, and
            the first copy that is late raises the alarm. Default ``False``: most copies take
            seconds, and the alarm waits for 15 minutes.
        replica_table_regions: Regions that hold a replica of the table. Default: none.
        opted_in_regions: Regions among these that are off in new accounts and that this one has
            switched on. Default: none.

    Raises:
        ValueError: If arguments contradict each other or AWS would refuse them.

    Attributes:
        replication_regions: Regions that get copies.

    Source: S3 User Guide, "Replicating objects"; DynamoDB Developer Guide, "Global tables".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        table_name: str | None = None,
        imported_table_name: str | None = None,
        raw_bucket_name: str | None = None,
        media_bucket_name: str | None = None,
        site_bucket_name: str | None = None,
        encryption_key: kms.IKey | None = None,
        upload_origins: Sequence[str] | None = None,
        archive_after: cdk.Duration | None = None,
        tier_media_after: cdk.Duration | None = None,
        noncurrent_expiry: cdk.Duration | None = None,
        site: bool = False,
        access_logs: bool | s3.IBucket = True,
        access_logs_expiry: cdk.Duration | None = None,
        quarantine_role_arns: Sequence[str] | None = None,
        point_in_time_recovery: bool = True,
        contributor_insights: bool = True,
        removal_policy: cdk.RemovalPolicy | None = None,
        deletion_protection: bool | None = None,
        replicate_to: Sequence[ReplicationTarget] | None = None,
        replication_time_control: bool = False,
        replica_table_regions: Sequence[str] | None = None,
        opted_in_regions: Sequence[str] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        targets, replicas = list(replicate_to or ()), list(replica_table_regions or ())
        archive_after = archive_after or cdk.Duration.days(30)
        tier_media_after = tier_media_after or cdk.Duration.days(30)
        noncurrent_expiry = noncurrent_expiry or cdk.Duration.days(30)
        removal_policy = removal_policy or cdk.RemovalPolicy.RETAIN
        if deletion_protection is None:
            deletion_protection = removal_policy is cdk.RemovalPolicy.RETAIN

        own_names: dict[_replication.Kind, str | None] = {
            "raw": raw_bucket_name,
            "media": media_bucket_name,
        }
        if site:
            own_names["site"] = site_bucket_name
        elif site_bucket_name is not None:
            raise reject(
                self,
                f"site_bucket_name is {site_bucket_name!r} but site is False; pass site=True",
            )
        for kind, name in own_names.items():
            if name is not None:
                check_bucket_name(self, f"{kind}_bucket_name", name)
        self._check_table(table_name, imported_table_name, replicas, opted_in_regions)
        _replication.check_targets(
            self,
            targets,
            own_names=own_names,
            opted_in_regions=opted_in_regions,
            time_control=replication_time_control,
        )
        check_range(
            self,
            "archive_after in days",
            in_days(self, "archive_after", archive_after),
            (0, 3650),
            "pass whole days, 0 to archive at once",
        )
        check_range(
            self,
            "tier_media_after in days",
            in_days(self, "tier_media_after", tier_media_after),
            (0, 3650),
            "pass whole days, 0 to tier at once",
        )
        check_range(
            self,
            "noncurrent_expiry in days",
            in_days(self, "noncurrent_expiry", noncurrent_expiry),
            (1, 3650),
            "pass whole days",
        )

        self.encryption_key = encryption_key
        if encryption_key is not None:
            check_region(self, "encryption_key", encryption_key.env.region)
            encryption_key.add_to_resource_policy(logs_use_key(self))
        self.access_log_bucket = access_log_bucket(
            self,
            access_logs,
            expiry=access_logs_expiry,
            removal_policy=removal_policy,
            of_objects=True,
        )
        role = _replication.role(self, targets, own_names=own_names, key=encryption_key)
        prefixes: dict[_replication.Kind, str] = {
            "raw": RAW_PREFIX,
            # What other regions publish arrives here as copies, which are not copied on.
            "media": f"{MEDIA_PREFIX}{cdk.Stack.of(self).region}/",
            "site": "",
        }
        rules = {
            kind: _replication.rules(
                self,
                targets,
                kind=kind,
                prefix=prefixes[kind],
                key=encryption_key,
                time_control=replication_time_control,
            )
            for kind in own_names
        }
        raw = private_bucket(
            self,
            "RawBucket",
            bucket_name=raw_bucket_name,
            encryption_key=encryption_key,
            removal_policy=removal_policy,
            noncurrent_expiry=noncurrent_expiry,
            transitions=[
                s3.Transition(
                    storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                    transition_after=archive_after,
                )
            ],
            expiry_below={PICTURE_PREFIX: duration(_PICTURE_EXPIRY)},
            cors=[_upload_cors(["*"] if upload_origins is None else upload_origins)],
            replication_role=role,
            replication_rules=rules["raw"],
        )
        _tell_event_bridge(raw)
        log_objects(raw, self.access_log_bucket, prefix="raw")
        self.raw_bucket = raw
        self._keep_quarantine(raw, list(quarantine_role_arns or ()))
        media = private_bucket(
            self,
            "MediaBucket",
            bucket_name=media_bucket_name,
            encryption_key=encryption_key,
            removal_policy=removal_policy,
            noncurrent_expiry=noncurrent_expiry,
            transitions=[
                s3.Transition(
                    storage_class=s3.StorageClass.INTELLIGENT_TIERING,
                    transition_after=tier_media_after,
                )
            ],
            replication_role=role,
            replication_rules=rules["media"],
        )
        log_objects(media, self.access_log_bucket, prefix="media")
        self.media_bucket = media
        if site:
            pages = private_bucket(
                self,
                "SiteBucket",
                encryption_key=encryption_key,
                removal_policy=removal_policy,
                noncurrent_expiry=noncurrent_expiry,
                bucket_name=site_bucket_name,
                replication_role=role,
                replication_rules=rules["site"],
            )
            log_objects(pages, self.access_log_bucket, prefix="site")
            self.site_bucket = pages
        if imported_table_name is None:
            self.table = self._make_table(
                table_name,
                point_in_time_recovery=point_in_time_recovery,
                contributor_insights=contributor_insights,
                removal_policy=removal_policy,
                deletion_protection=deletion_protection,
                replicas=replicas,
            )
            self.table_stream_arn = self.table.table_stream_arn
        else:
            self.table = dynamodb.TableV2.from_table_name(self, "Table", imported_table_name)
            self.table_stream_arn = None
        self._table_name = self.table.table_name
        self.replication_regions = tuple(target.region for target in targets)
        self._targets = {target.region: target for target in targets}
        self._watch(time_control=replication_time_control)

    @classmethod
    def from_video_store_attributes(
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
        table_stream_arn: str | None = None,
    ) -> VideoStoreBase:
        """Return a store of this region and account that another stack made.

        Args:
            scope: Parent.
            construct_id: Id in it.
            table_name: Name of its table.
            raw_bucket_name: Name of its raw bucket.
            media_bucket_name: Name of its media bucket.
            site_bucket_name: Name of its bucket for the pages of a site. Default: it has none.
            encryption_key_arn: Its customer managed key. Default: it has none.
            access_log_bucket_name: Bucket for access logs, whose policy its own stack writes.
                Default: there is none.
            table_stream_arn: Stream of its table. Default: looked up when something needs it.
        """
        store = VideoStoreBase(scope, construct_id)
        store.table = dynamodb.TableV2.from_table_name(store, "Table", table_name)
        store.raw_bucket = s3.Bucket.from_bucket_name(store, "RawBucket", raw_bucket_name)
        store.media_bucket = s3.Bucket.from_bucket_name(store, "MediaBucket", media_bucket_name)
        if site_bucket_name is not None:
            store.site_bucket = s3.Bucket.from_bucket_name(store, "SiteBucket", site_bucket_name)
        store.encryption_key = (
            kms.Key.from_key_arn(store, "EncryptionKey", encryption_key_arn)
            if encryption_key_arn is not None
            else None
        )
        store.access_log_bucket = (
            s3.Bucket.from_bucket_name(store, "AccessLogs", access_log_bucket_name)
            if access_log_bucket_name is not None
            else None
        )
        store.table_stream_arn = table_stream_arn
        return store

    def grant_distributions_read(self) -> None:
        """Let CloudFront distributions of this account read ``media/``, and the site.

        The distribution is made later and elsewhere, hence the account and not its ARN; only who
        may change distributions here can use that.

        Source: CloudFront Developer Guide, "Restrict access to an Amazon S3 origin".
        """
        principals: list[iam.IPrincipal] = [iam.ServicePrincipal("cloudfront.amazonaws.com")]
        conditions = distribution_conditions(self)
        readable = [(self.media_bucket, self.media_objects_arn)]
        if self.site_bucket is not None:
            readable.append((self.site_bucket, self.site_bucket.arn_for_objects("*")))
        for bucket, objects in readable:
            bucket.add_to_resource_policy(
                iam.PolicyStatement(
                    sid="DistributionsRead",
                    actions=["s3:GetObject"],
                    principals=principals,
                    resources=[objects],
                    conditions=conditions,
                )
            )
        if self.encryption_key is not None:
            self.encryption_key.add_to_resource_policy(
                iam.PolicyStatement(
                    sid="DistributionsDecrypt",
                    actions=["kms:Decrypt"],
                    principals=principals,
                    resources=["*"],
                    conditions=conditions,
                )
            )

    def metric_throttles(self) -> cloudwatch.MathExpression:
        """Return the reads and writes that the table refused (count, sum of five minutes)."""
        return cloudwatch.MathExpression(
            label="Throttled reads and writes",
            expression="FILL(reads, 0) + FILL(writes, 0)",
            using_metrics={
                "reads": self._table_metric("ReadThrottleEvents", "Sum"),
                "writes": self._table_metric("WriteThrottleEvents", "Sum"),
            },
        )

    def metric_index_throttles(self, kind: Literal["Read", "Write"]) -> cloudwatch.MathExpression:
        """Return the reads or writes that indexes of the table refused (count, sum of 5 minutes).

        Those of the table itself are not among them. A write that an index refuses is refused.
        """
        metrics: dict[str, cloudwatch.IMetric] = {
            f"{kind.lower()}{number}": self._table_metric(
                f"{kind}ThrottleEvents", "Sum", GlobalSecondaryIndexName=index.name
            )
            for number, index in enumerate(table_contract.INDEXES, start=1)
        }
        return cloudwatch.MathExpression(
            label=f"Throttled {kind.lower()}s of indexes",
            expression=" + ".join(f"FILL({name}, 0)" for name in metrics),
            using_metrics=metrics,
        )

    def metric_table_use(self, kind: Literal["Read", "Write"]) -> cloudwatch.Metric:
        """Return the capacity units that were used (count, sum of five minutes)."""
        return self._table_metric(f"Consumed{kind}CapacityUnits", "Sum")

    def metric_replication_delay(self, region: str) -> cloudwatch.Metric:
        """Return how long changes of the table take to ``region`` (milliseconds, on average)."""
        return self._table_metric("ReplicationLatency", "Average", ReceivingRegion=region)

    def metric_copies_pending(self, region: str) -> cloudwatch.MathExpression:
        """Return what waits to be copied to ``region`` (bytes, most of five minutes)."""
        return self._copies("Bytes to copy", "BytesPendingReplication", region)

    def metric_copies_failed(self, region: str) -> cloudwatch.MathExpression:
        """Return the copies to ``region`` that failed (count, most of five minutes)."""
        return self._copies("Failed copies", "OperationsFailedReplication", region)

    def _copies(self, label: str, name: str, region: str) -> cloudwatch.MathExpression:
        """Return the sum of a metric of the rules to a region."""
        target = self._targets[region]
        metrics: dict[str, cloudwatch.IMetric] = {
            kind: _replication.copy_metric(name, kind, bucket, target)
            for kind, bucket in self._copied_buckets.items()
            if target.bucket_name(kind) is not None
        }
        return cloudwatch.MathExpression(
            label=label,
            expression=" + ".join(f"FILL({kind}, 0)" for kind in metrics),
            using_metrics=metrics,
        )

    @property
    def _copied_buckets(self) -> dict[_replication.Kind, s3.IBucket]:
        buckets: dict[_replication.Kind, s3.IBucket] = {
            "raw": self.raw_bucket,
            "media": self.media_bucket,
        }
        if self.site_bucket is not None:
            buckets["site"] = self.site_bucket
        return buckets

    def _table_metric(self, name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/DynamoDB",
            metric_name=name,
            dimensions_map={"TableName": self._table_name, **dimensions},
            statistic=statistic,
        )

    def _watch(self, *, time_control: bool) -> None:
        OperatorAlarm(
            self,
            "TableThrottles",
            metric=self.metric_throttles(),
            above=0,
            periods=3,
            description="The table refuses reads or writes; look for a hot key with Contributor "
            "Insights, or for a quota of the account",
        )
        # One alarm for each, since it takes ten metrics at most.
        for kind in _KINDS_OF_USE:
            OperatorAlarm(
                self,
                f"Index{kind}Throttles",
                metric=self.metric_index_throttles(kind),
                above=0,
                periods=3,
                description=f"Indexes of the table refuse {kind.lower()}s; look for a hot key with "
                "Contributor Insights of the indexes, or for a quota of the account",
            )
        _replication.watch(
            self,
            list(self._targets.values()),
            buckets=self._copied_buckets,
            table_delay=self.metric_replication_delay,
            time_control=time_control,
        )

    def _keep_quarantine(self, raw: s3.Bucket, role_arns: list[str]) -> None:
        """Deny reading, and releasing, of versions that carry the tag of the quarantine.

        A denial holds against every grant, also of administrators and of URLs that were signed
        before. Tagging a version again as it is stays allowed, since that is how a repeat looks.

        Source: Amazon S3 User Guide, "Tagging and access control policies".
        """
        tagged = {f"s3:ExistingObjectTag/{QUARANTINE_TAG}": QUARANTINE_VALUE}
        kept = {f"s3:RequestObjectTag/{QUARANTINE_TAG}": QUARANTINE_VALUE}
        others = {"ArnNotEquals": {"aws:PrincipalArn": role_arns}} if role_arns else {}
        for sid, actions, conditions in (
            (
                "QuarantineIsNotRead",
                ["s3:GetObject", "s3:GetObjectVersion"],
                {"StringEquals": tagged},
            ),
            (
                "QuarantineIsNotUntagged",
                ["s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"],
                {"StringEquals": tagged},
            ),
            (
                "QuarantineIsNotReleased",
                ["s3:PutObjectTagging", "s3:PutObjectVersionTagging"],
                {"StringEquals": tagged, "StringNotEquals": kept},
            ),
        ):
            raw.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=sid,
                    effect=iam.Effect.DENY,
                    actions=actions,
                    principals=[iam.AnyPrincipal()],
                    resources=[self.raw_objects_arn],
                    conditions={**conditions, **others},
                )
            )

    def _check_table(
        self,
        name: str | None,
        imported: str | None,
        replicas: list[str],
        opted_in_regions: Sequence[str],
    ) -> None:
        if name is not None and imported is not None:
            raise reject(
                self,
                f"table_name is {name!r} and imported_table_name is {imported!r}; pass "
                "imported_table_name in replica regions and table_name in the primary one",
            )
        if replicas and imported is not None:
            raise reject(
                self,
                f"replica_table_regions is {replicas} but the table {imported!r} is imported; "
                "list the regions where the table is made",
            )
        if replicas and name is None:
            raise reject(
                self,
                f"replica_table_regions is {replicas} but table_name is missing; pass one, "
                "since other regions import the table by its name",
            )
        region = cdk.Stack.of(self).region
        if replicas and cdk.Token.is_unresolved(region):
            raise reject(
                self,
                f"replica_table_regions is {replicas} but the stack has no region; pass "
                "env=Environment(region=...), since a table lists its own region among the others",
            )
        _replication.check_regions(self, "replica_table_regions", replicas, opted_in_regions)

    def _make_table(
        self,
        name: str | None,
        *,
        point_in_time_recovery: bool,
        contributor_insights: bool,
        removal_policy: cdk.RemovalPolicy,
        deletion_protection: bool,
        replicas: list[str],
    ) -> dynamodb.TableV2:
        recovery = dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=point_in_time_recovery
        )
        insights = dynamodb.ContributorInsightsSpecification(
            enabled=contributor_insights,
            mode=(
                dynamodb.ContributorInsightsMode.THROTTLED_KEYS if contributor_insights else None
            ),
        )
        return dynamodb.TableV2(
            self,
            "Table",
            table_name=name,
            partition_key=_string(table_contract.PARTITION_KEY),
            sort_key=_string(table_contract.SORT_KEY),
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=index.name,
                    partition_key=_string(index.partition_key),
                    sort_key=_string(index.sort_key),
                )
                for index in table_contract.INDEXES
            ],
            billing=dynamodb.Billing.on_demand(),
            time_to_live_attribute=table_contract.TTL_ATTRIBUTE,
            # Global tables replicate by this view, and the relay reads the new image.
            dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            point_in_time_recovery_specification=recovery,
            contributor_insights_specification=insights,
            encryption=_replication.table_encryption(self, self.encryption_key, replicas),
            deletion_protection=deletion_protection,
            removal_policy=removal_policy,
            replicas=[
                dynamodb.ReplicaTableProps(
                    region=region,
                    deletion_protection=deletion_protection,
                    point_in_time_recovery_specification=recovery,
                    contributor_insights_specification=insights,
                )
                for region in replicas
            ]
            or None,
        )


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)


def _upload_cors(origins: Sequence[str]) -> s3.CorsRule:
    return s3.CorsRule(
        allowed_methods=[s3.HttpMethods.PUT],
        allowed_origins=list(origins),
        allowed_headers=["content-type", "if-none-match", "x-amz-*"],
        exposed_headers=["ETag", "x-amz-checksum-sha256", "x-amz-version-id"],
        max_age=3000,
    )


def _tell_event_bridge(bucket: s3.Bucket) -> None:
    """Switch EventBridge on; the property of the L2 would add a custom resource with a Lambda."""
    resource = cast("s3.CfnBucket", bucket.node.default_child)
    resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
        event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
            event_bridge_enabled=True
        )
    )
