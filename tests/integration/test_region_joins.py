"""A region joins a stage that lives: nobody is refused meanwhile, and no video is lost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from changed_app import ChangedApp
from conftest import state_folder
from journey import Person, uploads_during
from two_regions import HOME, OTHER, STAGE, NearClient, TwoRegions
from waiting import eventually

from media_platform.contract.identity import EDITOR_GROUP
from mediactl.commands.local import platform_of
from mediactl.local import player
from mediactl.local.gateway import gateway_ports
from mediactl.local.plane import Plane

SECONDS_BETWEEN_PLAYS = 1
FILM = {360: 180}
"""What of the film can be played: frames by height."""


@pytest.fixture
def app(tmp_path: Any) -> ChangedApp:
    """The app, whose stage has the first of its two regions."""
    app = ChangedApp(tmp_path, STAGE)
    app.write(regions=app.stage["regions"][:1])
    return app


@pytest.fixture
def plane(app: ChangedApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A plane of that region, which is up."""
    plane = Plane(state_folder(tmp_path_factory.mktemp("joining")), app=app.folder, stage=STAGE)
    try:
        plane.up()
        yield plane
    finally:
        plane.down()


def test_a_region_joins_while_films_are_sent_and_played(
    plane: Plane, app: ChangedApp, film: bytes, longer_film: bytes
) -> None:
    alone = plane.endpoints()
    assert (alone.regions, gateway_ports(plane.state)) == ([HOME], {})
    platform = platform_of(alone)
    token = platform.users.sign_in_as("ada", tenant="acme", groups=[EDITOR_GROUP])
    ada = Person(NearClient(platform.edge_url, token, HOME), token, platform.edge_url)
    before = ada.when(ada.upload(film, title="Before"), "READY")["video_id"]
    old_grant = ada.client.playback(before)
    working = ada.upload(longer_film, title="Under way")
    eventually(lambda: ada.client.video(working)["progress"] > 0 or None, "a worker has published")

    def join() -> None:
        app.write()
        plane.up(joining=[OTHER])
        assert plane.endpoints().outputs.items() > alone.outputs.items()
        plane.up()

    with ThreadPoolExecutor(2) as pool:
        deployments = pool.submit(join)
        viewer = pool.submit(play_during, deployments, ada, before, old_grant)
        meanwhile = list(uploads_during(deployments, ada, film, every_seconds=12))
    deployments.result()
    assert viewer.result() > 0

    pair = TwoRegions(plane)
    here, there = pair.near_both(token)
    after, new = here.upload(film, title="After"), there.upload(film, title="New")
    films = [before, *meanwhile, after, new]
    for video_id in (*films, working):
        here.when(video_id, "READY")
    pair.settled()
    for near in (here, there):
        assert near.titles().keys() == {*films, working}
    assert here.frames(new) == FILM
    assert [there.frames(video_id) for video_id in films] == [FILM] * len(films)
    assert there.frames(working) == {360: 720}
    # What is older than the region has no copy there: playlists, too, come from where it was made.
    for video_id in (before, working, after):
        assert there.signed_frames(video_id) == there.frames(video_id)[360]
    assert pair.inside(OTHER, new).home_region == OTHER
    assert pair.denied() == []

    with pair.cut(HOME):
        assert there.titles().keys() == {*films, working}, "the table has copies of all"
        assert there.frames(after) == FILM
    with pair.cut(OTHER):
        assert here.frames(new) == FILM


def play_during(work: Future[Any], person: Person, video_id: str, old_grant: dict[str, Any]) -> int:
    """Play a video now and then until ``work`` is done; return how often.

    Args:
        work: What goes on.
        person: Who asks for playback.
        video_id: The video.
        old_grant: What was granted before.
    """
    plays = 0
    while True:
        grant = person.client.playback(video_id)
        for playlist_url, cookies in (
            (old_grant["playlist_url"], old_grant["cookies"]),
            (grant["playlist_url"], grant["cookies"]),
            (grant["signed_playlist_url"], {}),
        ):
            playlist = player.fetch_playlist(playlist_url, cookies)
            assert {h: player.decode(url, cookies) for h, url in playlist.variants.items()} == FILM
        plays += 1
        try:
            work.result(timeout=SECONDS_BETWEEN_PLAYS)
        except TimeoutError:
            continue
        return plays
