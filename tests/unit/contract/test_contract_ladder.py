"""The ladder of a stage: what workers can make, and how they are told of it."""

from __future__ import annotations

import re

import pytest

from media_platform.contract.ladder import (
    DEFAULT_LADDER,
    LadderRung,
    ladder_from_json,
    ladder_problem,
    ladder_to_json,
)


def test_workers_read_what_was_configured() -> None:
    assert ladder_problem(DEFAULT_LADDER) is None
    assert ladder_from_json(ladder_to_json(DEFAULT_LADDER)) == DEFAULT_LADDER
    assert [rung.name for rung in DEFAULT_LADDER] == ["1080p", "720p", "480p", "360p"]


@pytest.mark.parametrize(
    ("rungs", "problem"),
    [
        (
            [],
            (
                "ladder has 0 renditions, allowed are 1 to 8; leave it out for 1080p, 720p, 480p, "
                "360p"
            ),
        ),
        (
            [(2000 - 100 * n, 9000 - 100 * n) for n in range(9)],
            "ladder has 9 renditions, allowed are 1 to 8; ",
        ),
        (
            [(4320, 50_000)],
            (
                "short_side is 4320, allowed are 144 to 2160; 4K is the largest picture that the "
                "encoder has a level for"
            ),
        ),
        ([(142, 500)], "short_side is 142, allowed are 144 to 2160; "),
        ([(1081, 4500)], "short_side is 1081, allowed are even numbers; H.264 has no others"),
        (
            [(1080, 4_500_000)],
            (
                "peak_kilobits of 1080p is 4500000, allowed are 100 to 100000; count in thousands "
                "of bits a second"
            ),
        ),
        (
            [(1080, 4500), (1080, 2600)],
            "ladder names 1080p twice; name each rendition once",
        ),
        (
            [(720, 2600), (1080, 4500)],
            "ladder names 720p before 1080p; name the highest first",
        ),
        (
            [(1080, 2600), (720, 2600)],
            (
                "peak_kilobits of 1080p is 2600, which is not above the 2600 of 720p; players take "
                "the lower one for the better"
            ),
        ),
    ],
)
def test_what_workers_cannot_make_is_told(rungs: list[tuple[int, int]], problem: str) -> None:
    ladder = [LadderRung(short_side=side, peak_kilobits=peak) for side, peak in rungs]
    assert (ladder_problem(ladder) or "").startswith(problem)
    with pytest.raises(ValueError, match=f"^not a ladder: {re.escape(problem)}"):
        ladder_from_json(ladder_to_json(ladder))


@pytest.mark.parametrize("text", ["", "1080p", "3", '[{"height": 1080}]', "[[1080, 4500]]"])
def test_something_else_is_no_ladder(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  also what is no JSON
        ladder_from_json(text)
