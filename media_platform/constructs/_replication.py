"""Copies of objects in other regions: the role that S3 takes, and the rules of a bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept, accept_wildcards
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._checks import reject
from media_platform.constructs._regions import region_problem
from media_platform.contract.object_keys import REPLICATE_TAG, REPLICATE_VALUE

Kind = Literal["raw", "media", "site"]
_LATE = timedelta(minutes=1)
"""How late a change of the table may be; usually it takes a second."""

_COPY_LATE = timedelta(minutes=15)
"""How late a copy may be: what S3 promises with replication time control."""

_PENDING_BYTES = 100 * 2**30
"""Bytes that may wait for half an hour."""

_KINDS: tuple[Kind, ...] = ("raw", "media", "site")


@dataclass(frozen=True, kw_only=True)
class ReplicationTarget:
    """The store of another region, as plain values: no object crosses from stack to stack.

    Attributes:
        region: Its region.
        raw_bucket_name: Its raw bucket.
        media_bucket_name: Its media bucket.
        site_bucket_name: Its bucket for the pages of a site. Default: it has none.
    """

    region: str
    raw_bucket_name: str
    media_bucket_name: str
    site_bucket_name: str | None = None

    def bucket_name(self, kind: Kind) -> str | None:
        """Return the name of the bucket of a kind, if there is one."""
        return {
            "raw": self.raw_bucket_name,
            "media": self.media_bucket_name,
            "site": self.site_bucket_name,
        }[kind]


def check_targets(
    scope: Construct,
    targets: Sequence[ReplicationTarget],
    *,
    own_names: Mapping[Kind, str | None],
    opted_in_regions: Collection[str],
    time_control: bool,
) -> None:
    """Check what S3 would refuse, or what would copy a bucket onto itself.

    Args:
        scope: Whose arguments they are.
        targets: Where copies go.
        own_names: Names of the buckets that are copied, ``None`` where it was not given.
        opted_in_regions: Regions that the account has switched on.
        time_control: Whether copies are promised in time.

    Raises:
        ValueError: If a target cannot work.
    """
    if not targets:
        if time_control:
            raise reject(
                scope,
                "replication_time_control is True but replicate_to is empty; there are no copies "
                "to be in time",
            )
        return
    for kind, value in own_names.items():
        if value is None:
            raise reject(
                scope,
                f"replicate_to is given but {kind}_bucket_name is missing; pass one, since the "
                "other region names this bucket before it exists",
            )
    check_regions(scope, "replicate_to", [target.region for target in targets], opted_in_regions)
    used = Counter(own_names.values())
    used.update({target.bucket_name(kind) for target in targets for kind in _KINDS})
    for kind, value in own_names.items():
        if used[value] > 1:
            raise reject(
                scope,
                f"{kind}_bucket_name is {value!r}, which another bucket here or in replicate_to "
                "is called, too; bucket names are global, so put region and kind into them",
            )


def check_regions(
    scope: Construct, name: str, regions: Sequence[str], opted_in: Collection[str]
) -> None:
    """Check that regions are others than that of the stack, named once, and can hold copies.

    Args:
        scope: Whose argument they are.
        name: Name of the argument.
        regions: The regions.
        opted_in: Regions that the account has switched on.

    Raises:
        ValueError: If one of them is not.
    """
    here = cdk.Stack.of(scope).region
    for region, times in Counter(regions).items():
        if region == here:
            raise reject(
                scope,
                f"{name} contains {region!r}, which is also the region of the stack; remove it",
            )
        if times > 1:
            raise reject(scope, f"{name} contains {region!r} twice; remove one of them")
        problem = region_problem(region, beside=here, opted_in=opted_in)
        if problem is not None:
            raise reject(scope, f"{name} contains {problem}")


def role(
    scope: Construct,
    targets: Sequence[ReplicationTarget],
    *,
    own_names: Mapping[Kind, str | None],
    key: kms.IKey | None,
) -> iam.Role | None:
    """Return the role that S3 takes, or ``None`` if nothing is replicated.

    Args:
        scope: Parent.
        targets: Where copies go.
        own_names: Names of the buckets that are copied, by kind.
        key: Their key, or ``None``.

    Source: S3 User Guide, "Setting up permissions for live replication".
    """
    if not targets:
        return None
    made = iam.Role(
        scope,
        "ReplicationRole",
        assumed_by=iam.ServicePrincipal("s3.amazonaws.com"),
        description="S3 copies uploads and published media to other regions",
    )
    sources = [_bucket_arn(name) for name in own_names.values() if name]
    copies = [
        f"{_bucket_arn(name)}/*"
        for target in targets
        for kind in own_names
        if (name := target.bucket_name(kind)) is not None
    ]
    objects = [f"{source}/*" for source in sources]
    for actions, resources in (
        (["s3:GetReplicationConfiguration", "s3:ListBucket"], sources),
        (
            [
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionTagging",
            ],
            objects,
        ),
        (["s3:ReplicateObject", "s3:ReplicateTags"], copies),
        # The rules of media copy no delete markers.
        (
            ["s3:ReplicateDelete"],
            [
                f"{_bucket_arn(name)}/*"
                for target in targets
                for kind in own_names
                if kind != "media" and (name := target.bucket_name(kind)) is not None
            ],
        ),
    ):
        made.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
    if key is not None:
        key.grant(made, "kms:Decrypt")
        made.add_to_policy(
            iam.PolicyStatement(
                actions=["kms:Encrypt"],
                resources=[key_arn_in(scope, key, target.region) for target in targets],
            )
        )
    accept(made, Accepted.OWN_POLICY)
    accept_wildcards(made, Accepted.COPIED_OBJECTS, *objects, *copies)
    return made


def rules(
    scope: Construct,
    targets: Sequence[ReplicationTarget],
    *,
    kind: Kind,
    prefix: str,
    key: kms.IKey | None,
    time_control: bool,
) -> list[s3.ReplicationRule]:
    """Return one rule for each target that has a bucket of the kind.

    S3 does not copy what is a copy itself, so rules in both directions make no circle. Of media it
    copies what carries the tag of the contract, which playlists that still grow do not; rules that
    choose by a tag copy no delete markers.

    Source: S3 User Guide, "Replication configuration", filters and delete markers.
    """
    tags = [s3.Tag(key=REPLICATE_TAG, value=REPLICATE_VALUE)] if kind == "media" else None
    # The one value that S3 takes.
    time = s3.ReplicationTimeValue.FIFTEEN_MINUTES
    scopes = Construct(scope, f"{kind.capitalize()}Targets") if targets else scope
    return [
        s3.ReplicationRule(
            id=target.region,
            priority=priority,
            filter=s3.Filter(prefix=prefix, tags=tags),
            delete_marker_replication=tags is None,
            destination=s3.Bucket.from_bucket_attributes(
                scopes,
                target.region,
                bucket_arn=_bucket_arn(name),
                region=target.region,
            ),
            metrics=time,
            replication_time_control=time if time_control else None,
            sse_kms_encrypted_objects=True if key else None,
            kms_key=(
                kms.Key.from_key_arn(
                    Construct(scopes, f"Key{priority}"),
                    "Key",
                    key_arn_in(scope, key, target.region),
                )
                if key
                else None
            ),
        )
        for priority, target in enumerate(targets, start=1)
        if (name := target.bucket_name(kind)) is not None
    ]


def watch(
    scope: Construct,
    targets: Sequence[ReplicationTarget],
    *,
    buckets: Mapping[Kind, s3.IBucket],
    table_delay: Callable[[str], cloudwatch.IMetric],
    time_control: bool,
) -> None:
    """Add the alarms that copies are late or fail, and that changes of the table are late.

    Args:
        scope: Parent.
        targets: Where copies go.
        buckets: What is copied.
        table_delay: The metric of how long changes of the table take to a region.
        time_control: Whether copies are promised in time, so that the first late one counts.

    Source: S3 User Guide, "Using S3 Replication metrics"; DynamoDB Developer Guide, "Global tables:
    monitoring".
    """
    for target in targets:
        alarms = Construct(scope, f"To-{target.region}")
        OperatorAlarm(
            alarms,
            "TableLate",
            metric=table_delay(target.region),
            above=_LATE / timedelta(milliseconds=1),
            periods=3,
            description=f"Changes of the table reach {target.region} late; it would miss them if "
            "this region were lost now",
        )
        for kind, bucket in buckets.items():
            if target.bucket_name(kind) is None:
                continue
            for name, metric_name, above, periods, problem in (
                (
                    "Late",
                    "ReplicationLatency",
                    _COPY_LATE.total_seconds(),
                    1 if time_control else 3,
                    (
                        "take longer than the 15 minutes that S3 promises"
                        if time_control
                        else "are late"
                    ),
                ),
                ("Pending", "BytesPendingReplication", _PENDING_BYTES, 6, "pile up"),
                ("Failed", "OperationsFailedReplication", 0, 1, "fail"),
            ):
                OperatorAlarm(
                    alarms,
                    f"{kind.capitalize()}{name}",
                    metric=copy_metric(metric_name, kind, bucket, target),
                    above=above,
                    periods=periods,
                    description=f"Copies of {kind} objects to {target.region} {problem}; see S3's "
                    "replication metrics of the bucket",
                )


def copy_metric(
    name: str, kind: Kind, bucket: s3.IBucket, target: ReplicationTarget
) -> cloudwatch.Metric:
    """Return a metric of the rule that copies a bucket to a target (most of five minutes)."""
    return cloudwatch.Metric(
        namespace="AWS/S3",
        metric_name=name,
        dimensions_map={
            "SourceBucket": bucket.bucket_name,
            "DestinationBucket": str(target.bucket_name(kind)),
            "RuleId": target.region,
        },
        statistic="Maximum",
    )


def _bucket_arn(name: str) -> str:
    return f"arn:{cdk.Aws.PARTITION}:s3:::{name}"


def key_arn_in(scope: Construct, key: kms.IKey, region: str) -> str:
    """Return the ARN of a multi-region key in ``region``; its id is the same everywhere."""
    return cdk.Stack.of(scope).format_arn(
        service="kms", region=region, resource="key", resource_name=key.key_id
    )


def table_encryption(
    scope: Construct, key: kms.IKey | None, replica_regions: Sequence[str]
) -> dynamodb.TableEncryptionV2:
    """Return the encryption of a table and its replicas."""
    if key is None:
        return dynamodb.TableEncryptionV2.dynamo_owned_key()
    return dynamodb.TableEncryptionV2.customer_managed_key(
        key, {region: key_arn_in(scope, key, region) for region in replica_regions} or None
    )
