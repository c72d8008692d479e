"""Asking the regions of an environment, of which one may be lost, or have nothing yet.

All are asked at the same time, so that a lost one costs one limit. What the others have is shown,
and who is missing is named: what is not seen must not be taken for what is not there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from mediactl import output
from mediactl.errors import DEGRADED, LostRegionError, NotDeployedError
from mediactl.failures import explain

if TYPE_CHECKING:
    import click

    from mediactl.environment import Environment

Answer = TypeVar("Answer")

_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501


@dataclass(frozen=True, kw_only=True)
class MissingRegion:
    """A region of which nothing is known.

    Attributes:
        region: The region.
        reachable: Whether it answers; then what was asked for is not deployed there.
        reason: Why nothing is known of it.
        remedy: What to do about it, if something is known.
    """

    region: str
    reachable: bool
    reason: str
    remedy: str | None


@dataclass(frozen=True)
class Answers(Generic[Answer]):
    """What regions answered.

    Attributes:
        by_region: The answers, in the order in which the regions were named.
        missing: Regions without one.
    """

    by_region: dict[str, Answer]
    missing: list[MissingRegion] = field(default_factory=list)


def ask_regions(
    environment: Environment,
    regions: Sequence[str],
    question: Callable[[str], Answer],
    *,
    all_may_miss: bool = False,
) -> Answers[Answer]:
    """Ask regions at the same time.

    Args:
        environment: Their environment.
        regions: The regions.
        question: Asks one.
        all_may_miss: Whether it is no error if none answers.

    Raises:
        Exception: What the first region raised if none answers, and whatever says more than that a
            region is lost, or has nothing yet.
    """
    from mediactl.deployed import side_by_side  # noqa: PLC0415 - which asks by this

    def asked(region: str) -> tuple[Answer | None, Exception | None]:
        try:
            environment.require_reachable(region)
            return question(region), None
        except Exception as error:
            if not is_missing(error):
                raise
            return None, error

    by_region: dict[str, Answer] = {}
    errors: dict[str, Exception] = {}
    for region, (answer, error) in zip(regions, side_by_side(asked, regions), strict=True):
        if error is None:
            by_region[region] = answer  # type: ignore[assignment]
        else:
            errors[region] = error
    if errors and not by_region and not all_may_miss:
        raise next(iter(errors.values()))
    return Answers(by_region, [missing(environment, *one) for one in errors.items()])


@contextlib.contextmanager
def unless_missing(
    environment: Environment, region: str, found: list[MissingRegion]
) -> Iterator[None]:
    """Do something in a region, and add that to ``found`` if it is lost, or has nothing yet."""
    try:
        yield
    except Exception as error:
        if not is_missing(error):
            raise
        found.append(missing(environment, region, error))


def missing(environment: Environment, region: str, error: Exception) -> MissingRegion:
    """Return a region that is missing for an error; one that is lost is not asked again."""
    explained = explain(error)
    reachable = isinstance(error, NotDeployedError)
    if not reachable:
        environment.lose(region, LostRegionError(str(explained), hint=explained.hint))
    return MissingRegion(
        region=region,
        reachable=reachable,
        reason=str(explained),
        remedy=f"mediactl deploy -e {environment.name}" if reachable else explained.hint,
    )


def is_missing(error: BaseException) -> bool:
    """Tell whether an error says that a region is lost, or that it has nothing yet."""
    return isinstance(error, NotDeployedError) or is_unreachable(error)


def is_unreachable(error: BaseException) -> bool:
    """Tell whether a region does not answer, or not but with errors, as one does that is lost."""
    from botocore.exceptions import ClientError, HTTPClientError  # noqa: PLC0415 - slow to import
    from botocore.exceptions import ConnectionError as NoConnectionError  # noqa: PLC0415

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED
    return isinstance(error, LostRegionError | NoConnectionError | HTTPClientError)


def tell_missing(found: Sequence[MissingRegion]) -> None:
    """Tell the person which regions are missing, and why."""
    for one in found:
        output.say(f"{one.region} is missing: {output.printable(one.reason)}")
        if one.remedy:
            output.say(f"hint: {one.remedy}")


def end_with(ctx: click.Context, found: Sequence[MissingRegion], *, degraded: bool = False) -> None:
    """Tell which regions are missing, and end the command as degraded if there are any.

    Args:
        ctx: The context of the command.
        found: The regions.
        degraded: Whether something else is not as it should be.
    """
    tell_missing(found)
    if found or degraded:
        ctx.exit(DEGRADED)
