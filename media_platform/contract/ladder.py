"""The ladder of a stage: which renditions its workers make, unless a source is smaller."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

SIDES = (144, 2160)
"""Shortest and longest short side: below, nothing can be seen; above 4K, H.264 has no level."""

PEAK_KILOBITS = (100, 100_000)
"""Lowest and highest peak; for the quality ``high`` and above 30 frames a second it is raised."""

MOST_RUNGS = 8
"""Most renditions; one decode feeds an encoder for each."""


@dataclass(frozen=True, kw_only=True)
class LadderRung:
    """One rendition.

    Attributes:
        short_side: Pixels of its short side, even, 144 to 2160: 1080 for what people call 1080p.
        peak_kilobits: Kilobits a second that its picture does not exceed over one second, at up to
            30 frames a second, 100 to 100,000.
    """

    short_side: int
    peak_kilobits: int

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.short_side}p"


DEFAULT_LADDER = (
    LadderRung(short_side=1080, peak_kilobits=4500),
    LadderRung(short_side=720, peak_kilobits=2600),
    LadderRung(short_side=480, peak_kilobits=1200),
    LadderRung(short_side=360, peak_kilobits=700),
)
"""The ladder where nothing else was chosen."""


def ladder_problem(ladder: Sequence[LadderRung]) -> str | None:
    """Return why workers cannot make this ladder, or ``None`` if they can.

    Args:
        ladder: The renditions.
    """
    if not 1 <= len(ladder) <= MOST_RUNGS:
        return (
            f"ladder has {len(ladder)} renditions, allowed are 1 to {MOST_RUNGS}; leave it out for "
            f"{', '.join(rung.name for rung in DEFAULT_LADDER)}"
        )
    for rung in ladder:
        problem = _rung_problem(rung)
        if problem is not None:
            return problem
    for upper, lower in pairwise(ladder):
        if upper.short_side == lower.short_side:
            return f"ladder names {upper.name} twice; name each rendition once"
        if upper.short_side < lower.short_side:
            return f"ladder names {upper.name} before {lower.name}; name the highest first"
        if upper.peak_kilobits <= lower.peak_kilobits:
            return (
                f"peak_kilobits of {upper.name} is {upper.peak_kilobits}, which is not above the "
                f"{lower.peak_kilobits} of {lower.name}; players take the lower one for the better"
            )
    return None


def _rung_problem(rung: LadderRung) -> str | None:
    least, most = SIDES
    if not least <= rung.short_side <= most:
        return (
            f"short_side is {rung.short_side}, allowed are {least} to {most}; 4K is the largest "
            "picture that the encoder has a level for"
        )
    if rung.short_side % 2:
        return f"short_side is {rung.short_side}, allowed are even numbers; H.264 has no others"
    least, most = PEAK_KILOBITS
    if not least <= rung.peak_kilobits <= most:
        return (
            f"peak_kilobits of {rung.name} is {rung.peak_kilobits}, allowed are {least} to {most}; "
            "count in thousands of bits a second"
        )
    return None


def ladder_to_json(ladder: Sequence[LadderRung]) -> str:
    """Return a ladder as the environment of a worker takes it."""
    return json.dumps([asdict(rung) for rung in ladder])


def ladder_from_json(text: str) -> tuple[LadderRung, ...]:
    """Read a ladder from the environment of a worker.

    Raises:
        ValueError: If it is something else.
    """
    try:
        ladder = tuple(LadderRung(**rung) for rung in json.loads(text))
        problem = ladder_problem(ladder)
    except TypeError as error:
        raise ValueError(f"not a ladder: {error}") from error
    if problem is not None:
        raise ValueError(f"not a ladder: {problem}")
    return ladder
