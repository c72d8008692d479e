"""What users do with a stage in a month."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mediactl.errors import NOT_FOUND, USAGE, CommandError

VIEWER_PLACES = ("us-eu", "south-america", "asia")
"""Where viewers may be, as far as CloudFront's prices are concerned."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A month of a stage; the defaults are a small team.

    Attributes:
        uploads: Videos that are uploaded.
        minutes: Length of each.
        source_megabits: Megabits per second of what is uploaded: that of a phone in 1080p.
        source_lines: Lines of what is uploaded; the ladder has no rung above.
        frame_rate: Frames per second.
        uploads_at_once: Videos that come together, so that workers are woken once for all.
        average_of_peak: Bit rate of a rendition, as a share of the peak of its rung.
        views: Times that somebody watches a video.
        watched_minutes: Minutes watched, of a view. Default: half of a video.
        delivered_gb: GB that viewers load. Default: what they watch, in the highest rung.
        viewers: Where viewers are: ``us-eu``, ``south-america`` or ``asia``.
        api_requests: Requests to the API.
        users: Users who sign in.
        webhooks: Endpoints that hear of each video.
        months_kept: Months of uploads that are stored by then: the first month costs less.
    """

    uploads: float = 100
    minutes: float = 10
    source_megabits: float = 8
    source_lines: int = 1080
    frame_rate: float = 30
    uploads_at_once: float = 1
    average_of_peak: float = 0.6
    views: float = 2000
    watched_minutes: float | None = None
    delivered_gb: float | None = None
    viewers: str = "us-eu"
    api_requests: float = 100_000
    users: float = 100
    webhooks: float = 0
    months_kept: float = 12

    @property
    def uploaded_minutes(self) -> float:
        """Minutes of video that are uploaded."""
        return self.uploads * self.minutes

    @property
    def source_gb(self) -> float:
        """GB that are uploaded."""
        return self.uploaded_minutes * 60 * self.source_megabits / 8 / 1000

    @property
    def minutes_watched(self) -> float:
        """Minutes that are watched, by all."""
        of_a_view = self.minutes / 2 if self.watched_minutes is None else self.watched_minutes
        return self.views * of_a_view

    @property
    def stored_minutes(self) -> float:
        """Minutes of video that are stored by then."""
        return self.uploaded_minutes * self.months_kept


NOTHING = Workload(
    uploads=0, views=0, delivered_gb=0, api_requests=0, users=0, webhooks=0, months_kept=0
)
"""A month in which nobody comes."""


def read_workload(profile: Path | None, options: dict[str, Any]) -> Workload:
    """Return what a profile and options say, options first.

    Args:
        profile: A TOML file whose keys are those of :class:`Workload`. Default: none.
        options: Keys and values that were given on the command line; ``None`` for none.

    Raises:
        CommandError: If the file is not there, or says what cannot be.
    """
    values = {} if profile is None else _read(profile)
    given = {name: value for name, value in options.items() if value is not None}
    workload = Workload(**{**values, **given})
    problem = _problem_of(workload)
    if problem is not None:
        raise CommandError(problem, hint=_KEYS_HINT, exit_code=USAGE)
    return workload


_KEYS_HINT = "docs/costs.md says what each key means"


def _read(profile: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(profile.read_text())
    except FileNotFoundError:
        raise CommandError(f"there is no file {profile}", exit_code=NOT_FOUND) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CommandError(f"{profile} cannot be read: {error}", exit_code=USAGE) from None
    known = {field.name: field.default for field in fields(Workload)}
    for name, value in values.items():
        if name not in known:
            raise CommandError(
                f"{profile} has the key {name!r}, allowed are {', '.join(known)}",
                hint=_KEYS_HINT,
                exit_code=USAGE,
            )
        is_text = isinstance(known[name], str)
        if isinstance(value, bool) or not isinstance(value, str if is_text else int | float):
            wanted = "text" if is_text else "a number"
            raise CommandError(
                f"{profile}: {name} is {value!r}, which is not {wanted}", exit_code=USAGE
            )
    return values


def _problem_of(workload: Workload) -> str | None:
    for name, value in asdict(workload).items():
        if isinstance(value, int | float) and not 0 <= value < float("inf"):
            return f"{name} is {value}, allowed are numbers from 0"
    if workload.viewers not in VIEWER_PLACES:
        return f"viewers is {workload.viewers!r}, allowed are {', '.join(VIEWER_PLACES)}"
    for name in ("frame_rate", "source_lines", "uploads_at_once"):
        if not getattr(workload, name):
            return f"{name} is 0, and must be more"
    if workload.uploads and not workload.minutes:
        return "minutes is 0, and must be more where there are uploads"
    return None
