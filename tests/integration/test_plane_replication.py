"""Objects and items reach other regions later, as S3 and global tables bring them there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from emulator import ACCOUNT, OTHER_REGION, REGION, Emulator, allow, running_emulator

from media_platform.contract.ids import new_id
from media_platform.contract.object_keys import (
    REPLICATE_TAG,
    REPLICATE_TAGGING,
    REPLICATE_VALUE,
    RunKeys,
)
from mediactl.local.ports import free_ports

SOURCE, COPY = "media-here", "media-there"
TABLE = "global"
KEYS = RunKeys(region=REGION, tenant="acme", video_id="v", run_id="r")
WRITE = ["s3:PutObject", "s3:AbortMultipartUpload"]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        for bucket, region in ((SOURCE, REGION), (COPY, OTHER_REGION)):
            s3 = emulator.client("s3", region)
            s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region}
            )
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        role = emulator.role("copies", "s3.amazonaws.com", [])
        # As in the templates, which unit tests hold against this shape.
        tag = {"Key": REPLICATE_TAG, "Value": REPLICATE_VALUE}
        rule = {
            "ID": OTHER_REGION,
            "Priority": 1,
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": f"media/{REGION}/", "Tags": [tag]}},
            "DeleteMarkerReplication": {"Status": "Disabled"},
            "Destination": {"Bucket": f"arn:aws:s3:::{COPY}"},
        }
        emulator.client("s3").put_bucket_replication(
            Bucket=SOURCE, ReplicationConfiguration={"Role": role, "Rules": [rule]}
        )
        emulator.client("dynamodb").create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        emulator.client("dynamodb").update_table(
            TableName=TABLE, ReplicaUpdates=[{"Create": {"RegionName": OTHER_REGION}}]
        )
        yield emulator


@contextmanager
def apart(emulator: Emulator) -> Iterator[None]:
    """Keep the regions apart while the block runs: their gateways do not answer."""
    emulator.control("gateways", dict(zip((REGION, OTHER_REGION), free_ports(2), strict=True)))
    try:
        yield
    finally:
        emulator.control("gateways", {})


def put(emulator: Emulator, region: str, key: str, value: str) -> None:
    emulator.client("dynamodb", region).put_item(
        TableName=TABLE, Item={"pk": {"S": key}, "value": {"S": value}}
    )


def value(emulator: Emulator, region: str, key: str) -> str | None:
    answer = emulator.client("dynamodb", region).get_item(
        TableName=TABLE, Key={"pk": {"S": key}}, ConsistentRead=True
    )
    return str(answer["Item"]["value"]["S"]) if "Item" in answer else None


def values(emulator: Emulator, key: str) -> list[str | None]:
    """Return what both regions hold under a key, once nothing is under way."""
    emulator.settle()
    return [value(emulator, region, key) for region in (REGION, OTHER_REGION)]


def writer(emulator: Emulator, name: str, *actions: str) -> Any:
    """Return a client with the rights of a role that may do ``actions`` to objects of media."""
    role = emulator.role(
        name, "ecs-tasks.amazonaws.com", [allow(actions, f"arn:aws:s3:::{SOURCE}/media/*")]
    )
    session = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="writer")
    credentials = session["Credentials"]
    return boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=emulator.endpoint,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="module")
def worker(emulator: Emulator) -> Any:
    return writer(emulator, "worker", *WRITE, "s3:PutObjectTagging")


def copied(emulator: Emulator, key: str) -> bytes | None:
    emulator.settle()
    s3 = emulator.client("s3", OTHER_REGION)
    try:
        answer = s3.get_object(Bucket=COPY, Key=key)
    except s3.exceptions.NoSuchKey:
        return None
    tags = s3.get_object_tagging(Bucket=COPY, Key=key)["TagSet"]
    assert tags == [{"Key": REPLICATE_TAG, "Value": REPLICATE_VALUE}]
    body: bytes = answer["Body"].read()
    return body


def test_a_playlist_is_copied_when_it_is_final(emulator: Emulator, worker: Any) -> None:
    key = KEYS.playlist("v720")
    etag = worker.put_object(Bucket=SOURCE, Key=key, Body=b"1")["ETag"]
    etag = worker.put_object(Bucket=SOURCE, Key=key, Body=b"12", IfMatch=etag)["ETag"]
    assert copied(emulator, key) is None
    worker.put_object(Bucket=SOURCE, Key=key, Body=b"123", IfMatch=etag, Tagging=REPLICATE_TAGGING)
    assert copied(emulator, key) == b"123"


def test_an_object_in_parts_is_copied_with_its_tag(emulator: Emulator, worker: Any) -> None:
    for key, tagging in (
        (KEYS.download(720), {"Tagging": REPLICATE_TAGGING}),
        (KEYS.download(1080), {}),
    ):
        upload = worker.create_multipart_upload(Bucket=SOURCE, Key=key, **tagging)["UploadId"]
        named = {"Bucket": SOURCE, "Key": key, "UploadId": upload}
        part = worker.upload_part(**named, PartNumber=1, Body=b"film")
        worker.complete_multipart_upload(
            **named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        )
    assert copied(emulator, KEYS.download(720)) == b"film"
    assert copied(emulator, KEYS.download(1080)) is None


@pytest.mark.parametrize("operation", ["put_object", "create_multipart_upload"])
def test_naming_a_tag_needs_the_right_to_tag(emulator: Emulator, operation: str) -> None:
    client = writer(emulator, f"plain-{operation.replace('_', '-')}", *WRITE)
    named = {"Bucket": SOURCE, "Key": KEYS.poster}
    getattr(client, operation)(**named)
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**named, Tagging=REPLICATE_TAGGING)
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert "s3:PutObjectTagging" in str(refused.value)


def test_a_copy_has_the_version_of_its_original_and_goes_no_further(emulator: Emulator) -> None:
    here, there = (emulator.client("s3", region) for region in (REGION, OTHER_REGION))
    key = KEYS.master_playlist
    with apart(emulator):
        put_here = here.put_object(Bucket=SOURCE, Key=key, Body=b"1", Tagging=REPLICATE_TAGGING)
        head = here.head_object(Bucket=SOURCE, Key=key)
        assert head["ReplicationStatus"] == "PENDING"
        with pytest.raises(ClientError, match="404"):
            there.head_object(Bucket=COPY, Key=key)
    emulator.settle()
    assert here.head_object(Bucket=SOURCE, Key=key)["ReplicationStatus"] == "COMPLETED"
    copy = there.head_object(Bucket=COPY, Key=key, VersionId=put_here["VersionId"])
    assert (copy["ReplicationStatus"], copy["VersionId"]) == ("REPLICA", put_here["VersionId"])
    versions = here.list_object_versions(Bucket=SOURCE, Prefix=key)["Versions"]
    assert [version["VersionId"] for version in versions] == [put_here["VersionId"]]


def test_a_change_arrives_later_and_once(emulator: Emulator) -> None:
    with apart(emulator):
        put(emulator, REGION, "late", "1")
        put(emulator, REGION, "late", "2")
        assert value(emulator, OTHER_REGION, "late") is None
    assert values(emulator, "late") == ["2", "2"]
    emulator.client("dynamodb", OTHER_REGION).delete_item(
        TableName=TABLE, Key={"pk": {"S": "late"}}
    )
    assert values(emulator, "late") == [None, None]


@pytest.mark.parametrize("last", [REGION, OTHER_REGION])
def test_of_two_writes_of_one_item_the_later_stands_in_both_regions(
    emulator: Emulator, last: str
) -> None:
    first = REGION if last == OTHER_REGION else OTHER_REGION
    key = f"contended-{last}"
    with apart(emulator):
        put(emulator, first, key, "earlier")
        put(emulator, last, key, "later")
        assert [value(emulator, region, key) for region in (first, last)] == ["earlier", "later"]
    assert values(emulator, key) == ["later", "later"]


def test_an_item_that_was_deleted_later_does_not_come_back(emulator: Emulator) -> None:
    put(emulator, REGION, "gone", "1")
    emulator.settle()
    with apart(emulator):
        put(emulator, OTHER_REGION, "gone", "2")
        emulator.client("dynamodb").delete_item(TableName=TABLE, Key={"pk": {"S": "gone"}})
    assert values(emulator, "gone") == [None, None]


def test_what_is_older_than_a_rule_is_copied_by_a_job(emulator: Emulator) -> None:
    here, control = (emulator.client(service) for service in ("s3", "s3control"))
    bucket, key = "media-older", KEYS.segment("v360", 1, "000000.m4s")
    here.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    here.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = here.put_object(Bucket=bucket, Key=key, Body=b"old", Tagging=REPLICATE_TAGGING)
    here.put_object(Bucket=bucket, Key=KEYS.playlist("v360"), Body=b"it grows")
    rule = here.get_bucket_replication(Bucket=SOURCE)["ReplicationConfiguration"]
    here.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=rule)
    emulator.settle()
    assert copied(emulator, key) is None, "the rule alone copies nothing of before"

    def replicate() -> dict[str, Any]:
        made = control.create_job(
            AccountId=ACCOUNT,
            ClientRequestToken=new_id(),
            ConfirmationRequired=False,
            Description="older",
            Operation={"S3ReplicateObject": {}},
            ManifestGenerator={
                "S3JobManifestGenerator": {
                    "SourceBucket": f"arn:aws:s3:::{bucket}",
                    "Filter": {
                        "EligibleForReplication": True,
                        "ObjectReplicationStatuses": ["NONE", "FAILED"],
                    },
                    "EnableManifestOutput": False,
                }
            },
            Report={"Enabled": False},
            Priority=1,
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/copies",
        )
        return {"AccountId": ACCOUNT, "JobId": made["JobId"]}

    with apart(emulator):
        job = replicate()
        (listed,) = control.list_jobs(AccountId=ACCOUNT)["Jobs"]
        assert (listed["JobId"], listed["Status"]) == (job["JobId"], "Active")
    emulator.settle()
    described = control.describe_job(**job)["Job"]
    assert (described["Status"], described["Description"]) == ("Complete", "older")
    assert described["ProgressSummary"]["NumberOfTasksSucceeded"] == 1
    assert copied(emulator, key) == b"old"
    copy = emulator.client("s3", OTHER_REGION).head_object(Bucket=COPY, Key=key)
    assert copy["VersionId"] == old["VersionId"]
    again = control.describe_job(**replicate())["Job"]
    assert (again["Status"], again["ProgressSummary"]["TotalNumberOfTasks"]) == ("Complete", 0)


def test_a_replica_that_is_made_later_has_what_was_there(emulator: Emulator) -> None:
    here, there = (emulator.client("dynamodb", region) for region in (REGION, OTHER_REGION))
    here.create_table(
        TableName="joining",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    for key in ("kept", "gone"):
        here.put_item(TableName="joining", Item={"pk": {"S": key}})
    here.update_table(
        TableName="joining", ReplicaUpdates=[{"Create": {"RegionName": OTHER_REGION}}]
    )
    assert {item["pk"]["S"] for item in there.scan(TableName="joining")["Items"]} == {
        "kept",
        "gone",
    }
    there.delete_item(TableName="joining", Key={"pk": {"S": "gone"}})
    here.put_item(TableName="joining", Item={"pk": {"S": "new"}})
    emulator.settle()
    for client in (here, there):
        found = client.scan(TableName="joining")["Items"]
        assert sorted(item["pk"]["S"] for item in found) == ["kept", "new"]
