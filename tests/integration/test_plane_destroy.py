"""``cdk destroy`` takes a store that keeps no data down, with what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from conftest import REPOSITORY
from small_plane import SmallPlane

from mediactl.local.deploy import Deployment
from mediactl.local.state import StateFolder

APP = """
import aws_cdk as cdk
from media_platform.constructs import VideoStore

app = cdk.App(builtin_cloud_formation_validation=False)
stack = cdk.Stack(app, "Passing", env=cdk.Environment(region="eu-west-1"))
store = VideoStore(stack, "Store", removal_policy=cdk.RemovalPolicy.DESTROY)
for name, bucket in (("Raw", store.raw_bucket), ("Logs", store.access_log_bucket)):
    cdk.CfnOutput(stack, name, value=bucket.bucket_name)
app.synth()
"""


def test_a_store_that_keeps_no_data_is_destroyed_with_what_is_in_it(
    small: SmallPlane, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "cdk.json").write_text('{"app": "python3 app.py"}')
    (tmp_path / "node_modules").symlink_to(REPOSITORY / "node_modules")
    state = StateFolder(tmp_path / "state")
    state.create()
    deployment = Deployment(tmp_path, state, small.plane.emulator(), lambda _: None)
    deployment.run()
    buckets = deployment.outputs()["Passing"]
    s3 = small.client("s3")
    for _ in range(2):
        s3.put_object(Bucket=buckets["Raw"], Key="raw/acme/ada/film.mp4", Body=b"film")
        s3.put_object(Bucket=buckets["Logs"], Key="s3/raw/line", Body=b"line")
    s3.delete_object(Bucket=buckets["Raw"], Key="raw/acme/ada/film.mp4")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        s3.delete_bucket(Bucket=buckets["Raw"])

    deployment._cdk(["destroy", "--all", "--force", "--app", str(state.assembly)], state.scratch)
    for name in buckets.values():
        with pytest.raises(ClientError, match="404"):
            s3.head_bucket(Bucket=name)
