"""The replica of a store, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import aws_cdk as cdk
import pytest
from infra_templates import Synth, flat

from media_platform.constructs import MultiRegionReplica, ReplicationTarget, VideoStore

PRIMARY = ReplicationTarget(
    region="us-east-1", raw_bucket_name="primary-raw", media_bucket_name="primary-media"
)
KEY = "arn:aws:kms:us-east-1:111111111111:key/mrk-1"
REGION = "eu-west-1"


def replica(stack: cdk.Stack, **arguments: Any) -> MultiRegionReplica:
    defaults: dict[str, Any] = {
        "primary_region": "us-east-1",
        "table_name": "videos",
        "raw_bucket_name": "own-raw",
        "media_bucket_name": "own-media",
        "replicate_to": [PRIMARY],
    }
    return MultiRegionReplica(stack, "Replica", **{**defaults, **arguments})


def test_minimal_copies_back_to_the_primary(synth: Synth) -> None:
    made = synth(replica, region=REGION)
    assert not made.resources("AWS::DynamoDB::GlobalTable")
    assert not made.resources("AWS::KMS::ReplicaKey")
    rules = {
        name: bucket["Properties"]["ReplicationConfiguration"]["Rules"]
        for name, bucket in made.resources("AWS::S3::Bucket").items()
        if "AccessLogs" not in name
    }
    assert {
        (flat(rule["Destination"]["Bucket"]), rule["Filter"].get("And", rule["Filter"])["Prefix"])
        for found in rules.values()
        for rule in found
    } == {
        ("arn:aws:s3:::primary-raw", "raw/"),
        ("arn:aws:s3:::primary-media", "media/eu-west-1/"),
    }


def test_everything_on(synth: Synth) -> None:
    primary = replace(PRIMARY, site_bucket_name="primary-site")
    third = ReplicationTarget(
        region="ap-east-1", raw_bucket_name="third-raw", media_bucket_name="third-media"
    )
    made = synth(
        lambda stack: replica(
            stack,
            primary_key_arn=KEY,
            site_bucket_name="own-site",
            replicate_to=[primary, third],
            replication_time_control=True,
            opted_in_regions=["ap-east-1"],
            upload_origins=["https://example.com"],
            archive_after=cdk.Duration.days(1),
            noncurrent_expiry=cdk.Duration.days(2),
            access_logs_expiry=cdk.Duration.days(90),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        ),
        region=REGION,
    )
    key = made.only("AWS::KMS::ReplicaKey")
    assert key["PrimaryKeyArn"] == KEY
    sids = [statement["Sid"] for statement in key["KeyPolicy"]["Statement"]]
    assert sids == ["AccountDelegatesToIam", "DistributionsDecrypt", "LogGroupsUse"]
    for name, bucket in made.resources("AWS::S3::Bucket").items():
        assert bucket["DeletionPolicy"] == "Delete"
        if "AccessLogs" in name:
            (rule,) = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
            assert rule["ExpirationInDays"] == 90
            continue
        rules = bucket["Properties"]["ReplicationConfiguration"]["Rules"]
        # The third region has no bucket for pages.
        both = [("us-east-1", 1), ("ap-east-1", 2)]
        assert [(rule["Id"], rule["Priority"]) for rule in rules] == (
            both[:1] if "SiteBucket" in name else both
        )
        for rule in rules:
            in_time = {"Status": "Enabled", "Time": {"Minutes": 15}}
            assert rule["Destination"]["ReplicationTime"] == in_time
            assert rule["Destination"]["Metrics"]["EventThreshold"] == {"Minutes": 15}
            replica_key = flat(rule["Destination"]["EncryptionConfiguration"]["ReplicaKmsKeyID"])
            assert replica_key.startswith(f"arn:aws:kms:{rule['Id']}:ACCOUNT:key/")


def test_pages_of_a_site_are_copied_whole_and_so_are_their_deletions(synth: Synth) -> None:
    primary = replace(PRIMARY, site_bucket_name="primary-site")
    made = synth(
        lambda stack: replica(stack, site_bucket_name="own-site", replicate_to=[primary]),
        region=REGION,
    )
    (rule,) = (
        rule
        for name, bucket in made.resources("AWS::S3::Bucket").items()
        if "SiteBucket" in name
        for rule in bucket["Properties"]["ReplicationConfiguration"]["Rules"]
    )
    assert flat(rule["Destination"]["Bucket"]) == "arn:aws:s3:::primary-site"
    assert rule["Filter"] == {"Prefix": ""}
    assert rule["DeleteMarkerReplication"] == {"Status": "Enabled"}
    grants = made.grants("ReplicaStoreReplicationRole")
    assert grants["s3:ReplicateObject"] == {
        "arn:aws:s3:::primary-raw/*",
        "arn:aws:s3:::primary-media/*",
        "arn:aws:s3:::primary-site/*",
    }
    assert grants["s3:ReplicateDelete"] == {
        "arn:aws:s3:::primary-raw/*",
        "arn:aws:s3:::primary-site/*",
    }


def test_metrics_of_copies_are_those_of_all_buckets(stack: cdk.Stack) -> None:
    store = VideoStore(
        stack,
        "Store",
        raw_bucket_name="own-raw",
        media_bucket_name="own-media",
        replicate_to=[replace(PRIMARY, region=REGION)],
    )
    pending = store.metric_copies_pending(REGION)
    assert pending.expression == "FILL(raw, 0) + FILL(media, 0)"
    assert set(pending.using_metrics) == {"raw", "media"}
    assert store.metric_copies_failed(REGION).expression == pending.expression


@pytest.mark.parametrize(("promised", "periods"), [(True, 1), (False, 3)])
def test_the_first_late_copy_counts_where_s3_promises(
    synth: Synth, promised: bool, periods: int
) -> None:
    made = synth(lambda stack: replica(stack, replication_time_control=promised), region=REGION)
    late = [
        alarm["Properties"]
        for name, alarm in made.resources("AWS::CloudWatch::Alarm").items()
        if "RawLate" in name or "MediaLate" in name
    ]
    assert len(late) == 2
    for alarm in late:
        assert (alarm["MetricName"], alarm["Threshold"]) == ("ReplicationLatency", 15 * 60)
        assert alarm["EvaluationPeriods"] == periods
        assert ("promises" in alarm["AlarmDescription"]) is promised


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {
                "primary_region": "cn-north-1",
                "replicate_to": [replace(PRIMARY, region="cn-north-1")],
            },
            (
                "the stack is in 'eu-west-1', which is in the partition aws, while 'cn-north-1' is "
                "in aws-cn; AWS copies within a partition, so deploy a stage in each"
            ),
        ),
        (
            {"primary_region": REGION},
            (
                "primary_region is 'eu-west-1', which is also the region of the stack; deploy the "
                "replica elsewhere"
            ),
        ),
        (
            {"replicate_to": []},
            (
                "replicate_to lacks the primary region 'us-east-1'; add it, since whoever falls "
                "back to it would miss what was made here"
            ),
        ),
        (
            {"primary_key_arn": "arn:aws:kms:eu-west-1:111111111111:key/mrk-1"},
            (
                "primary_key_arn is 'arn:aws:kms:eu-west-1:111111111111:key/mrk-1', which is not "
                "in 'us-east-1'; pass that of the primary key, of which a replica is made here"
            ),
        ),
        (
            {"primary_key_arn": "arn:aws:kms:us-east-1:111111111111:key/one"},
            (
                "primary_key_arn is 'arn:aws:kms:us-east-1:111111111111:key/one', which is no "
                "multi-region key (mrk-...); make the primary key with multi_region=True"
            ),
        ),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region=REGION))
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(path: Test/Replica\\)$"):
        replica(stack, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"raw_bucket_name": "primary-raw"},
            (
                "raw_bucket_name is 'primary-raw', which another bucket here or in replicate_to is "
                "called, too; bucket names are global, so put region and kind into them"
            ),
        ),
        (
            {"raw_bucket_name": "own-media"},
            "raw_bucket_name is 'own-media', which another bucket here or in replicate_to is ",
        ),
        (
            {"replicate_to": [PRIMARY, PRIMARY]},
            "replicate_to contains 'us-east-1' twice; remove one of them",
        ),
        (
            {"replicate_to": [PRIMARY, replace(PRIMARY, region="ap-east-1")]},
            (
                "replicate_to contains 'ap-east-1', which is off until an account opts in; switch "
                "it on for the account, then add it to opted_in_regions"
            ),
        ),
        (
            {"replicate_to": [PRIMARY, replace(PRIMARY, region="cn-north-1")]},
            (
                "replicate_to contains 'cn-north-1', which is in the partition aws-cn, while "
                "'eu-west-1' is in aws; AWS copies within a partition, so deploy a stage in each"
            ),
        ),
    ],
)
def test_errors_of_its_store(arguments: dict[str, Any], message: str) -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region=REGION))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*\\(path: Test/Replica/Store\\)$"):
        replica(stack, **arguments)


def test_a_replica_that_is_off_at_first_needs_the_account_to_have_switched_it_on() -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region="ap-east-1"))
    with pytest.raises(ValueError, match=r"^the stack is in 'ap-east-1', which is off until"):
        replica(stack)


def test_a_replica_needs_a_region() -> None:
    message = (
        "the stack has no region; pass env=Environment(region=...), since a replica is defined by "
        "where it is (path: Test/Replica)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replica(cdk.Stack(cdk.App(), "Test"))
