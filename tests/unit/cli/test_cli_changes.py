"""What a deployment would change, told from two templates."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mediactl.deploying.changes import ResourceChange, resource_changes, section_changes

ACCOUNT, REGION = "111122223333", "eu-west-1"

TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Table": {
            "Type": "AWS::DynamoDB::GlobalTable",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {"TableName": "videos", "BillingMode": "PAY_PER_REQUEST"},
            "Metadata": {"aws:cdk:path": "Store/Table/Resource"},
        },
        "Raw": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Delete",
            "Properties": {
                "BucketName": {
                    "Fn::Join": ["-", ["raw", {"Ref": "AWS::AccountId"}, {"Ref": "AWS::Region"}]]
                }
            },
        },
        "Users": {"Type": "AWS::Cognito::UserPool", "Properties": {"UserPoolName": "users"}},
        "Client": {
            "Type": "AWS::Cognito::UserPoolClient",
            "Properties": {"UserPoolId": {"Ref": "Users"}},
        },
        "Function": {"Type": "AWS::Lambda::Function", "Properties": {"MemorySize": 128}},
        "Noted": {"Type": "AWS::CDK::Metadata", "Properties": {"Analytics": "v2:1"}},
    },
    "Outputs": {"TableName": {"Value": {"Ref": "Table"}}},
}


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    found = changes(before, after)
    return {one.logical_id: (one.change, one.properties) for one in found}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[ResourceChange]:
    return resource_changes(before, after, account=ACCOUNT, region=REGION)


@pytest.fixture
def after() -> dict[str, Any]:
    return copy.deepcopy(TEMPLATE)


def test_equal_templates_differ_in_nothing(after: dict[str, Any]) -> None:
    after["Resources"]["Noted"]["Properties"]["Analytics"] = "v2:2"
    after["Resources"]["Function"]["Metadata"] = {"aws:asset:path": "asset.1"}
    assert changes(TEMPLATE, after) == []
    assert section_changes(TEMPLATE, after) == []


def test_a_name_that_is_spelled_out_is_the_same_name(after: dict[str, Any]) -> None:
    after["Resources"]["Raw"]["Properties"]["BucketName"] = f"raw-{ACCOUNT}-{REGION}"
    assert changes(TEMPLATE, after) == []
    after["Resources"]["Raw"]["Properties"]["BucketName"] = {
        "Fn::Sub": "raw-${AWS::AccountId}-${AWS::Region}"
    }
    assert changes(TEMPLATE, after) == []


def test_what_is_changed_in_place_loses_nothing(after: dict[str, Any]) -> None:
    after["Resources"]["Table"]["Properties"]["BillingMode"] = "PROVISIONED"
    after["Resources"]["Function"]["Properties"]["MemorySize"] = 256
    after["Outputs"] = {}
    found = changes(TEMPLATE, after)
    assert changed(TEMPLATE, after) == {
        "Table": ("change", ["BillingMode"]),
        "Function": ("change", ["MemorySize"]),
    }
    assert not any(one.loses for one in found)
    assert section_changes(TEMPLATE, after) == ["Outputs"]


def test_a_replaced_resource_that_holds_data_is_told_with_the_reason(after: dict[str, Any]) -> None:
    after["Resources"]["Table"]["Properties"]["TableName"] = "films"
    (table,) = changes(TEMPLATE, after)
    assert (table.change, table.properties, table.path) == ("replace", ["TableName"], "Store/Table")
    assert (table.loses, table.kept) == (True, True)
    after["Resources"]["Table"]["Type"] = "AWS::DynamoDB::Table"
    (table,) = changes(TEMPLATE, after)
    assert (table.change, table.properties) == ("replace", ["Type"])


def test_what_is_made_with_the_id_of_a_replaced_resource_follows_it(after: dict[str, Any]) -> None:
    after["Resources"]["Users"]["Type"] = "AWS::S3::Bucket"
    assert changed(TEMPLATE, after) == {
        "Users": ("replace", ["Type"]),
        "Client": ("replace", ["UserPoolId"]),
    }


def test_what_left_the_template_is_lost_unless_its_policy_keeps_it(after: dict[str, Any]) -> None:
    del after["Resources"]["Table"], after["Resources"]["Raw"], after["Resources"]["Function"]
    found = {one.logical_id: one for one in changes(TEMPLATE, after)}
    assert {name: (one.loses, one.kept) for name, one in found.items()} == {
        "Table": (True, True),
        "Raw": (True, False),
        "Function": (False, False),
    }
    assert changed(after, TEMPLATE)["Table"] == ("add", [])
