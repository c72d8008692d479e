"""Two regions: what one has, the other serves; one is cut off; the other goes on; it returns."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import urllib3
from command_line import Mediactl
from conftest import REPOSITORY, state_folder
from playback_load import Viewers
from two_regions import HOME, OTHER, STAGE, Neighbour, Subscriber, TwoRegions
from waiting import eventually

from media_platform.contract.events import EventType
from media_platform.contract.takeover import VERSION_STEP
from mediactl.checking.smoke import CLIP
from mediactl.client import ApiError
from mediactl.errors import (
    DEGRADED,
    INTERRUPTED,
    NOT_FOUND,
    REFUSED,
    USAGE,
    CommandError,
)
from mediactl.local.plane import Plane
from mediactl.regions.takeover import RegionStore

PATCH = {"Content-Type": "application/merge-patch+json"}
WHOLE = [EventType.VIDEO_CREATED, EventType.VIDEO_UPLOADED, EventType.VIDEO_READY]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRegions]:
    plane = Plane(state_folder(tmp_path_factory.mktemp("pair")), app=REPOSITORY, stage=STAGE)
    try:
        made = TwoRegions(plane)
        yield made
        assert made.denied() == []
    finally:
        plane.down()


@pytest.fixture(scope="module")
def ada(pair: TwoRegions) -> tuple[Neighbour, Neighbour]:
    """A user, near the home region of what she uploads there, and near the other."""
    return pair.person("ada", tenant="acme")


@pytest.fixture(scope="module")
def subscriber(pair: TwoRegions) -> Subscriber:
    """Whoever takes the events of both regions."""
    return Subscriber(pair)


@pytest.fixture(scope="module")
def ready(pair: TwoRegions, ada: tuple[Neighbour, Neighbour], film: bytes) -> dict[str, Any]:
    """A video that went the whole way in its home region, and is known in the other."""
    here, there = ada
    video_id = here.upload(film, title="Uploaded there")
    here.when(video_id, "READY")
    pair.settled()
    found = there.seen(video_id)
    assert found is not None
    assert found["status"] == "READY"
    return found


def test_a_video_is_listed_edited_and_played_through_the_other_region(
    pair: TwoRegions, ada: tuple[Neighbour, Neighbour], ready: dict[str, Any]
) -> None:
    here, there = ada
    video_id = ready["video_id"]
    assert there.titles()[video_id] == "Uploaded there"
    edited = there.json("PATCH", f"/api/videos/{video_id}", json={"title": "Edited"}, headers=PATCH)
    assert edited["version"] == ready["version"] + 1
    assert here.client.video(video_id)["title"] == "Edited", "it is changed where it is at home"
    pair.settled()
    assert there.titles()[video_id] == "Edited"
    assert there.frames(video_id) == {360: 180}
    assert there.signed_frames(video_id) == 180


def test_operators_see_each_region_by_itself_and_a_video_across_them(
    pair: TwoRegions, ready: dict[str, Any], tmp_path: Path
) -> None:
    pair.settled()
    state = pair.plane.state.root
    mediactl = Mediactl.of_plane(tmp_path, state_dir=state, app=REPOSITORY)
    status = json.loads(mediactl("status", "--json").stdout)
    services = {one["region"]: [s["name"] for s in one["services"]] for one in status["regions"]}
    assert services == {HOME: ["api", "admin", "workers"], OTHER: ["api", "workers"]}
    assert status["regions"][0]["replication"][0]["region"] == OTHER
    assert status["regions"][0]["replication"][0]["under_way"] == 0
    lines = mediactl("logs", "--video", ready["video_id"], "--json").json_lines
    assert {one["region"] for one in lines if one["service"] == "workers"} == {HOME}
    assert {one["region"] for one in lines if one["service"] == "api"} == {HOME, OTHER}
    jobs = mediactl("top", "--json").json["jobs"]
    assert [job["region"] for job in jobs if job["video_id"] == ready["video_id"]] == [HOME]


def test_files_of_a_video_are_asked_for_through_the_other_region(
    pair: TwoRegions, ada: tuple[Neighbour, Neighbour], ready: dict[str, Any]
) -> None:
    _, there = ada
    path = f"/api/videos/{ready['video_id']}"
    asked = there.request("POST", f"{path}/downloads", json={"height": 360})
    assert (asked.status, json.loads(asked.data)["status"]) == (202, "WAITING")
    for second in (1.0, 2.0):
        chosen = there.json("PUT", f"{path}/thumbnail", json={"at_seconds": second})
        assert chosen["at_seconds"] == second, "the answer shows what was asked for"
    pair.settled()


def test_of_edits_in_both_regions_at_once_one_wins_and_none_is_lost_unseen(
    pair: TwoRegions, ada: tuple[Neighbour, Neighbour], ready: dict[str, Any]
) -> None:
    path = f"/api/videos/{ready['video_id']}"
    tag = ada[0].request("GET", path).headers["ETag"]

    def edit(near: Neighbour) -> int:
        content = {"description": near.region}
        headers = {**PATCH, "If-Match": tag}
        return near.request("PATCH", path, json=content, headers=headers).status

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(edit, ada))
    assert sorted(statuses) == [200, 412]
    winner = ada[statuses.index(200)].region
    pair.settled()
    assert [json.loads(near.request("GET", path).data)["description"] for near in ada] == [
        winner,
        winner,
    ]


def test_a_region_that_is_cut_off_is_done_without(
    pair: TwoRegions,
    ada: tuple[Neighbour, Neighbour],
    ready: dict[str, Any],
    subscriber: Subscriber,
    film: bytes,
    longer_film: bytes,
    operator: Mediactl,
) -> None:
    here, there = ada
    title = here.client.video(ready["video_id"])["title"]
    waiting, upload = here.create(film, title="To come")
    with pair.at_work(here, longer_film) as (busy, go_on), pair.cut(HOME):
        go_on()
        back = f"mediactl local rejoin {HOME}{pair.plane.state.option}"
        assert pair.plane.status().problems == [f"region {HOME} is cut off; `{back}` ends that"]
        # Who is near the region that is gone is served by the other.
        assert here.titles()[ready["video_id"]] == title
        assert there.frames(ready["video_id"]) == {360: 180}
        assert there.signed_frames(ready["video_id"]) == 180
        assert here.put(upload.url, film, upload.headers) == 0
        path = f"/api/videos/{ready['video_id']}"
        refused = there.request("PATCH", path, json={"title": "No"}, headers=PATCH)
        assert refused.status == 503, "its home region alone may change it"
        check_operators_miss(HOME, operator)

        meanwhile = here.upload_near(there, film, title="Meanwhile")
        assert there.when(meanwhile, "READY")["status"] == "READY"
        assert there.frames(meanwhile) == {360: 180}
        pair.when_inside(HOME, busy, "READY")
        stale = there.seen(busy)
        assert stale is not None
        assert stale["status"] == "PROCESSING", "nothing of it came out"

    pair.settled()
    assert here.put(upload.url, film, upload.headers) == 200, "the upload goes on"
    here.when(waiting["video_id"], "READY")
    pair.settled()
    for near in ada:
        assert near.frames(busy) == {360: 720}
        assert near.frames(meanwhile) == near.frames(waiting["video_id"]) == {360: 180}
    for video_id in (busy, meanwhile, waiting["video_id"]):
        told = subscriber.told_of(video_id, count=3)
        assert [event.event_type for event in told] == WHOLE


def check_operators_miss(lost: str, mediactl: Mediactl) -> None:
    """Check that an operator is told of a lost region, and shown what the other has."""
    for command in (
        ("dlq", "list"),
        ("top",),
        ("costs", "list"),
        ("events", "replay", "--since=1h"),
    ):
        answer = mediactl(*command, "--json", *(["--dry-run"] if "replay" in command else []))
        assert answer.exit_code == DEGRADED, (command, answer.stderr)
        (missing,) = json.loads(answer.stdout)["missing_regions"]
        assert (missing["region"], missing["reachable"]) == (lost, False)
        assert f"{lost} is missing: {lost} is cut off\nhint: mediactl local rejoin" in answer.stderr
    logs = mediactl("logs", "--since", "1h", "--json")
    assert logs.exit_code == DEGRADED
    assert {line["region"] for line in logs.json_lines} == {OTHER}
    regions = json.loads(mediactl("status", "--json").stdout)["regions"]
    assert {one["region"]: one["reachable"] for one in regions} == {HOME: False, OTHER: True}


def check_refusals(pair: TwoRegions) -> None:
    """Check what is told to whoever takes over what he must not, while HOME is taken over."""
    for command, lost, by, told, code in (
        ("takeover", HOME, HOME, f"{HOME} cannot take itself over", USAGE),
        ("takeover", OTHER, HOME, f"{HOME} was taken over itself, by {OTHER}", REFUSED),
        ("readmit", OTHER, HOME, f"{OTHER} was not taken over", NOT_FOUND),
        ("takeover", "us-west-2", HOME, "has no region 'us-west-2', but", USAGE),
        ("takeover", HOME, "us-west-2", f"no stack MediaPlatform-{STAGE}-Store", NOT_FOUND),
    ):
        consent = ["--yes"] if command == "takeover" else []
        refused = pair.operate(command, lost, "--by", by, *consent)
        assert (refused.returncode, refused.stdout) == (code, "")
        assert told in refused.stderr
    with pytest.raises(CommandError, match="'us-west-2' cannot be cut off, allowed are eu-west-1"):
        pair.plane.cut("us-west-2")


def test_a_region_that_was_taken_over_loses_nothing_and_tells_nothing_twice(
    pair: TwoRegions,
    ada: tuple[Neighbour, Neighbour],
    ready: dict[str, Any],
    subscriber: Subscriber,
    film: bytes,
    longer_film: bytes,
) -> None:
    here, there = ada
    kept, gone = (here.when(here.upload(film), "READY")["video_id"] for _ in range(2))
    waiting, upload = here.create(film, title="To come")
    with pair.at_work(here, longer_film) as (busy, go_on), pair.relay_stopped(HOME):
        unsent = here.json(
            "PATCH", f"/api/videos/{kept}", json={"title": "Told late"}, headers=PATCH
        )
        pair.settled()
        with pair.cut(HOME):
            report = pair.take_over(HOME, by=OTHER)
            assert {ready["video_id"], kept, gone, busy} <= set(report["taken"])
            assert report["left"] == {
                waiting["video_id"]: "its file is still to come, to the bucket of its region"
            }
            assert pair.take_over(HOME, by=OTHER) == {**report, "taken": []}, "once more"
            go_on()

            # Everything goes on in the other region: edits, deletes, and what was in the works.
            path = f"/api/videos/{kept}"
            edited = there.json("PATCH", path, json={"title": "Taken"}, headers=PATCH)
            assert edited["version"] == unsent["version"] + VERSION_STEP + 1
            assert there.request("DELETE", f"/api/videos/{gone}").status == 204
            there.when(busy, "READY")
            # What is cut off does not know, and works on. What it writes last is later than the
            # takeover, and stands over it when both meet.
            pair.when_inside(HOME, busy, "READY")
            late = pair.inside_api(HOME, ada[0], kept, {"title": "Late"})
            assert late["version"] == unsent["version"] + 1
            assert pair.inside(HOME, busy).epoch == 0
            assert pair.inside(OTHER, busy).epoch == 1
        pair.settled()
    for video_id in (kept, gone, busy, ready["video_id"]):
        assert pair.agreed(video_id, home=OTHER).epoch == 1, "what was written late is put right"
    assert pair.inside(OTHER, kept).version == edited["version"] + VERSION_STEP
    for near in ada:
        assert near.titles()[kept] == "Taken"
        assert gone not in near.titles()
        assert near.frames(kept) == {360: 180}
        assert near.frames(busy) == {360: 720}

    # The upload that was under way goes on where it began.
    assert here.put(upload.url, film, upload.headers) == 200
    here.when(waiting["video_id"], "READY")
    pair.settled()
    told = subscriber.told_of(kept, count=7, meanwhile=lambda: pair.sweep(OTHER))
    assert len({event.event_id for event in told}) == len(told), "none twice"
    assert [event.data.get("changed") for event in told[3:]] == [
        {"title": "Told late"},
        {"title": "Late"},
        {},
        {"title": "Taken"},
    ]
    sequences = [event.sequence for event in told]
    assert sequences == sorted(set(sequences))
    assert [event.event_type for event in subscriber.told_of(waiting["video_id"], count=3)] == WHOLE
    ready_events = [
        event
        for event in subscriber.told_of(busy, count=5, meanwhile=lambda: pair.sweep(OTHER))
        if event.event_type is EventType.VIDEO_READY
    ]
    last = pair.inside(OTHER, busy)
    assert ready_events[-1].data["run_id"] == last.current_run, "the last one told is what is shown"

    check_refusals(pair)
    pair.readmit(HOME, by=OTHER)
    # Until it sees that it is let in, what it has to tell waits for its sweep.
    pair.settled()
    after = here.when(here.upload(film), "READY")["video_id"]
    assert [event.event_type for event in subscriber.told_of(after, count=3)] == WHOLE


@dataclass
class Uploaders:
    """People who upload all the time: what was accepted of them, and what was not.

    Attributes:
        accepted: Videos whose file arrived, in order.
        refused: What else was answered.
    """

    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @contextmanager
    def uploading(self, *people: Callable[[], str]) -> Iterator[Uploaders]:
        """Upload while the block runs.

        Args:
            *people: Each uploads a file, and returns the video.
        """
        ended = threading.Event()

        def upload(once: Callable[[], str]) -> None:
            while not ended.wait(SECONDS_BETWEEN_UPLOADS):
                try:
                    self.accepted.append(once())
                except (AssertionError, ApiError, urllib3.exceptions.HTTPError) as error:
                    self.refused.append(repr(error))

        with ThreadPoolExecutor(len(people)) as pool:
            working = [pool.submit(upload, one) for one in people]
            try:
                yield self
            finally:
                ended.set()
        for one in working:
            one.result()


SECONDS_BETWEEN_UPLOADS = 1.5


@pytest.fixture(scope="module")
def operator(pair: TwoRegions, tmp_path_factory: pytest.TempPathFactory) -> Mediactl:
    """The command line of a person whose environment ``local`` is the plane of two regions."""
    home = tmp_path_factory.mktemp("operator")
    return Mediactl.of_plane(home, state_dir=pair.plane.state.root, app=REPOSITORY)


def check_all_ready(near: Neighbour, videos: list[str]) -> None:
    """Check that all videos become READY, and that what was uploaded last plays."""
    assert videos
    for video_id in videos:
        near.when(video_id, "READY")
    assert near.frames(videos[-1]) == {180: CLIP_FRAMES}


CLIP_FRAMES = 30


def test_a_drain_under_load_refuses_nobody_and_loses_no_upload(
    pair: TwoRegions, ada: tuple[Neighbour, Neighbour], ready: dict[str, Any], operator: Mediactl
) -> None:
    here, there = ada
    clip = CLIP.read_bytes()
    viewers, uploaders = Viewers(), Uploaders()
    with (
        viewers.playing([here.client, there.client], lambda: str(ready["video_id"])),
        uploaders.uploading(lambda: pair.upload_anywhere(here, clip)),
    ):
        eventually(lambda: uploaders.accepted, "people upload")
        report = operator("drill", "--drain", HOME, "--yes", "--json").json
        accepted = len(uploaders.accepted)
        eventually(lambda: uploaders.accepted[accepted:], "people go on")
    assert (viewers.refused, uploaders.refused) == ([], [])
    assert (report["kind"], report["region"], report["by"]) == ("drain", HOME, OTHER)
    assert (report["lost"], report["left"], report["unknown"]) == ([], {}, [])
    assert set(uploaders.accepted) & set(report["taken"])
    check_all_ready(there, uploaders.accepted)
    assert set(uploaders.accepted) <= there.titles().keys()


def test_a_cut_under_load_names_every_video_that_was_not_copied(
    pair: TwoRegions, ada: tuple[Neighbour, Neighbour], operator: Mediactl
) -> None:
    here, there = ada
    clip = CLIP.read_bytes()
    waiting, upload = here.create(clip, title="To come")
    pair.settled()
    inside = pair.inside_of(HOME, here)
    outside, within = Uploaders(), Uploaders()
    due: set[str] = set()

    def also_due(change: Callable[..., None]) -> Callable[..., None]:
        """Have all that was accepted until a change of the plane be due in the report."""

        def changed(plane: Plane, region: str) -> None:
            # Nobody outside hears of what is accepted in the region while it is cut off.
            due.update(within.accepted, outside.accepted if change is Plane.cut else ())
            change(plane, region)

        return changed

    cut, rejoin = also_due(Plane.cut), also_due(Plane.rejoin)
    with (
        mock.patch.object(Plane, "cut", cut),
        mock.patch.object(Plane, "rejoin", rejoin),
        outside.uploading(lambda: pair.upload_anywhere(here, clip)),
        within.uploading(lambda: pair.upload_directly(inside, clip)),
    ):
        eventually(lambda: within.accepted and outside.accepted, "people upload")
        report = operator("drill", "--cut", HOME, "--yes", "--json").json
    assert 0 < report["playback_seconds"] <= report["upload_seconds"] < report["seconds"]
    assert report["left"][waiting["video_id"]] == (
        "its file is still to come, to the bucket of its region"
    )
    assert due <= {*report["taken"], *report["left"], *report["unknown"]}
    assert set(report["unknown"]) & set(within.accepted)
    assert report["lost"] == []
    pair.settled()
    assert here.put(upload.url, clip, upload.headers) == 200, "the upload goes on"
    check_all_ready(there, [*outside.accepted, *within.accepted, waiting["video_id"]])


def test_a_cut_that_is_interrupted_gives_the_region_back(
    pair: TwoRegions, operator: Mediactl
) -> None:
    with mock.patch.object(RegionStore, "take_over", side_effect=KeyboardInterrupt):
        ended = operator("drill", "--cut", HOME, "--yes")
    assert ended.exit_code == INTERRUPTED
    assert "the region returns" in ended.stderr
    refused = pair.operate("readmit", HOME, "--by", OTHER)
    assert refused.returncode == NOT_FOUND
    assert f"{HOME} was not taken over" in refused.stderr


def test_a_drill_that_cannot_be_is_refused_in_a_line(operator: Mediactl) -> None:
    for arguments, code, told in (
        (["--drain", HOME], REFUSED, f"this would take {HOME} away for a while"),
        (["--drain", "us-west-2", "--yes"], USAGE, "'us-west-2' is no region of local"),
        (["--cut", HOME, "--by", HOME, "--yes"], USAGE, f"{HOME} cannot stand in for itself"),
        (["--cut", HOME, "--drain", OTHER, "--yes"], USAGE, "takes one region away"),
        (["--cut", HOME, "--yes", "-e", "prod"], USAGE, "on this machine only"),
    ):
        answer = operator("drill", *arguments)
        assert (answer.exit_code, answer.stdout) == (code, "")
        assert told in answer.stderr
