"""The replica of a store, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import aws_cdk as cdk
import pytest
from infra_templates import Synth, flat

from media_platform.constructs import MultiRegionReplica, ReplicationTarget

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
    third = ReplicationTarget(
        region="ap-southeast-2", raw_bucket_name="third-raw", media_bucket_name="third-media"
    )
    made = synth(
        lambda stack: replica(
            stack,
            primary_key_arn=KEY,
            replicate_to=[PRIMARY, third],
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
        assert [(rule["Id"], rule["Priority"]) for rule in rules] == [
            ("us-east-1", 1),
            ("ap-southeast-2", 2),
        ]
        for rule in rules:
            replica_key = flat(rule["Destination"]["EncryptionConfiguration"]["ReplicaKmsKeyID"])
            assert replica_key.startswith(f"arn:aws:kms:{rule['Id']}:ACCOUNT:key/")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
            {"raw_bucket_name": "primary-raw"},
            (
                "raw_bucket_name is 'primary-raw', which replicate_to names, too; bucket names "
                "are global, so put the region into them"
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


def test_a_replica_needs_a_region() -> None:
    message = (
        "the stack has no region; pass env=Environment(region=...), since a replica is defined by "
        "where it is (path: Test/Replica)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replica(cdk.Stack(cdk.App(), "Test"))
