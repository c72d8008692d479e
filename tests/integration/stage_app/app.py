"""The smallest app with the stacks of a stage, for tests of what surrounds the CDK CLI.

Stores, members and regions that join are as in the app of this repository. ``change.json`` beside
it holds what a test changes: other names, and what cannot be deployed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from media_platform.contract.outputs import EdgeOutput, StackPart, StoreOutput, stack_name

CHANGE = Path(__file__).with_name("change.json")

app = cdk.App(builtin_cloud_formation_validation=False)
change: dict[str, Any] = json.loads(CHANGE.read_text()) if CHANGE.exists() else {}
stage: str = app.node.get_context("stage")
if "refused" in change:
    sys.exit(change["refused"])
config: dict[str, Any] = app.node.get_context("stages")[stage]
regions: list[str] = [region["name"] for region in config["regions"]]
joining: list[str] = (app.node.try_get_context("joining") or "").split(",")
members = [region for region in regions if region not in joining]
keeps = config.get("retain_data", True)
policy = cdk.RemovalPolicy.RETAIN if keeps else cdk.RemovalPolicy.DESTROY


def stack(part: StackPart, region: str) -> cdk.Stack:
    """Return a new stack of the stage."""
    return cdk.Stack(
        app,
        f"{part.value}-{region}",
        stack_name=stack_name(stage, part),
        env=cdk.Environment(account=app.node.try_get_context("account"), region=region),
    )


stores = {region: stack(StackPart.STORE, region) for region in regions}
for region, store in stores.items():
    bucket = s3.CfnBucket(
        store, "Raw", bucket_name=f"{change.get('bucket', 'raw')}-{stage}-{region}"
    )
    bucket.apply_removal_policy(policy)
    if region != regions[0]:
        store.add_stack_dependency(stores[regions[0]])
table = dynamodb.CfnGlobalTable(
    stores[regions[0]],
    "Table",
    attribute_definitions=[{"attributeName": "pk", "attributeType": "S"}],
    key_schema=[{"attributeName": "pk", "keyType": "HASH"}],
    billing_mode="PAY_PER_REQUEST",
    stream_specification={"streamViewType": "NEW_IMAGE"},
    table_name=f"videos-{stage}",
    replicas=[{"region": region} for region in members],
)
table.apply_removal_policy(policy)
cdk.CfnOutput(stores[regions[0]], StoreOutput.TABLE_NAME.value, value=table.ref)
for region in members:
    media = stack(StackPart.MEDIA, region)
    media.add_stack_dependency(stores[region])
    sqs.CfnQueue(media, "Jobs", visibility_timeout=change.get("visibility", 30))
    if region == change.get("broken"):
        sqs.CfnQueue(media, "Broken", visibility_timeout=10**9)
    if region == regions[0]:
        edge = stack(StackPart.EDGE, region)
        edge.add_stack_dependency(media)
        url = change.get("url", "http://127.0.0.1:9")
        # The emulator updates no stack of which nothing but an output changes.
        sqs.CfnQueue(edge, "Empty", tags=[cdk.CfnTag(key="url", value=url)])
        cdk.CfnOutput(edge, EdgeOutput.BASE_URL.value, value=url)
app.synth()
