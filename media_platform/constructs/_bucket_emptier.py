"""Empties buckets that are to go, since CloudFormation deletes none that holds something."""

from __future__ import annotations

from datetime import timedelta
from weakref import WeakKeyDictionary

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept_wildcards
from media_platform.constructs._deploy_resource import (
    DeployResource,
    deploy_function,
    deploy_resource,
)
from media_platform.contract.object_keys import EMPTIED_TAG

_TIMEOUT = timedelta(minutes=15)
_ANSWER_TIMEOUT = timedelta(hours=1)
"""What CloudFormation waits at most: Lambda tries three times."""

_emptiers: WeakKeyDictionary[Construct, lambda_.Function] = WeakKeyDictionary()
"""The function of each stack that has such buckets."""


def empty_on_removal(bucket: s3.Bucket) -> None:
    """See that a bucket is empty before it is deleted with its stack.

    It is closed first: its policy, which lets services write logs, goes before what is in it.

    Args:
        bucket: A bucket with the removal policy ``DESTROY``.
    """
    function = _function_of(cdk.Stack.of(bucket))
    _add(function, ["s3:GetBucketTagging", "s3:ListBucketVersions"], bucket.bucket_arn)
    _add(function, ["s3:DeleteObjectVersion"], bucket.arn_for_objects("*"))
    accept_wildcards(function, Accepted.EMPTIED_OBJECTS, bucket.arn_for_objects("*"))
    cdk.Tags.of(bucket).add(EMPTIED_TAG, "true")
    content = deploy_resource(
        bucket,
        "Content",
        resource=DeployResource.BUCKET_CONTENT,
        function=function,
        properties={"BucketName": bucket.bucket_name},
        answer_timeout=_ANSWER_TIMEOUT,
    )
    if bucket.policy is not None:
        bucket.policy.node.add_dependency(content)


def _function_of(stack: cdk.Stack) -> lambda_.Function:
    function = _emptiers.get(stack)
    if function is None:
        function = deploy_function(
            stack, "BucketEmptier", resource=DeployResource.BUCKET_CONTENT, timeout=_TIMEOUT
        )
        _emptiers[stack] = function
    return function


def _add(function: lambda_.Function, actions: list[str], resource: str) -> None:
    iam.Grant.add_to_principal(grantee=function, actions=actions, resource_arns=[resource])
