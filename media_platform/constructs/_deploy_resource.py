"""Custom resources: what CloudFormation cannot make itself, made by the deploy Lambda."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted
from media_platform.constructs._durations import duration
from media_platform.constructs._python_function import python_function

_FUNCTION_TIMEOUT = timedelta(seconds=120)
_ANSWER_TIMEOUT = timedelta(seconds=180)
"""By default CloudFormation would wait an hour."""


class DeployResource(StrEnum):
    """Custom resource types, and the modules that make them by the names of members."""

    SIGNING_KEY = "SigningKey"
    DELIVERY_DOCUMENT = "DeliveryDocument"
    REPLICA_STREAM = "ReplicaStream"
    DEFAULT_GROUP = "VpcRestrictDefaultSG"
    BUCKET_CONTENT = "BucketContent"

    @property
    def handler(self) -> str:
        """Dotted name of the handler."""
        return f"deploy_resources.{self.name.lower()}.handle"

    @property
    def resource_type(self) -> str:
        """Type of the resource in a template."""
        return f"Custom::{self.value}"


def deploy_function(
    scope: Construct,
    construct_id: str,
    *,
    resource: DeployResource,
    timeout: timedelta = _FUNCTION_TIMEOUT,
) -> lambda_.Function:
    """Return the function that makes resources of one kind; it has no permissions yet.

    It answers CloudFormation itself: the provider framework of the CDK would add a second,
    JavaScript function and polling that nothing here needs.

    Args:
        scope: Parent.
        construct_id: Id in it.
        resource: What it makes.
        timeout: Time after which an attempt is ended. Default 2 minutes.
    """
    return python_function(
        scope,
        construct_id,
        service=Service.DEPLOY_RESOURCES,
        handler=resource.handler,
        description=f"Makes {resource.resource_type} resources while stacks are deployed",
        timeout=duration(timeout),
        failures=Accepted.FAILURES_TO_CALLER,
    )


def deploy_resource(
    scope: Construct,
    construct_id: str,
    *,
    resource: DeployResource,
    function: lambda_.Function,
    properties: Mapping[str, Any],
    answer_timeout: timedelta = _ANSWER_TIMEOUT,
) -> cdk.CustomResource:
    """Return a custom resource that ``function`` makes, once the function has its permissions.

    Args:
        scope: Parent.
        construct_id: Id in it.
        resource: What it is.
        function: What makes it.
        properties: Its properties.
        answer_timeout: Time after which CloudFormation gives an answer up. Default 3 minutes.
    """
    made = cdk.CustomResource(
        scope,
        construct_id,
        service_token=function.function_arn,
        resource_type=resource.resource_type,
        properties=dict(properties),
        service_timeout=duration(answer_timeout),
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
    if function.role is not None:
        made.node.add_dependency(function.role)
    return made
