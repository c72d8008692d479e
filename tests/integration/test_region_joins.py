"""A region joins a stage that lives, and leaves it: nobody is refused, and no video is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from changed_app import ChangedApp
from command_line import Answer, Mediactl
from conftest import state_folder
from journey import Person, uploads_during
from two_regions import HOME, OTHER, STAGE, NearClient, Neighbour, TwoRegions
from waiting import eventually

from media_platform.contract.delivery import delivery_parameter_name
from media_platform.contract.identity import EDITOR_GROUP
from mediactl.access.sessions import UserPool
from mediactl.environment import LocalEnvironment
from mediactl.errors import NOT_FOUND, REFUSED, USAGE, CommandError
from mediactl.local import player
from mediactl.local.gateway import gateway_ports
from mediactl.local.plane import Endpoints, Plane

SECONDS_BETWEEN_PLAYS = 1
FILM = {360: 180}
"""What of the film can be played: frames by height."""

Command = Callable[..., Answer]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ChangedApp:
    """The app, whose stage has the first of its two regions."""
    app = ChangedApp(tmp_path_factory.mktemp("app"), STAGE)
    app.write(regions=app.stage["regions"][:1])
    return app


@pytest.fixture(scope="module")
def plane(app: ChangedApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A plane of that region, which is up."""
    plane = Plane(state_folder(tmp_path_factory.mktemp("joining")), app=app.folder, stage=STAGE)
    try:
        plane.up()
        yield plane
    finally:
        plane.down()


