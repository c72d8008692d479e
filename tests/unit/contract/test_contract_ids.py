"""Identifiers are UUIDs of version 7 and sort by time."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract import table
from media_platform.contract.ids import first_of, is_id, made_at, new_id


def test_an_identifier_has_the_layout_of_rfc_9562() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    value = uuid.UUID(text)
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert str(value) == text
    # Identifiers made within one millisecond may carry into the next.
    assert before <= value.int >> 80 <= after + 1
    assert is_id(text)


def test_later_identifiers_of_a_process_sort_after_earlier_ones() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_threads_never_make_the_same_identifier() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(mine: list[str]) -> None:
        mine.extend(new_id() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({i for mine in made for i in mine}) == 8000
    assert all(mine == sorted(mine) for mine in made)


def test_a_clock_that_steps_back_does_not_break_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    second = new_id()
    assert first < second
    assert is_id(second)


ID = "01a1fd66-e343-7312-8d31-51aa65b99210"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID.upper(),
        ID + "\n",
        " " + ID,
        ID.replace("-", ""),
        ID.replace("-7312", "-4312"),
        ID.replace("-8d31", "-cd31"),
        ID[:-1] + "g",
    ],
)
def test_other_texts_are_no_identifiers(text: str) -> None:
    assert is_id(ID)
    assert not is_id(text)


def test_identifiers_spread_over_all_shards() -> None:
    shards = [table.shard(new_id()) for _ in range(4000)]
    counts = [shards.count(number) for number in range(table.SHARDS)]
    assert sum(counts) == 4000
    assert min(counts) > 4000 / table.SHARDS / 2


@given(st.uuids())
def test_a_shard_is_always_one_of_the_shards(value: uuid.UUID) -> None:
    assert 0 <= table.shard(str(value)) < table.SHARDS


def test_an_id_tells_when_it_was_made() -> None:
    assert made_at("0001e240-0000-7000-8000-000000000000") == datetime(
        1970, 1, 1, tzinfo=UTC
    ) + timedelta(milliseconds=123_456 << 16)
    before = datetime.now(UTC)
    assert timedelta(0) <= made_at(new_id()) - before + timedelta(milliseconds=1)


def test_ids_are_parted_by_a_time() -> None:
    before = new_id()
    made = made_at(before)
    assert first_of(made) < before < first_of(made + timedelta(milliseconds=1))
