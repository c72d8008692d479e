"""What CloudFront wants of others: its region, and how it is admitted before it is there."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

CLOUDFRONT_REGION = "us-east-1"
"""Region of the certificates, web ACLs, logs and metrics of distributions."""


def distribution_conditions(scope: Construct) -> dict[str, dict[str, str]]:
    """Return the conditions under which CloudFront acts for a distribution of this account.

    Source: CloudFront Developer Guide, "Restrict access to an Amazon S3 origin".
    """
    stack = cdk.Stack.of(scope)
    distributions = stack.format_arn(
        service="cloudfront", region="", resource="distribution", resource_name="*"
    )
    return {
        "StringEquals": {"AWS:SourceAccount": stack.account},
        "ArnLike": {"AWS:SourceArn": distributions},
    }
