"""Writes where it may and where it may not."""

import os

import boto3
from botocore.exceptions import ClientError


def handle(event, context):  # noqa: ANN001, ANN201
    """Write two objects and tell how it went."""
    del event, context
    s3 = boto3.client("s3")
    outcome = {}
    for key in ("allowed/x", "elsewhere/x"):
        try:
            s3.put_object(Bucket=os.environ["BUCKET"], Key=key, Body=b"x")
            outcome[key] = "written"
        except ClientError as error:
            outcome[key] = error.response["Error"]["Code"]
    return outcome
