"""A changed stage over a plane that runs: it is updated in place, and no video is lost.

By its name this comes after ``test_recorded_calls``, which holds calls against the grants of the
stage as it is, not as it is for a while here.
"""

from __future__ import annotations

import json
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
from journey import FINAL, Person, send, sign_in, uploads_during
from playback_load import Viewers
from waiting import eventually

from media_api.signing import PlaybackSigner
from media_platform.contract.delivery import (
    DeliveryDocument,
    SigningKeyPair,
    delivery_parameter_name,
)
from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.metrics import TRANSCODES_HELD_BACK
from media_platform.contract.times import timestamp
from mediactl.errors import DEGRADED, REFUSED
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
NARROW: dict[str, Any] = {
    "worker": {**CHANGED["worker"], "max_tenant_daily_cpu_hours": 0.0001},
    "api": {**CHANGED["api"], "playback_expiry_seconds": 10},
}
"""Grants are short, and with a second of processor time a day a tenant may begin one film."""


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


@pytest.fixture(scope="module")
def narrow(deploy: Deploy) -> None:
    """The stage as :data:`NARROW` has it."""
    deploy(**NARROW)


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


@pytest.mark.usefixtures("narrow")
def test_a_tenant_that_spent_its_budget_waits_and_loses_nothing(
    plane: Any, platform: Any, mediactl: Mediactl, film: bytes
) -> None:
    eventually(lambda: timestamp()[11:16] < "23:59" or None, "a day that does not end meanwhile")
    eve = sign_in(platform, "eve of the budget", tenant="spenders", group=ADMIN_GROUP)
    began, waiting = uploads_until_one_waits(eve, film)
    assert began
    assert eve.client.video(waiting)["status"] == "UPLOADED"

    def row() -> dict[str, Any]:
        tenants = mediactl("costs", "breaker", "--json").json["tenants"]
        return next(dict(one) for one in tenants if one["tenant"] == "spenders")

    assert (row()["waiting"], row()["holds_back"], row()["own_limit"]) == (1, True, False)
    assert row()["limit_cpu_hours"] == pytest.approx(1 / 3600)
    shown = mediactl("videos", "show", waiting, "--tenant", "spenders")
    assert "mediactl costs breaker" in shown.stdout
    doing = {one["video_id"]: one["doing"] for one in region_status(mediactl)["videos"]}
    assert doing[waiting] == "held back"
    metric_of_workers_raises_alarm(plane, waiting)
    assert any("VideosHeldBack" in one["name"] for one in region_status(mediactl)["alarms"])

    # More for good takes consent; until then, it is only said what would be.
    raise_it = ("costs", "budget", "spenders", "--hours", "1", "--json")
    assert mediactl(*raise_it).exit_code == REFUSED
    assert mediactl(*raise_it, "--dry-run").json["limit_cpu_hours"] == 1
    assert row()["holds_back"]
    assert mediactl(*raise_it, "--yes").json["changed"]
    assert (row()["holds_back"], row()["own_limit"], row()["limit_cpu_hours"]) == (False, True, 1)
    swept(plane)
    ready = [eve.when(video_id, "READY") for video_id in (*began, waiting)]
    assert [video["held_back"] for video in ready] == [None] * len(ready)
    listed = {one["video_id"]: one["status"] for one in eve.client.listed("/api/videos", "videos")}
    assert listed == {video["video_id"]: "READY" for video in ready}
    lower_it = mediactl("costs", "budget", "spenders", "--as-stage", "--yes", "--json").json
    assert (lower_it["changed"], lower_it["holds_back"]) == (True, True)

    query = {"day": timestamp()[:10], "tenant": "spenders", "action": "budget.changed"}
    entries = list(eve.client.listed("/api/admin/audit", "entries", query))
    assert len(entries) == 2
    assert {one["actor"].partition(":")[0] for one in entries} == {"arn"}


def region_status(mediactl: Mediactl) -> dict[str, Any]:
    """Return how the region does, whatever else of it needs a person."""
    answer = mediactl("status", "--json")
    assert answer.exit_code in {0, DEGRADED}, answer.stderr
    (region,) = json.loads(answer.stdout)["regions"]
    return dict(region)


def uploads_until_one_waits(person: Person, film: bytes) -> tuple[list[str], str]:
    """Upload a film again and again; return those that became READY, and the first that waits."""
    ready: list[str] = []
    while True:
        video_id = person.upload(film, duplicates="keep")

        def decided(video_id: str = video_id) -> dict[str, Any] | None:
            video = person.client.video(video_id)
            return video if video["held_back"] or video["status"] in FINAL else None

        video = eventually(decided, "the film is transcoded or waits")
        if video["held_back"]:
            return ready, video_id
        assert video["status"] == "READY"
        ready.append(video_id)


def metric_of_workers_raises_alarm(plane: Any, video_id: str) -> None:
    """Tell CloudWatch what a worker wrote, as its logs would, and wait for the alarm."""

    def line() -> str | None:
        logs = plane.plane.state.logs.glob("*Workers*.log")
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return next((one for one in lines if TRANSCODES_HELD_BACK in one and video_id in one), None)

    told = json.loads(eventually(line, "a worker tells that the video waits"))
    (written,) = told["_aws"]["CloudWatchMetrics"]
    cloudwatch = plane.client("cloudwatch")
    cloudwatch.put_metric_data(
        Namespace=written["Namespace"],
        MetricData=[
            {
                "MetricName": TRANSCODES_HELD_BACK,
                "Dimensions": [{"Name": name, "Value": told[name]} for name in dimensions],
                "Value": told[TRANSCODES_HELD_BACK],
            }
            for dimensions in written["Dimensions"]
        ],
    )

    def raised() -> bool:
        alarms = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
        return any("VideosHeldBack" in one["AlarmName"] for one in alarms)

    eventually(raised, "the alarm tells of it")


def swept(plane: Any) -> None:
    """Look after what was left, as the schedule does every minute."""
    functions = plane.client("lambda")
    names = [
        one["FunctionName"]
        for page in functions.get_paginator("list_functions").paginate()
        for one in page["Functions"]
        if "LeftUploadsSweep" in one["FunctionName"]
    ]
    (name,) = names
    answer = functions.invoke(FunctionName=name)
    assert "FunctionError" not in answer


@pytest.mark.usefixtures("narrow")
def test_keys_rotate_without_refusing_anybody(
    plane: Any, platform: Any, mediactl: Mediactl, film: bytes
) -> None:
    # A tenant of its own, which spent nothing yet.
    bob = sign_in(platform, "bob of the keys", tenant="turners")
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
