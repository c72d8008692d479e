"""A changed stage over a plane that runs: it is updated in place, and no video is lost.

By its name this comes after ``test_recorded_calls``, which holds calls against the grants of the
stage as it is, not as it is for a while here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from changed_app import ChangedApp
from journey import sign_in, uploads_during
from waiting import eventually

from mediactl.local import player
from mediactl.local.plane import Endpoints, Plane

Deploy = Callable[..., Endpoints]


@pytest.fixture
def deploy(plane: Any, tmp_path: Path) -> Iterator[Deploy]:
    """Deploys the stage with other values onto the plane; in the end, it is as it was."""
    app = ChangedApp(tmp_path, "local")
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

    ladder = [
        {"short_side": 360, "peak_kilobits": 700},
        {"short_side": 180, "peak_kilobits": 300},
    ]
    with ThreadPoolExecutor(1) as pool:
        deployment = pool.submit(
            deploy,
            worker={"ladder": ladder, "max_tasks": 3},
            api={"min_tasks": 2, "max_tasks": 3, "quota_videos": 99_999},
            signing_slots=["a", "b"],
        )
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

    deploy(
        worker={"ladder": ladder, "max_tasks": 3},
        api={"min_tasks": 2, "max_tasks": 3, "quota_videos": 99_999},
        signing_slots=["a", "b"],
        active_slot="b",
    )
    eventually(
        lambda: key_of(ada.client.playback(before)) != key_of(old_grant) or None,
        "the second key signs",
    )
    assert frames(old_grant) == {360: 180}
    for video_id, video in ready.items():
        assert frames(ada.client.playback(video_id)) == {
            rendition["height"]: rendition["frames"] for rendition in video["renditions"]
        }


def key_of(grant: dict[str, Any]) -> str:
    return str(grant["cookies"]["CloudFront-Key-Pair-Id"])


def frames(grant: dict[str, Any]) -> dict[int, int]:
    """Return the frames that can be played, by height."""
    playlist = player.fetch_playlist(grant["playlist_url"], grant["cookies"])
    return {h: player.decode(url, grant["cookies"]) for h, url in playlist.variants.items()}