@pytest.fixture(scope="module")
def region(plane: Plane, app: ChangedApp, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """``mediactl region`` of whoever operates the plane, as a process of its own."""
    home = tmp_path_factory.mktemp("person")
    mediactl = Mediactl.of_plane(home, state_dir=plane.state.root, app=app.folder)

    def run(*arguments: str) -> Answer:
        done = subprocess.run(
            mediactl.program("region", *arguments),
            env=mediactl.variables(),
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@dataclass(frozen=True)
class Joined:
    """The plane after the region joined.

    Attributes:
        alone: What was deployed before.
        pair: The plane.
        ada: A user who signed in before.
        here: The same near the region that was there.
        there: The same near that which joined.
        before: A video from before.
        working: One that was transcoded while the region joined.
        meanwhile: Those that were sent while it did.
        plays: How often a video was played while it did.
    """

    alone: Endpoints
    pair: TwoRegions
    ada: Person
    here: Neighbour
    there: Neighbour
    before: str
    working: str
    meanwhile: list[str]
    plays: int


@pytest.fixture(scope="module")
def joined(
    plane: Plane, app: ChangedApp, region: Command, film: bytes, longer_film: bytes
) -> Joined:
    alone = plane.endpoints()
    assert (alone.regions, gateway_ports(plane.state)) == ([HOME], {})
    users = UserPool.of(LocalEnvironment("local", state_dir=plane.state.root, app=Path()))
    token = users.sign_in_as("ada", tenant="acme", groups=[EDITOR_GROUP])
    ada = Person(NearClient(alone.edge_url, token, HOME), token, alone.edge_url)
    before = ada.when(ada.upload(film, title="Before"), "READY")["video_id"]
    old_grant = ada.client.playback(before)
    unknown = region("add", OTHER)
    assert (unknown.exit_code, f"has no region '{OTHER}'" in unknown.stderr) == (USAGE, True)
    app.write()
    planned(region, "absent", done=[False, False, False, False])
    commands = region("add", OTHER, "--dry-run", "--json").json["commands"]
    assert commands == [
        f"npx cdk deploy --all -c stage={STAGE} -c joining={OTHER}",
        f"npx cdk deploy --all -c stage={STAGE}",
    ]

    working = ada.upload(longer_film, title="Under way")
    eventually(lambda: ada.client.video(working)["progress"] > 0 or None, "a worker has published")
    with ThreadPoolExecutor(2) as pool:
        adding = pool.submit(region, "add", OTHER, "--json")
        viewer = pool.submit(play_during, adding, ada, before, old_grant)
        meanwhile = list(uploads_during(adding, ada, film, every_seconds=12))
    assert adding.result().json["commands"] == commands
    pair = TwoRegions(plane)
    here, there = pair.near_both(token)
    return Joined(alone, pair, ada, here, there, before, working, meanwhile, viewer.result())


def planned(region: Command, state: str, *, done: list[bool]) -> None:
    """Check how far a region is a member, and what of the steps to it is done."""
    (plan,) = region("plan", OTHER, "--json").json["regions"]
    assert (plan["state"], [step["done"] for step in plan["steps"]]) == (state, done)


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


def test_a_region_joins_while_films_are_sent_and_played(
    joined: Joined, region: Command, film: bytes
) -> None:
    pair, here, there = joined.pair, joined.here, joined.there
    assert pair.endpoints.regions == [HOME, OTHER]
    for stack, outputs in joined.alone.outputs.items():
        assert outputs.items() <= pair.endpoints.outputs[stack].items(), "all stays in its place"
    assert joined.plays > 0
    planned(region, "member", done=[True, True, True, False])
    assert region("add", OTHER, "--json").json["commands"] == []

    after, new = here.upload(film, title="After"), there.upload(film, title="New")
    films = [joined.before, *joined.meanwhile, after, new]
    for video_id in (*films, joined.working):
        here.when(video_id, "READY")
    pair.settled()
    for near in (here, there):
        assert near.titles().keys() == {*films, joined.working}
    assert pair.inside(OTHER, new).home_region == OTHER
    assert here.frames(new) == FILM
    assert [there.frames(video_id) for video_id in films] == [FILM] * len(films)
    assert there.frames(joined.working) == {360: 720}
    # What is older than the region has no copy there: playlists, too, come from where it was made.
    for video_id in (joined.before, joined.working, after):
        assert there.signed_frames(video_id) == there.frames(video_id)[360]
    with pair.cut(HOME):
        assert there.titles().keys() == {*films, joined.working}, "the table has copies of all"
        assert there.frames(after) == FILM


def test_what_is_older_than_a_region_is_copied_there(joined: Joined, region: Command) -> None:
    pair, there = joined.pair, joined.there
    with pair.cut(HOME):
        with pytest.raises(CommandError, match="answers with status 403"):
            there.frames(joined.before)
        begun, found = (region("replicate", OTHER, "--no-wait", "--json").json for _ in range(2))
    assert begun == found, "what runs is gone on with"
    for one in begun["buckets"]:
        assert (one["source"], one["status"], one["copied"]) == (HOME, "Active", 0)
        assert one["objects"] > 0
    pair.settled()
    whole = region("replicate", OTHER, "--json").json
    assert [(one["status"], one["objects"]) for one in whole["buckets"]] == [("Complete", 0)] * 2
    with pair.cut(HOME):
        assert there.frames(joined.before) == FILM
        assert there.signed_frames(joined.before) == FILM[360]
    refused = region("replicate", "us-west-2")
    assert (refused.exit_code, "has no region 'us-west-2'" in refused.stderr) == (USAGE, True)


def test_a_region_leaves_once_no_video_needs_it(
    joined: Joined, plane: Plane, app: ChangedApp, region: Command, film: bytes
) -> None:
    pair, here, there = joined.pair, joined.here, joined.there
    mine = there.when(there.upload(film, title="Made there"), "READY")["video_id"]
    pair.settled()
    for arguments, code, told in (
        ((HOME, "--yes"), REFUSED, f"{HOME} is the home region"),
        (("us-west-2", "--yes"), USAGE, "has no region 'us-west-2'"),
        ((OTHER, "--yes"), REFUSED, f"are at home in {OTHER}, such as"),
    ):
        refused = region("remove", *arguments)
        assert (refused.exit_code, refused.stdout) == (code, "")
        assert told in refused.stderr
    taken = region("takeover", OTHER, "--by", HOME, "--yes", "--json").json
    assert (mine in taken["taken"], taken["left"]) == (True, {})
    refused = region("remove", OTHER, "--yes")
    assert (refused.exit_code, f"were made in {OTHER}" in refused.stderr) == (REFUSED, True)
    for video_id in taken["taken"]:
        here.json("POST", f"/api/videos/{video_id}/transcode", json={})
    for video_id in taken["taken"]:
        eventually(
            lambda video_id=video_id: pair.inside(HOME, video_id).media_region == HOME or None,  # type: ignore[misc]
            "its media are made again",
        )
    refused = region("remove", OTHER)
    assert (refused.exit_code, "add --yes" in refused.stderr) == (REFUSED, True)
    films = here.titles()

    removed = region("remove", OTHER, "--yes", "--json").json
    assert removed["commands"][1] == f"npx cdk deploy --all -c stage={STAGE} -c joining={OTHER}"
    assert removed["left"] == [], "the stage keeps no data"
    planned(region, "absent", done=[True, False, False, False])
    assert region("remove", OTHER, "--yes").exit_code == NOT_FOUND
    app.write(regions=app.stage["regions"][:1])
    assert plane.up().outputs == joined.alone.outputs
    assert gateway_ports(plane.state) == {}
    assert plane.status().problems == []
    assert here.titles() == films
    after = joined.ada.when(joined.ada.upload(film), "READY")["video_id"]
    for video_id in (joined.before, mine, after):
        assert here.frames(video_id) == FILM
    # Its right there went with the region, so the operator's tool removes the document. And tasks
    # may still end when their role is gone, for which CloudFormation would wait.
    assert {(c.action, c.region) for c in pair.denied()} <= {
        ("ssm:DeleteParameter", OTHER),
        ("ecs:UpdateTaskProtection", OTHER),
    }
    left = pair.client("ssm", OTHER).describe_parameters()["Parameters"]
    assert delivery_parameter_name(STAGE) not in {one["Name"] for one in left}
