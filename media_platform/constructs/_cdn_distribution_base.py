"""What every distribution offers: its address, its metrics, and who may have copies forgotten."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from constructs import Construct


class CdnDistributionBase(Construct):
    """What a distribution offers, whether it was made here or elsewhere.

    Attributes:
        distribution: The distribution.
        base_url: Scheme and authority of the one origin that clients know.
    """

    distribution: cloudfront.IDistribution
    base_url: str

    def grant_invalidate(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` have copies forgotten, such as pages of a site that were replaced."""
        arn = cdk.Stack.of(self).format_arn(
            service="cloudfront",
            region="",
            resource="distribution",
            resource_name=self.distribution.distribution_id,
        )
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["cloudfront:CreateInvalidation", "cloudfront:GetInvalidation"],
            resource_arns=[arn],
        )

    def metric_requests(self) -> cloudwatch.IMetric:
        """Return the requests of viewers (count, sum of five minutes)."""
        return self._metric("Requests", "Sum")

    def metric_errors(self) -> cloudwatch.IMetric:
        """Return the share of answers with status 5xx (per cent, average of five minutes)."""
        return self._metric("5xxErrorRate", "Average")

    def _metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """Return a metric; that of the L2 lacks the region, by which CloudWatch finds it.

        Source: CloudFront Developer Guide, "Get metrics using the API".
        """
        return cloudwatch.Metric(
            namespace="AWS/CloudFront",
            metric_name=name,
            dimensions_map={
                "DistributionId": self.distribution.distribution_id,
                "Region": "Global",
            },
            statistic=statistic,
        )
