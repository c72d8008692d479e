"""The repository for images of a team's own."""

from __future__ import annotations

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from infra_templates import Synth, flat

from media_platform.constructs import ImageRepository

CI = "arn:aws:iam::111111111111:role/ci"
OTHER_CI = "arn:aws:iam::222222222222:role/build/ci"
PULL = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
}
PUSH = {
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
}


def test_minimal(synth: Synth) -> None:
    made = synth(lambda stack: ImageRepository(stack, "Images"))
    ((logical_id, resource),) = made.resources("AWS::ECR::Repository").items()
    assert logical_id == "ImagesRepository2D0F5B9C"
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
    properties = resource["Properties"]
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert properties["ImageTagMutability"] == "IMMUTABLE"
    (rule,) = json.loads(properties["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert rule["selection"] == {
        "tagStatus": "any",
        "countType": "imageCountMoreThan",
        "countNumber": 10,
    }
    assert rule["action"] == {"type": "expire"}
    assert "RepositoryPolicyText" not in properties
    assert not properties.get("EmptyOnDelete")


def test_everything_on(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        ImageRepository(
            stack,
            "Images",
            pull_accounts=["333333333333", "444444444444"],
            push_role_arns=[CI, OTHER_CI],
            keep=3,
            encryption_key=kms.Key(stack, "Key"),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    made = synth(build)
    ((_, resource),) = made.resources("AWS::ECR::Repository").items()
    assert resource["DeletionPolicy"] == "Delete"
    properties = resource["Properties"]
    assert properties["EmptyOnDelete"] is True
    assert properties["EncryptionConfiguration"]["EncryptionType"] == "KMS"
    assert flat(properties["EncryptionConfiguration"]["KmsKey"]) == "<Key.Arn>"
    assert '"countNumber":3' in properties["LifecyclePolicy"]["LifecyclePolicyText"]
    pulled, pushed, refused = properties["RepositoryPolicyText"]["Statement"]
    assert (pulled["Effect"], set(pulled["Action"])) == ("Allow", PULL)
    assert [flat(arn) for arn in pulled["Principal"]["AWS"]] == [
        "arn:aws:iam::333333333333:root",
        "arn:aws:iam::444444444444:root",
    ]
    assert (pushed["Effect"], set(pushed["Action"])) == ("Allow", PULL | PUSH)
    assert pushed["Principal"] == {"AWS": [CI, OTHER_CI]}
    assert (refused["Effect"], set(refused["Action"])) == ("Deny", PUSH)
    assert refused["Principal"] == {"AWS": "*"}
    assert refused["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": [CI, OTHER_CI]}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"pull_accounts": ["12"]},
            (
                "pull_accounts contains '12', allowed are account ids of 12 digits; correct it "
                "(path: Test/Images)"
            ),
        ),
        (
            {"push_role_arns": ["ci"]},
            (
                "push_role_arns contains 'ci', allowed are ARNs of IAM roles; correct it (path: "
                "Test/Images)"
            ),
        ),
        (
            {"push_role_arns": ["arn:aws:iam::111111111111:user/ci"]},
            (
                "push_role_arns contains 'arn:aws:iam::111111111111:user/ci', allowed are ARNs of "
                "IAM roles; correct it (path: Test/Images)"
            ),
        ),
        (
            {"keep": 0},
            (
                "keep is 0, allowed are 1 to 1000; a task starts from an image that is kept (path: "
                "Test/Images)"
            ),
        ),
    ],
)
def test_errors(stack: cdk.Stack, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageRepository(stack, "Images", **arguments)
