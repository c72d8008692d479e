"""``mediactl smoke`` on the plane of the session: it passes, fails for real reasons, and cleans."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from command_line import Mediactl
from conftest import RunningPlane
from journey import relay_stopped
from waiting import eventually

from media_platform.contract.identity import ADMIN_GROUP, EDITOR_GROUP
from media_platform.contract.ids import new_id
from mediactl.access.accounts import Accounts
from mediactl.checking import journey
from mediactl.checking.smoke import CLIP, KIND, STEPS, TENANT
from mediactl.client import MediaClient
from mediactl.environment import Environment, load_environment
from mediactl.errors import FAILED, INTERRUPTED, TERMINATED
from mediactl.temporary import TemporaryName
from mediactl.watching.event_queues import EventQueues


@pytest.fixture(scope="module")
def environment(mediactl: Mediactl) -> Environment:
    with mediactl.settings():
        return load_environment("local")


@pytest.fixture(scope="module")
def accounts(environment: Environment) -> Accounts:
    return Accounts.of(environment)


@pytest.fixture(autouse=True)
def _leaves_nothing(environment: Environment) -> Iterator[None]:
    """However a run ended: nothing is there that was made for one."""
    yield
    assert all(not found for found in made_for_runs(environment).values())


def made_for_runs(environment: Environment) -> dict[str, list[str]]:
    """Return the names of what is there that was made for runs."""
    prefix = TemporaryName.make(KIND, environment.stage, seconds=0).prefix
    queues = environment.client("sqs").list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
    subscriptions = environment.client("sns").list_subscriptions()["Subscriptions"]
    return {
        "queues": [url.rpartition("/")[2] for url in queues],
        "subscriptions": [one["Endpoint"] for one in subscriptions if prefix in one["Endpoint"]],
        "users": [one.username for one in Accounts.of(environment).starting_with(prefix)],
    }


def results(report: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["result"] for step in report["steps"]}


def failing(answer: Any) -> dict[str, Any]:
    """Return the one step that failed; what depends on it alone was not reached."""
    assert answer.exit_code == FAILED
    report = json.loads(answer.stdout)
    assert not report["passed"]
    assert list(results(report)) == list(STEPS)
    (failed,) = [step for step in report["steps"] if step["result"] == "failed"]
    assert "look at" in failed["hint"]
    return dict(failed)


def test_the_whole_way_is_gone_and_what_a_killed_run_left_is_removed(
    mediactl: Mediactl,
    environment: Environment,
    accounts: Accounts,
    plane: RunningPlane,
    tmp_path: Path,
) -> None:
    left = leave(environment, accounts, seconds=-1)
    going_on = leave(environment, accounts, seconds=600)
    file = tmp_path / "smoke.xml"
    with purging(plane):
        report = mediactl("smoke", "--junit", str(file), "--json").json
    assert results(report) == dict.fromkeys(STEPS, "passed")
    assert (report["environment"], report["tenant"]) == ("local", TENANT)
    assert "frames decoded" in report["steps"][4]["detail"]
    assert "VideoReady" in report["steps"][6]["detail"]

    assert report["removed"] == [str(left.name)]
    assert videos_of(environment, accounts) == [str(going_on.name)]
    assert made_for_runs(environment)["users"] == [str(going_on.name)]
    remove(going_on, environment, accounts)

    suite = ET.parse(file).getroot().find("testsuite")  # noqa: S314 - we wrote it
    assert suite is not None
    assert [case.get("name") for case in suite] == list(STEPS)
    assert (suite.get("tests"), suite.get("failures")) == (str(len(STEPS)), "0")


def leave(environment: Environment, accounts: Accounts, *, seconds: float) -> EventQueues:
    """Leave what a run has made that is killed after its upload.

    Args:
        environment: Where.
        accounts: Its accounts.
        seconds: Time that the run has yet, as it was meant.
    """
    name = TemporaryName.make(KIND, environment.stage, seconds=seconds)
    queues = EventQueues(environment, name, environment.regions, tenant=TENANT)
    queues.subscribe()
    client = client_of(environment, accounts, str(name))
    body = {
        "title": str(name),
        "file_name": CLIP.name,
        "content_type": "video/mp4",
        "size_bytes": CLIP.stat().st_size,
        "duplicates": "keep",
    }
    journey.upload(client, CLIP, body, key=str(name))
    return queues


def remove(queues: EventQueues, environment: Environment, accounts: Accounts) -> None:
    """Remove what :func:`leave` left, as a run does that ends."""
    queues.remove()
    client = client_of(environment, accounts, str(queues.name))
    for video in client.call("GET", "/api/videos", query={"owner": "me"})["videos"]:
        client.call("DELETE", f"/api/admin/videos/{video['video_id']}")
    accounts.delete(str(queues.name))


def client_of(environment: Environment, accounts: Accounts, username: str) -> MediaClient:
    accounts.ensure(username, tenant=TENANT, groups=[ADMIN_GROUP, EDITOR_GROUP])
    return MediaClient(environment.base_url, accounts.sign_in(username))


def videos_of(environment: Environment, accounts: Accounts) -> list[str]:
    """Return the titles of the videos of the tenant, DELETED ones left out."""
    username = f"looking-{new_id()}"
    client = client_of(environment, accounts, username)
    videos = client.call("GET", "/api/admin/videos", query={"limit": 100})["videos"]
    accounts.delete(username)
    return [video["title"] for video in videos]


@contextlib.contextmanager
def purging(plane: RunningPlane) -> Iterator[None]:
    """Give the purge turns without its schedule, whose shortest interval is a minute."""
    functions = plane.client("lambda")
    (name,) = [
        function["FunctionName"]
        for function in functions.list_functions()["Functions"]
        if function["Handler"].startswith("purge.")
    ]
    over = threading.Event()

    def turns() -> None:
        while not over.wait(1):
            functions.invoke(FunctionName=name)

    thread = threading.Thread(target=turns)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_people_see_a_table_and_what_failed(mediactl: Mediactl, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no film" * 100)
    answer = mediactl("smoke", "--video", str(clip))
    assert answer.exit_code == FAILED
    assert "failed: playable" in answer.stdout
    assert "not_a_video" in answer.stdout
    assert "mediactl logs -e local --video" in answer.stdout


def test_a_distribution_that_serves_without_signatures_fails(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str]
) -> None:
    with open_to_all(plane, outputs["DistributionId"]):
        failed = failing(mediactl("smoke", "--no-purge", "--json"))
    assert failed["name"] == "unsigned refused"
    assert "200" in failed["detail"]


@contextlib.contextmanager
def open_to_all(plane: RunningPlane, distribution_id: str) -> Iterator[None]:
    """Let the distribution ask for no signatures."""
    cloudfront = plane.client("cloudfront")

    def change(trusted: dict[str, Any]) -> dict[str, Any]:
        answer = cloudfront.get_distribution_config(Id=distribution_id)
        config = answer["DistributionConfig"]
        (media,) = [b for b in config["CacheBehaviors"]["Items"] if "media" in b["PathPattern"]]
        before = media["TrustedKeyGroups"]
        media["TrustedKeyGroups"] = trusted
        cloudfront.update_distribution(
            Id=distribution_id, IfMatch=answer["ETag"], DistributionConfig=config
        )
        plane.plane.refresh()
        return dict(before)

    trusted = change({"Enabled": False, "Quantity": 0})
    try:
        yield
    finally:
        change(trusted)


def test_events_that_are_not_published_fail(mediactl: Mediactl, plane: RunningPlane) -> None:
    with relay_stopped(plane.client("lambda")):
        failed = failing(mediactl("smoke", "--no-purge", "--timeout", "20", "--json"))
    assert failed["name"] == "event received"
    assert "VideoReady" in failed["detail"]


def test_somebody_who_has_a_token_is_used_and_no_user_is_made(
    mediactl: Mediactl, environment: Environment, accounts: Accounts
) -> None:
    name = f"program-{new_id()}"
    accounts.ensure(name, tenant="acme", groups=[EDITOR_GROUP])
    token = accounts.sign_in(name)
    report = mediactl("smoke", "--json", MEDIACTL_TOKEN=token).json
    assert results(report) == {**dict.fromkeys(STEPS, "passed"), "purge": "skipped"}
    assert report["tenant"] == "acme"
    client = MediaClient(environment.base_url, token)
    assert client.call("GET", "/api/videos", query={"owner": "me"})["videos"] == []


def test_a_token_that_is_none_fails(mediactl: Mediactl) -> None:
    failed = failing(mediactl("smoke", "--json", MEDIACTL_TOKEN="nonsense"))
    assert failed["name"] == "sign in"


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [
        (signal.SIGINT, INTERRUPTED, "interrupted"),
        (signal.SIGTERM, TERMINATED, "ended by SIGTERM"),
    ],
)
def test_an_interrupted_run_removes_what_it_made(
    mediactl: Mediactl,
    environment: Environment,
    accounts: Accounts,
    sent: signal.Signals,
    code: int,
    word: str,
) -> None:
    with subprocess.Popen(
        mediactl.program("smoke", "--no-purge"),
        env={**os.environ, **mediactl.variables()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        eventually(lambda: made_for_runs(environment)["subscriptions"], "the run has begun")
        process.send_signal(sent)
        shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (code, ""), said
    assert word in said
    assert videos_of(environment, accounts) == []
