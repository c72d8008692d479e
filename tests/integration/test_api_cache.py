"""What is kept in memory, with two processes of the API on one table."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_stage import Person, Stage, running_stage

from media_platform.contract.ids import new_id


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-cache")) as stage:
        yield stage


@pytest.fixture(scope="module")
def other(stage: Stage) -> Iterator[Stage]:
    with stage.other_process() as other:
        yield other


def test_after_a_write_was_answered_no_process_shows_what_was_before(
    stage: Stage, other: Stage
) -> None:
    """Videos are deleted through one process while both are being asked for them."""
    tenant = f"tenant-{new_id()}"
    people = [stage.person("ada", tenant), other.person("ada", tenant)]
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


def test_what_is_kept_is_shown_to_those_who_may_see_it_alone(stage: Stage) -> None:
    tenant = f"tenant-{new_id()}"
    ada, bob = stage.person("ada", tenant), stage.person("bob", tenant, "admin")
    path = f"/api/videos/{ada.new_video(visibility='PRIVATE')}"
    for _ in range(3):
        assert ada.call("GET", path).status == 200
        assert bob.call("GET", path).status == 404
        assert stage.person("ada", f"other-{tenant}").call("GET", path).status == 404
        assert stage.api.call("GET", path).status == 404
