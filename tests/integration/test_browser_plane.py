"""What the platform publishes plays in a browser, and a browser uploads with the URLs given."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from browser_playback import drive, play
from browser_streams import TONE, numbered_clip
from journey import Person, send, sign_in
from waiting import eventually

from media_platform.contract.object_keys import DASH_MANIFEST, MASTER_PLAYLIST
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES
from mediactl.local.player import cookie_header

SECONDS = 24
FRAMES = 30 * SECONDS
"""Long enough for chunks that different encoders made: a short one, a full one, and the rest."""


@pytest.fixture(scope="module")
def ada(platform: Any) -> Person:
    """A user."""
    return sign_in(platform, "browser", tenant="acme")


@pytest.fixture(scope="module")
def video_id(ada: Person, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A video that was just uploaded and is about to be transcoded to two renditions."""
    path = tmp_path_factory.mktemp("numbered") / "numbered.mp4"
    return ada.upload(numbered_clip(path, seconds=SECONDS, size="854x480").read_bytes())


def test_a_video_plays_in_a_browser_while_it_is_transcoded(ada: Person, video_id: str) -> None:
    video = eventually(
        lambda: video if (video := ada.client.video(video_id))["playable"] else None,
        "the video can be played",
    )
    assert video["status"] in {"PROCESSING", "READY"}
    grant = ada.client.playback(video_id)
    report = play(
        grant["playlist_url"],
        cookies=grant["cookies"],
        rotate=True,
        numbered=True,
        tone=TONE,
        stall_seconds=60,
    )
    assert report.problems(frames=FRAMES, may_wait=True) == []
    assert set(report.levels) == {360, 480}


@pytest.mark.parametrize("height", [360, 480])
def test_every_rendition_plays_with_signed_playlists(
    ada: Person, video_id: str, height: int
) -> None:
    ada.when(video_id, "READY")
    url = ada.client.playback(video_id)["signed_playlist_url"]
    report = play(url, height=height, rate=2, numbered=True, tone=TONE, joins_only=True)
    assert report.problems(frames=FRAMES) == []
    assert {switch["height"] for switch in report.switches} == {height}


def test_the_dash_manifest_plays(ada: Person, video_id: str) -> None:
    ada.when(video_id, "READY")
    grant = ada.client.playback(video_id)
    url = grant["playlist_url"].replace(MASTER_PLAYLIST, DASH_MANIFEST)
    report = play(url, engine="dash", cookies=grant["cookies"], rate=2, numbered=True, tone=TONE)
    assert report.problems(frames=FRAMES) == []


def test_a_browser_without_a_grant_is_refused(ada: Person, video_id: str) -> None:
    ada.when(video_id, "READY")
    url = ada.client.playback(video_id)["playlist_url"]
    assert send("GET", url, headers={"Cookie": cookie_header({})}).status == 403
    report = play(url, stall_seconds=5)
    assert not report.ended
    assert (403, url) in report.failed_requests


def test_a_browser_uploads_a_film_in_parts_to_another_origin(ada: Person, film: bytes) -> None:
    request = {
        "page": "upload.html",
        "url": ada.base_url,
        "cookies": {},
        "token": ada.token,
        "film": base64.b64encode(film).decode(),
        "padding": SINGLE_PUT_MAX_BYTES,
    }
    report = drive(request, timeout_seconds=300)
    sent = sorted(report["sent"], key=lambda part: part["number"])
    assert report["size"] > SINGLE_PUT_MAX_BYTES
    assert len(sent) > 10
    assert all(part["origin"] != report["origin"] for part in sent)
    # The rules of the bucket let a page read these, and send nothing but what is signed.
    digests = [bytes.fromhex(part["sha256"]) for part in sent]
    assert [part["checksum"] for part in sent] == [base64.b64encode(d).decode() for d in digests]
    arrived = [(part["number"], part["etag"], part["sha256"]) for part in report["arrived"]]
    assert arrived == [(part["number"], part["etag"], part["checksum"]) for part in sent]
    assert report["otherHeader"] is False
    video = ada.when(report["video"]["video_id"], "UPLOADED", "PROCESSING", "READY")
    whole = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert video["checksum_sha256"] == f"{whole}-{len(sent)}"
    assert ada.request("DELETE", f"/api/videos/{video['video_id']}").status == 204
