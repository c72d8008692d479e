"""A plan survives as text: every worker of a run works by the very plan that the first one made."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_worker_planning import SOURCE

from media_platform.contract.jobs import Profile, Quality
from media_worker.planning import AudioStream, Source, TextStream, make_plan, settle
from media_worker.plans import PlanError, from_text, to_text

MOST_OF_AN_ITEM = 100_000
"""Characters; an item of the table holds four times as much, with everything else in it."""

labels = st.none() | st.text(max_size=20)
times = st.fractions(min_value=0, max_value=50, max_denominator=90_000)
audio = st.builds(
    AudioStream,
    index=st.integers(1, 40),
    channels=st.integers(0, 16),
    language=labels,
    title=labels,
    default=st.booleans(),
)
texts = st.builds(
    TextStream, index=st.integers(1, 40), language=labels, title=labels, forced=st.booleans()
)


@st.composite
def sources(draw: st.DrawFn) -> Source:
    return replace(
        SOURCE,
        format_start=draw(times),
        audio=tuple(draw(st.lists(audio, max_size=8))),
        texts=tuple(draw(st.lists(texts, max_size=8))),
        average_rate=draw(st.none() | st.just(Fraction(30000, 1001))),
        base_rate=draw(st.none() | st.just(Fraction(24000, 1001))),
        sample_aspect=draw(
            st.fractions(min_value=Fraction(1, 10), max_value=10, max_denominator=99)
        ),
        video_promise=draw(st.none() | times),
        promised_end=draw(st.none() | times),
        tail_end=draw(st.none() | times),
        video_end=draw(st.none() | times),
        interlaced=draw(st.booleans()),
    )


@given(source=sources(), chunk_seconds=st.sampled_from([4, 8, 16, 60]))
def test_plan_is_read_as_it_was_written(source: Source, chunk_seconds: int) -> None:
    plan = make_plan(settle(source), chunk_seconds)
    again = from_text(to_text(plan))
    assert again == plan
    assert to_text(again) == to_text(plan)


def test_plan_of_a_long_video_fits_into_an_item() -> None:
    end = Fraction(12 * 3600)
    long = replace(SOURCE, video_promise=end, promised_end=end, tail_end=end, video_end=end)
    plan = make_plan(settle(long), 16)
    assert len(plan.chunks) > 2600
    assert from_text(to_text(plan)) == plan
    assert len(to_text(plan)) < MOST_OF_AN_ITEM * 2


PLAN = make_plan(settle(SOURCE), 16)


def test_fields_that_a_later_version_added_are_ignored() -> None:
    content = json.loads(to_text(PLAN))
    content["of_tomorrow"] = content["source"]["of_tomorrow"] = 1
    assert from_text(json.dumps(content)) == PLAN


def test_plan_of_a_version_without_quality_is_a_usual_one() -> None:
    content = json.loads(to_text(PLAN))
    del content["crf"]
    assert from_text(json.dumps(content)) == PLAN


def test_profile_and_quality_are_part_of_the_plan() -> None:
    plan = make_plan(settle(SOURCE), 16, profile=Profile.UP_TO_480, quality=Quality.HIGH)
    again = from_text(to_text(plan))
    assert again == plan
    assert again != PLAN


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"frames": "many"}, id="a text as a number"),
        pytest.param({"frame_rate": "1/0"}, id="no fraction"),
        pytest.param({"frame_rate": None}, id="nothing where something must be"),
        pytest.param({"grid": {}}, id="an empty grid"),
        pytest.param({"rungs": [1]}, id="no rungs"),
        pytest.param({"chunks": 3}, id="no list"),
        pytest.param({"crf": "20"}, id="a text as a factor"),
    ],
)
def test_what_is_no_plan_of_this_version_is_known_as_such(damage: dict[str, object]) -> None:
    content = json.loads(to_text(PLAN))
    with pytest.raises(PlanError, match="cannot be read"):
        from_text(json.dumps({**content, **damage}))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{"])
def test_what_is_no_plan_at_all(text: str) -> None:
    with pytest.raises(PlanError):
        from_text(text)
