"""A changed stage over a plane that runs: it is updated in place, and no video is lost.

By its name this comes after ``test_recorded_calls``, which holds calls against the grants of the
stage as it is, not as it is for a while here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from changed_app import ChangedApp
from command_line import Mediactl
from journey import send, sign_in, uploads_during
from playback_load import Viewers
from waiting import eventually

from media_api.signing import PlaybackSigner
from media_platform.contract.delivery import (
    DeliveryDocument,
    SigningKeyPair,
    delivery_parameter_name,
)
from mediactl.local import player
from mediactl.local.plane import Endpoints, Plane

Deploy = Callable[..., Endpoints]


LADDER = [
    {"short_side": 360, "peak_kilobits": 700},
    {"short_side": 180, "peak_kilobits": 300},
]
CHANGED: dict[str, Any] = {
    "worker": {"ladder": LADDER, "max_tasks": 3},
    "api": {"min_tasks": 2, "max_tasks": 3, "quota_videos": 99_999},
}
SHORT_GRANTS = {**CHANGED, "api": {**CHANGED["api"], "playback_expiry_seconds": 10}}


@pytest.fixture(scope="module")
def deploy(plane: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """Deploys the stage with other values onto the plane; in the end, it is as it was."""
    app = ChangedApp(tmp_path_factory.mktemp("changed"), "local")
    changed = Plane(plane.plane.state.root, app=app.folder)

    def run(**values: Any) -> Endpoints:
        app.write(**values)
        return changed.up()

    yield run
    plane.plane.up()


def test_a_changed_stage_is_updated_in_place_and_loses_no_video(
    plane: Any, platform: Any, deploy: Deploy, film: bytes, long_film: bytes
) -> None:
    ada = sign_in(platform, "ada of the changes", tenant="acme")
    before = ada.when(ada.upload(film), "READY")["video_id"]
    old_grant = ada.client.playback(before)
    working = ada.upload(long_film)
    eventually(lambda: ada.client.video(working)["progress"] > 0 or None, "a worker has published")
    assert ada.client.video(working)["status"] == "PROCESSING"

    with ThreadPoolExecutor(1) as pool:
        deployment = pool.submit(deploy, **CHANGED)
        meanwhile = list(uploads_during(deployment, ada, film))
    assert deployment.result().outputs == plane.endpoints.outputs
    after = ada.upload(film)
    ready = {
        video_id: ada.when(video_id, "READY") for video_id in (before, working, *meanwhile, after)
    }
    heights = {name: [r["height"] for r in video["renditions"]] for name, video in ready.items()}
    assert (heights[before], heights[working]) == ([360], [1080, 720, 480, 360])
    assert heights[after] == [360, 180]
    assert meanwhile
    assert all(heights[video_id] in ([360], [360, 180]) for video_id in meanwhile)

    assert frames(old_grant) == {360: 180}
    for video_id, video in ready.items():
        assert frames(ada.client.playback(video_id)) == {
            rendition["height"]: rendition["frames"] for rendition in video["renditions"]
        }


def test_keys_rotate_without_refusing_anybody(
    plane: Any, platform: Any, deploy: Deploy, mediactl: Mediactl, film: bytes
) -> None:
    deploy(**SHORT_GRANTS)
    bob = sign_in(platform, "bob of the keys", tenant="acme")
    video_id = bob.when(bob.upload(film), "READY")["video_id"]
    before = mediactl("keys", "list", "--json").json
    assert (before["state"], before["longest_grant_seconds"]) == ("SETTLED", 12)
    old = before["regions"][0]["signs_with"]
    forged = signed_by_hand(plane, old, bob.client.playback(video_id))
    assert send("GET", forged).status == 200

    viewers = Viewers()
    with viewers.playing([bob.client] * VIEWERS, lambda: video_id):
        eventually(lambda: viewers.answered["old grant by cookies"], "viewers play")
        # Ended without a warning wherever it is, and gone on with by the same command.
        for step in ("adding a key", "switching to the other key", "before removing the other key"):
            killed_at(step, mediactl)
        assert mediactl("keys", "list", "--json").json["state"] == "SWITCHED"
        done = mediactl("keys", "rotate", "--json").json
        answered = viewers.answered["grant"]
        eventually(lambda: viewers.answered["grant"] > answered or None, "viewers play on")
    assert viewers.refused == []
    assert list(viewers.keys) == [old, done["signs_with"]]
    assert {f"{age} grant {way}" for age in AGES for way in WAYS} <= viewers.answered.keys()
    assert (done["state"], done["other"], done["next"]) == ("SETTLED", None, [])
    plane.plane.refresh()
    assert send("GET", forged).status == 403, "the old key is worth nothing any more"

    # Whoever deploys the stage afterwards changes nothing of that.
    plane.plane.up()
    after = mediactl("keys", "list", "--json").json
    assert after["regions"][0]["signs_with"] == done["signs_with"]
    assert frames(bob.client.playback(video_id)) == {360: 180, 180: 180}


VIEWERS = 3
AGES = ("new", "old", "kept")
WAYS = ("by cookies", "by signed URL", "by signed playlist")


def killed_at(step: str, mediactl: Mediactl) -> None:
    """Rotate keys, and kill the command as soon as it tells of a step."""
    process = subprocess.Popen(
        mediactl.program("keys", "rotate"),
        env={**os.environ, **mediactl.variables()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith(step):
            break
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, told


def signed_by_hand(plane: Any, key_pair_id: str, grant: dict[str, Any]) -> str:
    """Return the URL of a poster, signed for a day by whoever got hold of the key."""
    (region,) = plane.endpoints.regions
    ssm, secrets = (
        plane.plane.emulator().client(service, region) for service in ("ssm", "secretsmanager")
    )
    document = ssm.get_parameter(Name=delivery_parameter_name("local"))["Parameter"]["Value"]
    known = DeliveryDocument.from_json(document)
    assert known.key_pair_id == key_pair_id
    secret = secrets.get_secret_value(SecretId=known.signing_secret)["SecretString"]
    pair = SigningKeyPair.from_json(secret)
    signer = PlaybackSigner(pair, key_pair_id=key_pair_id, base_url=known.base_url)
    key = urlsplit(grant["poster_url"]).path.lstrip("/")
    return signer.url(key, int(time.time()) + 86_400)


def frames(grant: dict[str, Any]) -> dict[int, int]:
    """Return the frames that can be played, by height."""
    playlist = player.fetch_playlist(grant["playlist_url"], grant["cookies"])
    return {h: player.decode(url, grant["cookies"]) for h, url in playlist.variants.items()}
