"""Access logs: the bucket they go to, who may write there, and what writes there."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as cloudwatch_logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._checks import check_range, in_days, reject
from media_platform.constructs._distributions import CLOUDFRONT_REGION
from media_platform.constructs._durations import duration
from media_platform.constructs._private_bucket import private_bucket

_EXPIRY = timedelta(days=365)
_NONCURRENT_EXPIRY = timedelta(days=30)
"""For how long logs that somebody deleted can be brought back."""

_DELIVERY_FIELDS = (
    "date",
    "time",
    "x-edge-location",
    "x-edge-request-id",
    "x-edge-result-type",
    "x-edge-response-result-type",
    "x-edge-detailed-result-type",
    "c-ip",
    "c-port",
    "c-country",
    "x-forwarded-for",
    "x-host-header",
    "cs-method",
    "cs-uri-stem",
    "cs-protocol",
    "cs-protocol-version",
    "cs(Referer)",
    "cs(User-Agent)",
    "cs-bytes",
    "sc-status",
    "sc-bytes",
    "sc-content-type",
    "sc-content-len",
    "sc-range-start",
    "sc-range-end",
    "time-taken",
    "time-to-first-byte",
    "ssl-protocol",
    "ssl-cipher",
)


def access_log_bucket(
    scope: Construct,
    access_logs: bool | s3.IBucket,
    *,
    removal_policy: cdk.RemovalPolicy,
    expiry: cdk.Duration | None = None,
    of_objects: bool = False,
) -> s3.IBucket | None:
    """Return the bucket for access logs, made here unless one is given.

    It has a key that S3 manages: neither S3 nor load balancers log to a bucket with another one.

    Args:
        scope: Parent.
        access_logs: Whether there are logs, or their bucket.
        removal_policy: What happens to a new bucket when it leaves the template.
        expiry: Age at which logs are deleted. Default: one year.
        of_objects: Whether requests on objects are logged there. Default ``False``.

    Raises:
        ValueError: If ``expiry`` is given for no bucket of this construct, or cannot be.

    Source: S3 User Guide, "Enabling Amazon S3 server access logging"; Elastic Load Balancing,
    "Access logs for your Application Load Balancer".
    """
    if access_logs is not True:
        if expiry is not None:
            raise reject(
                scope,
                "access_logs_expiry is given but no log bucket is made here; remove it, or leave "
                "access_logs at True",
            )
        return None if access_logs is False else access_logs
    expiry = expiry or duration(_EXPIRY)
    days = in_days(scope, "access_logs_expiry", expiry)
    check_range(scope, "access_logs_expiry in days", days, (1, 3650), "pass whole days")
    bucket = private_bucket(
        scope,
        "AccessLogs",
        expiry=expiry,
        noncurrent_expiry=duration(_NONCURRENT_EXPIRY),
        removal_policy=removal_policy,
    )
    accept(bucket, Accepted.LOGS_OF_LOGS, Accepted.LOG_KEY, Accepted.LOG_COPIES)
    if not of_objects:
        accept(bucket, Accepted.LOGS_OF_REQUEST_LOGS)
    return bucket


def log_objects(bucket: s3.Bucket, logs: s3.IBucket | None, *, prefix: str) -> None:
    """Log every request on objects of ``bucket``, unless ``logs`` is ``None``.

    Set without the L2, which falls back to ACLs where an app does not have its feature flag.

    Args:
        bucket: Whose requests.
        logs: Where to.
        prefix: Folder for them there.
    """
    if logs is None:
        accept(bucket, Accepted.OBJECT_LOGS_OFF)
        return
    logs.add_to_resource_policy(
        iam.PolicyStatement(
            actions=["s3:PutObject"],
            principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
            resources=[logs.arn_for_objects(f"{prefix}/*")],
            # Not the ARN of the bucket, which may belong to a stack that needs this one.
            conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(bucket).account}},
        )
    )
    resource = cast("s3.CfnBucket", bucket.node.default_child)
    resource.logging_configuration = s3.CfnBucket.LoggingConfigurationProperty(
        destination_bucket_name=logs.bucket_name,
        log_file_prefix=f"{prefix}/",
        target_object_key_format=s3.CfnBucket.TargetObjectKeyFormatProperty(
            partitioned_prefix=s3.CfnBucket.PartitionedPrefixProperty(
                partition_date_source="EventTime"
            )
        ),
    )


def log_requests(
    load_balancer: elbv2.ApplicationLoadBalancer, logs: s3.IBucket | None, *, prefix: str
) -> None:
    """Log every request on ``load_balancer``, unless ``logs`` is ``None``.

    Who may write to the bucket differs between regions, so a stack without one has no logs.

    Args:
        load_balancer: Whose requests.
        logs: Where to; in the region of the load balancer.
        prefix: Folder for them there.
    """
    if logs is None:
        accept(load_balancer, Accepted.REQUEST_LOGS_OFF)
        return
    if cdk.Token.is_unresolved(cdk.Stack.of(load_balancer).region):
        cdk.Annotations.of(load_balancer).add_info_v2(
            "@media-platform/load-balancer-logs",
            "there are no access logs of the load balancer, since the stack has no region; pass "
            "env=Environment(region=...) to have them",
        )
        accept(load_balancer, Accepted.REQUEST_LOGS_NOWHERE)
        return
    load_balancer.log_access_logs(logs, prefix)


def log_deliveries(
    distribution: cloudfront.Distribution, logs: s3.IBucket | None, *, prefix: str, name: str
) -> None:
    """Log every request on ``distribution``, unless ``logs`` is ``None``.

    This is version 2 of CloudFront's standard logs, which needs no ACLs. Queries and cookies are
    left out: they hold signatures, with which readers of logs could watch what viewers may.

    Args:
        distribution: Whose requests; of a stack in us-east-1, where such logs are set up.
        logs: Where to.
        prefix: Folder for them there.
        name: Name of the delivery, one of its kind in the account.

    Source: CloudFront Developer Guide, "Configure standard logging (v2)"; CloudWatch Logs User
    Guide, "Logging that requires V2 permissions".
    """
    if logs is None:
        accept(distribution, Accepted.DELIVERY_LOGS_OFF)
        return
    accept(distribution, Accepted.DELIVERY_LOGS_NEW)
    stack = cdk.Stack.of(distribution)
    sources = stack.format_arn(
        service="logs",
        region=CLOUDFRONT_REGION,
        resource="delivery-source",
        resource_name="*",
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )
    policy = logs.add_to_resource_policy(
        iam.PolicyStatement(
            actions=["s3:PutObject"],
            principals=[iam.ServicePrincipal("delivery.logs.amazonaws.com")],
            resources=[logs.arn_for_objects(f"{prefix}/*")],
            conditions={
                "StringEquals": {
                    "s3:x-amz-acl": "bucket-owner-full-control",
                    "aws:SourceAccount": stack.account,
                },
                "ArnLike": {"aws:SourceArn": sources},
            },
        )
    )
    scope = Construct(distribution, "AccessLogs")
    source = cloudwatch_logs.CfnDeliverySource(
        scope,
        "Source",
        name=name,
        log_type="ACCESS_LOGS",
        resource_arn=distribution.distribution_arn,
    )
    destination = cloudwatch_logs.CfnDeliveryDestination(
        scope,
        "Destination",
        name=name,
        destination_resource_arn=f"{logs.bucket_arn}/{prefix}",
        output_format="json",
    )
    delivery = cloudwatch_logs.CfnDelivery(
        scope,
        "Delivery",
        delivery_source_name=source.name,
        delivery_destination_arn=destination.attr_arn,
        record_fields=list(_DELIVERY_FIELDS),
        s3_suffix_path="{yyyy}/{MM}/{dd}",
    )
    delivery.node.add_dependency(source)
    if policy.policy_dependable is not None:
        delivery.node.add_dependency(policy.policy_dependable)
