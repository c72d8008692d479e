"""The simulation of the protocol: what must hold whatever the constants are."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from harness.protocol import (
    SEGMENT_SECONDS,
    Costs,
    Outcome,
    Setup,
    Upload,
    chunk_lengths,
    percentile,
    simulate,
)

from media_worker.planning import choose_chunks

COSTS = Costs(encode=0.5, sound=0.01)
RATE = 25


def work(costs: Costs, lengths: list[float]) -> float:
    return sum(costs.encode_start + seconds * costs.encode for seconds in lengths)


def only(outcome: Outcome) -> tuple[float, float]:
    (result,) = outcome.results
    return result.playable, result.ready


def test_pictures_are_cut_as_the_planner_cuts_them() -> None:
    for seconds in (1, 8, 9, 11, 60, 61, 63.52, 600, 3601):
        frames = round(seconds * RATE)
        cuts = [chunk.start for chunk in choose_chunks(frames, SEGMENT_SECONDS * RATE, 4)]
        lengths = [(b - a) / RATE for a, b in zip(cuts, [*cuts[1:], frames], strict=True)]
        assert chunk_lengths(seconds, 16) == pytest.approx(lengths)


def test_one_worker_takes_what_its_parts_take() -> None:
    costs = replace(COSTS, sound=0.0)
    lengths = chunk_lengths(100, 16)
    playable, ready = only(simulate(costs, Setup(workers=1), [Upload(100)]))
    first = costs.receive + costs.plan + costs.first_extra + work(costs, lengths[:1])
    assert playable == pytest.approx(first)
    between = (len(lengths) - 1) * (costs.receive + costs.between)
    later = work(costs, lengths[1:])
    assert ready == pytest.approx(first + costs.poster + later + between + costs.end)


def test_sound_takes_its_time_from_the_picture_of_one_worker() -> None:
    silent, heard = (
        only(simulate(replace(COSTS, sound=sound), Setup(workers=1), [Upload(100)]))
        for sound in (0.0, 0.1)
    )
    assert heard[0] == silent[0]
    assert silent[1] < heard[1] <= silent[1] + 100 * 0.1 + 1e-6


def test_workers_share_a_video_and_its_first_chunk_is_no_later_for_it() -> None:
    runs = [only(simulate(COSTS, Setup(workers=n), [Upload(3600)])) for n in (1, 2, 8)]
    assert len({playable for playable, _ in runs}) == 1
    one, two, eight = (ready for _, ready in runs)
    assert 1.9 < one / two <= 2
    assert 6 < one / eight <= 8


def test_window_bounds_how_many_workers_share_a_video() -> None:
    narrow, wide = (
        only(simulate(COSTS, Setup(workers=50, window=window), [Upload(3600)]))[1]
        for window in (4, 50)
    )
    assert narrow > 5 * wide


def test_time_to_playable_does_not_depend_on_length() -> None:
    times = {only(simulate(COSTS, Setup(workers=4), [Upload(s)]))[0] for s in (60, 3600, 36_000)}
    assert len(times) == 1


def test_a_long_video_of_one_tenant_does_not_hold_up_a_short_one_of_another() -> None:
    alone = only(simulate(COSTS, Setup(workers=4), [Upload(60)]))
    long_one, short = simulate(
        COSTS, Setup(workers=4), [Upload(36_000), Upload(60, at=100.0, tenant=1)]
    ).results
    chunk = COSTS.encode_start + 16 * COSTS.encode
    # At most it waits for the chunk that a worker has in hand, and for one with each of its own.
    assert short.playable <= alone[0] + 2 * chunk
    assert short.ready <= alone[1] + 4 * chunk
    assert long_one.ready > 10 * short.ready


def test_starts_come_before_later_chunks() -> None:
    outcome = simulate(COSTS, Setup(workers=2), [Upload(600, tenant=n) for n in range(20)])
    assert max(r.playable for r in outcome.results) < min(r.ready for r in outcome.results)


def test_kills_cost_a_segment_each_and_lose_nothing() -> None:
    uploads = [Upload(600, at=60.0 * n) for n in range(40)]
    calm, killed = (
        simulate(COSTS, Setup(workers=8, kills_per_hour=kills), uploads) for kills in (0, 30)
    )
    assert calm.kills == 0
    assert calm.repeated == 0
    assert killed.kills > 20
    assert killed.repeated <= killed.kills * SEGMENT_SECONDS
    assert killed.encoded == pytest.approx(calm.encoded)
    assert all(math.isfinite(r.ready) for r in killed.results)
    assert max(r.ready for r in killed.results) > max(r.ready for r in calm.results)


def test_equal_simulations_are_equal() -> None:
    uploads = [Upload(300, at=float(n)) for n in range(10)]
    one, other = (simulate(COSTS, Setup(workers=3, kills_per_hour=20), uploads) for _ in range(2))
    assert one == other


def test_what_is_asked_for_is_counted_in_units() -> None:
    setup = Setup(workers=1)
    small, large = (
        simulate(replace(COSTS, run_bytes=size), setup, [Upload(60)]) for size in (1000, 100_000)
    )
    assert small.calls == large.calls
    assert small.calls["segment put"] == 15 * COSTS.rungs + 15
    assert sum(large.demand.table_reads.values()) > 5 * sum(small.demand.table_reads.values())
    assert sum(large.demand.table_writes.values()) > 5 * sum(small.demand.table_writes.values())
    assert sum(small.demand.puts.values()) == sum(
        number for kind, number in small.calls.items() if kind.endswith("put")
    )


def test_playlists_are_written_once_in_an_interval_however_many_workers_share_a_video() -> None:
    outcome = simulate(COSTS, Setup(workers=100, window=100), [Upload(3600)])
    end = COSTS.rungs + COSTS.tracks
    turns = (outcome.calls["playlist put"] - end) / COSTS.tracks
    assert turns <= outcome.seconds / 2 + 1


def test_percentile_is_a_value_that_is_there() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [percentile(values, share) for share in (0.0, 0.2, 0.5, 0.95, 1.0)] == [1, 1, 3, 5, 5]
