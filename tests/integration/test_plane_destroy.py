"""``mediactl destroy`` takes stacks down that keep no data, with what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from conftest import REPOSITORY
from small_plane import SmallPlane

from mediactl.deploying.deployment import deploy
from mediactl.deploying.destruction import destroy
from mediactl.environment import AwsEnvironment, LocalEnvironment
from mediactl.local.aws import root_environment
from mediactl.options import Consent

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


AGREED = Consent(yes=True, confirm=None)


def test_a_store_that_keeps_no_data_is_destroyed_with_what_is_in_it(
    small: SmallPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "cdk.json").write_text('{"app": "python3 app.py"}')
    (tmp_path / "node_modules").symlink_to(REPOSITORY / "node_modules")
    for name, value in root_environment(small.plane.emulator().url).items():
        monkeypatch.setenv(name, value)
    environment = AwsEnvironment(
        "passing", stage="passing", regions=("eu-west-1",), app=tmp_path, protected=False
    )
    told: list[str] = []
    (stack,) = deploy(environment, consent=AGREED, say=told.append).stacks
    buckets = stack.outputs
    s3 = small.client("s3")
    for _ in range(2):
        s3.put_object(Bucket=buckets["Raw"], Key="raw/acme/ada/film.mp4", Body=b"film")
        s3.put_object(Bucket=buckets["Logs"], Key="s3/raw/line", Body=b"line")
    s3.delete_object(Bucket=buckets["Raw"], Key="raw/acme/ada/film.mp4")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        s3.delete_bucket(Bucket=buckets["Raw"])

    done = destroy(environment, consent=AGREED, say=told.append)
    assert (done.stacks, done.left) == (["Passing in eu-west-1"], [])
    for name in buckets.values():
        with pytest.raises(ClientError, match="404"):
            s3.head_bucket(Bucket=name)


def test_a_plane_stays_up_without_stacks_and_gets_them_again(small: SmallPlane) -> None:
    environment = LocalEnvironment("local", state_dir=small.plane.state.root, app=small.app)
    done = destroy(environment, consent=AGREED, say=lambda _: None)
    assert done.stacks == ["Small in eu-west-1"]
    status = small.plane.status()
    assert (status.up, status.services) == (True, [])
    small.up()
    assert small.plane.status().healthy
