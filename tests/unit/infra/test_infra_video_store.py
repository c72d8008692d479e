"""The store: buckets, table, grants, and what it refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from infra_templates import Synth, Template, flat, some_role

from media_platform.constructs import ReplicationTarget, VideoStore
from media_platform.contract import table
from media_platform.contract.object_keys import EMPTIED_TAG

PEER = ReplicationTarget(
    region="eu-west-1", raw_bucket_name="peer-raw", media_bucket_name="peer-media"
)
LOGS = "StoreAccessLogs087BBF22"
LOGGER = {"Service": "logging.s3.amazonaws.com"}
NAMES: dict[str, Any] = {"raw_bucket_name": "own-raw", "media_bucket_name": "own-media"}


def store(stack: cdk.Stack) -> VideoStore:
    return VideoStore(stack, "Store")


def allowances(made: Template) -> list[dict[str, Any]]:
    """Return what the policies of all buckets allow."""
    return [
        statement
        for policy in made.resources("AWS::S3::BucketPolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]


def test_what_is_in_buckets_goes_with_them(synth: Synth) -> None:
    made = synth(lambda stack: VideoStore(stack, "Store", removal_policy=cdk.RemovalPolicy.DESTROY))
    buckets = made.resources("AWS::S3::Bucket")
    contents = made.resources("Custom::BucketContent")
    assert sorted(c["Properties"]["BucketName"]["Ref"] for c in contents.values()) == sorted(
        buckets
    )
    for bucket in buckets.values():
        assert {"Key": EMPTIED_TAG, "Value": "true"} in bucket["Properties"]["Tags"]
    # Closed first: what goes last in a deployment goes first when the stack does.
    for policy in made.resources("AWS::S3::BucketPolicy").values():
        (content,) = [
            name
            for name, c in contents.items()
            if c["Properties"]["BucketName"] == policy["Properties"]["Bucket"]
        ]
        assert content in policy["DependsOn"]
    names = ("StoreAccessLogs", "StoreMediaBucket", "StoreRawBucket")
    arns = {f"<{name}.Arn>" for name in names}
    grants = made.grants("BucketEmptierRole")
    assert grants["s3:GetBucketTagging"] == grants["s3:ListBucketVersions"] == arns
    assert grants["s3:DeleteObjectVersion"] == {f"{arn}/*" for arn in arns}
    assert {action for action in grants if action.startswith("s3:")} == {
        "s3:DeleteObjectVersion",
        "s3:GetBucketTagging",
        "s3:ListBucketVersions",
    }
    (function,) = made.resources("AWS::Lambda::Function").values()
    assert function["Properties"]["Timeout"] == 900


def test_minimal(synth: Synth) -> None:
    made = synth(store)
    buckets = made.resources("AWS::S3::Bucket")
    assert set(buckets) == {LOGS, "StoreMediaBucket494618BE", "StoreRawBucket27AD9156"}
    for bucket in buckets.values():
        properties = bucket["Properties"]
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        (default,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert default["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        rule = properties["LifecycleConfiguration"]["Rules"][0]
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
        assert "BucketName" not in properties
        assert bucket["DeletionPolicy"] == "Retain"
    for policy in made.resources("AWS::S3::BucketPolicy").values():
        statements = policy["Properties"]["PolicyDocument"]["Statement"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [s["Condition"] for s in statements]
        allowed = [s["Principal"] for s in statements if s["Effect"] == "Allow"]
        assert allowed == ([LOGGER] if policy["Properties"]["Bucket"] == {"Ref": LOGS} else [])
    stored = made.only("AWS::DynamoDB::GlobalTable")
    assert stored["BillingMode"] == "PAY_PER_REQUEST"
    assert stored["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    (replica,) = stored["Replicas"]
    assert replica["DeletionProtectionEnabled"] is True
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_requests_on_objects_are_logged_for_a_year(synth: Synth) -> None:
    made = synth(lambda stack: VideoStore(stack, "Store", encryption_key=kms.Key(stack, "Key")))
    buckets = made.resources("AWS::S3::Bucket")
    assert {
        logical: bucket["Properties"]["LoggingConfiguration"]
        for logical, bucket in buckets.items()
        if logical != LOGS
    } == {
        f"Store{kind}Bucket{end}": {
            "DestinationBucketName": {"Ref": LOGS},
            "LogFilePrefix": f"{kind.lower()}/",
            "TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}},
        }
        for kind, end in (("Raw", "27AD9156"), ("Media", "494618BE"))
    }
    logs = buckets[LOGS]["Properties"]
    assert "LoggingConfiguration" not in logs
    # S3 delivers to no bucket with a key of ours.
    (default,) = logs["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert default["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (rule,) = logs["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] == 365
    (statement,) = allowances(made)
    assert {flat(resource) for resource in statement["Resource"]} == {
        "<StoreAccessLogs.Arn>/raw/*",
        "<StoreAccessLogs.Arn>/media/*",
    }
    assert statement["Action"] == "s3:PutObject"
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    }


def test_logs_go_to_the_bucket_of_the_user_or_nowhere(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        own = s3.Bucket.from_bucket_name(stack, "Own", "their-logs")
        assert VideoStore(stack, "Store", access_logs=own).access_log_bucket is own
        assert VideoStore(stack, "Quiet", access_logs=False).access_log_bucket is None

    buckets = synth(build).resources("AWS::S3::Bucket")
    assert len(buckets) == 4
    assert {
        logical: bucket["Properties"]["LoggingConfiguration"]["DestinationBucketName"]
        for logical, bucket in buckets.items()
        if "LoggingConfiguration" in bucket["Properties"]
    } == {
        "StoreMediaBucket494618BE": "their-logs",
        "StoreRawBucket27AD9156": "their-logs",
    }


def test_media_that_nobody_watches_cost_less(synth: Synth) -> None:
    made = synth(store)
    media = made.resources("AWS::S3::Bucket")["StoreMediaBucket494618BE"]["Properties"]
    (rule,) = media["LifecycleConfiguration"]["Rules"]
    assert rule["Transitions"] == [{"StorageClass": "INTELLIGENT_TIERING", "TransitionInDays": 30}]


def test_throttled_keys_are_shown_in_every_region(synth: Synth) -> None:
    made = synth(
        lambda stack: VideoStore(
            stack, "Store", table_name="videos", replica_table_regions=["eu-west-1"]
        )
    )
    replicas = made.only("AWS::DynamoDB::GlobalTable")["Replicas"]
    assert len(replicas) == 2
    shown = {"Enabled": True, "Mode": "THROTTLED_KEYS"}
    for replica in replicas:
        assert replica["ContributorInsightsSpecification"] == shown
        assert len(replica["GlobalSecondaryIndexes"]) == len(table.INDEXES)
        for index in replica["GlobalSecondaryIndexes"]:
            assert index["ContributorInsightsSpecification"] == shown


def test_uploads_reach_event_bridge_without_a_custom_resource(synth: Synth) -> None:
    made = synth(store)
    raw = made.resources("AWS::S3::Bucket")["StoreRawBucket27AD9156"]["Properties"]
    assert raw["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    rule, pictures = raw["LifecycleConfiguration"]["Rules"]
    assert rule["Transitions"] == [{"StorageClass": "GLACIER_IR", "TransitionInDays": 30}]
    assert (pictures["Prefix"], pictures["ExpirationInDays"]) == ("thumbnails/", 7)
    (cors,) = raw["CorsConfiguration"]["CorsRules"]
    assert cors["AllowedMethods"] == ["PUT"]
    assert {"ETag", "x-amz-checksum-sha256"} <= set(cors["ExposedHeaders"])
    assert not made.resources("AWS::Lambda::Function")


def test_everything_on(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        VideoStore(
            stack,
            "Store",
            table_name="videos",
            raw_bucket_name="own-raw",
            media_bucket_name="own-media",
            encryption_key=kms.Key(stack, "Key", multi_region=True),
            upload_origins=["https://example.com"],
            archive_after=cdk.Duration.days(0),
            noncurrent_expiry=cdk.Duration.days(3),
            tier_media_after=cdk.Duration.days(0),
            contributor_insights=False,
            access_logs_expiry=cdk.Duration.days(90),
            point_in_time_recovery=False,
            removal_policy=cdk.RemovalPolicy.DESTROY,
            deletion_protection=True,
            replicate_to=[PEER],
            replication_time_control=True,
            replica_table_regions=["eu-west-1"],
        ).grant_distributions_read()

    made = synth(build)
    raw = made.resources("AWS::S3::Bucket")["StoreRawBucket27AD9156"]
    assert raw["DeletionPolicy"] == "Delete"
    properties = raw["Properties"]
    assert properties["BucketName"] == "own-raw"
    assert properties["CorsConfiguration"]["CorsRules"][0]["AllowedOrigins"] == [
        "https://example.com"
    ]
    lifecycle, _ = properties["LifecycleConfiguration"]["Rules"]
    assert lifecycle["Transitions"][0]["TransitionInDays"] == 0
    assert lifecycle["NoncurrentVersionExpiration"] == {"NoncurrentDays": 3}
    logs = made.resources("AWS::S3::Bucket")[LOGS]
    assert logs["DeletionPolicy"] == "Delete"
    assert logs["Properties"]["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 90
    (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["BucketKeyEnabled"] is True
    (rule,) = properties["ReplicationConfiguration"]["Rules"]
    assert flat(rule["Destination"]["Bucket"]) == "arn:aws:s3:::peer-raw"
    assert rule["Destination"]["ReplicationTime"] == {"Status": "Enabled", "Time": {"Minutes": 15}}
    assert rule["Filter"] == {"Prefix": "raw/"}
    assert rule["DeleteMarkerReplication"] == {"Status": "Enabled"}
    assert flat(rule["Destination"]["EncryptionConfiguration"]["ReplicaKmsKeyID"]) == (
        "arn:aws:kms:eu-west-1:ACCOUNT:key/<Key>"
    )
    media = made.resources("AWS::S3::Bucket")["StoreMediaBucket494618BE"]["Properties"]
    (lifecycle,) = media["LifecycleConfiguration"]["Rules"]
    assert lifecycle["Transitions"][0]["TransitionInDays"] == 0
    (rule,) = media["ReplicationConfiguration"]["Rules"]
    # What still grows has no tag and is not copied; such rules may not copy delete markers.
    assert rule["Filter"] == {
        "And": {
            "Prefix": "media/us-east-1/",
            "TagFilters": [{"Key": "replicate", "Value": "yes"}],
        }
    }
    assert rule["DeleteMarkerReplication"] == {"Status": "Disabled"}
    stored = made.only("AWS::DynamoDB::GlobalTable")
    assert stored["TableName"] == "videos"
    assert [replica["Region"] for replica in stored["Replicas"]] == ["eu-west-1", "us-east-1"]
    for replica in stored["Replicas"]:
        assert replica["DeletionProtectionEnabled"] is True
        assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is False
        assert "SSESpecification" in replica
        assert replica["ContributorInsightsSpecification"] == {"Enabled": False}
    key = made.only("AWS::KMS::Key")
    assert [s.get("Sid") for s in key["KeyPolicy"]["Statement"]] == [
        None,
        "LogGroupsUse",
        "DistributionsDecrypt",
    ]


def test_replication_role_copies_and_nothing_else(synth: Synth) -> None:
    made = synth(lambda stack: VideoStore(stack, "Store", replicate_to=[PEER], **NAMES))
    sources = {"arn:aws:s3:::own-raw", "arn:aws:s3:::own-media"}
    objects = {f"{source}/*" for source in sources}
    copies = {"arn:aws:s3:::peer-raw/*", "arn:aws:s3:::peer-media/*"}
    assert made.grants("StoreReplicationRole") == {
        "s3:GetReplicationConfiguration": sources,
        "s3:ListBucket": sources,
        "s3:GetObjectVersionAcl": objects,
        "s3:GetObjectVersionForReplication": objects,
        "s3:GetObjectVersionTagging": objects,
        "s3:ReplicateDelete": {"arn:aws:s3:::peer-raw/*"},
        "s3:ReplicateObject": copies,
        "s3:ReplicateTags": copies,
    }


def test_an_imported_table_is_used_and_not_made(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        store = VideoStore(stack, "Store", imported_table_name="videos")
        assert store.table_stream_arn is None
        store.grant_use_table(some_role(stack), actions=["dynamodb:GetItem"])

    made = synth(build)
    assert not made.resources("AWS::DynamoDB::GlobalTable")
    assert made.grants("Grantee") == {
        "dynamodb:GetItem": {"arn:aws:dynamodb:us-east-1:ACCOUNT:table/videos"}
    }


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (
            "grant_upload",
            {
                "s3:ListBucket": {"<StoreRawBucket.Arn>"},
                "s3:AbortMultipartUpload": {"<StoreRawBucket.Arn>/raw/*"},
                "s3:ListMultipartUploadParts": {"<StoreRawBucket.Arn>/raw/*"},
                "s3:PutObject": {"<StoreRawBucket.Arn>/raw/*"},
            },
        ),
        (
            "grant_clear_uploads",
            {
                "s3:ListBucketMultipartUploads": {"<StoreRawBucket.Arn>"},
                "s3:ListBucketVersions": {"<StoreRawBucket.Arn>"},
                "s3:AbortMultipartUpload": {"<StoreRawBucket.Arn>/raw/*"},
                "s3:DeleteObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
            },
        ),
        ("grant_upload_pictures", {"s3:PutObject": {"<StoreRawBucket.Arn>/thumbnails/*"}}),
        (
            "grant_read_pictures",
            {
                "s3:ListBucket": {"<StoreRawBucket.Arn>"},
                "s3:GetObject": {"<StoreRawBucket.Arn>/thumbnails/*"},
            },
        ),
        (
            "grant_read_uploads",
            {
                "s3:ListBucket": {"<StoreRawBucket.Arn>"},
                "s3:GetObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
            },
        ),
        ("grant_quarantine", {"s3:PutObjectVersionTagging": {"<StoreRawBucket.Arn>/raw/*"}}),
        (
            "grant_publish",
            {
                "s3:AbortMultipartUpload": {"<StoreMediaBucket.Arn>/media/*"},
                "s3:PutObject": {"<StoreMediaBucket.Arn>/media/*"},
                "s3:PutObjectTagging": {"<StoreMediaBucket.Arn>/media/*"},
            },
        ),
        (
            "grant_purge_uploads",
            {
                "s3:ListBucketVersions": {"<StoreRawBucket.Arn>"},
                "s3:DeleteObjectVersion": {"<StoreRawBucket.Arn>/raw/*"},
            },
        ),
        (
            "grant_purge_published",
            {
                "s3:ListBucketVersions": {"<StoreMediaBucket.Arn>"},
                "s3:DeleteObjectVersion": {"<StoreMediaBucket.Arn>/media/*"},
            },
        ),
        (
            "grant_read_published",
            {
                "s3:ListBucket": {"<StoreMediaBucket.Arn>"},
                "s3:GetObject": {"<StoreMediaBucket.Arn>/media/*"},
            },
        ),
    ],
)
def test_bucket_grants(synth: Synth, grant: str, expected: dict[str, set[str]]) -> None:
    def build(stack: cdk.Stack) -> None:
        getattr(VideoStore(stack, "Store"), grant)(some_role(stack))

    assert synth(build).grants("Grantee") == expected


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        ("grant_upload", {"kms:GenerateDataKey", "kms:Decrypt"}),
        ("grant_read_uploads", {"kms:Decrypt"}),
        ("grant_publish", {"kms:GenerateDataKey", "kms:Decrypt"}),
        ("grant_read_published", {"kms:Decrypt"}),
    ],
)
def test_grants_include_the_key(synth: Synth, grant: str, expected: set[str]) -> None:
    def build(stack: cdk.Stack) -> None:
        store = VideoStore(stack, "Store", encryption_key=kms.Key(stack, "Key"))
        getattr(store, grant)(some_role(stack))

    granted = synth(build).grants("Grantee")
    assert {a: r for a, r in granted.items() if a.startswith("kms:")} == {
        action: {"<Key.Arn>"} for action in expected
    }


def test_table_grant_names_the_indexes_one_by_one(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        VideoStore(stack, "Store").grant_use_table(
            some_role(stack),
            actions=["dynamodb:PutItem", "dynamodb:UpdateItem"],
            indexes=[table.OWNER_VIDEOS, table.DUE],
        )

    assert synth(build).grants("Grantee") == {
        "dynamodb:PutItem": {"<StoreTable.Arn>"},
        "dynamodb:UpdateItem": {"<StoreTable.Arn>"},
        "dynamodb:Query": {
            "<StoreTable.Arn>/index/owner-videos",
            "<StoreTable.Arn>/index/due",
        },
    }


def quarantine_denials(made: Template) -> dict[str, dict[str, Any]]:
    """Return what the policy of the raw bucket denies of what a scanner refused."""
    (policy,) = [
        resource["Properties"]["PolicyDocument"]
        for name, resource in made.resources("AWS::S3::BucketPolicy").items()
        if name.startswith("StoreRawBucket")
    ]
    return {
        statement["Sid"]: statement
        for statement in policy["Statement"]
        if statement.get("Sid", "").startswith("Quarantine")
    }


def test_what_was_refused_is_read_and_released_by_nobody(synth: Synth) -> None:
    denials = quarantine_denials(synth(store))
    tagged = {"StringEquals": {"s3:ExistingObjectTag/quarantine": "yes"}}
    untouched = {"StringNotEquals": {"s3:RequestObjectTag/quarantine": "yes"}}
    assert {sid: (set(d["Action"]), d["Condition"]) for sid, d in denials.items()} == {
        "QuarantineIsNotRead": ({"s3:GetObject", "s3:GetObjectVersion"}, tagged),
        "QuarantineIsNotUntagged": (
            {"s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"},
            tagged,
        ),
        "QuarantineIsNotReleased": (
            {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
            {**tagged, **untouched},
        ),
    }
    for denial in denials.values():
        assert (denial["Effect"], denial["Principal"]) == ("Deny", {"AWS": "*"})
        assert flat(denial["Resource"]) == "<StoreRawBucket.Arn>/raw/*"


def test_who_looks_at_what_was_refused_is_named(synth: Synth) -> None:
    role = "arn:aws:iam::111122223333:role/MalwareAnalyst"
    made = synth(lambda stack: VideoStore(stack, "Store", quarantine_role_arns=[role]))
    denials = quarantine_denials(made)
    assert len(denials) == 3
    for denial in denials.values():
        assert denial["Condition"]["ArnNotEquals"] == {"aws:PrincipalArn": [role]}


def test_distributions_of_this_account_only_may_read(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        VideoStore(stack, "Store", access_logs=False).grant_distributions_read()

    (statement,) = allowances(synth(build))
    assert statement["Action"] == "s3:GetObject"
    assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert flat(statement["Resource"]) == "<StoreMediaBucket.Arn>/media/*"
    assert statement["Condition"]["StringEquals"] == {
        "AWS:SourceAccount": {"Ref": "AWS::AccountId"}
    }
    assert flat(statement["Condition"]["ArnLike"]["AWS:SourceArn"]) == (
        "arn:aws:cloudfront::ACCOUNT:distribution/*"
    )


def test_a_site_has_a_bucket_that_distributions_read(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        VideoStore(stack, "Store", site=True).grant_distributions_read()

    made = synth(build)
    (pages,) = (
        bucket["Properties"]
        for name, bucket in made.resources("AWS::S3::Bucket").items()
        if name.startswith("StoreSiteBucket")
    )
    assert pages["LoggingConfiguration"]["LogFilePrefix"] == "site/"
    assert {
        flat(statement["Resource"])
        for statement in allowances(made)
        if statement.get("Sid") == "DistributionsRead"
    } == {"<StoreMediaBucket.Arn>/media/*", "<StoreSiteBucket.Arn>/*"}


def test_a_store_of_another_stack(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        store = VideoStore.from_video_store_attributes(
            stack,
            "Store",
            table_name="videos",
            raw_bucket_name="their-raw",
            media_bucket_name="their-media",
            encryption_key_arn="arn:aws:kms:us-east-1:111111111111:key/one",
            access_log_bucket_name="their-logs",
            table_stream_arn="arn:aws:dynamodb:us-east-1:111111111111:table/videos/stream/1",
        )
        store.grant_read_uploads(some_role(stack))
        assert store.access_log_bucket is not None
        assert store.access_log_bucket.bucket_name == "their-logs"

    made = synth(build)
    assert not made.resources("AWS::S3::Bucket")
    assert made.grants("Grantee") == {
        "kms:Decrypt": {"arn:aws:kms:us-east-1:111111111111:key/one"},
        "s3:ListBucket": {"arn:aws:s3:::their-raw"},
        "s3:GetObjectVersion": {"arn:aws:s3:::their-raw/raw/*"},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"table_name": "a", "imported_table_name": "b"},
            (
                "table_name is 'a' and imported_table_name is 'b'; pass imported_table_name in "
                "replica regions and table_name in the primary one (path: Test/Store)"
            ),
        ),
        (
            {"imported_table_name": "b", "replica_table_regions": ["eu-west-1"]},
            (
                "replica_table_regions is ['eu-west-1'] but the table 'b' is imported; list the "
                "regions where the table is made (path: Test/Store)"
            ),
        ),
        (
            {"replica_table_regions": ["eu-west-1"]},
            (
                "replica_table_regions is ['eu-west-1'] but table_name is missing; pass one, "
                "since other regions import the table by its name (path: Test/Store)"
            ),
        ),
        (
            {"table_name": "a", "replica_table_regions": ["us-east-1"]},
            (
                "replica_table_regions contains 'us-east-1', which is also the region of the "
                "stack; remove it (path: Test/Store)"
            ),
        ),
        (
            {"table_name": "a", "replica_table_regions": ["eu-west-1", "eu-west-1"]},
            (
                "replica_table_regions contains 'eu-west-1' twice; remove one of them "
                "(path: Test/Store)"
            ),
        ),
        (
            {"table_name": "a", "replica_table_regions": ["ap-east-1"]},
            (
                "replica_table_regions contains 'ap-east-1', which is off until an account opts "
                "in; switch it on for the account, then add it to opted_in_regions (path: "
                "Test/Store)"
            ),
        ),
        (
            {"replication_time_control": True},
            (
                "replication_time_control is True but replicate_to is empty; there are no copies "
                "to be in time (path: Test/Store)"
            ),
        ),
        (
            {"site_bucket_name": "pages"},
            "site_bucket_name is 'pages' but site is False; pass site=True (path: Test/Store)",
        ),
        (
            {"replicate_to": [PEER], "site": True, **NAMES},
            (
                "replicate_to is given but site_bucket_name is missing; pass one, since the other "
                "region names this bucket before it exists (path: Test/Store)"
            ),
        ),
        (
            {"replicate_to": [PEER], "media_bucket_name": "own-media"},
            (
                "replicate_to is given but raw_bucket_name is missing; pass one, since the other "
                "region names this bucket before it exists (path: Test/Store)"
            ),
        ),
        (
            {"replicate_to": [PEER, PEER], **NAMES},
            "replicate_to contains 'eu-west-1' twice; remove one of them (path: Test/Store)",
        ),
        (
            {
                "replicate_to": [
                    ReplicationTarget(
                        region="us-east-1", raw_bucket_name="a", media_bucket_name="b"
                    )
                ],
                **NAMES,
            },
            (
                "replicate_to contains 'us-east-1', which is also the region of the stack; remove "
                "it (path: Test/Store)"
            ),
        ),
        (
            {"archive_after": cdk.Duration.days(4000)},
            (
                "archive_after in days is 4000, allowed are 0 to 3650; pass whole days, 0 to "
                "archive at once (path: Test/Store)"
            ),
        ),
        (
            {"access_logs": False, "access_logs_expiry": cdk.Duration.days(1)},
            (
                "access_logs_expiry is given but no log bucket is made here; remove it, or leave "
                "access_logs at True (path: Test/Store)"
            ),
        ),
        (
            {"access_logs_expiry": cdk.Duration.days(0)},
            (
                "access_logs_expiry in days is 0, allowed are 1 to 3650; pass whole days (path: "
                "Test/Store)"
            ),
        ),
        (
            {"tier_media_after": cdk.Duration.days(4000)},
            (
                "tier_media_after in days is 4000, allowed are 0 to 3650; pass whole days, 0 to "
                "tier at once (path: Test/Store)"
            ),
        ),
        (
            {"archive_after": 30},
            "archive_after is 30; pass a Duration, as Duration.days(30) (path: Test/Store)",
        ),
        (
            {"raw_bucket_name": "My_Uploads"},
            (
                "raw_bucket_name is 'My_Uploads', allowed are 3 to 63 lower-case letters, digits, "
                "'.' and '-', the first and last a letter or digit; rename it (path: Test/Store)"
            ),
        ),
        (
            {"noncurrent_expiry": cdk.Duration.hours(36)},
            ("noncurrent_expiry is 1 day 12 hours; pass a whole number of days (path: Test/Store)"),
        ),
        (
            {"noncurrent_expiry": cdk.Duration.days(0)},
            (
                "noncurrent_expiry in days is 0, allowed are 1 to 3650; pass whole days (path: "
                "Test/Store)"
            ),
        ),
    ],
)
def test_errors(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VideoStore(stack, "Store", **arguments)


def test_a_key_of_another_region_is_refused(stack: cdk.Stack) -> None:
    message = (
        "encryption_key is in eu-west-1, but this stack is in us-east-1; pass that of this region "
        "(path: Test/Store)"
    )
    key = kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111111111111:key/mrk-1")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VideoStore(stack, "Store", encryption_key=key)


def test_a_table_with_replicas_needs_a_region() -> None:
    message = (
        "replica_table_regions is ['eu-west-1'] but the stack has no region; pass "
        "env=Environment(region=...), since a table lists its own region among the others "
        "(path: Test/Store)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VideoStore(
            cdk.Stack(cdk.App(), "Test"),
            "Store",
            table_name="videos",
            replica_table_regions=["eu-west-1"],
        )


def test_tokens_are_not_judged(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        name = cdk.CfnParameter(stack, "Name").value_as_string
        VideoStore(stack, "Store", imported_table_name=name)

    assert "Ref" in json.dumps(synth(build).content)
